/* SPDX-License-Identifier: Apache-2.0 */
/* What each format says of a directory as it stands (C6): names, and each thing that may be wrong. */
#include "tests/unit/watch_world.h"

struct found {
	const char *format, *name;	/* the checkpoint that is judged */
	enum bw_watch_state state;
	bool slow;
	const char *lines[16];	/* see watch_world.h; files are whole; H: a JSON file without its end */
};

#define LINES(...) {__VA_ARGS__}

static void line_write(const struct watch_world *w, const char *line)
{
	char text[512], bytes[4096];

	snprintf(text, sizeof(text), "%s", line);
	char *path = text + 2, *rest = strchr(path, ' ');

	if (rest)
		*rest++ = 0;
	if (*text == 'D') {
		world_mkdir(w, path);
		return;
	}
	size_t len = *text == 'E' ? 0 : world_bytes(*text == 'H' ? 'J' : *text, rest ? rest : "", bytes);

	world_write(w, path, bytes, *text == 'H' ? len - 1 : len);
}

static void check_found(const struct found *f)
{
	struct bw_watch_verdict v = {.state = BW_WATCH_DONE};
	struct watch_world w;

	world_init(&w, f->format);
	for (const char *const *line = f->lines; *line; line++)
		line_write(&w, *line);
	cr_assert_eq(bw_watch_look(w.dir, w.rules.format, w.rules.arg, NULL, &w.last), 0);
	const struct bw_watch_item *item = bw_watch_item(&w.last, f->name);

	cr_assert(item, "%s: no %s", f->format, f->name);
	w.rules.format->judge(w.rules.arg, &w.last, item, &v);
	cr_assert(v.state == f->state && v.slow == f->slow, "%s %s: state %d, slow %d: '%s'", f->lines[0],
		  f->lines[1], v.state, v.slow, v.why);
	cr_assert_eq(!*v.why, v.state == BW_WATCH_DONE, "%s", v.why);
	world_done(&w);
}

static void check_all(const struct found *found, size_t n)
{
	for (size_t i = 0; i < n; i++)
		check_found(&found[i]);
}
#define CHECK(array) check_all(array, sizeof(array) / sizeof(array[0]))

#define MODEL "X step-5/__0_0.distcp"

Test(watch_formats, c6_dcp)
{
	static const struct found found[] = {
		{"dcp", "step-5", BW_WATCH_DONE, false,
		 LINES("D step-5", MODEL, "P step-5/.metadata __0_0.distcp")},
		{"dcp", "step-5", BW_WATCH_TORN, false,
		 LINES("D step-5", MODEL, "P step-5/.metadata __0_0.distcp __1_0.distcp")},
		{"dcp", "step-5", BW_WATCH_TORN, false,
		 LINES("D step-5", "E step-5/__0_0.distcp", "P step-5/.metadata __0_0.distcp")},
		{"dcp", "step-5", BW_WATCH_TORN, false,
		 LINES("D step-5", MODEL, "P step-5/.metadata __0_0.distcp", "E step-5/.metadata.tmp")},
		{"dcp", "step-5", BW_WATCH_TORN, false, LINES("D step-5", MODEL)},
		{"dcp", "step-5", BW_WATCH_TORN, false, LINES("D step-5", "X step-5/notes.txt")},
		{"dcp", "step-5", BW_WATCH_TORN, false,
		 LINES("D step-5", "D step-5/a", "D step-5/b", "X step-5/a/__0_0.distcp",
		       "P step-5/a/.metadata __0_0.distcp", "X step-5/b/__0_0.distcp")},
		{"dcp", "step-5", BW_WATCH_TORN, false,
		 LINES("D step-5", "J step-5/model.safetensors.index.json {'a':'m.safetensors'}")},
		{"dcp", "step-5", BW_WATCH_TORN, false,
		 LINES("D step-5", "S step-5/m.safetensors",
		       "H step-5/model.safetensors.index.json {'a':'m.safetensors'}")},
		{"dcp", "step-5", BW_WATCH_DONE, false,
		 LINES("D step-5", "S step-5/m.safetensors",
		       "J step-5/model.safetensors.index.json {'a':'m.safetensors'}")},
	};

	CHECK(found);
}

#define HF "D checkpoint-5", "S checkpoint-5/model.safetensors"
#define HF_STATE "J checkpoint-5/trainer_state.json {'global_step':5}"

Test(watch_formats, c6_hf)
{
	static const struct found found[] = {
		{"hf", "checkpoint-5", BW_WATCH_DONE, false, LINES(HF, HF_STATE)},
		{"hf", "checkpoint-5", BW_WATCH_TORN, false, LINES(HF)},
		{"hf", "checkpoint-5", BW_WATCH_TORN, false,
		 LINES(HF, "H checkpoint-5/trainer_state.json {'global_step':5}")},
		{"hf", "checkpoint-5", BW_WATCH_UNKNOWN, false,
		 LINES(HF, "J checkpoint-5/trainer_state.json {'global_step':4}")},
		{"hf", "checkpoint-5", BW_WATCH_UNKNOWN, false,
		 LINES(HF, "J checkpoint-5/trainer_state.json {'log_history':[{'global_step':5}]}")},
		{"hf", "checkpoint-5", BW_WATCH_UNKNOWN, false,
		 LINES("D checkpoint-5", "Z checkpoint-5/training_args.bin", HF_STATE)},
		{"hf", "checkpoint-5", BW_WATCH_UNKNOWN, false,
		 LINES(HF, HF_STATE, "Z checkpoint-5/rng_state_1.pth")},
		{"hf", "checkpoint-5", BW_WATCH_DONE, false,
		 LINES(HF, HF_STATE, "Z checkpoint-5/rng_state_1.pth", "Z checkpoint-5/rng_state_0.pth")},
		{"hf", "checkpoint-5", BW_WATCH_TORN, false,
		 LINES(HF, HF_STATE, "T checkpoint-5/latest global_step5")},
		{"hf", "checkpoint-5", BW_WATCH_TORN, false,
		 LINES(HF, HF_STATE, "J checkpoint-5/m.safetensors.index.json {'a':'m-2.safetensors'}")},
		{"hf", "checkpoint-5", BW_WATCH_DONE, false,
		 LINES(HF, "J checkpoint-5/trainer_state.json {'best':'gone.bin','global_step':5}")},
	};

	CHECK(found);
}

#define OLD "D iter_0000005", "D iter_0000005/mp_rank_00", "Z iter_0000005/mp_rank_00/model_optim_rng.pt"
#define NEW                                                                                        \
	"D iter_0000007", "D iter_0000007/mp_rank_00", "Z iter_0000007/mp_rank_00/model_optim_rng.pt"
#define TRACKER "T latest_checkpointed_iteration.txt "

Test(watch_formats, c6_megatron)
{
	static const struct found found[] = {
		{"megatron", "iter_0000005", BW_WATCH_DONE, false, LINES(OLD, TRACKER "5")},
		{"megatron", "iter_0000005", BW_WATCH_DONE, false, LINES(OLD, NEW, TRACKER "7\n")},
		{"megatron", "iter_0000007", BW_WATCH_UNKNOWN, false, LINES(OLD, NEW, TRACKER "5")},
		{"megatron", "iter_0000005", BW_WATCH_UNKNOWN, false, LINES(OLD)},
		{"megatron", "iter_0000005", BW_WATCH_UNKNOWN, false, LINES(OLD, TRACKER "release")},
		{"megatron", "iter_0000005", BW_WATCH_UNKNOWN, false, LINES(OLD, TRACKER "5x")},
		{"megatron", "iter_0000005", BW_WATCH_UNKNOWN, false, LINES(OLD, TRACKER)},
		{"megatron", "iter_0000005", BW_WATCH_UNKNOWN, false, LINES(OLD, TRACKER "7")},
		{"megatron", "iter_0000005", BW_WATCH_UNKNOWN, false,
		 LINES(OLD, NEW, "Z iter_0000007/mp_rank_00/distrib_optim.pt", TRACKER "7")},
		{"megatron", "iter_0000005", BW_WATCH_TORN, false,
		 LINES(OLD, NEW, "E iter_0000005/mp_rank_00/distrib_optim.pt", TRACKER "7")},
		{"megatron", "iter_0000005", BW_WATCH_DONE, false,
		 LINES("D iter_0000005", "X iter_0000005/__0_0.distcp",
		       "P iter_0000005/.metadata __0_0.distcp", TRACKER "7", NEW)},
		{"megatron", "iter_0000005", BW_WATCH_UNKNOWN, false,
		 LINES("D iter_0000005", "X iter_0000005/__0_0.distcp",
		       "P iter_0000005/.metadata __0_0.distcp", TRACKER "7", NEW, "Z iter_0000007/common.pt")},
	};

	CHECK(found);
}

#define DS(n, rank)                                                                                \
	"Z global_step" n "/mp_rank_00_model_states.pt",                                           \
		"Z global_step" n "/zero_pp_rank_" rank "_mp_rank_00_optim_states.pt"

Test(watch_formats, c6_deepspeed)
{
	static const struct found found[] = {
		{"deepspeed", "global_step5", BW_WATCH_DONE, false,
		 LINES("D global_step5", DS("5", "0"), "T latest global_step5")},
		{"deepspeed", "global_step5", BW_WATCH_UNKNOWN, false,
		 LINES("D global_step5", DS("5", "1"), "T latest global_step5")},
		{"deepspeed", "global_step5", BW_WATCH_TORN, false,
		 LINES("D global_step5", "Z global_step5/zero_pp_rank_0_mp_rank_00_optim_states.pt",
		       "T latest global_step5")},
		{"deepspeed", "global_step5", BW_WATCH_UNKNOWN, false,
		 LINES("D global_step5", DS("5", "0"), "E latest")},
		{"deepspeed", "global_step7", BW_WATCH_UNKNOWN, false,
		 LINES("D global_step5", DS("5", "0"), "D global_step7", DS("7", "0"),
		       "T latest global_step5")},
		{"deepspeed", "global_step5", BW_WATCH_DONE, false,
		 LINES("D global_step5", DS("5", "0"), "D global_step7", DS("7", "0"),
		       "T latest global_step7")},
		{"deepspeed", "global_step7", BW_WATCH_DONE, true,
		 LINES("D global_step5", DS("5", "0"), "D global_step7",
		       "Z global_step7/mp_rank_00_model_states.pt", "T latest global_step7")},
		{"deepspeed", "global_step5", BW_WATCH_UNKNOWN, false,
		 LINES("D global_step5", "Z global_step5/mp_rank_00_model_states.pt", "D global_step7",
		       DS("7", "0"), "T latest global_step7")},
		{"deepspeed", "global_step5", BW_WATCH_UNKNOWN, false,
		 LINES("D global_step5", DS("5", "0"), "T latest last")},
	};

	CHECK(found);
}

#define ORBAX(name) "D " name, "D " name "/state", "X " name "/state/manifest.ocdbt", "D " name "/state/d"
#define COMMITTED "/_CHECKPOINT_METADATA {'commit_timestamp_nsecs':1700000000000000001}"

Test(watch_formats, c6_orbax)
{
	static const struct found found[] = {
		{"orbax", "5", BW_WATCH_DONE, false, LINES(ORBAX("5"), "J 5" COMMITTED)},
		{"orbax", "5", BW_WATCH_DONE, true, LINES(ORBAX("5"))},
		{"orbax", "5", BW_WATCH_TORN, false,
		 LINES(ORBAX("5"), "J 5/_CHECKPOINT_METADATA {'commit_timestamp_nsecs':null}")},
		{"orbax", "5", BW_WATCH_TORN, false, LINES(ORBAX("5"), "H 5" COMMITTED)},
		{"orbax", "5", BW_WATCH_TORN, false,
		 LINES(ORBAX("5"), "J 5" COMMITTED, ORBAX("7"), "T 7/commit_success.txt yes")},
		{"orbax", "7", BW_WATCH_DONE, false,
		 LINES(ORBAX("5"), "J 5" COMMITTED, ORBAX("7"), "T 7/commit_success.txt yes")},
		{"orbax", "5", BW_WATCH_TORN, false,
		 LINES("D 5", "D 5/state", "D 5/state/d", "X 5/state/d/0a", "J 5" COMMITTED)},
		{"orbax", "5", BW_WATCH_TORN, false, LINES(ORBAX("5"), "D 5/data", "J 5" COMMITTED)},
		{"orbax", "5", BW_WATCH_TORN, false,
		 LINES(ORBAX("5"), "D 5/data.orbax-checkpoint-tmp-1", "J 5" COMMITTED)},
		{"orbax", "5", BW_WATCH_TORN, false, LINES("D 5", "J 5" COMMITTED)},
	};

	CHECK(found);
}

#define SHARDED "D a-step=5.ckpt", "X a-step=5.ckpt/__0_0.distcp", "P a-step=5.ckpt/.metadata __0_0.distcp"

Test(watch_formats, c6_lightning)
{
	static const struct found found[] = {
		{"lightning", "a-step=5.ckpt", BW_WATCH_DONE, false, LINES("Z a-step=5.ckpt")},
		{"lightning", "a-step=5.ckpt", BW_WATCH_DONE, true, LINES("X a-step=5.ckpt")},
		{"lightning", "a-step=5.ckpt", BW_WATCH_TORN, false, LINES("E a-step=5.ckpt")},
		{"lightning", "a-step=5.ckpt", BW_WATCH_TORN, false,
		 LINES("Z a-step=5.ckpt", "E a-step=5-unfinished")},
		{"lightning", "a-step=5.ckpt", BW_WATCH_TORN, false,
		 LINES("Z a-step=5.ckpt", "E a-step=5.ckpt-unfinished")},
		{"lightning", "a-step=5.ckpt", BW_WATCH_TORN, false, LINES(SHARDED)},
		{"lightning", "a-step=5.ckpt", BW_WATCH_DONE, false,
		 LINES(SHARDED, "Z a-step=5.ckpt/meta.pt")},
		{"lightning", "a-step=5", BW_WATCH_TORN, false,
		 LINES("D a-step=5", "T a-step=5/latest checkpoint")},
		{"lightning", "a-step=5", BW_WATCH_TORN, false, LINES("D a-step=5", "Z a-step=5/a.pt")},
	};

	CHECK(found);
}

Test(watch_formats, c6_pattern)
{
	static const struct found found[] = {
		{"pattern:s{step}/a/DONE", "s5", BW_WATCH_TORN, false, LINES("D s5", "D s5/a", "X s5/a/w.bin")},
		{"pattern:s{step}/a/DONE", "s5", BW_WATCH_DONE, false, LINES("D s5", "D s5/a", "E s5/a/DONE")},
		{"pattern:s{step}", "s5", BW_WATCH_TORN, false, LINES("E s5", "E x")},
		{"pattern:s{step}", "s5", BW_WATCH_DONE, false, LINES("X s5", "E x")},
		{"pattern:s{step}", "s5", BW_WATCH_TORN, false, LINES("D s5", "E x")},
	};

	CHECK(found);
}

struct name {
	const char *format, *name;
	bool is_dir;
	int64_t step;		/* -1: no checkpoint's name */
};

Test(watch_formats, c6_names)
{
	static const struct name names[] = {
		{"megatron", "iter_0000500", true, 500},
		{"megatron", "iter_12345678", true, 12345678},
		{"megatron", "iter_500", true, -1},
		{"megatron", "iter_0000500", false, -1},
		{"megatron", "iter_0000500.tmp", true, -1},
		{"megatron", "release", true, -1},
		{"deepspeed", "global_step500", true, 500},
		{"deepspeed", "my-tag-7", true, 7},
		{"deepspeed", "best", true, -1},
		{"dcp", "step-500", true, 500},
		{"dcp", "500", true, 500},
		{"dcp", ".step-500", true, -1},
		{"dcp", "step-500", false, -1},
		{"dcp", "step-99999999999999999999999", true, -1},
		{"hf", "checkpoint-500", true, 500},
		{"hf", "tmp-checkpoint-500", true, -1},
		{"hf", "checkpoint-best", true, -1},
		{"orbax", "500", true, 500},
		{"orbax", "ckpt_0500", true, 500},
		{"orbax", "500.orbax-checkpoint-tmp-1700", true, -1},
		{"orbax", "ckpt_500.orbax-checkpoint-tmp", true, -1},
		{"orbax", "_500", true, -1},
		{"lightning", "epoch=1-step=500.ckpt", false, 500},
		{"lightning", "epoch=1-step=500-v1.ckpt", false, 500},
		{"lightning", "gpt--step=500-last", true, 500},
		{"lightning", "gpt--step=500-last-unfinished", false, -1},
		{"lightning", "last.ckpt", false, -1},
		{"lightning", "epoch=1-step=500.txt", false, -1},
		{"pattern:ep*-ba{step}-rank0.pt", "ep1-ba500-rank0.pt", false, 500},
		{"pattern:ep*-ba{step}-rank0.pt", "ep1-ba500-rank1.pt", false, -1},
		{"pattern:*{step}", "model500", false, 500},
		{"pattern:a{step}b*", "a7bcd", true, 7},
		{"pattern:a{step}b*", "a7", true, -1},
		{"pattern:a{step}/DONE", "a7", false, -1},
		{"pattern:a{step}/DONE", "a007", true, 7},
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const struct name *n = &names[i];
		uint64_t step = 0;
		const char *arg;
		const struct bw_watch_format *f = bw_watch_format_find(n->format, &arg);

		cr_assert(f, "%s", n->format);
		cr_assert_eq(f->step(arg, n->name, n->is_dir, &step), n->step >= 0, "%s %s", n->format,
			     n->name);
		cr_assert(n->step < 0 || step == (uint64_t)n->step, "%s %s", n->format, n->name);
	}
}
