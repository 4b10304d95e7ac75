/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Megatron-LM: iter_0000500/, and latest_checkpointed_iteration.txt with "500" or "release".
 *
 * All ranks write their files, then .metadata and metadata.json (torch_dist) or nothing more (the older
 * format), then comes a barrier, and rank 0 truncates and writes the tracker.  The tracker is the mark of
 * the checkpoint it names.  An older one bears its mark inside (.metadata, which names its files), or
 * has none, and then it must have the same files as the one that the tracker names.
 * What lies above the tracker is unknown, not torn: somebody may have set it back to rewind.
 */
#include "mount-helpers/watch.h"

#include <string.h>

#define TRACKER "latest_checkpointed_iteration.txt"

static bool step(const char *arg, const char *name, bool is_dir, uint64_t *ret)
{
	const char *p = name + 5;

	(void)arg;
	return is_dir && !strncmp(name, "iter_", 5) && strlen(p) >= 7 && bw_watch_digits(&p, ret) && !*p;
}

static enum bw_watch_scan scan(const char *path)
{
	return strcmp(path, TRACKER) ? bw_watch_scan_of(path) : BW_SCAN_TEXT;
}

/* What the tracker names. */
static bool tracked(const struct bw_watch_snapshot *s, uint64_t *ret, struct bw_watch_verdict *v)
{
	const struct bw_watch_item *t = bw_watch_item(s, TRACKER);
	const char *p = t ? t->self.facts.text : "";

	if (t && !t->err && bw_watch_digits(&p, ret) && !*p)
		return true;
	bw_watch_say(v, BW_WATCH_UNKNOWN, "%s %s", TRACKER,
		     t ? "names no iteration now" : "is not there");
	return false;
}

static const struct bw_watch_item *newest(const struct bw_watch_snapshot *s, uint64_t iteration)
{
	uint64_t n;

	for (uint32_t i = 0; i < s->n; i++)
		if (step(NULL, s->items[i].self.path, s->items[i].self.is_dir, &n) && n == iteration)
			return &s->items[i];
	return NULL;
}

static void judge_older(const struct bw_watch_item *item, const struct bw_watch_item *model,
			bool marked, struct bw_watch_verdict *v)
{
	static const char *const common[] = {"common.pt", "metadata.json"};
	const char *lacks = NULL;

	if (!model) {
		if (!marked)
			bw_watch_say(v, BW_WATCH_UNKNOWN, "nothing to compare it with: the tracker names"
				     " a checkpoint that is not there");
		return;
	}
	if (!marked)
		lacks = bw_watch_lacks(item, model);
	for (size_t i = 0; marked && i < 2 && !lacks; i++)
		if (bw_watch_file(model, common[i]) && !bw_watch_file(item, common[i]))
			lacks = common[i];
	if (lacks)
		bw_watch_say(v, BW_WATCH_UNKNOWN, "it has no %s, unlike %s", lacks, model->self.path);
}

static void judge(const char *arg, const struct bw_watch_snapshot *s, const struct bw_watch_item *item,
		  struct bw_watch_verdict *v)
{
	uint64_t iteration, own = 0;
	uint32_t shards;

	(void)arg;
	if (!bw_watch_whole(item, v) || !bw_watch_shards(item, &shards, v) || !tracked(s, &iteration, v))
		return;
	step(NULL, item->self.path, true, &own);
	if (own > iteration)
		bw_watch_say(v, BW_WATCH_UNKNOWN, "%s does not name it", TRACKER);
	else if (own < iteration)
		judge_older(item, newest(s, iteration), shards > 0, v);
}

const struct bw_watch_format bw_watch_megatron = {
	.name = "megatron", .step = step, .scan = scan, .judge = judge,
};
