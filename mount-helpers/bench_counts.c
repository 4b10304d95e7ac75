/* SPDX-License-Identifier: Apache-2.0 */
#include "mount-helpers/bench_counts.h"

#include <stdbool.h>
#include <string.h>

static const char *const names[BW_COUNTS_OPS] = {"get", "put", "delete", "list", "other"};

const char *bw_counts_op_name(enum bw_counts_op op)
{
	return names[op];
}

/* A line that is being read: what is left of it. */
struct rest {
	const char *p;
	size_t len;
};

static bool take(struct rest *r, const char *word)
{
	size_t n = strlen(word);

	if (r->len < n || memcmp(r->p, word, n) != 0)
		return false;
	r->p += n;
	r->len -= n;
	return true;
}

static int take_number(struct rest *r, uint64_t *ret)
{
	uint64_t v = 0;

	if (!r->len)
		return -EINVAL;
	for (; r->len; r->p++, r->len--) {
		if (*r->p < '0' || *r->p > '9' || v > (UINT64_MAX - 9) / 10)
			return -EINVAL;
		v = v * 10 + (uint64_t)(*r->p - '0');
	}
	*ret = v;
	return 0;
}

/* Behind op=": up to the blank before the number. */
static enum bw_counts_op take_op(struct rest *r)
{
	enum bw_counts_op op = BW_COUNTS_OTHER;

	for (int i = 0; i < BW_COUNTS_OTHER && op == BW_COUNTS_OTHER; i++) {
		struct rest at = *r;

		if (take(&at, names[i]) && take(&at, "\""))
			op = (enum bw_counts_op)i;
	}
	while (r->len && *r->p != ' ')
		r->p++, r->len--;
	take(r, " ");
	return op;
}

static int parse_line(struct rest r, struct bw_counts *c)
{
	const struct {
		const char *begin;
		uint64_t *to;
	} plain[] = {
		{"batchweave_store_bytes_total{dir=\"in\"} ", &c->in},
		{"batchweave_store_bytes_total{dir=\"out\"} ", &c->out},
		{"batchweave_read_bytes_total{source=\"cache\"} ", &c->cache},
		{"batchweave_read_bytes_total{source=\"disk\"} ", &c->disk},
		{"batchweave_read_bytes_total{source=\"store\"} ", &c->store},
	};
	uint64_t v;

	if (take(&r, "batchweave_store_requests_total{op=\"")) {
		enum bw_counts_op op = take_op(&r);
		int err = take_number(&r, &v);

		c->requests[op] += err ? 0 : v;
		return err;
	}
	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
		if (take(&r, plain[i].begin))
			return take_number(&r, plain[i].to);
	return 0;
}

int bw_counts_parse(const char *text, size_t len, struct bw_counts *ret)
{
	struct bw_counts c = {.in = 0};

	if (!len || text[len - 1] != '\n')
		return -EINVAL;
	while (len) {
		size_t line = (size_t)((const char *)memchr(text, '\n', len) - text);
		int err = parse_line((struct rest){text, line}, &c);

		if (err)
			return err;
		text += line + 1;
		len -= line + 1;
	}
	*ret = c;
	return 0;
}

static uint64_t since(uint64_t before, uint64_t after)
{
	return after > before ? after - before : 0;
}

void bw_counts_since(const struct bw_counts *before, const struct bw_counts *after, struct bw_counts *ret)
{
	struct bw_counts c;

	for (int i = 0; i < BW_COUNTS_OPS; i++)
		c.requests[i] = since(before->requests[i], after->requests[i]);
	c.in = since(before->in, after->in);
	c.out = since(before->out, after->out);
	c.cache = since(before->cache, after->cache);
	c.disk = since(before->disk, after->disk);
	c.store = since(before->store, after->store);
	*ret = c;
}

uint64_t bw_counts_requests(const struct bw_counts *c)
{
	uint64_t n = 0;

	for (int i = 0; i < BW_COUNTS_OPS; i++)
		n += c->requests[i];
	return n;
}
