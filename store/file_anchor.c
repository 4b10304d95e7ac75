/* SPDX-License-Identifier: Apache-2.0 */
#include "store/file_priv.h"

#include "store/base/rand.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

enum { ABSENT, BEING_NOTED, NOTED };

bool file_anchor_look(struct file_root *r)
{
	char text[FILE_ANCHOR_LEN + 1] = "";
	int state = ABSENT;

	if (atomic_load_explicit(&r->anchored, memory_order_acquire) == NOTED)
		return true;
	int fd = openat(r->fd, FILE_ANCHOR, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return false;
	bool good = read(fd, text, FILE_ANCHOR_LEN) == FILE_ANCHOR_LEN &&
		    strspn(text, "0123456789abcdef") == FILE_ANCHOR_LEN;
	close(fd);
	if (!good || !atomic_compare_exchange_strong(&r->anchored, &state, BEING_NOTED))
		return false;
	memcpy(r->anchor, text, sizeof(text));
	atomic_store_explicit(&r->anchored, NOTED, memory_order_release);
	return true;
}

static void make_in(const struct file_root *r, int dir)
{
	uint8_t id[FILE_ANCHOR_LEN / 2];
	char text[FILE_ANCHOR_LEN + 1];

	bw_random(id, sizeof(id));
	bw_hex(id, sizeof(id), text);
	int fd = openat(dir, text, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);

	if (fd < 0)
		return;
	/* Whoever is first names the store. */
	if (write(fd, text, FILE_ANCHOR_LEN) == FILE_ANCHOR_LEN && file_sync(fd) == 0 &&
	    linkat(dir, text, r->fd, FILE_ANCHOR, 0) == 0 && file_sync(r->fd) != 0)
		unlinkat(r->fd, FILE_ANCHOR, 0);
	unlinkat(dir, text, 0);
	close(fd);
}

void file_anchor_make(struct file_root *r)
{
	if (file_anchor_look(r))
		return;
	int dir = file_tmp_dir(r);

	if (dir < 0)
		return;
	make_in(r, dir);
	close(dir);
	file_anchor_look(r);
}

bool file_anchor_same(struct file_root *a, struct file_root *b)
{
	return file_anchor_look(a) && file_anchor_look(b) &&
	       memcmp(a->anchor, b->anchor, FILE_ANCHOR_LEN) == 0;
}
