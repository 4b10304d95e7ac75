/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the first release of format 1 has written is read for ever (S8): every object of v1/ decodes
 * to the values that are written down here, and encodes to the bytes it came from.
 */
#include "manifest/apply.h"
#include "manifest/envelope.h"
#include "manifest/tgb.h"
#include "store/base/hash.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MS INT64_C(1767225600000)	/* when the streams were created */

static struct bw_blob *load(const char *dir, const char *key)
{
	char path[4096];

	snprintf(path, sizeof(path), BW_GOLDEN "/%s/%s", dir, key);
	FILE *f = fopen(path, "rb");
	cr_assert_not_null(f, "%s", path);
	cr_assert_eq(fseek(f, 0, SEEK_END), 0);
	struct bw_blob *b = bw_blob_new((size_t)ftell(f));
	rewind(f);
	cr_assert_eq(fread(b->bytes, 1, b->len, f), b->len);
	fclose(f);
	return b;
}

static struct bw_stream stream(const char *dir)
{
	bw_auto_blob struct bw_blob *b = load(dir, BW_STREAM_KEY);
	bw_auto_buf struct bw_buf again = {.max = 0};
	struct bw_stream s;

	bw_buf_init(&again, BW_STREAM_JSON_MAX);
	cr_assert_eq(bw_stream_decode(b->bytes, b->len, &s), 0);
	cr_assert_eq(bw_stream_encode(&s, &again), 0);
	cr_assert_eq(again.len, b->len);
	cr_assert_eq(memcmp(again.bytes, b->bytes, b->len), 0);
	cr_assert_eq(s.created_ms, MS);
	return s;
}

/* The payload is the same; so is the object, unless it is packed and zstd packs differently now. */
static void same_object(enum bw_envelope_kind kind, const struct bw_blob *b, const struct bw_buf *again)
{
	bw_auto_buf struct bw_buf raw = {.max = 0}, raw2 = {.max = 0};

	bw_buf_init(&raw, BW_ROOT_RAW_MAX);
	bw_buf_init(&raw2, BW_ROOT_RAW_MAX);
	cr_assert_eq(bw_envelope_open(kind, b->bytes, b->len, &raw, NULL), 0);
	cr_assert_eq(bw_envelope_open(kind, again->bytes, again->len, &raw2, NULL), 0);
	cr_assert_eq(raw.len, raw2.len);
	cr_assert_eq(memcmp(raw.bytes, raw2.bytes, raw.len), 0);
	if (b->bytes[6] == 0) {
		cr_assert_eq(b->len, again->len);
		cr_assert_eq(memcmp(b->bytes, again->bytes, b->len), 0);
	}
}

static struct bw_root *root(const char *dir, uint64_t version)
{
	struct bw_stream s = stream(dir);
	bw_auto_buf struct bw_buf again = {.max = 0};
	char key[BW_KEY_MAX + 1];
	struct bw_root *r = NULL;
	bool tombstone;

	bw_key_root(&s, version, key);
	bw_auto_blob struct bw_blob *b = load(dir, key);
	cr_assert_eq(bw_root_decode(&s, version, b->bytes, b->len, &r, &tombstone), 0, "%s", key);
	cr_assert_not(tombstone);
	cr_assert_eq(bw_root_may_write(r), 0);
	bw_buf_init(&again, BW_ROOT_RAW_MAX);
	cr_assert_eq(bw_root_encode(r, &again), 0);
	same_object(BW_ENVELOPE_ROOT, b, &again);
	return r;
}

Test(golden, S8_stream_json)
{
	struct bw_stream s = stream("plain");
	static const uint8_t id[16] = {0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17,
				       0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f};

	cr_assert_arr_eq(s.id, id, 16);
	cr_assert(s.format == 1 && s.block_size == 64);
	cr_assert(s.options.ranks == 2 && s.options.keep == 2 && s.options.margin == 0);
	cr_assert(s.options.grace_s == 3600 && s.options.max_ahead == 0);
	cr_assert_eq(s.options.compress, BW_COMPRESS_NONE);
	s = stream("packed");
	cr_assert(s.options.compress == BW_COMPRESS_ZSTD && s.options.compress_level == 3);
	cr_assert(s.options.ranks == 3 && s.block_size == 4096);
}

Test(golden, S8_the_first_root)
{
	struct bw_stream s = stream("packed");
	struct bw_root *r = root("packed", 1), *first;
	bw_auto_buf struct bw_buf bytes = {.max = 0};

	cr_assert_eq(bw_root_first(&s, &first), 0);
	bw_buf_init(&bytes, BW_ROOT_RAW_MAX);
	cr_assert_eq(bw_root_encode(first, &bytes), 0);
	cr_assert_eq(bw_xxh3(bytes.bytes, bytes.len), r->stored_xxh3, "made the same for ever");
	bw_root_unref(first);
	bw_root_unref(r);
}

Test(golden, S8_a_root_with_a_state_a_job_and_a_tail)
{
	struct bw_root *r = root("plain", 5);
	const struct bw_producer_entry *img = bw_root_producer(r, "img");
	const struct bw_producer_entry *tok = bw_root_producer(r, "tok");
	const struct bw_job *train = bw_root_job(r, "train");
	const struct bw_entry *e = bw_root_tail_entry(r, 1);

	cr_assert(r->commit_id[0] == 5 && r->commit_id[15] == 5 && r->time_ms == MS + 4000);
	cr_assert_eq(r->previous_xxh3, 0xbc069645c2eed281);
	cr_assert(r->first == 0 && r->swept == 0 && r->head == 3 && r->bytes == 1062 && !r->sealed);
	cr_assert(r->digest == 0xb1541cea13c6eae8 && r->tail_digest == 0);
	cr_assert(r->changes_n == 3 && r->producers_n == 2 && r->jobs_n == 1 && r->tail_n == 3);
	cr_assert_eq(r->levels_n, 0);
	cr_assert(tok->epoch == 1 && tok->owner[0] == 't' && tok->next == 2 && tok->last_step == 1);
	cr_assert(tok->last_ms == MS + 3000 && tok->last_version == 4 && tok->has_state);
	cr_assert(tok->state_seq == 0 && tok->state_epoch == 1 && tok->state_len == 20);
	cr_assert_eq(memcmp(tok->state, "{\"shard\":0,\"at\":100}", 20), 0);
	cr_assert(img->has_state && !img->state && img->state_len == 600);
	cr_assert_eq(img->state_nonce, 0x93544945154e0568);
	cr_assert_eq(img->state_xxh3, 0x65271bd8f9e5c0e4);
	cr_assert_eq(train->markers_n, 2);
	cr_assert(train->markers[0].step == 1 && train->markers[1].step == 3);
	cr_assert_str_eq(train->markers[0].text, "/ckpt/step 1, 100%");
	cr_assert_str_eq(train->markers[1].text, "");
	cr_assert(e->step == 1 && e->epoch == 1 && e->seq == 1 && e->nonce == 0xcd7d997f31f6b4ac);
	cr_assert_str_eq(e->producer, "tok");
	cr_assert(e->size == 454 && e->raw == 210 && e->before == 370 && e->footer_len == 244);
	cr_assert(e->footer_xxh3 == 0xa2f432f561075752 && e->version == 4);
	cr_assert_eq(e->time_ms, MS + 3000);
	bw_root_unref(r);
}

Test(golden, S8_every_kind_of_change)
{
	static const enum bw_change_kind kinds[][3] = {
		[3] = {BW_CHANGE_APPEND},
		[4] = {BW_CHANGE_APPEND, BW_CHANGE_FENCE},
		[5] = {BW_CHANGE_APPEND, BW_CHANGE_MARK, BW_CHANGE_MARK},
		[6] = {BW_CHANGE_TRIM},
		[7] = {BW_CHANGE_SWEEP, BW_CHANGE_UNMARK},
		[8] = {BW_CHANGE_SEAL},
	};
	static const uint32_t n[] = {[3] = 1, [4] = 2, [5] = 3, [6] = 1, [7] = 2, [8] = 1};

	for (uint64_t v = 3; v <= 8; v++) {
		struct bw_root *r = root("plain", v);

		cr_assert_eq(r->changes_n, n[v]);
		for (uint32_t i = 0; i < n[v]; i++)
			cr_assert_eq(r->changes[i].kind, kinds[v][i]);
		bw_root_unref(r);
	}
	struct bw_root *r = root("plain", 8);
	cr_assert(r->sealed && r->first == 1 && r->swept == 1 && r->head == 3);
	bw_root_unref(r);
}

/* apply says today what it said then, or readers of one release would refuse writers of another. */
Test(golden, S8_each_root_follows_from_the_one_before)
{
	struct bw_stream s = stream("plain");

	for (uint64_t v = 3; v < 8; v++) {
		struct bw_root *a = root("plain", v), *b = root("plain", v + 1);

		cr_assert_eq(bw_apply_check(&s, a, b), 0, "version %d", (int)v);
		cr_assert_eq(b->previous_xxh3, a->stored_xxh3);
		bw_root_unref(a);
		bw_root_unref(b);
	}
	s = stream("long");
	for (uint64_t v = 1; v < 3; v++) {
		struct bw_root *a = root("long", v), *b = root("long", v + 1);

		cr_assert_eq(bw_apply_check(&s, a, b), 0);
		bw_root_unref(a);
		bw_root_unref(b);
	}
}

Test(golden, S8_tombstones_and_the_hint)
{
	struct bw_stream s = stream("plain");

	for (uint64_t v = 1; v <= 2; v++) {
		bw_auto_buf struct bw_buf again = {.max = 0};
		char key[BW_KEY_MAX + 1];
		struct bw_root *r = NULL;
		bool tombstone = false;

		bw_key_root(&s, v, key);
		bw_auto_blob struct bw_blob *b = load("plain", key);
		cr_assert_eq(bw_root_decode(&s, v, b->bytes, b->len, &r, &tombstone), 0);
		cr_assert(tombstone && !r);
		bw_buf_init(&again, BW_TOMBSTONE_MAX);
		cr_assert_eq(bw_tombstone_encode(v, &again), 0);
		cr_assert_eq(again.len, b->len);
		cr_assert_eq(memcmp(again.bytes, b->bytes, b->len), 0);
	}
	bw_auto_blob struct bw_blob *hint = load("plain", "10111213/hint");
	cr_assert(hint->len == 2 && !memcmp(hint->bytes, "2\n", 2));
}

/* The object that entry e names: footer, every block, every slice. */
static void check_data(const char *dir, const struct bw_entry *e)
{
	struct bw_stream s = stream(dir);
	char key[BW_KEY_MAX + 1];
	struct bw_tgb *t;
	uint32_t footer_len;

	bw_key_data(&s, e->producer, e->epoch, e->seq, e->nonce, key);
	bw_auto_blob struct bw_blob *b = load(dir, key);
	cr_assert_eq(b->len, e->size);
	cr_assert_eq(bw_tgb_trailer(b->bytes + b->len - BW_TGB_TRAILER, b->len, &footer_len), 0);
	cr_assert_eq(footer_len, e->footer_len);
	const uint8_t *footer = b->bytes + b->len - footer_len;
	cr_assert_eq(bw_tgb_sum(footer, footer_len), e->footer_xxh3);
	cr_assert_eq(bw_tgb_decode(footer, footer_len, b->len, &t), 0);
	cr_assert_eq(bw_tgb_check(t, &s, e), 0);
	for (uint32_t rank = 0; rank < t->ranks; rank++) {
		const struct bw_slice *slice = &t->slices[rank];
		struct bw_xxh3 *sum = bw_xxh3_new();

		for (uint32_t i = slice->block0; i < slice->block0 + slice->blocks_n; i++) {
			bw_auto_blob struct bw_blob *stored =
				bw_blob_copy(b->bytes + t->blocks[i].offset, t->blocks[i].stored);
			bw_auto_blob struct bw_blob *raw = NULL;

			cr_assert_eq(bw_tgb_block_read(t, i, stored, &raw), 0);
			bw_xxh3_add(sum, raw->bytes, raw->len);
		}
		cr_assert_eq(bw_xxh3_sum(sum), slice->xxh3);
		bw_xxh3_free(sum);
	}
	bw_tgb_unref(t);
}

Test(golden, S8_data_objects)
{
	struct bw_root *r = root("plain", 8);

	check_data("plain", bw_root_tail_entry(r, 1));
	check_data("plain", bw_root_tail_entry(r, 2));
	bw_root_unref(r);
	r = root("packed", 3);
	const struct bw_entry *e = bw_root_tail_entry(r, 0);
	cr_assert(e->raw == 18000 && e->size < 7000, "two ranks of three are packed");
	check_data("packed", e);
	bw_root_unref(r);
}

/* Of many ranks: whole, and each page alone. */
Test(golden, S8_a_footer_with_pages)
{
	struct bw_stream s = stream("wide");
	struct bw_root *r = root("wide", 3);
	const struct bw_entry *e = bw_root_tail_entry(r, 0);
	char key[BW_KEY_MAX + 1];

	check_data("wide", e);
	bw_key_data(&s, e->producer, e->epoch, e->seq, e->nonce, key);
	bw_auto_blob struct bw_blob *b = load("wide", key);
	for (uint32_t rank = 0; rank < 130; rank++) {
		struct bw_tgb_page at;
		struct bw_tgb *page;

		cr_assert(bw_tgb_page(&s, e, rank, &at));
		cr_assert_eq(at.number, rank / 64);
		cr_assert_eq(bw_tgb_page_decode(b->bytes + at.offset, at.length, e, at.number, &page), 0);
		cr_assert_eq(bw_tgb_check(page, &s, e), 0);
		const struct bw_slice *slice = bw_tgb_slice(page, rank);
		cr_assert(slice->raw == rank + 1 && slice->offset == rank * (rank + 1) / 2);
		cr_assert_eq(bw_xxh3(b->bytes + slice->offset, slice->stored), slice->xxh3);
		bw_tgb_unref(page);
	}
	bw_root_unref(r);
}

/* Of each version: those of the steps it commits, as they lie in their objects. */
Test(golden, S8_roots_that_bring_footers_along)
{
	struct bw_stream s = stream("told");
	struct bw_root *r = root("told", 3);

	cr_assert_eq(r->footers_n, 1);
	bw_root_unref(r);
	r = root("told", 4);
	cr_assert_eq(r->footers_n, 2);
	for (uint64_t step = 1; step < 3; step++) {
		const struct bw_root_footer *f = &r->footers[step - 1];
		const struct bw_entry *e = bw_root_tail_entry(r, step);
		char key[BW_KEY_MAX + 1];
		struct bw_tgb *t;

		cr_assert_eq(f->step, step);
		bw_key_data(&s, e->producer, e->epoch, e->seq, e->nonce, key);
		bw_auto_blob struct bw_blob *b = load("told", key);
		cr_assert_eq(memcmp(b->bytes + b->len - f->len, f->bytes, f->len), 0);
		cr_assert_eq(bw_tgb_verify(f->bytes, f->len, &s, e, &t), 0);
		bw_tgb_unref(t);
		check_data("told", e);
	}
	bw_root_unref(r);
}

Test(golden, S8_a_state_object)
{
	struct bw_stream s = stream("plain");
	struct bw_root *r = root("plain", 8);
	const struct bw_producer_entry *p = bw_root_producer(r, "img");
	char key[BW_KEY_MAX + 1];

	bw_key_state(&s, p->name, p->state_epoch, p->state_seq, p->state_nonce, key);
	bw_auto_blob struct bw_blob *b = load("plain", key);
	cr_assert_eq(b->len, p->state_len);
	cr_assert_eq(bw_xxh3(b->bytes, b->len), p->state_xxh3);
	bw_root_unref(r);
}

static struct bw_node *node(const struct bw_stream *s, unsigned level, const struct bw_pointer *p)
{
	bw_auto_buf struct bw_buf again = {.max = 0};
	char key[BW_KEY_MAX + 1];
	struct bw_pointer same;
	struct bw_node *n;

	bw_key_node(s, level, p->first, p->last, p->hash, key);
	bw_auto_blob struct bw_blob *b = load("long", key);
	cr_assert_eq(bw_node_decode(level, p, b->bytes, b->len, &n), 0);
	bw_buf_init(&again, BW_NODE_RAW_MAX);
	if (level)
		cr_assert_eq(bw_node_encode(level, n->pointers, n->n, &again, &same), 0);
	else
		cr_assert_eq(bw_leaf_encode(n->entries, n->n, n->digest_before, &again, &same), 0);
	cr_assert_eq(same.hash, p->hash);
	same_object(BW_ENVELOPE_NODE, b, &again);
	return n;
}

Test(golden, S8_index_nodes)
{
	struct bw_stream s = stream("long");
	struct bw_root *r = root("long", 3);

	cr_assert(r->head == 256 && r->tail_n == 128 && r->levels_n == 1 && r->levels[0].n == 1);
	struct bw_node *leaf = node(&s, 0, &r->levels[0].pointers[0]);
	cr_assert(leaf->n == 128 && leaf->first == 0 && leaf->last == 127);
	cr_assert(leaf->digest_before == 0 && r->tail_digest == bw_digest_over(0, leaf->entries, leaf->n));
	cr_assert(leaf->entries[127].seq == 127 && leaf->entries[127].size == 1007);
	cr_assert_eq(leaf->entries[127].before, 127561);
	bw_root_unref(r);

	r = root("long", 68);
	cr_assert(r->head == 16641 && r->levels_n == 2 && r->levels[1].n == 2);
	cr_assert_eq(r->digest, 0xe6c8b65b774825ee);
	struct bw_node *inner = node(&s, 1, &r->levels[1].pointers[0]);
	cr_assert(inner->n == 64 && inner->first == 0 && inner->last == 8191);
	struct bw_entry e;
	struct bw_pointer p;
	unsigned level;
	cr_assert_eq(bw_index_move(r, NULL, 100, &e, &p, &level), 0);
	cr_assert_eq(level, 1);
	cr_assert_eq(bw_index_move(r, inner, 100, &e, &p, &level), 0);
	cr_assert(level == 0 && p.hash == 0xf9dc98e420b0e907);
	cr_assert_eq(bw_index_move(r, leaf, 100, &e, &p, &level), 1);
	cr_assert(e.step == 100 && e.version == 3 && e.time_ms == MS + 2000);
	bw_node_unref(inner);
	bw_node_unref(leaf);
	bw_root_unref(r);
}

/* One sum over every file, so that a golden object that was made anew does not go unnoticed. */
static uint64_t sum_folder(const char *path, unsigned *files)
{
	struct dirent **names;
	uint64_t sum = 0;
	int n = scandir(path, &names, NULL, alphasort);

	cr_assert_geq(n, 0, "%s", path);
	for (int i = 0; i < n; i++) {
		char below[4096];
		struct stat st;

		snprintf(below, sizeof(below), "%s/%s", path, names[i]->d_name);
		cr_assert_eq(stat(below, &st), 0);
		if (S_ISDIR(st.st_mode) && names[i]->d_name[0] != '.') {
			sum = sum * 31 + sum_folder(below, files);
		} else if (S_ISREG(st.st_mode)) {
			bw_auto_blob struct bw_blob *b = load("", below + strlen(BW_GOLDEN) + 1);

			sum = sum * 31 + bw_xxh3(b->bytes, b->len);
			++*files;
		}
		free(names[i]);
	}
	free(names);
	return sum;
}

Test(golden, nothing_was_changed)
{
	unsigned files = 0;
	uint64_t sum = sum_folder(BW_GOLDEN, &files);

	cr_assert_eq(files, 38);
	cr_assert_eq(sum, 0x59d40e9a8db7bf45, "%#lx", (unsigned long)sum);
}
