/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/view.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct bw_views of(const char *const *templates)
{
	struct bw_views v = {0};
	char why[512] = "";

	for (; *templates; templates++)
		cr_assert_eq(bw_views_add(&v, *templates, why, sizeof(why)), 0, "%s", why);
	return v;
}
#define OF(...) of((const char *const[]){__VA_ARGS__, NULL})

static void refused_by(struct bw_views v, const char *template, const char *reason)
{
	struct bw_views before = v;
	char why[512] = "", wanted[512];

	snprintf(wanted, sizeof(wanted), "option view: \"%.200s\" %s", template, reason);
	cr_assert_eq(bw_views_add(&v, template, why, sizeof(why)), -EINVAL, "%s", template);
	cr_assert_str_eq(why, wanted);
	cr_assert_eq(memcmp(&v, &before, sizeof(v)), 0, "%s has left something", template);
}

static void refused(const char *template, const char *reason)
{
	refused_by((struct bw_views){0}, template, reason);
}

/* Walks a path; the place it ends at, or node 0. */
static struct bw_view_place walk(const struct bw_views *v, const char *path, uint32_t ranks)
{
	struct bw_view_place at = {0};
	char copy[2000], *rest = copy, *name;

	snprintf(copy, sizeof(copy), "%s", path);
	while ((name = strsep(&rest, "/"))) {
		struct bw_view_place dir = at;
		if (bw_view_match(v, &dir, name, ranks, &at))
			return (struct bw_view_place){0};
		struct bw_view_place up = bw_view_parent(v, &at);
		cr_assert_eq(bw_view_number(&up), bw_view_number(&dir), "%s has another parent", path);
	}
	return at;
}

static void is_slice(const struct bw_views *v, const char *path, uint64_t step, uint32_t rank)
{
	struct bw_view_place at = walk(v, path, 8);
	char back[BW_VIEW_PATH_MAX + 1];

	cr_assert(at.node && v->nodes[at.node].file, "%s is no slice", path);
	cr_assert_eq(at.step, step, "%s", path);
	cr_assert_eq(at.rank, rank, "%s", path);
	bw_view_path(v, &at, back);
	cr_assert_str_eq(back, path);
}

static void is_nothing(const struct bw_views *v, const char *path)
{
	cr_assert_eq(walk(v, path, 8).node, 0, "%s is something", path);
}

Test(view, paths_are_what_the_template_says)
{
	struct bw_views v = OF("rollouts/step_{step}/rank_{rank}.bin", "{step:08d}/{rank:05d}.tar",
			       "all/{step}_{rank}.npy", "hive/step={step}/rank={rank}/part-0.parquet",
			       "mid/{step}/slices/of-{rank:02}-.x");

	is_slice(&v, "rollouts/step_0/rank_0.bin", 0, 0);
	is_slice(&v, "rollouts/step_1099511627775/rank_7.bin", BW_VIEW_STEPS_MAX - 1, 7);
	is_slice(&v, "00000012/00003.tar", 12, 3);
	is_slice(&v, "99999999/00000.tar", 99999999, 0);
	is_slice(&v, "100000000/00000.tar", 100000000, 0);
	is_slice(&v, "all/10_7.npy", 10, 7);
	is_slice(&v, "hive/step=4/rank=5/part-0.parquet", 4, 5);
	is_slice(&v, "mid/77/slices/of-06-.x", 77, 6);
	cr_assert_not(v.nodes[walk(&v, "rollouts", 8).node].file);
	cr_assert_eq(walk(&v, "rollouts/step_9", 8).step, 9);
	cr_assert_eq(walk(&v, "mid/77/slices", 8).step, 77, "a name without fields is in its step");
}

Test(view, a_number_has_one_spelling)
{
	struct bw_views v = OF("s{step}/r{rank}", "{step:04d}/{rank:02d}");
	const char *bad[] = {
		"s", "s01", "s00", "s-1", "s+1", "s 1", "s1 ", "sx", "s0x1", "s1.", "S1", "s/r0", "s1/r", "s1/r00",
		"s1/r8", "s1/x0", "s1/r0x", "s1/r0/x", "s1099511627776", "s18446744073709551616",
		"s99999999999999999999999999999999999999999999", "1", "123", "00000", "01234", "12345/0", "12345/8",
		"1234/08", "1234/007", "1234/-1", "", "r0",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		is_nothing(&v, bad[i]);
	is_slice(&v, "0000/00", 0, 0);
	is_slice(&v, "1234/07", 1234, 7);
	is_slice(&v, "12345/07", 12345, 7);
	cr_assert_neq(walk(&v, "s1/r65535", BW_RANKS_MAX).node, 0);
	cr_assert_eq(walk(&v, "s1/r65536", BW_RANKS_MAX).node, 0);
}

Test(view, widths_are_written_as_in_python)
{
	struct bw_views v = OF("a{step:d}/{rank:03}x");

	is_slice(&v, "a12/007x", 12, 7);
	v = OF("{step:01d}.{rank:020d}");
	is_slice(&v, "5.00000000000000000003", 5, 3);
	static const char *const bad[] = {"{step:8d}/{rank}", "{step:00d}/{rank}", "{step:021d}/{rank}", "{step:}/{rank}",
					  "{step:08x}/{rank}", "{step:>8}/{rank}", "{step:0100d}/{rank}", "{step!r}/{rank}",
					  "{step /{rank}", "{step/{rank}", "{step}/{rank", "{step}/{rank}}", "{steps}/{rank}",
					  "{{step}}/{rank}", "{step}/{rank}{", "{step}/{rank}/{}", "{step}/{x}/{rank}"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char why[512] = "";
		v = (struct bw_views){0};
		cr_assert_eq(bw_views_add(&v, bad[i], why, sizeof(why)), -EINVAL, "%s", bad[i]);
		cr_assert(strstr(why, " has "), "%s: %s", bad[i], why);
	}
}

Test(view, what_is_no_template_is_told)
{
	refused("\"{step}/{rank}\"", "has a quote or a backslash, which names of a view have not");
	refused("it's/{step}/{rank}", "has a quote or a backslash, which names of a view have not");
	refused("a\\040b/{step}/{rank}", "has a quote or a backslash, which names of a view have not");
	refused("{rank}", "has no {step}");
	refused("step_{step}", "has no {rank}");
	refused("{step}/{step}/{rank}", "has {step} twice");
	refused("{step}/{rank}_{rank}", "has {rank} twice");
	refused("rank_{rank}/{step}.bin", "has {rank} in a name above that of {step}; it goes the other way round, or "
					  "in one name");
	refused("{step}{rank}", "has a digit or a field right behind a field, so that its names could be read in "
				"two ways");
	refused("{step:08d}{rank:05d}", "has a digit or a field right behind a field, so that its names could be "
					"read in two ways");
	refused("{step}0/{rank}", "has a digit or a field right behind a field, so that its names could be read in "
				  "two ways");
	refused("/{step}/{rank}", "begins or ends with a slash, or has two in a row");
	refused("{step}/{rank}/", "begins or ends with a slash, or has two in a row");
	refused("{step}//{rank}", "begins or ends with a slash, or has two in a row");
	refused("../{step}/{rank}", "has a name that is . or ..");
	refused("a/./{step}/{rank}", "has a name that is . or ..");
	refused("{step}/../{rank}", "has a name that is . or ..");
	static const char *const tops[] = {"step", "produce", "checkpoint", "status"};

	for (size_t i = 0; i < 4; i++) {
		char template[64];
		snprintf(template, sizeof(template), "%s/{step}/{rank}", tops[i]);
		refused(template, "begins with step, produce, checkpoint or status, which are the mount's own");
	}
	struct bw_views v = OF("a/step/{step}/{rank}", "steps/{step}/{rank}", "step{step}/{rank}");

	is_slice(&v, "a/step/1/2", 1, 2);
	is_slice(&v, "step1/2", 1, 2);
}

Test(view, what_is_no_path_is_not_repeated)
{
	const char *bad[] = {"", "{step}/{rank}\n", "\x1b[31m{step}/{rank}", "{step}/{rank}\x7f", "\x01/{step}/{rank}"};
	struct bw_views v = {0};
	char why[512];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		why[0] = 0;
		cr_assert_eq(bw_views_add(&v, bad[i], why, sizeof(why)), -EINVAL);
		cr_assert_str_eq(why, "option view takes a path of up to 1023 bytes with {step} and {rank}, such as "
				      "step_{step}/rank_{rank}.bin");
	}
}

/* n times c, then tail. */
static char *longname(size_t n, char c, const char *tail)
{
	char *s = malloc(n + strlen(tail) + 1);

	memset(s, c, n);
	snprintf(s + n, strlen(tail) + 1, "%s", tail);
	return s;
}

Test(view, names_stay_within_255_bytes_whatever_their_numbers)
{
	char *fits = longname(242, 'x', "{step}/{rank}"), *over = longname(243, 'x', "{step}/{rank}");
	char *plain = longname(255, 'x', "/{step}/{rank}"), *longer = longname(256, 'x', "/{step}/{rank}");
	char *wide = longname(235, 'x', "{step:020d}/{rank}"), *wider = longname(236, 'x', "{step:020d}/{rank}");
	struct bw_views v = OF(fits, wide, plain);
	struct bw_view_place p = {.step = BW_VIEW_STEPS_MAX - 1};
	char name[BW_VIEW_NAME_MAX + 1];

	for (p.node = 1; p.node < v.nodes_n; p.node++) {
		bw_view_name(&v, &p, name);
		cr_assert(strlen(name) == 255 || v.nodes[p.node].parent, "%zu", strlen(name));
	}
	refused(over, "has a name that could be longer than 255 bytes");
	refused(wider, "has a name that could be longer than 255 bytes");
	char why[512] = "";

	v = (struct bw_views){0};
	cr_assert_eq(bw_views_add(&v, longer, why, sizeof(why)), -EINVAL);
	cr_assert(strstr(why, "longer than 255 bytes"), "%s", why);
	free(fits), free(over), free(plain), free(longer), free(wide), free(wider);
}

Test(view, a_template_has_a_length)
{
	char template[2000];

	for (size_t i = 0; i < 1010; i += 2)
		memcpy(template + i, "a/", 2);
	snprintf(template + 1010, 100, "{step}_{rank}");
	cr_assert_eq(strlen(template), 1023);
	struct bw_views v = {0};
	char why[512] = "";

	cr_assert_eq(bw_views_add(&v, template, why, sizeof(why)), -EINVAL);
	cr_assert(strstr(why, "31 names"), "%s", why);
	snprintf(template + 1023, 2, "x");
	cr_assert_eq(bw_views_add(&v, template, why, sizeof(why)), -EINVAL);
	cr_assert(strstr(why, "up to 1023 bytes"), "%s", why);
}

Test(view, there_is_room_for_so_many)
{
	struct bw_views v = {0};
	char template[64], why[512];

	for (int i = 0; i < 8; i++) {
		snprintf(template, sizeof(template), "v%c/{step}/{rank}", 'a' + i);
		cr_assert_eq(bw_views_add(&v, template, why, sizeof(why)), 0);
	}
	cr_assert_eq(v.nodes_n, 25);
	refused_by(v, "vi/{step}/{rank}", "is one too many: a mount has up to 8 views");
	v = OF("a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r/s/t/u/v/w/x/y/z/1/2/3/{step}/{rank}");
	cr_assert_eq(v.nodes_n, BW_VIEW_NODES_MAX);
	is_slice(&v, "a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r/s/t/u/v/w/x/y/z/1/2/3/0/1", 0, 1);
	refused_by(v, "{step}_{rank}", "is one too many: all views together have up to 31 names and 4096 bytes");
}

Test(view, views_that_begin_alike_share_directories)
{
	struct bw_views v = OF("data/{step}/{rank}.bin", "data/{step}/{rank}.idx", "data/all/{step}-{rank}");

	cr_assert_eq(v.nodes_n, 1 + 2 + 2 + 2);
	is_slice(&v, "data/5/1.bin", 5, 1);
	is_slice(&v, "data/5/1.idx", 5, 1);
	is_slice(&v, "data/all/5-1", 5, 1);
	is_nothing(&v, "data/5/1");
	v = OF("{step}/{rank:02d}", "{step:01d}/{rank:02}", "{step:d}/{rank:02d}");
	cr_assert_eq(v.views_n, 1, "mount(8) may give an option twice");
	cr_assert_eq(v.nodes_n, 3);
}

Test(view, names_that_could_be_taken_for_another_views_are_refused)
{
	static const char *const pairs[][2] = {
		{"{step}/{rank}", "5/{step}/{rank}"}, {"5/{step}/{rank}", "{step}/{rank}"},
		{"{step}/{rank}", "{step:08d}/{rank}x"}, {"s{step}/{rank}", "s2{step}/{rank}"},
		{"{step}_{rank}", "{rank}_{step}"}, {"{step}_{rank:02d}", "{step:02d}_{rank}"},
		{"1_{step}/{rank}", "{step}_{rank}"},
	};

	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
		refused_by(OF(pairs[i][0]), pairs[i][1], "has names that could be taken for those of another view");
	refused_by(OF("a/{step}-{rank}"), "a/{step}-{rank}/x", "has a file where another view has a directory");
	refused_by(OF("a/{step}-{rank}/x"), "a/{step}-{rank}", "has a file where another view has a directory");
}

Test(view, names_that_differ_live_side_by_side)
{
	struct bw_views v = OF("{step}/{rank}", "{step}_{rank}", "{step}-{rank}", "x{step}/{rank}", "{step}.bin/{rank}",
			       "{step}.tar/{rank}", "x/{step}/{rank}", "2024-{step}.{rank}.z");

	is_slice(&v, "7/1", 7, 1);
	is_slice(&v, "7_1", 7, 1);
	is_slice(&v, "7-1", 7, 1);
	is_slice(&v, "x7/1", 7, 1);
	is_slice(&v, "7.bin/1", 7, 1);
	is_slice(&v, "7.tar/1", 7, 1);
	is_slice(&v, "x/7/1", 7, 1);
	is_slice(&v, "2024-7.1.z", 7, 1);
	is_slice(&v, "2024-7", 2024, 7);
}

/* ---- Listing -------------------------------------------------------------------------------------- */

struct seen {
	const struct bw_views *v;
	struct bw_view_place dir;
	uint32_t ranks;
	uint64_t room, n, next, last_step;
	char text[4000];
};

static bool see(void *ctx, const struct bw_view_place *p, const char *name, uint64_t number)
{
	struct seen *s = ctx;
	struct bw_view_place back;

	if (!s->room)
		return false;
	s->room--;
	cr_assert_geq(number, s->next, "numbers rise");
	cr_assert_eq(number, bw_view_number(p));
	cr_assert_eq(bw_view_match(s->v, &s->dir, name, s->ranks, &back), 0, "%s", name);
	cr_assert_eq(bw_view_number(&back), number, "%s is another place", name);
	s->next = number + 1;
	s->last_step = p->step;
	s->n++;
	if (strlen(s->text) + strlen(name) + 2 < sizeof(s->text))
		snprintf(s->text + strlen(s->text), sizeof(s->text) - strlen(s->text), "%s ", name);
	return true;
}

/* Lists a directory, so many entries at a time. */
static struct seen list(const struct bw_views *v, const char *path, uint64_t first, uint64_t head, uint32_t ranks,
			uint64_t at_a_time)
{
	struct seen s = {.v = v, .ranks = ranks};
	struct bw_view_range range = {first, head, ranks};

	if (*path)
		s.dir = walk(v, path, ranks);
	do
		s.room = at_a_time;
	while (!bw_view_list(v, &s.dir, &range, s.next, see, &s));
	return s;
}

static void lists(const struct bw_views *v, const char *path, uint64_t first, uint64_t head, const char *wanted)
{
	for (uint64_t n = 1; n < 8; n++)
		cr_assert_str_eq(list(v, path, first, head, 3, n).text, wanted);
}

Test(view, directories_list_by_step_then_by_rank)
{
	struct bw_views v = OF("{step:02d}/{rank}.bin", "{step:02d}/sub/{rank}", "all/r{rank}_of_{step}", "{step}.d/{rank}/x");

	lists(&v, "", 98, 101, "98 99 100 all 98.d 99.d 100.d ");
	lists(&v, "", 5, 5, "all ");
	lists(&v, "98", 98, 101, "0.bin 1.bin 2.bin sub ");
	lists(&v, "98/sub", 98, 101, "0 1 2 ");
	lists(&v, "99.d", 98, 101, "0 1 2 ");
	lists(&v, "99.d/2", 98, 101, "x ");
	lists(&v, "all", 9, 11, "r0_of_9 r1_of_9 r2_of_9 r0_of_10 r1_of_10 r2_of_10 ");
	lists(&v, "all", 0, 0, "");
}

Test(view, a_listing_goes_on_behind_what_was_reclaimed_meanwhile)
{
	struct bw_views v = OF("all/{step}_{rank}");
	struct seen s = {.v = &v, .dir = walk(&v, "all", 3), .ranks = 3, .room = 5};
	struct bw_view_range range = {.first = 0, .head = 12, .ranks = 3};

	cr_assert_not(bw_view_list(&v, &s.dir, &range, 0, see, &s));
	cr_assert_str_eq(s.text, "0_0 0_1 0_2 1_0 1_1 ");
	range.first = 10;
	s.room = 100;
	s.text[0] = 0;
	cr_assert(bw_view_list(&v, &s.dir, &range, s.next, see, &s));
	cr_assert_str_eq(s.text, "10_0 10_1 10_2 11_0 11_1 11_2 ");
}

Test(view, names_may_be_of_any_script)
{
	struct bw_views v = OF("donn\xc3\xa9" "es/\xe6\xad\xa5{step}/{rank}");

	is_slice(&v, "donn\xc3\xa9" "es/\xe6\xad\xa5" "7/3", 7, 3);
}

Test(view, S9_a_million_steps_list_from_any_place)
{
	struct bw_views v = OF("{step}/{rank}", "f/{step:08d}-{rank:05d}");

	struct seen s = list(&v, "", 0, 1000000, BW_RANKS_MAX, 100);

	cr_assert_eq(s.n, 1000001);
	s = list(&v, "7", 0, 1000000, BW_RANKS_MAX, 1000);
	cr_assert_eq(s.n, BW_RANKS_MAX);
	s = list(&v, "f", 999990, 1000000, BW_RANKS_MAX, 100000);
	cr_assert_eq(s.n, 10 * (uint64_t)BW_RANKS_MAX);
	cr_assert_eq(s.last_step, 999999);
	s = list(&v, "f", BW_VIEW_STEPS_MAX - 2, BW_STEPS_MAX, 2, 3);
	cr_assert_eq(s.n, 4, "steps that fit no place are not listed");
}

/* ---- Numbers -------------------------------------------------------------------------------------- */

Test(view, V4_inode_numbers_of_directories_are_arithmetic)
{
	struct bw_view_place p = {.node = BW_VIEW_NODES_MAX - 1, .step = BW_VIEW_STEPS_MAX - 1, .rank = BW_RANKS_MAX - 1};
	struct bw_view_place back = bw_view_ino_split(bw_view_ino(&p));

	cr_assert(bw_is_view_ino(bw_view_ino(&p)));
	cr_assert_eq(back.node, p.node);
	cr_assert_eq(back.step, p.step);
	cr_assert_eq(back.rank, p.rank);
	cr_assert(bw_is_view_ino(bw_view_ino(&(struct bw_view_place){.node = 1})));
	cr_assert_not(bw_is_view_ino(1));
	cr_assert_not(bw_is_view_ino(UINT64_C(1) << 63 | UINT64_C(1) << 61), "a slice of a late step");
	cr_assert_not(bw_is_view_ino(UINT64_C(1) << 62 | UINT64_C(1) << 61), "a marker of a job");
}
