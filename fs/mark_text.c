/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/checkpoint.h"

#include <stdlib.h>
#include <string.h>

struct bw_mark_text {
	struct bw_mutex lock;
	uint64_t ino;
	bool append;
	uint32_t edits, saved;		/* counts of changes: all, and those that are committed */
	size_t len;
	char bytes[BW_MARKER_TEXT_MAX];
};

int bw_mark_text_new(uint64_t ino, const char *text, bool append, struct bw_mark_text **ret)
{
	struct bw_mark_text *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	bw_mutex_init(&t->lock, BW_RANK_LEAF);
	t->ino = ino;
	t->append = append;
	t->len = text ? strnlen(text, sizeof(t->bytes)) : 0;
	if (t->len)
		memcpy(t->bytes, text, t->len);
	*ret = t;
	return 0;
}

void bw_mark_text_free(struct bw_mark_text *t)
{
	if (!t)
		return;
	bw_mutex_done(&t->lock);
	free(t);
}

uint64_t bw_mark_text_ino(const struct bw_mark_text *t)
{
	return t->ino;
}

int bw_mark_text_write(struct bw_mark_text *t, uint64_t off, const void *buf, size_t len)
{
	if (memchr(buf, 0, len))
		return -EINVAL;
	BW_LOCK_SCOPE(&t->lock);
	if (t->append)
		off = t->len;
	if (len > sizeof(t->bytes) || off > sizeof(t->bytes) - len)
		return -EFBIG;
	if (off > t->len)
		return -EINVAL;
	memcpy(t->bytes + off, buf, len);
	if (off + len > t->len)
		t->len = off + len;
	t->edits++;
	return 0;
}

int bw_mark_text_truncate(struct bw_mark_text *t, uint64_t size)
{
	BW_LOCK_SCOPE(&t->lock);
	if (size > t->len)
		return size > sizeof(t->bytes) ? -EFBIG : -EINVAL;
	t->edits += size != t->len;
	t->len = size;
	return 0;
}

size_t bw_mark_text_read(struct bw_mark_text *t, uint64_t off, void *buf, size_t len)
{
	BW_LOCK_SCOPE(&t->lock);
	if (off >= t->len)
		return 0;
	if (len > t->len - off)
		len = t->len - off;
	memcpy(buf, t->bytes + off, len);
	return len;
}

bool bw_mark_text_dirty(struct bw_mark_text *t, char text[BW_MARKER_TEXT_MAX + 1], uint32_t *ret_edit)
{
	BW_LOCK_SCOPE(&t->lock);
	memcpy(text, t->bytes, t->len);
	text[t->len] = 0;
	*ret_edit = t->edits;
	return t->len && t->edits != t->saved;
}

void bw_mark_text_saved(struct bw_mark_text *t, uint32_t edit)
{
	BW_LOCK_SCOPE(&t->lock);
	t->saved = edit;
}
