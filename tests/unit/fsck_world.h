/* SPDX-License-Identifier: Apache-2.0 */
/* The stream that tests of fsck damage, and what they assert of its findings. */
#ifndef BW_TESTS_FSCK_WORLD_H
#define BW_TESTS_FSCK_WORLD_H

#include "manifest/fsck.h"
#include "tests/support/stores.h"
#include "tests/support/whole.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct bw_fsck_options quick = {.request_ns = 60 * BW_SEC};
static const struct bw_fsck_options thorough = {.data = true, .request_ns = 60 * BW_SEC};

/* Two producers, a job, states in the root and in objects, 300 steps: two leaves of the index. */
static inline void make(struct bw_whole *w)
{
	struct bw_change job = bw_test_change(BW_CHANGE_JOB, "train");
	struct bw_store *mem;

	cr_assert_eq(bw_store_mem_new(&mem), 0);
	bw_whole_init(w, mem);
	bw_whole_fence(w, "img", 1);
	bw_whole_fence(w, "tok", 2);
	bw_whole_append(w, "img", 10, 0);
	bw_whole_append(w, "tok", 10, 20);
	bw_whole_commit(w, &job, 1);
	bw_whole_append(w, "img", 128, 0);
	bw_whole_append(w, "tok", 128, 20);
	bw_whole_append(w, "img", 20, 0);
	bw_whole_append(w, "tok", 4, 3000);
	cr_assert_eq(w->root->head, 300);
	cr_assert_gt(w->root->levels_n, 0);
}

static inline void end(struct bw_whole *w)
{
	bw_store_free(w->store);
	bw_whole_done(w);
}

/* The only finding, told of these steps, with this text where "@" stands for the key. */
static inline void assert_only(const struct bw_fsck_report *r, enum bw_fsck_check check, uint64_t first, uint64_t last,
			const char *key, const char *text)
{
	char wanted[2048] = "";
	const char *at = strchr(text, '@');

	if (r->findings_n != 1)
		bw_whole_tell(r);
	cr_assert_eq(r->findings_n, 1);
	const struct bw_fsck_finding *f = &r->findings[0];

	cr_expect_eq(f->check, check, "found as %s", bw_fsck_check_name(f->check));
	cr_expect_eq(r->counts[check], 1);
	if (first <= last) {
		cr_expect_eq(f->first, first, "from step %" PRIu64, f->first);
		cr_expect_eq(f->last, last, "to step %" PRIu64, f->last);
	} else {
		cr_expect_gt(f->first, f->last);
	}
	cr_expect_str_eq(f->key, key);
	snprintf(wanted, sizeof(wanted), "%.*s%s%s", at ? (int)(at - text) : 0, text, at ? key : "",
		 at ? at + 1 : text);
	cr_expect_str_eq(f->text, wanted);
}

static inline void check_one(struct bw_whole *w, const struct bw_fsck_options *o, enum bw_fsck_check check,
		      uint64_t first, uint64_t last, const char *key, const char *text)
{
	struct bw_fsck_report r;

	bw_whole_fsck(w->store, o, &r);
	assert_only(&r, check, first, last, key, text);
	bw_fsck_report_done(&r);
}

static inline void root_key(struct bw_whole *w, uint64_t version, char key[BW_KEY_MAX + 1])
{
	bw_key_root(&w->stream, version, key);
}

#endif
