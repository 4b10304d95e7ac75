/* SPDX-License-Identifier: Apache-2.0 */
#include "mount-helpers/say.h"

#include <stdio.h>

#define SENTENCE_MAX 8192

int bw_vcomplain(const char *who, int code, const char *fmt, va_list ap)
{
	char text[SENTENCE_MAX];

	vsnprintf(text, sizeof(text), fmt, ap);
	for (char *p = text; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
	fflush(stdout);
	fprintf(stderr, "%s: %s\n", who, text);
	return code;
}

int bw_complain(const char *who, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	bw_vcomplain(who, code, fmt, ap);
	va_end(ap);
	return code;
}
