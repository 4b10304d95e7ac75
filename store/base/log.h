/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One line an event: time, level, event name, then key=value pairs, values quoted where they hold
 * spaces.  Libraries log nothing above debug; the edges (FUSE adapters, thread loops, commands) log
 * once.  A NULL log swallows everything.
 */
#ifndef BW_BASE_LOG_H
#define BW_BASE_LOG_H

#include "store/base/err.h"

enum bw_log_level { BW_LOG_ERROR, BW_LOG_WARN, BW_LOG_INFO, BW_LOG_DEBUG };

struct bw_log;

/* to: "stderr", "syslog" or a file's path (appended to).  0 or -errno. */
int bw_log_open(const char *to, enum bw_log_level level, struct bw_log **ret) bw_must_check;
void bw_log_close(struct bw_log *log);	/* NULL is fine */

/* Opens a log file again by its name, for log rotation.  Nothing for other sinks. */
void bw_log_reopen(struct bw_log *log);

/* Any thread.  event is one word; fmt makes the pairs ("" for none). */
void bw_log(struct bw_log *log, enum bw_log_level level, const char *event, const char *fmt, ...)
	bw_printf_like(4, 5);

/* "error", "warn", "info" or "debug"; -EINVAL otherwise. */
int bw_log_level_parse(const char *text, enum bw_log_level *ret) bw_must_check;

#endif
