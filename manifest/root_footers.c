/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/root_footers.h"

#include "manifest/root_entry.h"
#include "manifest/tgb.h"

#include <stdlib.h>

void bw_root_footers_add(struct bw_root *r, const struct bw_entry *e, uint8_t *bytes)
{
	uint64_t sum = e->footer_len;
	struct bw_root_footer *grown = NULL;

	for (uint32_t i = 0; i < r->footers_n; i++)
		sum += r->footers[i].len;
	if (e->footer_len <= BW_FOOTER_INLINE_MAX && sum <= BW_FOOTERS_INLINE_MAX)
		grown = realloc(r->footers, (r->footers_n + (size_t)1) * sizeof(*grown));
	if (!grown) {
		free(bytes);
		return;
	}
	r->footers = grown;
	grown[r->footers_n++] = (struct bw_root_footer){.step = e->step, .len = e->footer_len, .bytes = bytes};
}

void bw_root_footers_done(struct bw_root *r)
{
	for (uint32_t i = 0; i < r->footers_n; i++)
		free(r->footers[i].bytes);
	free(r->footers);
	r->footers = NULL;
	r->footers_n = 0;
}

void bw_root_footers_put(struct bw_buf *b, const struct bw_root *r)
{
	bw_buf_str(b, "[");
	for (uint32_t i = 0; i < r->footers_n; i++) {
		bw_buf_str(b, i ? ",[" : "[");
		bw_json_put_dec(b, r->footers[i].step);
		bw_buf_str(b, ",");
		bw_json_put_hex(b, r->footers[i].bytes, r->footers[i].len);
		bw_buf_str(b, "]");
	}
	bw_buf_str(b, "]");
}

static void get_one(struct bw_json *j, int *err, struct bw_root_footer *f)
{
	size_t len = 0;
	int rc = 0;

	bw_json_expect(j, "[");
	f->step = bw_json_dec(j, BW_STEPS_MAX - 1);
	bw_json_expect(j, ",");
	f->bytes = bw_json_bytes(j, BW_FOOTER_INLINE_MAX, &len, &rc);
	f->len = (uint32_t)len;
	if (!f->bytes)
		bw_json_fail(j);
	if (rc == -ENOMEM)
		*err = rc;
	bw_json_expect(j, "]");
}

void bw_root_footers_get(struct bw_json *j, int *err, struct bw_root *r)
{
	uint32_t cap = 0;

	while (bw_json_next(j, r->footers_n, BW_APPENDS_MAX)) {
		void *room = bw_array_room(r->footers, r->footers_n, &cap, sizeof(*r->footers));

		if (!room) {
			*err = -ENOMEM;
			bw_json_fail(j);
			return;
		}
		r->footers = room;
		r->footers[r->footers_n] = (struct bw_root_footer){.step = 0};
		get_one(j, err, &r->footers[r->footers_n++]);
	}
	if (!r->footers_n)
		bw_json_fail(j);	/* one spelling: no empty list */
}

static bool is_sound(const struct bw_root *r, const struct bw_root_footer *f)
{
	const struct bw_entry *e = bw_root_tail_entry(r, f->step);

	if (!f->len || f->len > BW_FOOTER_INLINE_MAX || f->step >= r->head)
		return false;
	return !e || (f->len == e->footer_len && bw_tgb_sum(f->bytes, f->len) == e->footer_xxh3);
}

const char *bw_root_footers_check(const struct bw_root *r)
{
	uint64_t sum = 0;

	if (r->footers_n > BW_APPENDS_MAX)
		return "too many footers";
	for (uint32_t i = 0; i < r->footers_n; i++) {
		if (!is_sound(r, &r->footers[i]))
			return "a footer is not that of its step";
		if (i && r->footers[i].step <= r->footers[i - 1].step)
			return "footers out of order";
		sum += r->footers[i].len;
	}
	return sum > BW_FOOTERS_INLINE_MAX ? "too many bytes of footers" : NULL;
}
