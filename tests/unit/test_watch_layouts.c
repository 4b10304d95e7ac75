/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each trainer's checkpoints, written and deleted call by call, in the order the trainer does it, with the
 * watcher beside it after every single call (C6): at each moment the markers are those of the
 * checkpoints that are whole, and of none that is not.
 */
#include "tests/unit/watch_world.h"

#include <criterion/parameterized.h>

struct layout {
	const char *name, *format;
	const char *digits;		/* how it prints a step */
	const char *const *save;
	const char *checkpoint;		/* what is deleted in the end */
	bool moves;			/* deleted by a rename */
};

static const char *const megatron[] = {
	"D iter_@", "Z iter_@/common.pt", "X iter_@/__0_0.distcp", "X iter_@/__1_0.distcp",
	"X iter_@/__0_1.distcp", "X iter_@/__1_1.distcp",
	"P iter_@/.metadata.tmp __0_0.distcp __0_1.distcp __1_0.distcp __1_1.distcp",
	"R iter_@/.metadata.tmp iter_@/.metadata",
	"J iter_@/metadata.json {'sharded_backend':'torch_dist'}",
	"T latest_checkpointed_iteration.txt #", "!", NULL,
};
static const char *const megatron_legacy[] = {
	"D iter_@", "D iter_@/mp_rank_00", "Z iter_@/mp_rank_00/distrib_optim.pt", "D iter_@/mp_rank_01",
	"Z iter_@/mp_rank_01/model_optim_rng.pt", "Z iter_@/mp_rank_00/model_optim_rng.pt",
	"T latest_checkpointed_iteration.txt #", "!", NULL,
};
static const char *const deepspeed[] = {
	"D global_step@", "Z global_step@/mp_rank_00_model_states.pt",
	"Z global_step@/bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt",
	"Z global_step@/bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt", "T latest global_step#", "!",
	"X zero_to_fp32.py", NULL,
};
/* Rank 0 has finished and writes `latest` before rank 1 has begun. */
static const char *const deepspeed_late[] = {
	"D global_step@", "Z global_step@/mp_rank_00_model_states.pt",
	"Z global_step@/zero_pp_rank_0_mp_rank_00_optim_states.pt", "T latest global_step#",
	"Z global_step@/zero_pp_rank_1_mp_rank_00_optim_states.pt", "!", NULL,
};
static const char *const torchtitan[] = {
	"D step-@", "X step-@/__1_0.distcp", "X step-@/__0_0.distcp",
	"P step-@/.metadata.tmp __0_0.distcp __1_0.distcp", "R step-@/.metadata.tmp step-@/.metadata", "!",
	NULL,
};
static const char *const torchtitan_last[] = {
	"D step-@", "S step-@/model-00001-of-00002.safetensors", "S step-@/model-00002-of-00002.safetensors",
	"J step-@/model.safetensors.index.json"
	" {'weight_map':{'a':'model-00001-of-00002.safetensors','b':'model-00002-of-00002.safetensors'}}",
	"!", NULL,
};
static const char *const folders[] = {
	"D step@", "D step@/train", "D step@/model_and_optim", "Z step@/train/rank0.pt",
	"X step@/model_and_optim/__0_0.distcp", "X step@/model_and_optim/__1_0.distcp",
	"P step@/model_and_optim/.metadata __0_0.distcp __1_0.distcp", "!",
	"J step@/.metadata.json {'version':'v2'}", NULL,
};
static const char *const hf[] = {
	"D checkpoint-@", "J checkpoint-@/config.json {}",
	"S checkpoint-@/model-00001-of-00002.safetensors",
	"S checkpoint-@/model-00002-of-00002.safetensors",
	"J checkpoint-@/model.safetensors.index.json {'metadata':{'total_size':32},"
	"'weight_map':{'a':'model-00001-of-00002.safetensors','b':'model-00002-of-00002.safetensors'}}",
	"Z checkpoint-@/training_args.bin", "Z checkpoint-@/optimizer.pt", "Z checkpoint-@/scheduler.pt",
	"Z checkpoint-@/rng_state_1.pth", "Z checkpoint-@/rng_state_0.pth",
	"J checkpoint-@/trainer_state.json {'best_model_checkpoint':'x/checkpoint-7.bin','epoch':1.5,"
	"'global_step':#,'log_history':[{'loss':1.25,'step':1},{'loss':1,'step':2}],'max_steps':9}",
	"!", NULL,
};
static const char *const hf_older[] = {
	"D checkpoint-@", "Z checkpoint-@/pytorch_model.bin", "Z checkpoint-@/optimizer.pt",
	"Z checkpoint-@/scheduler.pt", "J checkpoint-@/trainer_state.json {'global_step':#}", "!",
	"Z checkpoint-@/rng_state.pth", NULL,
};
static const char *const hf_fsdp[] = {
	"D checkpoint-@", "D checkpoint-@/pytorch_model_fsdp_0",
	"X checkpoint-@/pytorch_model_fsdp_0/__0_0.distcp", "X checkpoint-@/pytorch_model_fsdp_0/__1_0.distcp",
	"P checkpoint-@/pytorch_model_fsdp_0/.metadata __0_0.distcp __1_0.distcp",
	"D checkpoint-@/optimizer_0", "X checkpoint-@/optimizer_0/__0_0.distcp",
	"P checkpoint-@/optimizer_0/.metadata __0_0.distcp", "Z checkpoint-@/scheduler.pt",
	"J checkpoint-@/trainer_state.json {'global_step':#}", "!", NULL,
};
static const char *const hf_deepspeed[] = {
	"D checkpoint-@", "S checkpoint-@/model.safetensors", "D checkpoint-@/global_step#",
	"Z checkpoint-@/global_step#/mp_rank_00_model_states.pt",
	"Z checkpoint-@/global_step#/bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt",
	"T checkpoint-@/latest global_step#", "Z checkpoint-@/rng_state.pth",
	"J checkpoint-@/trainer_state.json {'global_step':#}", "!", NULL,
};
#define ORBAX_TMP "@.orbax-checkpoint-tmp"
static const char *const orbax[] = {
	"D " ORBAX_TMP,
	"J " ORBAX_TMP "/_CHECKPOINT_METADATA {'init_timestamp_nsecs':1700000000000000000,"
	"'commit_timestamp_nsecs':null}",
	"D " ORBAX_TMP "/default", "D " ORBAX_TMP "/default/ocdbt.process_0",
	"X " ORBAX_TMP "/default/ocdbt.process_0/manifest.ocdbt", "D " ORBAX_TMP "/default/d",
	"X " ORBAX_TMP "/default/d/0a1b", "J " ORBAX_TMP "/default/_METADATA {'tree_metadata':{}}",
	"X " ORBAX_TMP "/default/manifest.ocdbt",
	"J " ORBAX_TMP "/_CHECKPOINT_METADATA {'init_timestamp_nsecs':1700000000000000000,"
	"'commit_timestamp_nsecs':1700000000000000001}",
	"R " ORBAX_TMP " @", "!", NULL,
};
static const char *const orbax_bucket[] = {
	"D ckpt_@", "J ckpt_@/_CHECKPOINT_METADATA {'commit_timestamp_nsecs':null}", "D ckpt_@/state",
	"X ckpt_@/state/manifest.ocdbt", "D ckpt_@/state/d", "X ckpt_@/state/d/0a1b",
	"J ckpt_@/_CHECKPOINT_METADATA {'commit_timestamp_nsecs':1700000000000000001}",
	"T ckpt_@/commit_success.txt Checkpoint commit was successful to ckpt_@", "!", NULL,
};
static const char *const lightning[] = {"Z epoch=1-step=@.ckpt", "!", NULL};
static const char *const lightning_sharded[] = {
	"D epoch=1-step=@.ckpt", "X epoch=1-step=@.ckpt/__0_0.distcp", "X epoch=1-step=@.ckpt/__1_0.distcp",
	"P epoch=1-step=@.ckpt/.metadata __0_0.distcp __1_0.distcp", "Z epoch=1-step=@.ckpt/meta.pt", "!",
	NULL,
};
static const char *const nemo[] = {
	"X gpt--step=@-last-unfinished", "D gpt--step=@-last", "D gpt--step=@-last/weights",
	"X gpt--step=@-last/weights/__0_0.distcp", "P gpt--step=@-last/weights/.metadata __0_0.distcp",
	"D gpt--step=@-last/context", "J gpt--step=@-last/context/io.json {}",
	"U gpt--step=@-last-unfinished", "!", NULL,
};
static const char *const pattern[] = {
	"D run-7-step-@", "S run-7-step-@/w.safetensors", "E run-7-step-@/DONE", "!", NULL,
};
static const char *const pattern_rename[] = {
	"D tmp-@", "S tmp-@/w.safetensors", "R tmp-@ ckpt@", "!", NULL,
};

static const struct layout layouts[] = {
	{"megatron torch_dist", "megatron", "%07" PRIu64, megatron, "iter_@", false},
	{"megatron legacy", "megatron", "%07" PRIu64, megatron_legacy, "iter_@", false},
	{"deepspeed", "deepspeed", "%" PRIu64, deepspeed, "global_step@", false},
	{"deepspeed, a late rank", "deepspeed", "%" PRIu64, deepspeed_late, "global_step@", false},
	{"torchtitan", "dcp", "%" PRIu64, torchtitan, "step-@", false},
	{"torchtitan, safetensors", "dcp", "%" PRIu64, torchtitan_last, "step-@", false},
	{"dcp in folders", "dcp", "%" PRIu64, folders, "step@", false},
	{"hf", "hf", "%" PRIu64, hf, "checkpoint-@", false},
	{"hf, random state last", "hf", "%" PRIu64, hf_older, "checkpoint-@", false},
	{"hf with FSDP", "hf", "%" PRIu64, hf_fsdp, "checkpoint-@", false},
	{"hf with DeepSpeed", "hf", "%" PRIu64, hf_deepspeed, "checkpoint-@", false},
	{"orbax", "orbax", "%" PRIu64, orbax, "@", false},
	{"orbax, moved away", "orbax", "%" PRIu64, orbax, "@", true},
	{"orbax on a bucket", "orbax", "%" PRIu64, orbax_bucket, "ckpt_@", false},
	{"lightning", "lightning", "%" PRIu64, lightning, "epoch=1-step=@.ckpt", false},
	{"lightning, sharded", "lightning", "%" PRIu64, lightning_sharded, "epoch=1-step=@.ckpt", false},
	{"nemo", "lightning", "%" PRIu64, nemo, "gpt--step=@-last", false},
	{"pattern", "pattern:run-*-step-{step}/DONE", "%08" PRIu64, pattern, "run-7-step-@", false},
	{"pattern, renamed", "pattern:ckpt{step}", "%" PRIu64, pattern_rename, "ckpt@", false},
};
#define LAYOUTS (sizeof(layouts) / sizeof(layouts[0]))

struct run {
	struct watch_world w;
	const struct layout *l;
	uint64_t live[8], doubt;	/* must have markers; may have one (0: none) */
	unsigned live_n;
	bool quiet;			/* not now */
	const char *line;
	uint32_t checks;
};

static void fill(const struct layout *l, uint64_t step, const char *text, char *to, size_t len)
{
	char padded[32], plain[32];
	size_t n = 0;

	snprintf(padded, sizeof(padded), l->digits, step);
	snprintf(plain, sizeof(plain), "%" PRIu64, step);
	for (const char *p = text; *p && n + 1 < len; p++) {
		if (*p == '@' || *p == '#')
			n += (size_t)snprintf(to + n, len - n, "%s", *p == '@' ? padded : plain);
		else
			to[n++] = *p;
	}
	to[n < len ? n : len - 1] = 0;
}

/* Markers are those of the live checkpoints, and at most one more. */
static void check(struct run *r)
{
	uint32_t n = 0;

	if (r->quiet)
		return;
	world_settle(&r->w);
	r->checks++;
	for (unsigned i = 0; i < r->live_n; i++)
		cr_assert(world_has(&r->w, r->live[i]), "%s: after '%s' step %" PRIu64 " has no marker",
			  r->l->name, r->line, r->live[i]);
	n = r->live_n + (r->doubt && world_has(&r->w, r->doubt));
	cr_assert_eq(r->w.job.markers_n, n, "%s: after '%s' there are %u markers, not %u", r->l->name,
		     r->line, r->w.job.markers_n, n);
}

static void write_states(struct run *r, char kind, const char *path, const char *text)
{
	char bytes[4096];
	size_t len = world_bytes(kind, text, bytes);

	world_write(&r->w, path, "", 0);
	check(r);
	if (kind != 'X' && kind != 'T') {
		world_write(&r->w, path, bytes, len / 2);
		check(r);
	}
	world_write(&r->w, path, bytes, len);
}

static void run_line(struct run *r, uint64_t step, const char *line)
{
	char text[1024], full[1024];

	fill(r->l, step, line, text, sizeof(text));
	char *path = text + 2, *rest = strchr(path, ' ');

	if (rest)
		*rest++ = 0;
	r->line = line;
	if (*text == 'D')
		world_mkdir(&r->w, path);
	else if (*text == 'R')
		world_rename(&r->w, path, rest);
	else if (*text == 'U') {
		world_path(&r->w, path, full);
		cr_assert_eq(unlink(full), 0);
	} else if (*text == 'E')
		world_write(&r->w, path, "", 0);
	else
		write_states(r, *text, path, rest ? rest : "");
}

static void save(struct run *r, uint64_t step)
{
	r->doubt = 0;
	for (const char *const *line = r->l->save; *line; line++) {
		if (**line == '!') {
			r->doubt = step;
			continue;
		}
		run_line(r, step, *line);
		/* The line that completes it: the marker may be set from here on. */
		if (line[1] && *line[1] == '!')
			r->doubt = step;
		check(r);
	}
	r->live[r->live_n++] = step;
	r->doubt = 0;
	check(r);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* rm -r, entry by entry; in one order or in the other. */
static void delete_tree(struct run *r, const char *full, bool backwards)
{
	DIR *d = opendir(full);
	struct dirent *e;
	char *names[64], path[1024];
	unsigned n = 0;

	if (!d) {
		cr_assert_eq(unlink(full), 0);
		return;
	}
	while ((e = readdir(d)))
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			names[n++] = strdup(e->d_name);
	closedir(d);
	qsort(names, n, sizeof(names[0]), by_text);
	for (unsigned i = 0; i < n; i++) {
		char *name = names[backwards ? n - 1 - i : i];

		snprintf(path, sizeof(path), "%s/%s", full, name);
		delete_tree(r, path, backwards);
		check(r);
		free(name);
	}
	cr_assert_eq(rmdir(full), 0);
}

static void rotate(struct run *r, uint64_t step, bool backwards)
{
	char name[256], full[1024];

	for (unsigned i = 0; i < r->live_n; i++)
		if (r->live[i] == step)
			r->live[i] = r->live[--r->live_n];
	r->doubt = step;
	r->line = backwards ? "delete backwards" : "delete";
	fill(r->l, step, r->l->checkpoint, name, sizeof(name));
	world_path(&r->w, name, full);
	if (r->l->moves) {
		world_path(&r->w, "todelete", full);
		(void)mkdir(full, 0755);
		snprintf(full, sizeof(full), "todelete/%s", name);
		world_rename(&r->w, name, full);
	} else {
		delete_tree(r, full, backwards);
	}
	r->doubt = 0;
	check(r);
}

/* The bytes of a file, in three steps; or a directory. */
static void copy_one(struct run *r, const struct watch_world *from, const char *path)
{
	static char bytes[8192];
	char full[1024];
	struct stat st;

	world_path(from, path, full);
	cr_assert_eq(stat(full, &st), 0, "no %s", full);
	if (S_ISDIR(st.st_mode)) {
		world_path(&r->w, path, full);
		(void)mkdir(full, 0755);
		cr_assert_eq(world_look(&r->w), 0);
		return;
	}
	FILE *f = fopen(full, "rb");
	size_t n = f ? fread(bytes, 1, sizeof(bytes), f) : 0;

	cr_assert(f && n < sizeof(bytes));
	fclose(f);
	for (size_t part = 0; part <= 2; part++) {
		world_write(&r->w, path, bytes, n * part / 2);
		cr_assert_eq(world_look(&r->w), 0);
		cr_assert(!world_has(&r->w, 150), "%s: marked while %s is copied", r->l->name, path);
	}
}

/* cp -r, forwards or backwards; a folder always before what is in it. */
static void copy_tree(struct run *r, const struct watch_world *from, const char *path, bool backwards)
{
	char full[1024], below[512], *names[64];
	struct dirent *e;
	unsigned n = 0;

	copy_one(r, from, path);
	world_path(from, path, full);
	DIR *d = opendir(full);

	while (d && (e = readdir(d)))
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			names[n++] = strdup(e->d_name);
	if (d)
		closedir(d);
	qsort(names, n, sizeof(names[0]), by_text);
	for (unsigned i = 0; i < n; i++) {
		char *name = names[backwards ? n - 1 - i : i];

		snprintf(below, sizeof(below), "%s/%s", path, name);
		copy_tree(r, from, below, backwards);
		free(name);
	}
}

static void copied(const struct layout *l, bool backwards)
{
	static const char *const trackers[] = {"latest", "latest_checkpointed_iteration.txt"};
	struct run source = {.l = l, .quiet = true}, r = {.l = l, .quiet = true};
	char name[256], full[1024];

	world_init(&source.w, l->format);
	save(&source, 100);
	save(&source, 150);
	world_init(&r.w, l->format);
	save(&r, 100);
	world_settle(&r.w);
	for (size_t i = 0; i < 2; i++) {	/* at the worst moment */
		world_path(&source.w, trackers[i], full);
		if (access(full, F_OK) == 0)
			copy_one(&r, &source.w, trackers[i]);
	}
	fill(l, 150, l->checkpoint, name, sizeof(name));
	copy_tree(&r, &source.w, name, backwards);
	for (unsigned i = 0; i < BW_WATCH_SLOW + 1 && !world_has(&r.w, 150); i++)
		cr_assert_eq(world_look(&r.w), 0);
	cr_assert(world_has(&r.w, 100) && world_has(&r.w, 150), "%s: the copy is not marked", l->name);
	world_done(&source.w);
	world_done(&r.w);
}

static void trainer_runs(const struct layout *l, bool fresh)
{
	struct run r = {.l = l};

	world_init(&r.w, l->format);
	r.w.fresh = fresh;
	r.quiet = true;
	save(&r, 100);
	r.quiet = false;
	check(&r);
	save(&r, 150);
	save(&r, 200);
	rotate(&r, 100, false);
	save(&r, 250);
	rotate(&r, 150, true);
	cr_assert(r.checks > 12);
	cr_assert_eq(r.w.marked, 4, "%s: %u markers were set for 4 checkpoints", l->name, r.w.marked);
	cr_assert_eq(r.w.withdrawn, 2);
	world_done(&r.w);
}

ParameterizedTestParameters(watch_layouts, c6_after_every_call)
{
	static size_t index[LAYOUTS];

	for (size_t i = 0; i < LAYOUTS; i++)
		index[i] = i;
	return cr_make_param_array(size_t, index, LAYOUTS);
}

ParameterizedTest(size_t *i, watch_layouts, c6_after_every_call)
{
	trainer_runs(&layouts[*i], false);
}

ParameterizedTestParameters(watch_layouts, c6_after_every_call_by_a_watcher_that_was_started_anew)
{
	static size_t index[LAYOUTS];

	for (size_t i = 0; i < LAYOUTS; i++)
		index[i] = i;
	return cr_make_param_array(size_t, index, LAYOUTS);
}

ParameterizedTest(size_t *i, watch_layouts, c6_after_every_call_by_a_watcher_that_was_started_anew)
{
	trainer_runs(&layouts[*i], true);
}

ParameterizedTestParameters(watch_layouts, c6_a_copy_is_marked_when_it_is_whole)
{
	static size_t index[LAYOUTS];

	for (size_t i = 0; i < LAYOUTS; i++)
		index[i] = i;
	return cr_make_param_array(size_t, index, LAYOUTS);
}

ParameterizedTest(size_t *i, watch_layouts, c6_a_copy_is_marked_when_it_is_whole)
{
	copied(&layouts[*i], false);
	copied(&layouts[*i], true);
}
