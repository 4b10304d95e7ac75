/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream.json: what is fixed when a stream is created.  Plain JSON, so that cat shows it.
 */
#ifndef BW_MANIFEST_STREAM_H
#define BW_MANIFEST_STREAM_H

#include "store/base/buf.h"
#include "store/base/limits.h"

#include <stdbool.h>
#include <stdint.h>

#define BW_FORMAT 1		/* of everything in the store; a reader refuses a larger one (S8) */
#define BW_STREAM_KEY "stream.json"

enum bw_compress { BW_COMPRESS_NONE, BW_COMPRESS_ZSTD };

struct bw_stream_options {
	uint32_t ranks;			/* 1..BW_RANKS_MAX */
	uint32_t keep;			/* markers a job must hold before it releases steps; default 2 */
	uint64_t margin;		/* steps kept below the oldest marker; default 0 */
	uint64_t grace_s;		/* seconds between a trim and its deletions; default 3600 */
	uint64_t max_ahead;		/* 0 = no limit */
	enum bw_compress compress;
	int32_t compress_level;		/* zstd level, 0 when not compressed */
};

struct bw_stream {
	uint8_t id[16];			/* random */
	uint32_t format;
	uint32_t block_size;
	int64_t created_ms;		/* information */
	/* The store cannot put objects above BW_LARGE_OBJECT if absent, as the probe found out. */
	bool large_unconditional;
	struct bw_stream_options options;
};

void bw_stream_options_default(struct bw_stream_options *o);	/* ranks 0: must be set */
bool bw_stream_options_equal(const struct bw_stream_options *a, const struct bw_stream_options *b);
int bw_stream_encode(const struct bw_stream *s, struct bw_buf *out) bw_must_check;
/* -BW_E_CORRUPT, -BW_E_FORMAT_NEWER, -ENOMEM. */
int bw_stream_decode(const void *bytes, size_t len, struct bw_stream *ret) bw_must_check;

/* "none", "zstd", "zstd:LEVEL" (1..19). */
int bw_compress_parse(const char *text, enum bw_compress *ret, int32_t *ret_level) bw_must_check;

/* ---- Object keys below the stream's URL (all but stream.json begin with 8 hex digits of the id) --- */

/* Each writes one key, as format.md spells it. */
void bw_key_root(const struct bw_stream *s, uint64_t version, char key[BW_KEY_MAX + 1]);
void bw_key_hint(const struct bw_stream *s, char key[BW_KEY_MAX + 1]);
void bw_key_data(const struct bw_stream *s, const char *producer, uint64_t epoch, uint64_t seq,
		uint64_t nonce, char key[BW_KEY_MAX + 1]);
void bw_key_state(const struct bw_stream *s, const char *producer, uint64_t epoch, uint64_t seq,
		 uint64_t nonce, char key[BW_KEY_MAX + 1]);
void bw_key_node(const struct bw_stream *s, unsigned level, uint64_t first, uint64_t last,
		uint64_t hash, char key[BW_KEY_MAX + 1]);

#endif
