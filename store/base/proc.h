/* SPDX-License-Identifier: Apache-2.0 */
/* Texts as /proc writes them. */
#ifndef BW_BASE_PROC_H
#define BW_BASE_PROC_H

/* In place: blanks, tabs, newlines and backslashes of paths in mountinfo and kin are \ and three octal digits there. */
void bw_proc_unescape(char *text);

#endif
