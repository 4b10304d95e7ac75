/* SPDX-License-Identifier: Apache-2.0 */
#include "mount-helpers/session.h"

#include "store/base/parse.h"

#include <inttypes.h>
#include <signal.h>
#include <string.h>

int64_t bw_session_commit_deadline(void)
{
	return bw_now() + BW_SESSION_COMMIT_NS;
}

int64_t bw_session_deadline(void)
{
	return bw_now() + BW_SESSION_TIMEOUT_NS;
}

static int say_no_stream(const struct bw_command *c, const char *url)
{
	return bw_say(c, BW_EXIT_WRONG,
		      "there is no stream at %s; check the URL, or create one with batchweave init %s --ranks W",
		      url, url);
}

int bw_session_store(const struct bw_command *c, const char *url, const struct bw_store_options *o,
		     bool create, struct bw_store **ret)
{
	struct bw_store_config config = {.create = create, .s3 = &o->s3};
	struct bw_url parsed;
	char why[BW_WHY_MAX + 1] = "";
	int r = bw_url_parse(url, &parsed, why, sizeof(why));

	if (r < 0) {
		bw_say_why(c, r, why);
		return BW_EXIT_USAGE;
	}
	if (parsed.scheme != BW_URL_S3 && *o->given)
		return bw_say(c, BW_EXIT_USAGE, "%s is for s3:// streams; leave it out for %s", o->given,
			      url);
	/* A directory that hangs: a handler would not run before it answers. */
	void (*on_interrupt)(int) = signal(SIGINT, SIG_DFL);

	r = bw_store_open(&parsed, &config, ret, why, sizeof(why));
	signal(SIGINT, on_interrupt);
	if (r == -ENOENT && !create)
		return say_no_stream(c, url);
	if (r < 0) {
		int code = bw_say_why(c, r, why);

		return r == -EOPNOTSUPP || r == -EINVAL ? BW_EXIT_USAGE : code;
	}
	return 0;
}

int bw_session_open(struct bw_session *s, const struct bw_command *c, const char *url,
		    const struct bw_store_options *o, bool to_write)
{
	bool asks = to_write && bw_url_is_s3(url);
	char why[BW_WHY_MAX + 1] = "";

	*s = (struct bw_session){.command = c, .url = url, .opened_ns = bw_boottime()};
	int r = bw_session_store(c, url, o, false, &s->store);

	if (r)
		return r;
	r = (asks ? bw_stream_open_to_write : bw_stream_open)(s->store, bw_session_deadline(), &s->stream,
							      &s->root, why, sizeof(why));
	if (r == -BW_E_NO_STREAM)
		return say_no_stream(c, url);
	if (r < 0)
		return bw_say_why(c, r, why);
	r = bw_head_new(s->store, &s->stream, s->root, s->opened_ns, NULL, &s->head);
	return r < 0 ? bw_say_err(c, r, "cannot start") : 0;
}

void bw_session_done(struct bw_session *s)
{
	bw_head_free(s->head);
	bw_root_unref(s->root);
	bw_store_leave(s->store);
	*s = (struct bw_session){.command = s->command};
}

int bw_session_step(const struct bw_command *c, const char *text, uint64_t *ret)
{
	if (bw_parse_u64(text, BW_COUNTER_MAX - 1, ret) == 0)
		return 0;
	return bw_say(c, BW_EXIT_USAGE, "STEP must be a plain decimal number such as 0 or 17, not '%s'",
		      text);
}

int bw_session_entry(struct bw_session *s, uint64_t step, struct bw_entry *ret)
{
	const struct bw_root *root = s->root;

	if (step >= root->head)
		return bw_say(s->command, BW_EXIT_WRONG,
			      "step %" PRIu64 " is not committed: the head is %" PRIu64
			      " (steps are counted from 0)%s",
			      step, root->head, root->sealed ? ", and the stream is sealed" : "");
	if (step < root->first)
		return bw_say(s->command, BW_EXIT_WRONG,
			      "step %" PRIu64 " has been reclaimed: the oldest kept step is %" PRIu64,
			      step, root->first);
	int r = bw_head_find_sync(s->head, step, bw_session_deadline(), ret);

	return r < 0 ? bw_say_err(s->command, r, "cannot look up step %" PRIu64, step) : 0;
}

static int get_range(struct bw_session *s, const char *key, uint64_t off, uint64_t len,
		     struct bw_blob **ret)
{
	struct bw_op op;

	bw_op_get(&op, key, off, len);
	op.deadline_ns = bw_session_deadline();
	int r = bw_store_sync(s->store, &op) == BW_OK ? 0 : bw_op_err(&op);

	if (r == 0) {
		*ret = op.blob;
		op.blob = NULL;
	}
	bw_op_done(&op);
	return r;
}

static int load_tgb(struct bw_session *s, const struct bw_entry *e, const char *key,
		    struct bw_tgb **ret)
{
	bw_auto_blob struct bw_blob *footer = NULL;

	if (e->footer_len > e->size)
		return -BW_E_CORRUPT;
	int r = get_range(s, key, e->size - e->footer_len, e->footer_len, &footer);

	return r < 0 ? r : bw_tgb_verify(footer->bytes, footer->len, &s->stream, e, ret);
}

/* A committed object that is not there is damage, whatever the store calls it. */
static int say_object(struct bw_session *s, int err, uint64_t step, const char *key)
{
	return bw_say_err(s->command, err == -ENOENT ? -BW_E_CORRUPT : err,
			  "cannot read step %" PRIu64 ", object %s%s", step, key,
			  err == -ENOENT ? ", which is missing" : "");
}

int bw_session_tgb(struct bw_session *s, const struct bw_entry *e, struct bw_tgb **ret)
{
	char key[BW_KEY_MAX + 1];
	int r;

	bw_key_data(&s->stream, e->producer, e->epoch, e->seq, e->nonce, key);
	r = load_tgb(s, e, key, ret);
	if (r == -BW_E_CORRUPT)
		r = load_tgb(s, e, key, ret);
	return r < 0 ? say_object(s, r, e->step, key) : 0;
}

static int load_block(struct bw_session *s, const struct bw_tgb *t, const char *key, uint32_t i,
		      struct bw_blob **ret)
{
	bw_auto_blob struct bw_blob *stored = NULL;
	const struct bw_block *b = bw_tgb_block(t, i);
	int r = get_range(s, key, b->offset, b->stored, &stored);

	return r < 0 ? r : bw_tgb_block_read(t, i, stored, ret);
}

int bw_session_block(struct bw_session *s, const struct bw_entry *e, const struct bw_tgb *t,
		     uint32_t i, struct bw_blob **ret)
{
	char key[BW_KEY_MAX + 1];
	int r;

	bw_key_data(&s->stream, e->producer, e->epoch, e->seq, e->nonce, key);
	r = load_block(s, t, key, i, ret);
	if (r == -BW_E_CORRUPT)
		r = load_block(s, t, key, i, ret);
	return r < 0 ? say_object(s, r, e->step, key) : 0;
}
