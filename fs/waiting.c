/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/waiting.h"

#include "store/base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PRINTED 1000u	/* waiters that have a line */

void bw_waiting_init(struct bw_waiting *w, struct bw_counters *counters)
{
	bw_mutex_init(&w->lock, BW_RANK_WAITERS);
	w->head = NULL;
	w->n = 0;
	w->counters = counters;
}

void bw_waiting_done(struct bw_waiting *w)
{
	bw_mutex_done(&w->lock);
}

void bw_waiting_add(struct bw_waiting *w, struct bw_waiter *one)
{
	one->since_ns = bw_now();
	atomic_fetch_add(&w->counters->waiters[one->reason], 1);
	BW_LOCK_SCOPE(&w->lock);
	w->n++;
	one->next = w->head;
	one->prev = &w->head;
	if (w->head)
		w->head->prev = &one->next;
	w->head = one;
}

void bw_waiting_forget(struct bw_waiting *w, struct bw_waiter *one)
{
	atomic_fetch_sub(&w->counters->waiters[one->reason], 1);
	BW_LOCK_SCOPE(&w->lock);
	w->n--;
	*one->prev = one->next;
	if (one->next)
		one->next->prev = one->prev;
}

void bw_waiting_remove(struct bw_waiting *w, struct bw_waiter *one)
{
	atomic_fetch_add(&w->counters->waits[one->reason], 1);
	atomic_fetch_add(&w->counters->waited_ns[one->reason], (uint64_t)(bw_now() - one->since_ns));
	bw_waiting_forget(w, one);
}

void bw_waiting_say(struct bw_waiting *w, struct bw_waiter *one, const char *what)
{
	BW_LOCK_SCOPE(&w->lock);
	snprintf(one->what, sizeof(one->what), "%s", what);
}

/* The waiter was blocked in its system call a moment ago, so its name is most likely still there to read. */
static void read_comm(pid_t pid, char comm[32])
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	FILE *f = fopen(path, "re");
	if (!f || !fgets(comm, 32, f))
		snprintf(comm, 32, "?");
	if (f)
		fclose(f);
	comm[strcspn(comm, "\n")] = 0;
	for (char *p = comm; *p; p++)
		if (*p <= ' ' || *p == 0x7f)
			*p = '_';
}

void bw_waiting_print(struct bw_waiting *w, struct bw_buf *out)
{
	static const char *const reasons[] = BW_WAIT_REASON_NAMES;
	int64_t now = bw_now(), wall = bw_wall_ms();
	char comm[32], since[32];
	bw_auto_buf struct bw_buf copies = {.max = PRINTED * sizeof(struct bw_waiter)};

	/* Every read takes the lock, and must not wait for /proc. */
	bw_lock(&w->lock);
	for (struct bw_waiter *one = w->head; one && !bw_buf_err(&copies); one = one->next)
		bw_buf_add(&copies, one, sizeof(*one));
	size_t more = w->n - copies.len / sizeof(struct bw_waiter);
	bw_unlock(&w->lock);
	for (size_t at = 0; at < copies.len; at += sizeof(struct bw_waiter)) {
		const struct bw_waiter *one = (const struct bw_waiter *)(copies.bytes + at);

		read_comm(one->pid, comm);
		bw_wall_text(wall - (now - one->since_ns) / BW_MS, since, sizeof(since));
		bw_buf_fmt(out, "pid=%d comm=%s %s since=%s reason=%s\n", (int)one->pid, comm,
			   one->what, since, reasons[one->reason]);
	}
	if (more)
		bw_buf_fmt(out, "... and %zu more who wait\n", more);
}
