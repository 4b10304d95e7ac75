/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/policies.h"

#include "store/base/clock.h"

#define BASE_NS (50 * BW_MS)
#define CAP_NS (20 * BW_SEC)

static int64_t uniform(struct pacer *p, int64_t below)
{
	return (int64_t)(bw_rng_unit(&p->dac.rng) * (double)below);
}

static int64_t doubled(int64_t base, unsigned times, int64_t cap)
{
	while (times-- && base < cap)
		base *= 2;
	return base < cap ? base : cap;
}

static int64_t at_once(struct pacer *p, unsigned conflicts)
{
	(void)p;
	(void)conflicts;
	return 0;
}

/* "Full jitter" of the AWS Architecture Blog: U(0, min(cap, base * 2^n)). */
static int64_t full_jitter(struct pacer *p, unsigned conflicts)
{
	return uniform(p, doubled(BASE_NS, conflicts, CAP_NS));
}

/* Lance: a random one of 4, 8, 16 ... slots, a slot being 1.1 times the first attempt. */
static int64_t slots(struct pacer *p, unsigned conflicts)
{
	uint64_t n = UINT64_C(2) << (conflicts < 20 ? conflicts : 20);

	return (int64_t)bw_rng_below(&p->dac.rng, n) * (p->first_ns + p->first_ns / 10);
}

/* Iceberg's defaults: 100 ms doubling to 60 s and up to a tenth more, 4 retries; the commit fails then. */
static int64_t iceberg(struct pacer *p, unsigned conflicts)
{
	int64_t ns = doubled(100 * BW_MS, conflicts - 1, 60 * BW_SEC);

	return ns + uniform(p, ns / 10);
}

static int64_t dac(struct pacer *p, unsigned conflicts)
{
	return bw_dac_after_conflict(&p->dac, conflicts);
}

const struct policy policies[] = {
	{.name = "dac", .title = "DAC", .adaptive = true, .after_conflict = dac},
	{.name = "each-now", .title = "every batch, retry at once", .one = true,
	 .after_conflict = at_once},
	{.name = "each-jitter", .title = "every batch, full jitter", .one = true,
	 .after_conflict = full_jitter},
	{.name = "drain-now", .title = "group commit, retry at once", .after_conflict = at_once},
	{.name = "drain-jitter", .title = "group commit, full jitter",
	 .after_conflict = full_jitter},
	{.name = "fixed-5s", .title = "group commit, every 5 s", .interval_ns = 5 * BW_SEC,
	 .after_conflict = at_once},
	{.name = "lance", .title = "group commit, Lance's slots", .after_conflict = slots},
	{.name = "iceberg", .title = "group commit, Iceberg's retries", .tries = 5,
	 .after_conflict = iceberg},
};
const unsigned policies_n = sizeof(policies) / sizeof(*policies);

void pacer_init(struct pacer *p, const struct policy *policy, uint64_t seed)
{
	*p = (struct pacer){.policy = policy};
	bw_dac_init(&p->dac, seed);
	p->next_ns = policy->interval_ns ? uniform(p, policy->interval_ns) : 0;
}

int64_t pacer_due(struct pacer *p, int64_t now_ns, uint32_t queued)
{
	if (p->policy->adaptive)
		return bw_dac_due(&p->dac, now_ns, queued);
	if (!p->policy->interval_ns)
		return now_ns;
	return p->next_ns;
}

int64_t pacer_peek(const struct pacer *p, int64_t now_ns, int64_t due_ns)
{
	return p->policy->adaptive ? bw_dac_peek(&p->dac, now_ns, due_ns) : INT64_MAX;
}

void pacer_attempted(struct pacer *p, int64_t took_ns, bool throttled, unsigned conflicts)
{
	bw_dac_put(&p->dac, took_ns, throttled);
	if (conflicts <= 1)
		p->first_ns = took_ns;
}

void pacer_committed(struct pacer *p, int64_t now_ns)
{
	bw_dac_committed(&p->dac, now_ns);
	/* The beat is kept: a late commit does not shift those after it. */
	while (p->policy->interval_ns && p->next_ns <= now_ns)
		p->next_ns += p->policy->interval_ns;
}

int64_t pacer_after_conflict(struct pacer *p, unsigned conflicts)
{
	return p->policy->after_conflict(p, conflicts);
}
