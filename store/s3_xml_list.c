/* SPDX-License-Identifier: Apache-2.0 */
#include "store/s3_xml_priv.h"

#include "store/base/parse.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

struct list {
	struct bw_listing *l;	/* keys as they were written until the end */
	size_t cap;
	struct bw_listed item;	/* the <Contents> that is open; key owned */
	bool has_size, has_time;
	struct bw_xml_page page;
};

static int digits(const char **p, int n, int *ret)
{
	int v = 0;

	for (int i = 0; i < n; i++, ++*p) {
		if (**p < '0' || **p > '9')
			return -BW_E_CORRUPT;
		v = v * 10 + (**p - '0');
	}
	*ret = v;
	return 0;
}

int bw_xml_time(const char *p, int64_t *ret_ms)
{
	static const struct {
		int n;
		char end;
	} shape[] = {{4, '-'}, {2, '-'}, {2, 'T'}, {2, ':'}, {2, ':'}, {2, 0}};
	int v[6];

	for (int i = 0; i < 6; i++) {
		if (digits(&p, shape[i].n, &v[i]) || (shape[i].end && *p++ != shape[i].end))
			return -BW_E_CORRUPT;
	}
	int64_t ms = 0, unit = 100;

	if (*p == '.') {
		for (p++; *p >= '0' && *p <= '9'; p++, unit /= 10)
			ms += (*p - '0') * unit;
	}
	if (strcmp(p, "Z") != 0 || v[1] < 1 || v[1] > 12 || v[2] < 1 || v[2] > 31 || v[3] > 23 ||
	    v[4] > 59 || v[5] > 60)
		return -BW_E_CORRUPT;
	struct tm tm = {.tm_year = v[0] - 1900, .tm_mon = v[1] - 1, .tm_mday = v[2],
			.tm_hour = v[3], .tm_min = v[4], .tm_sec = v[5]};

	*ret_ms = (int64_t)timegm(&tm) * 1000 + ms;
	return 0;
}

static int list_open(void *ctx, const char *path)
{
	struct list *s = ctx;

	if (strcmp(path, "ListBucketResult/Contents") != 0)
		return 0;
	free(s->item.key);
	s->item = (struct bw_listed){.key = NULL};
	s->has_size = s->has_time = false;
	return 0;
}

static int add_item(void *ctx)
{
	struct list *s = ctx;
	struct bw_listing *l = s->l;

	/* A size or a time that is made up would be believed. */
	if (!s->item.key || !s->has_size || !s->has_time || l->n == BW_LIST_PAGE_MAX)
		return -BW_E_CORRUPT;
	if (l->n == s->cap) {
		size_t cap = s->cap ? s->cap * 2 : 16;
		struct bw_listed *items = realloc(l->items, cap * sizeof(*items));
		if (!items)
			return -ENOMEM;
		l->items = items;
		s->cap = cap;
	}
	l->items[l->n++] = s->item;
	s->item.key = NULL;
	return 0;
}

static int item_field(void *ctx, const char *field, const char *text)
{
	struct list *s = ctx;
	int err = 0;

	if (!strcmp(field, "Key")) {
		err = bw_xml_keep(text, &s->item.key);
	} else if (!strcmp(field, "Size")) {
		err = text ? bw_parse_u64(text, UINT64_MAX, &s->item.size) : -EINVAL;
		s->has_size = true;
	} else if (!strcmp(field, "LastModified")) {
		err = text ? bw_xml_time(text, &s->item.modified_ms) : -EINVAL;
		s->has_time = true;
	}
	return err && err != -ENOMEM ? -BW_E_CORRUPT : err;
}

static int list_close(void *ctx, const char *path, const char *text)
{
	struct list *s = ctx;

	return bw_xml_page_close(&s->page, s, path, text);
}

/* ---- What pages of all kinds have in common --------------------------------------------------- */

int bw_xml_page_close(struct bw_xml_page *p, void *ctx, const char *path, const char *text)
{
	size_t root_len = strlen(p->root), item_len = strlen(p->item);

	if (strncmp(path, p->root, root_len) != 0)
		return -BW_E_CORRUPT;
	path += root_len;
	if (!strcmp(path, p->item))
		return p->add(ctx);
	if (strncmp(path, p->item, item_len) == 0 && path[item_len] == '/')
		return p->field(ctx, path + item_len + 1, text);
	if (!strcmp(path, "/EncodingType")) {
		p->is_encoded = text && !strcmp(text, "url");
	} else if (!strcmp(path, "/IsTruncated")) {
		if (!text || (strcmp(text, "true") != 0 && strcmp(text, "false") != 0))
			return -BW_E_CORRUPT;
		p->more = text[0] == 't';
		p->has_more = true;
	}
	return *path && *path != '/' ? -BW_E_CORRUPT : 0;
}

int bw_xml_keep(const char *text, char **ret)
{
	free(*ret);
	*ret = text ? strdup(text) : NULL;
	return text && !*ret ? -ENOMEM : 0;
}

static int hex(char c)
{
	static const char all[] = "0123456789abcdef0123456789ABCDEF";
	const char *at = c ? strchr(all, c) : NULL;

	return at ? (int)(at - all) % 16 : -1;
}

/* Undoes encoding-type=url, in place.  A blank may come as '+', a plus comes as %2B. */
static int url_decode(char *text)
{
	char *to = text;

	for (; *text; text++) {
		if (*text == '%') {
			int high = hex(text[1]);
			int low = high < 0 ? -1 : hex(text[2]);
			if (low < 0 || !(high | low))
				return -BW_E_CORRUPT;
			*to++ = (char)(high << 4 | low);
			text += 2;
		} else {
			*to++ = *text == '+' ? ' ' : *text;
		}
	}
	*to = 0;
	return 0;
}

int bw_xml_page_key(const struct bw_xml_page *p, const char *prefix, char *key)
{
	size_t len = strlen(prefix);

	if ((p->is_encoded && url_decode(key)) || strncmp(key, prefix, len) != 0)
		return -BW_E_CORRUPT;
	memmove(key, key + len, strlen(key + len) + 1);
	return 0;
}

bool bw_xml_can_be_told(const char *key)
{
	size_t len = strlen(key);

	for (const char *p = key; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			return false;
	return len && len <= BW_KEY_MAX;
}

/* ---- Objects ---------------------------------------------------------------------------------- */

static int settle(struct list *s, const char *prefix)
{
	struct bw_listing *l = s->l;
	size_t kept = 0;

	for (size_t i = 0; i < l->n; i++)
		if (bw_xml_page_key(&s->page, prefix, l->items[i].key) ||
		    (i && strcmp(l->items[i - 1].key, l->items[i].key) >= 0))
			return -BW_E_CORRUPT;
	for (size_t i = 0; i < l->n; i++) {
		if (bw_xml_can_be_told(l->items[i].key))
			l->items[kept++] = l->items[i];
		else
			free(l->items[i].key);
	}
	l->n = kept;
	l->more = s->page.more;
	/* Nothing, and more of it: whoever asks for the next page would ask for ever. */
	return l->more && !l->n ? -BW_E_CORRUPT : 0;
}

int bw_s3_list_parse(const void *bytes, size_t len, const char *prefix, struct bw_listing **ret)
{
	struct list s = {.l = calloc(1, sizeof(*s.l)),
			 .page = {.root = "ListBucketResult", .item = "/Contents", .field = item_field,
				  .add = add_item}};
	struct bw_xml_visitor v = {.open = list_open, .close = list_close, .ctx = &s};

	if (!s.l)
		return -ENOMEM;
	int err = bw_xml_scan(bytes, len, &v);

	if (!err && !s.page.has_more)
		err = -BW_E_CORRUPT;
	if (!err)
		err = settle(&s, prefix);
	free(s.item.key);
	if (err) {
		bw_listing_free(s.l);
		return err;
	}
	*ret = s.l;
	return 0;
}
