/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A page on a terminal: another screen, no cursor, no echo, and all of it back as it was at the end.
 *
 * What was drawn is overwritten in place, so nothing flickers.  One thread.
 */
#ifndef BW_MOUNT_HELPERS_TOP_SCREEN_H
#define BW_MOUNT_HELPERS_TOP_SCREEN_H

#include "store/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <termios.h>

struct bw_screen {
	int fd;			/* the terminal; borrowed */
	bool on;
	struct termios before;
};

/* 0 or -errno: fd is no terminal. */
int bw_screen_begin(struct bw_screen *s, int fd) bw_must_check;
void bw_screen_end(struct bw_screen *s);	/* harmless when it has not begun */
void bw_screen_size(const struct bw_screen *s, unsigned *ret_columns, unsigned *ret_rows);
/* Lines that end in newlines, no longer and no more than the size. */
void bw_screen_draw(const struct bw_screen *s, const char *text, size_t len);

#endif
