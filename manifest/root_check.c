/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/root_check.h"

#include "manifest/root_entry.h"
#include "manifest/root_footers.h"
#include "store/base/hash.h"
#include "store/base/parse.h"

#include <string.h>

bool bw_state_valid(const uint8_t *state, uint32_t len, uint64_t xxh3)
{
	if (!state)
		return len <= BW_STATE_MAX;
	return len <= BW_STATE_INLINE_MAX && bw_xxh3(state, len) == xxh3;
}

static bool time_valid(int64_t ms)
{
	return ms >= 0 && (uint64_t)ms <= BW_JSON_INT_MAX;
}

static const char *check_numbers(const struct bw_root *r)
{
	if (r->version < 1 || r->version > BW_VERSION_MAX)
		return "version out of range";
	if (!time_valid(r->time_ms))
		return "time out of range";
	if (r->head > BW_STEPS_MAX || r->first > r->head || r->swept > r->first)
		return "not swept <= first <= head";
	if (r->bytes > BW_BYTES_MAX || (r->head == 0 && r->bytes))
		return "sum of sizes out of range";
	if (r->version == 1 && (r->head || r->previous_xxh3 || r->changes_n || r->producers_n ||
				r->jobs_n || r->sealed))
		return "version 1 is not empty";
	return NULL;
}

static bool append_valid(const struct bw_change *c)
{
	return c->epoch > 0 && c->epoch < BW_COUNTER_MAX && c->seq < BW_COUNTER_MAX &&
	       c->size <= BW_BYTES_MAX && c->raw > 0 && c->raw <= BW_BYTES_MAX &&
	       c->footer_len > 0 && c->footer_len <= BW_FOOTER_MAX && c->footer_len < c->size &&
	       (!c->has_state || bw_state_valid(c->state, c->state_len, c->state_xxh3));
}

static bool change_valid(const struct bw_change *c)
{
	switch (c->kind) {
	case BW_CHANGE_REGISTER:
	case BW_CHANGE_FENCE:
	case BW_CHANGE_JOB:
	case BW_CHANGE_UNJOB:
		return bw_name_valid(c->name);
	case BW_CHANGE_APPEND:
		return bw_name_valid(c->name) && append_valid(c);
	case BW_CHANGE_MARK:
		return bw_name_valid(c->name) && c->step <= BW_STEPS_MAX &&
		       (!c->text || strlen(c->text) <= BW_MARKER_TEXT_MAX);
	case BW_CHANGE_UNMARK:
		return bw_name_valid(c->name) && c->step <= BW_STEPS_MAX;
	case BW_CHANGE_SWEEP:
		return c->step <= BW_STEPS_MAX;
	case BW_CHANGE_TRIM:
	case BW_CHANGE_SEAL:
		return true;
	}
	return false;
}

static const char *check_changes(const struct bw_root *r)
{
	uint32_t appends = 0;

	if (r->changes_n > BW_CHANGES_MAX)
		return "too many changes";
	for (uint32_t i = 0; i < r->changes_n; i++) {
		if (!change_valid(&r->changes[i]))
			return "a change is malformed";
		appends += r->changes[i].kind == BW_CHANGE_APPEND;
	}
	return appends > BW_APPENDS_MAX ? "too many appends" : NULL;
}

static bool producer_valid(const struct bw_root *r, const struct bw_producer_entry *p)
{
	static const uint8_t nobody[sizeof(p->owner)];

	if (!bw_name_valid(p->name) || p->epoch >= BW_COUNTER_MAX || p->next > r->head ||
	    p->last_version > r->version || !time_valid(p->last_ms) || p->last_ms > r->time_ms)
		return false;
	if (p->epoch == 0 && (p->next || memcmp(p->owner, nobody, sizeof(nobody)) != 0))
		return false;
	if (p->next == 0 ? p->last_step != 0 : p->last_step >= r->head)
		return false;
	return !p->has_state ||
	       (p->state_seq < p->next && p->state_epoch > 0 && p->state_epoch <= p->epoch &&
		bw_state_valid(p->state, p->state_len, p->state_xxh3));
}

static const char *check_producers(const struct bw_root *r)
{
	uint64_t inline_bytes = 0, batches = 0;

	if (r->producers_n > BW_PRODUCERS_MAX)
		return "too many producers";
	for (uint32_t i = 0; i < r->producers_n; i++) {
		const struct bw_producer_entry *p = &r->producers[i];

		if (!producer_valid(r, p))
			return "a producer is malformed";
		if (i && strcmp(p[-1].name, p->name) >= 0)
			return "producers out of order";
		batches += p->next;	/* at most 1024 times head: cannot overflow */
		if (p->has_state && p->state)
			inline_bytes += p->state_len;
	}
	if (batches > r->head)
		return "more batches than steps";
	return inline_bytes > BW_STATES_INLINE_MAX ? "too many inline states" : NULL;
}

static const char *check_jobs(const struct bw_root *r)
{
	if (r->jobs_n > BW_JOBS_MAX)
		return "too many jobs";
	for (uint32_t i = 0; i < r->jobs_n; i++) {
		const struct bw_job *job = &r->jobs[i];

		if (!bw_name_valid(job->name) || job->markers_n > BW_MARKERS_MAX)
			return "a job is malformed";
		if (i && strcmp(job[-1].name, job->name) >= 0)
			return "jobs out of order";
		for (uint32_t k = 0; k < job->markers_n; k++) {
			const struct bw_marker *m = &job->markers[k];

			if (m->step > r->head || !m->text || strlen(m->text) > BW_MARKER_TEXT_MAX)
				return "a marker is malformed";
			if (k && m[-1].step >= m->step)
				return "markers out of order";
		}
	}
	return NULL;
}

/* Walks from the oldest pointer to the newest; they must touch each other and reach the tail. */
static const char *check_levels(const struct bw_root *r)
{
	uint64_t start = r->head - r->tail_n, reach = 0;
	bool any = false;

	if (r->levels_n > BW_LEVELS_MAX)
		return "too many levels";
	for (unsigned level = r->levels_n; level-- > 0;) {
		if (r->levels[level].n > BW_TOP_POINTERS_MAX)
			return "too many pointers";
		for (uint32_t i = 0; i < r->levels[level].n; i++) {
			const struct bw_pointer *p = &r->levels[level].pointers[i];

			if (!bw_pointer_valid(level, p))
				return "a pointer does not span a whole node";
			if (any ? p->first != reach : p->first > r->swept)
				return "a gap between pointers";
			reach = p->last + 1;
			any = true;
		}
	}
	if (any ? reach != start : start > r->swept)
		return "a gap before the tail";
	return start == 0 && r->tail_digest ? "the digest does not begin at 0" : NULL;
}

/* The tail alone: dense, sums and digests chained, up to head. */
static const char *check_tail(const struct bw_root *r)
{
	uint64_t digest = r->tail_digest;

	if (r->tail_n > BW_TAIL_MAX || r->tail_n > r->head)
		return "too many entries";
	if ((r->head - r->tail_n) % BW_LEAF_ENTRIES)
		return "the tail does not begin where a leaf would";
	for (uint32_t i = 0; i < r->tail_n; i++) {
		const struct bw_entry *e = &r->tail[i];

		if (!bw_entry_valid(e) || e->version > r->version || e->time_ms > r->time_ms)
			return "an entry is malformed";
		if (i ? !bw_entry_follows(e - 1, e) : e->step != r->head - r->tail_n)
			return "an entry does not follow the one before";
		if (e->step == 0 && e->before)
			return "the sum of sizes does not begin at 0";
		digest = bw_digest_next(digest, e);
	}
	if (r->tail_n) {
		const struct bw_entry *e = &r->tail[r->tail_n - 1];

		if (e->before + e->size != r->bytes)
			return "the sum of sizes does not end at the root's";
	}
	return digest != r->digest ? "the digest does not end at the root's" : NULL;
}

/*
 * The tail against the producers (I5): from the newest entry down, the seqs of a producer count down
 * from next - 1 and its epochs do not rise.
 */
static const char *check_seqs(const struct bw_root *r)
{
	struct {
		uint64_t next, epoch;
	} places[BW_PRODUCERS_MAX];

	for (uint32_t i = 0; i < r->producers_n; i++) {
		places[i].next = r->producers[i].next;
		places[i].epoch = r->producers[i].epoch;
	}
	for (uint32_t i = r->tail_n; i-- > 0;) {
		const struct bw_entry *e = &r->tail[i];
		const struct bw_producer_entry *p = bw_root_producer(r, e->producer);

		if (!p)
			return "an entry of an unknown producer";
		size_t at = (size_t)(p - r->producers);
		if (places[at].next == p->next && p->last_step != e->step)
			return "a producer's last step is not its last entry";
		if (e->seq + 1 != places[at].next || e->epoch > places[at].epoch)
			return "a gap in a producer's seqs or epochs";
		places[at].next = e->seq;
		places[at].epoch = e->epoch;
	}
	return NULL;
}

const char *bw_root_check(const struct bw_root *r)
{
	const char *why = check_numbers(r);

	if (!why)
		why = check_changes(r);
	if (!why)
		why = check_producers(r);
	if (!why)
		why = check_jobs(r);
	if (!why)
		why = check_tail(r);
	if (!why)
		why = check_levels(r);
	if (!why)
		why = check_seqs(r);
	return why ? why : bw_root_footers_check(r);
}
