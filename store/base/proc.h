/* SPDX-License-Identifier: Apache-2.0 */
/* Texts as /proc writes them. */
#ifndef BW_BASE_PROC_H
#define BW_BASE_PROC_H

#include <stdbool.h>

/* In place: blanks, tabs, newlines and backslashes of paths in mountinfo and kin are \ and three octal digits there. */
void bw_proc_unescape(char *text);

struct bw_proc_mount {
	unsigned major, minor;		/* of the file system: each mount of FUSE has its own for as long as it is there */
	char type[64];
};

/* What is mounted on top at path, which is absolute and has no symbolic links.  False: nothing, or /proc does not say. */
bool bw_proc_mount_at(const char *path, struct bw_proc_mount *ret);

#endif
