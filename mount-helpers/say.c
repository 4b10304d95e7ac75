/* SPDX-License-Identifier: Apache-2.0 */
#include "mount-helpers/say.h"

#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>

#define SENTENCE_MAX 8192

int bw_vcomplain(const char *who, int code, const char *fmt, va_list ap)
{
	char text[SENTENCE_MAX];

	vsnprintf(text, sizeof(text), fmt, ap);
	fflush(stdout);
	fprintf(stderr, "%s: %s\n", who, bw_make_plain(text));
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

const char *bw_unknown_option(char **argv, int at)
{
	/* getopt has moved on from a long option, and maybe not yet from a bundle of short ones. */
	const char *word = argv[optind > at ? optind - 1 : at];
	bool operand = word[0] != '-' || !word[1];

	/* Then it has only passed over that, and stands at the bundle. */
	return operand && argv[optind] ? argv[optind] : word;
}
