/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of a command's output.  SIGPIPE is ignored while a command works: it may have begun what is to be finished,
 * and sockets raise it as well.  Who has read enough (head) is heard of here.
 */
#ifndef BW_MOUNT_HELPERS_OUTPUT_H
#define BW_MOUNT_HELPERS_OUTPUT_H

/* Ends this program as cat(1) ends when nobody reads it any more: by SIGPIPE, without a word. */
_Noreturn void bw_output_unread(void);

/*
 * Sends what standard output still holds.  code, or, of a command that has done its work, 1 and a sentence of who where
 * the output cannot be written; does not return where nobody reads it.
 */
int bw_output_finish(const char *who, int code);

#endif
