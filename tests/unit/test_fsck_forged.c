/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams whose objects are right each by itself, and do not belong to one history: what is left to find when every
 * checksum is fine.  The versions below the newest are tombstones, so that they contradict nothing.
 */
#include "tests/unit/fsck_world.h"

#include "manifest/tgb.h"
#include "store/base/hash.h"

struct forgery {
	/* Change the entries of a leaf, and what is said to be before them. */
	void (*leaf)(struct bw_entry entries[BW_LEAF_ENTRIES], uint64_t *digest_before);
	unsigned at;	/* of which leaf */
	void (*root)(struct bw_root *r);
};

/* Replaces the leaf, the pointer to it and all digests that follow from it. */
static void forge_leaf(struct bw_whole *w, struct bw_root *r, const struct forgery *f)
{
	struct bw_entry entries[BW_LEAF_ENTRIES];
	bw_auto_buf struct bw_buf leaf = {.max = 0};
	uint64_t before = 0;
	struct bw_pointer p;
	char key[BW_KEY_MAX + 1];

	for (unsigned i = 0; i < f->at * BW_LEAF_ENTRIES; i++) {
		struct bw_entry e = bw_whole_entry(w, i);

		before = bw_digest_next(before, &e);
	}
	for (unsigned i = 0; i < BW_LEAF_ENTRIES; i++)
		entries[i] = bw_whole_entry(w, f->at * BW_LEAF_ENTRIES + i);
	f->leaf(entries, &before);
	bw_buf_init(&leaf, BW_NODE_RAW_MAX);
	cr_assert_eq(bw_leaf_encode(entries, BW_LEAF_ENTRIES, before, &leaf, &p), 0);
	bw_key_node(&w->stream, 0, p.first, p.last, p.hash, key);
	bw_whole_put(w, key, leaf.bytes, leaf.len);
	cr_assert_eq(r->levels[0].n, f->at + 1, "the leaf is the last one");
	r->levels[0].pointers[f->at] = p;
	r->tail_digest = bw_digest_over(before, entries, BW_LEAF_ENTRIES);
	r->digest = bw_digest_over(r->tail_digest, r->tail, r->tail_n);
}

static void forge(struct bw_whole *w, const struct forgery *f)
{
	struct bw_root *r = bw_test_stored(&w->stream, w->root, NULL);
	bw_auto_buf struct bw_buf bytes = {.max = 0};
	char key[BW_KEY_MAX + 1];

	if (f->leaf)
		forge_leaf(w, r, f);
	if (f->root)
		f->root(r);
	bw_buf_init(&bytes, BW_ROOT_RAW_MAX);
	cr_assert_eq(bw_root_encode(r, &bytes), 0);
	for (uint64_t v = 1; v < r->version; v++)
		bw_test_bury(w->store, &w->stream, v);
	root_key(w, r->version, key);
	bw_whole_put(w, key, bytes.bytes, bytes.len);
	bw_root_unref(r);
}

/* ---- Leaves ----------------------------------------------------------------------------------- */

static void repeat_seq(struct bw_entry entries[BW_LEAF_ENTRIES], uint64_t *before)
{
	(void)before;
	entries[5].seq = entries[4].seq;
	entries[5].nonce = entries[4].nonce;
}

Test(fsck_forged, a_duplicate_seq_is_found)
{
	char key[BW_KEY_MAX + 1], text[800];
	struct bw_fsck_report r;
	struct bw_whole w;

	make(&w);
	bw_whole_data_key(&w, 4, key);
	forge(&w, &(struct forgery){.leaf = repeat_seq});
	bw_whole_fsck(w.store, &quick, &r);
	cr_assert_eq(r.findings_n, 3);
	cr_expect_eq(r.findings[0].check, BW_FSCK_SEQ);
	cr_expect_str_eq(r.findings[0].text, "step 5: seq 4 of img is committed a second time");
	cr_expect_eq(r.findings[1].check, BW_FSCK_DATA_SHARED);
	snprintf(text, sizeof(text), "step 5: %s is the object of step 4 as well", key);
	cr_expect_str_eq(r.findings[1].text, text);
	cr_expect_eq(r.findings[2].check, BW_FSCK_SEQ);
	cr_expect_str_eq(r.findings[2].text, "step 6: seq 6 of img where its seq 5 must follow");
	cr_expect_eq(r.sums[BW_KEY_DATA][BW_FSCK_LOST].objects, 1);
	bw_fsck_report_done(&r);
	end(&w);
}

static void fall_back(struct bw_entry entries[BW_LEAF_ENTRIES], uint64_t *before)
{
	(void)before;
	for (unsigned i = 100; i < BW_LEAF_ENTRIES - 1; i++)
		entries[i].epoch = 2;
	entries[BW_LEAF_ENTRIES - 1].epoch = 1;
}

Test(fsck_forged, an_epoch_that_falls_is_found)
{
	struct bw_fsck_report r;
	struct bw_whole w;

	make(&w);
	forge(&w, &(struct forgery){.leaf = fall_back});
	bw_whole_fsck(w.store, &quick, &r);
	cr_expect_eq(r.counts[BW_FSCK_SEQ], 1);
	cr_expect_str_eq(r.findings[0].text, "step 127: epoch 1 of img after its epoch 2");
	bw_fsck_report_done(&r);
	end(&w);
}

static void other_history(struct bw_entry entries[BW_LEAF_ENTRIES], uint64_t *before)
{
	(void)entries;
	*before ^= 0xff;
}

Test(fsck_forged, a_leaf_of_another_history_is_found)
{
	struct bw_fsck_report r;
	struct bw_whole w;

	make(&w);
	bw_whole_append(&w, "img", 128, 0);
	forge(&w, &(struct forgery){.leaf = other_history, .at = 1});
	bw_whole_fsck(w.store, &quick, &r);
	cr_assert_eq(r.findings_n, 1);
	cr_expect_eq(r.findings[0].check, BW_FSCK_INDEX);
	cr_expect_eq(r.findings[0].first, 128);
	cr_expect_eq(r.findings[0].last, 255);
	cr_expect(strstr(r.findings[0].text, " begins with another digest than the steps before it end with"));
	bw_fsck_report_done(&r);
	end(&w);
}

static void other_sums(struct bw_entry entries[BW_LEAF_ENTRIES], uint64_t *before)
{
	(void)before;
	for (unsigned i = 0; i < BW_LEAF_ENTRIES; i++)
		entries[i].before += 7;
}

Test(fsck_forged, entries_that_do_not_follow_are_found)
{
	struct bw_fsck_report r;
	struct bw_whole w;

	make(&w);
	bw_whole_append(&w, "img", 128, 0);
	forge(&w, &(struct forgery){.leaf = other_sums, .at = 1});
	bw_whole_fsck(w.store, &quick, &r);
	cr_assert_eq(r.findings_n, 2);
	cr_expect_eq(r.counts[BW_FSCK_INDEX], 2);
	cr_expect_str_eq(r.findings[0].text, "step 128: the entry does not follow from that of step 127");
	cr_expect_str_eq(r.findings[1].text, "step 256: the entry does not follow from that of step 255");
	bw_fsck_report_done(&r);
	end(&w);
}

static void stranger(struct bw_entry entries[BW_LEAF_ENTRIES], uint64_t *before)
{
	(void)before;
	snprintf(entries[0].producer, sizeof(entries[0].producer), "nobody");
}

Test(fsck_forged, an_unknown_producer_is_found)
{
	struct bw_fsck_report r;
	struct bw_whole w;

	make(&w);
	forge(&w, &(struct forgery){.leaf = stranger});
	bw_whole_fsck(w.store, &quick, &r);
	cr_expect_eq(r.counts[BW_FSCK_INDEX], 1);
	cr_expect_str_eq(r.findings[0].text,
			 "step 0: committed by nobody, which the newest root does not know");
	/* And img begins with seq 1. */
	cr_expect_eq(r.counts[BW_FSCK_SEQ], 1);
	cr_expect_eq(r.counts[BW_FSCK_DATA_MISSING], 1);
	cr_expect_eq(r.findings_n, 3);
	bw_fsck_report_done(&r);
	end(&w);
}

/* ---- Roots ------------------------------------------------------------------------------------ */

static void forget_one(struct bw_root *r)
{
	for (uint32_t i = 0; i < r->producers_n; i++)
		if (!strcmp(r->producers[i].name, "brief"))
			r->producers[i].next--;
}

/* Nothing of it is in the tail, which a root checks by itself. */
Test(fsck_forged, a_root_that_forgets_a_batch_is_found)
{
	struct bw_store *mem;
	struct bw_whole w;

	cr_assert_eq(bw_store_mem_new(&mem), 0);
	bw_whole_init(&w, mem);
	bw_whole_fence(&w, "brief", 1);
	bw_whole_fence(&w, "img", 1);
	bw_whole_append(&w, "brief", 3, 0);
	bw_whole_append(&w, "img", 256, 0);
	forge(&w, &(struct forgery){.root = forget_one});
	check_one(&w, &quick, BW_FSCK_SEQ, 1, 0, "",
		  "behind the steps of brief comes its seq 3 of epoch 1, but the newest root says seq 2 of epoch 1");
	end(&w);
}

static void other_tail(struct bw_root *r)
{
	r->tail_digest ^= 0xff;
	r->digest = bw_digest_over(r->tail_digest, r->tail, r->tail_n);
}

Test(fsck_forged, a_tail_of_another_history_is_found)
{
	struct bw_whole w;

	make(&w);
	forge(&w, &(struct forgery){.root = other_tail});
	check_one(&w, &quick, BW_FSCK_INDEX, 128, 299, "",
		  "steps 128-299: the tail of the newest root begins with another digest than the steps before it end with");
	end(&w);
}

static void misplace(struct bw_root *r)
{
	for (uint32_t i = 0; i < r->producers_n; i++)
		if (!strcmp(r->producers[i].name, "brief"))
			r->producers[i].last_step = 1;
}

Test(fsck_forged, a_root_that_misplaces_a_batch_is_found)
{
	struct bw_store *mem;
	struct bw_whole w;

	cr_assert_eq(bw_store_mem_new(&mem), 0);
	bw_whole_init(&w, mem);
	bw_whole_fence(&w, "brief", 1);
	bw_whole_fence(&w, "img", 1);
	bw_whole_append(&w, "brief", 3, 0);
	bw_whole_append(&w, "img", 256, 0);
	forge(&w, &(struct forgery){.root = misplace});
	check_one(&w, &quick, BW_FSCK_SEQ, 2, 2, "",
		  "step 2: the last step of brief, which is step 1 for the newest root");
	end(&w);
}

/* ---- Objects ---------------------------------------------------------------------------------- */

/* What the entry says of the footer is right, and it is the footer of another batch. */
Test(fsck_forged, a_committed_object_of_another_batch_is_found)
{
	bw_auto_blob struct bw_blob *blob = NULL;
	struct bw_change c[2];
	struct bw_whole w;
	char key[BW_KEY_MAX + 1];

	make(&w);
	c[0] = bw_whole_upload(&w, "img", 1, 1, 158, 0);
	c[1] = bw_whole_upload(&w, "img", 1, 1, 159, 0);
	bw_key_data(&w.stream, "img", 1, 158, c[0].nonce, key);
	cr_assert_eq(bw_test_get(w.store, key, &blob), BW_OK);
	bw_key_data(&w.stream, "img", 1, 159, c[1].nonce, key);
	bw_whole_put(&w, key, blob->bytes, blob->len);
	c[1].footer_xxh3 = c[0].footer_xxh3;
	bw_whole_no_footer(&c[1]);
	bw_whole_commit(&w, c, 2);
	check_one(&w, &thorough, BW_FSCK_DATA_FOOTER, 301, 301, key,
		  "step 301: @ is not what was committed: its footer is damaged or that of another batch");
	bw_change_done(&c[0]);
	bw_change_done(&c[1]);
	end(&w);
}

/* Blocks are right, and the sum over the slice is not. */
Test(fsck_forged, a_wrong_sum_of_a_slice_is_found)
{
	bw_auto_blob struct bw_blob *blob = NULL, *other = NULL;
	struct bw_whole w;
	char key[BW_KEY_MAX + 1];

	make(&w);
	struct bw_change c = bw_whole_upload(&w, "img", 1, 1, 158, 0);

	bw_key_data(&w.stream, "img", 1, 158, c.nonce, key);
	cr_assert_eq(bw_test_get(w.store, key, &blob), BW_OK);
	other = bw_blob_copy(blob->bytes, blob->len);
	uint8_t *footer = other->bytes + c.size - c.footer_len, *trailer = other->bytes + c.size - BW_TGB_TRAILER;

	footer[120 + 2 * 24 + 16] ^= 1;	/* the sum of rank 2 (docs/format.md) */
	uint64_t sum = bw_xxh3(footer, c.footer_len - BW_TGB_TRAILER);

	for (unsigned i = 0; i < 8; i++)
		trailer[i] = (uint8_t)(sum >> (8 * i));
	c.footer_xxh3 = bw_xxh3(footer, c.footer_len);
	bw_whole_no_footer(&c);
	bw_whole_put(&w, key, other->bytes, other->len);
	bw_whole_commit(&w, &c, 1);
	check_one(&w, &thorough, BW_FSCK_DATA_BLOCK, 300, 300, key,
		  "step 300: @ is damaged: the checksum of the slice of rank 2");
	bw_change_done(&c);
	end(&w);
}
