/* SPDX-License-Identifier: Apache-2.0 */
#include "mount-helpers/bench_times.h"

#include <stdlib.h>
#include <string.h>

static int make_room(struct bw_times *t, size_t more)
{
	size_t room = t->room ? t->room : 256;

	if (t->room - t->n >= more)
		return 0;
	while (room - t->n < more)
		room *= 2;
	int64_t *ns = realloc(t->ns, room * sizeof(*ns));

	if (!ns)
		return -ENOMEM;
	t->ns = ns;
	t->room = room;
	return 0;
}

int bw_times_add(struct bw_times *t, int64_t ns)
{
	int err = make_room(t, 1);

	if (!err)
		t->ns[t->n++] = ns;
	return err;
}

int bw_times_append(struct bw_times *t, const struct bw_times *more)
{
	int err = more->n ? make_room(t, more->n) : 0;

	if (!err && more->n)
		memcpy(t->ns + t->n, more->ns, more->n * sizeof(*t->ns));
	t->n += err ? 0 : more->n;
	return err;
}

void bw_times_done(struct bw_times *t)
{
	free(t->ns);
	*t = (struct bw_times){.n = 0};
}

static int compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

static int64_t percentile(const int64_t *sorted, size_t n, unsigned q)
{
	size_t at = (n * q + 99) / 100;

	return sorted[at ? at - 1 : 0];
}

int bw_times_sum(const struct bw_times *t, struct bw_times_summary *ret)
{
	double sum = 0;

	if (!t->n) {
		*ret = (struct bw_times_summary){.n = 0};
		return 0;
	}
	int64_t *sorted = malloc(t->n * sizeof(*sorted));

	if (!sorted)
		return -ENOMEM;
	memcpy(sorted, t->ns, t->n * sizeof(*sorted));
	qsort(sorted, t->n, sizeof(*sorted), compare);
	for (size_t i = 0; i < t->n; i++)
		sum += (double)sorted[i];
	*ret = (struct bw_times_summary){.n = t->n,
					 .min = sorted[0],
					 .p50 = percentile(sorted, t->n, 50),
					 .p99 = percentile(sorted, t->n, 99),
					 .max = sorted[t->n - 1],
					 .mean = sum / (double)t->n};
	free(sorted);
	return 0;
}
