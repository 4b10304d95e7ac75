/* SPDX-License-Identifier: Apache-2.0 */
#include "store/s3_xml_priv.h"

#include <stdlib.h>
#include <string.h>

struct list {
	struct bw_uploads *page;	/* keys as they were written until the end */
	size_t cap;
	struct bw_upload item;		/* the <Upload> that is open; owned */
	bool has_time;
	struct bw_xml_page xml;
};

static void item_done(struct bw_upload *u)
{
	free(u->key);
	free(u->id);
	*u = (struct bw_upload){.key = NULL};
}

static int list_open(void *ctx, const char *path)
{
	struct list *s = ctx;

	if (strcmp(path, "ListMultipartUploadsResult/Upload") != 0)
		return 0;
	item_done(&s->item);
	s->has_time = false;
	return 0;
}

static int add_item(void *ctx)
{
	struct list *s = ctx;
	struct bw_uploads *page = s->page;

	/* A time that is made up would be believed. */
	if (!s->item.key || !s->item.id || !s->has_time || page->n == BW_LIST_PAGE_MAX)
		return -BW_E_CORRUPT;
	if (page->n == s->cap) {
		size_t cap = s->cap ? s->cap * 2 : 16;
		struct bw_upload *items = realloc(page->items, cap * sizeof(*items));
		if (!items)
			return -ENOMEM;
		page->items = items;
		s->cap = cap;
	}
	page->items[page->n++] = s->item;
	s->item = (struct bw_upload){.key = NULL};
	return 0;
}

static bool is_id(const char *id)
{
	size_t len = strlen(id);

	for (const char *p = id; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			return false;
	return len && len <= BW_UPLOAD_ID_MAX;
}

static int item_field(void *ctx, const char *field, const char *text)
{
	struct list *s = ctx;

	if (!strcmp(field, "Key"))
		return bw_xml_keep(text, &s->item.key);
	if (!strcmp(field, "UploadId"))
		return text && is_id(text) ? bw_xml_keep(text, &s->item.id) : -BW_E_CORRUPT;
	if (strcmp(field, "Initiated") != 0)
		return 0;
	s->has_time = true;
	return text ? bw_xml_time(text, &s->item.begun_ms) : -BW_E_CORRUPT;
}

static int list_close(void *ctx, const char *path, const char *text)
{
	struct list *s = ctx;

	return bw_xml_page_close(&s->xml, s, path, text);
}

static int settle(struct list *s, const char *prefix)
{
	struct bw_uploads *page = s->page;
	size_t kept = 0;

	for (size_t i = 0; i < page->n; i++)
		if (bw_xml_page_key(&s->xml, prefix, page->items[i].key))
			return -BW_E_CORRUPT;
	for (size_t i = 0; i < page->n; i++) {
		if (bw_xml_can_be_told(page->items[i].key))
			page->items[kept++] = page->items[i];
		else
			item_done(&page->items[i]);
	}
	page->n = kept;
	page->more = s->xml.more;
	/* Nothing, and more of it: whoever asks for the next page would ask for ever. */
	return page->more && !page->n ? -BW_E_CORRUPT : 0;
}

int bw_s3_uploads_parse(const void *bytes, size_t len, const char *prefix, struct bw_uploads **ret)
{
	struct list s = {.page = calloc(1, sizeof(*s.page)),
			 .xml = {.root = "ListMultipartUploadsResult", .item = "/Upload",
				 .field = item_field, .add = add_item}};
	struct bw_xml_visitor v = {.open = list_open, .close = list_close, .ctx = &s};

	if (!s.page)
		return -ENOMEM;
	int err = bw_xml_scan(bytes, len, &v);

	if (!err && !s.xml.has_more)
		err = -BW_E_CORRUPT;
	if (!err)
		err = settle(&s, prefix);
	item_done(&s.item);
	if (err) {
		bw_uploads_free(s.page);
		return err;
	}
	*ret = s.page;
	return 0;
}
