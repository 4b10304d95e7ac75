/* SPDX-License-Identifier: Apache-2.0 */
#include "mount-helpers/bench_scratch.h"

#include "manifest/destroy.h"
#include "mount-helpers/progress.h"
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
	char why[BW_WHY_MAX + 1] = "";
	bool existed;

	how.s3.part_size = BW_LARGE_OBJECT;
	int code = bw_session_store(s->command, s->url, &how, true, &store);

	if (code)
		return code == BW_EXIT_WRONG ? BW_EXIT_STORE : code;
	const struct bw_probe_config probe = {.large = is_file(s) ? 0 : LARGE};
	int err = bw_stream_create_probed(store, &probe, options, bw_session_deadline(), &stream, &existed,
					  why, sizeof(why));

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
	struct bw_progress progress;
	uint64_t deleted;
};

static bool ask(void *ctx, uint64_t deleted, uint64_t total)
{
	struct asked *a = ctx;

	a->progress.total = total > deleted ? total : deleted;
	bw_progress_add(&a->progress, deleted - a->deleted);
	a->deleted = deleted;
	return !a->go_on || a->go_on(a->ctx);
}

static int open_store(const struct bw_scratch *s, struct bw_store **ret, char *why, size_t why_len)
{
	const struct bw_store_config config = {.s3 = &s->how->s3};
	struct bw_url url;
	int err = bw_url_parse(s->url, &url, why, why_len);

	return err ? err : bw_store_open(&url, &config, ret, why, why_len);
}

static int destroy_in(struct bw_scratch *s, struct bw_store *store, struct asked *a, char *why,
		      size_t why_len)
{
	struct bw_destroy_report report;
	const struct bw_destroy d = {.store = store,
				     .id = s->id,
				     .op_ns = BW_SESSION_TIMEOUT_NS,
				     .go_on = ask, /* no pause: nobody else has it open */
				     .ctx = a};
	int err = bw_stream_destroy(&d, &report, why, why_len);

	return err == -BW_E_NO_STREAM ? 0 : err;
}

static int say_left(const struct bw_scratch *s, int err, const char *why)
{
	char text[128];

	return bw_say(s->command, BW_EXIT_STORE,
		      "the stream at %s is left (%s); remove it with batchweave destroy %s"
		      " --yes-destroy %s",
		      s->url, *why ? why : bw_err_text(err, text, sizeof(text)), s->url, s->id);
}

int bw_scratch_destroy(struct bw_scratch *s, bool (*go_on)(void *ctx), void *ctx)
{
	struct asked a = {.go_on = go_on, .ctx = ctx};
	struct bw_store *store = NULL;
	char why[BW_WHY_MAX + 1] = "";
	int err = 0;

	if (*s->id) {
		bw_progress_init(&a.progress, "deleting", "objects", 0, true);
		err = open_store(s, &store, why, sizeof(why));
		if (!err)
			err = destroy_in(s, store, &a, why, sizeof(why));
		bw_progress_done(&a.progress);
		bw_store_free(store);
	}
	if (err)
		return say_left(s, err, why);
	if (is_file(s))
		remove_dirs(s);
	s->id[0] = 0;
	return 0;
}
