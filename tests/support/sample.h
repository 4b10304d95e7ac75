/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams, roots and index nodes with plausible content, the same on every run: for tests of the
 * format, which must not depend on the code that makes real ones.
 */
#ifndef BW_TESTS_SAMPLE_H
#define BW_TESTS_SAMPLE_H

#include "manifest/index.h"
#include "manifest/root.h"

struct bw_sample {
	struct bw_stream stream;
	struct bw_root *root;
	/* Told of every node that is folded on the way; bytes are borrowed.  May be NULL. */
	void (*folded)(void *ctx, unsigned level, const struct bw_pointer *p, const struct bw_buf *bytes);
	void *ctx;
	uint32_t cap;
};

/* Copies a name of at most BW_NAME_MAX bytes into a name field. */
void bw_sample_name(char to[BW_NAME_MAX + 1], const char *from);

void bw_sample_init(struct bw_sample *s, uint32_t ranks);
void bw_sample_done(struct bw_sample *s);

/*
 * Commits steps one by one, each in a version of its own, by producers "alpha" and "beta" in turn;
 * folds as limits.h says.  Aborts when anything fails.
 */
void bw_sample_grow(struct bw_sample *s, uint64_t steps);
/* The same with entries the caller has filled in up to seq, nonce, size, raw and footer. */
void bw_sample_append(struct bw_sample *s, const struct bw_entry *e);
/* A state for the producer's last batch: inline when bytes is given, else only claimed. */
void bw_sample_state(struct bw_sample *s, const char *producer, const void *bytes, uint32_t len);
void bw_sample_job(struct bw_sample *s, const char *name, const uint64_t *steps, uint32_t n,
		   const char *text);
/* Changes that could have made the version: one of each kind. */
void bw_sample_changes(struct bw_sample *s);

/* The raw payload of an envelope, and an envelope around raw: for tests that edit the text. */
void bw_sample_open(int kind, const struct bw_buf *sealed, struct bw_buf *raw);

/* raw with the first occurrence of one text, which must be there, replaced by another; out is initialized here. */
void bw_sample_edit(const struct bw_buf *raw, const char *from, const char *to, struct bw_buf *out);

#endif
