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

/*
 * The search by itself: which version to ask for next.  Begun cold (low unknown) from any start, or
 * warm, from a version that is known and a guess of how far the stream has come.
 */
struct bw_search {
	uint64_t low;		/* highest version known to exist; 0: none */
	uint64_t high;		/* lowest version known not to exist; 0: none */
	uint64_t start;		/* asked for first; 0: done */
	uint64_t stride;	/* of the doubling */
	bool falling;		/* doubling downwards, as the start was not there */
};
void bw_search_cold(struct bw_search *s, uint64_t start);
void bw_search_warm(struct bw_search *s, uint64_t known, uint64_t guess);
uint64_t bw_search_next(const struct bw_search *s);	/* 0: low is the newest */
void bw_search_saw(struct bw_search *s, uint64_t version, bool exists);

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

/* The same for who knows a version, and a guess of the newest.  *ret NULL: known is the newest. */
int bw_search_newer(struct bw_versions *from, uint64_t known, uint64_t guess, struct bw_root **ret)
	bw_must_check;

/* ---- The hint object: a version, as decimal text ------------------------------------------------ */

#define BW_HINT_EVERY 64u	/* whoever commits a version divisible by this writes it */
#define BW_HINT_MAX 24u		/* bytes */
size_t bw_hint_print(uint64_t version, char text[BW_HINT_MAX]);
uint64_t bw_hint_parse(const void *bytes, size_t len);	/* 1 for what is no hint */

#endif
