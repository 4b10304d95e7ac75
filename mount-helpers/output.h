/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The beginning and the end of a command's output.  SIGPIPE is ignored while a command works: it may have begun what is to be finished,
 * and sockets raise it as well.  Who has read enough (head) is heard of here.
 */
#ifndef BW_MOUNT_HELPERS_OUTPUT_H
#define BW_MOUNT_HELPERS_OUTPUT_H

/*
 * A caller may have closed 0, 1 or 2: nothing that is opened later may be taken for them, or a slice would be written
 * into a connection.  What stands there instead can be neither read nor written, so that lost output is an error.
 */
void bw_output_begin(void);

/* Ends this program as cat(1) ends when nobody reads it any more: by SIGPIPE, without a word. */
_Noreturn void bw_output_unread(void);

/*
 * Sends what standard output still holds, with a sentence of who where it cannot be written.  code, or then, of a command
 * that has done its work, 1; of such a command it does not return where nobody reads it.
 */
int bw_output_finish(const char *who, int code);

#endif
