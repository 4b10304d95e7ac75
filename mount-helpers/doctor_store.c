/* SPDX-License-Identifier: Apache-2.0 */
#include "mount-helpers/doctor_store.h"

#include "manifest/head.h"
#include "manifest/key.h"
#include "manifest/open.h"
#include "manifest/tgb.h"
#include "mount-helpers/command.h"
#include "mount-helpers/progress.h"
#include "mount-helpers/ways.h"
#include "store/base/rand.h"
#include "store/base/sync.h"
#include "store/s3_creds.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STORE_NS (60 * BW_SEC)
#define PINGS 9
#define LARGE (8u << 20)		/* two parts of the shortest kind */
#define SKEW_MS 60000			/* beyond it commit times mislead; S3 refuses above 15 minutes */
#define SOON_MS (INT64_C(600) * 1000)
#define UPLOAD_OLD_MS (INT64_C(86400) * 1000)

struct look {
	struct bw_doctor *d;
	const struct bw_doctor_ask *ask;
	struct bw_store *store;
	bool is_s3;
};

static int64_t deadline(void)
{
	return bw_now() + STORE_NS;
}

static bool is_away(int err)
{
	return bw_exit_of(err) == BW_EXIT_STORE;
}

/* ---- Credentials ---------------------------------------------------------------------------------- */

struct wait {
	struct bw_cred_wait wait;
	struct bw_latch answered;
	struct bw_creds *creds;
	char why[BW_WHY_MAX + 1];
};

static void have_creds(struct bw_cred_wait *cw, int err, struct bw_creds *creds, const char *why)
{
	struct wait *w = (struct wait *)cw;

	w->creds = creds;
	if (err)
		snprintf(w->why, sizeof(w->why), "%s", why);
	bw_latch_open(&w->answered);
}

static void say_creds(struct bw_doctor *d, const struct bw_creds *c)
{
	size_t len = strlen(c->key_id);
	const char *tail = c->key_id + (len > 8 ? len - 4 : len);
	int64_t left_ms = c->expires_ms - bw_wall_ms();
	char when[32];

	if (c->expires_ms == INT64_MAX) {
		bw_doctor_add(d, BW_FINE, "credentials", "", "from the %s, key ...%s, no expiry", c->source, tail);
		return;
	}
	bw_wall_text(c->expires_ms, when, sizeof(when));
	if (left_ms < 0)
		bw_doctor_add(d, BW_WRONG, "credentials", "renew them where they come from, and check the clock",
			      "from the %s, key ...%s, expired %s", c->source, tail, when);
	else if (c->extended)
		bw_doctor_add(d, BW_NOTE, "credentials", "look at the metadata service of this machine",
			      "from the %s, key ...%s, expired; it has nothing newer, so they are used on", c->source, tail);
	else if (left_ms < SOON_MS)
		bw_doctor_add(d, BW_NOTE, "credentials", "see that the source renews them",
			      "from the %s, key ...%s, expire soon: %s", c->source, tail, when);
	else
		bw_doctor_add(d, BW_FINE, "credentials", "", "from the %s, key ...%s, expire %s", c->source, tail, when);
}

static void check_creds(struct look *l)
{
	const struct bw_s3_config *s3 = l->ask->s3;
	struct bw_cred_config config = {.profile = s3->profile, .profile_named = s3->profile_named,
					.region = s3->region, .ca = s3->ca};
	struct wait w = {.wait = {.done = have_creds}};
	struct bw_cred_chain *chain;

	if (bw_cred_chain_new(&config, &chain)) {
		bw_doctor_add(l->d, BW_WRONG, "credentials", "free some memory", "cannot start");
		return;
	}
	bw_latch_init(&w.answered);
	if (bw_cred_chain_get(chain, &w.wait, &w.creds))
		bw_latch_open(&w.answered);
	bw_latch_wait(&w.answered);
	if (w.creds)
		say_creds(l->d, w.creds);
	else
		bw_doctor_add(l->d, BW_WRONG, "credentials", "see docs/credentials.md for the sources and their order", "%s",
			      w.why);
	l->d->store_away |= !w.creds;
	bw_creds_unref(w.creds);
	bw_cred_chain_free(chain);
}

/* ---- The way there, and how long it takes --------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

/* 0 or an error: it answered, whatever it said of the object. */
static int ping(struct look *l, int64_t limit_ns, int64_t *ret_ns, char detail[BW_DETAIL_MAX + 1])
{
	struct bw_op op;
	int64_t began = bw_now();

	bw_op_get_all(&op, BW_STREAM_KEY, BW_STREAM_JSON_MAX);
	op.deadline_ns = began + limit_ns;
	enum bw_outcome outcome = bw_store_sync(l->store, &op);
	int err = outcome == BW_OK || outcome == BW_NOT_FOUND ? 0 : bw_op_err(&op);

	*ret_ns = bw_now() - began;
	memcpy(detail, op.detail, sizeof(op.detail));
	bw_op_done(&op);
	return err;
}

/* What to do about an error of the store of which nothing more is known. */
static const char *remedy_of(const struct look *l, int err)
{
	if (err == -BW_E_DENIED || err == -EACCES || err == -EPERM)
		return l->is_s3 ? "give these credentials read, write, list and delete (docs/object-stores.md), or look with -o ro"
				: "give this user read and write in the directory, or look with -o ro";
	if (is_away(err))
		return "check the URL, the endpoint and the network";
	return "see docs/object-stores.md";
}

static int say_away(struct look *l, const char *check, int err, const char *detail)
{
	const struct bw_s3_advice *advice = bw_s3_advice(detail);
	char text[128];

	bw_doctor_add(l->d, BW_WRONG, check, advice ? advice->remedy : remedy_of(l, err), "%s: %s%s%s%s", l->ask->url,
		      advice ? advice->cause : bw_err_text(err, text, sizeof(text)), *detail ? " (" : "", detail,
		      *detail ? ")" : "");
	l->d->store_away |= is_away(err);
	return err;
}

/* The first waits as long as a mount would; the others tell how far away the store is. */
static int check_answer(struct look *l)
{
	char detail[BW_DETAIL_MAX + 1] = "";
	int64_t took[PINGS];
	int err = ping(l, BW_FIRST_ANSWER_NS, &took[0], detail);

	for (int i = 1; i < PINGS && !err; i++)
		err = ping(l, STORE_NS, &took[i], detail);
	if (err)
		return say_away(l, "store", err, detail);
	qsort(took, PINGS, sizeof(took[0]), by_value);
	if (l->is_s3 && l->ask->s3->no_verify_tls)
		bw_doctor_add(l->d, BW_NOTE, "tls", "trust the store's certificate with ca=FILE instead",
			      "certificates are not verified (no_verify_tls)");
	if (l->is_s3 && l->ask->s3->unsigned_payload && strncmp(l->ask->s3->endpoint, "http://", 7) == 0)
		bw_doctor_add(l->d, BW_NOTE, "payload", "leave it out where the network is not trusted",
			      "large bodies are not signed (unsigned_payload): what is changed on the way is seen when it is read");
	bw_doctor_add(l->d, BW_FINE, "store", "", "answers a small get in %.1f ms (median of %d, slowest %.1f ms)",
		      (double)took[PINGS / 2] / 1e6, PINGS, (double)took[PINGS - 1] / 1e6);
	return 0;
}

/* ---- Its rules ------------------------------------------------------------------------------------ */

static void count_step(void *ctx)
{
	bw_progress_add(ctx, 1);
}

static int probe(struct look *l, struct bw_probe_result *ret, char *why, size_t why_len)
{
	struct bw_progress progress;
	struct bw_ways ways;
	int err = bw_ways_open(&ways, l->ask->url, l->ask->s3, why, why_len);

	bw_progress_init(&progress, "probing", "checks", BW_PROBE_STEPS, true);
	struct bw_probe_config config = {
		.ways = ways.stores, .ways_n = ways.n, .step = count_step, .ctx = &progress, .large = l->is_s3 ? LARGE : 0,
	};

	if (!err)
		err = bw_stream_probe(l->store, &config, deadline(), ret, why, why_len);
	bw_progress_done(&progress);
	bw_ways_done(&ways);
	return err;
}

static const char *remedy_of_rules(const struct look *l, int err)
{
	if (err == -ENOSPC || err == -EDQUOT)
		return "free a little there; then batchweave gc can delete what no checkpoint needs";
	return is_away(err) ? remedy_of(l, err) : "use another store or bucket; see docs/object-stores.md";
}

static void check_rules(struct look *l)
{
	struct bw_probe_result result = {.large_unconditional = false};
	char why[BW_WHY_MAX + 1] = "", text[128];
	int err = probe(l, &result, why, sizeof(why));

	if (err)
		bw_doctor_add(l->d, BW_WRONG, "store rules", remedy_of_rules(l, err), "%s",
			      *why ? why : bw_err_text(err, text, sizeof(text)));
	else if (result.large_unconditional)
		bw_doctor_add(l->d, BW_FINE, "store rules", "",
			      "put-if-absent has one winner, but not for large objects: batches are written without it");
	else
		bw_doctor_add(l->d, BW_FINE, "store rules", "",
			      "put-if-absent has one winner, what is written is read at once, ranges and listings are right");
	l->d->store_away |= err && is_away(err);
}

/* ---- The clock ------------------------------------------------------------------------------------ */

static int put_and_look(struct look *l, const char *key, int64_t *ret_ms)
{
	struct bw_bytes_body body;
	struct bw_op op;

	bw_bytes_body_init(&body, "what time is it", 15);
	bw_op_put(&op, key, &body.body, false);
	op.deadline_ns = deadline();
	int err = bw_store_sync(l->store, &op) == BW_OK ? 0 : bw_op_err(&op);

	bw_op_done(&op);
	if (err)
		return err;
	bw_op_get_all(&op, key, 4096);
	op.deadline_ns = deadline();
	err = bw_store_sync(l->store, &op) == BW_OK ? 0 : bw_op_err(&op);
	*ret_ms = op.modified_ms;
	bw_op_done(&op);
	return err;
}

/* Also when the put seems to have failed: it may come yet. */
static int take_away(struct look *l, const char *key)
{
	struct bw_op op;

	bw_op_delete(&op, key);
	op.deadline_ns = deadline();
	enum bw_outcome outcome = bw_store_sync(l->store, &op);
	int err = outcome == BW_OK || outcome == BW_NOT_FOUND ? 0 : bw_op_err(&op);

	bw_op_done(&op);
	return err;
}

static void check_clock(struct look *l)
{
	char key[BW_KEY_MAX + 1], hex[17], text[128];
	uint8_t random[8];
	int64_t stored_ms = 0;

	bw_random(random, sizeof(random));
	bw_hex(random, sizeof(random), hex);
	snprintf(key, sizeof(key), BW_PROBE_PREFIX "%s/clock", hex);
	int64_t before_ms = bw_wall_ms();
	int err = put_and_look(l, key, &stored_ms);
	int64_t after_ms = bw_wall_ms();
	int left = take_away(l, key);

	/* The store tells whole seconds. */
	int64_t ahead_ms = before_ms - 1000 > stored_ms ? before_ms - stored_ms :
			   stored_ms > after_ms + 1000 ? after_ms - stored_ms : 0;

	if (err || !stored_ms)
		bw_doctor_add(l->d, BW_NOTE, "clock", "compare date with another host", "the store tells no time%s%s",
			      err ? ": " : "", err ? bw_err_text(err, text, sizeof(text)) : "");
	else if (ahead_ms > SKEW_MS || -ahead_ms > SKEW_MS)
		bw_doctor_add(l->d, BW_WRONG, "clock", "synchronise it: timedatectl set-ntp true, or chrony",
			      "this machine is %" PRId64 " seconds %s the store", (ahead_ms < 0 ? -ahead_ms : ahead_ms) / 1000,
			      ahead_ms < 0 ? "behind" : "ahead of");
	else
		bw_doctor_add(l->d, BW_FINE, "clock", "", "agrees with the store's to %.1f seconds",
			      (double)(ahead_ms < 0 ? -ahead_ms : ahead_ms) / 1000 + 1);
	if (left)
		bw_doctor_add(l->d, BW_WRONG, "clean-up", "delete it by hand", "%s is left in the store: %s", key,
			      bw_err_text(left, text, sizeof(text)));
}

/* ---- The stream ----------------------------------------------------------------------------------- */

/* The newest step's footer: that what the root names is there. */
static void check_newest(struct look *l, const struct bw_stream *s, const struct bw_root *root)
{
	const struct bw_entry *e = root->tail_n ? &root->tail[root->tail_n - 1] : NULL;
	char key[BW_KEY_MAX + 1], text[128];
	struct bw_tgb *footer = NULL;
	struct bw_op op;

	if (!e || e->step < root->first)
		return;
	bw_key_data(s, e->producer, e->epoch, e->seq, e->nonce, key);
	bw_op_get(&op, key, e->size - e->footer_len, e->footer_len);
	op.deadline_ns = deadline();
	int err = bw_store_sync(l->store, &op) == BW_OK ? 0 : bw_op_err(&op);

	if (!err)
		err = bw_tgb_verify(op.blob->bytes, op.blob->len, s, e, &footer);
	bw_tgb_unref(footer);
	if (err)
		bw_doctor_add(l->d, BW_WRONG, "newest step",
			      is_away(err) ? remedy_of(l, err) : "batchweave fsck URL says what else is missing or damaged",
			      "step %" PRIu64 ", object %s: %s", e->step, key,
			      err == -ENOENT ? "it is missing" : bw_err_text(err, text, sizeof(text)));
	else
		bw_doctor_add(l->d, BW_FINE, "newest step", "", "%" PRIu64 " is there, its footer is whole", e->step);
	l->d->store_away |= err && is_away(err);
	bw_op_done(&op);
}

/* A first page is enough to say that there are some. */
static void check_uploads(struct look *l, const struct bw_stream *s)
{
	char id[9], prefix[16];
	unsigned old = 0;
	struct bw_op op;

	bw_hex(s->id, 4, id);
	snprintf(prefix, sizeof(prefix), "%s/", id);
	bw_op_list_uploads(&op, prefix, "", NULL, BW_LIST_PAGE_MAX);
	op.deadline_ns = deadline();
	if (bw_store_sync(l->store, &op) == BW_OK) {
		for (size_t i = 0; i < op.uploads->n; i++)
			old += op.uploads->items[i].begun_ms < bw_wall_ms() - UPLOAD_OLD_MS;
		bw_doctor_add(l->d, old ? BW_NOTE : BW_FINE, "uploads", old ? "batchweave gc URL aborts those that nobody can"
			      " finish" : "", "%zu unfinished, %u of them older than a day", op.uploads->n, old);
	}
	bw_op_done(&op);
}

static void check_stream(struct look *l)
{
	struct bw_root *root = NULL;
	struct bw_stream s;
	char why[BW_WHY_MAX + 1] = "", text[128], remedy[4200];
	int err = bw_stream_open(l->store, deadline(), &s, &root, why, sizeof(why));

	if (err == -BW_E_NO_STREAM) {
		snprintf(remedy, sizeof(remedy), "batchweave init %s --ranks W, or check the URL", l->ask->url);
		bw_doctor_add(l->d, BW_NOTE, "stream", remedy, "there is none at %s", l->ask->url);
		return;
	}
	if (err) {
		bw_doctor_add(l->d, BW_WRONG, "stream",
			      err == -BW_E_FORMAT_NEWER ? "upgrade this machine"
			      : is_away(err)		? remedy_of(l, err)
							: "batchweave fsck URL says more", "%s",
			      *why ? why : bw_err_text(err, text, sizeof(text)));
		l->d->store_away |= is_away(err);
		return;
	}
	bw_doctor_stream(l->d, &s, root, bw_wall_ms());
	check_newest(l, &s, root);
	check_uploads(l, &s);
	bw_root_unref(root);
}

void bw_doctor_store(struct bw_doctor *d, const struct bw_doctor_ask *ask)
{
	struct look l = {.d = d, .ask = ask, .is_s3 = ask->parsed->scheme == BW_URL_S3};
	struct bw_store_config config = {.s3 = ask->s3};
	char why[BW_WHY_MAX + 1] = "";

	if (l.is_s3)
		check_creds(&l);
	if (d->store_away)
		return;
	int err = bw_store_open(ask->parsed, &config, &l.store, why, sizeof(why));

	if (err == -ENOENT)
		bw_doctor_add(d, BW_WRONG, "store", "check the URL; batchweave init makes the directory", "there is no directory %s",
			      ask->parsed->path);
	else if (err)
		bw_doctor_add(d, BW_WRONG, "store", "check the URL and the options", "%s", why);
	if (err)
		return;
	if (!check_answer(&l)) {
		if (!ask->ro) {
			check_rules(&l);
			check_clock(&l);
		}
		check_stream(&l);
	}
	bw_store_leave(l.store);
}
