/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the correctness simulator. */
#ifndef BW_TESTS_SIM_CHECK_PRIV_H
#define BW_TESTS_SIM_CHECK_PRIV_H

#include "manifest/apply.h"
#include "manifest/dac.h"
#include "manifest/open_search.h"
#include "manifest/reclaim.h"
#include "manifest/txn.h"
#include "store/base/clock.h"
#include "tests/sim/check.h"
#include "tests/support/change.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#define WRITERS_MAX 6
#define READERS_MAX 3
#define COLLECTORS_MAX 2
#define WORK_MAX 24		/* changes of one commit of a writer */
#define PRODUCERS 4
#define JOBS 2
#define EVENTS_MAX 60000	/* I13: rest comes within this after the last fault */

extern const char *const check_producers[PRODUCERS], *const check_jobs[JOBS];

struct writer {
	int who;
	uint64_t token;		/* of the request that is waited for; older answers are for the dead */
	uint8_t owner[16];
	struct bw_root *view;	/* NULL: down, or it must look first */
	struct bw_txn *txn;
	struct bw_txn_request request;
	struct bw_dac dac;
	bool slot;		/* the put under way is of a root */
	uint64_t acked;
	/* What it is about to commit: their objects are uploaded first, and then the txn is made. */
	struct bw_change work[WORK_MAX];	/* owned */
	unsigned work_n, uploaded;
	bool state_next;	/* the data of work[uploaded] is there, its state not yet */
};

/* Reclaims, pass after pass; dies and begins anew. */
struct collector {
	int who;
	uint64_t token;
	uint8_t owner[16];
	struct bw_root *view;	/* the newest it has seen */
	struct bw_reclaim *pass;	/* NULL: between passes */
	struct bw_reclaim_options options;
	struct bw_reclaim_memo memo;
	struct bw_reclaim_request request;
	enum bw_reclaim_want want;
	size_t put;		/* of the request's: those before are answered */
	struct bw_txn *txn;	/* of a commit that the pass has asked for */
	struct bw_txn_request ask;
	struct bw_dac dac;
	uint64_t passes_at_rest;	/* that found nothing to do, since the last request could arrive */
};

struct reader {
	int who;
	uint64_t token;
	struct bw_root *view;	/* NULL: it opens cold */
	struct bw_search search;
	bool searching;		/* cold, or after hits in a row; else one by one */
	struct bw_root *found;	/* of search.low */
	uint64_t asked;		/* the version of the request under way */
	uint64_t newest_then;	/* when the look began: what it may not miss */
	unsigned hits, restarts;
	unsigned requests, failures;	/* of this look */
	uint64_t next;		/* the step to consume next */
	uint64_t first_step;	/* the one it began with */
};

#define UNCOMMITTED UINT64_MAX

struct batch {
	bool dead;		/* its writer was told that it is not committed */
	uint64_t step;		/* that it has, or UNCOMMITTED */
	uint8_t owner[16];	/* the life that made it */
};

/* What the oracle remembers: everything. */
struct world {
	struct bw_sim sim;
	struct bw_stream stream;
	struct check_options o;
	struct check_result *result;
	jmp_buf failed;
	struct writer writers[WRITERS_MAX];
	int writers_n;
	struct reader readers[READERS_MAX];
	int readers_n;
	struct collector collectors[COLLECTORS_MAX];
	int collectors_n;
	bool small_pages;	/* of listings */
	bool quiet;		/* no new work */
	uint64_t quiet_at;
	struct bw_entry *history;
	uint64_t history_n, history_cap;
	struct {
		uint64_t epoch, next;
		uint8_t owner[16];
		uint64_t state;		/* the step whose batch brought the newest state, or UNCOMMITTED */
		uint8_t (*owners)[16];	/* [epoch]: who has ever held it */
	} truth[PRODUCERS];
	struct batch *batches;	/* by nonce */
	uint64_t batches_n, batches_cap;
	uint32_t lives;
};

void check_fail(struct world *w, const char *format, ...)
	__attribute__((noreturn, format(printf, 2, 3)));
#define CHECK(w, condition, ...)                                                                   \
	do {                                                                                       \
		if (!(condition))                                                                  \
			check_fail(w, __VA_ARGS__);                                                \
	} while (0)

/* The oracle. */
void judge_root(struct bw_sim *sim, struct bw_root *r);
int producer_index(const char *name);
void judge_results(struct world *w, struct bw_txn *t);
void judge_view(struct world *w, const struct bw_root *view);
/* The state that a batch carries, if it does, follows from what it is: so I8 can be checked anywhere. */
bool state_of(uint64_t nonce, char text[32]);
struct batch *batch_new(struct world *w, const uint8_t owner[16]);

void writer_born(struct world *w, struct writer *me);
void writer_answer(struct world *w, struct writer *me, struct bw_sim_op *op);
/* Its data, and whether its state is an object of its own; keys for both. */
bool state_is_apart(uint64_t nonce);

/* The request that a txn wants next, from who; DONE: nothing is sent. */
void txn_request(struct world *w, int who, uint64_t token, enum bw_txn_want want, const struct bw_txn_request *r,
		 struct bw_dac *dac);
int64_t txn_clock_ms(const struct world *w, int who);
void txn_commit_id(struct world *w, uint8_t id[16]);

void collector_born(struct world *w, struct collector *me);
void collector_answer(struct world *w, struct collector *me, struct bw_sim_op *op);
void collector_done(struct collector *me);
void judge_deletion(struct bw_sim *sim, const struct bw_sim_object *object);
void judge_burial(struct bw_sim *sim, uint64_t version);
/* I13 of objects: what is left is needed, or may still be. */
void judge_rest(struct world *w);

void reader_born(struct world *w, struct reader *me);
void reader_answer(struct world *w, struct reader *me, struct bw_sim_op *op);

#endif
