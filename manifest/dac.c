/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/dac.h"

#include "store/base/clock.h"

#include <stdlib.h>
#include <string.h>

#define ATTEMPT_MIN BW_MS
#define ATTEMPT_MAX (60 * BW_SEC)
#define DOUBT_BASE (50 * BW_MS)
#define DOUBT_MAX (5 * BW_SEC)
#define PRESSURE_MAX 1.5	/* how far above its share a committer slows down */
#define WINDOW_VERSIONS 16u	/* a speed over these has 25 % error, whatever the speed */
#define WINDOW_MIN 4u
#define WINDOW_NS (60 * BW_SEC)
#define PEEK_ABOVE 256		/* waits longer than so many W: a look costs as much as half a commit */
#define STALE_VERSIONS 0.4	/* expected since the last look: a blind put loses more than a look costs */
#define STALE_AGAIN 0.15
#define FOLD 128		/* batches in a leaf of the index */
#define COMMITTERS_WINDOW 256u	/* versions: at least so far back counts as lately */

void bw_dac_init(struct bw_dac *d, uint64_t seed)
{
	*d = (struct bw_dac){.committers = 1};
	bw_rng_init(&d->rng, seed);
}

/* ---- The terms of the rule -------------------------------------------------------------------- */

static const struct bw_dac_sample *sample(const struct bw_dac *d, uint64_t i)
{
	return &d->seen[i % BW_DAC_SAMPLES];
}

/* What the newest sample is compared with: far enough back in versions, else in time, else the oldest. */
static const struct bw_dac_sample *reference(const struct bw_dac *d)
{
	const struct bw_dac_sample *now = sample(d, d->seen_n - 1);
	uint64_t oldest = d->seen_n > BW_DAC_SAMPLES ? d->seen_n - BW_DAC_SAMPLES : 0;

	for (uint64_t i = d->seen_n - 1; i > oldest; i--) {
		const struct bw_dac_sample *then = sample(d, i - 1);

		if (now->version - then->version >= WINDOW_VERSIONS ||
		    now->at_ns - then->at_ns > WINDOW_NS)
			return then;
	}
	return sample(d, oldest);
}

/* Index nodes that a commit puts before its root, on average: one for each FOLD batches. */
static double nodes(const struct bw_dac *d)
{
	if (!d->seen_n)
		return 0;
	const struct bw_dac_sample *now = sample(d, d->seen_n - 1), *then = reference(d);

	if (now->version - then->version < WINDOW_MIN)
		return 0;
	return (double)(now->head - then->head) / (double)(now->version - then->version) /
	       FOLD;
}

int64_t bw_dac_window(const struct bw_dac *d)
{
	int64_t ns = d->probe_ns + (int64_t)((double)d->put_ns * (1 + nodes(d)));

	return ns > ATTEMPT_MIN ? ns : ATTEMPT_MIN;
}

double bw_dac_speed(const struct bw_dac *d)
{
	if (!d->seen_n)
		return 0;
	const struct bw_dac_sample *now = sample(d, d->seen_n - 1), *then = reference(d);
	int64_t ns = now->at_ns - then->at_ns;

	if (now->version - then->version < WINDOW_MIN || ns <= 0)
		return 0;
	return (double)(now->version - then->version) * 1e9 / (double)ns;
}

double bw_dac_rho(const struct bw_dac *d)
{
	return bw_dac_speed(d) * (double)bw_dac_window(d) / 1e9;
}

int64_t bw_dac_tau(const struct bw_dac *d)
{
	double pressure = (bw_dac_rho(d) - BW_DAC_RHO_LOW) / (BW_DAC_RHO - BW_DAC_RHO_LOW);

	/* Who is alone shares with nobody, however busy it keeps the slot itself. */
	if (d->committers <= 1 || pressure <= 0)
		return 0;
	pressure = pressure < PRESSURE_MAX ? pressure : PRESSURE_MAX;
	double tau = pressure * d->committers * (double)bw_dac_window(d) / BW_DAC_RHO;

	return tau < (double)BW_DAC_TAU_MAX_NS ? (int64_t)tau : BW_DAC_TAU_MAX_NS;
}

struct activity {
	uint64_t owner;		/* half of the random id tells owners apart well enough */
	uint64_t version;
};

static int by_owner(const void *a, const void *b)
{
	const struct activity *x = a, *y = b;

	return x->owner < y->owner ? -1 : x->owner > y->owner;
}

/* The newest version of each owner that committed any; at most max of them. */
static uint32_t activities(const struct bw_root *r, struct activity *list)
{
	uint32_t n = 0, kept = 0;

	for (uint32_t i = 0; i < r->producers_n && i < BW_PRODUCERS_MAX; i++) {
		const struct bw_producer_entry *p = &r->producers[i];

		if (!p->next)
			continue;
		memcpy(&list[n].owner, p->owner, sizeof(list[n].owner));
		list[n++].version = p->last_version;
	}
	qsort(list, n, sizeof(*list), by_owner);
	for (uint32_t i = 0; i < n; i++) {
		if (kept && list[kept - 1].owner == list[i].owner) {
			if (list[kept - 1].version < list[i].version)
				list[kept - 1].version = list[i].version;
			continue;
		}
		list[kept++] = list[i];
	}
	return kept;
}

uint32_t bw_dac_committers(const struct bw_root *r)
{
	struct activity list[BW_PRODUCERS_MAX];
	uint32_t n = activities(r, list), c = 1;

	for (;;) {
		uint64_t fair = 3 * (uint64_t)c;
		uint64_t window = fair > COMMITTERS_WINDOW ? fair : COMMITTERS_WINDOW;
		uint32_t active = 0;

		for (uint32_t i = 0; i < n; i++)
			active += r->version - list[i].version < window;
		if (active <= c)
			return active ? active : 1;
		c = active;
	}
}

/* ---- What happened ---------------------------------------------------------------------------- */

static int64_t average(int64_t old_ns, int64_t took_ns)
{
	if (took_ns > ATTEMPT_MAX)
		took_ns = ATTEMPT_MAX;
	return old_ns ? old_ns + (took_ns - old_ns) / 8 : took_ns;
}

void bw_dac_put(struct bw_dac *d, int64_t took_ns, bool throttled)
{
	if (throttled && took_ns < ATTEMPT_MAX)
		took_ns += took_ns / 2;
	d->put_ns = average(d->put_ns, took_ns);
}

void bw_dac_probed(struct bw_dac *d, int64_t took_ns)
{
	d->probe_ns = average(d->probe_ns, took_ns);
}

/* A wait under way is shortened when the load turns out to be less, never lengthened: else whoever
 * looks most often waits longest. */
static void shorten(struct bw_dac *d)
{
	int64_t wait_ns = (int64_t)((double)bw_dac_tau(d) * d->factor);

	if (d->succeeded && wait_ns < d->wait_ns)
		d->wait_ns = wait_ns;
}

void bw_dac_saw_version(struct bw_dac *d, int64_t now_ns, uint64_t version, uint64_t head,
			uint32_t committers)
{
	const struct bw_dac_sample *last = d->seen_n ? sample(d, d->seen_n - 1) : NULL;

	if (last && version < last->version)
		return;
	d->looked_ns = now_ns;
	d->committers = committers ? committers : 1;
	/* Looks that find nothing new move the newest sample on and push out no other. */
	if (last && version == last->version)
		d->seen_n--;
	d->seen[d->seen_n++ % BW_DAC_SAMPLES] = (struct bw_dac_sample){version, head, now_ns};
	shorten(d);
}

void bw_dac_saw(struct bw_dac *d, int64_t now_ns, const struct bw_root *newest)
{
	bw_dac_saw_version(d, now_ns, newest->version, newest->head, bw_dac_committers(newest));
}

void bw_dac_committed(struct bw_dac *d, int64_t now_ns)
{
	d->succeeded = true;
	d->last_ok_ns = now_ns;
	d->factor = 0.5 + bw_rng_unit(&d->rng);
	d->wait_ns = (int64_t)((double)bw_dac_tau(d) * d->factor);
	d->peeked = false;
}

/* ---- What to do ------------------------------------------------------------------------------- */

int64_t bw_dac_due(const struct bw_dac *d, int64_t now_ns, uint32_t queued)
{
	if (!d->succeeded)
		return now_ns;
	return d->last_ok_ns + d->wait_ns / (1 + queued / BW_APPENDS_MAX);
}

int64_t bw_dac_peek(const struct bw_dac *d, int64_t now_ns, int64_t due_ns)
{
	if (d->peeked || due_ns - d->last_ok_ns <= PEEK_ABOVE * bw_dac_window(d) || due_ns <= now_ns)
		return INT64_MAX;
	return d->last_ok_ns + (due_ns - d->last_ok_ns) / 3;
}

void bw_dac_peeked(struct bw_dac *d)
{
	d->peeked = true;
}

uint64_t bw_dac_guess(const struct bw_dac *d, int64_t now_ns)
{
	double speed = bw_dac_speed(d);

	if (speed <= 0)
		return 0;
	return sample(d, d->seen_n - 1)->version +
	       (uint64_t)(speed * (double)(now_ns - d->looked_ns) / 1e9);
}

bool bw_dac_look_first(const struct bw_dac *d, int64_t now_ns)
{
	return bw_dac_speed(d) * (double)(now_ns - d->looked_ns) / 1e9 > STALE_VERSIONS &&
	       d->committers > 1;
}

bool bw_dac_look_again(const struct bw_dac *d, int64_t now_ns)
{
	return now_ns - d->looked_ns > bw_dac_window(d) / 2 &&
	       bw_dac_speed(d) * (double)(now_ns - d->looked_ns) / 1e9 > STALE_AGAIN;
}

static int64_t uniform(struct bw_dac *d, int64_t below)
{
	return (int64_t)(bw_rng_unit(&d->rng) * (double)below);
}

int64_t bw_dac_after_conflict(struct bw_dac *d, unsigned conflicts)
{
	/* Bounded: whoever lost often stays aggressive, or the slowest would never win a slot. */
	return uniform(d, (bw_dac_window(d) << (conflicts < 3 ? conflicts : 3)) / 2);
}

int64_t bw_dac_after_doubt(struct bw_dac *d, unsigned tries)
{
	int64_t most = DOUBT_BASE;

	while (tries-- > 1 && most < DOUBT_MAX)
		most *= 2;
	return uniform(d, most < DOUBT_MAX ? most : DOUBT_MAX);
}
