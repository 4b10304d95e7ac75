/* SPDX-License-Identifier: Apache-2.0 */
/* What a store does that breaks a rule: each for struct bw_test_tap's on_submit. */
#ifndef BW_TESTS_LIARS_H
#define BW_TESTS_LIARS_H

#include "tests/support/history.h"

#include <stdio.h>

static bool ignore_condition(struct bw_test_tap *t, struct bw_op *op)
{
	(void)t;
	op->if_absent = false;
	return false;
}

static bool ignore_range(struct bw_test_tap *t, struct bw_op *op)
{
	(void)t;
	if (op->kind == BW_OP_GET && op->length != BW_TO_END)
		op->offset = 0;
	return false;
}

static bool ignore_after(struct bw_test_tap *t, struct bw_op *op)
{
	(void)t;
	if (op->kind == BW_OP_LIST)
		op->after[0] = 0;
	return false;
}

static bool lose_puts(struct bw_test_tap *t, struct bw_op *op)
{
	(void)t;
	if (op->kind == BW_OP_PUT)
		snprintf(op->key, sizeof(op->key), "elsewhere-%p", (void *)op);
	return false;
}

#endif
