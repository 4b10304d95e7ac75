/* SPDX-License-Identifier: Apache-2.0 */
#include "mount-helpers/doctor_store.h"
#include "mount-helpers/json_print.h"
#include "mount-helpers/session.h"
#include "store/base/sync.h"

#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

enum { JSON = 1, OPTIONS = 'o' };

static const struct option longs[] = {
	{"json", no_argument, NULL, JSON},
	{"options", required_argument, NULL, OPTIONS},
	BW_STORE_OPTIONS,
	{0},
};

struct doctor {
	const struct bw_command *c;
	struct bw_doctor found;
	struct bw_store_options store;
	struct bw_mount_options mount;
	bool json;
	atomic_bool interrupted;
	atomic_bool over;	/* SIGUSR1 is ours; before, it is somebody's who means another program */
};

/* ---- Signals: what the probe has written is taken away first ---------------------------------------- */

static void *listen_run(void *arg)
{
	struct doctor *doc = arg;
	sigset_t set;
	int sig;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGUSR1);
	while (sigwait(&set, &sig) == 0 && !atomic_load(&doc->over)) {
		if (sig == SIGUSR1)
			continue;
		if (atomic_exchange(&doc->interrupted, true))
			_exit(BW_EXIT_INTERRUPTED);
		fputs("batchweave doctor: takes away what the probe has written, then ends; again: at once\n", stderr);
	}
	return NULL;
}

/* ---- Reports -------------------------------------------------------------------------------------- */

static void print_json(const struct bw_doctor *d)
{
	printf("{\"ok\":%s,\"wrong\":%u,\"notes\":%u,\"checks\":[", d->wrong ? "false" : "true", d->wrong, d->notes);
	for (unsigned i = 0; i < d->n; i++) {
		static const char *const verdicts[] = {"ok", "note", "wrong"};
		const struct bw_finding *f = &d->findings[i];

		printf("%s{\"check\":\"%s\",\"verdict\":\"%s\",\"found\":", i ? "," : "", f->check,
		       verdicts[f->verdict]);
		bw_print_json_string(f->found);
		fputs(",\"remedy\":", stdout);
		bw_print_json_string(f->remedy);
		putchar('}');
	}
	puts("]}");
}

static int finish(const struct doctor *doc)
{
	const struct bw_doctor *d = &doc->found;

	if (doc->json)
		print_json(d);
	else
		printf("%u checks, %u wrong, %u to look at\n", d->n, d->wrong, d->notes);
	if (atomic_load(&doc->interrupted))
		return BW_EXIT_INTERRUPTED;
	return d->store_away ? BW_EXIT_STORE : d->wrong ? BW_EXIT_WRONG : BW_EXIT_DONE;
}

static void look_at_machine(struct doctor *doc, const char *url)
{
	struct bw_machine here;

	bw_machine_here(&here);
	bw_doctor_fuse(&doc->found, &here);
	bw_doctor_user(&doc->found, &here, &doc->mount);
	bw_doctor_limits(&doc->found, &here, &doc->mount);
	bw_doctor_room(&doc->found, &here, &doc->mount);
	bw_doctor_mounts(&doc->found, &here, url);
}

static int look_at_store(struct doctor *doc, const char *url, const struct bw_url *parsed)
{
	struct bw_doctor_ask ask = {
		.url = url, .parsed = parsed, .s3 = &doc->store.s3, .ro = doc->mount.ro,
	};
	pthread_t listener;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	int err = bw_thread_start(&listener, "doctor-signals", listen_run, doc);

	if (err)
		return bw_say_err(doc->c, err, "cannot start");
	bw_doctor_store(&doc->found, &ask);
	atomic_store(&doc->over, true);
	pthread_kill(listener, SIGUSR1);
	pthread_join(listener, NULL);
	return 0;
}

/* ---- Arguments ------------------------------------------------------------------------------------ */

/* What is given later counts, whether as --endpoint or in -o. */
static int take_options(struct doctor *doc, const char *list)
{
	char why[BW_WHY_MAX + 1] = "";

	doc->mount.s3 = doc->store.s3;
	if (bw_mount_options_parse(&doc->mount, list, why, sizeof(why)) < 0)
		return bw_say(doc->c, BW_EXIT_USAGE, "%s", why);
	doc->store.s3 = doc->mount.s3;
	if (!*doc->store.given)
		snprintf(doc->store.given, sizeof(doc->store.given), "%s", doc->mount.s3_option);
	return 0;
}

static int parse_url(const struct doctor *doc, const char *url, struct bw_url *ret)
{
	char why[BW_WHY_MAX + 1] = "";

	if (bw_url_parse(url, ret, why, sizeof(why)) < 0)
		return bw_say(doc->c, BW_EXIT_USAGE, "%s", why);
	if (ret->scheme != BW_URL_S3 && *doc->store.given)
		return bw_say(doc->c, BW_EXIT_USAGE, "%s is for s3:// streams; leave it out for %s", doc->store.given,
			      url);
	return 0;
}

int bw_cmd_doctor(const struct bw_command *c, int argc, char **argv)
{
	struct doctor doc = {.c = c};
	struct bw_url parsed;
	int option, code = 0;

	bw_store_options_init(&doc.store);
	doc.store.s3.part_size = BW_LARGE_OBJECT;	/* so that the probe's large object goes in parts */
	bw_mount_options_default(&doc.mount);
	while ((option = bw_option_of(c, argc, argv, longs, &doc.store, &code)) != -1) {
		if (option == JSON)
			doc.json = true;
		else if (option == OPTIONS)
			code = take_options(&doc, optarg);
		if (option == BW_OPT_STOP || code)
			return code;
	}
	if (argc - optind > 1)
		return bw_say_usage(c);
	const char *url = argc > optind ? argv[optind] : NULL;

	code = url ? parse_url(&doc, url, &parsed) : 0;
	if (code)
		return code;
	doc.found.to = doc.json ? NULL : stdout;
	look_at_machine(&doc, url);
	code = url ? look_at_store(&doc, url, &parsed) : 0;
	return code ? code : finish(&doc);
}
