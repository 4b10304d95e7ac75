/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/checkpoint.h"

#include <criterion/criterion.h>
#include <string.h>

static struct bw_mark_text *make(const char *text, bool append)
{
	struct bw_mark_text *t;

	cr_assert_eq(bw_mark_text_new(7, text, append, &t), 0);
	cr_assert_eq(bw_mark_text_ino(t), 7);
	return t;
}

Test(mark_text, C2_what_is_committed)
{
	char text[BW_MARKER_TEXT_MAX + 1];
	struct bw_mark_text *t = make("old", false);
	uint32_t edit, later;

	cr_assert_not(bw_mark_text_dirty(t, text, &edit), "nothing was written");
	cr_assert_eq(bw_mark_text_truncate(t, 0), 0);
	cr_assert_not(bw_mark_text_dirty(t, text, &edit), "an empty text keeps what is there");
	cr_assert_eq(bw_mark_text_write(t, 0, "new", 3), 0);
	cr_assert(bw_mark_text_dirty(t, text, &edit));
	cr_assert_str_eq(text, "new");
	/* What is written while the commit is under way is not covered by it. */
	cr_assert_eq(bw_mark_text_write(t, 3, "er", 2), 0);
	bw_mark_text_saved(t, edit);
	cr_assert(bw_mark_text_dirty(t, text, &later));
	cr_assert_str_eq(text, "newer");
	bw_mark_text_saved(t, later);
	cr_assert_not(bw_mark_text_dirty(t, text, &edit));
	bw_mark_text_free(t);
}

Test(mark_text, C2_what_is_refused)
{
	char full[BW_MARKER_TEXT_MAX + 1], text[BW_MARKER_TEXT_MAX + 1];
	struct bw_mark_text *t = make(NULL, false);
	uint32_t edit;

	memset(full, 'x', sizeof(full));
	cr_assert_eq(bw_mark_text_write(t, 0, full, sizeof(full)), -EFBIG);
	cr_assert_eq(bw_mark_text_write(t, 1, full, BW_MARKER_TEXT_MAX), -EFBIG);
	cr_assert_eq(bw_mark_text_write(t, UINT64_MAX, "x", 1), -EFBIG);
	cr_assert_eq(bw_mark_text_write(t, 1, "x", 1), -EINVAL, "a hole");
	cr_assert_eq(bw_mark_text_write(t, 0, "a\0b", 3), -EINVAL);
	cr_assert_not(bw_mark_text_dirty(t, text, &edit));
	cr_assert_eq(bw_mark_text_write(t, 0, full, BW_MARKER_TEXT_MAX), 0);
	cr_assert_eq(bw_mark_text_truncate(t, BW_MARKER_TEXT_MAX + 1), -EFBIG);
	cr_assert_eq(bw_mark_text_truncate(t, 5), 0);
	cr_assert_eq(bw_mark_text_truncate(t, 6), -EINVAL);
	cr_assert(bw_mark_text_dirty(t, text, &edit));
	cr_assert_str_eq(text, "xxxxx");
	bw_mark_text_free(t);
	bw_mark_text_free(NULL);
}

Test(mark_text, append_and_read)
{
	struct bw_mark_text *t = make("ab", true);
	char buf[8];

	cr_assert_eq(bw_mark_text_write(t, 0, "cd", 2), 0);
	cr_assert_eq(bw_mark_text_read(t, 0, buf, sizeof(buf)), 4);
	cr_assert_eq(memcmp(buf, "abcd", 4), 0);
	cr_assert_eq(bw_mark_text_read(t, 3, buf, sizeof(buf)), 1);
	cr_assert_eq(bw_mark_text_read(t, 4, buf, sizeof(buf)), 0);
	cr_assert_eq(bw_mark_text_read(t, UINT64_MAX, buf, sizeof(buf)), 0);
	bw_mark_text_free(t);
}
