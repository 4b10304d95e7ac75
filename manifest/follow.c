/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/follow.h"

#define FAILED_NS (10 * BW_MS)	/* the pause behind the first round that failed */
#define FAILED_MAX_NS BW_SEC	/* those who ask wait 5 s: room for several rounds */
#define EVERY_WEIGHT 4
#define EVERY_MAX_NS (60 * BW_SEC)
#define EVERY_SHARE 4
#define SINCE_SHARE 8
#define STEADY_SHARE 4		/* versions that stray by less than that of what lies between them */
#define STEADY_MAX_NS (30 * BW_SEC)	/* of longer times too little is remembered */
#define LEAD_MIN_NS (25 * BW_MS)
#define UNHERALDED_MAX 1	/* so many in a row are taken for the newest: the next one may have been passed by */
#define SPREAD_SHARE 8		/* of it they ask for the next one in, not all at a moment */
#define IN_VAIN 16u		/* about so many join before one is asked for at once again */
#define STRETCH_EASE 0.95	/* a round that the store answers */

static int64_t later(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static int64_t sooner(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t stretched(const struct bw_follow *f, int64_t ns)
{
	return sooner((int64_t)((double)ns * f->stretch), BW_FOLLOW_STRETCHED_MAX_NS);
}

void bw_follow_init(struct bw_follow *f, int64_t now_ns, uint64_t seed)
{
	*f = (struct bw_follow){.news_ns = now_ns, .came_ns = now_ns, .stretch = 1};
	bw_rng_init(&f->rng, seed);
	f->chance = bw_rng_unit(&f->rng);
}

/* A store that is asked too often is asked as if nothing could be foretold. */
static bool is_steady(const struct bw_follow *f)
{
	return f->every_ns >= 2 * BW_FOLLOW_MIN_NS && f->every_ns <= STEADY_MAX_NS &&
	       f->strays_ns < f->every_ns / STEADY_SHARE && f->stretch <= 1;
}

/* So long before its time the next version is asked for. */
static int64_t lead_ns(const struct bw_follow *f)
{
	return later(f->strays_ns, LEAD_MIN_NS);
}

/*
 * When the newest version was committed, as far as can be told: between a no and its being found.  Where it was there when
 * first looked for it was looked for too late, by nobody knows how much: earlier than was foretold, and twice as much with
 * each that follows.
 */
static int64_t guess_came(struct bw_follow *f, int64_t now_ns, uint64_t versions)
{
	bool heralded = f->quiet_ns > f->news_ns || !is_steady(f) || versions > 1;
	int64_t no_ns = later(f->quiet_ns, f->came_ns);

	f->unheralded = heralded ? 0 : f->unheralded + 1;
	if (heralded)
		return later(no_ns + (now_ns - no_ns) / 2, now_ns - lead_ns(f));
	int64_t early_ns = lead_ns(f) << (f->unheralded < 8 ? f->unheralded - 1 : 7);

	return later(sooner(f->came_ns + f->every_ns, now_ns) - early_ns, no_ns);
}

static void saw_versions(struct bw_follow *f, int64_t now_ns, uint64_t versions)
{
	int64_t came_ns = guess_came(f, now_ns, versions);
	int64_t each = sooner((came_ns - f->came_ns) / (int64_t)versions, EVERY_MAX_NS);
	int64_t strays = each > f->every_ns ? each - f->every_ns : f->every_ns - each;

	f->strays_ns += (strays - f->strays_ns) / EVERY_WEIGHT;
	f->every_ns = f->every_ns ? f->every_ns + (each - f->every_ns) / EVERY_WEIGHT : each;
	f->came_ns = came_ns;
	f->news_ns = now_ns;
}

void bw_follow_found(struct bw_follow *f, int64_t now_ns, uint64_t versions, bool no, bool asked)
{
	f->failed_ns = f->pause_ns = f->resume_ns = 0;
	f->stretch = f->stretch * STRETCH_EASE > 1 ? f->stretch * STRETCH_EASE : 1;
	f->chance = bw_rng_unit(&f->rng);
	if (versions)
		saw_versions(f, now_ns, versions);
	f->quiet_ns = no ? now_ns : 0;
	if (versions || asked)
		f->no_ns = versions ? 0 : f->quiet_ns;
}

bool bw_follow_is_content(const struct bw_follow *f, int64_t now_ns)
{
	bool heralded = f->quiet_ns > f->news_ns;

	if (!is_steady(f))
		return false;
	return heralded ? now_ns - f->quiet_ns < f->every_ns / 2 : f->unheralded < UNHERALDED_MAX;
}

void bw_follow_failed(struct bw_follow *f, int64_t now_ns, bool throttled)
{
	f->failed_ns = now_ns;
	f->pause_ns = f->pause_ns ? sooner(2 * f->pause_ns, FAILED_MAX_NS) : FAILED_NS;
	if (throttled) {
		f->stretch = 2 * f->stretch < BW_FOLLOW_STRETCH_MAX ? 2 * f->stretch : BW_FOLLOW_STRETCH_MAX;
		f->pause_ns = sooner(later(f->pause_ns, stretched(f, BW_FOLLOW_MIN_NS)), FAILED_MAX_NS);
	}
	f->chance = bw_rng_unit(&f->rng);
	f->resume_ns = now_ns + f->pause_ns / 2 + (int64_t)(f->chance * (double)f->pause_ns / 2);
}

/* The pause behind what happened last, where nothing can be foretold. */
static int64_t usual_pause(const struct bw_follow *f, int64_t last_ns)
{
	int64_t pause = later(f->every_ns / EVERY_SHARE, (last_ns - f->news_ns) / SINCE_SHARE);

	return stretched(f, sooner(later(pause, BW_FOLLOW_MIN_NS), BW_FOLLOW_MAX_NS));
}

static int64_t with_chance(const struct bw_follow *f, int64_t from_ns, int64_t pause_ns)
{
	return from_ns + pause_ns + (int64_t)((double)pause_ns * f->chance / 2);
}

/* When the next version is looked for if versions come steadily. */
static int64_t steady_due(const struct bw_follow *f, int64_t last_ns)
{
	int64_t due_ns = f->came_ns + f->every_ns, from_ns = due_ns - lead_ns(f);

	if (last_ns >= due_ns + f->every_ns / EVERY_SHARE)
		return with_chance(f, last_ns, usual_pause(f, last_ns));
	if (last_ns < from_ns - BW_FOLLOW_MIN_NS)
		return sooner(from_ns + (int64_t)((double)f->every_ns / SPREAD_SHARE * f->chance),
			      with_chance(f, last_ns, BW_FOLLOW_MAX_NS));
	return with_chance(f, last_ns, sooner(later(f->strays_ns / 2, BW_FOLLOW_MIN_NS), BW_FOLLOW_MAX_NS));
}

int64_t bw_follow_wait_due(const struct bw_follow *f)
{
	int64_t last_ns = later(later(f->quiet_ns, f->failed_ns), f->news_ns);
	int64_t due_ns = is_steady(f) ? steady_due(f, last_ns) : with_chance(f, last_ns, usual_pause(f, last_ns));

	return later(due_ns, f->resume_ns);
}

int64_t bw_follow_ask_due(const struct bw_follow *f)
{
	return later(f->no_ns + BW_FOLLOW_MIN_NS, f->resume_ns);
}

bool bw_follow_joins(struct bw_follow *f)
{
	if (!f->in_vain)
		return false;
	f->in_vain--;
	return true;
}

void bw_follow_in_vain(struct bw_follow *f)
{
	f->in_vain = 1 + (unsigned)bw_rng_below(&f->rng, 2 * IN_VAIN);
}
