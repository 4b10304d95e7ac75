/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Name templates, one a line: every place has one name, every name is one place, and refusals leave nothing.
 * Behind a byte 0 each byte stands for a piece of a template, so that more of what is made up gets far.
 */
#include "fs/view.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

#define RANKS 3u
#define ENTRIES 64u

void bw_fuzz_fix(uint8_t *bytes, size_t len)
{
	(void)bytes, (void)len;	/* there is no checksum */
}

static void check_why(const char *why, size_t size)
{
	size_t len = strnlen(why, size);

	bw_fuzz_must(len && len < size, "what is wrong is said");
	for (size_t i = 0; i < len; i++)
		bw_fuzz_must((unsigned char)why[i] >= 0x20 && why[i] != 0x7f, "in one line");
}

struct listing {
	const struct bw_views *v;
	const struct bw_view_place *dir;
	uint64_t next;
	unsigned n;
};

static bool entry(void *ctx, const struct bw_view_place *p, const char *name, uint64_t number)
{
	struct listing *l = ctx;
	struct bw_view_place back, up = bw_view_parent(l->v, p);
	size_t len = strlen(name);

	if (l->n++ == ENTRIES)
		return false;
	bw_fuzz_must(len && len <= BW_VIEW_NAME_MAX && !strchr(name, '/'), "a name is one");
	bw_fuzz_must(strcmp(name, ".") && strcmp(name, ".."), "and no other's");
	bw_fuzz_must(l->dir->node || (strcmp(name, "step") && strcmp(name, "status") && strcmp(name, "produce") &&
				      strcmp(name, "checkpoint")), "nor the mount's own");
	bw_fuzz_must(number >= l->next && number == bw_view_number(p), "numbers rise");
	l->next = number + 1;
	bw_fuzz_must(bw_view_match(l->v, l->dir, name, RANKS, &back) == 0 && bw_view_number(&back) == number,
		     "a name is its place's");
	bw_fuzz_must(bw_view_number(&up) == bw_view_number(l->dir), "and its directory is its parent");
	back = bw_view_ino_split(bw_view_ino(p));
	bw_fuzz_must(bw_view_number(&back) == number && bw_is_view_ino(bw_view_ino(p)), "inode numbers come back");
	return true;
}

/* Lists every directory as it is at some length of the history. */
static void check_lists(const struct bw_views *v, uint64_t first)
{
	struct bw_view_range range = {first, first + 3, RANKS};
	char path[BW_VIEW_PATH_MAX + 1];

	for (uint32_t node = 0; node < v->nodes_n; node++) {
		struct bw_view_place dir = {.node = node};
		if (v->nodes[node].known & BW_VIEW_STEP)
			dir.step = first;
		if (v->nodes[node].known & BW_VIEW_RANK)
			dir.rank = RANKS - 1;
		bw_view_path(v, &dir, path);
		bw_fuzz_must(node == 0 || *path, "a place has a path");
		struct listing l = {.v = v, .dir = &dir};
		bw_view_list(v, &dir, &range, 0, entry, &l);
		bw_fuzz_must(!v->nodes[node].file || !l.n, "a file has no entries");
	}
}

static bool add(struct bw_views *v, char *template)
{
	struct bw_views before = *v;
	char why[400] = "";
	bool taken = bw_views_add(v, template, why, sizeof(why)) == 0;

	if (!taken) {
		check_why(why, sizeof(why));
		bw_fuzz_must(!memcmp(v, &before, sizeof(before)), "a refusal leaves nothing");
	}
	return taken;
}

/* The templates, NUL-terminated; freed by the caller. */
static char *templates_of(const uint8_t *bytes, size_t len)
{
	static const char *const pieces[] = {"{step}", "{rank}", "/", "\n", "a", "_", "1", "{step}", "{rank}", "/", "\n", "-",
					     "0", ".", "{step:02d}", "{rank:03d}"};
	bool made_up = len && !bytes[0];
	size_t n = 0, size = made_up ? 10 * len : len;
	char *text = malloc(size + 1);

	bw_fuzz_must(text, "memory");
	if (!made_up && len)
		memcpy(text, bytes, len);
	for (size_t i = 1; made_up && i < len; i++)
		n += (size_t)snprintf(text + n, size + 1 - n, "%s", pieces[bytes[i] % 16]);
	text[made_up ? n : len] = 0;
	return text;
}

/* Accepted: all of its lines are. */
bool bw_fuzz_one(const uint8_t *bytes, size_t len)
{
	static const uint64_t firsts[] = {0, 9, 98, 9999998, BW_VIEW_STEPS_MAX - 4};
	char *text = templates_of(bytes, len), *rest = text, *line;
	struct bw_views v = {0};
	unsigned lines = 0, taken = 0;

	while ((line = strsep(&rest, "\n"))) {
		lines += *line != 0;
		taken += *line && add(&v, line);
	}
	free(text);
	for (size_t i = 0; i < sizeof(firsts) / sizeof(firsts[0]); i++)
		check_lists(&v, firsts[i]);
	return lines && taken == lines;
}
