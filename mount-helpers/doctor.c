/* SPDX-License-Identifier: Apache-2.0 */
#include "mount-helpers/doctor.h"

#include <stdarg.h>
#include <string.h>

const char *bw_verdict_name(enum bw_verdict verdict)
{
	static const char *const names[] = {"ok", "note", "WRONG"};

	return names[verdict];
}

/* Parts of it come from files, file names and servers. */
static void print(FILE *to, const struct bw_finding *f)
{
	struct bw_finding plain = *f;

	fprintf(to, "%-5s  %-16s  %s%s%s\n", bw_verdict_name(f->verdict), f->check, bw_make_plain(plain.found),
		*f->remedy ? "; remedy: " : "", bw_make_plain(plain.remedy));
	fflush(to);
}

void bw_doctor_add(struct bw_doctor *d, enum bw_verdict verdict, const char *check, const char *remedy,
		   const char *fmt, ...)
{
	struct bw_finding *f = &d->findings[d->n < BW_FINDINGS_MAX ? d->n++ : BW_FINDINGS_MAX - 1];
	va_list ap;

	f->verdict = verdict;
	f->check = check;
	va_start(ap, fmt);
	bw_cut_at_word(f->found, sizeof(f->found), vsnprintf(f->found, sizeof(f->found), fmt, ap));
	va_end(ap);
	bw_cut_at_word(f->remedy, sizeof(f->remedy), snprintf(f->remedy, sizeof(f->remedy), "%s", remedy));
	d->wrong += verdict == BW_WRONG;
	d->notes += verdict == BW_NOTE;
	if (d->to)
		print(d->to, f);
}
