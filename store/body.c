/* SPDX-License-Identifier: Apache-2.0 */
#include "store/store.h"

#include <stdlib.h>
#include <string.h>

static int read_bytes(struct bw_body *body, uint64_t off, void *buf, size_t len)
{
	struct bw_bytes_body *b = (struct bw_bytes_body *)body;

	memcpy(buf, b->bytes + off, len);
	return 0;
}

void bw_bytes_body_init(struct bw_bytes_body *b, const void *bytes, size_t len)
{
	b->body.size = len;
	b->body.read = read_bytes;
	b->body.view = NULL;
	b->bytes = bytes;
}

int bw_body_lend(struct bw_body *body, uint64_t off, void *buf, size_t len, struct bw_lent *ret)
{
	*ret = (struct bw_lent){.bytes = buf, .len = len};
	size_t n = body->view ? body->view(body, off, len, &ret->hold, &ret->bytes) : 0;

	if (n) {
		ret->len = n;
		return 0;
	}
	return body->read(body, off, buf, len);
}

void bw_listing_free(struct bw_listing *l)
{
	if (!l)
		return;
	for (size_t i = 0; i < l->n; i++)
		free(l->items[i].key);
	free(l->items);
	free(l);
}

void bw_uploads_free(struct bw_uploads *u)
{
	if (!u)
		return;
	for (size_t i = 0; i < u->n; i++) {
		free(u->items[i].key);
		free(u->items[i].id);
	}
	free(u->items);
	free(u);
}
