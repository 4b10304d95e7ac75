/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Growable bytes with a maximum that is set at init.
 *
 * An adder that fails leaves the buffer as it was and marks it failed, so a row of adders may be
 * checked once at its end with bw_buf_err().  The bytes are always NUL-terminated behind len.
 */
#ifndef BW_BASE_BUF_H
#define BW_BASE_BUF_H

#include "store/base/err.h"

#include <stddef.h>
#include <stdint.h>

struct bw_buf {
	uint8_t *bytes;		/* owned; NULL while empty */
	size_t len;
	size_t cap;
	size_t max;
	int err;		/* first failure: -ENOMEM or -ENOSPC (above max) */
};

void bw_buf_init(struct bw_buf *b, size_t max);	/* of at most max bytes; takes no memory */
void bw_buf_done(struct bw_buf *b);		/* frees the bytes; may be inited again */
void bw_buf_reset(struct bw_buf *b);		/* empty, memory kept, error forgotten */
int bw_buf_err(const struct bw_buf *b) bw_must_check;	/* 0, or the first adder's failure since init or reset */

/* Adders: each copies what it is given to the end. */
void bw_buf_add(struct bw_buf *b, const void *bytes, size_t len);
void bw_buf_str(struct bw_buf *b, const char *s);
void bw_buf_fmt(struct bw_buf *b, const char *fmt, ...) bw_printf_like(2, 3);
void bw_buf_u8(struct bw_buf *b, uint8_t v);
void bw_buf_u16(struct bw_buf *b, uint16_t v);	/* little endian, like all of the format */
void bw_buf_u32(struct bw_buf *b, uint32_t v);
void bw_buf_u64(struct bw_buf *b, uint64_t v);

/* Room for len more bytes at the returned address, not yet counted; NULL when it fails. */
void *bw_buf_room(struct bw_buf *b, size_t len);
void bw_buf_used(struct bw_buf *b, size_t len);	/* so many of them were written, and count now */

/* The text, never NULL; valid until the next adder. */
const char *bw_buf_text(const struct bw_buf *b);

/* The caller owns the returned malloc'ed bytes; the buffer is empty again. */
void *bw_buf_take(struct bw_buf *b, size_t *ret_len);

static inline void bw_buf_done_p(struct bw_buf *b)
{
	bw_buf_done(b);
}
#define bw_auto_buf __attribute__((cleanup(bw_buf_done_p)))

/*
 * The reading side: a cursor that cannot pass its end.  A get beyond the end returns zeros and marks
 * the cursor bad, so a parser checks once, before it believes what it read.
 */
struct bw_cur {
	const uint8_t *p;
	size_t left;
	int bad;
};

void bw_cur_init(struct bw_cur *c, const void *bytes, size_t len);
uint8_t bw_cur_u8(struct bw_cur *c);
uint16_t bw_cur_u16(struct bw_cur *c);
uint32_t bw_cur_u32(struct bw_cur *c);
uint64_t bw_cur_u64(struct bw_cur *c);
const uint8_t *bw_cur_bytes(struct bw_cur *c, size_t len);	/* NULL when bad */

#endif
