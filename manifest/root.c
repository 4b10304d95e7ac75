/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/root_footers.h"

#include <stdlib.h>
#include <string.h>

struct bw_root *bw_root_ref(struct bw_root *r)
{
	atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
	return r;
}

void bw_root_unref(struct bw_root *r)
{
	if (!r || atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (uint32_t i = 0; i < r->changes_n; i++)
		bw_change_done(&r->changes[i]);
	free(r->changes);
	for (uint32_t i = 0; i < r->producers_n; i++)
		free(r->producers[i].state);
	free(r->producers);
	for (uint32_t i = 0; i < r->jobs_n; i++) {
		for (uint32_t k = 0; k < r->jobs[i].markers_n; k++)
			free(r->jobs[i].markers[k].text);
		free(r->jobs[i].markers);
	}
	free(r->jobs);
	free(r->tail);
	for (unsigned level = 0; level < BW_LEVELS_MAX; level++)
		free(r->levels[level].pointers);
	bw_root_footers_done(r);
	free(r->features_write);
	free(r->unknown);
	free(r);
}

int bw_root_first(const struct bw_stream *s, struct bw_root **ret)
{
	struct bw_root *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	atomic_init(&r->refs, 1);
	r->version = 1;
	memcpy(r->stream_id, s->id, sizeof(r->stream_id));
	memcpy(r->commit_id, s->id, sizeof(r->commit_id));
	r->time_ms = s->created_ms;
	*ret = r;
	return 0;
}

int bw_root_may_write(const struct bw_root *r)
{
	/* This release knows no feature that a writer would have to mind. */
	return r->features_write ? -BW_E_FORMAT_NEWER : 0;
}

static int copy_text(char **to, const char *from)
{
	if (!from)
		return 0;
	*to = strdup(from);
	return *to ? 0 : -ENOMEM;
}

int bw_root_carry(struct bw_root *to, const struct bw_root *from)
{
	int rc = copy_text(&to->features_write, from->features_write);

	return rc ? rc : copy_text(&to->unknown, from->unknown);
}

static int compare_producer(const void *name, const void *entry)
{
	return strcmp(name, ((const struct bw_producer_entry *)entry)->name);
}

const struct bw_producer_entry *bw_root_producer(const struct bw_root *r, const char *name)
{
	if (!r->producers_n)
		return NULL;
	return bsearch(name, r->producers, r->producers_n, sizeof(*r->producers), compare_producer);
}

static int compare_job(const void *name, const void *job)
{
	return strcmp(name, ((const struct bw_job *)job)->name);
}

const struct bw_job *bw_root_job(const struct bw_root *r, const char *name)
{
	if (!r->jobs_n)
		return NULL;
	return bsearch(name, r->jobs, r->jobs_n, sizeof(*r->jobs), compare_job);
}

const struct bw_entry *bw_root_tail_entry(const struct bw_root *r, uint64_t step)
{
	uint64_t start = r->head - r->tail_n;

	return step >= start && step < r->head ? &r->tail[step - start] : NULL;
}

bool bw_root_state_room(const struct bw_root *r)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < r->producers_n; i++)
		sum += r->producers[i].state ? r->producers[i].state_len : 0;
	return sum < BW_STATES_INLINE_MAX / 4 * 3;
}
