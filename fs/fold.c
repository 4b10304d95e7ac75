/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/fold.h"

#include <string.h>

void bw_fold_init(struct bw_fold *f)
{
	memset(f, 0, sizeof(*f));
	bw_mutex_init(&f->lock, BW_RANK_STATUS);
}

void bw_fold_done(struct bw_fold *f)
{
	bw_mutex_done(&f->lock);
}

static bool is_same(const struct bw_failure *a, const struct bw_failure *b)
{
	return a->err == b->err && a->step == b->step && a->part == b->part;
}

/* This failure, or else what may be forgotten: nothing, or what was told the longest time ago. */
static struct bw_folded *find_locked(struct bw_fold *f, const struct bw_failure *failed)
{
	struct bw_folded *oldest = &f->known[0];

	for (struct bw_folded *k = f->known; k < f->known + BW_FOLD_MOST; k++) {
		if (is_same(&k->failure, failed))
			return k;
		if (oldest->failure.err && (!k->failure.err || k->told_ns < oldest->told_ns))
			oldest = k;
	}
	return oldest;
}

bool bw_fold_first(struct bw_fold *f, const struct bw_failure *failed, int64_t now, struct bw_failure *ret)
{
	BW_LOCK_SCOPE(&f->lock);
	struct bw_folded *k = find_locked(f, failed);

	*ret = (struct bw_failure){.err = 0};
	if (is_same(&k->failure, failed)) {
		k->failure.times++;
		return false;
	}
	*ret = k->failure;
	*k = (struct bw_folded){.failure = *failed, .told_ns = now};
	k->failure.times = 0;
	return true;
}

bool bw_fold_due(struct bw_fold *f, int64_t now, struct bw_failure *ret)
{
	BW_LOCK_SCOPE(&f->lock);
	for (struct bw_folded *k = f->known; k < f->known + BW_FOLD_MOST; k++) {
		if (!k->failure.err || now - k->told_ns < BW_FOLD_NS)
			continue;
		*ret = k->failure;
		if (!k->failure.times) {
			k->failure.err = 0;	/* it is over: the next one is told at once */
			continue;
		}
		k->failure.times = 0;
		k->told_ns = now;
		return true;
	}
	return false;
}
