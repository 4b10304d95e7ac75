/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A checkpoint directory that trainers write step by step, and a watcher beside it without a store: its
 * clock and its root are numbers of the test.
 *
 * A trainer is a list of lines, each one call that changes the directory; '@' stands for the step in
 * the decimal form of the trainer, '#' for the plain number.
 *	D path		mkdir
 *	Z path		a file of torch.save(): created, half written, whole
 *	S path		the same of safetensors
 *	X path		any bytes: created, whole
 *	P path N...	a pickle that names files: created, half written, whole
 *	T path text	a text file: truncated, whole
 *	J path text	a JSON file, ' for ": truncated, half written, whole
 *	E path		an empty file
 *	R from to	rename
 *	U path		unlink
 *	!		from here on it may count as a checkpoint
 */
#ifndef BW_TESTS_WATCH_WORLD_H
#define BW_TESTS_WATCH_WORLD_H

#include "mount-helpers/watch_look.h"
#include "mount-helpers/watch_plan.h"
#include "store/base/clock.h"
#include "tests/support/tmpdir.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct watch_world {
	char dir[BW_TMPDIR_MAX];
	struct bw_watch_rules rules;
	struct bw_watch_memory memory;
	struct bw_watch_snapshot last;
	struct bw_root root;
	struct bw_job job;
	struct bw_marker markers[BW_MARKERS_MAX + 1];
	int64_t now;
	bool fresh;		/* the watcher forgets everything between two changes, as with --once */
	unsigned marked, withdrawn, looks;
	unsigned said[BW_WATCH_STRANGER + 1];	/* by enum bw_watch_act_kind */
};

static inline void world_init(struct watch_world *w, const char *format)
{
	memset(w, 0, sizeof(*w));
	bw_test_tmpdir(w->dir);
	w->rules = (struct bw_watch_rules){.dir = w->dir, .scale = 1, .settle_ns = BW_SEC};
	w->rules.format = bw_watch_format_find(format, &w->rules.arg);
	cr_assert(w->rules.format, "no format %s", format);
	snprintf(w->job.name, sizeof(w->job.name), "job");
	w->job.markers = w->markers;
	w->root.jobs = &w->job;
	w->root.jobs_n = 1;
	w->root.head = 1000000000;
}

static inline void world_forget(struct watch_world *w)
{
	bw_watch_memory_done(&w->memory);
	bw_watch_snapshot_done(&w->last);
}

static inline void world_done(struct watch_world *w)
{
	world_forget(w);
	for (uint32_t i = 0; i < w->job.markers_n; i++)
		free(w->markers[i].text);
	bw_test_rmtree(w->dir);
}

static inline bool world_has(const struct watch_world *w, uint64_t step)
{
	for (uint32_t i = 0; i < w->job.markers_n; i++)
		if (w->markers[i].step == step)
			return true;
	return false;
}

static inline void world_mark(struct watch_world *w, uint64_t step, const char *text)
{
	uint32_t i = w->job.markers_n++;

	cr_assert(w->job.markers_n <= BW_MARKERS_MAX, "more markers than a job may have");
	for (; i && w->markers[i - 1].step > step; i--)
		w->markers[i] = w->markers[i - 1];
	w->markers[i] = (struct bw_marker){.step = step, .text = strdup(text)};
}

static inline void world_unmark(struct watch_world *w, uint64_t step)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < w->job.markers_n; i++) {
		if (w->markers[i].step == step)
			free(w->markers[i].text);
		else
			w->markers[n++] = w->markers[i];
	}
	cr_assert(n + 1 == w->job.markers_n, "no such marker to withdraw");
	w->job.markers_n = n;
}

/* What follows from what was seen; all of it is committed. */
static inline void world_act(struct watch_world *w)
{
	for (bool more = true; more;) {
		struct bw_watch_acts acts;

		more = false;
		cr_assert_eq(bw_watch_plan(&w->memory, &w->rules, &w->last, &w->root, "job", w->now, &acts),
			     0);
		for (uint32_t i = 0; i < acts.n; i++) {
			const struct bw_watch_act *a = &acts.acts[i];

			w->said[a->kind]++;
			if (a->kind == BW_WATCH_MARK) {
				world_mark(w, a->step, a->text);
				w->marked++;
			} else if (a->kind == BW_WATCH_UNMARK) {
				world_unmark(w, a->step);
				w->withdrawn++;
			}
			more |= a->kind <= BW_WATCH_UNMARK;
		}
		bw_watch_acts_done(&acts);
	}
}

/* One look.  0, or why the directory could not be listed. */
static inline int world_look(struct watch_world *w)
{
	struct bw_watch_snapshot now;
	int err = bw_watch_look(w->dir, w->rules.format, w->rules.arg, &w->last, &now);

	w->looks++;
	w->now += w->rules.settle_ns;
	if (err) {
		bw_watch_memory_blind(&w->memory);
		return err;
	}
	bw_watch_snapshot_done(&w->last);
	w->last = now;
	cr_assert(bw_watch_memory_look(&w->memory, &w->rules, &now, w->now) >= 0);
	world_act(w);
	return 0;
}

/* What a run with --once does. */
static inline void world_settle(struct watch_world *w)
{
	if (w->fresh)
		world_forget(w);
	cr_assert_eq(world_look(w), 0);
	cr_assert_eq(world_look(w), 0);
}

static inline void world_path(const struct watch_world *w, const char *path, char full[1024])
{
	int len = snprintf(full, 1024, "%s/%s", w->dir, path);

	cr_assert(len > 0 && len < 1024, "%s", path);
}

static inline void world_write(const struct watch_world *w, const char *path, const void *bytes,
			       size_t len)
{
	char full[1024];

	world_path(w, path, full);
	FILE *f = fopen(full, "wb");

	cr_assert(f, "cannot write %s", full);
	cr_assert_eq(fwrite(bytes, 1, len, f), len);
	cr_assert_eq(fclose(f), 0);
}

static inline void world_mkdir(const struct watch_world *w, const char *path)
{
	char full[1024];

	world_path(w, path, full);
	cr_assert_eq(mkdir(full, 0755), 0, "cannot make %s", full);
}

static inline void world_rename(const struct watch_world *w, const char *from, const char *to)
{
	char a[1024], b[1024];

	world_path(w, from, a);
	world_path(w, to, b);
	cr_assert_eq(rename(a, b), 0, "cannot rename %s to %s", a, b);
}

/* The bytes of a whole file of that kind.  Returns their number. */
static inline size_t world_bytes(char kind, const char *text, char bytes[4096])
{
	static const char header[] = "{\"a\":{\"dtype\":\"U8\",\"shape\":[16],\"data_offsets\":[0,16]}}";
	size_t n = 0;

	memset(bytes, 'x', 4096);
	switch (kind) {
	case 'Z':
		memcpy(bytes, "PK\3\4", 4);
		memcpy(bytes + 100, "PK\5\6", 4);
		memset(bytes + 104, 0, 18);
		return 122;
	case 'S':
		memset(bytes, 0, 8);
		bytes[0] = sizeof(header) - 1;
		memcpy(bytes + 8, header, sizeof(header) - 1);
		return 8 + sizeof(header) - 1 + 16;
	case 'P':
		n = (size_t)snprintf(bytes, 4096, "\x80\x02%s%s.", "xxxxxxxxxxxxxxxxxxxx", text);
		return n;
	case 'J':
	case 'T':
		n = (size_t)snprintf(bytes, 4096, "%s", text);
		for (size_t i = 0; i < n && kind == 'J'; i++)
			if (bytes[i] == '\'')
				bytes[i] = '"';
		return n;
	default:
		return 64;
	}
}

#endif
