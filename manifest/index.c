/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/index.h"

#include "manifest/envelope.h"
#include "manifest/root_entry.h"
#include "store/base/hash.h"

#include <inttypes.h>
#include <stdlib.h>

static const char *const members[] = {"level",	 "first",   "last", "digest_before",
				      "entries", "pointers", NULL};

struct bw_node *bw_node_ref(struct bw_node *n)
{
	atomic_fetch_add_explicit(&n->refs, 1, memory_order_relaxed);
	return n;
}

void bw_node_unref(struct bw_node *n)
{
	if (!n || atomic_fetch_sub_explicit(&n->refs, 1, memory_order_acq_rel) != 1)
		return;
	free(n->entries);
	free(n->pointers);
	free(n);
}

size_t bw_node_bytes(const struct bw_node *n)
{
	return sizeof(*n) + n->n * (n->level ? sizeof(*n->pointers) : sizeof(*n->entries));
}

/* ---- Rules --------------------------------------------------------------------------------------- */

static uint32_t children(unsigned level)
{
	return level ? BW_FANOUT : BW_LEAF_ENTRIES;
}

static bool leaf_valid(const struct bw_entry *entries, uint32_t n, uint64_t digest_before)
{
	if (n != BW_LEAF_ENTRIES || entries[0].step % BW_LEAF_ENTRIES ||
	    (entries[0].step == 0 && (digest_before || entries[0].before)))
		return false;
	for (uint32_t i = 0; i < n; i++) {
		if (!bw_entry_valid(&entries[i]) ||
		    (i && !bw_entry_follows(&entries[i - 1], &entries[i])))
			return false;
	}
	return true;
}

static bool pointers_valid(unsigned level, const struct bw_pointer *pointers, uint32_t n)
{
	if (level < 1 || level >= BW_LEVELS_MAX || n != BW_FANOUT ||
	    pointers[0].first % bw_level_span(level))
		return false;
	for (uint32_t i = 0; i < n; i++) {
		if (!bw_pointer_valid(level - 1, &pointers[i]) ||
		    (i && pointers[i].first != pointers[i - 1].last + 1))
			return false;
	}
	return true;
}

/* ---- Encoding ------------------------------------------------------------------------------------ */

static void put_head(struct bw_buf *b, unsigned level, const struct bw_pointer *p)
{
	bw_buf_fmt(b, "{\"level\":%u,\"first\":\"%" PRIu64 "\",\"last\":\"%" PRIu64 "\",", level,
		   p->first, p->last);
}

static int seal(struct bw_buf *raw, struct bw_buf *out, struct bw_pointer *p, struct bw_pointer *ret)
{
	bw_buf_str(raw, "}");
	int rc = bw_buf_err(raw);
	if (rc)
		return rc;
	p->hash = bw_xxh3(raw->bytes, raw->len);
	rc = bw_envelope_seal(BW_ENVELOPE_NODE, raw->bytes, raw->len, out);
	if (rc)
		return rc;
	*ret = *p;
	return 0;
}

int bw_leaf_encode(const struct bw_entry *entries, uint32_t n, uint64_t digest_before,
		   struct bw_buf *out, struct bw_pointer *ret)
{
	bw_auto_buf struct bw_buf raw = {.max = 0};
	struct bw_pointer p;

	bw_buf_init(&raw, BW_NODE_RAW_MAX);
	if (!leaf_valid(entries, n, digest_before))
		return -EINVAL;
	p.first = entries[0].step;
	p.last = entries[n - 1].step;
	put_head(&raw, 0, &p);
	bw_buf_fmt(&raw, "\"digest_before\":\"%016" PRIx64 "\",\"entries\":[", digest_before);
	for (uint32_t i = 0; i < n; i++) {
		if (i)
			bw_buf_str(&raw, ",");
		bw_entry_put(&raw, &entries[i]);
	}
	bw_buf_str(&raw, "]");
	return seal(&raw, out, &p, ret);
}

int bw_node_encode(unsigned level, const struct bw_pointer *pointers, uint32_t n,
		   struct bw_buf *out, struct bw_pointer *ret)
{
	bw_auto_buf struct bw_buf raw = {.max = 0};
	struct bw_pointer p;

	bw_buf_init(&raw, BW_NODE_RAW_MAX);
	if (!pointers_valid(level, pointers, n))
		return -EINVAL;
	p.first = pointers[0].first;
	p.last = pointers[n - 1].last;
	put_head(&raw, level, &p);
	bw_buf_str(&raw, "\"pointers\":");
	bw_pointers_put(&raw, pointers, n);
	return seal(&raw, out, &p, ret);
}

/* ---- Decoding ------------------------------------------------------------------------------------ */

/* Room for exactly what a node of its level holds. */
static int get_list(struct bw_json *j, struct bw_node *n)
{
	uint32_t max = children(n->level);

	if (n->level)
		n->pointers = calloc(max, sizeof(*n->pointers));
	else
		n->entries = calloc(max, sizeof(*n->entries));
	if (!n->pointers && !n->entries)
		return -ENOMEM;
	for (; bw_json_next(j, n->n, max); n->n++) {
		if (n->level)
			bw_pointer_get(j, n->level - 1, n->first, n->n, &n->pointers[n->n]);
		else
			bw_entry_get(j, &n->entries[n->n]);
	}
	return 0;
}

static int get_node(struct bw_json *j, unsigned level, struct bw_node *n)
{
	const char *extra;
	size_t extra_len;

	bw_json_expect(j, "{\"level\":");
	n->level = (unsigned)bw_json_int(j, BW_LEVELS_MAX - 1);
	bw_json_expect(j, ",\"first\":");
	n->first = bw_json_dec(j, BW_STEPS_MAX - 1);
	bw_json_expect(j, ",\"last\":");
	n->last = bw_json_dec(j, BW_STEPS_MAX - 1);
	if (!level) {
		bw_json_expect(j, ",\"digest_before\":");
		n->digest_before = bw_json_hex64(j);
	}
	bw_json_expect(j, level ? ",\"pointers\":" : ",\"entries\":");
	if (j->bad || n->level != level)
		return -BW_E_CORRUPT;
	int rc = get_list(j, n);
	if (rc)
		return rc;
	bw_json_extra(j, members, NULL, &extra, &extra_len);
	bw_json_expect(j, "}");
	return bw_json_finished(j) ? 0 : -BW_E_CORRUPT;
}

/* The content agrees with itself and with the pointer. */
static bool node_valid(const struct bw_node *n, const struct bw_pointer *by)
{
	uint64_t first, last;

	if (n->level) {
		if (!pointers_valid(n->level, n->pointers, n->n))
			return false;
		first = n->pointers[0].first;
		last = n->pointers[n->n - 1].last;
	} else {
		if (!leaf_valid(n->entries, n->n, n->digest_before))
			return false;
		first = n->entries[0].step;
		last = n->entries[n->n - 1].step;
	}
	return n->first == first && n->last == last && by->first == first && by->last == last;
}

int bw_node_decode(unsigned level, const struct bw_pointer *by, const void *bytes, size_t len,
		   struct bw_node **ret)
{
	bw_auto_buf struct bw_buf raw = {.max = 0};
	struct bw_json j;

	bw_buf_init(&raw, BW_NODE_RAW_MAX);
	int rc = bw_envelope_open(BW_ENVELOPE_NODE, bytes, len, &raw, NULL);
	if (rc)
		return rc;
	if (bw_xxh3(bw_buf_text(&raw), raw.len) != by->hash)
		return -BW_E_CORRUPT;
	struct bw_node *n = calloc(1, sizeof(*n));
	if (!n)
		return -ENOMEM;
	atomic_init(&n->refs, 1);
	bw_json_init(&j, bw_buf_text(&raw), raw.len);
	rc = get_node(&j, level, n);
	if (!rc && !node_valid(n, by))
		rc = -BW_E_CORRUPT;
	if (rc) {
		bw_node_unref(n);
		return rc;
	}
	*ret = n;
	return 0;
}

/* ---- Search -------------------------------------------------------------------------------------- */

/* The pointer of an ascending row that covers step, or NULL. */
static const struct bw_pointer *covering(const struct bw_pointer *pointers, uint32_t n, uint64_t step)
{
	uint32_t low = 0, high = n;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if (pointers[mid].last < step)
			low = mid + 1;
		else
			high = mid;
	}
	return low < n && pointers[low].first <= step ? &pointers[low] : NULL;
}

static int move_from_root(const struct bw_root *r, uint64_t step, struct bw_entry *ret_entry,
			  struct bw_pointer *ret_fetch, unsigned *ret_level)
{
	const struct bw_entry *e = bw_root_tail_entry(r, step);

	if (e) {
		*ret_entry = *e;
		return 1;
	}
	for (unsigned level = 0; level < r->levels_n; level++) {
		const struct bw_pointer *p =
			covering(r->levels[level].pointers, r->levels[level].n, step);

		if (p) {
			*ret_fetch = *p;
			*ret_level = level;
			return 0;
		}
	}
	return -BW_E_CORRUPT;
}

int bw_index_move(const struct bw_root *r, const struct bw_node *node, uint64_t step,
		  struct bw_entry *ret_entry, struct bw_pointer *ret_fetch, unsigned *ret_level)
{
	if (!node)
		return move_from_root(r, step, ret_entry, ret_fetch, ret_level);
	if (step < node->first || step > node->last)
		return -BW_E_CORRUPT;
	if (node->level == 0) {
		*ret_entry = node->entries[step - node->first];
		return 1;
	}
	const struct bw_pointer *p = covering(node->pointers, node->n, step);
	if (!p)
		return -BW_E_CORRUPT;
	*ret_fetch = *p;
	*ret_level = node->level - 1;
	return 0;
}
