/* SPDX-License-Identifier: Apache-2.0 */
/* Changes with plausible content, for tests of the commit protocol. */
#ifndef BW_TESTS_CHANGE_H
#define BW_TESTS_CHANGE_H

#include "manifest/apply.h"

/* A stream with these ranks, keep 2, margin 0, an id that is the same on every run. */
void bw_test_stream(struct bw_stream *s, uint32_t ranks);
/* A 16-byte owner id that repeats b; b must not be 0. */
void bw_test_owner(uint8_t owner[16], uint8_t b);

/* All of them own nothing, unless a text or state is added. */
struct bw_change bw_test_change(enum bw_change_kind kind, const char *name);
struct bw_change bw_test_fence(const char *producer, uint8_t owner);
struct bw_change bw_test_append(const char *producer, uint8_t owner, uint64_t epoch, uint64_t seq,
				uint64_t nonce);
struct bw_change bw_test_step(enum bw_change_kind kind, const char *name, uint64_t step);
/* Gives c an inline state of its own: the text. */
void bw_test_state(struct bw_change *c, const char *text);

/* base with the changes applied and a stored checksum, as if it had been written and read; aborts
 * when that fails. */
struct bw_root *bw_test_apply(const struct bw_stream *s, const struct bw_root *base,
			      const struct bw_change *changes, uint32_t n, uint8_t commit_id);
/* The same root, encoded and decoded; *ret_bytes, if not NULL, gets the stored bytes. */
struct bw_root *bw_test_stored(const struct bw_stream *s, const struct bw_root *r,
			       struct bw_buf *ret_bytes);

#endif
