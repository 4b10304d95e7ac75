/* SPDX-License-Identifier: Apache-2.0 */
/* What follows from several looks (C6): when in doubt, a marker stays, and releases nothing new. */
#include "store/base/rand.h"
#include "tests/unit/watch_world.h"

#define NAME "ckpt%" PRIu64

static void path_of(uint64_t step, char path[64])
{
	snprintf(path, 64, NAME, step);
}

static void put(struct watch_world *w, uint64_t step)
{
	char path[64];

	path_of(step, path);
	world_write(w, path, "weights", 7);
}

static void drop(struct watch_world *w, uint64_t step)
{
	char path[64], full[1024];

	path_of(step, path);
	world_path(w, path, full);
	cr_assert_eq(unlink(full), 0);
}

/* A link to a disk that is away: there, and nobody can read it. */
static void link_away(struct watch_world *w, uint64_t step)
{
	char path[64], full[1024];

	path_of(step, path);
	world_path(w, path, full);
	cr_assert_eq(symlink("/nowhere/at/all", full), 0);
}

static void looks(struct watch_world *w, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		cr_assert_eq(world_look(w), 0);
}

static void begin(struct watch_world *w)
{
	world_init(w, "pattern:ckpt{step}");
	put(w, 100);
	put(w, 200);
	looks(w, 2);
	cr_assert_eq(w->job.markers_n, 2);
}

Test(watch_plan, c6_one_look_sets_nothing_and_withdraws_nothing)
{
	struct watch_world w;

	world_init(&w, "pattern:ckpt{step}");
	put(&w, 100);
	looks(&w, 1);
	cr_assert_eq(w.job.markers_n, 0);
	put(&w, 200);
	looks(&w, 1);
	cr_assert(world_has(&w, 100) && !world_has(&w, 200));
	looks(&w, 1);
	cr_assert(world_has(&w, 200));
	drop(&w, 100);
	looks(&w, 1);
	cr_assert(world_has(&w, 100), "gone in one look alone");
	looks(&w, 1);
	cr_assert(!world_has(&w, 100) && world_has(&w, 200));
	cr_assert_str_eq(w.markers[0].text + strlen(w.dir), "/ckpt200");
	world_done(&w);
}

Test(watch_plan, c6_looks_closer_than_settle_do_not_count)
{
	struct watch_world w;

	world_init(&w, "pattern:ckpt{step}");
	put(&w, 100);
	for (unsigned i = 0; i < 10; i++) {
		looks(&w, 1);
		w.now -= w.rules.settle_ns;
	}
	cr_assert_eq(w.job.markers_n, 0);
	w.now += w.rules.settle_ns;
	looks(&w, 1);
	cr_assert_eq(w.job.markers_n, 1);
	world_done(&w);
}

Test(watch_plan, c6_what_changes_between_looks_is_not_done)
{
	struct watch_world w;
	char bytes[64] = "";

	begin(&w);
	/* A copy in progress: whole in its name, and longer at each look. */
	for (unsigned i = 1; i < 20; i++) {
		world_write(&w, "ckpt300", bytes, i);
		looks(&w, 1);
		cr_assert(!world_has(&w, 300));
	}
	looks(&w, 1);
	cr_assert(world_has(&w, 300));
	world_done(&w);
}

Test(watch_plan, c6_moved_in_when_finished)
{
	struct watch_world w;

	begin(&w);
	world_write(&w, "elsewhere", "weights", 7);
	looks(&w, 2);
	world_rename(&w, "elsewhere", "ckpt300");
	looks(&w, 2);
	cr_assert(world_has(&w, 300));
	world_done(&w);
}

Test(watch_plan, c6_a_directory_that_is_empty_away_or_another_withdraws_nothing)
{
	char moved[BW_TMPDIR_MAX + 8], stale[1024];
	struct watch_world w;

	begin(&w);
	snprintf(moved, sizeof(moved), "%s.away", w.dir);
	cr_assert_eq(rename(w.dir, moved), 0);
	for (unsigned i = 0; i < 5; i++)
		cr_assert_eq(world_look(&w), -ENOENT);
	cr_assert_eq(mkdir(w.dir, 0755), 0);		/* unmounted: the place is empty */
	looks(&w, 30);
	world_write(&w, "lost+found", "", 0);		/* or nearly so */
	looks(&w, 30);
	put(&w, 300);		/* or somebody's other checkpoints lie below */
	looks(&w, 30);
	cr_assert(w.job.markers_n == 2 && !w.withdrawn && w.said[BW_WATCH_STRANGER]);
	put(&w, 150);
	world_forget(&w);	/* and for one who has seen nothing else */
	looks(&w, 30);
	cr_assert(w.job.markers_n == 2 && !w.withdrawn);
	drop(&w, 150);
	drop(&w, 300);
	world_path(&w, "lost+found", stale);
	cr_assert_eq(unlink(stale), 0);
	cr_assert_eq(rmdir(w.dir), 0);
	cr_assert_eq(rename(moved, w.dir), 0);
	drop(&w, 100);
	looks(&w, 2);
	cr_assert(!world_has(&w, 100) && world_has(&w, 200), "back, it counts again");
	world_done(&w);
}

Test(watch_plan, c6_a_failed_look_breaks_the_row_of_two)
{
	char moved[BW_TMPDIR_MAX + 8];
	struct watch_world w;

	begin(&w);
	snprintf(moved, sizeof(moved), "%s.away", w.dir);
	drop(&w, 100);
	looks(&w, 1);
	cr_assert_eq(rename(w.dir, moved), 0);
	cr_assert_eq(world_look(&w), -ENOENT);
	cr_assert_eq(rename(moved, w.dir), 0);
	looks(&w, 1);
	cr_assert(world_has(&w, 100));
	looks(&w, 1);
	cr_assert(!world_has(&w, 100));
	world_done(&w);
}

Test(watch_plan, c6_a_failed_look_breaks_the_row_for_what_was_never_seen)
{
	char moved[BW_TMPDIR_MAX + 8], text[1024];
	struct watch_world w;

	begin(&w);
	world_forget(&w);
	world_path(&w, "ckpt50", text);
	world_mark(&w, 50, text);
	looks(&w, 1);
	snprintf(moved, sizeof(moved), "%s.away", w.dir);
	cr_assert_eq(rename(w.dir, moved), 0);
	cr_assert_eq(world_look(&w), -ENOENT);
	cr_assert_eq(rename(moved, w.dir), 0);
	looks(&w, 1);
	cr_assert(world_has(&w, 50));
	looks(&w, 1);
	cr_assert(!world_has(&w, 50) && w.job.markers_n == 2);
	world_done(&w);
}

Test(watch_plan, c6_the_last_one_keeps_its_marker)
{
	struct watch_world w;

	begin(&w);
	world_write(&w, "readme", "", 0);
	drop(&w, 100);
	drop(&w, 200);
	looks(&w, 30);
	cr_assert(w.job.markers_n == 2 && w.said[BW_WATCH_LAST]);
	put(&w, 300);
	looks(&w, 2);
	cr_assert(w.job.markers_n == 1 && world_has(&w, 300));
	world_done(&w);
}

Test(watch_plan, c6_nothing_is_released_that_an_unreadable_one_may_need)
{
	struct watch_world w;

	world_init(&w, "pattern:ckpt{step}");
	link_away(&w, 100);
	put(&w, 200);
	put(&w, 300);
	looks(&w, 30);
	cr_assert(w.job.markers_n == 0 && w.said[BW_WATCH_HELD], "a marker above the unreadable one");
	drop(&w, 100);
	put(&w, 100);
	looks(&w, 2);
	cr_assert_eq(w.job.markers_n, 3);
	/* The same in the middle: what is below stays for it. */
	link_away(&w, 150);
	put(&w, 400);
	drop(&w, 100);
	looks(&w, 30);
	cr_assert(world_has(&w, 100) && world_has(&w, 400));
	drop(&w, 150);
	looks(&w, 3);
	cr_assert(!world_has(&w, 100) && w.job.markers_n == 3);
	world_done(&w);
}

Test(watch_plan, c6_one_that_has_a_marker_and_cannot_be_read_keeps_it)
{
	struct watch_world w;

	begin(&w);
	drop(&w, 100);
	link_away(&w, 100);
	put(&w, 300);
	looks(&w, 50);
	cr_assert(world_has(&w, 100) && w.job.markers_n == 3);
	world_done(&w);
}

Test(watch_plan, c6_one_that_is_torn_for_long_loses_its_marker)
{
	struct watch_world w;

	begin(&w);
	world_write(&w, "ckpt100", "", 0);
	looks(&w, BW_WATCH_SLOW);
	cr_assert(world_has(&w, 100));
	looks(&w, 2);
	cr_assert(!world_has(&w, 100));
	world_done(&w);
}

Test(watch_plan, c6_below_first_and_beyond_head)
{
	struct watch_world w;

	world_init(&w, "pattern:ckpt{step}");
	w.root.first = 150;
	w.root.head = 250;
	put(&w, 100);
	put(&w, 200);
	put(&w, 300);
	looks(&w, 5);
	cr_assert(w.job.markers_n == 1 && world_has(&w, 200));
	cr_assert(w.said[BW_WATCH_BELOW] && w.said[BW_WATCH_BEYOND]);
	w.root.head = 300;
	looks(&w, 1);
	cr_assert(w.job.markers_n == 2 && world_has(&w, 300));
	world_done(&w);
}

Test(watch_plan, c6_markers_of_somebody_else)
{
	struct watch_world w;

	begin(&w);
	world_mark(&w, 70, "set by hand");
	world_mark(&w, 80, "/some/other/place/ckpt80");
	looks(&w, 30);
	cr_assert(w.job.markers_n == 4 && w.said[BW_WATCH_FOREIGN]);
	w.rules.adopt = true;
	looks(&w, 2);
	cr_assert_eq(w.job.markers_n, 2);
	world_done(&w);
}

Test(watch_plan, c6_markers_of_an_earlier_run)
{
	struct watch_world w;
	char text[1024];

	world_init(&w, "pattern:ckpt{step}");
	put(&w, 250);
	put(&w, 300);
	world_write(&w, "other-400", "x", 1);
	world_path(&w, "ckpt250", text);
	world_mark(&w, 250, text);
	world_path(&w, "ckpt100", text);
	world_mark(&w, 100, text);	/* gone while nobody watched */
	world_path(&w, "other-400", text);
	world_mark(&w, 200, text);	/* there, and no checkpoint of this format */
	looks(&w, 3);
	cr_assert(!world_has(&w, 100) && world_has(&w, 200) && world_has(&w, 300));
	world_done(&w);
}

Test(watch_plan, c6_adopt_goes_on_with_a_directory_that_no_marker_knows)
{
	struct watch_world w;
	char text[1024];

	world_init(&w, "pattern:ckpt{step}");
	world_path(&w, "ckpt100", text);
	world_mark(&w, 100, text);
	put(&w, 50);
	put(&w, 300);
	looks(&w, 30);
	cr_assert(w.job.markers_n == 1 && w.said[BW_WATCH_STRANGER] && !w.marked);
	w.rules.adopt = true;
	looks(&w, 1);
	cr_assert(w.job.markers_n == 2 && world_has(&w, 50) && world_has(&w, 300));
	world_done(&w);
}

Test(watch_plan, c6_all_were_rotated_while_nobody_watched)
{
	struct watch_world w;
	char text[1024];

	world_init(&w, "pattern:ckpt{step}");
	world_path(&w, "ckpt100", text);
	world_mark(&w, 100, text);
	world_path(&w, "ckpt200", text);
	world_mark(&w, 200, text);
	put(&w, 300);
	put(&w, 400);
	looks(&w, 1);
	cr_assert_eq(w.job.markers_n, 2);
	looks(&w, 1);
	cr_assert(w.job.markers_n == 2 && world_has(&w, 300) && world_has(&w, 400));
	world_done(&w);
}

Test(watch_plan, c6_scale_and_offset)
{
	struct watch_world w;

	world_init(&w, "pattern:ckpt{step}");
	w.rules.scale = 4;
	w.rules.offset = -500;
	put(&w, 100);
	put(&w, 200);
	put(&w, UINT64_C(1) << 50);
	looks(&w, 3);
	cr_assert(w.job.markers_n == 2 && world_has(&w, 0) && world_has(&w, 300));
	/* With another scale the old marker stays as long as its checkpoint does. */
	w.rules.offset = 0;
	looks(&w, 3);
	cr_assert(world_has(&w, 300) && world_has(&w, 400) && world_has(&w, 800));
	drop(&w, 200);
	looks(&w, 3);
	cr_assert(!world_has(&w, 300) && !world_has(&w, 800) && world_has(&w, 400));
	world_done(&w);
}

Test(watch_plan, c6_a_long_path_leaves_its_end)
{
	struct watch_world w;
	char dir[600];

	begin(&w);
	memset(dir, 'd', sizeof(dir) - 1);
	dir[sizeof(dir) - 1] = 0;
	world_unmark(&w, 100);
	w.rules.dir = dir;	/* the directory has moved; what is looked at has not */
	looks(&w, 2);
	cr_assert_eq(strlen(w.markers[0].text), BW_MARKER_TEXT_MAX);
	cr_assert_str_eq(w.markers[0].text + BW_MARKER_TEXT_MAX - 9, "d/ckpt100");
	drop(&w, 100);
	put(&w, 300);
	looks(&w, 4);
	cr_assert(!world_has(&w, 100), "it is known by its end");
	world_done(&w);
}

static uint64_t oldest(const struct watch_world *w)
{
	return w->job.markers_n ? w->markers[0].step : UINT64_MAX;
}

Test(watch_plan, c6_more_checkpoints_than_markers)
{
	struct watch_world w;

	world_init(&w, "pattern:ckpt{step}");
	for (uint64_t s = 1; s <= 300; s++)
		put(&w, s);
	looks(&w, 2);
	cr_assert(w.job.markers_n < BW_MARKERS_MAX && w.said[BW_WATCH_MANY]);
	cr_assert(oldest(&w) == 1 && world_has(&w, 300));
	for (uint64_t s = 1; s < 300; s++) {
		drop(&w, s);
		if (s % 5 == 0) {
			looks(&w, 1);
			cr_assert(oldest(&w) <= s + 1);
		}
	}
	looks(&w, 3);
	cr_assert(w.job.markers_n == 1 && world_has(&w, 300));
	world_done(&w);
}

Test(watch_plan, c6_rewind_of_a_tracker)
{
	static const char *const files[] = {"mp_rank_00/model_optim_rng.pt", "mp_rank_01/model_optim_rng.pt"};
	char bytes[4096], path[128];
	size_t len = world_bytes('Z', "", bytes);
	struct watch_world w;

	world_init(&w, "megatron");
	for (unsigned n = 100; n <= 300; n += 100) {
		snprintf(path, sizeof(path), "iter_%07u", n);
		world_mkdir(&w, path);
		for (unsigned i = 0; i < 2; i++) {
			snprintf(path, sizeof(path), "iter_%07u/mp_rank_0%u", n, i);
			world_mkdir(&w, path);
			snprintf(path, sizeof(path), "iter_%07u/%s", n, files[i]);
			world_write(&w, path, bytes, len);
		}
		snprintf(path, sizeof(path), "%u", n);
		world_write(&w, "latest_checkpointed_iteration.txt", path, 3);
		looks(&w, 2);
	}
	cr_assert_eq(w.job.markers_n, 3);
	/* The run diverged: back to 100, and 200 is written again. */
	world_write(&w, "latest_checkpointed_iteration.txt", "100", 3);
	looks(&w, 30);
	world_write(&w, "iter_0000200/mp_rank_00/model_optim_rng.pt", bytes, len / 2);
	looks(&w, 3);
	cr_assert_eq(w.job.markers_n, 3);
	world_write(&w, "latest_checkpointed_iteration.txt", "release", 7);
	looks(&w, 3);
	world_write(&w, "latest_checkpointed_iteration.txt", "", 0);
	looks(&w, 3);
	world_write(&w, "latest_checkpointed_iteration.txt", "99999999999999999999999", 23);
	looks(&w, 3);
	cr_assert(w.job.markers_n == 3 && !w.withdrawn);
	world_done(&w);
}

Test(watch_plan, c6_a_tracker_that_names_what_is_not_there)
{
	char bytes[4096];
	size_t len = world_bytes('Z', "", bytes);
	struct watch_world w;

	world_init(&w, "deepspeed");
	world_mkdir(&w, "global_step7");
	world_write(&w, "global_step7/mp_rank_00_model_states.pt", bytes, len);
	world_write(&w, "latest", "global_step9", 12);
	looks(&w, 30);
	cr_assert_eq(w.job.markers_n, 0);
	world_write(&w, "latest", "global_step7\n", 13);
	looks(&w, 2);
	cr_assert(world_has(&w, 7));
	world_done(&w);
}

/*
 * Steps of a trainer, of operators and of bad luck in any order.  Whatever came before: as soon as the
 * job has markers, the oldest lies at or below every checkpoint that is there, is whole and was not
 * put below the markers later.
 */
static void random_walk(uint64_t seed)
{
	struct watch_world w;
	struct bw_rng rng;
	uint64_t there[64], next = 10, n = 0;

	world_init(&w, "pattern:ckpt{step}");
	bw_rng_init(&rng, seed);
	for (unsigned i = 0; i < 300; i++) {
		uint64_t what = bw_rng_below(&rng, 10);

		if (what < 3 && n < 64) {
			there[n++] = next;
			what == 0 ? link_away(&w, next) : put(&w, next);
			next += 10;
		} else if (what == 3 && n) {
			uint64_t k = bw_rng_below(&rng, n);

			drop(&w, there[k]);
			there[k] = there[--n];
		} else if (what == 4 && n) {		/* its disk comes, or goes */
			uint64_t k = bw_rng_below(&rng, n);

			drop(&w, there[k]);
			i % 2 ? link_away(&w, there[k]) : put(&w, there[k]);
		} else if (what == 5) {
			world_forget(&w);
		} else if (what == 6) {
			bw_watch_memory_blind(&w.memory);
		} else {
			looks(&w, 1);
		}
		for (uint64_t k = 0; k < n; k++)
			cr_assert(!w.job.markers_n || oldest(&w) <= there[k],
				  "seed %" PRIu64 ", event %u: %" PRIu64 " is released", seed, i, there[k]);
	}
	world_done(&w);
}

Test(watch_plan, c6_whatever_happens_nothing_is_released_that_is_there)
{
	for (uint64_t seed = 1; seed <= 40; seed++)
		random_walk(seed);
}

Test(watch_plan, c6_a_year_of_checkpoints_leaves_no_memory_behind)
{
	struct watch_world w;

	begin(&w);
	for (uint64_t s = 300; s < 60300; s += 100) {
		put(&w, s);
		drop(&w, s - 200);
		looks(&w, 2);
		cr_assert(w.memory.n <= 6 && w.job.markers_n <= 4);
	}
	looks(&w, 3);
	cr_assert_eq(w.job.markers_n, 2);
	world_done(&w);
}
