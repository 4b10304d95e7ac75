/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/apply.h"

#include <string.h>

static bool entry_equal(const struct bw_entry *a, const struct bw_entry *b)
{
	return a->step == b->step && !strcmp(a->producer, b->producer) && a->epoch == b->epoch &&
	       a->seq == b->seq && a->nonce == b->nonce && a->size == b->size && a->raw == b->raw &&
	       a->before == b->before && a->footer_len == b->footer_len &&
	       a->footer_xxh3 == b->footer_xxh3 && a->version == b->version &&
	       a->time_ms == b->time_ms;
}

static bool state_equal(const struct bw_producer_entry *a, const struct bw_producer_entry *b)
{
	if (a->has_state != b->has_state)
		return false;
	if (!a->has_state)
		return true;
	if (a->state_seq != b->state_seq || a->state_epoch != b->state_epoch ||
	    a->state_nonce != b->state_nonce || a->state_len != b->state_len ||
	    a->state_xxh3 != b->state_xxh3 || !a->state != !b->state)
		return false;
	return !a->state || !memcmp(a->state, b->state, a->state_len);
}

static bool producer_equal(const struct bw_producer_entry *a, const struct bw_producer_entry *b)
{
	if (strcmp(a->name, b->name) != 0 || a->epoch != b->epoch || a->next != b->next ||
	    memcmp(a->owner, b->owner, sizeof(a->owner)) != 0)
		return false;
	if (a->next && (a->last_step != b->last_step || a->last_ms != b->last_ms ||
			a->last_version != b->last_version))
		return false;
	return state_equal(a, b);
}

static bool job_equal(const struct bw_job *a, const struct bw_job *b)
{
	if (strcmp(a->name, b->name) != 0 || a->markers_n != b->markers_n)
		return false;
	for (uint32_t i = 0; i < a->markers_n; i++)
		if (a->markers[i].step != b->markers[i].step ||
		    strcmp(a->markers[i].text, b->markers[i].text) != 0)
			return false;
	return true;
}

static bool levels_equal(const struct bw_root *a, const struct bw_root *b)
{
	for (unsigned k = 0; k < BW_LEVELS_MAX; k++) {
		if (a->levels[k].n != b->levels[k].n)
			return false;
		for (uint32_t i = 0; i < a->levels[k].n; i++) {
			const struct bw_pointer *p = &a->levels[k].pointers[i];
			const struct bw_pointer *q = &b->levels[k].pointers[i];

			if (p->first != q->first || p->last != q->last || p->hash != q->hash)
				return false;
		}
	}
	return true;
}

static bool root_equal(const struct bw_root *a, const struct bw_root *b)
{
	if (a->version != b->version || a->time_ms != b->time_ms || a->first != b->first ||
	    a->swept != b->swept || a->head != b->head || a->bytes != b->bytes ||
	    a->sealed != b->sealed || a->digest != b->digest || a->tail_digest != b->tail_digest ||
	    a->previous_xxh3 != b->previous_xxh3 || a->producers_n != b->producers_n ||
	    a->jobs_n != b->jobs_n || a->tail_n != b->tail_n ||
	    memcmp(a->stream_id, b->stream_id, sizeof(a->stream_id)) != 0)
		return false;
	for (uint32_t i = 0; i < a->producers_n; i++)
		if (!producer_equal(&a->producers[i], &b->producers[i]))
			return false;
	for (uint32_t i = 0; i < a->jobs_n; i++)
		if (!job_equal(&a->jobs[i], &b->jobs[i]))
			return false;
	for (uint32_t i = 0; i < a->tail_n; i++)
		if (!entry_equal(&a->tail[i], &b->tail[i]))
			return false;
	return levels_equal(a, b);
}

static int check_adjacent(const struct bw_stream *s, const struct bw_root *base,
			  const struct bw_root *next)
{
	struct bw_commit commit = {.time_ms = next->time_ms};
	struct bw_new_nodes nodes;
	struct bw_root *again;

	memcpy(commit.id, next->commit_id, sizeof(commit.id));
	int err = bw_apply(s, base, next->changes, next->changes_n, &commit, &again, &nodes);

	if (err)
		return err == -ENOMEM ? err : -BW_E_CONTRADICTION;
	bool equal = root_equal(again, next);

	bw_root_unref(again);
	bw_new_nodes_done(&nodes);
	return equal ? 0 : -BW_E_CONTRADICTION;
}

/* Producers are never forgotten, and neither epoch nor next ever falls. */
static bool producers_follow(const struct bw_root *base, const struct bw_root *next)
{
	for (uint32_t i = 0; i < base->producers_n; i++) {
		const struct bw_producer_entry *p = &base->producers[i];
		const struct bw_producer_entry *q = bw_root_producer(next, p->name);

		if (!q || q->epoch < p->epoch || q->next < p->next)
			return false;
		if (q->epoch == p->epoch && memcmp(q->owner, p->owner, sizeof(p->owner)) != 0)
			return false;
	}
	return true;
}

/* The digest at base's head, where next still knows it: before, in or behind its tail. */
static bool digest_follows(const struct bw_root *base, const struct bw_root *next)
{
	uint64_t start = next->head - next->tail_n;

	return base->head < start ||
	       bw_digest_over(next->tail_digest, next->tail, base->head - start) == base->digest;
}

/* Made by a release that knows of rules for writers that this one does not: what it does cannot be repeated here. */
static bool is_newer(const struct bw_root *base, const struct bw_root *next)
{
	return bw_root_may_write(base) || bw_root_may_write(next);
}

int bw_apply_check(const struct bw_stream *s, const struct bw_root *base, const struct bw_root *next)
{
	if (memcmp(base->stream_id, next->stream_id, sizeof(base->stream_id)) != 0)
		return -BW_E_CONTRADICTION;
	if (next->version == base->version)
		return next->stored_xxh3 == base->stored_xxh3 ? 0 : -BW_E_CONTRADICTION;
	if (next->version == base->version + 1) {
		if (!is_newer(base, next))
			return check_adjacent(s, base, next);
		if (next->previous_xxh3 != base->stored_xxh3)
			return -BW_E_CONTRADICTION;
	}
	if (next->version < base->version || next->head < base->head || next->first < base->first ||
	    next->swept < base->swept || next->bytes < base->bytes ||
	    next->time_ms < base->time_ms || (base->sealed && !next->sealed) ||
	    (base->sealed && next->head != base->head))
		return -BW_E_CONTRADICTION;
	return producers_follow(base, next) && digest_follows(base, next) ? 0
									 : -BW_E_CONTRADICTION;
}
