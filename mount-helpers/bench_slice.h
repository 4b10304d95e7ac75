/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bytes of a slice that bench writes: random, so that nothing compresses them away, and with words
 * that name where it belongs, so that the wrong bytes cannot be measured.
 *
 * The random bytes are made once for each writer; a stamp changes a word in every 64 KiB.  Pure.
 */
#ifndef BW_MOUNT_HELPERS_BENCH_SLICE_H
#define BW_MOUNT_HELPERS_BENCH_SLICE_H

#include "store/base/err.h"

#include <stddef.h>
#include <stdint.h>

#define BW_SLICE_MIN 64u

struct bw_stamp {
	uint64_t run, seq;
	uint32_t producer, rank;
};

void bw_slice_fill(void *bytes, size_t len, uint64_t seed);
void bw_slice_stamp(void *bytes, size_t len, const struct bw_stamp *s);	/* len >= BW_SLICE_MIN */
/*
 * 0 and what it says; -ENOENT: it was not written by bench; -EILSEQ: it was, and its words do not fit
 * together or to its length.
 */
int bw_slice_check(const void *bytes, size_t len, struct bw_stamp *ret) bw_must_check;

#endif
