/* SPDX-License-Identifier: Apache-2.0 */
/* /produce of a mount over a store in memory, all of it but FUSE.  Included once in a program. */
#ifndef BW_TESTS_PRODUCE_WORLD_H
#define BW_TESTS_PRODUCE_WORLD_H

#include "fs/produce.h"

#include "fs/errors.h"
#include "store/base/sync.h"
#include "tests/support/history.h"
#include "tests/support/stores.h"
#include "tests/support/tmpdir.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define WAIT_NS (200 * BW_MS)

static struct {
	struct bw_store *store;
	struct bw_stream stream;
	struct bw_head *head;
	struct bw_committer *committer;
	struct bw_mount_options options;
	struct bw_budget budget;
	struct bw_counters counters;
	struct bw_waiting waiting;
	struct bw_errors errors;
	struct bw_spool_space space;
	struct bw_workq *pool;
	struct bw_reader *reader;
	struct bw_closer *closer;
	struct bw_produce *p;
	char dir[BW_TMPDIR_MAX];
} w;

static inline void start_readers(void)
{
	struct bw_reader_config reader = {
		.store = w.store, .stream = &w.stream, .head = w.head, .budget = &w.budget, .pool = w.pool,
		.counters = &w.counters, .io_timeout_ns = w.options.io_timeout_ns,
	};

	cr_assert_eq(bw_reader_new(&reader, &w.reader), 0);
}

static inline void start(void)
{
	struct bw_root *root;

	bw_test_tmpdir(w.dir);
	cr_assert_eq(bw_store_mem_new(&w.store), 0);
	bw_test_create(w.store, &w.stream, &root);
	cr_assert_eq(bw_head_new(w.store, &w.stream, root, bw_boottime(), NULL, &w.head), 0);
	bw_root_unref(root);
	cr_assert_eq(bw_committer_new(w.store, &w.stream, w.head, bw_boottime(), NULL, &w.committer), 0);
	bw_mount_options_default(&w.options);
	bw_budget_init(&w.budget, UINT64_C(64) << 20);
	bw_waiting_init(&w.waiting, &w.counters);
	bw_errors_init(&w.errors);
	w.space = (struct bw_spool_space){.budget = &w.budget, .memory_max = UINT64_C(32) << 20, .dir = w.dir};
	cr_assert_eq(bw_workq_new("pool", 2, &w.pool), 0);
	cr_assert_eq(bw_closer_new(1, &w.closer), 0);
	start_readers();
	struct bw_produce_config config = {
		.store = w.store, .stream = &w.stream, .head = w.head, .committer = w.committer, .reader = w.reader,
		.pool = w.pool, .closer = w.closer, .waiting = &w.waiting, .errors = &w.errors, .counters = &w.counters,
		.space = &w.space, .options = &w.options,
	};

	cr_assert_eq(bw_produce_new(&config, &w.p), 0);
}

static inline void end(void)
{
	bw_produce_stop(w.p);
	bw_produce_drain(w.p, bw_now() + 60 * BW_SEC);
	bw_committer_free(w.committer, bw_now() + 60 * BW_SEC);
	bw_closer_free(w.closer);
	bw_reader_stop(w.reader);
	bw_workq_free(w.pool);
	bw_produce_release_store(w.p);
	bw_head_free(w.head);
	bw_reader_free(w.reader);
	bw_store_free(w.store);
	bw_produce_free(w.p);
	bw_waiting_done(&w.waiting);
	bw_errors_done(&w.errors);
	bw_test_rmtree(w.dir);
}

/* Whoever waits for an answer. */
struct asker {
	struct bw_answer answer;	/* first */
	struct bw_latch answered;
	bool last;		/* the mount ends while the answer is on its way */
	bool is_waited_for;
	int err;
};

static inline void told(struct bw_answer *a, int err)
{
	struct asker *asker = (struct asker *)a;

	if (asker->last) {
		int64_t until = bw_now() + WAIT_NS;
		bw_produce_drain(w.p, until);
		asker->is_waited_for = bw_now() >= until;
	}
	asker->err = err;
	bw_latch_open(&asker->answered);
}

static inline struct asker *ask(struct asker *a, bool last)
{
	*a = (struct asker){.answer = {.done = told, .waiter.pid = getpid()}, .last = last};
	bw_latch_init(&a->answered);
	return a;
}

/* The number of the new directory. */
static inline uint64_t make_dir(uint64_t parent, const char *name, bool last)
{
	struct asker a;

	bw_produce_mkdir(w.p, parent, name, &ask(&a, last)->answer);
	bw_latch_wait(&a.answered);
	cr_assert_eq(a.err, 0);
	cr_assert_eq(a.is_waited_for, last, "%s", name);
	return a.answer.attr.ino;
}

/* Whoever renames it, or a file beside it, may commit; its own close has judged nothing. */
static inline void write_file(uint64_t parent, const char *name, const char *text)
{
	struct bw_stage_handle *h;
	struct bw_attr attr;

	cr_assert_eq(bw_produce_create(w.p, parent, name, O_WRONLY, getpid(), &attr, &h), 0);
	cr_assert_eq(bw_produce_write(w.p, h, 0, text, strlen(text), getpid()), 0);
	bw_produce_release(w.p, h);
}

#endif
