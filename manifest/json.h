/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The JSON of the format, one token at a time.
 *
 * docs/format.md gives every value exactly one spelling, in a fixed order.  So a reader always knows
 * which token comes next, what decodes encodes to the same bytes, and no tree is built: nothing here
 * allocates but bw_json_text().  A reader that meets anything else marks itself bad, stays bad and
 * answers zeros, so a row of reads is checked once at its end, like a struct bw_cur.
 */
#ifndef BW_MANIFEST_JSON_H
#define BW_MANIFEST_JSON_H

#include "store/base/buf.h"
#include "store/base/limits.h"

#include <stdbool.h>
#include <stdint.h>

#define BW_JSON_INT_MAX ((UINT64_C(1) << 53) - 1)	/* largest number without quotes */

struct bw_json {
	const char *p, *end;
	bool bad;
};

void bw_json_init(struct bw_json *j, const void *bytes, size_t len);
void bw_json_fail(struct bw_json *j);
/* Nothing was wrong and nothing is left. */
bool bw_json_finished(const struct bw_json *j);

/* Takes exactly text; bw_json_try() says whether it was there, bw_json_expect() insists. */
bool bw_json_try(struct bw_json *j, const char *text);
void bw_json_expect(struct bw_json *j, const char *text);

/*
 * Goes through an array: true before element i, having taken "[" or ","; false behind its "]", or
 * when bad.  An array of more than max elements is bad.
 */
bool bw_json_next(struct bw_json *j, uint32_t i, uint32_t max);

uint64_t bw_json_int(struct bw_json *j, uint64_t max);		/* 12 */
uint64_t bw_json_dec(struct bw_json *j, uint64_t max);		/* "12" */
uint64_t bw_json_hex64(struct bw_json *j);			/* "000000000000000c" */
void bw_json_hex(struct bw_json *j, void *bytes, size_t len);	/* "0c", 2 * len digits */
void bw_json_name(struct bw_json *j, char name[BW_NAME_MAX + 1]);
/* Any hex string of at most max bytes, malloc'ed with one byte to spare; NULL with *ret_err. */
uint8_t *bw_json_bytes(struct bw_json *j, size_t max, size_t *ret_len, int *ret_err);
/* A text of at most max bytes, malloc'ed and percent-decoded; NULL with *ret_err. */
char *bw_json_text(struct bw_json *j, size_t max, int *ret_err);

/* Names of features: an array of strings.  *ret points to what is between the brackets. */
void bw_json_features(struct bw_json *j, const char **ret, size_t *ret_len);
/*
 * The members that newer releases put behind the known ones, as far as they go:
 * ,"key":value,...  in rising order of keys, none of which is among known (ended by NULL); a member
 * named last (may be NULL) is not taken.  *ret, borrowed, begins with the first comma.
 */
void bw_json_extra(struct bw_json *j, const char *const *known, const char *last, const char **ret,
		   size_t *ret_len);
/* Those of them that come before a member named key would, whether it is there or not. */
void bw_json_extra_below(struct bw_json *j, const char *const *known, const char *key, const char **ret,
			 size_t *ret_len);

/* ---- Writing: each appends one value ---------------------------------------------------------- */

void bw_json_put_int(struct bw_buf *b, uint64_t v);
void bw_json_put_dec(struct bw_buf *b, uint64_t v);
void bw_json_put_hex64(struct bw_buf *b, uint64_t v);
void bw_json_put_hex(struct bw_buf *b, const void *bytes, size_t len);
void bw_json_put_text(struct bw_buf *b, const char *text);

#endif
