/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/index.h"
#include "manifest/root_entry.h"
#include "tests/fuzz/envelope_fix.h"
#include "tests/fuzz/fuzz.h"

void bw_fuzz_fix(uint8_t *bytes, size_t len)
{
	bw_fix_envelope(bytes, len);
}

/* The pointer such a node would have: what the text claims. */
static unsigned point_to(const struct bw_buf *raw, struct bw_pointer *p)
{
	struct bw_json j;

	bw_json_init(&j, bw_buf_text(raw), raw->len);
	bw_json_expect(&j, "{\"level\":");
	unsigned level = (unsigned)bw_json_int(&j, BW_LEVELS_MAX - 1);
	bw_json_expect(&j, ",\"first\":");
	p->first = bw_json_dec(&j, UINT64_MAX);
	bw_json_expect(&j, ",\"last\":");
	p->last = bw_json_dec(&j, UINT64_MAX);
	p->hash = bw_xxh3(bw_buf_text(raw), raw->len);
	return level;
}

static void check(const struct bw_node *n, const struct bw_pointer *by, const struct bw_buf *raw)
{
	bw_auto_buf struct bw_buf again = {.max = 0}, raw2 = {.max = 0};
	struct bw_pointer p;
	int rc;

	bw_buf_init(&again, BW_NODE_RAW_MAX + 64);
	bw_buf_init(&raw2, BW_NODE_RAW_MAX);
	rc = n->level ? bw_node_encode(n->level, n->pointers, n->n, &again, &p)
		      : bw_leaf_encode(n->entries, n->n, n->digest_before, &again, &p);
	bw_fuzz_must(rc == 0, "it encodes");
	bw_fuzz_must(p.first == by->first && p.last == by->last, "to the same pointer");
	bw_fuzz_must(bw_envelope_open(BW_ENVELOPE_NODE, again.bytes, again.len, &raw2, NULL) == 0,
		     "which opens");
	/* Members of newer releases are not kept: they stand between the list and the last brace. */
	bw_fuzz_must(raw2.len <= raw->len && !memcmp(raw->bytes, raw2.bytes, raw2.len - 1),
		     "what decodes encodes to the same bytes");
	bw_fuzz_must((p.hash == by->hash) == (raw2.len == raw->len), "and the same name");
	for (uint64_t step = n->first; step <= n->last; step += n->last / 7 + 1) {
		struct bw_root r = {.head = BW_STEPS_MAX};
		struct bw_entry e;
		unsigned level;

		rc = bw_index_move(&r, n, step, &e, &p, &level);
		bw_fuzz_must(rc == (n->level == 0), "every step of a node is found in it");
		bw_fuzz_must(rc ? e.step == step : p.first <= step && step <= p.last, "and is that one");
	}
}

bool bw_fuzz_one(const uint8_t *bytes, size_t len)
{
	bw_auto_buf struct bw_buf raw = {.max = 0};
	struct bw_pointer by = {.first = 0};
	struct bw_node *n = NULL;
	unsigned level = 0;

	bw_buf_init(&raw, BW_NODE_RAW_MAX);
	if (bw_envelope_open(BW_ENVELOPE_NODE, bytes, len, &raw, NULL) == 0)
		level = point_to(&raw, &by);
	if (bw_node_decode(level, &by, bytes, len, &n) != 0)
		return false;
	check(n, &by, &raw);
	bw_node_unref(n);
	return true;
}
