/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/released.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void bw_released_init(struct bw_released *r)
{
	memset(r, 0, sizeof(*r));
	bw_mutex_init(&r->lock, BW_RANK_LEAF);
}

void bw_released_done(struct bw_released *r)
{
	bw_mutex_done(&r->lock);
}

/* The job whose oldest marker, less the margin, is first. */
static const struct bw_job *decider(const struct bw_root *root, uint64_t margin)
{
	for (uint32_t i = 0; i < root->jobs_n; i++) {
		const struct bw_job *j = &root->jobs[i];

		if (j->markers_n && j->markers[0].step == root->first + margin)
			return j;
	}
	return NULL;
}

void bw_released_saw(struct bw_released *r, uint64_t margin, const struct bw_root *old,
		     const struct bw_root *now)
{
	if (now->first <= old->first)
		return;
	const struct bw_job *j = decider(now, margin);

	BW_LOCK_SCOPE(&r->lock);
	uint64_t i = r->n++ % BW_RELEASED_KEPT;

	r->trims[i].was = old->first;
	r->trims[i].first = now->first;
	r->trims[i].version = now->version;
	r->trims[i].marker = now->first + margin;
	memcpy(r->trims[i].job, j ? j->name : "", j ? sizeof(j->name) : 1);
}

void bw_released_text(struct bw_released *r, uint64_t step, char text[BW_RELEASED_TEXT])
{
	BW_LOCK_SCOPE(&r->lock);
	uint64_t kept = r->n < BW_RELEASED_KEPT ? r->n : BW_RELEASED_KEPT;

	for (uint64_t i = r->n - kept; i < r->n; i++) {
		uint64_t at = i % BW_RELEASED_KEPT;

		if (step < r->trims[at].was || step >= r->trims[at].first)
			continue;
		snprintf(text, BW_RELEASED_TEXT,
			 "released_by_job=%s released_by_marker=%" PRIu64 " by_version=%" PRIu64,
			 r->trims[at].job[0] ? r->trims[at].job : "-", r->trims[at].marker,
			 r->trims[at].version);
		return;
	}
	snprintf(text, BW_RELEASED_TEXT, "released_by_job=- released_by_marker=-");
}
