/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/follow.h"

#define FAILED_NS (10 * BW_MS)	/* the pause behind the first round that failed */
#define FAILED_MAX_NS BW_SEC	/* those who ask wait 5 s: room for several rounds */
#define EVERY_WEIGHT 4
#define EVERY_MAX_NS (60 * BW_SEC)
#define EVERY_SHARE 4
#define SINCE_SHARE 8
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
	*f = (struct bw_follow){.news_ns = now_ns, .stretch = 1};
	bw_rng_init(&f->rng, seed);
	f->chance = bw_rng_unit(&f->rng);
}

static void saw_versions(struct bw_follow *f, int64_t now_ns, uint64_t versions)
{
	int64_t each = sooner((now_ns - f->news_ns) / (int64_t)versions, EVERY_MAX_NS);

	f->every_ns = f->every_ns ? f->every_ns + (each - f->every_ns) / EVERY_WEIGHT : each;
	f->news_ns = now_ns;
}

void bw_follow_found(struct bw_follow *f, int64_t now_ns, uint64_t versions, bool asked)
{
	f->failed_ns = f->pause_ns = f->resume_ns = 0;
	f->stretch = f->stretch * STRETCH_EASE > 1 ? f->stretch * STRETCH_EASE : 1;
	f->chance = bw_rng_unit(&f->rng);
	f->quiet_ns = versions ? 0 : now_ns;
	if (versions || asked)
		f->no_ns = f->quiet_ns;
	if (versions)
		saw_versions(f, now_ns, versions);
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

int64_t bw_follow_wait_due(const struct bw_follow *f)
{
	int64_t last = later(later(f->quiet_ns, f->failed_ns), f->news_ns);
	int64_t pause = later(f->every_ns / EVERY_SHARE, (last - f->news_ns) / SINCE_SHARE);

	pause = stretched(f, sooner(later(pause, BW_FOLLOW_MIN_NS), BW_FOLLOW_MAX_NS));
	return later(last + pause + (int64_t)((double)pause * f->chance / 2), f->resume_ns);
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
