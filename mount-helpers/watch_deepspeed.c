/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DeepSpeed: global_step500/ or any tag that ends in a number, and `latest` with the tag.
 *
 * Every rank writes its files, and rank 0 writes `latest` when its own are written: there is no barrier
 * before it, so a checkpoint that `latest` names may still lack files of others.  They are told by their
 * numbers (no gap), by their ends (a zip directory), and by the checkpoint before it, which has the same.
 * DeepSpeed deletes nothing by itself.
 */
#include "mount-helpers/watch.h"

#include <string.h>

static bool step(const char *arg, const char *name, bool is_dir, uint64_t *ret)
{
	(void)arg;
	return is_dir && *name != '.' && bw_watch_step_last(name, ret);
}

static enum bw_watch_scan scan(const char *path)
{
	return strcmp(path, "latest") ? bw_watch_scan_of(path) : BW_SCAN_TEXT;
}

/* "[bf16_]zero_pp_rank_D_mp_rank_M_optim_states.pt" */
static bool rank_of(const char *path, uint64_t *ret_data, uint64_t *ret_model)
{
	static const char first[] = "zero_pp_rank_", second[] = "_mp_rank_";
	const char *p = bw_watch_base(path);

	if (!strncmp(p, "bf16_", 5))
		p += 5;
	if (strncmp(p, first, sizeof(first) - 1) != 0)
		return false;
	p += sizeof(first) - 1;
	if (!bw_watch_digits(&p, ret_data) || strncmp(p, second, sizeof(second) - 1) != 0)
		return false;
	p += sizeof(second) - 1;
	return bw_watch_digits(&p, ret_model) && !strcmp(p, "_optim_states.pt");
}

static bool ranks_dense(const struct bw_watch_item *item)
{
	uint64_t n = 0, d, m, data = 0, model = 0;

	for (uint32_t i = 0; i < item->n; i++) {
		if (!rank_of(item->files[i].path, &d, &m))
			continue;
		n++;
		data = d + 1 > data ? d + 1 : data;
		model = m + 1 > model ? m + 1 : model;
	}
	return !n || (data < 1u << 24 && model < 1u << 24 && n == data * model);
}

static bool has_model(const struct bw_watch_item *item)
{
	for (uint32_t i = 0; i < item->n; i++)
		if (bw_watch_ends(item->files[i].path, "model_states.pt"))
			return true;
	return false;
}

/* The checkpoint of the largest step below own. */
static const struct bw_watch_item *before(const struct bw_watch_snapshot *s, uint64_t own)
{
	const struct bw_watch_item *found = NULL;
	uint64_t n, best = 0;

	for (uint32_t i = 0; i < s->n; i++) {
		const struct bw_watch_item *item = &s->items[i];

		if (!step(NULL, item->self.path, item->self.is_dir, &n) || n >= own ||
		    (found && n < best) || !has_model(item))
			continue;
		found = item;
		best = n;
	}
	return found;
}

static void judge_named(const struct bw_watch_snapshot *s, const struct bw_watch_item *item,
			uint64_t own, struct bw_watch_verdict *v)
{
	const struct bw_watch_item *model = before(s, own);

	/* Fewer files than the one before it: ranks that are late, or a run with fewer ranks. */
	v->slow = model && bw_watch_lacks(item, model);
}

static void judge_other(const struct bw_watch_snapshot *s, const struct bw_watch_item *item,
			uint64_t own, const char *tag, struct bw_watch_verdict *v)
{
	const struct bw_watch_item *model = bw_watch_item(s, tag);
	const char *lacks = model ? bw_watch_lacks(item, model) : NULL;
	uint64_t n;

	if (!model)
		bw_watch_say(v, BW_WATCH_UNKNOWN, "latest names %s, which is not there", tag);
	else if (!bw_watch_step_last(tag, &n) || n < own)
		bw_watch_say(v, BW_WATCH_UNKNOWN, "latest does not name it");
	else if (lacks)
		bw_watch_say(v, BW_WATCH_UNKNOWN, "it has no %s, unlike %s", lacks, tag);
}

static void judge(const char *arg, const struct bw_watch_snapshot *s, const struct bw_watch_item *item,
		  struct bw_watch_verdict *v)
{
	const struct bw_watch_item *latest = bw_watch_item(s, "latest");
	uint64_t own = 0;

	(void)arg;
	if (!bw_watch_whole(item, v))
		return;
	step(NULL, item->self.path, true, &own);
	if (!has_model(item))
		bw_watch_say(v, BW_WATCH_TORN, "there are no model states");
	else if (!latest || latest->err || !*latest->self.facts.text)
		bw_watch_say(v, BW_WATCH_UNKNOWN, "latest %s",
			     latest ? "names no tag now" : "is not there");
	else if (!ranks_dense(item))
		bw_watch_say(v, BW_WATCH_UNKNOWN, "optimizer states of some ranks are missing");
	else if (!strcmp(latest->self.facts.text, item->self.path))
		judge_named(s, item, own, v);
	else
		judge_other(s, item, own, latest->self.facts.text, v);
}

const struct bw_watch_format bw_watch_deepspeed = {
	.name = "deepspeed", .step = step, .scan = scan, .judge = judge,
};
