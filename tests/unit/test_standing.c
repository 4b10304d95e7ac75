/* SPDX-License-Identifier: Apache-2.0 */
/* What a writer concludes of a slot that it took after it had not looked for long (destroy.h). */
#include "manifest/standing.h"
#include "tests/support/change.h"

#include <criterion/criterion.h>
#include <string.h>

#define SLOT "slot"
#define NEVER_ASKED BW_CANCELLED

struct answers {
	enum bw_outcome root_1, slot, put;
	bool late;		/* the slot is there once it was put again */
	const char *bytes;	/* in the slot */
	unsigned asked, deleted;
};

/* The slot is put again as it was. */
static void check_put(struct bw_op *op)
{
	char bytes[4];

	cr_assert_str_eq(op->key, SLOT);
	cr_assert(op->if_absent);
	cr_assert_eq(op->body->size, sizeof(bytes));
	cr_assert_eq(op->body->read(op->body, 0, bytes, sizeof(bytes)), 0);
	cr_assert_arr_eq(bytes, "mine", sizeof(bytes));
}

static enum bw_outcome answer(void *ctx, struct bw_op *op)
{
	struct answers *a = ctx;

	a->asked++;
	a->deleted += op->kind == BW_OP_DELETE;
	if (op->kind == BW_OP_PUT)
		check_put(op);
	if (op->kind == BW_OP_PUT && a->late)
		a->slot = BW_OK;
	op->outcome = op->kind == BW_OP_PUT ? a->put : strcmp(op->key, SLOT) == 0 ? a->slot : a->root_1;
	if (op->kind == BW_OP_GET && op->outcome == BW_OK) {
		op->blob = bw_blob_new(strlen(a->bytes));
		cr_assert(op->blob);
		memcpy(op->blob->bytes, a->bytes, op->blob->len);
	}
	cr_assert_neq(op->outcome, NEVER_ASKED);
	return op->outcome;
}

static struct bw_slot slot_of(const struct bw_stream *s, struct answers *a)
{
	return (struct bw_slot){.stream = s, .key = SLOT, .bytes = "mine", .len = 4, .run = answer, .ctx = a};
}

Test(standing, is_told_by_root_1_and_the_slot)
{
	static const struct {
		enum bw_outcome root_1, slot, put;
		enum bw_standing standing;
		unsigned asked;
		bool late;
	} rows[] = {
		{BW_OK, NEVER_ASKED, NEVER_ASKED, BW_STANDS, 1, false},
		{BW_UNREACHABLE, NEVER_ASKED, NEVER_ASKED, BW_UNSAID, 1, false},
		{BW_THROTTLED, NEVER_ASKED, NEVER_ASKED, BW_UNSAID, 1, false},
		{BW_NOT_FOUND, BW_OK, NEVER_ASKED, BW_GONE, 2, false},
		{BW_NOT_FOUND, BW_UNREACHABLE, NEVER_ASKED, BW_UNSAID, 2, false},
		{BW_NOT_FOUND, BW_DENIED, NEVER_ASKED, BW_UNSAID, 2, false},
		{BW_NOT_FOUND, BW_NOT_FOUND, BW_EXISTS, BW_HIDDEN, 4, false},
		{BW_NOT_FOUND, BW_NOT_FOUND, BW_EXISTS, BW_UNSAID, 4, true},
		{BW_NOT_FOUND, BW_NOT_FOUND, BW_OK, BW_UNSAID, 3, false},
		{BW_NOT_FOUND, BW_NOT_FOUND, BW_UNKNOWN, BW_UNSAID, 3, false},
		{BW_DENIED, BW_OK, NEVER_ASKED, BW_STANDS, 2, false},
		{BW_DENIED, BW_NOT_FOUND, NEVER_ASKED, BW_UNSAID, 2, false},
		{BW_DENIED, BW_UNREACHABLE, NEVER_ASKED, BW_UNSAID, 2, false},
	};
	struct bw_stream stream;

	bw_test_stream(&stream, 4);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct answers a = {.root_1 = rows[i].root_1, .slot = rows[i].slot, .put = rows[i].put,
				    .late = rows[i].late, .bytes = "mine"};
		struct bw_slot slot = slot_of(&stream, &a);

		cr_expect_eq(bw_slot_standing(&slot), rows[i].standing, "row %zu", i);
		cr_expect_eq(a.asked, rows[i].asked, "row %zu", i);
		cr_expect_eq(a.deleted, 0);
	}
}

Test(standing, only_what_was_put_is_removed)
{
	static const char *const others[] = {"barrier", "barr", "min", ""};
	struct answers a = {.slot = BW_OK, .bytes = "mine"};
	struct bw_stream stream;

	bw_test_stream(&stream, 4);
	struct bw_slot slot = slot_of(&stream, &a);

	bw_slot_remove(&slot);
	cr_expect_eq(a.deleted, 1);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		a = (struct answers){.slot = BW_OK, .bytes = others[i]};
		bw_slot_remove(&slot);
		cr_expect_eq(a.deleted, 0, "%s", others[i]);
	}
	a = (struct answers){.slot = BW_NOT_FOUND};
	bw_slot_remove(&slot);
	cr_expect_eq(a.deleted, 0);
}
