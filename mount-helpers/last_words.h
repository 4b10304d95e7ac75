/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a daemon says when it dies of a fault (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGSYS, SIGTRAP): one
 * line in its log that names the signal.  Then the signal does what it would have done: a core where those are
 * allowed, and the status that whoever waits for the process expects.  Nothing can be said about SIGKILL.
 *
 * A handler has nothing but what is static, so there is one log of a process.
 */
#ifndef BW_MOUNT_HELPERS_LAST_WORDS_H
#define BW_MOUNT_HELPERS_LAST_WORDS_H

#include "store/base/log.h"

/* From any thread, before others are started.  log is borrowed until bw_last_words_end(); dir is copied. */
void bw_last_words_begin(const struct bw_log *log, const char *dir);
void bw_last_words_end(void);

#endif
