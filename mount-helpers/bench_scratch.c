/* SPDX-License-Identifier: Apache-2.0 */
#include "mount-helpers/bench_scratch.h"

#include "manifest/destroy.h"
#include "store/base/rand.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_SCHEME "file://"
/* Two parts of the shortest kind, as init probes. */
#define LARGE (8u << 20)

static bool is_file(const struct bw_scratch *s)
{
	return strncmp(s->url, FILE_SCHEME, strlen(FILE_SCHEME)) == 0;
}

static char *path_of(struct bw_scratch *s)
{
	return s->url + strlen(FILE_SCHEME);
}

/* How much of a path is there. */
static size_t find_existing(const char *path)
{
	char part[BW_SCRATCH_URL_MAX];
	size_t len = strlen(path);
	struct stat st;

	while (len > 1) {
		memcpy(part, path, len);
		part[len] = 0;
		if (lstat(part, &st) == 0)
			break;
		while (len > 1 && path[--len] != '/')
			;
	}
	return len;
}

int bw_scratch_name(struct bw_scratch *s, const struct bw_command *c, const char *url, const char *name,
		    const struct bw_store_options *how)
{
	size_t len = strlen(url);

	*s = (struct bw_scratch){.command = c, .how = how};
	while (len && url[len - 1] == '/' && strncmp(url, FILE_SCHEME, len) != 0)
		len--;
	int n = snprintf(s->url, sizeof(s->url), "%.*s/%s", (int)len, url, name);

	if (n < 0 || (size_t)n >= sizeof(s->url))
		return bw_say(c, BW_EXIT_USAGE, "the URL is too long");
	if (is_file(s))
		s->keep = find_existing(path_of(s));
	return 0;
}

/*
 * Whatever keeps a stream from being made is the store's refusal here: that the place is taken cannot be, the
 * name is new.
 */
static int say_refused(struct bw_scratch *s, int err, const char *why)
{
	int code = bw_say_why(s->command, err, why);

	return code == BW_EXIT_WRONG ? BW_EXIT_STORE : code;
}

int bw_scratch_create(struct bw_scratch *s, const struct bw_stream_options *options)
{
	struct bw_store_options how = *s->how;
	struct bw_store *store = NULL;
	struct bw_stream stream;
	char why[512] = "";
	bool existed;

	how.s3.part_size = BW_LARGE_OBJECT;
	int code = bw_session_store(s->command, s->url, &how, true, &store);

	if (code)
		return code == BW_EXIT_WRONG ? BW_EXIT_STORE : code;
	const struct bw_probe_config probe = {.large = is_file(s) ? 0 : LARGE};
	int err = bw_stream_create_probed(store, &probe, options, bw_session_deadline(), &stream, &existed, why,
					  sizeof(why));

	if (!err)
		bw_hex(stream.id, sizeof(stream.id), s->id);
	bw_store_free(store);
	return err ? say_refused(s, err, why) : 0;
}

/* The directories that creating the stream has made, and what the store keeps there for itself. */
static void remove_dirs(struct bw_scratch *s)
{
	static const char *const own[] = {"/.anchor", "/.tmp"};
	char *path = path_of(s), own_path[BW_SCRATCH_URL_MAX + 16];
	size_t len = strlen(path);

	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
		snprintf(own_path, sizeof(own_path), "%s%s", path, own[i]);
		if (unlink(own_path) < 0)
			rmdir(own_path);
	}
	while (len > s->keep && rmdir(path) == 0) {
		while (len > s->keep && path[--len] != '/')
			;
		path[len] = 0;
	}
}

struct asked {
	bool (*go_on)(void *ctx);
	void *ctx;
};

static bool ask(void *ctx, uint64_t deleted, uint64_t total)
{
	struct asked *a = ctx;

	(void)deleted, (void)total;
	return !a->go_on || a->go_on(a->ctx);
}

static int destroy_in(struct bw_scratch *s, struct bw_store *store, struct asked *a)
{
	struct bw_destroy_report report;
	char why[512] = "", text[128];
	const struct bw_destroy d = {.store = store,
				     .id = s->id,
				     .op_ns = BW_SESSION_TIMEOUT_NS,
				     .go_on = ask,	/* no pause: nobody else has it open */
				     .ctx = a};
	int err = bw_stream_destroy(&d, &report, why, sizeof(why));

	if (!err || err == -BW_E_NO_STREAM)
		return 0;
	return bw_say(s->command, bw_exit_of(err), "the stream %s is left (%s); remove it with batchweave destroy"
		      " %s --yes-destroy %s", s->url, *why ? why : bw_err_text(err, text, sizeof(text)), s->url, s->id);
}

int bw_scratch_destroy(struct bw_scratch *s, bool (*go_on)(void *ctx), void *ctx)
{
	struct asked a = {.go_on = go_on, .ctx = ctx};
	struct bw_store *store = NULL;
	int code = 0;

	if (*s->id) {
		code = bw_session_store(s->command, s->url, s->how, false, &store);
		if (!code)
			code = destroy_in(s, store, &a);
		else
			bw_say(s->command, code, "the stream %s is left; remove it with batchweave destroy %s"
			       " --yes-destroy %s", s->url, s->url, s->id);
		bw_store_free(store);
	}
	if (!code && is_file(s))
		remove_dirs(s);
	s->id[0] = 0;
	return code;
}
