/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When to commit: Decentralized Adaptive Commit, a value without clock, I/O or thread.
 *
 * A version is one slot, and only one committer gets it: attempts that overlap cost all but one of
 * them their work.  Each committer decides alone how often it tries, from what all of them see alike:
 * how fast the version counter moves (S) times how long a look and its puts take (W) says how much of the
 * time the slot is busy (rho), and the producer table says among how many it is shared (P).  Below
 * BW_DAC_RHO_LOW it commits at once.  Above, it waits about tau after its last success, so that all
 * together keep the slot busy BW_DAC_RHO of the time:
 *
 *   tau = min(tau_max, clamp((rho - 0.30) / 0.16, 0, 1.5) * P * W / 0.46)
 *
 * and each commit takes all that is queued.  docs/dac.md derives it and shows what it does.
 * Times are nanoseconds of a clock that the caller read.  Thread-safety: none; one owner.
 */
#ifndef BW_MANIFEST_DAC_H
#define BW_MANIFEST_DAC_H

#include "manifest/root.h"
#include "store/base/rand.h"

#include <stdbool.h>

#define BW_DAC_RHO 0.46
#define BW_DAC_RHO_LOW 0.30
#define BW_DAC_TAU_MAX_NS (600 * INT64_C(1000000000))
#define BW_DAC_SAMPLES 32u

struct bw_dac {
	int64_t put_ns;		/* build and put of a root: moving average over about 8; 0: none */
	int64_t probe_ns;	/* of a probe for a version that is not there, likewise */
	uint32_t committers;	/* P: active lately, this one included */
	struct bw_dac_sample {
		uint64_t version, head;
		int64_t at_ns;
	} seen[BW_DAC_SAMPLES];	/* ring of newest roots and when they were newest */
	uint64_t seen_n;	/* ever */
	int64_t looked_ns;	/* when the newest root was last known to be the newest */
	bool succeeded;		/* last_ok_ns and factor are set */
	int64_t last_ok_ns;
	double factor;		/* of tau, for the wait after this success */
	int64_t wait_ns;	/* of that wait: only ever shortened */
	bool peeked;		/* during it */
	struct bw_rng rng;
};

void bw_dac_init(struct bw_dac *d, uint64_t seed);

/* ---- What happened ---------------------------------------------------------------------------- */

/*
 * A root was put, won or lost: its build, and from the request to the answer, which is the same for
 * winners and losers.  throttled: the store refused some sends of it for their number.
 */
void bw_dac_put(struct bw_dac *d, int64_t took_ns, bool throttled);
/* A probe for the next version took so long. */
void bw_dac_probed(struct bw_dac *d, int64_t took_ns);
/* The newest root was found, or made: it was the newest at now_ns (when the probe above it was sent). */
void bw_dac_saw(struct bw_dac *d, int64_t now_ns, const struct bw_root *newest);
/* The same for callers that have no root: committers as bw_dac_committers() counts them. */
void bw_dac_saw_version(struct bw_dac *d, int64_t now_ns, uint64_t version, uint64_t head,
			uint32_t committers);
/* An attempt of this committer won; after bw_dac_put() and bw_dac_saw(). */
void bw_dac_committed(struct bw_dac *d, int64_t now_ns);

/* ---- What to do ------------------------------------------------------------------------------- */

/* When the next attempt is due, with `queued` batches waiting (who has n times what a version takes comes
 * n + 1 times as often); at most now_ns: at once. */
int64_t bw_dac_due(const struct bw_dac *d, int64_t now_ns, uint32_t queued);
/* During a long wait for due_ns: when to look for the newest root once, as the load may have changed;
 * INT64_MAX: not at all.  bw_dac_peeked() when it was done, or when it failed. */
int64_t bw_dac_peek(const struct bw_dac *d, int64_t now_ns, int64_t due_ns);
void bw_dac_peeked(struct bw_dac *d);
/* Look for the newest root before building, because the one known is too likely not to be it? */
bool bw_dac_look_first(const struct bw_dac *d, int64_t now_ns);
/* The same right after a look, which was a long one: what it found is old by now? */
bool bw_dac_look_again(const struct bw_dac *d, int64_t now_ns);
/* Which version is likely the newest by now; 0: no idea. */
uint64_t bw_dac_guess(const struct bw_dac *d, int64_t now_ns);
/* How long to wait before the next attempt after `conflicts` lost slots in a row. */
int64_t bw_dac_after_conflict(struct bw_dac *d, unsigned conflicts);
/* How long to wait before repeating an ambiguous or throttled request the tries-th time. */
int64_t bw_dac_after_doubt(struct bw_dac *d, unsigned tries);

/* ---- The terms of the rule -------------------------------------------------------------------- */

/*
 * W: from knowing the newest root to one's own being there, at least 1 ms.  One probe, one put of the
 * root, and as many puts of index nodes as versions have on average, by what all see: not by one's own, or
 * those who commit little at a time believe the slot to be less busy than those who commit much.
 */
int64_t bw_dac_window(const struct bw_dac *d);
double bw_dac_speed(const struct bw_dac *d);	/* S: versions per second; 0: too few seen */
double bw_dac_rho(const struct bw_dac *d);
int64_t bw_dac_tau(const struct bw_dac *d);	/* nanoseconds, 0 to BW_DAC_TAU_MAX_NS */

/*
 * Committers (owners) that committed a batch lately: the smallest c such that at most c of them appear
 * in the last max(3c, 256) versions.  Shared equally, 3c versions miss 5 % of c; who has gone is
 * forgotten after as many versions as matter to those who stayed.  Not fewer than 256 versions, or one
 * that wins a few dozen slots in a row would believe itself alone, and never yield again.
 */
uint32_t bw_dac_committers(const struct bw_root *r);

#endif
