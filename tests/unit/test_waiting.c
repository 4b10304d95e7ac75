/* SPDX-License-Identifier: Apache-2.0 */
/* V7, S6: the lines of /status/waiting about those who wait. */
#include "fs/waiting.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MANY 100000u	/* as many ranks of a large job as one host may have, all of which wait for the next step */

struct world {
	struct bw_counters counters;
	struct bw_waiting waiting;
	struct bw_waiter *waiters;
	struct bw_buf text;
};

static void world_init(struct world *w, unsigned n)
{
	memset(w, 0, sizeof(*w));
	bw_waiting_init(&w->waiting, &w->counters);
	w->waiters = calloc(n, sizeof(*w->waiters));
	cr_assert_not_null(w->waiters);
	for (unsigned i = 0; i < n; i++) {
		w->waiters[i] = (struct bw_waiter){.pid = getpid(), .reason = BW_WAIT_STEP};
		snprintf(w->waiters[i].what, sizeof(w->waiters[i].what), "step=7 rank=%u", i);
		bw_waiting_add(&w->waiting, &w->waiters[i]);
	}
	bw_buf_init(&w->text, 1u << 20);
}

static void world_done(struct world *w)
{
	bw_buf_done(&w->text);
	free(w->waiters);
	bw_waiting_done(&w->waiting);
}

static unsigned lines(struct world *w)
{
	unsigned n = 0;

	bw_buf_reset(&w->text);
	bw_waiting_print(&w->waiting, &w->text);
	cr_assert_eq(bw_buf_err(&w->text), 0);
	for (const char *at = bw_buf_text(&w->text); (at = strchr(at, '\n')); at++)
		n++;
	return n;
}

Test(waiting, V7_each_has_a_line)
{
	struct world w;

	world_init(&w, 1000);
	cr_assert_eq(lines(&w), 1000);
	cr_assert(strstr(bw_buf_text(&w.text), " step=7 rank=0 since="));
	cr_assert_not(strstr(bw_buf_text(&w.text), "more"));
	world_done(&w);
}

Test(waiting, S6_of_very_many_a_thousand_have_a_line)
{
	struct world w;

	world_init(&w, MANY);
	cr_assert_eq(lines(&w), 1001);
	cr_assert(strstr(bw_buf_text(&w.text), "\n... and 99000 more who wait\n"));
	for (unsigned i = 0; i < MANY - 2; i++)
		bw_waiting_remove(&w.waiting, &w.waiters[(i * 7) % MANY]);
	cr_assert_eq(lines(&w), 2);
	cr_assert_eq(w.counters.waiters[BW_WAIT_STEP], 2);
	world_done(&w);
}
