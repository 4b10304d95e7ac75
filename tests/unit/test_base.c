/* SPDX-License-Identifier: Apache-2.0 */
#include "store/base/buf.h"
#include "store/base/clock.h"
#include "store/base/err.h"
#include "store/base/proc.h"
#include "store/base/rand.h"
#include "store/base/sync.h"
#include "store/base/workq.h"
#include "store/store.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

Test(err, private_codes_fold_to_their_class)
{
	cr_assert_eq(bw_err_errno(0), 0);
	cr_assert_eq(bw_err_errno(-ENOSPC), ENOSPC);
	cr_assert_eq(bw_err_errno(-BW_E_FENCED), ESTALE);
	cr_assert_eq(bw_err_errno(-BW_E_PAST_END), ENODATA);
	cr_assert_eq(bw_err_errno(-100000), EIO);
}

/* len of it stands in a buffer of its own, so that a sanitizer sees what goes past it. */
static const char *cut(const char *text, unsigned long len, char ret[64])
{
	const char *volatile whole = text;	/* else compilers warn of what is to be cut */
	char *own = malloc(len);

	bw_cut_at_word(own, len, snprintf(own, len, "%s", whole));
	snprintf(ret, 64, "%s", own);
	free(own);
	return ret;
}

Test(err, sentences_are_cut_behind_a_word)
{
	char got[64];

	cr_assert_str_eq(cut("nothing is cut", 15, got), "nothing is cut");
	cr_assert_str_eq(cut("nothing is cut", 14, got), "nothing ...");
	cr_assert_str_eq(cut("nothing is cut", 12, got), "nothing ...", "there is room for both");
	cr_assert_str_eq(cut("nothing is cut", 11, got), "nothin ...", "one word alone");
	cr_assert_str_eq(cut("nothing is cut", 5, got), " ...");
	cr_assert_str_eq(cut("nothing is cut", 4, got), "not", "no room to say so");
	cr_assert_str_eq(cut("\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac", 9, got), "\xe2\x82\xac ...");
	cr_assert_eq(bw_refuse(got, 12, "%s is %d", "nothing", 1000), -EINVAL);
	cr_assert_str_eq(got, "nothing ...");
	char at_end[] = "kept";
	bw_cut_at_word(at_end, sizeof(at_end), -1);
	cr_assert_str_eq(at_end, "kept");
}

Test(buf, refuses_to_pass_its_maximum)
{
	bw_auto_buf struct bw_buf b = {.max = 0};

	bw_buf_init(&b, 4);
	bw_buf_str(&b, "abcd");
	cr_assert_eq(bw_buf_err(&b), 0);
	bw_buf_str(&b, "e");
	cr_assert_eq(bw_buf_err(&b), -ENOSPC);
	cr_assert_str_eq(bw_buf_text(&b), "abcd");
}

Test(buf, cursor_stops_at_the_end)
{
	struct bw_cur c;

	bw_cur_init(&c, "\x01\x02\x03", 3);
	cr_assert_eq(bw_cur_u16(&c), 0x0201);
	cr_assert_eq(bw_cur_u32(&c), 0);
	cr_assert(c.bad);
	cr_assert_eq(bw_cur_u8(&c), 0, "a bad cursor stays bad");
}

Test(rand, hex_round_trip)
{
	uint8_t a[4] = {0, 0xff, 0x1a, 7}, b[4];
	char text[9];

	bw_hex(a, 4, text);
	cr_assert_str_eq(text, "00ff1a07");
	cr_assert_eq(bw_unhex(text, 8, b, 4), 0);
	cr_assert_arr_eq(a, b, 4);
	cr_assert_eq(bw_unhex("00FF1A07", 8, b, 4), -EINVAL, "one spelling only");
	cr_assert_eq(bw_unhex("00", 2, b, 4), -EINVAL);
}

Test(clock, a_time_is_what_the_library_makes_of_it)
{
	char ours[32], theirs[80];
	struct tm tm;

	/* Ends of months, years, centuries and eras: steps of a day and a little, from 0000-01-01 on. */
	for (int64_t sec = INT64_C(-62167219200); sec < INT64_C(253402300800); sec += 86399 + 86400 * (7 * (sec % 5) + 40)) {
		time_t t = sec;
		bw_wall_text(sec * 1000 + 999, ours, sizeof(ours));
		gmtime_r(&t, &tm);
		snprintf(theirs, sizeof(theirs), "%04d-%02d-%02dT%02d:%02d:%02dZ", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
			 tm.tm_hour, tm.tm_min, tm.tm_sec);
		cr_assert_str_eq(ours, theirs);
	}
	bw_wall_text(INT64_C(253402300800) * 1000, ours, sizeof(ours));
	cr_assert_str_eq(ours, "?", "year 10000");
	bw_wall_text(INT64_C(-62167219200) * 1000 - 1, ours, sizeof(ours));
	cr_assert_str_eq(ours, "?", "the year before 0");
	bw_wall_text(INT64_MAX, ours, sizeof(ours));
	cr_assert_str_eq(ours, "?");
	bw_wall_text(INT64_MIN, ours, sizeof(ours));
	cr_assert_str_eq(ours, "?");
	bw_wall_text(0, ours, 20);
	cr_assert_str_eq(ours, "?", "no room");
	bw_wall_text(0, ours, 21);
	cr_assert_str_eq(ours, "1970-01-01T00:00:00Z");
}

struct note {
	struct bw_task task;
	char name;
	struct trace *trace;
};
struct trace {
	struct bw_mutex lock;
	char text[16];
};

static void run_note(struct bw_task *task)
{
	struct note *n = (struct note *)task;

	BW_LOCK_SCOPE(&n->trace->lock);
	strncat(n->trace->text, &n->name, 1);
}

static size_t length(struct trace *t)
{
	BW_LOCK_SCOPE(&t->lock);
	return strlen(t->text);
}

Test(workq, due_time_then_priority_then_arrival)
{
	struct trace trace = {.text = ""};
	struct note gate = {.task = {.run = run_note}, .name = 'g', .trace = &trace};
	struct note notes[4];
	struct bw_workq *q;

	bw_mutex_init(&trace.lock, BW_RANK_FS);
	cr_assert_eq(bw_workq_new("test", 1, &q), 0);
	for (int i = 0; i < 4; i++)
		notes[i] = (struct note){.task = {.run = run_note}, .name = "abcd"[i], .trace = &trace};
	notes[0].task.prio = BW_PRIO_PREFETCH;
	/* The one worker is held at the gate while the rest queues up. */
	bw_lock(&trace.lock);
	bw_workq_push(q, &gate.task);
	bw_sleep(20 * BW_MS);
	bw_workq_push_at(q, &notes[3].task, bw_now() + 3600 * BW_SEC);
	bw_workq_push(q, &notes[0].task);
	bw_workq_push(q, &notes[1].task);
	bw_workq_push(q, &notes[2].task);
	bw_unlock(&trace.lock);
	while (length(&trace) < 4)
		bw_sleep(BW_MS);
	bw_workq_free(q);	/* runs what is due later as well */
	cr_assert_str_eq(trace.text, "gbcad");
}

Test(workq, a_cancelled_task_does_not_run)
{
	struct trace trace = {.text = ""};
	struct note n = {.task = {.run = run_note}, .name = 'x', .trace = &trace};
	struct bw_workq *q;

	bw_mutex_init(&trace.lock, BW_RANK_FS);
	cr_assert_eq(bw_workq_new("test", 2, &q), 0);
	bw_workq_push_at(q, &n.task, bw_now() + 3600 * BW_SEC);
	cr_assert(bw_workq_cancel(q, &n.task));
	cr_assert_not(bw_workq_cancel(q, &n.task));
	bw_workq_free(q);
	cr_assert_str_eq(trace.text, "");
}

struct late {
	struct bw_task task;
	struct bw_latch latch;
	int said;
};

static void run_late(struct bw_task *task)
{
	struct late *l = (struct late *)task;

	bw_sleep(BW_MS);
	l->said = 7;
	bw_latch_open(&l->latch);
}

Test(latch, who_waits_sees_what_was_said_before_it_opened)
{
	struct late l = {.task = {.run = run_late}};
	struct bw_workq *q;

	cr_assert_eq(bw_workq_new("test", 1, &q), 0);
	bw_latch_init(&l.latch);
	bw_workq_push(q, &l.task);
	bw_latch_wait(&l.latch);
	cr_assert_eq(l.said, 7);
	bw_latch_init(&l.latch);
	bw_latch_open(&l.latch);	/* before anybody waits */
	bw_latch_wait(&l.latch);
	bw_workq_free(q);
}

Test(key, segments_are_plain)
{
	cr_assert(bw_key_valid("stream.json"));
	cr_assert(bw_key_valid("0a1b2c3d/data/p.1/0/7-ff"));
	cr_assert(bw_key_valid("a/..."));
	const char *bad[] = {"", "/a", "a/", "a//b", "a/../b", ".", "..", "a b", "a\n", "a%2f"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_assert_not(bw_key_valid(bad[i]), "%s", bad[i]);
}

Test(proc, a_line_of_mountinfo)
{
	char line[] = "36 35 0:98 / /mnt/a\\040b\\134\\011c\\8\\04 rw,nosuid shared:1 - fuse.batchweave s3://b/a\\040c rw\n";
	char bare[] = "36 35 0:98 / /mnt rw - tmpfs none\n";
	struct bw_proc_mount m;

	cr_assert(bw_proc_mount_read(line, &m));
	cr_assert_str_eq(m.id, "36");
	cr_assert(m.major == 0 && m.minor == 98);
	cr_assert_str_eq(m.where, "/mnt/a b\\\tc\\8\\04", "and what is no escape stays");
	cr_assert_str_eq(m.type, "fuse.batchweave");
	cr_assert_str_eq(m.source, "s3://b/a c");
	cr_assert(bw_proc_mount_read(bare, &m), "a line may end with the source");
	cr_assert_str_eq(m.source, "none");
}

Test(proc, what_is_no_line_of_mountinfo)
{
	static const char *const bad[] = {"", "\n", "36", "36 35 0:98 / /mnt", "36 35 0:98 / /mnt rw - tmpfs", "36 35 098 / /mnt rw - tmpfs none rw",
					  "36 35 0:98 / /mnt rw -"};
	struct bw_proc_mount m;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char *line = strdup(bad[i]);

		cr_assert_not(bw_proc_mount_read(line, &m), "%s", bad[i]);
		free(line);
	}
}

static void *nothing(void *arg)
{
	return arg;
}

Test(sync, where_no_thread_may_be_made_the_error_says_so)
{
	const struct rlimit one = {.rlim_cur = 1, .rlim_max = 1};
	pthread_t thread;
	int status;
	pid_t child = fork();	/* what looks for leaks at the end of this one needs a thread itself */

	cr_assert(child >= 0);
	if (child == 0) {
		/* Root has no such limit. */
		if ((!geteuid() && setresuid(54321, 54321, 54321)) || setrlimit(RLIMIT_NPROC, &one))
			_exit(1);
		_exit(bw_thread_start(&thread, "nothing", nothing, NULL) == -BW_E_NO_THREADS ? 0 : 2);
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert_eq(status, 0);
	cr_assert_eq(bw_err_errno(-BW_E_NO_THREADS), EAGAIN);
}
