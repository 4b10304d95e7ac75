/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/fsck_priv.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX 2048u

const char *bw_fsck_check_name(enum bw_fsck_check check)
{
	static const char *const names[] = {
#define X(id, name, wrong) [BW_FSCK_##id] = name,
		BW_FSCK_CHECKS(X)
#undef X
	};

	return names[check];
}

bool bw_fsck_check_wrong(enum bw_fsck_check check)
{
	static const bool wrongs[] = {
#define X(id, name, wrong) [BW_FSCK_##id] = wrong,
		BW_FSCK_CHECKS(X)
#undef X
	};

	return wrongs[check];
}

const char *bw_fsck_class_name(enum bw_fsck_class class)
{
	static const char *const names[] = {
#define X(id, name) [BW_FSCK_##id] = name,
		BW_FSCK_CLASSES(X)
#undef X
	};

	return names[class];
}

static uint64_t count(const struct bw_fsck_report *r, bool wrong)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < BW_FSCK_CHECKS_N; i++)
		if (bw_fsck_check_wrong((enum bw_fsck_check)i) == wrong)
			n += r->counts[i];
	return n;
}

uint64_t bw_fsck_wrong(const struct bw_fsck_report *r)
{
	return count(r, true);
}

uint64_t bw_fsck_warnings(const struct bw_fsck_report *r)
{
	return count(r, false);
}

void bw_fsck_report_done(struct bw_fsck_report *r)
{
	for (size_t i = 0; i < r->findings_n; i++) {
		free(r->findings[i].text);
		free(r->findings[i].key);
	}
	free(r->findings);
	*r = (struct bw_fsck_report){.findings = NULL};
}

static void put_steps(struct bw_buf *b, uint64_t first, uint64_t last)
{
	if (first == last)
		bw_buf_fmt(b, "step %" PRIu64 ": ", first);
	else if (first < last)
		bw_buf_fmt(b, "steps %" PRIu64 "-%" PRIu64 ": ", first, last);
}

/* Takes text, also when it fails. */
static int keep(struct bw_fsck_report *r, enum bw_fsck_check check, uint64_t first, uint64_t last,
		const char *key, char *text)
{
	char *copy = strdup(key);

	if (text && copy && r->findings_n == r->findings_cap) {
		size_t cap = r->findings_cap ? 2 * r->findings_cap : 16;
		struct bw_fsck_finding *grown = realloc(r->findings, cap * sizeof(*grown));

		if (grown) {
			r->findings = grown;
			r->findings_cap = cap;
		}
	}
	if (!text || !copy || r->findings_n == r->findings_cap) {
		free(text);
		free(copy);
		return -ENOMEM;
	}
	r->findings[r->findings_n++] = (struct bw_fsck_finding){
		.check = check, .first = first, .last = last, .text = text, .key = copy};
	return 0;
}

int fsck_note(struct fsck *f, enum bw_fsck_check check, uint64_t first, uint64_t last,
	      const char *key, const char *fmt, ...)
{
	bw_auto_buf struct bw_buf text = {.max = 0};
	char sentence[TEXT_MAX];
	va_list ap;
	size_t len;

	bw_buf_init(&text, TEXT_MAX + 64);
	va_start(ap, fmt);
	vsnprintf(sentence, sizeof(sentence), fmt, ap);
	va_end(ap);
	put_steps(&text, first, last);
	bw_buf_str(&text, sentence);
	if (bw_buf_err(&text))
		return -ENOMEM;
	BW_LOCK_SCOPE(&f->note_lock);
	if (f->report->counts[check]++ >= BW_FSCK_TOLD)
		return 0;
	return keep(f->report, check, first, last, key, bw_buf_take(&text, &len));
}

void fsck_did(struct fsck *f, uint64_t n)
{
	if (f->o->did)
		f->o->did(f->o->ctx, n);
}

void fsck_phase(struct fsck *f, const char *what, const char *unit, uint64_t total)
{
	if (f->o->phase)
		f->o->phase(f->o->ctx, what, unit, total);
}

/* ---- Steps that need no second look ----------------------------------------------------------- */

int fsck_bad_add(struct fsck *f, uint64_t step)
{
	if (f->bad_n == BW_FSCK_BAD_MAX)
		return 0;
	if (f->bad_n == f->bad_cap) {
		size_t cap = f->bad_cap ? 2 * f->bad_cap : 64;
		uint64_t *grown = realloc(f->bad, cap * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		f->bad = grown;
		f->bad_cap = cap;
	}
	f->bad[f->bad_n++] = step;
	return 0;
}

static int compare(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

void fsck_bad_sort(struct fsck *f)
{
	if (f->bad_n)
		qsort(f->bad, f->bad_n, sizeof(*f->bad), compare);
}

bool fsck_bad_has(const struct fsck *f, uint64_t step)
{
	size_t low = 0, high = f->bad_n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (f->bad[mid] < step)
			low = mid + 1;
		else
			high = mid;
	}
	return low < f->bad_n && f->bad[low] == step;
}
