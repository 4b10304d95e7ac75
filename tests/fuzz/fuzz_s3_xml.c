/* SPDX-License-Identifier: Apache-2.0 */
/* Answers of a store: each is given to all the readers; it is accepted when one of them takes it. */
#include "store/s3_xml.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

#define ITEMS 3

void bw_fuzz_fix(uint8_t *bytes, size_t len)
{
	(void)bytes, (void)len;	/* no checksums */
}

static void check_line(const char *text, size_t size)
{
	size_t len = strnlen(text, size);

	bw_fuzz_must(len < size, "a text ends");
	for (size_t i = 0; i < len; i++)
		bw_fuzz_must((unsigned char)text[i] >= 0x20 && text[i] != 0x7f, "and is one line");
}

static void check_error(const struct bw_s3_error *e)
{
	check_line(e->code, sizeof(e->code));
	check_line(e->message, sizeof(e->message));
	check_line(e->region, sizeof(e->region));
	check_line(e->endpoint, sizeof(e->endpoint));
	check_line(e->request_id, sizeof(e->request_id));
}

static bool errors(const uint8_t *bytes, size_t len)
{
	struct bw_s3_error e, c;
	bool is_error = bw_s3_error_parse(bytes, len, &e) == 0;
	int completed = bw_s3_complete_parse(bytes, len, &c);

	if (is_error)
		check_error(&e);
	if (completed == 1)
		check_error(&c);
	bw_fuzz_must(!is_error || completed == 1, "an error is not a completion");
	return is_error || completed == 0;
}

static bool listing(const uint8_t *bytes, size_t len, const char *prefix)
{
	struct bw_listing *l = NULL;

	if (bw_s3_list_parse(bytes, len, prefix, &l) != 0) {
		bw_fuzz_must(!l, "nothing is written on failure");
		return false;
	}
	bw_fuzz_must(l->n <= BW_LIST_PAGE_MAX && (l->n || !l->more), "a page leads on");
	for (size_t i = 0; i < l->n; i++) {
		bw_fuzz_must(l->items[i].key[0], "a key is not empty");
		check_line(l->items[i].key, BW_KEY_MAX + 1);
		bw_fuzz_must(!i || strcmp(l->items[i - 1].key, l->items[i].key) < 0, "keys ascend");
	}
	bw_listing_free(l);
	return true;
}

static bool uploads(const uint8_t *bytes, size_t len, const char *prefix)
{
	struct bw_uploads *u = NULL;

	if (bw_s3_uploads_parse(bytes, len, prefix, &u) != 0) {
		bw_fuzz_must(!u, "nothing is written on failure");
		return false;
	}
	bw_fuzz_must(u->n <= BW_LIST_PAGE_MAX && (u->n || !u->more), "a page leads on");
	for (size_t i = 0; i < u->n; i++) {
		bw_fuzz_must(u->items[i].key[0] && u->items[i].id[0], "an upload has a name");
		check_line(u->items[i].key, BW_KEY_MAX + 1);
		check_line(u->items[i].id, BW_UPLOAD_ID_MAX + 1);
	}
	bw_uploads_free(u);
	return true;
}

static bool deleted(const uint8_t *bytes, size_t len, const char *prefix)
{
	struct bw_delete_item items[ITEMS] = {{.key = "a"}, {.key = "b/1"}, {.key = "b/2"}};

	for (size_t i = 0; i < ITEMS; i++)
		items[i].outcome = BW_CORRUPT;
	bool taken = bw_s3_deleted_parse(bytes, len, prefix, items, ITEMS) == 0;

	for (size_t i = 0; i < ITEMS; i++)
		bw_fuzz_must((items[i].outcome == BW_CORRUPT) == !taken, "all are told of, or none");
	return taken;
}

bool bw_fuzz_one(const uint8_t *bytes, size_t len)
{
	bool taken = errors(bytes, len);
	char id[128];

	if (bw_s3_upload_id_parse(bytes, len, id, sizeof(id)) == 0) {
		check_line(id, sizeof(id));
		bw_fuzz_must(id[0], "an upload has an id");
		taken = true;
	}
	taken |= listing(bytes, len, "") | listing(bytes, len, "runs/7/");
	taken |= uploads(bytes, len, "") | uploads(bytes, len, "runs/7/");
	return taken | deleted(bytes, len, "") | deleted(bytes, len, "runs/7/");
}
