/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One line an event: time, level, event name, then key=value pairs, values quoted where they hold
 * spaces.  Libraries log nothing above debug; the edges (FUSE adapters, thread loops, commands) log
 * once.  A NULL log swallows everything.
 *
 * A sink that takes no more holds nobody: lines are dropped, counted, and the count stands before the next line that is
 * written.  Only a syslog daemon is waited for, 50 ms (devlog.h).
 */
#ifndef BW_BASE_LOG_H
#define BW_BASE_LOG_H

#include "store/base/err.h"

enum bw_log_level { BW_LOG_ERROR, BW_LOG_WARN, BW_LOG_INFO, BW_LOG_DEBUG };

struct bw_log;

/*
 * to: "stderr", "syslog" or a file's path (appended to, so that it may be truncated; relative to the
 * directory of now, whatever becomes of that).  0 or -errno.
 */
int bw_log_open(const char *to, enum bw_log_level level, struct bw_log **ret) bw_must_check;
/* "syslog" of a daemon whose socket is at path, not at /dev/log; it may come and go. */
int bw_log_open_syslog(const char *path, enum bw_log_level level, struct bw_log **ret) bw_must_check;
void bw_log_close(struct bw_log *log);	/* NULL is fine */

/*
 * Opens a log file again by its name, for log rotation.  Nothing for other sinks.  A file that was moved
 * or removed is seen without it by the next line, which goes to a new one.
 */
void bw_log_reopen(struct bw_log *log);

/* Any thread.  event is one word; fmt makes the pairs ("" for none). */
void bw_log(struct bw_log *log, enum bw_log_level level, const char *event, const char *fmt, ...)
	bw_printf_like(4, 5);

/* Makes text fit to stand between the quotes of a value: quotes in it become single ones.  text. */
char *bw_log_value(char *text);

/*
 * A last line at level error, for a signal handler: takes no lock and no memory, and goes to a file that
 * was moved a moment ago where bw_log() would have opened another.  text: the event and its pairs.
 */
void bw_log_dying(const struct bw_log *log, const char *text);

/* "error", "warn", "info" or "debug"; -EINVAL otherwise. */
int bw_log_level_parse(const char *text, enum bw_log_level *ret) bw_must_check;

#endif
