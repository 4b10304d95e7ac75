/* SPDX-License-Identifier: Apache-2.0 */
#include "mount-helpers/command.h"

#include "mount-helpers/hangup.h"
#include "mount-helpers/say.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>

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

static const char store_help[] =
	"Of an s3:// store; what is not given is taken from the AWS_ variable:\n"
	"  --endpoint URL   http://host[:port] or https://host[:port] (AWS_ENDPOINT_URL_S3)\n"
	"  --region NAME    (AWS_REGION)\n"
	"  --profile NAME   of the shared config files (AWS_PROFILE)\n"
	"  --path-style     the bucket stands in the path, not in the host name\n"
	"  --virtual-hosts  the bucket stands in the host name, also with an endpoint\n"
	"  --ca FILE        certificates to trust, PEM (AWS_CA_BUNDLE)\n"
	"  --no-verify-tls  takes any certificate: for tests only\n"
	"  --unsigned-payload\n"
	"                   does not sign large bodies over http://, as over https://\n";

void bw_print_help(const struct bw_command *c)
{
	printf("usage: batchweave %s%s%s\n\n%s.\n", c->name, *c->synopsis ? " " : "", c->synopsis,
	       c->summary);
	if (*c->help)
		printf("\n%s", c->help);
	if (c->takes_store)
		printf("\n%s", store_help);
}

#define LONGS_MAX 40

int bw_option(const struct bw_command *c, int argc, char **argv, const struct option *longs,
	      int *ret_code)
{
	struct option all[LONGS_MAX] = {{"help", no_argument, NULL, 'h'}};
	char shorts[4 + 2 * LONGS_MAX] = ":h";
	int n = 1, s = 2;

	for (const struct option *o = longs; o->name && n < LONGS_MAX - 1; o++) {
		all[n++] = *o;
		if (o->val < 'a' || o->val > 'z')
			continue;
		shorts[s++] = (char)o->val;
		if (o->has_arg)
			shorts[s++] = ':';
	}
	opterr = 0;
	int at = optind;
	int val = getopt_long(argc, argv, shorts, all, NULL);

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
		*ret_code = bw_say(c, BW_EXIT_USAGE, "unknown option %s; see batchweave %s --help",
				   bw_unknown_option(argv, at), c->name);
		return BW_OPT_STOP;
	default:
		return val;
	}
}

void bw_store_options_init(struct bw_store_options *o)
{
	*o = (struct bw_store_options){.given = ""};
	bw_s3_config_from_env(&o->s3);
}

/* 0 or an exit code with the sentence said.  To bw_s3_config_set() an option is what it is here, with _ for -. */
static int take_store_option(const struct bw_command *c, const struct option *option, struct bw_store_options *o)
{
	char name[sizeof(o->given)];
	const char *value = option->has_arg ? optarg : NULL, *expect = "";	/* getopt leaves the value of the option before */

	snprintf(name, sizeof(name), "%s", option->name);
	for (char *p = name; *p; p++)
		if (*p == '-')
			*p = '_';
	if (bw_s3_config_set(&o->s3, name, value, &expect)) {
		/* What was written for an endpoint may hold a password: it is not repeated. */
		if (!value || strchr(value, '@'))
			return bw_say(c, BW_EXIT_USAGE, "--%s must be %s", option->name, expect);
		return bw_say(c, BW_EXIT_USAGE, "--%s must be %s, not '%s'", option->name, expect, value);
	}
	if (!*o->given)
		snprintf(o->given, sizeof(o->given), "--%s", option->name);
	return 0;
}

int bw_option_of(const struct bw_command *c, int argc, char **argv, const struct option *longs,
		 struct bw_store_options *o, int *ret_code)
{
	for (;;) {
		int option = bw_option(c, argc, argv, longs, ret_code);

		if (option < BW_STORE_OPTION || option >= BW_OPT_STOP)
			return option;
		const struct option *row = longs;

		while (row->val != option)
			row++;
		*ret_code = take_store_option(c, row, o);
		if (*ret_code)
			return BW_OPT_STOP;
	}
}

int bw_take_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	if (!bw_hangup_ignored())
		sigaddset(&set, SIGHUP);
	if (pthread_sigmask(SIG_BLOCK, &set, NULL))
		return -EINVAL;
	int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);

	return fd < 0 ? -errno : fd;
}

void bw_let_interrupts_kill(void)
{
	signal(SIGINT, SIG_DFL);
}
