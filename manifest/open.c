/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/open.h"

#include "manifest/key.h"
#include "manifest/open_io.h"
#include "manifest/open_keeps.h"
#include "manifest/open_search.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* A damaged answer is fetched again: it may have been damaged on the way. */
#define READS 5

struct source {
	struct bw_versions versions;
	const struct bw_stream *stream;
	struct bw_io *io;
};

static int get_version(struct bw_versions *from, uint64_t version, struct bw_root **ret)
{
	struct source *s = (struct source *)from;
	char key[BW_KEY_MAX + 1];
	int rc = -BW_E_CORRUPT;

	bw_key_root(s->stream, version, key);
	for (int i = 0; i < READS && rc == -BW_E_CORRUPT; i++) {
		bw_auto_blob struct bw_blob *blob = NULL;

		rc = bw_io_get(s->io, key, BW_ROOT_STORED_MAX, &blob);
		if (rc == -ENOENT)
			return BW_VERSION_ABSENT;
		if (!rc)
			rc = bw_version_decode(s->stream, version, blob, ret);
	}
	if (rc == -BW_E_CORRUPT || rc == -BW_E_FORMAT_NEWER)
		snprintf(s->io->detail, sizeof(s->io->detail), "version %" PRIu64, version);
	return rc;
}

static int newest(struct bw_io *io, const struct bw_stream *s, struct bw_root **ret)
{
	struct source source = {.versions.get = get_version, .stream = s, .io = io};
	bw_auto_blob struct bw_blob *blob = NULL;
	char key[BW_KEY_MAX + 1];

	bw_key_hint(s, key);
	int err = bw_io_get(io, key, BW_HINT_MAX, &blob);

	/* Only a place to start: damaged is as good as absent. */
	if (err && err != -ENOENT && err != -BW_E_CORRUPT)
		return err;
	return bw_search_newest(&source.versions, blob ? bw_hint_parse(blob->bytes, blob->len) : 1,
				ret);
}

int bw_io_stream(struct bw_io *io, struct bw_stream *ret, struct bw_blob **ret_json, char *why,
		 size_t why_len)
{
	int err = -BW_E_CORRUPT;

	/* A newer format may be a flipped bit as well. */
	for (int i = 0; i < READS && (err == -BW_E_CORRUPT || err == -BW_E_FORMAT_NEWER); i++) {
		bw_blob_unref(*ret_json);
		*ret_json = NULL;
		err = bw_io_first(io, BW_STREAM_KEY, BW_STREAM_JSON_MAX, ret_json);
		if (!err)
			err = bw_stream_decode((*ret_json)->bytes, (*ret_json)->len, ret);
	}
	if (err == -ENOENT) {
		snprintf(why, why_len, "there is no stream here: no " BW_STREAM_KEY);
		return -BW_E_NO_STREAM;
	}
	if (err)
		bw_io_why(io, err, "cannot read " BW_STREAM_KEY, why, why_len);
	return err;
}

/* Who may not delete leaves it to whoever cleans the place. */
static void remove_ghost(struct bw_io *io, const char *key)
{
	struct bw_op op;

	bw_op_delete(&op, key);
	if (bw_io_run(io, &op))
		io->detail[0] = 0;
	bw_op_done(&op);
}

static bool is_gone(struct bw_io *io, const char *key)
{
	struct bw_op op;

	bw_op_get(&op, key, 0, 1);
	bool gone = bw_io_run(io, &op) == -ENOENT;

	bw_op_done(&op);
	return gone;
}

static void remove_root_1(struct bw_io *io, const struct bw_stream *s)
{
	char key[BW_KEY_MAX + 1];

	bw_key_root(s, 1, key);
	remove_ghost(io, key);
}

/*
 * Was nothing else there because the stream was destroyed since stream.json was read?  That is the last to go but for the
 * barrier (destroy.h): then it is gone as well, or is another stream's.
 */
static int check_there(struct bw_io *io, const struct bw_stream *s)
{
	bw_auto_blob struct bw_blob *json = NULL;
	struct bw_stream there;
	int err = bw_io_get(io, BW_STREAM_KEY, BW_STREAM_JSON_MAX, &json);

	if (!err && bw_stream_decode(json->bytes, json->len, &there) == 0 && memcmp(there.id, s->id, sizeof(s->id)) != 0)
		err = -ENOENT;
	if (err != -ENOENT)
		return err == -BW_E_CORRUPT ? 0 : err;
	remove_root_1(io, s);
	return -BW_E_DESTROYED;
}

/* It is the same whoever makes it. */
static int make_root_1(struct bw_io *io, const struct bw_stream *s)
{
	bw_auto_blob struct bw_blob *other = NULL;
	bw_auto_buf struct bw_buf bytes = {.max = 0};
	char key[BW_KEY_MAX + 1];
	struct bw_root *first;
	int err = bw_root_first(s, &first);

	if (err)
		return err;
	bw_buf_init(&bytes, BW_ROOT_STORED_MAX);
	err = bw_root_encode(first, &bytes);
	bw_root_unref(first);
	if (err)
		return err;
	bw_key_root(s, 1, key);
	err = bw_io_make(io, key, bytes.bytes, bytes.len, &other);
	return err == -EEXIST ? 0 : err;
}

/* A creator died between the two objects. */
static int finish_creation(struct bw_io *io, const struct bw_stream *s, struct bw_root **ret)
{
	int err = make_root_1(io, s);

	if (!err)
		err = check_there(io, s);
	return err ? err : newest(io, s, ret);
}

/* stream.json without a root 1: its creator died, or somebody destroys the stream, who leaves stream.json to the last. */
static int take_unfinished(struct bw_io *io, const struct bw_stream *s, struct bw_root **ret, bool *ret_finished)
{
	char prefix[BW_KEY_MAX + 1];
	struct bw_op op;

	bw_key_prefix(s, BW_KEY_FOREIGN, prefix);
	bw_op_list(&op, prefix, "", 1);
	int err = bw_io_run(io, &op);
	bool is_alone = !err && !op.listing->n;

	bw_op_done(&op);
	if (err)
		return err;
	*ret_finished = is_alone;
	if (is_alone)
		return finish_creation(io, s, ret);
	/* Another may have finished it meanwhile. */
	err = newest(io, s, ret);
	return err == -BW_E_NO_STREAM ? -BW_E_DESTROYED : err;
}

/* *ret_finished: it was there without any root, and root 1 was made. */
static int get_root(struct bw_io *io, const struct bw_stream *s, struct bw_root **ret, bool *ret_finished, char *why,
		    size_t why_len)
{
	int err = newest(io, s, ret);

	*ret_finished = false;
	if (err == -BW_E_NO_STREAM)
		err = take_unfinished(io, s, ret, ret_finished);
	if (err == -BW_E_DESTROYED)
		snprintf(why, why_len, "the stream here is being destroyed; batchweave destroy brings that to its end");
	else if (err)
		bw_io_why(io, err, "cannot read the newest manifest root", why, why_len);
	return err;
}

int bw_stream_open(struct bw_store *store, int64_t deadline_ns, struct bw_stream *ret,
		   struct bw_root **ret_root, char *why, size_t why_len)
{
	struct bw_io io = {.store = store, .deadline_ns = deadline_ns};
	bw_auto_blob struct bw_blob *json = NULL;
	struct bw_stream s;
	bool finished;
	int err = bw_io_stream(&io, &s, &json, why, why_len);

	if (!err)
		err = get_root(&io, &s, ret_root, &finished, why, why_len);
	if (!err)
		*ret = s;
	return err;
}

/*
 * Takes back what this open has made of a stream that was destroyed, unless others have built on it meanwhile: who commits
 * on root 1 asks for that afterwards (committer.c), and who makes root 1 for stream.json (above).  One of two sees the other.
 */
static void take_back(struct bw_io *io, const struct bw_stream *s, const struct bw_blob *json, bool finished)
{
	bw_auto_blob struct bw_blob *other = NULL;
	char key[BW_KEY_MAX + 1];

	bw_key_root(s, 2, key);
	if (finished)
		remove_root_1(io, s);
	if (finished && !is_gone(io, key)) {
		(void)!make_root_1(io, s);
		return;
	}
	remove_ghost(io, BW_STREAM_KEY);
	bw_key_root(s, 1, key);
	if (!is_gone(io, key))
		(void)!bw_io_make(io, BW_STREAM_KEY, json->bytes, json->len, &other);
}

/*
 * The store has taken stream.json a second time: it does not keep put-if-absent, or the stream was destroyed to its end
 * since stream.json was read, and nothing is left but what this open has made.  err: what came of the open otherwise, with why.
 */
static int taken_twice(struct bw_io *io, const struct bw_stream *s, const struct bw_blob *json, bool finished, int err,
		       char *why, size_t why_len)
{
	struct bw_root *root = NULL;
	int is = finished ? -BW_E_NO_STREAM : newest(io, s, &root);

	bw_root_unref(root);
	if (is == -BW_E_NO_STREAM || is == -BW_E_DESTROYED) {
		take_back(io, s, json, finished);
		snprintf(why, why_len, "the stream here was destroyed just now");
		return -BW_E_DESTROYED;
	}
	if (is && !err)
		bw_io_why(io, is, "cannot read the newest manifest root", why, why_len);
	if (is || err)
		return err ? err : is;
	snprintf(why, why_len, "this store cannot hold a stream any more: a second put-if-absent of one "
			       "name succeeds (is versioning enabled in the bucket?)");
	return -EOPNOTSUPP;
}

int bw_stream_open_to_write(struct bw_store *store, int64_t deadline_ns, struct bw_stream *ret,
			    struct bw_root **ret_root, char *why, size_t why_len)
{
	struct bw_io io = {.store = store, .deadline_ns = deadline_ns};
	bw_auto_blob struct bw_blob *json = NULL;
	struct bw_root *root = NULL;
	struct bw_keeps keeps;
	struct bw_stream s;
	bool finished;
	int err = bw_io_stream(&io, &s, &json, why, why_len);

	if (err)
		return err;
	bw_keeps_ask(&keeps, store, json, deadline_ns);
	err = get_root(&io, &s, &root, &finished, why, why_len);
	if (!bw_keeps_wait(&keeps))
		err = taken_twice(&io, &s, json, finished, err, why, why_len);
	if (err) {
		bw_root_unref(root);
		return err;
	}
	*ret = s;
	*ret_root = root;
	return 0;
}
