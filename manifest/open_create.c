/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/open.h"

#include "manifest/key.h"
#include "manifest/open_io.h"
#include "store/base/rand.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static int check_options(const struct bw_stream_options *o, char *why, size_t why_len)
{
	if (o->ranks < 1 || o->ranks > BW_RANKS_MAX) {
		snprintf(why, why_len, "ranks must be between 1 and %u, not %" PRIu32, BW_RANKS_MAX,
			 o->ranks);
		return -EINVAL;
	}
	if (o->keep < 1 || o->keep > BW_MARKERS_MAX) {
		snprintf(why, why_len, "keep must be between 1 and %u, not %" PRIu32,
			 BW_MARKERS_MAX, o->keep);
		return -EINVAL;
	}
	return 0;
}

static void compress_text(const struct bw_stream_options *o, char text[24])
{
	if (o->compress == BW_COMPRESS_ZSTD)
		snprintf(text, 24, "zstd:%" PRId32, o->compress_level);
	else
		snprintf(text, 24, "none");
}

#define KEPT "; a stream keeps its options: take them as they are, or another URL"

/* Names the first option that differs, with both values. */
static int say_difference(const struct bw_stream_options *have, const struct bw_stream_options *want,
			  char *why, size_t why_len)
{
	struct {
		const char *name;
		uint64_t have, want;
	} numbers[] = {
		{"ranks", have->ranks, want->ranks},
		{"keep", have->keep, want->keep},
		{"margin", have->margin, want->margin},
		{"grace", have->grace_s, want->grace_s},
		{"max-ahead", have->max_ahead, want->max_ahead},
	};
	char a[24], b[24];

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		if (numbers[i].have == numbers[i].want)
			continue;
		snprintf(why, why_len,
			 "a stream exists here with %s %" PRIu64 ", not %" PRIu64 KEPT, numbers[i].name,
			 numbers[i].have, numbers[i].want);
		return -EEXIST;
	}
	compress_text(have, a);
	compress_text(want, b);
	snprintf(why, why_len, "a stream exists here with compress %s, not %s" KEPT, a, b);
	return -EEXIST;
}

/* An existing stream: the same options or an error.  Opening finishes a creation that was torn. */
static int take_existing(struct bw_io *io, const struct bw_stream_options *options,
			 struct bw_stream *ret, bool *ret_existed, char *why, size_t why_len)
{
	struct bw_root *root;
	struct bw_stream s;
	int err = bw_stream_open(io->store, io->deadline_ns, &s, &root, why, why_len);

	if (err)
		return err;
	bw_root_unref(root);
	if (!bw_stream_options_equal(&s.options, options))
		return say_difference(&s.options, options, why, why_len);
	*ret = s;
	*ret_existed = true;
	return 0;
}

/* What an interrupted probe has left is ours. */
static bool is_foreign(const char *key)
{
	return !bw_key_is_probe(key) && strcmp(key, BW_STREAM_KEY) != 0;
}

static int check_empty(struct bw_io *io, char *why, size_t why_len)
{
	char after[BW_KEY_MAX + 1] = "";
	bool more = true;
	int err = 0;

	while (more && !err) {
		struct bw_op op;

		bw_op_list(&op, "", after, 16);
		err = bw_io_run(io, &op);
		if (err)
			bw_io_why(io, err, "cannot list the store", why, why_len);
		for (size_t i = 0; !err && i < op.listing->n; i++) {
			snprintf(after, sizeof(after), "%s", op.listing->items[i].key);
			if (!is_foreign(after))
				continue;
			snprintf(why, why_len,
				 "the place is not empty: it holds %s, which is of something else; name an empty directory or "
				 "prefix", after);
			err = -BW_E_FOREIGN;
		}
		more = !err && op.listing->more && op.listing->n;
		bw_op_done(&op);
	}
	return err;
}

static void stream_new(const struct bw_stream_options *options, const struct bw_probe_result *probed,
		       struct bw_stream *s)
{
	*s = (struct bw_stream){
		.format = BW_FORMAT,
		.block_size = BW_BLOCK_SIZE,
		.created_ms = bw_wall_ms(),
		.options = *options,
		.large_unconditional = probed->large_unconditional,
	};
	bw_random(s->id, sizeof(s->id));
}

/* *ret_raced: somebody else's stream.json has come between. */
static int put_stream(struct bw_io *io, const struct bw_stream *s, bool *ret_raced, char *why,
		      size_t why_len)
{
	bw_auto_blob struct bw_blob *other = NULL;
	bw_auto_buf struct bw_buf json = {.max = 0};

	bw_buf_init(&json, BW_STREAM_JSON_MAX);
	int err = bw_stream_encode(s, &json);

	if (!err)
		err = bw_io_make(io, BW_STREAM_KEY, json.bytes, json.len, &other);
	*ret_raced = err == -EEXIST;
	if (err && err != -EEXIST)
		bw_io_why(io, err, "cannot write " BW_STREAM_KEY, why, why_len);
	return err == -EEXIST ? 0 : err;
}

int bw_stream_create(struct bw_store *store, const struct bw_stream_options *options,
		     int64_t deadline_ns, struct bw_stream *ret, bool *ret_existed, char *why,
		     size_t why_len)
{
	return bw_stream_create_probed(store, &(struct bw_probe_config){.ways_n = 0}, options,
				       deadline_ns, ret, ret_existed, why, why_len);
}

int bw_stream_create_probed(struct bw_store *store, const struct bw_probe_config *probe,
			    const struct bw_stream_options *options, int64_t deadline_ns,
			    struct bw_stream *ret, bool *ret_existed, char *why, size_t why_len)
{
	struct bw_io io = {.store = store, .deadline_ns = deadline_ns};
	struct bw_probe_result probed = {.large_unconditional = false};
	bw_auto_blob struct bw_blob *there = NULL;
	struct bw_stream s;
	bool raced = false;
	int err = check_options(options, why, why_len);

	if (err)
		return err;
	err = bw_io_first(&io, BW_STREAM_KEY, BW_STREAM_JSON_MAX, &there);
	if (!err)
		return take_existing(&io, options, ret, ret_existed, why, why_len);
	if (err != -ENOENT) {
		bw_io_why(&io, err, "cannot read the store", why, why_len);
		return err;
	}
	/* In this order: a place that is refused is left as it was. */
	err = check_empty(&io, why, why_len);
	if (!err && probe->place)
		err = probe->place(probe->ctx, why, why_len);
	if (!err)
		err = bw_stream_probe(store, probe, deadline_ns, &probed, why, why_len);
	if (err)
		return err;
	stream_new(options, &probed, &s);
	err = put_stream(&io, &s, &raced, why, why_len);
	if (err)
		return err;
	/* Ours or another's: from here on it is a creation that is to be finished. */
	err = take_existing(&io, options, ret, ret_existed, why, why_len);
	if (!err && !raced)
		*ret_existed = false;
	return err;
}
