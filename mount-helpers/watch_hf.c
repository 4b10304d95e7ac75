/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hugging Face Trainer: checkpoint-500/.
 *
 * The model (and the states of DeepSpeed or FSDP), optimizer, scheduler and the random state of each rank
 * are written, and trainer_state.json by rank 0 near the end, not atomically; some releases write the
 * random states after it.  trainer_state.json, whole and with the global_step of the name, is the
 * trainer's mark.  Rotation deletes the folder file by file.
 */
#include "mount-helpers/watch.h"

#include <inttypes.h>
#include <string.h>

#define STATE "trainer_state.json"

static bool step(const char *arg, const char *name, bool is_dir, uint64_t *ret)
{
	static const char prefix[] = "checkpoint-";
	const char *p = name + sizeof(prefix) - 1;

	(void)arg;
	return is_dir && !strncmp(name, prefix, sizeof(prefix) - 1) && bw_watch_digits(&p, ret) && !*p;
}

static enum bw_watch_scan scan(const char *path)
{
	const char *below = strchr(path, '/');

	if (below && !strcmp(below, "/" STATE))
		return BW_SCAN_JSON;
	if (below && !strcmp(below, "/latest"))
		return BW_SCAN_TEXT;
	return bw_watch_scan_of(path);
}

static bool is_weights(const char *path)
{
	const char *base = bw_watch_base(path);

	if (base != path || !strcmp(base, "training_args.bin"))
		return base != path && (bw_watch_ends(path, ".pt") || bw_watch_ends(path, ".distcp") ||
					bw_watch_ends(path, ".safetensors") || bw_watch_ends(path, ".bin"));
	return bw_watch_ends(path, ".safetensors") || bw_watch_ends(path, ".bin");
}

static bool has_weights(const struct bw_watch_item *item)
{
	for (uint32_t i = 0; i < item->n; i++)
		if (!item->files[i].is_dir && is_weights(item->files[i].path))
			return true;
	return false;
}

/* rng_state_0.pth .. rng_state_N.pth without a gap. */
static bool ranks_dense(const struct bw_watch_item *item)
{
	static const char prefix[] = "rng_state_";
	uint64_t n = 0, rank, max = 0;

	for (uint32_t i = 0; i < item->n; i++) {
		const char *p = item->files[i].path;

		if (strncmp(p, prefix, sizeof(prefix) - 1) != 0)
			continue;
		p += sizeof(prefix) - 1;
		if (!bw_watch_digits(&p, &rank) || strcmp(p, ".pth") != 0)
			continue;
		n++;
		max = rank + 1 > max ? rank + 1 : max;
	}
	return n == max;
}

static void judge(const char *arg, const struct bw_watch_snapshot *s, const struct bw_watch_item *item,
		  struct bw_watch_verdict *v)
{
	const struct bw_watch_file *state, *latest;
	uint64_t own = 0;
	uint32_t shards;

	(void)arg;
	(void)s;
	if (!bw_watch_whole(item, v) || !bw_watch_shards(item, &shards, v))
		return;
	step(NULL, item->self.path, true, &own);
	state = bw_watch_file(item, STATE);
	latest = bw_watch_file(item, "latest");
	if (!state || state->facts.end != BW_END_WHOLE)
		bw_watch_say(v, BW_WATCH_TORN, "%s is %s", STATE, state ? "cut off" : "not there");
	else if (!state->facts.has_step || state->facts.step != own)
		bw_watch_say(v, BW_WATCH_UNKNOWN, "the global_step of %s is not %" PRIu64, STATE, own);
	else if (latest && !bw_watch_file(item, latest->facts.text))
		bw_watch_say(v, BW_WATCH_TORN, "latest names %s, which is not there", latest->facts.text);
	else if (!has_weights(item))
		bw_watch_say(v, BW_WATCH_UNKNOWN, "there are no weights");
	else if (!ranks_dense(item))
		bw_watch_say(v, BW_WATCH_UNKNOWN, "random states of some ranks are missing");
}

const struct bw_watch_format bw_watch_hf = {
	.name = "hf", .step = step, .scan = scan, .judge = judge,
};
