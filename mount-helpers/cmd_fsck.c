/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/fsck.h"
#include "mount-helpers/json_print.h"
#include "mount-helpers/progress.h"
#include "mount-helpers/session.h"
#include "store/base/rand.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct option longs[] = {{"json", no_argument, NULL, 'j'},
				      {"data", no_argument, NULL, 'd'},
				      BW_STORE_OPTIONS,
				      {0}};

/* The signal handler has no other way to say it. */
static atomic_bool stop;

static void on_interrupt(int sig)
{
	(void)sig;
	if (atomic_exchange(&stop, true))
		_exit(BW_EXIT_INTERRUPTED);
}

struct work {
	struct bw_progress progress;
	bool begun;
};

static void begin(void *ctx, const char *what, const char *unit, uint64_t total)
{
	struct work *w = ctx;

	if (w->begun)
		bw_progress_done(&w->progress);
	bw_progress_init(&w->progress, what, unit, total, true);
	w->begun = true;
}

static void did(void *ctx, uint64_t n)
{
	struct work *w = ctx;

	bw_progress_add(&w->progress, n);
}

/* Keys of foreign objects may hold anything; a line stays a line. */
static void print_line(const char *text)
{
	for (const char *p = text; *p; p++)
		putchar((unsigned char)*p < 0x20 || *p == 0x7f ? '?' : *p);
	putchar('\n');
}

/* ---- For people ------------------------------------------------------------------------------- */

static void print_findings(const struct bw_fsck_report *r)
{
	for (size_t i = 0; i < r->findings_n; i++) {
		const struct bw_fsck_finding *f = &r->findings[i];

		printf("%s [%s] ", bw_fsck_check_wrong(f->check) ? "wrong" : "warning",
		       bw_fsck_check_name(f->check));
		print_line(f->text);
	}
	for (unsigned i = 0; i < BW_FSCK_CHECKS_N; i++)
		if (r->counts[i] > BW_FSCK_TOLD)
			printf("%s [%s] and %" PRIu64 " more\n",
			       bw_fsck_check_wrong((enum bw_fsck_check)i) ? "wrong" : "warning",
			       bw_fsck_check_name((enum bw_fsck_check)i), r->counts[i] - BW_FSCK_TOLD);
}

static void print_sums(const struct bw_fsck_report *r)
{
	static const char *const words[] = {
		[BW_FSCK_LIVE] = "live",
		[BW_FSCK_RECLAIMED] = "reclaimed, gc frees them",
		[BW_FSCK_LOST] = "uploaded and never committed, gc frees them",
		[BW_FSCK_FLIGHT] = "may still be committed",
		[BW_FSCK_KEPT] = "not needed, gc frees them later",
		[BW_FSCK_UNJUDGED] = "cannot be judged, the index is damaged",
		[BW_FSCK_OTHER] = "of something else",
	};

	for (unsigned kind = 0; kind < BW_FSCK_KINDS_N; kind++) {
		for (unsigned class = 0; class < BW_FSCK_CLASSES_N; class++) {
			const struct bw_fsck_sum *s = &r->sums[kind][class];

			if (s->objects && kind != BW_KEY_STREAM && kind != BW_KEY_HINT)
				printf("objects    %s: %" PRIu64 ", %" PRIu64 " bytes, %s\n",
				       bw_key_kind_name((enum bw_key_kind)kind), s->objects, s->bytes,
				       kind == BW_KEY_ROOT && class == BW_FSCK_RECLAIMED ?
					       "superseded, gc makes them tombstones" :
					       words[class]);
		}
	}
	if (r->tombstone_sum.objects)
		printf("objects    tombstone: %" PRIu64 ", %" PRIu64 " bytes, hold the names of versions\n",
		       r->tombstone_sum.objects, r->tombstone_sum.bytes);
	if (r->uploads[BW_FSCK_LOST] || r->uploads[BW_FSCK_FLIGHT])
		printf("uploads    begun and not ended: %" PRIu64 " that gc aborts, %" PRIu64
		       " that may still end\n",
		       r->uploads[BW_FSCK_LOST], r->uploads[BW_FSCK_FLIGHT]);
}

static void print_text(const struct bw_fsck_report *r, bool data, int err)
{
	char id[33];

	print_findings(r);
	if (r->has_stream) {
		bw_hex(r->stream.id, sizeof(r->stream.id), id);
		printf("stream     %s\n", id);
	}
	if (r->has_root) {
		printf("checked    version %" PRIu64 ": %" PRIu64 " roots, %" PRIu64
		       " tombstones, %" PRIu64 " index nodes, %" PRIu64 " steps from %" PRIu64
		       " to head %" PRIu64 ", %" PRIu64 " state objects\n",
		       r->version, r->versions, r->tombstones, r->nodes, r->steps, r->first, r->head,
		       r->states);
		if (data)
			printf("read       %" PRIu64 " blocks, %" PRIu64 " bytes\n", r->blocks,
			       r->bytes_read);
		print_sums(r);
	}
	uint64_t wrong = bw_fsck_wrong(r), warnings = bw_fsck_warnings(r);

	printf("result     ");
	if (err)
		printf("not finished; ");
	if (wrong || err)
		printf("%" PRIu64 " wrong, %" PRIu64 " warnings\n", wrong, warnings);
	else
		printf("clean, %" PRIu64 " warnings\n", warnings);
}

/* ---- For programs ----------------------------------------------------------------------------- */

static void print_json_findings(const struct bw_fsck_report *r)
{
	printf("\"findings\":[");
	for (size_t i = 0; i < r->findings_n; i++) {
		const struct bw_fsck_finding *f = &r->findings[i];

		printf("%s{\"check\":\"%s\",\"wrong\":%s,", i ? "," : "", bw_fsck_check_name(f->check),
		       bw_fsck_check_wrong(f->check) ? "true" : "false");
		if (f->first <= f->last)
			printf("\"first\":%" PRIu64 ",\"last\":%" PRIu64 ",", f->first, f->last);
		else
			printf("\"first\":null,\"last\":null,");
		printf("\"object\":");
		bw_print_json_string(f->key);
		printf(",\"text\":");
		bw_print_json_string(f->text);
		putchar('}');
	}
	printf("],\"counts\":{");
	for (unsigned i = 0, n = 0; i < BW_FSCK_CHECKS_N; i++)
		if (r->counts[i])
			printf("%s\"%s\":%" PRIu64, n++ ? "," : "",
			       bw_fsck_check_name((enum bw_fsck_check)i), r->counts[i]);
	putchar('}');
}

static void print_json_sum(const char *name, const struct bw_fsck_sum *s, bool comma)
{
	printf("%s\"%s\":{\"objects\":%" PRIu64 ",\"bytes\":%" PRIu64 "}", comma ? "," : "", name,
	       s->objects, s->bytes);
}

static void print_json_sums(const struct bw_fsck_report *r)
{
	static const struct {
		enum bw_key_kind kind;
		const char *name;
	} kinds[] = {{BW_KEY_DATA, "data"},	{BW_KEY_STATE, "state"}, {BW_KEY_NODE, "index"},
		     {BW_KEY_ROOT, "root"}, {BW_KEY_FOREIGN, "foreign"}};

	printf("\"objects\":{");
	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
		printf("%s\"%s\":{", k ? "," : "", kinds[k].name);
		for (unsigned class = 0; class < BW_FSCK_CLASSES_N; class++)
			print_json_sum(bw_fsck_class_name((enum bw_fsck_class)class),
				       &r->sums[kinds[k].kind][class], class > 0);
		putchar('}');
	}
	print_json_sum("tombstone", &r->tombstone_sum, true);
	printf("},\"uploads\":{\"lost\":%" PRIu64 ",\"in_flight\":%" PRIu64 "}", r->uploads[BW_FSCK_LOST],
	       r->uploads[BW_FSCK_FLIGHT]);
}

static void print_json(const struct bw_fsck_report *r, const char *url, bool data, int err)
{
	char id[33] = "";
	uint64_t wrong = bw_fsck_wrong(r);

	if (r->has_stream)
		bw_hex(r->stream.id, sizeof(r->stream.id), id);
	printf("{\"stream\":\"%s\",\"url\":", id);
	bw_print_json_string(url);
	printf(",\"finished\":%s,\"clean\":%s,\"wrong\":%" PRIu64 ",\"warnings\":%" PRIu64
	       ",\"data\":%s,\"version\":%" PRIu64 ",\"first\":%" PRIu64 ",\"head\":%" PRIu64,
	       err ? "false" : "true", err || wrong ? "false" : "true", wrong, bw_fsck_warnings(r),
	       data ? "true" : "false", r->version, r->first, r->head);
	printf(",\"checked\":{\"roots\":%" PRIu64 ",\"tombstones\":%" PRIu64 ",\"nodes\":%" PRIu64
	       ",\"steps\":%" PRIu64 ",\"states\":%" PRIu64 ",\"blocks\":%" PRIu64 ",\"bytes\":%" PRIu64
	       "},",
	       r->versions, r->tombstones, r->nodes, r->steps, r->states, r->blocks, r->bytes_read);
	print_json_sums(r);
	putchar(',');
	print_json_findings(r);
	puts("}");
}

/* ---- The command ------------------------------------------------------------------------------ */

static int exit_code(const struct bw_command *c, const char *url, const struct bw_fsck_report *r, int err,
		     const char *why)
{
	if (!err)
		return bw_fsck_wrong(r) ? BW_EXIT_WRONG : BW_EXIT_DONE;
	if (err == -ECANCELED)
		return BW_EXIT_INTERRUPTED;
	if (err == -BW_E_NO_STREAM)
		return bw_say(c, BW_EXIT_WRONG, "there is no stream at %s: no stream.json; check the URL", url);
	/* What cannot be read is not damaged for that: whatever it was, the store did not answer. */
	return bw_say(c, err == -BW_E_FORMAT_NEWER || err == -ENOMEM ? BW_EXIT_WRONG : BW_EXIT_STORE,
		      "could not be finished: %s", why);
}

static int check(const struct bw_command *c, const char *url, const struct bw_store_options *so,
		 bool data, bool json)
{
	struct sigaction action = {.sa_handler = on_interrupt};
	struct work w = {.begun = false};
	struct bw_fsck_options o = {.data = data,
				    .request_ns = BW_SESSION_TIMEOUT_NS,
				    .stop = &stop,
				    .phase = begin,
				    .did = did,
				    .ctx = &w};
	struct bw_fsck_report r;
	struct bw_store *store;
	char why[BW_WHY_MAX + 1] = "";
	int code = bw_session_store(c, url, so, false, &store);

	if (code)
		return code;
	sigaction(SIGINT, &action, NULL);
	int err = bw_fsck(store, &o, &r, why, sizeof(why));

	if (w.begun)
		bw_progress_done(&w.progress);
	if (json)
		print_json(&r, url, data, err);
	else if (err != -BW_E_NO_STREAM)
		print_text(&r, data, err);
	code = exit_code(c, url, &r, err, why);
	bw_fsck_report_done(&r);
	bw_store_leave(store);
	return code;
}

int bw_cmd_fsck(const struct bw_command *c, int argc, char **argv)
{
	struct bw_store_options o;
	bool json = false, data = false;
	int option, code;

	bw_store_options_init(&o);
	while ((option = bw_option_of(c, argc, argv, longs, &o, &code)) != -1) {
		if (option == BW_OPT_STOP)
			return code;
		json |= option == 'j';
		data |= option == 'd';
	}
	if (argc - optind != 1)
		return bw_say_usage(c);
	return check(c, argv[optind], &o, data, json);
}
