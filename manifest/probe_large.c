/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects that go in parts: whether the store knows put-if-absent for them.
 *
 * Some refuse the condition there and some ignore it.  Data objects can do without, so that is
 * written down and not refused; but the bytes must be right.
 */
#include "manifest/probe_priv.h"

#define REPEATS 5	/* of a put whose answer was lost */
#define REPEAT_NS (100 * BW_MS)	/* doubling */

/* Bytes that are made when they are asked for, and name their place. */
struct pattern {
	struct bw_body body;
	uint8_t seed;
};

static uint8_t byte_at(const struct pattern *t, uint64_t off)
{
	return (uint8_t)(t->seed + off + (off >> 8) * 7 + (off >> 20) * 31);
}

static int pattern_read(struct bw_body *body, uint64_t off, void *buf, size_t len)
{
	const struct pattern *t = (const struct pattern *)body;
	uint8_t *to = buf;

	for (size_t i = 0; i < len; i++)
		to[i] = byte_at(t, off + i);
	return 0;
}

static int put(struct bw_probe *p, struct pattern *t, bool if_absent)
{
	struct bw_op op;
	char key[BW_KEY_MAX + 1];

	bw_probe_key(p, "large", key);
	bw_op_put(&op, key, &t->body, if_absent);
	int err = bw_io_run(&p->io, &op);

	bw_op_done(&op);
	return err;
}

/* No answer is none: what the store says of the condition is kept for the life of the stream. */
static int put_if_absent(struct bw_probe *p, struct pattern *t, bool *ret_applied)
{
	int err = put(p, t, true);

	*ret_applied = false;
	for (int i = 0; err == -BW_E_UNKNOWN && i < REPEATS; i++) {
		bw_sleep(REPEAT_NS << i);
		err = put(p, t, true);
		*ret_applied = err == -EEXIST;
	}
	return err;
}

/* The beginning, the end, and where parts of 5 MiB meet. */
static int expect(struct bw_probe *p, const struct pattern *t, const char *rule)
{
	uint64_t size = t->body.size, places[] = {0, BW_LARGE_OBJECT - 16, size - 32};
	char key[BW_KEY_MAX + 1];
	int err = 0;

	bw_probe_key(p, "large", key);
	for (int i = 0; i < 3 && !err; i++) {
		struct bw_op op;
		bool same = true;

		bw_op_get(&op, key, places[i], 32);
		err = bw_io_run(&p->io, &op);
		for (size_t n = 0; !err && n < 32; n++)
			same = same && op.blob->bytes[n] == byte_at(t, places[i] + n);
		if (err == -BW_E_CORRUPT || err == -ENOENT || !same)
			err = bw_probe_refuse(p, rule);
		else if (err)
			err = bw_probe_fail(p, err, "cannot read a large object from the store");
		bw_op_done(&op);
	}
	return err;
}

static int put_without(struct bw_probe *p, struct pattern *t, struct bw_probe_result *ret)
{
	int err = put(p, t, false);

	if (err)
		return bw_probe_fail(p, err, "cannot write a large object to the store");
	ret->large_unconditional = true;
	return expect(p, t, "a large object does not hold what was written");
}

int bw_probe_large(struct bw_probe *p, struct bw_probe_result *ret)
{
	struct pattern one = {.body = {.size = p->config->large, .read = pattern_read}, .seed = 1};
	struct pattern two = {.body = {.size = p->config->large, .read = pattern_read}, .seed = 77};

	if (!p->config->large)
		return 0;
	bool applied;
	int err = put_if_absent(p, &one, &applied);

	/* The condition is refused, or something else is wrong: that shows without it. */
	if (err && !applied)
		return put_without(p, &two, ret);
	err = expect(p, &one, "a large object does not hold what was written");
	if (err)
		return err;
	err = put_if_absent(p, &two, &applied);
	if (err == -EEXIST)
		return expect(p, &one, "a put-if-absent of a large object replaces what is there");
	return put_without(p, &two, ret);
}
