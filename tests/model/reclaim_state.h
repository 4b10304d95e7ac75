/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A state of the reclaim model: roots, objects, who uses which root, and what follows from a root:
 * where a trim may go and what may be deleted.
 *
 * Threading: none.
 */
#ifndef BW_TESTS_MODEL_RECLAIM_STATE_H
#define BW_TESTS_MODEL_RECLAIM_STATE_H

#include "tests/model/model.h"

#define VERSIONS 9
#define OBJECTS 7
#define WRITERS 2
#define COLLECTORS 2
#define JOBS 2
#define STEPS 3

enum { WRITERS_N, JOBS_N, COLLECTORS_N, VERSIONS_N, BEGUN_N, STEPS_N, OBJECTS_N, KEEP_N, READERS_N,
       SLACK_N, STATELESS_N };

enum mutation {
	ROOT_FIRST,
	UPLOAD_FIRST,
	RETAKE_OLD,
	DELETE_FIRST,
	NEWEST_JUDGES,
	CURRENT_EPOCH,
	MIXED_ROOTS,
	SHARED_NAMES,
	STATE_CURRENT,
	STATE_NEXT,
	TRIM_OPERAND,
	MARKER_PUT,
	MARKER_DELETE,
	MARK_BELOW,
	FEW_MARKERS,
	READ_THEN_JOB,
	OWN_ROOT,
	TAKEN_SEQ_KEPT,
	FENCED_KEPT,
	STATE_KEPT,
	STALE_THERE,
	EXISTS_UPLOADED,
	TRIM_NEWEST,
};

/* One producer with dense seqs: its seq is the step, its next is the head. */
struct root {
	uint32_t epoch : 3, owner : 2, head : 2, first : 2, jobs : 2, marks : 8, objects : 9,
		there : 1;
};

/* data, state: in the store.  stated: the batch came with a state. */
struct object {
	uint16_t data : 1, state : 1, epoch : 3, seq : 2, used : 1, stated : 1;
};

enum phase { OUT, EARLY, HELD, UPLOADED, FENCED };

struct writer {
	uint8_t phase, epoch, seq, object;	/* object: index + 1 */
};

struct state {
	struct root root[VERSIONS + 1];
	struct object object[OBJECTS];
	struct writer writer[WRITERS];
	uint8_t n;			/* newest version */
	uint8_t old;			/* newest version that is older than grace */
	uint8_t reader;			/* the version it uses; 0: none */
	uint8_t judge[COLLECTORS];	/* the deletion root it has chosen; 0: none */
	uint8_t seen[JOBS];		/* first, as the job read it when it began to count on it */
	/* Of mutations alone. */
	uint8_t brought[JOBS];		/* what a client read, to use it later; + 1 */
	uint8_t brought_trim;		/* + 1 */
	uint8_t believed;		/* markers their jobs believe in, like root.marks */
	uint8_t again;			/* markers, or objects, whose DELETE may be repeated */
};
_Static_assert(sizeof(struct state) <= BW_STATE_MAX, "a state fits");

bool bw_reclaim_mutated(const struct bw_setting *s, enum mutation m);

unsigned bw_object_at(struct root r, unsigned step);
unsigned bw_marks_of(struct root r, int job);
unsigned bw_mark_bit(int job, int step);
/* The object of the state that r holds, or OBJECTS. */
unsigned bw_current_state(const struct state *st, struct root r);
unsigned bw_first_after_trim(const struct bw_setting *s, struct root r);
/* A job with too few of these markers: nothing is trimmed. */
bool bw_job_holds_all(const struct bw_setting *s, unsigned marks, int job);

/* References are those of r; what is not referenced is judged by p, which is the same root. */
bool bw_data_deletable(const struct bw_setting *s, struct root r, struct root p, struct object o,
		       unsigned i);
bool bw_state_deletable(const struct bw_setting *s, const struct state *st, struct root r,
			struct root p, unsigned i);

void bw_reclaim_canonical(const struct bw_setting *s, void *state);

#endif
