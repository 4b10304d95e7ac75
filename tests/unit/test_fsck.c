/* SPDX-License-Identifier: Apache-2.0 */
/* What fsck says of a damaged stream: each kind of damage is found, and nothing else. */
#include "manifest/fsck_priv.h"
#include "tests/unit/fsck_world.h"

Test(fsck, a_whole_stream_is_clean)
{
	struct bw_fsck_report r;
	struct bw_whole w;

	make(&w);
	bw_whole_fsck(w.store, &thorough, &r);
	bw_whole_tell(&r);
	cr_expect_eq(r.findings_n, 0);
	cr_expect_eq(r.head, 300);
	cr_expect_eq(r.steps, 300);
	cr_expect_eq(r.versions, w.root->version);
	cr_expect_eq(r.blocks, 300 * BW_WHOLE_RANKS);
	cr_expect_eq(r.states, 1);
	cr_expect_eq(r.sums[BW_KEY_DATA][BW_FSCK_LIVE].objects, 300);
	cr_expect_eq(r.sums[BW_KEY_DATA][BW_FSCK_LIVE].bytes, w.root->bytes);
	cr_expect_eq(r.bytes_read, w.root->bytes);
	cr_expect_eq(r.sums[BW_KEY_STATE][BW_FSCK_LIVE].objects, 1);
	cr_expect_eq(r.sums[BW_KEY_STATE][BW_FSCK_RECLAIMED].objects, 3);
	bw_fsck_report_done(&r);
	end(&w);
}

/* ---- The kinds of damage; a duplicate seq is in test_fsck_forged.c ---------------------------------------------------------------------- */

Test(fsck, a_truncated_object_has_the_wrong_size)
{
	char key[BW_KEY_MAX + 1], text[200];
	struct bw_whole w;

	make(&w);
	bw_whole_data_key(&w, 7, key);
	uint64_t size = bw_whole_entry(&w, 7).size;

	bw_whole_cut(&w, key, size - 1);
	snprintf(text, sizeof(text), "step 7: @ has %" PRIu64 " bytes, not %" PRIu64, size - 1, size);
	check_one(&w, &quick, BW_FSCK_DATA_SIZE, 7, 7, key, text);
	check_one(&w, &thorough, BW_FSCK_DATA_SIZE, 7, 7, key, text);	/* once */
	end(&w);
}

Test(fsck, an_object_of_the_wrong_size_is_found)
{
	char key[BW_KEY_MAX + 1], text[200];
	struct bw_whole w;

	make(&w);
	bw_whole_data_key(&w, 299, key);
	bw_whole_put(&w, key, "much longer than it was", 23);
	snprintf(text, sizeof(text), "step 299: @ has 23 bytes, not %" PRIu64, bw_whole_entry(&w, 299).size);
	check_one(&w, &quick, BW_FSCK_DATA_SIZE, 299, 299, key, text);
	end(&w);
}

Test(fsck, a_flipped_bit_of_a_block_is_found_with_data)
{
	char key[BW_KEY_MAX + 1];
	struct bw_fsck_report r;
	struct bw_whole w;

	make(&w);
	bw_whole_data_key(&w, 130, key);
	bw_whole_flip(&w, key, 40);	/* the second of four slices of 33 bytes */
	bw_whole_fsck(w.store, &quick, &r);
	cr_expect_eq(r.findings_n, 0);
	bw_fsck_report_done(&r);
	bw_whole_fsck(w.store, &thorough, &r);
	cr_assert_eq(r.findings_n, 1);
	cr_expect_eq(r.findings[0].check, BW_FSCK_DATA_BLOCK);
	cr_expect_eq(r.findings[0].first, 130);
	cr_expect_eq(r.findings[0].last, 130);
	cr_expect_str_eq(r.findings[0].key, key);
	cr_expect(strstr(r.findings[0].text, "step 130: "));
	cr_expect(strstr(r.findings[0].text, "is damaged: block 1 (rank 1, "), "%s", r.findings[0].text);
	cr_expect(strstr(r.findings[0].text, " has checksum "));
	bw_fsck_report_done(&r);
	end(&w);
}

Test(fsck, a_flipped_bit_of_a_footer_is_found_with_data)
{
	char key[BW_KEY_MAX + 1];
	struct bw_whole w;

	make(&w);
	bw_whole_data_key(&w, 0, key);
	bw_whole_flip(&w, key, bw_whole_entry(&w, 0).size - 30);
	check_one(&w, &thorough, BW_FSCK_DATA_FOOTER, 0, 0, key,
		  "step 0: @ is not what was committed: its footer is damaged or that of another batch");
	end(&w);
}

Test(fsck, a_flipped_bit_of_a_root_is_found)
{
	char key[BW_KEY_MAX + 1];
	struct bw_whole w;

	make(&w);
	root_key(&w, 5, key);
	bw_whole_flip(&w, key, 100);
	check_one(&w, &quick, BW_FSCK_ROOT, 1, 0, key, "@ is damaged");
	end(&w);
}

Test(fsck, a_flipped_bit_of_the_newest_root_hurts_every_step)
{
	char key[BW_KEY_MAX + 1];
	struct bw_fsck_report r;
	struct bw_whole w;

	make(&w);
	root_key(&w, w.root->version, key);
	bw_whole_flip(&w, key, 100);
	bw_whole_fsck(w.store, &quick, &r);
	/* The last version brought four steps; what is there for them may still be committed. */
	assert_only(&r, BW_FSCK_NEWEST, 0, 295, key,
		    "steps 0-295: @, the newest root, is damaged: nobody can open the stream");
	cr_expect_eq(r.sums[BW_KEY_DATA][BW_FSCK_FLIGHT].objects, 4);
	bw_fsck_report_done(&r);
	end(&w);
}

Test(fsck, a_missing_tgb_is_found)
{
	char key[BW_KEY_MAX + 1];
	struct bw_whole w;

	make(&w);
	bw_whole_data_key(&w, 131, key);
	bw_whole_delete(&w, key);
	check_one(&w, &quick, BW_FSCK_DATA_MISSING, 131, 131, key, "step 131: the data object @ is missing");
	check_one(&w, &thorough, BW_FSCK_DATA_MISSING, 131, 131, key, "step 131: the data object @ is missing");
	end(&w);
}

Test(fsck, a_missing_node_hurts_the_steps_below_it)
{
	char key[BW_KEY_MAX + 1];
	struct bw_fsck_report r;
	struct bw_whole w;

	make(&w);
	bw_whole_find(&w, "/index/0/0-127-", key);
	bw_whole_delete(&w, key);
	bw_whole_fsck(w.store, &thorough, &r);
	assert_only(&r, BW_FSCK_INDEX_MISSING, 0, 127, key, "steps 0-127: the index node @ is missing");
	/* Nothing is called garbage that the node may have named. */
	cr_expect_eq(r.sums[BW_KEY_DATA][BW_FSCK_UNJUDGED].objects, 128);
	cr_expect_eq(r.sums[BW_KEY_DATA][BW_FSCK_LIVE].objects, 172);
	cr_expect_eq(r.sums[BW_KEY_DATA][BW_FSCK_LOST].objects, 0);
	bw_fsck_report_done(&r);
	end(&w);
}

Test(fsck, a_damaged_node_hurts_the_steps_below_it)
{
	char key[BW_KEY_MAX + 1];
	struct bw_whole w;

	make(&w);
	bw_whole_find(&w, "/index/0/0-127-", key);
	bw_whole_flip(&w, key, 300);
	check_one(&w, &quick, BW_FSCK_INDEX_DAMAGED, 0, 127, key, "steps 0-127: the index node @ is damaged");
	end(&w);
}

/* Puts what version v would be with these changes in its place. */
static void forge(struct bw_whole *w, uint64_t version, const struct bw_change *changes, uint32_t n)
{
	bw_auto_blob struct bw_blob *blob = NULL;
	bw_auto_buf struct bw_buf bytes = {.max = 0};
	struct bw_commit by = {.id = {9, 9, 9}};
	struct bw_root *base, *made;
	struct bw_new_nodes nodes;
	char key[BW_KEY_MAX + 1];
	bool tombstone;

	root_key(w, version - 1, key);
	cr_assert_eq(bw_test_get(w->store, key, &blob), BW_OK);
	cr_assert_eq(bw_root_decode(&w->stream, version - 1, blob->bytes, blob->len, &base, &tombstone), 0);
	cr_assert_eq(bw_apply(&w->stream, base, changes, n, &by, &made, &nodes), 0);
	bw_buf_init(&bytes, BW_ROOT_RAW_MAX);
	cr_assert_eq(bw_root_encode(made, &bytes), 0);
	root_key(w, version, key);
	bw_whole_put(w, key, bytes.bytes, bytes.len);
	bw_root_unref(base);
	bw_root_unref(made);
	bw_new_nodes_done(&nodes);
}

Test(fsck, a_forged_root_breaks_the_chain)
{
	struct bw_change c = bw_test_change(BW_CHANGE_JOB, "forged");
	char key[BW_KEY_MAX + 1];
	struct bw_whole w;

	make(&w);
	/* Version 6 made the job; 7 appended steps 20 to 147. */
	forge(&w, 6, &c, 1);
	root_key(&w, 7, key);
	check_one(&w, &quick, BW_FSCK_HISTORY, 20, 147, key,
		  "steps 20-147: @ was built on another version 6 than the one that is there");
	end(&w);
}

Test(fsck, a_newest_root_that_says_more_than_its_changes_is_found)
{
	char key[BW_KEY_MAX + 1];
	struct bw_root *r;
	bw_auto_buf struct bw_buf bytes = {.max = 0};
	struct bw_whole w;

	make(&w);
	/* Every sum is right; but nobody sealed it. */
	r = bw_test_stored(&w.stream, w.root, NULL);
	r->sealed = true;
	bw_buf_init(&bytes, BW_ROOT_RAW_MAX);
	cr_assert_eq(bw_root_encode(r, &bytes), 0);
	root_key(&w, r->version, key);
	bw_whole_put(&w, key, bytes.bytes, bytes.len);
	bw_root_unref(r);
	check_one(&w, &quick, BW_FSCK_HISTORY, 296, 299, key,
		  "steps 296-299: @ does not follow from version 9 by the changes that it names");
	end(&w);
}

Test(fsck, a_gap_in_versions_is_found)
{
	char key[BW_KEY_MAX + 1], first[BW_KEY_MAX + 1];
	struct bw_whole w;

	make(&w);
	for (uint64_t v = 4; v <= 6; v++) {
		root_key(&w, v, key);
		bw_whole_delete(&w, key);
	}
	root_key(&w, 4, first);
	check_one(&w, &quick, BW_FSCK_VERSIONS, 1, 0, first,
		  "versions 4-6 are gone: names that are free again, from @ on");
	end(&w);
}

Test(fsck, a_gap_that_hides_the_newest_is_found)
{
	char key[BW_KEY_MAX + 1];
	struct bw_fsck_report r;
	struct bw_whole w;

	make(&w);
	/* Now an open finds version 8, and the next commit would be a second version 9. */
	root_key(&w, 9, key);
	bw_whole_delete(&w, key);
	bw_whole_fsck(w.store, &quick, &r);
	assert_only(&r, BW_FSCK_VERSIONS, 1, 0, key, "version 9 is gone: a name that is free again (@)");
	cr_expect_eq(r.version, 10);
	cr_expect_eq(r.head, 300);
	bw_fsck_report_done(&r);
	end(&w);
}

Test(fsck, a_freed_name_below_tombstones_is_found)
{
	char key[BW_KEY_MAX + 1];
	struct bw_fsck_report r;
	struct bw_whole w;

	make(&w);
	for (uint64_t v = 1; v <= 5; v++)
		bw_test_bury(w.store, &w.stream, v);
	bw_whole_fsck(w.store, &quick, &r);
	cr_expect_eq(r.findings_n, 0);
	cr_expect_eq(r.tombstones, 5);
	cr_expect_eq(r.versions, w.root->version - 5);
	bw_fsck_report_done(&r);
	root_key(&w, 1, key);
	bw_whole_delete(&w, key);
	check_one(&w, &quick, BW_FSCK_VERSIONS, 1, 0, key,
		  "version 1 is gone: a name that is free again (@)");
	end(&w);
}

/* ---- What is not of the stream ---------------------------------------------------------------- */

static void put_stream_below(struct bw_whole *w, const char *dir, uint8_t id)
{
	bw_auto_buf struct bw_buf json = {.max = 0};
	struct bw_stream s = w->stream;
	char key[BW_KEY_MAX + 1], bytes[BW_STREAM_JSON_MAX];

	s.id[0] = id;
	bw_buf_init(&json, BW_STREAM_JSON_MAX);
	cr_assert_eq(bw_stream_encode(&s, &json), 0);
	memcpy(bytes, json.bytes, json.len);
	snprintf(key, sizeof(key), "%s" BW_STREAM_KEY, dir);
	bw_whole_put(w, key, bytes, json.len);
}

Test(fsck, a_stream_below_is_a_warning_and_its_objects_are_not_foreign)
{
	struct bw_fsck_report r;
	struct bw_whole w;

	make(&w);
	/* Names before its stream.json and after it, some like those of this stream. */
	bw_whole_put(&w, "a/b/10111213/manifest/00000000000000000001", "root", 4);
	bw_whole_put(&w, "a/b/.anchor", "x", 1);
	bw_whole_put(&w, "a/b/zz/stream.json", "of nothing", 10);
	put_stream_below(&w, "a/b/", 7);
	bw_whole_fsck(w.store, &quick, &r);
	assert_only(&r, BW_FSCK_NESTED, 1, 0, "a/b/stream.json", "@: a stream of its own lies below this one");
	cr_expect_eq(bw_fsck_wrong(&r), 0);
	cr_expect_eq(r.sums[BW_KEY_FOREIGN][BW_FSCK_OTHER].objects, 4);
	bw_fsck_report_done(&r);
	/* What lies beside it is foreign, as is the stream.json of something else. */
	bw_whole_put(&w, "a/c", "mine", 4);
	bw_whole_put(&w, "a/stream.json", "of nothing", 10);
	bw_whole_put(&w, "a/b-2/x", "mine", 4);
	put_stream_below(&w, "c/", 8);
	bw_whole_fsck(w.store, &quick, &r);
	cr_expect_eq(r.counts[BW_FSCK_NESTED], 2);
	cr_expect_eq(r.counts[BW_FSCK_FOREIGN], 3);
	cr_expect_eq(r.findings_n, 5);
	bw_fsck_report_done(&r);
	end(&w);
}

Test(fsck, of_many_foreign_directories_not_each_is_looked_into)
{
	struct bw_store_stats stats = {0};
	struct bw_fsck_report r;
	struct bw_store *counted;
	char key[BW_KEY_MAX + 1];
	struct bw_whole w;

	make(&w);
	for (unsigned i = 0; i < 2000; i++) {
		snprintf(key, sizeof(key), "old/%u/x", i);
		bw_whole_put(&w, key, "mine", 4);
	}
	cr_assert_eq(bw_filter_stats_new(w.store, &stats, &counted), 0);
	bw_whole_fsck(counted, &quick, &r);
	cr_expect_eq(r.counts[BW_FSCK_FOREIGN], 2000);
	cr_expect_lt(bw_stats_requests(&stats, BW_OP_GET), 1500);
	bw_fsck_report_done(&r);
	w.store = counted;
	end(&w);
}

Test(fsck, a_foreign_object_is_found)
{
	char key[BW_KEY_MAX + 1];
	struct bw_fsck_report r;
	struct bw_whole w;

	make(&w);
	bw_whole_put(&w, "notes.txt", "mine", 4);
	check_one(&w, &quick, BW_FSCK_FOREIGN, 1, 0, "notes.txt",
		  "@ (4 bytes) is no object of this stream");
	bw_whole_delete(&w, "notes.txt");
	/* The right folder, and no name that this stream gives. */
	bw_whole_data_key(&w, 3, key);
	key[strlen(key) - 1] = 'g';
	bw_whole_put(&w, key, "mine", 4);
	bw_whole_fsck(w.store, &quick, &r);
	assert_only(&r, BW_FSCK_FOREIGN, 1, 0, key, "@ (4 bytes) is no object of this stream");
	cr_expect_eq(r.sums[BW_KEY_FOREIGN][BW_FSCK_OTHER].bytes, 4);
	bw_fsck_report_done(&r);
	end(&w);
}

Test(fsck, a_missing_state_is_found)
{
	char key[BW_KEY_MAX + 1];
	struct bw_whole w;

	make(&w);
	const struct bw_producer_entry *p = bw_root_producer(w.root, "tok");

	bw_key_state(&w.stream, "tok", p->state_epoch, p->state_seq, p->state_nonce, key);
	bw_whole_delete(&w, key);
	check_one(&w, &quick, BW_FSCK_STATE_MISSING, 1, 0, key,
		  "the state object @ of tok is missing: it cannot resume behind its seq 141");
	end(&w);
}

Test(fsck, a_damaged_state_is_found)
{
	char key[BW_KEY_MAX + 1];
	struct bw_whole w;

	make(&w);
	const struct bw_producer_entry *p = bw_root_producer(w.root, "tok");

	bw_key_state(&w.stream, "tok", p->state_epoch, p->state_seq, p->state_nonce, key);
	bw_whole_flip(&w, key, 17);
	check_one(&w, &quick, BW_FSCK_STATE_DAMAGED, 1, 0, key,
		  "the state object @ of tok is damaged: it cannot resume behind its seq 141");
	bw_whole_cut(&w, key, 2000);
	check_one(&w, &quick, BW_FSCK_STATE_DAMAGED, 1, 0, key,
		  "the state object @ of tok has 2000 bytes, not 3000");
	end(&w);
}

Test(fsck, swapped_objects_are_found_with_data)
{
	char a[BW_KEY_MAX + 1], b[BW_KEY_MAX + 1], text[800];
	struct bw_fsck_report r;
	struct bw_whole w;

	make(&w);
	bw_whole_data_key(&w, 21, a);
	bw_whole_data_key(&w, 290, b);
	bw_whole_swap(&w, a, b);
	bw_whole_fsck(w.store, &quick, &r);
	cr_expect_eq(r.findings_n, 0);	/* they are of one size */
	bw_fsck_report_done(&r);
	bw_whole_fsck(w.store, &thorough, &r);
	cr_assert_eq(r.findings_n, 2);
	for (unsigned i = 0; i < 2; i++) {
		const struct bw_fsck_finding *f = &r.findings[i];

		cr_expect_eq(f->check, BW_FSCK_DATA_FOOTER);
		cr_expect(f->first == f->last && (f->first == 21 || f->first == 290));
		snprintf(text, sizeof(text),
			 "step %" PRIu64
			 ": %s is not what was committed: its footer is damaged or that of another batch",
			 f->first, f->first == 21 ? a : b);
		cr_expect_str_eq(f->text, text);
	}
	cr_expect_neq(r.findings[0].first, r.findings[1].first);
	bw_fsck_report_done(&r);
	end(&w);
}

Test(fsck, swapped_roots_and_nodes_are_found)
{
	char a[BW_KEY_MAX + 1], b[BW_KEY_MAX + 1];
	struct bw_fsck_report r;
	struct bw_whole w;

	make(&w);
	root_key(&w, 3, a);
	root_key(&w, 4, b);
	bw_whole_swap(&w, a, b);
	bw_whole_fsck(w.store, &quick, &r);
	cr_assert_eq(r.findings_n, 2);
	cr_expect_eq(r.counts[BW_FSCK_ROOT], 2);
	cr_expect_str_eq(r.findings[0].key, a);
	cr_expect_str_eq(r.findings[1].key, b);
	bw_fsck_report_done(&r);
	bw_whole_swap(&w, a, b);
	bw_whole_find(&w, "/index/0/0-127-", a);
	bw_whole_data_key(&w, 0, b);
	bw_whole_swap(&w, a, b);
	bw_whole_fsck(w.store, &quick, &r);
	/* The node is no node, and the steps below it cannot be told. */
	assert_only(&r, BW_FSCK_INDEX_DAMAGED, 0, 127, a, "steps 0-127: the index node @ is damaged");
	bw_fsck_report_done(&r);
	end(&w);
}

/* Its memory is bounded, however many objects are gone. */
Test(fsck, steps_that_need_no_second_look_are_so_many)
{
	struct fsck f = {.bad = NULL};

	for (uint64_t step = 0; step < BW_FSCK_BAD_MAX + UINT64_C(10); step++)
		cr_assert_eq(fsck_bad_add(&f, step), 0);
	fsck_bad_sort(&f);
	cr_assert_eq(f.bad_cap, BW_FSCK_BAD_MAX);
	cr_assert(fsck_bad_has(&f, 0) && fsck_bad_has(&f, BW_FSCK_BAD_MAX - 1));
	cr_assert_not(fsck_bad_has(&f, BW_FSCK_BAD_MAX));
	free(f.bad);
}
