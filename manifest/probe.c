/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Does the store keep the promises of store.h that the commit protocol stands on?
 *
 * Asked once, when a stream is created, and by doctor.  A store that fails is refused with the rule
 * it broke: on such a store two writers would both believe that they own a version.
 */
#include "manifest/probe_priv.h"

#include "manifest/key.h"
#include "store/base/rand.h"

#include <stdio.h>
#include <string.h>

#define ONE "the first bytes"
#define TWO "the second bytes"
#define CLEAN_NS (10 * BW_SEC)

/* Everything that may be left behind. */
static const char *const names[] = {"a",      "list/B", "list/a-b", "list/a/b", "list/a0",
				    "race-0", "race-1", "race-2",   "race-3",	"large"};
#define NAMES (sizeof(names) / sizeof(names[0]))
/* Of these, in their order: by bytes, in which '-' stands before '/' and '/' before '0'. */
#define LISTED 1
#define LISTED_N 4

void bw_probe_key(const struct bw_probe *p, const char *name, char key[BW_KEY_MAX + 1])
{
	snprintf(key, BW_KEY_MAX + 1, "%s%s", p->prefix, name);
}

int bw_probe_refuse(struct bw_probe *p, const char *rule)
{
	snprintf(p->why, p->why_len, "this store cannot hold a stream: %s", rule);
	return -EOPNOTSUPP;
}

int bw_probe_fail(struct bw_probe *p, int err, const char *what)
{
	bw_io_why(&p->io, err, what, p->why, p->why_len);
	return err;
}

struct bw_store *bw_probe_way(const struct bw_probe *p, unsigned i)
{
	return i ? p->config->ways[i - 1] : p->io.store;
}

int bw_probe_expect(struct bw_probe *p, const char *name, const char *bytes, const char *rule)
{
	struct bw_io io = p->io;
	char key[BW_KEY_MAX + 1];

	bw_probe_key(p, name, key);
	for (unsigned i = 0; i <= p->config->ways_n; i++) {
		bw_auto_blob struct bw_blob *blob = NULL;

		io.store = bw_probe_way(p, i);
		int err = bw_io_get(&io, key, 4096, &blob);

		if (err == -ENOENT)
			return bw_probe_refuse(p, "what was written cannot be read at once");
		if (err) {
			memcpy(p->io.detail, io.detail, sizeof(io.detail));
			return bw_probe_fail(p, err, "cannot read from the store");
		}
		if (blob->len != strlen(bytes) || memcmp(blob->bytes, bytes, blob->len) != 0)
			return bw_probe_refuse(p, rule);
	}
	return 0;
}

/* Through each way to the store: the name is taken. */
static int expect_taken(struct bw_probe *p, const char *key)
{
	struct bw_io io = p->io;

	for (unsigned i = 0; i <= p->config->ways_n; i++) {
		io.store = bw_probe_way(p, i);
		int err = bw_io_put(&io, key, TWO, strlen(TWO), true);

		if (!err)
			return bw_probe_refuse(p, "a second put-if-absent of one name succeeds");
		if (err != -EEXIST && err != -BW_E_UNKNOWN) {
			memcpy(p->io.detail, io.detail, sizeof(io.detail));
			return bw_probe_fail(p, err, "cannot write to the store");
		}
	}
	return 0;
}

static int probe_absent(struct bw_probe *p)
{
	bw_auto_blob struct bw_blob *other = NULL;
	char key[BW_KEY_MAX + 1];

	bw_probe_key(p, "a", key);
	int err = bw_io_get(&p->io, key, 4096, &other);

	if (!err)
		return bw_probe_refuse(p, "it has an object that nobody wrote");
	if (err != -ENOENT)
		return bw_probe_fail(p, err, "cannot read from the store");
	err = bw_io_make(&p->io, key, ONE, strlen(ONE), &other);
	if (err == -EEXIST)
		return bw_probe_refuse(p, "a put-if-absent of a free name is refused");
	if (err)
		return bw_probe_fail(p, err, "cannot write to the store");
	err = expect_taken(p, key);
	if (err)
		return err;
	return bw_probe_expect(p, "a", ONE, "a put-if-absent replaces what is there");
}

static int probe_range(struct bw_probe *p)
{
	char key[BW_KEY_MAX + 1];
	struct bw_op op;

	bw_probe_key(p, "a", key);
	bw_op_get(&op, key, 4, 5);
	int err = bw_io_run(&p->io, &op);

	if (err)
		err = bw_probe_fail(p, err, "cannot read a range from the store");
	else if (op.blob->len != 5 || memcmp(op.blob->bytes, &ONE[4], 5) != 0)
		err = bw_probe_refuse(p, "a read of a range brings other bytes");
	bw_op_done(&op);
	return err;
}

/*
 * One page of two keys above `after` must be exactly names[from] and names[from + 1].  A page that is followed by others
 * must say so; the last one may say so too, for whoever goes on finds an empty one.
 */
static int expect_page(struct bw_probe *p, const char *after, size_t from, bool more)
{
	char key[BW_KEY_MAX + 1], prefix[64];
	struct bw_op op;

	snprintf(prefix, sizeof(prefix), "%slist/", p->prefix);
	bw_op_list(&op, prefix, after, 2);
	int err = bw_io_run(&p->io, &op);

	if (err)
		err = bw_probe_fail(p, err, "cannot list the store");
	else if (op.listing->n != 2)
		err = bw_probe_refuse(p, "a listing does not show what was just written");
	for (size_t i = 0; !err && i < 2; i++) {
		bw_probe_key(p, names[from + i], key);
		if (strcmp(op.listing->items[i].key, key) != 0)
			err = bw_probe_refuse(p, "a listing is not in the order of its keys");
	}
	if (!err && more && !op.listing->more)
		err = bw_probe_refuse(p, "a page of a listing does not say whether there is more");
	bw_op_done(&op);
	return err;
}

static int probe_list(struct bw_probe *p)
{
	char key[BW_KEY_MAX + 1];

	for (size_t i = LISTED_N; i-- > 0;) {	/* written in falling order */
		bw_auto_blob struct bw_blob *other = NULL;

		bw_probe_key(p, names[LISTED + i], key);
		int err = bw_io_make(&p->io, key, ONE, strlen(ONE), &other);

		if (err)
			return bw_probe_fail(p, err, "cannot write to the store");
	}
	int err = expect_page(p, "", LISTED, true);

	if (err)
		return err;
	bw_probe_key(p, names[LISTED + 1], key);
	return expect_page(p, key, LISTED + 2, false);
}

static int delete_one(struct bw_io *io, const char *key)
{
	struct bw_op op;

	bw_op_delete(&op, key);
	int err = bw_io_run(io, &op);

	bw_op_done(&op);
	return err == -ENOENT ? 0 : err;
}

/* Of what was deleted nothing is seen, also in a listing. */
static int probe_delete(struct bw_probe *p)
{
	bw_auto_blob struct bw_blob *blob = NULL;
	char key[BW_KEY_MAX + 1];
	struct bw_op op;

	bw_probe_key(p, "a", key);
	int err = delete_one(&p->io, key);

	if (err)
		return bw_probe_fail(p, err, "cannot delete from the store");
	err = bw_io_get(&p->io, key, 4096, &blob);
	if (!err)
		return bw_probe_refuse(p, "what was deleted can still be read");
	if (err != -ENOENT)
		return bw_probe_fail(p, err, "cannot read from the store");
	bw_op_list(&op, key, "", 1);
	err = bw_io_run(&p->io, &op);
	if (err)
		err = bw_probe_fail(p, err, "cannot list the store");
	else if (op.listing->n)
		err = bw_probe_refuse(p, "a listing shows what was deleted");
	bw_op_done(&op);
	return err;
}

/* Also after a failure, which may have used up the time: a little more is taken for this. */
static int clean(struct bw_probe *p)
{
	struct bw_io io = p->io;
	char key[BW_KEY_MAX + 1];
	int first_err = 0;

	io.deadline_ns = bw_now() + CLEAN_NS;
	for (size_t i = 0; i < NAMES; i++) {
		bw_probe_key(p, names[i], key);
		int err = delete_one(&io, key);

		if (first_err || !err)
			continue;
		first_err = err;
		memcpy(p->io.detail, io.detail, sizeof(io.detail));
	}
	return first_err;
}

static void step(const struct bw_probe *p)
{
	if (p->config->step)
		p->config->step(p->config->ctx);
}

static int ask(struct bw_probe *p, struct bw_probe_result *ret)
{
	int (*const parts[])(struct bw_probe *p) = {
		probe_absent, probe_range, bw_probe_race, probe_list, probe_delete};
	int err = 0;

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]) && !err; i++) {
		err = parts[i](p);
		step(p);
	}
	if (!err)
		err = bw_probe_large(p, ret);
	step(p);
	return err;
}

int bw_stream_probe(struct bw_store *store, const struct bw_probe_config *config, int64_t deadline_ns,
		    struct bw_probe_result *ret, char *why, size_t why_len)
{
	struct bw_probe p = {.io = {.store = store, .deadline_ns = deadline_ns},
			     .config = config,
			     .why = why,
			     .why_len = why_len};
	struct bw_probe_result result = {.large_unconditional = false};
	uint8_t random[8];
	char hex[17];

	bw_random(random, sizeof(random));
	bw_hex(random, sizeof(random), hex);
	snprintf(p.prefix, sizeof(p.prefix), BW_PROBE_PREFIX "%s/", hex);
	int err = ask(&p, &result);
	int cleaned = clean(&p);

	if (!err && cleaned)
		err = bw_probe_fail(&p, cleaned, "cannot delete from the store");
	step(&p);
	if (!err)
		*ret = result;
	return err;
}
