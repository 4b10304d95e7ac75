/* SPDX-License-Identifier: Apache-2.0 */
/* Texts as /proc writes them. */
#ifndef BW_BASE_PROC_H
#define BW_BASE_PROC_H

#include <stdbool.h>

/* One line of mountinfo.  The texts are in the line. */
struct bw_proc_mount {
	const char *id, *where, *type, *source;
	unsigned major, minor;		/* of the file system: each mount of FUSE has its own for as long as it is there */
};

/* Takes a line apart in place, escapes and all.  False: it is none of mountinfo. */
bool bw_proc_mount_read(char *line, struct bw_proc_mount *ret);

/* The device of what is mounted on top at path, which is absolute and has no symbolic links.  False: nothing, or /proc does not say. */
bool bw_proc_mount_at(const char *path, unsigned *ret_major, unsigned *ret_minor);

#endif
