/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/errors.h"

#include "store/base/clock.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TIME_LEN 21	/* "2026-01-31T12:00:00Z " */

void bw_errors_init(struct bw_errors *e)
{
	memset(e, 0, sizeof(*e));
	bw_mutex_init(&e->lock, BW_RANK_STATUS);
}

void bw_errors_done(struct bw_errors *e)
{
	for (unsigned i = 0; i < BW_ERRORS_KEPT; i++)
		free(e->lines[i]);
	bw_mutex_done(&e->lock);
}

void bw_errors_add(struct bw_errors *e, const char *fmt, ...)
{
	char line[TIME_LEN + BW_WHY_MAX + 1];
	va_list ap;

	bw_wall_text(bw_wall_ms(), line, TIME_LEN);
	line[TIME_LEN - 1] = ' ';
	va_start(ap, fmt);
	bw_cut_at_word(line + TIME_LEN, sizeof(line) - TIME_LEN,
		       vsnprintf(line + TIME_LEN, sizeof(line) - TIME_LEN, fmt, ap));
	va_end(ap);
	for (char *p = line; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
	char *copy = strdup(line);

	if (!copy)
		return;
	BW_LOCK_SCOPE(&e->lock);
	free(e->lines[e->at]);
	e->lines[e->at] = copy;
	e->at = (e->at + 1) % BW_ERRORS_KEPT;
	if (e->n < BW_ERRORS_KEPT)
		e->n++;
	e->total++;
}

void bw_errors_again(struct bw_errors *e)
{
	BW_LOCK_SCOPE(&e->lock);
	e->total++;
}

void bw_errors_print(struct bw_errors *e, struct bw_buf *out)
{
	BW_LOCK_SCOPE(&e->lock);
	for (unsigned i = 0; i < e->n; i++)
		bw_buf_fmt(out, "%s\n",
			   e->lines[(e->at + BW_ERRORS_KEPT - e->n + i) % BW_ERRORS_KEPT]);
}

uint64_t bw_errors_total(struct bw_errors *e)
{
	BW_LOCK_SCOPE(&e->lock);
	return e->total;
}

void bw_errors_last(struct bw_errors *e, char *buf, size_t len)
{
	BW_LOCK_SCOPE(&e->lock);
	const char *last = e->n ? e->lines[(e->at + BW_ERRORS_KEPT - 1) % BW_ERRORS_KEPT] + TIME_LEN : "";

	bw_cut_at_word(buf, len, snprintf(buf, len, "%s", last));
}
