/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BW_BASE_PATH_H
#define BW_BASE_PATH_H

/*
 * What path names from the directory that the process is in, for when it is in another one: path itself where it
 * begins with '/'.  Links and dots stay as they are.  To be freed; NULL with errno.
 */
char *bw_path_absolute(const char *path);

#endif
