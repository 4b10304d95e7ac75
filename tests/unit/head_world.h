/* SPDX-License-Identifier: Apache-2.0 */
/* A head over a store in memory, whose requests a test can count and hold back. */
#ifndef BW_TESTS_HEAD_WORLD_H
#define BW_TESTS_HEAD_WORLD_H

#include "manifest/head.h"
#include "store/base/rand.h"
#include "store/base/sync.h"
#include "store/layer.h"
#include "tests/support/history.h"
#include "tests/support/sample.h"
#include "tests/support/stores.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static struct bw_test_tap *tap;
static struct bw_stream stream;
static struct bw_root *root;	/* the newest in the store */
static struct bw_head *head;
static uint64_t next_seq;

static inline void start(void)
{
	struct bw_store *mem;
	struct bw_change c = bw_test_fence("p", 1);

	cr_assert_eq(bw_store_mem_new(&mem), 0);
	tap = bw_test_tap_new(mem);
	bw_test_create(&tap->store, &stream, &root);
	bw_test_commit(&tap->store, &stream, &root, &c, 1);
	cr_assert_eq(bw_head_new(&tap->store, &stream, root, bw_boottime(), NULL, &head), 0);
}

static inline void end(void)
{
	bw_head_free(head);
	bw_root_unref(root);
	bw_store_free(&tap->store);
}

/* Commits n steps in one version. */
static inline void grow(uint32_t n)
{
	struct bw_change *c = calloc(n, sizeof(*c));

	for (uint32_t i = 0; i < n; i++, next_seq++)
		c[i] = bw_test_append("p", 1, 1, next_seq, next_seq);
	bw_test_commit(&tap->store, &stream, &root, c, n);
	free(c);
}

static inline uint64_t known_version(void)
{
	struct bw_root *r = bw_head_root(head);
	uint64_t version = r->version;

	bw_root_unref(r);
	return version;
}

static inline int64_t soon(void)
{
	return bw_now() + 60 * BW_SEC;
}

struct asked {
	struct bw_ask ask;
	struct bw_latch answered;
	int err;
	uint64_t version;	/* known when it was answered */
};

static inline void answered(struct bw_ask *ask, int err)
{
	struct asked *a = (struct asked *)ask;

	a->err = err;
	a->version = known_version();
	bw_latch_open(&a->answered);
}

/* how: all that done is not. */
static inline void ask_so(struct asked *a, struct bw_ask how)
{
	how.done = answered;
	*a = (struct asked){.ask = how};
	bw_latch_init(&a->answered);
	bw_head_ask(head, &a->ask);
}

static inline void ask_now(struct asked *a, uint64_t until_step, int64_t deadline_ns)
{
	ask_so(a, (struct bw_ask){.until_step = until_step, .deadline_ns = deadline_ns});
}

static inline int ask_wait(struct asked *a)
{
	bw_latch_wait(&a->answered);
	return a->err;
}

static inline int ask_and_wait(uint64_t until_step)
{
	struct asked a;

	ask_now(&a, until_step, soon());
	return ask_wait(&a);
}

/* Requests the test holds back. */
static struct bw_op *held[64];
static atomic_int held_n;
static struct bw_mutex hold_lock;

static inline bool hold_gets(struct bw_test_tap *t, struct bw_op *op)
{
	(void)t;
	if (op->kind != BW_OP_GET)
		return false;
	BW_LOCK_SCOPE(&hold_lock);
	held[atomic_load(&held_n)] = op;
	atomic_fetch_add(&held_n, 1);
	return true;
}

static inline void hold_start(void)
{
	bw_mutex_init(&hold_lock, BW_RANK_FILTER);
	tap->on_submit = hold_gets;
}

static inline struct bw_op *hold_wait(int n)
{
	for (int64_t until = soon(); atomic_load(&held_n) < n; bw_sleep(BW_MS))
		cr_assert_lt(bw_now(), until, "a request that is due was not sent");
	return held[n - 1];
}

static inline void until_known(uint64_t version)
{
	for (int64_t until = soon(); known_version() < version; bw_sleep(BW_MS))
		cr_assert_lt(bw_now(), until, "nothing was found");
}

#endif
