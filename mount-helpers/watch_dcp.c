/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PyTorch Distributed Checkpoint, and torchtitan: step-500/ or any directory whose name ends in a number.
 *
 * All ranks write __R_N.distcp; then rank 0 writes .metadata.tmp, syncs it, removes an old .metadata and
 * renames.  .metadata is the trainer's mark, and it names the files.  The last checkpoint of torchtitan
 * may be safetensors with an index instead.  A checkpoint may consist of several folders, each with its
 * own .metadata.  Rotation deletes the folder file by file, in any order.
 */
#include "mount-helpers/watch.h"

#include <string.h>

static bool step(const char *arg, const char *name, bool is_dir, uint64_t *ret)
{
	(void)arg;
	return is_dir && *name != '.' && bw_watch_step_last(name, ret);
}

static void judge(const char *arg, const struct bw_watch_snapshot *s, const struct bw_watch_item *item,
		  struct bw_watch_verdict *v)
{
	bool marked = false;
	uint32_t shards;

	(void)arg;
	(void)s;
	if (!bw_watch_whole(item, v) || !bw_watch_shards(item, &shards, v))
		return;
	for (uint32_t i = 0; i < item->n && !marked; i++)
		marked = !strcmp(bw_watch_base(item->files[i].path), ".metadata") ||
			 !strcmp(item->files[i].path, "model.safetensors.index.json");
	if (!marked)
		bw_watch_say(v, BW_WATCH_TORN, "there is no .metadata");
}

const struct bw_watch_format bw_watch_dcp = {
	.name = "dcp", .step = step, .scan = bw_watch_scan_of, .judge = judge,
};
