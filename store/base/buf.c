/* SPDX-License-Identifier: Apache-2.0 */
#include "store/base/buf.h"

#include <endian.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void bw_buf_init(struct bw_buf *b, size_t max)
{
	*b = (struct bw_buf){.max = max};
}

void bw_buf_done(struct bw_buf *b)
{
	free(b->bytes);
	b->bytes = NULL;
	b->len = b->cap = 0;
}

void bw_buf_reset(struct bw_buf *b)
{
	b->len = 0;
	b->err = 0;
	if (b->bytes)
		b->bytes[0] = 0;
}

int bw_buf_err(const struct bw_buf *b)
{
	return b->err;
}

void *bw_buf_room(struct bw_buf *b, size_t len)
{
	if (b->err)
		return NULL;
	if (len > b->max || b->len > b->max - len) {
		b->err = -ENOSPC;
		return NULL;
	}
	size_t need = b->len + len + 1;

	if (need > b->cap) {
		size_t cap = b->cap ? b->cap : 64;

		while (cap < need)
			cap *= 2;
		uint8_t *bytes = realloc(b->bytes, cap);
		if (!bytes) {
			b->err = -ENOMEM;
			return NULL;
		}
		b->bytes = bytes;
		b->cap = cap;
	}
	return b->bytes + b->len;
}

void bw_buf_used(struct bw_buf *b, size_t len)
{
	b->len += len;
	b->bytes[b->len] = 0;
}

void bw_buf_add(struct bw_buf *b, const void *bytes, size_t len)
{
	void *room = bw_buf_room(b, len);

	if (!room)
		return;
	if (len)
		memcpy(room, bytes, len);
	bw_buf_used(b, len);
}

void bw_buf_str(struct bw_buf *b, const char *s)
{
	bw_buf_add(b, s, strlen(s));
}

void bw_buf_fmt(struct bw_buf *b, const char *fmt, ...)
{
	/* Most texts are short, and fit what is there already. */
	size_t left = b->bytes && !b->err ? b->cap - b->len : 0;
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(left ? (char *)b->bytes + b->len : NULL, left, fmt, ap);
	va_end(ap);
	if (n < 0) {
		b->err = b->err ? b->err : -EINVAL;
		return;
	}
	char *room = bw_buf_room(b, (size_t)n);
	if (!room) {
		if (left)
			b->bytes[b->len] = 0;
		return;
	}
	if ((size_t)n >= left) {
		va_start(ap, fmt);
		vsnprintf(room, (size_t)n + 1, fmt, ap);
		va_end(ap);
	}
	bw_buf_used(b, (size_t)n);
}

void bw_buf_u8(struct bw_buf *b, uint8_t v)
{
	bw_buf_add(b, &v, 1);
}

void bw_buf_u16(struct bw_buf *b, uint16_t v)
{
	v = htole16(v);
	bw_buf_add(b, &v, sizeof(v));
}

void bw_buf_u32(struct bw_buf *b, uint32_t v)
{
	v = htole32(v);
	bw_buf_add(b, &v, sizeof(v));
}

void bw_buf_u64(struct bw_buf *b, uint64_t v)
{
	v = htole64(v);
	bw_buf_add(b, &v, sizeof(v));
}

const char *bw_buf_text(const struct bw_buf *b)
{
	return b->bytes ? (const char *)b->bytes : "";
}

void *bw_buf_take(struct bw_buf *b, size_t *ret_len)
{
	void *bytes = b->bytes;

	*ret_len = b->len;
	b->bytes = NULL;
	b->len = b->cap = 0;
	return bytes;
}

void bw_cur_init(struct bw_cur *c, const void *bytes, size_t len)
{
	*c = (struct bw_cur){.p = bytes, .left = len};
}

const uint8_t *bw_cur_bytes(struct bw_cur *c, size_t len)
{
	if (c->bad || len > c->left) {
		c->bad = 1;
		return NULL;
	}
	const uint8_t *p = c->p;

	c->p += len;
	c->left -= len;
	return p;
}

uint8_t bw_cur_u8(struct bw_cur *c)
{
	const uint8_t *p = bw_cur_bytes(c, 1);

	return p ? *p : 0;
}

uint16_t bw_cur_u16(struct bw_cur *c)
{
	const uint8_t *p = bw_cur_bytes(c, 2);
	uint16_t v = 0;

	if (p)
		memcpy(&v, p, sizeof(v));
	return le16toh(v);
}

uint32_t bw_cur_u32(struct bw_cur *c)
{
	const uint8_t *p = bw_cur_bytes(c, 4);
	uint32_t v = 0;

	if (p)
		memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

uint64_t bw_cur_u64(struct bw_cur *c)
{
	const uint8_t *p = bw_cur_bytes(c, 8);
	uint64_t v = 0;

	if (p)
		memcpy(&v, p, sizeof(v));
	return le64toh(v);
}
