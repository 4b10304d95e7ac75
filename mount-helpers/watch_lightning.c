/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lightning: NAME-step=500.ckpt, a file or (sharded) a directory; NeMo 2: NAME--step=500-.../.
 *
 * A single file is written elsewhere and moved to its name; where that crosses file systems the move is a
 * copy.  Its mark is the zip directory at its end.  In a directory .metadata comes, and then meta.pt; or
 * `latest` of DeepSpeed; NeMo has .metadata deeper, and keeps NAME-unfinished beside it while it writes.
 * last.ckpt and hpc_ckpt_N.ckpt do not tell their step, so they are not looked at.
 */
#include "mount-helpers/watch.h"

#include <stdio.h>
#include <string.h>

static bool step(const char *arg, const char *name, bool is_dir, uint64_t *ret)
{
	const char *p = NULL;

	(void)arg;
	for (const char *at = name; (at = strstr(at, "step=")); at += 5)
		p = at + 5;
	return p && *name != '.' && bw_watch_digits(&p, ret) && (is_dir || bw_watch_ends(name, ".ckpt")) &&
	       !bw_watch_ends(name, "-unfinished");
}

static enum bw_watch_scan scan(const char *path)
{
	return strcmp(bw_watch_base(path), "latest") ? bw_watch_scan_of(path) : BW_SCAN_TEXT;
}

static bool is_unfinished(const struct bw_watch_snapshot *s, const char *name)
{
	size_t len = strlen(name), stem = bw_watch_ends(name, ".ckpt") ? len - 5 : len;
	char path[512];

	snprintf(path, sizeof(path), "%s-unfinished", name);
	if (bw_watch_item(s, path))
		return true;
	snprintf(path, sizeof(path), "%.*s-unfinished", (int)stem, name);
	return bw_watch_item(s, path);
}

static void judge(const char *arg, const struct bw_watch_snapshot *s, const struct bw_watch_item *item,
		  struct bw_watch_verdict *v)
{
	const struct bw_watch_file *latest = bw_watch_file(item, "latest");
	uint32_t shards;

	(void)arg;
	if (!bw_watch_whole(item, v) || !bw_watch_shards(item, &shards, v))
		return;
	if (is_unfinished(s, item->self.path))
		bw_watch_say(v, BW_WATCH_TORN, "%s-unfinished is there", item->self.path);
	else if (!item->self.is_dir)
		v->slow = item->self.facts.end != BW_END_WHOLE;
	else if (latest && !bw_watch_file(item, latest->facts.text))
		bw_watch_say(v, BW_WATCH_TORN, "latest names %s, which is not there", latest->facts.text);
	else if (!latest && !shards)
		bw_watch_say(v, BW_WATCH_TORN, "there is neither .metadata nor latest");
	else if (bw_watch_file(item, ".metadata") && !bw_watch_file(item, "meta.pt"))
		bw_watch_say(v, BW_WATCH_TORN, "there is no meta.pt");
}

const struct bw_watch_format bw_watch_lightning = {
	.name = "lightning", .step = step, .scan = scan, .judge = judge,
};
