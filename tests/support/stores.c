/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/stores.h"

#include "store/base/rand.h"
#include "store/file_priv.h"
#include "store/s3_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum backend { MEM, FILES, RGW, VERSITY };
static const char *const backends[] = {"mem", "file", "rgw", "versity"};
enum stack { BARE, STATS, LIMIT, RETRY, HEDGE, LATE, PACE, DELAY, FAULT, CHAIN };

static const struct bw_retry_config retry = {
	.base_ns = BW_MS / 10, .max_ns = BW_MS, .tries = 3, .seed = 1};

static enum bw_fault no_fault(struct bw_fault_plan *plan, const struct bw_op *op, uint64_t nth)
{
	(void)plan, (void)op, (void)nth;
	return BW_FAULT_NONE;
}

static bool is_virtual(void)
{
	const char *style = getenv("BW_STYLE");

	return style && strcmp(style, "virtual") == 0;
}

/* BW_STYLE=virtual: the bucket stands in the host; any name below localhost is this machine (curl knows). */
static void set_style(struct bw_s3_config *config)
{
	const char *colon = strrchr(config->endpoint, ':');

	if (!is_virtual() || !colon)
		return;
	long port = strtol(colon + 1, NULL, 10);

	snprintf(config->endpoint, sizeof(config->endpoint), "http://localhost:%ld", port);
	config->style = BW_S3_STYLE_VIRTUAL;
}

/*
 * A prefix that nobody else has, in the bucket of an engine.  tests/run tells where that is and with
 * which keys in BW_TEST_RGW and BW_TEST_VERSITY.
 */
static void address_s3(enum backend backend, struct bw_url *url, struct bw_s3_config *config)
{
	const char *engine = getenv(backend == RGW ? "BW_TEST_RGW" : "BW_TEST_VERSITY");
	char key[128], secret[128];
	uint64_t unique;

	bw_s3_config_from_env(config);
	if (!engine || sscanf(engine, "%511s %127s %127s", config->endpoint, key, secret) != 3) {
		fprintf(stderr, "no %s is running; tests/run starts it\n", backends[backend]);
		abort();
	}
	setenv("AWS_ACCESS_KEY_ID", key, 1);
	setenv("AWS_SECRET_ACCESS_KEY", secret, 1);
	set_style(config);
	bw_random(&unique, sizeof(unique));
	url->scheme = BW_URL_S3;
	snprintf(url->path, sizeof(url->path), "batchweave/contract/%016" PRIx64, unique);
}

static int open_backend(struct bw_test_store *t, enum backend backend, bool in_chain)
{
	struct bw_s3_config s3;
	struct bw_store_config config = {
		.stats = &t->stats, .fault = &t->plan, .threads = 4, .s3 = &s3};
	struct bw_url url = {.scheme = BW_URL_FILE};
	char why[256] = "";
	int err;

	t->in_memory = backend == MEM;
	if (backend == MEM)
		return bw_store_mem_new(&t->s);
	if (backend == FILES) {
		bw_test_tmpdir(t->dir);
		snprintf(url.path, sizeof(url.path), "%s", t->dir);
	} else {
		address_s3(backend, &url, &s3);
	}
	if (in_chain)
		err = bw_store_open(&url, &config, &t->s, why, sizeof(why));
	else if (backend == FILES)
		err = bw_store_file_new(t->dir, false, 0, &t->s);
	else
		err = bw_store_s3_new(&url, &s3, &t->s, why, sizeof(why));
	if (err)
		fprintf(stderr, "%s\n", why);
	return err;
}

/* The production chain, but around memory. */
static int wrap_chain(struct bw_test_store *t)
{
	int err = bw_filter_fault_new(t->s, &t->plan, &t->s);

	if (!err)
		err = bw_filter_pace_new(t->s, &t->stats.send, &t->s);
	if (!err)
		err = bw_filter_hedge_new(t->s, 1, &t->stats.send, &t->s);
	if (!err)
		err = bw_filter_retry_new(t->s, &retry, &t->s);
	if (!err)
		err = bw_filter_limit_new(t->s, 4, 8 << 20, &t->s);
	return err ? err : bw_filter_stats_new(t->s, &t->stats, &t->s);
}

static int wrap(struct bw_test_store *t, enum stack stack)
{
	switch (stack) {
	case STATS:
		return bw_filter_stats_new(t->s, &t->stats, &t->s);
	case LIMIT:
		return bw_filter_limit_new(t->s, 3, 1 << 20, &t->s);
	case RETRY:
		return bw_filter_retry_new(t->s, &retry, &t->s);
	case HEDGE:
		return bw_filter_hedge_new(t->s, 1, &t->stats.send, &t->s);
	case LATE:
		return bw_filter_late_new(t->s, BW_LATE_NS, &t->s);
	case PACE:
		return bw_filter_pace_new(t->s, &t->stats.send, &t->s);
	case DELAY:
		return bw_filter_delay_new(t->s, BW_MS / 20, BW_MS / 5, 1, &t->s);
	case FAULT:
		return bw_filter_fault_new(t->s, &t->plan, &t->s);
	case CHAIN:
		return wrap_chain(t);
	case BARE:
		break;
	}
	return 0;
}

void bw_test_stores(unsigned *ret_first, unsigned *ret_n)
{
	const char *name = getenv("BW_STORE");

	*ret_first = 0;
	*ret_n = 2 * BW_TEST_STACKS;
	for (unsigned i = 0; name && *name && i < BW_TEST_BACKENDS; i++) {
		if (strcmp(name, backends[i]) == 0) {
			*ret_first = i * BW_TEST_STACKS;
			*ret_n = is_virtual() ? 1 : BW_TEST_STACKS;	/* no filter sees an address */
			return;
		}
	}
	if (name && *name) {
		fprintf(stderr, "BW_STORE=%s: mem, file, rgw or versity\n", name);
		abort();
	}
}

void bw_test_store_open(unsigned number, struct bw_test_store *t)
{
	static const char *const stacks[] = {"nothing", "stats", "limit", "retry", "hedge",
					     "late",    "pace",  "delay", "fault", "the production chain"};
	enum backend backend = (enum backend)(number / BW_TEST_STACKS);
	enum stack stack = (enum stack)(number % BW_TEST_STACKS);
	bool in_chain = stack == CHAIN && backend != MEM;
	int err;

	_Static_assert(sizeof(stacks) / sizeof(stacks[0]) == BW_TEST_STACKS, "a name for each");
	memset(t, 0, sizeof(*t));
	t->plan.decide = no_fault;
	snprintf(t->name, sizeof(t->name), "%s under %s", backends[backend], stacks[stack]);
	err = open_backend(t, backend, in_chain);
	if (!err && !in_chain)
		err = wrap(t, stack);
	if (err) {
		fprintf(stderr, "%s: cannot be opened: %d\n", t->name, err);
		abort();
	}
}

void bw_test_store_close(struct bw_test_store *t)
{
	bw_store_free(t->s);
	if (t->dir[0])
		bw_test_rmtree(t->dir);
}

enum bw_outcome bw_test_put(struct bw_store *s, const char *key, const void *bytes, size_t len,
			    bool if_absent)
{
	struct bw_bytes_body body;
	struct bw_op op;

	bw_bytes_body_init(&body, bytes, len);
	bw_op_put(&op, key, &body.body, if_absent);
	return bw_store_sync(s, &op);
}

enum bw_outcome bw_test_get(struct bw_store *s, const char *key, struct bw_blob **ret_blob)
{
	struct bw_op op;

	bw_op_get_all(&op, key, UINT64_MAX);
	if (bw_store_sync(s, &op) == BW_OK)
		*ret_blob = op.blob;
	return op.outcome;
}

enum bw_outcome bw_test_delete(struct bw_store *s, const char *key)
{
	struct bw_op op;

	bw_op_delete(&op, key);
	return bw_store_sync(s, &op);
}

/* ---- What a process leaves that dies in the middle of a put ------------------------------------ */

static int leave_file(const struct bw_test_store *t, const char *key)
{
	char name[NAME_MAX + 1], path[BW_TMPDIR_MAX + NAME_MAX + 16];

	snprintf(path, sizeof(path), "%s/" FILE_TMP, t->dir);
	mkdir(path, 0755);
	file_tmp_name(key, name);
	snprintf(path, sizeof(path), "%s/" FILE_TMP "/%s", t->dir, name);
	FILE *f = fopen(path, "wx");

	return f && fputs("half of an obj", f) >= 0 && fclose(f) == 0 ? 0 : -errno;
}

struct begun {
	struct bw_s3_exchange x;
	struct bw_latch answered;
};

static void on_begun(struct bw_s3_exchange *x)
{
	struct begun *b = x->ctx;

	bw_latch_open(&b->answered);
}

static int leave_parts(const struct bw_test_store *t, const char *key)
{
	struct bw_store *s3 = t->s;
	struct begun b;

	while (s3->next)
		s3 = s3->next;
	b.x = (struct bw_s3_exchange){.s = (struct bw_s3 *)s3,
				      .kind = BW_OP_PUT,
				      .deadline_ns = BW_NEVER,
				      .call = {.method = "POST", .key = key, .query = "uploads="},
				      .expect = SIZE_MAX,
				      .max = 64 << 10,
				      .done = on_begun,
				      .ctx = &b};
	bw_latch_init(&b.answered);
	bw_s3_exchange_start(&b.x);
	bw_latch_wait(&b.answered);
	enum bw_outcome outcome = b.x.outcome;

	bw_s3_exchange_clear(&b.x);
	return outcome == BW_OK ? 0 : -EIO;
}

bool bw_test_leave_upload(struct bw_test_store *t, const char *key)
{
	int err;

	if (t->in_memory)
		return false;
	err = t->dir[0] ? leave_file(t, key) : leave_parts(t, key);
	if (err) {
		fprintf(stderr, "%s: no upload could be left behind: %d\n", t->name, err);
		abort();
	}
	return true;
}

bool bw_test_holds(struct bw_store *s, const char *key, const void *bytes, size_t len)
{
	struct bw_blob *blob;

	if (bw_test_get(s, key, &blob) != BW_OK)
		return false;
	bool same = blob->len == len && (!len || memcmp(blob->bytes, bytes, len) == 0);

	bw_blob_unref(blob);
	return same;
}
