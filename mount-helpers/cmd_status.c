/* SPDX-License-Identifier: Apache-2.0 */
#include "mount-helpers/json_print.h"
#include "mount-helpers/session.h"

#include "fs/jobs.h"
#include "store/base/buf.h"
#include "store/base/rand.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define STATUS_MAX (64u << 20)

static const struct option longs[] = {{"json", no_argument, NULL, 'j'}, BW_STORE_OPTIONS, {0}};

/* ---- Of a mount: what its daemon says --------------------------------------------------------- */

static int say_no_mount(const struct bw_command *c, const char *dir, int err)
{
	switch (err) {
	case ENOTCONN:
		return bw_say(c, BW_EXIT_WRONG,
			      "the mount at %s has lost its daemon; run umount %s and mount it again", dir,
			      dir);
	case ENOENT:
	case ENOTDIR:
		return bw_say(c, BW_EXIT_USAGE,
			      "%s is neither a stream URL (file:///dir, s3://bucket) nor a directory where a stream"
			      " is mounted", dir);
	default:
		bw_say_err(c, -err, "cannot read the status of %s", dir);
		return BW_EXIT_WRONG;
	}
}

static int copy_out(int fd)
{
	char buf[65536];
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0)
		if (fwrite(buf, 1, (size_t)n, stdout) != (size_t)n)
			return -EIO;
	return n < 0 ? -errno : 0;
}

static int status_of_mount(const struct bw_command *c, const char *dir, bool json)
{
	bw_auto_buf struct bw_buf path = {.max = 0};

	bw_buf_init(&path, 65536);
	bw_buf_fmt(&path, "%s/status/status%s", dir, json ? ".json" : "");
	if (bw_buf_err(&path) < 0)
		return bw_say(c, BW_EXIT_USAGE, "the path is too long");
	bw_let_interrupts_kill();
	int fd = open(bw_buf_text(&path), O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return say_no_mount(c, dir, errno);
	int r = copy_out(fd);

	close(fd);
	return r < 0 ? say_no_mount(c, dir, -r) : BW_EXIT_DONE;
}

/* ---- Of a stream: what its newest root says --------------------------------------------------- */

struct report {
	const struct bw_session *s;
	char id[33];
	uint64_t live_bytes;	/* of the objects of steps [first, head) */
};

/* bw_root.bytes counts from step 0, so what lies before first is taken off. */
static int measure(struct bw_session *s, struct report *rep)
{
	const struct bw_root *root = s->root;
	struct bw_entry e = {.before = 0};

	rep->s = s;
	bw_hex(s->stream.id, sizeof(s->stream.id), rep->id);
	if (root->first == root->head) {
		e.before = root->bytes;
	} else if (root->first) {
		int code = bw_session_entry(s, root->first, &e);

		if (code)
			return code;
	}
	rep->live_bytes = root->bytes - e.before;
	return 0;
}

static void print_producer(const struct bw_producer_entry *p)
{
	char when[32];

	printf("  %s: next %" PRIu64 ", epoch %" PRIu64, p->name, p->next, p->epoch);
	if (p->next) {
		bw_wall_text(p->last_ms, when, sizeof(when));
		printf(", last step %" PRIu64 " at %s", p->last_step, when);
	}
	putchar('\n');
}

static void print_job(const struct bw_stream *stream, const struct bw_root *root, const struct bw_job *j)
{
	bw_auto_buf struct bw_buf line = {.max = 0};

	bw_buf_init(&line, 1024);
	bw_job_print(stream, root, j, &line);
	printf("  %s", bw_buf_err(&line) ? "\n" : bw_buf_text(&line));
}

/* The same words as status/status of a mount. */
static void print_text(const struct report *rep)
{
	const struct bw_root *root = rep->s->root;
	const struct bw_stream *stream = &rep->s->stream;
	char created[32], when[32];

	bw_wall_text(stream->created_ms, created, sizeof(created));
	bw_wall_text(root->time_ms, when, sizeof(when));
	printf("stream     %s at %s\n", rep->id, rep->s->url);
	printf("created    %s\n", created);
	printf("ranks      %" PRIu32 "\n", stream->options.ranks);
	printf("steps      first %" PRIu64 ", head %" PRIu64 "%s\n", root->first, root->head,
	       root->sealed ? ", sealed" : "");
	printf("version    %" PRIu64 ", committed %s\n", root->version, when);
	printf("bytes      %" PRIu64 "\n", rep->live_bytes);
	printf("garbage    %" PRIu64 " reclaimed steps are not deleted yet\n",
	       root->first - root->swept);
	printf("producers  %" PRIu32 "\n", root->producers_n);
	for (uint32_t i = 0; i < root->producers_n; i++)
		print_producer(&root->producers[i]);
	printf("jobs       %" PRIu32 "%s\n", root->jobs_n,
	       root->jobs_n ? "" : " (nothing is reclaimed)");
	for (uint32_t i = 0; i < root->jobs_n; i++)
		print_job(stream, root, &root->jobs[i]);
}

static void print_json_producer(const struct bw_producer_entry *p)
{
	char when[32];

	printf("\"%s\":{\"next\":%" PRIu64 ",\"epoch\":%" PRIu64, p->name, p->next, p->epoch);
	if (p->next) {
		bw_wall_text(p->last_ms, when, sizeof(when));
		printf(",\"last_step\":%" PRIu64 ",\"last_commit\":\"%s\"", p->last_step, when);
	} else {
		printf(",\"last_step\":null,\"last_commit\":null");
	}
	printf(",\"pending\":0}");
}

static void print_json_job(const struct bw_stream *stream, const struct bw_root *root, const struct bw_job *j)
{
	printf("\"%s\":{\"markers\":[", j->name);
	for (uint32_t i = 0; i < j->markers_n; i++)
		printf("%s%" PRIu64, i ? "," : "", j->markers[i].step);
	printf("],\"holds\":%" PRIu64 ",\"stops_reclaiming\":%s}", bw_job_needs(stream, root, j),
	       bw_job_stops_reclaiming(stream, j) ? "true" : "false");
}

static void print_json(const struct report *rep)
{
	const struct bw_root *root = rep->s->root;

	printf("{\"stream\":\"%s\",\"ranks\":%" PRIu32 ",\"head\":%" PRIu64 ",\"first\":%" PRIu64,
	       rep->id, rep->s->stream.options.ranks, root->head, root->first);
	printf(",\"sealed\":%s,\"version\":%" PRIu64 ",\"live_bytes\":%" PRIu64
	       ",\"garbage_steps\":%" PRIu64 ",\"producers\":{",
	       root->sealed ? "true" : "false", root->version, rep->live_bytes, root->first - root->swept);
	for (uint32_t i = 0; i < root->producers_n; i++) {
		fputs(i ? "," : "", stdout);
		print_json_producer(&root->producers[i]);
	}
	printf("},\"jobs\":{");
	for (uint32_t i = 0; i < root->jobs_n; i++) {
		fputs(i ? "," : "", stdout);
		print_json_job(&rep->s->stream, root, &root->jobs[i]);
	}
	printf("},\"store\":{\"url\":");
	bw_print_json_string(rep->s->url);
	printf(",\"ok\":true,\"last_error\":\"\"}}\n");
}

static int status_of_stream(const struct bw_command *c, const char *url,
			    const struct bw_store_options *o, bool json)
{
	struct bw_session s;
	struct report rep;
	int code = bw_session_open(&s, c, url, o, false);

	if (!code)
		code = measure(&s, &rep);
	if (!code)
		(json ? print_json : print_text)(&rep);
	bw_session_done(&s);
	return code;
}

int bw_cmd_status(const struct bw_command *c, int argc, char **argv)
{
	struct bw_store_options o;
	bool json = false;
	int option, code;

	bw_store_options_init(&o);
	while ((option = bw_option_of(c, argc, argv, longs, &o, &code)) != -1) {
		if (option == BW_OPT_STOP)
			return code;
		json = true;
	}
	if (argc - optind != 1)
		return bw_say_usage(c);
	const char *where = argv[optind];

	if (strstr(where, "://"))
		return status_of_stream(c, where, &o, json);
	if (*o.given)
		return bw_say(c, BW_EXIT_USAGE,
			      "%s is for s3:// streams; the mount at %s has its own options", o.given,
			      where);
	return status_of_mount(c, where, json);
}
