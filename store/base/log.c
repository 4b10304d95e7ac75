/* SPDX-License-Identifier: Apache-2.0 */
#include "store/base/log.h"

#include "store/base/clock.h"
#include "store/base/sync.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#define LINE_MAX_BYTES 2048

struct bw_log {
	enum bw_log_level level;
	char *path;		/* owned; NULL for stderr and syslog */
	bool to_syslog;
	struct bw_mutex lock;	/* fd */
	int fd;
};

static const char *const level_names[] = {"error", "warn", "info", "debug"};

static int open_file(const char *path)
{
	return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
}

int bw_log_open(const char *to, enum bw_log_level level, struct bw_log **ret)
{
	struct bw_log *log = calloc(1, sizeof(*log));

	if (!log)
		return -ENOMEM;
	log->level = level;
	log->fd = STDERR_FILENO;
	bw_mutex_init(&log->lock, BW_RANK_LOG);
	if (strcmp(to, "syslog") == 0) {
		log->to_syslog = true;
		openlog("batchweave", LOG_PID, LOG_DAEMON);
	} else if (strcmp(to, "stderr") != 0) {
		log->path = strdup(to);
		log->fd = log->path ? open_file(to) : -1;
		if (log->fd < 0) {
			int err = log->path ? -errno : -ENOMEM;
			bw_log_close(log);
			return err;
		}
	}
	*ret = log;
	return 0;
}

void bw_log_close(struct bw_log *log)
{
	if (!log)
		return;
	if (log->to_syslog)
		closelog();
	if (log->path && log->fd >= 0)
		close(log->fd);
	bw_mutex_done(&log->lock);
	free(log->path);
	free(log);
}

void bw_log_reopen(struct bw_log *log)
{
	if (!log || !log->path)
		return;
	int fd = open_file(log->path);

	if (fd < 0)
		return;		/* keep the old file rather than lose lines */
	bw_lock(&log->lock);
	int old = log->fd;
	log->fd = fd;
	bw_unlock(&log->lock);
	close(old);
}

static void write_line(struct bw_log *log, enum bw_log_level level, const char *line)
{
	static const int priorities[] = {LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG};
	char head[64], when[32];

	if (log->to_syslog) {
		syslog(priorities[level], "%s", line);
		return;
	}
	bw_wall_text(bw_wall_ms(), when, sizeof(when));
	snprintf(head, sizeof(head), "%s %s ", when, level_names[level]);

	char whole[LINE_MAX_BYTES + 80];
	int n = snprintf(whole, sizeof(whole), "%s%s\n", head, line);

	BW_LOCK_SCOPE(&log->lock);
	/* A log that cannot be written must not stop the mount: nothing sensible is left to do. */
	if (write(log->fd, whole, (size_t)n) < 0)
		return;
}

void bw_log(struct bw_log *log, enum bw_log_level level, const char *event, const char *fmt, ...)
{
	char line[LINE_MAX_BYTES];
	va_list ap;

	if (!log || level > log->level)
		return;
	int n = snprintf(line, sizeof(line), "%s%s", event, *fmt ? " " : "");

	va_start(ap, fmt);
	vsnprintf(line + n, sizeof(line) - (size_t)n, fmt, ap);
	va_end(ap);
	/* One event is one line, whatever a file name or a server put into it. */
	for (char *p = line; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
	write_line(log, level, line);
}

int bw_log_level_parse(const char *text, enum bw_log_level *ret)
{
	for (int i = 0; i < 4; i++) {
		if (strcmp(text, level_names[i]) == 0) {
			*ret = (enum bw_log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}
