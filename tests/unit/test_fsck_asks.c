/* SPDX-License-Identifier: Apache-2.0 */
/* What fsck says besides damage, and how it asks: warnings, classes, bounds, parts, stores that fail. */
#include "tests/unit/fsck_world.h"

#include "manifest/envelope.h"

/* ---- What else is said ------------------------------------------------------------------------ */

Test(fsck_asks, a_marker_below_first_is_found)
{
	bw_auto_buf struct bw_buf bytes = {.max = 0};
	struct bw_whole w;
	char key[BW_KEY_MAX + 1];

	make(&w);
	struct bw_root *r = bw_test_stored(&w.stream, w.root, NULL);
	struct bw_marker *m = calloc(1, sizeof(*m));

	*m = (struct bw_marker){.step = 3, .text = strdup("")};
	free(r->jobs[0].markers);
	r->jobs[0].markers = m;
	r->jobs[0].markers_n = 1;
	r->first = 8;
	bw_buf_init(&bytes, BW_ROOT_RAW_MAX);
	cr_assert_eq(bw_root_encode(r, &bytes), 0);
	for (uint64_t v = 1; v < r->version; v++)
		bw_test_bury(w.store, &w.stream, v);
	root_key(&w, r->version, key);
	bw_whole_put(&w, key, bytes.bytes, bytes.len);
	bw_root_unref(r);
	check_one(&w, &quick, BW_FSCK_MARKER, 3, 7, "",
		  "steps 3-7: the marker of train at step 3 is below the oldest step that is kept, 8");
	end(&w);
}

Test(fsck_asks, a_hint_is_only_warned_of)
{
	char key[BW_KEY_MAX + 1];
	struct bw_fsck_report r;
	struct bw_whole w;

	make(&w);
	bw_key_hint(&w.stream, key);
	bw_whole_put(&w, key, "7\n", 2);
	bw_whole_fsck(w.store, &quick, &r);
	cr_expect_eq(r.findings_n, 0);
	bw_fsck_report_done(&r);
	bw_whole_put(&w, key, "700\n", 4);
	bw_whole_fsck(w.store, &quick, &r);
	assert_only(&r, BW_FSCK_HINT, 1, 0, key, "@ says version 700, which is not there: opening takes longer");
	cr_expect_eq(bw_fsck_wrong(&r), 0);
	cr_expect_eq(bw_fsck_warnings(&r), 1);
	bw_fsck_report_done(&r);
	bw_whole_put(&w, key, "soon\n", 5);
	check_one(&w, &quick, BW_FSCK_HINT, 1, 0, key,
		  "@ is no version: opening takes longer until it is written again");
	end(&w);
}

Test(fsck_asks, many_findings_are_counted)
{
	char key[BW_KEY_MAX + 1];
	struct bw_fsck_report r;
	struct bw_whole w;

	make(&w);
	for (uint64_t step = 0; step < 150; step++) {
		bw_whole_data_key(&w, step, key);
		bw_whole_delete(&w, key);
	}
	bw_whole_fsck(w.store, &quick, &r);
	cr_assert_eq(r.findings_n, BW_FSCK_TOLD);
	cr_expect_eq(r.counts[BW_FSCK_DATA_MISSING], 150);
	for (uint64_t i = 0; i < BW_FSCK_TOLD; i++)
		cr_expect_eq(r.findings[i].first, i);
	bw_fsck_report_done(&r);
	end(&w);
}

Test(fsck_asks, a_root_among_tombstones_is_warned_of)
{
	char key[BW_KEY_MAX + 1];
	struct bw_whole w;

	make(&w);
	bw_test_bury(w.store, &w.stream, 1);
	bw_test_bury(w.store, &w.stream, 3);
	root_key(&w, 3, key);
	check_one(&w, &quick, BW_FSCK_TOMBSTONE, 1, 0, key,
		  "@ is a tombstone above version 2, which is still a root");
	check_one(&w, &thorough, BW_FSCK_TOMBSTONE, 1, 0, key,
		  "@ is a tombstone above version 2, which is still a root");
	end(&w);
}

Test(fsck_asks, a_root_cut_to_the_size_of_a_tombstone_is_damaged)
{
	char key[BW_KEY_MAX + 1];
	struct bw_whole w;

	make(&w);
	root_key(&w, 3, key);
	bw_whole_cut(&w, key, 40);
	check_one(&w, &quick, BW_FSCK_ROOT, 1, 0, key, "@ is damaged");
	end(&w);
}

Test(fsck_asks, the_newest_may_not_be_a_tombstone)
{
	struct bw_fsck_report r;
	struct bw_whole w;

	make(&w);
	bw_test_bury(w.store, &w.stream, w.root->version);
	bw_whole_fsck(w.store, &quick, &r);
	cr_assert_eq(r.findings_n, 1);
	cr_expect_eq(r.findings[0].check, BW_FSCK_NEWEST);
	cr_expect_str_eq(r.findings[0].text, "the newest version is a tombstone: nobody can open the stream");
	cr_expect_eq(r.head, 296);
	bw_fsck_report_done(&r);
	end(&w);
}

/* The payload of version v with one text replaced by another. */
static void rewrite(struct bw_whole *w, uint64_t v, const char *from, const char *to)
{
	bw_auto_blob struct bw_blob *blob = NULL;
	bw_auto_buf struct bw_buf raw = {.max = 0}, sealed = {.max = 0}, edited = {.max = 0};
	char key[BW_KEY_MAX + 1];

	root_key(w, v, key);
	cr_assert_eq(bw_test_get(w->store, key, &blob), BW_OK);
	bw_buf_init(&raw, BW_ROOT_RAW_MAX);
	bw_buf_init(&edited, BW_ROOT_RAW_MAX);
	bw_buf_init(&sealed, BW_ROOT_RAW_MAX);
	cr_assert_eq(bw_envelope_open(BW_ENVELOPE_ROOT, blob->bytes, blob->len, &raw, NULL), 0);
	const char *text = bw_buf_text(&raw), *at = strstr(text, from);

	cr_assert(at);
	bw_buf_add(&edited, text, (size_t)(at - text));
	bw_buf_str(&edited, to);
	bw_buf_str(&edited, at + strlen(from));
	cr_assert_eq(bw_envelope_seal(BW_ENVELOPE_ROOT, edited.bytes, edited.len, &sealed), 0);
	bw_whole_put(w, key, sealed.bytes, sealed.len);
}

/* What cannot be checked is not clean. */
Test(fsck_asks, what_a_newer_release_wrote_is_not_called_clean)
{
	struct bw_fsck_report r;
	struct bw_whole w;
	char key[BW_KEY_MAX + 1];

	make(&w);
	root_key(&w, w.root->version, key);
	rewrite(&w, w.root->version, "\"features_read\":[]", "\"features_read\":[\"later\"]");
	check_one(&w, &quick, BW_FSCK_NEWER, 1, 0, key,
		  "@, the newest root, was written by a newer release: it cannot be checked");
	end(&w);
	make(&w);
	rewrite(&w, w.root->version, "\"features_write\":[]", "\"features_write\":[\"later\"]");
	check_one(&w, &quick, BW_FSCK_NEWER, 1, 0, key,
		  "@ was written by a newer release: whether it follows cannot be checked");
	end(&w);
	make(&w);
	root_key(&w, 4, key);
	rewrite(&w, 4, "\"features_read\":[]", "\"features_read\":[\"later\"]");
	bw_whole_fsck(w.store, &quick, &r);
	cr_expect_eq(r.counts[BW_FSCK_NEWER], 1);
	cr_expect_gt(bw_fsck_wrong(&r), 0);
	bw_fsck_report_done(&r);
	end(&w);
}

Test(fsck_asks, what_cannot_be_opened_at_all)
{
	struct bw_fsck_report r;
	char key[BW_KEY_MAX + 1], why[200] = "";
	struct bw_store *mem;
	struct bw_whole w;

	cr_assert_eq(bw_store_mem_new(&mem), 0);
	cr_expect_eq(bw_fsck(mem, &quick, &r, why, sizeof(why)), -BW_E_NO_STREAM);
	bw_fsck_report_done(&r);
	bw_whole_init(&w, mem);
	root_key(&w, 1, key);
	bw_whole_delete(&w, key);
	check_one(&w, &quick, BW_FSCK_NEWEST, 1, 0, "",
		  "there is no version: the stream is only half created, and is finished when it is mounted");
	bw_whole_put(&w, "other/data", "x", 1);
	check_one(&w, &quick, BW_FSCK_NEWEST, 1, 0, "other/data",
		  "there is no version of this stream, but @: is stream.json that of another?");
	bw_whole_put(&w, BW_STREAM_KEY, "{\"format\": 1}", 13);
	check_one(&w, &quick, BW_FSCK_STREAM, 1, 0, BW_STREAM_KEY,
		  "@ is damaged: nobody can open the stream");
	end(&w);
}

/* ---- Classes of what is not referenced -------------------------------------------------------- */

Test(fsck_asks, uploads_are_classed_as_a_collector_would)
{
	struct bw_change c[4], fence = bw_test_fence("img", 3);
	struct bw_fsck_report r;
	struct bw_whole w;

	make(&w);
	c[0] = bw_whole_upload(&w, "img", 1, 1, 158, 0);	/* next: in flight */
	c[1] = bw_whole_upload(&w, "img", 1, 1, 20, 600);	/* a seq that is taken, and its state */
	c[2] = bw_whole_upload(&w, "new", 1, 1, 0, 0);		/* a producer not known yet */
	c[3] = bw_whole_upload(&w, "img", 3, 2, 158, 0);	/* an epoch to come */
	bw_whole_fsck(w.store, &quick, &r);
	cr_expect_eq(r.findings_n, 0);
	cr_expect_eq(r.sums[BW_KEY_DATA][BW_FSCK_FLIGHT].objects, 3);
	cr_expect_eq(r.sums[BW_KEY_DATA][BW_FSCK_LOST].objects, 1);
	cr_expect_eq(r.sums[BW_KEY_DATA][BW_FSCK_LOST].bytes, c[1].size);
	cr_expect_eq(r.sums[BW_KEY_STATE][BW_FSCK_RECLAIMED].objects, 4);
	bw_fsck_report_done(&r);
	bw_whole_commit(&w, &fence, 1);
	bw_whole_fsck(w.store, &quick, &r);
	cr_expect_eq(r.findings_n, 0);
	cr_expect_eq(r.sums[BW_KEY_DATA][BW_FSCK_FLIGHT].objects, 2);
	cr_expect_eq(r.sums[BW_KEY_DATA][BW_FSCK_LOST].objects, 2);
	bw_fsck_report_done(&r);
	for (unsigned i = 0; i < 4; i++)
		bw_change_done(&c[i]);
	end(&w);
}

Test(fsck_asks, uploads_that_have_not_ended_are_counted)
{
	struct bw_test_store t;
	struct bw_fsck_report r;
	struct bw_whole w;
	char key[BW_KEY_MAX + 1];

	bw_test_store_open(BW_TEST_STACKS, &t);	/* files */
	bw_whole_init(&w, t.s);
	bw_whole_fence(&w, "img", 1);
	bw_whole_fence(&w, "img", 2);
	bw_whole_append(&w, "img", 3, 0);
	bw_key_data(&w.stream, "img", 1, 0, 77, key);
	cr_assert(bw_test_leave_upload(&t, key));
	bw_key_data(&w.stream, "img", 2, 3, 78, key);
	cr_assert(bw_test_leave_upload(&t, key));
	bw_key_state(&w.stream, "img", 2, 3, 78, key);
	cr_assert(bw_test_leave_upload(&t, key));
	bw_whole_fsck(w.store, &quick, &r);
	bw_whole_tell(&r);
	cr_expect_eq(r.findings_n, 0);
	cr_expect_eq(r.uploads[BW_FSCK_LOST], 1);
	cr_expect_eq(r.uploads[BW_FSCK_FLIGHT], 2);
	bw_fsck_report_done(&r);
	bw_whole_done(&w);
	bw_test_store_close(&t);
}

static enum bw_fault no_uploads(struct bw_fault_plan *plan, const struct bw_op *op, uint64_t nth)
{
	(void)plan, (void)nth;
	return op->kind == BW_OP_LIST_UPLOADS ? BW_FAULT_DENIED : BW_FAULT_NONE;
}

Test(fsck_asks, who_may_not_ask_for_uploads_is_told_the_rest)
{
	struct bw_fault_plan plan = {.decide = no_uploads};
	struct bw_store *faulty;
	struct bw_fsck_report r;
	struct bw_whole w;

	make(&w);
	cr_assert_eq(bw_filter_fault_new(bw_test_way_new(w.store), &plan, &faulty), 0);
	bw_whole_fsck(faulty, &quick, &r);
	cr_expect_eq(r.findings_n, 0);
	cr_expect_eq(r.states, 1);
	bw_fsck_report_done(&r);
	bw_store_free(faulty);
	end(&w);
}

/* No page of uploads comes, but something else. */
static bool answer_something_else(struct bw_test_tap *tap, struct bw_op *op)
{
	(void)tap;
	if (op->kind == BW_OP_LIST_UPLOADS) {
		op->kind = BW_OP_GET;
		op->offset = 0;
		op->length = BW_STREAM_JSON_MAX;	/* that is longer than it is */
		snprintf(op->key, sizeof(op->key), BW_STREAM_KEY);
	}
	return false;
}

Test(fsck_asks, a_store_that_answers_something_else_is_told_the_rest)
{
	struct bw_fsck_report r;
	struct bw_test_tap *tap;
	struct bw_whole w;

	make(&w);
	tap = bw_test_tap_new(bw_test_way_new(w.store));
	tap->on_submit = answer_something_else;
	bw_whole_fsck(&tap->store, &quick, &r);
	cr_expect_eq(r.findings_n, 0);
	cr_expect_eq(r.states, 1);
	bw_fsck_report_done(&r);
	bw_store_free(&tap->store);
	end(&w);
}

/* ---- How it asks ------------------------------------------------------------------------------ */

static atomic_uint writes, gets, lists;

static bool count_kinds(struct bw_test_tap *tap, struct bw_op *op)
{
	(void)tap;
	if (op->kind == BW_OP_GET)
		atomic_fetch_add(&gets, 1);
	else if (op->kind == BW_OP_LIST || op->kind == BW_OP_LIST_UPLOADS)
		atomic_fetch_add(&lists, 1);
	else
		atomic_fetch_add(&writes, 1);
	return false;
}

Test(fsck_asks, it_never_writes_and_asks_little)
{
	struct bw_fsck_report r;
	struct bw_test_tap *tap;
	struct bw_whole w;
	char key[BW_KEY_MAX + 1];

	make(&w);
	bw_whole_data_key(&w, 8, key);
	bw_whole_delete(&w, key);
	tap = bw_test_tap_new(bw_test_way_new(w.store));
	tap->on_submit = count_kinds;
	bw_whole_fsck(&tap->store, &quick, &r);
	cr_expect_eq(writes, 0);
	/* A get for each version, and a few besides: none for each step. */
	cr_expect_leq(gets, r.versions + 20);
	cr_expect_leq(lists, 5);
	bw_fsck_report_done(&r);
	bw_whole_fsck(&tap->store, &thorough, &r);
	cr_expect_eq(writes, 0);
	bw_fsck_report_done(&r);
	bw_store_free(&tap->store);
	end(&w);
}

Test(fsck_asks, steps_that_do_not_fit_are_taken_in_parts)
{
	struct bw_fsck_options parts = {.request_ns = 60 * BW_SEC, .table_bytes = 16384};
	struct bw_fsck_report one, many;
	char key[BW_KEY_MAX + 1];
	struct bw_change lost;
	struct bw_whole w;

	make(&w);
	bw_whole_append(&w, "img", 5000, 0);
	bw_whole_data_key(&w, 4444, key);
	bw_whole_delete(&w, key);
	lost = bw_whole_upload(&w, "img", 1, 1, 20, 0);
	bw_whole_fsck(w.store, &quick, &one);
	bw_whole_fsck(w.store, &parts, &many);
	assert_only(&one, BW_FSCK_DATA_MISSING, 4444, 4444, key, "step 4444: the data object @ is missing");
	assert_only(&many, BW_FSCK_DATA_MISSING, 4444, 4444, key, "step 4444: the data object @ is missing");
	cr_expect_eq(memcmp(one.sums, many.sums, sizeof(one.sums)), 0);
	cr_expect_eq(one.sums[BW_KEY_DATA][BW_FSCK_LIVE].objects, 5299);
	cr_expect_eq(one.sums[BW_KEY_DATA][BW_FSCK_LOST].objects, 1);
	cr_expect_eq(many.steps, 5300);
	bw_fsck_report_done(&one);
	bw_fsck_report_done(&many);
	bw_change_done(&lost);
	end(&w);
}

static enum bw_fault no_nodes(struct bw_fault_plan *plan, const struct bw_op *op, uint64_t nth)
{
	(void)plan, (void)nth;
	return strstr(op->key, "/index/") ? BW_FAULT_BEFORE : BW_FAULT_NONE;
}

/* A store that does not answer is neither clean nor damaged. */
Test(fsck_asks, a_store_that_is_away_ends_it)
{
	struct bw_fault_plan plan = {.decide = no_nodes};
	struct bw_store *faulty;
	struct bw_fsck_report r;
	struct bw_whole w;
	char why[200] = "";

	make(&w);
	cr_assert_eq(bw_filter_fault_new(bw_test_way_new(w.store), &plan, &faulty), 0);
	cr_expect_eq(bw_fsck(faulty, &quick, &r, why, sizeof(why)), -BW_E_UNREACHABLE);
	cr_expect(strstr(why, "cannot be reached"), "%s", why);
	cr_expect_eq(r.findings_n, 0);
	bw_fsck_report_done(&r);
	bw_store_free(faulty);
	end(&w);
}

static enum bw_fault flip_once(struct bw_fault_plan *plan, const struct bw_op *op, uint64_t nth)
{
	(void)nth;
	unsigned *n = plan->ctx;

	/* Every fourth answer is damaged on the way, none twice in a row. */
	return op->kind == BW_OP_GET && ++*n % 4 == 0 ? BW_FAULT_FLIP : BW_FAULT_NONE;
}

/* Damage on the way is not damage in the store. */
Test(fsck_asks, what_came_damaged_is_read_again)
{
	unsigned n = 0;
	struct bw_fault_plan plan = {.decide = flip_once, .ctx = &n};
	struct bw_store *faulty;
	struct bw_fsck_report r;
	struct bw_whole w;

	make(&w);
	cr_assert_eq(bw_filter_fault_new(bw_test_way_new(w.store), &plan, &faulty), 0);
	bw_whole_fsck(faulty, &quick, &r);
	bw_whole_tell(&r);
	cr_expect_eq(r.findings_n, 0);
	cr_expect_gt(n, 12);
	bw_fsck_report_done(&r);
	bw_store_free(faulty);
	end(&w);
}

struct stopper {
	atomic_bool stop;
	unsigned after;
};

static void stop_soon(void *ctx, uint64_t n)
{
	struct stopper *s = ctx;

	(void)n;
	if (s->after && --s->after == 0)
		s->stop = true;
}

Test(fsck_asks, it_stops_with_what_it_has_found)
{
	struct stopper s = {.after = 8};
	struct bw_fsck_options o = {.request_ns = 60 * BW_SEC, .stop = &s.stop, .did = stop_soon, .ctx = &s};
	struct bw_fsck_report r;
	struct bw_whole w;
	char key[BW_KEY_MAX + 1], why[200] = "";

	make(&w);
	root_key(&w, 2, key);
	bw_whole_flip(&w, key, 50);
	cr_expect_eq(bw_fsck(w.store, &o, &r, why, sizeof(why)), -ECANCELED);
	assert_only(&r, BW_FSCK_ROOT, 1, 0, key, "@ is damaged");
	bw_fsck_report_done(&r);
	end(&w);
}
