/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding the newest version without a listing or a clock: doubling, then bisection.
 *
 * It rests on one fact: versions are contiguous and their names are never free again (an old root may
 * become a tombstone), so "exists" is true up to the newest and false above it.  The search accepts c
 * only when it got c as a root and got NOT_FOUND for c + 1, both asked for during this search.
 * Does no I/O itself; private to manifest/.
 */
#ifndef BW_MANIFEST_OPEN_SEARCH_H
#define BW_MANIFEST_OPEN_SEARCH_H

#include "manifest/root.h"

enum bw_version_is { BW_VERSION_ABSENT, BW_VERSION_ROOT, BW_VERSION_TOMBSTONE };

/* Where versions are read from; embedded in what reads them. */
struct bw_versions {
	/*
	 * A value of enum bw_version_is (ROOT: *ret owned by the caller), or a negative error.
	 * -BW_E_CORRUPT and -BW_E_FORMAT_NEWER mean that the version exists; any other ends the search.
	 */
	int (*get)(struct bw_versions *from, uint64_t version, struct bw_root **ret);
};

/* start: a version to begin with, at least 1; any will do.  -BW_E_NO_STREAM: there is none at all. */
int bw_search_newest(struct bw_versions *from, uint64_t start, struct bw_root **ret) bw_must_check;

/* ---- The hint object: a version, as decimal text ------------------------------------------------ */

#define BW_HINT_EVERY 64u	/* whoever commits a version divisible by this writes it */
#define BW_HINT_MAX 24u		/* bytes */
size_t bw_hint_print(uint64_t version, char text[BW_HINT_MAX]);
uint64_t bw_hint_parse(const void *bytes, size_t len);	/* 1 for what is no hint */

#endif
