/* SPDX-License-Identifier: Apache-2.0 */
#include "mount-helpers/progress.h"

#include "store/base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define FIRST_NS BW_SEC
#define EVERY_NS (250 * BW_MS)

void bw_progress_init(struct bw_progress *p, const char *what, const char *unit, uint64_t total,
		      bool on)
{
	*p = (struct bw_progress){.what = what, .unit = unit, .total = total};
	bw_mutex_init(&p->lock, BW_RANK_LEAF);
	p->start_ns = p->shown_ns = bw_now();
	p->on = on && isatty(STDERR_FILENO);
}

static void amount(char *buf, size_t len, double v, const char *unit)
{
	static const char *const prefixes[] = {"", "k", "M", "G", "T"};
	size_t i = 0;

	if (strcmp(unit, "B") != 0) {
		snprintf(buf, len, "%.0f %s", v, unit);
		return;
	}
	for (; v >= 1000 && i < 4; i++)
		v /= 1000;
	snprintf(buf, len, i && v < 100 ? "%.1f %sB" : "%.0f %sB", v, prefixes[i]);
}

static void show_locked(struct bw_progress *p, int64_t now)
{
	double seconds = (double)(now - p->start_ns) / (double)BW_SEC;
	double rate = (double)p->done / seconds;
	double percent = p->total ? 100.0 * (double)p->done / (double)p->total : 0;
	uint64_t left = rate > 0 && p->total > p->done ?
				(uint64_t)((double)(p->total - p->done) / rate + 0.5) : 0;
	char done[48], speed[48], line[256];
	struct winsize size = {0};

	amount(done, sizeof(done), (double)p->done, p->unit);
	amount(speed, sizeof(speed), rate, p->unit);
	if (!p->total)
		snprintf(line, sizeof(line), "%s: %s, %s/s", p->what, done, speed);
	else
		snprintf(line, sizeof(line), "%s: %3.0f%%, %s, %s/s, %" PRIu64 ":%02" PRIu64 " left", p->what, percent, done,
			 speed, left / 60, left % 60);
	/* One that the terminal breaks would be two, of which the next only takes the place of the second. */
	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col && size.ws_col <= strlen(line))
		line[size.ws_col - 1] = 0;
	fprintf(stderr, "\r%s\033[K", line);
	p->shown_ns = now;
}

void bw_progress_add(struct bw_progress *p, uint64_t n)
{
	if (!p->on)
		return;
	BW_LOCK_SCOPE(&p->lock);
	int64_t now = bw_now();

	p->done += n;
	if (now - p->start_ns >= FIRST_NS && now - p->shown_ns >= EVERY_NS)
		show_locked(p, now);
}

void bw_progress_done(struct bw_progress *p)
{
	if (p->on && p->shown_ns != p->start_ns)
		fputs("\r\033[K", stderr);
	p->on = false;
	bw_mutex_done(&p->lock);
}
