/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/apply.h"

#include "manifest/apply_draft.h"
#include "manifest/root_entry.h"
#include "manifest/tgb.h"

#include "store/base/hash.h"
#include "store/base/parse.h"

#include <stdlib.h>
#include <string.h>

void bw_new_nodes_done(struct bw_new_nodes *n)
{
	for (uint32_t i = 0; i < n->n; i++)
		bw_buf_done(&n->nodes[i].bytes);
	free(n->nodes);
	n->nodes = NULL;
	n->n = 0;
}

static bool owner_ok(const uint8_t owner[16])
{
	static const uint8_t nobody[16];

	return memcmp(owner, nobody, sizeof(nobody)) != 0;
}

static int check_register(const struct bw_root *r, const struct bw_change *c)
{
	if (!bw_root_producer(r, c->name) && r->producers_n >= BW_PRODUCERS_MAX)
		return -BW_E_LIMIT;
	return 0;
}

static int check_fence(const struct bw_root *r, const struct bw_change *c)
{
	if (r->sealed)
		return -BW_E_SEALED;
	if (!owner_ok(c->owner))
		return -EINVAL;
	return check_register(r, c);
}

/* Would the state fit, with the one it replaces gone? */
static int check_state(const struct bw_root *r, const struct bw_producer_entry *p,
		       const struct bw_change *c)
{
	uint64_t sum = c->state_len;

	if (!c->has_state)
		return 0;
	if (c->state_len > (c->state ? BW_STATE_INLINE_MAX : BW_STATE_MAX))
		return -BW_E_LIMIT;
	if (!c->state)
		return 0;
	if (bw_xxh3(c->state, c->state_len) != c->state_xxh3)
		return -EINVAL;
	for (uint32_t i = 0; i < r->producers_n; i++)
		if (&r->producers[i] != p && r->producers[i].state)
			sum += r->producers[i].state_len;
	return sum > BW_STATES_INLINE_MAX ? -BW_E_LIMIT : 0;
}

static int check_append(const struct bw_root *r, const struct bw_change *c)
{
	const struct bw_producer_entry *p = bw_root_producer(r, c->name);

	if (r->sealed)
		return -BW_E_SEALED;
	if (!owner_ok(c->owner) || !c->raw || !c->footer_len || c->footer_len > BW_FOOTER_MAX ||
	    c->footer_len >= c->size ||
	    (c->footer && bw_tgb_sum(c->footer, c->footer_len) != c->footer_xxh3))
		return -EINVAL;
	/* The owner as well as the epoch: two mounts that race to take a producer both see "epoch 1". */
	if (!p || p->epoch != c->epoch || memcmp(p->owner, c->owner, sizeof(p->owner)) != 0)
		return -BW_E_FENCED;
	if (c->seq != p->next)
		return c->seq < p->next ? -BW_E_SEQ_TAKEN : -BW_E_SEQ_GAP;
	if (r->head + 1 >= BW_STEPS_MAX || c->seq + 1 >= BW_COUNTER_MAX ||
	    c->raw > BW_BYTES_MAX || c->size > BW_BYTES_MAX || r->bytes > BW_BYTES_MAX - c->size)
		return -BW_E_LIMIT;
	return check_state(r, p, c);
}

static int check_mark(const struct bw_root *r, const struct bw_change *c)
{
	const struct bw_job *j = bw_root_job(r, c->name);

	if (!j)
		return -ENOENT;
	if (c->step < r->first)
		return -BW_E_RECLAIMED;
	if (c->step > r->head)
		return -EINVAL;
	if (c->text && strlen(c->text) > BW_MARKER_TEXT_MAX)
		return -BW_E_LIMIT;
	for (uint32_t i = 0; i < j->markers_n; i++)
		if (j->markers[i].step == c->step)
			return 0;
	if (c->only_there)
		return -ENOENT;
	return j->markers_n < BW_MARKERS_MAX ? 0 : -BW_E_LIMIT;
}

static int check_unmark(const struct bw_root *r, const struct bw_change *c)
{
	const struct bw_job *j = bw_root_job(r, c->name);

	for (uint32_t i = 0; j && i < j->markers_n; i++)
		if (j->markers[i].step == c->step)
			return 0;
	return -ENOENT;
}

static int check_job(const struct bw_root *r, const struct bw_change *c)
{
	return bw_root_job(r, c->name) || r->jobs_n < BW_JOBS_MAX ? 0 : -BW_E_LIMIT;
}

static int check_unjob(const struct bw_root *r, const struct bw_change *c)
{
	const struct bw_job *j = bw_root_job(r, c->name);

	if (!j)
		return -ENOENT;
	return j->markers_n ? -ENOTEMPTY : 0;
}

int bw_change_check(const struct bw_stream *s, const struct bw_root *r, const struct bw_change *c)
{
	switch (c->kind) {
	case BW_CHANGE_TRIM:
		return c->trim_most && bw_trim_first(s, r) > c->trim_most ? -EAGAIN : 0;
	case BW_CHANGE_SEAL:
		return 0;
	case BW_CHANGE_SWEEP:
		return c->step <= r->first ? 0 : -EINVAL;
	default:
		break;
	}
	if (!bw_name_valid(c->name))
		return -EINVAL;
	switch (c->kind) {
	case BW_CHANGE_REGISTER:
		return check_register(r, c);
	case BW_CHANGE_FENCE:
		return check_fence(r, c);
	case BW_CHANGE_APPEND:
		return check_append(r, c);
	case BW_CHANGE_JOB:
		return check_job(r, c);
	case BW_CHANGE_UNJOB:
		return check_unjob(r, c);
	case BW_CHANGE_MARK:
		return check_mark(r, c);
	case BW_CHANGE_UNMARK:
		return check_unmark(r, c);
	default:
		return -EINVAL;
	}
}

int bw_apply(const struct bw_stream *s, const struct bw_root *base, const struct bw_change *changes,
	     uint32_t n, const struct bw_commit *commit, struct bw_root **ret,
	     struct bw_new_nodes *ret_nodes)
{
	struct bw_draft d;
	int err = bw_draft_init(&d, s, base, commit);

	if (err)
		return err;
	for (uint32_t i = 0; i < n && !err; i++)
		err = bw_draft_change(&d, &changes[i]);
	if (!err)
		err = bw_draft_finish(&d, ret, ret_nodes);
	bw_draft_done(&d);
	return err;
}
