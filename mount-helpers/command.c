/* SPDX-License-Identifier: Apache-2.0 */
#include "mount-helpers/command.h"

#include "mount-helpers/say.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int bw_say(const struct bw_command *c, int code, const char *fmt, ...)
{
	char who[64];
	va_list ap;

	snprintf(who, sizeof(who), "batchweave %s", c->name);
	va_start(ap, fmt);
	bw_vcomplain(who, code, fmt, ap);
	va_end(ap);
	return code;
}

int bw_exit_of(int err)
{
	switch (-err) {
	case BW_E_UNREACHABLE:
	case BW_E_THROTTLED:
	case BW_E_DENIED:
	case EACCES:
	case EPERM:
	case ETIMEDOUT:
	case ECANCELED:
		return BW_EXIT_STORE;
	default:
		return BW_EXIT_WRONG;
	}
}

int bw_say_err(const struct bw_command *c, int err, const char *fmt, ...)
{
	char what[4096], detail[128];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	return bw_say(c, bw_exit_of(err), "%s: %s", what, bw_err_text(err, detail, sizeof(detail)));
}

int bw_say_why(const struct bw_command *c, int err, const char *why)
{
	char detail[128];

	return bw_say(c, bw_exit_of(err), "%s",
		      *why ? why : bw_err_text(err, detail, sizeof(detail)));
}

int bw_say_usage(const struct bw_command *c)
{
	return bw_say(c, BW_EXIT_USAGE, "usage: batchweave %s %s", c->name, c->synopsis);
}

void bw_print_help(const struct bw_command *c)
{
	printf("usage: batchweave %s%s%s\n\n%s.\n", c->name, *c->synopsis ? " " : "", c->synopsis,
	       c->summary);
	if (*c->help)
		printf("\n%s", c->help);
}

#define LONGS_MAX 16

int bw_option(const struct bw_command *c, int argc, char **argv, const struct option *longs,
	      int *ret_code)
{
	struct option all[LONGS_MAX] = {{"help", no_argument, NULL, 'h'}};
	int n = 1;

	for (const struct option *o = longs; o->name && n < LONGS_MAX - 1; o++)
		all[n++] = *o;
	opterr = 0;
	int at = optind;
	int val = getopt_long(argc, argv, ":h", all, NULL);

	switch (val) {
	case 'h':
		bw_print_help(c);
		*ret_code = BW_EXIT_DONE;
		return BW_OPT_STOP;
	case ':':
		*ret_code = bw_say(c, BW_EXIT_USAGE, "%s needs a value; see batchweave %s --help",
				   argv[optind - 1], c->name);
		return BW_OPT_STOP;
	case '?':
		/* getopt has moved on from a long option, and maybe not yet from a bundle of short ones. */
		*ret_code = bw_say(c, BW_EXIT_USAGE, "unknown option %s; see batchweave %s --help",
				   argv[optind > at ? optind - 1 : at], c->name);
		return BW_OPT_STOP;
	default:
		return val;
	}
}
