/* SPDX-License-Identifier: Apache-2.0 */
#include "store/base/log.h"

#include "store/base/clock.h"
#include "store/base/devlog.h"
#include "store/base/path.h"
#include "store/base/sync.h"

#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#define LINE_MAX_BYTES 2048

struct bw_log {
	enum bw_log_level level;
	char *path;		/* owned, absolute; NULL for stderr and syslog */
	bool to_syslog;
	struct bw_mutex lock;	/* the rest */
	unsigned dropped;	/* lines, since the last one that was written */
	int fd;
	dev_t dev;		/* of what fd is */
	ino_t ino;
	struct bw_devlog devlog;	/* of syslog */
};

static const char *const level_names[] = {"error", "warn", "info", "debug"};

static int open_file(const char *path)
{
	return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
}

/* Takes fd, the log's file from now on, and closes the one before. */
static void use_locked(struct bw_log *log, int fd)
{
	struct stat st;

	if (log->fd >= 0)
		close(log->fd);
	log->fd = fd;
	if (fstat(fd, &st) == 0) {
		log->dev = st.st_dev;
		log->ino = st.st_ino;
	}
}

static struct bw_log *log_new(enum bw_log_level level)
{
	struct bw_log *log = calloc(1, sizeof(*log));

	if (!log)
		return NULL;
	log->level = level;
	log->fd = STDERR_FILENO;
	bw_mutex_init(&log->lock, BW_RANK_LOG);
	return log;
}

int bw_log_open_syslog(const char *path, enum bw_log_level level, struct bw_log **ret)
{
	struct bw_log *log = log_new(level);

	if (!log)
		return -ENOMEM;
	int err = bw_devlog_init(&log->devlog, path);

	log->to_syslog = true;
	if (err)
		bw_log_close(log);
	else
		*ret = log;
	return err;
}

int bw_log_open(const char *to, enum bw_log_level level, struct bw_log **ret)
{
	if (strcmp(to, "syslog") == 0)
		return bw_log_open_syslog(BW_DEVLOG_PATH, level, ret);
	struct bw_log *log = log_new(level);

	if (!log)
		return -ENOMEM;
	if (strcmp(to, "stderr") != 0) {
		log->path = bw_path_absolute(to);
		int fd = log->path ? open_file(log->path) : -1, err = -errno;
		if (fd < 0) {
			bw_log_close(log);
			return err;
		}
		log->fd = -1;
		use_locked(log, fd);
	}
	*ret = log;
	return 0;
}

void bw_log_close(struct bw_log *log)
{
	if (!log)
		return;
	if (log->to_syslog)
		bw_devlog_done(&log->devlog);
	if (log->path && log->fd != STDERR_FILENO)
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
	BW_LOCK_SCOPE(&log->lock);
	use_locked(log, fd);
}

/* Whoever moves a log away seldom tells us: to ask before each line is cheap, because lines are rare. */
static void follow_locked(struct bw_log *log)
{
	struct stat st;

	if (!log->path || (stat(log->path, &st) == 0 && st.st_dev == log->dev && st.st_ino == log->ino))
		return;
	int fd = open_file(log->path);

	if (fd >= 0)
		use_locked(log, fd);
}

/* A pipe or a socket that nobody empties would hold whoever writes to it for ever: less than a page fits where there is room. */
static bool has_room(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};

	return poll(&p, 1, 0) == 1 && p.revents & POLLOUT;
}

#define DROPPED "lines_dropped lines=%u reason=\"the log took no more\""

static void write_syslog(struct bw_log *log, enum bw_log_level level, const char *line)
{
	static const int priorities[] = {LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG};
	char dropped[96];

	BW_LOCK_SCOPE(&log->lock);
	snprintf(dropped, sizeof(dropped), DROPPED, log->dropped);
	if (log->dropped && bw_devlog_send(&log->devlog, LOG_WARNING, dropped) == 0)
		log->dropped = 0;
	/* What was dropped is told before what came later. */
	if (log->dropped || bw_devlog_send(&log->devlog, priorities[level], line))
		log->dropped++;
}

static void write_line(struct bw_log *log, enum bw_log_level level, const char *line)
{
	char whole[LINE_MAX_BYTES + 256], when[32];
	int n = 0;

	if (log->to_syslog) {
		write_syslog(log, level, line);
		return;
	}
	bw_wall_text(bw_wall_ms(), when, sizeof(when));
	BW_LOCK_SCOPE(&log->lock);
	follow_locked(log);
	if (log->dropped)
		n = snprintf(whole, sizeof(whole), "%s warn " DROPPED "\n", when, log->dropped);
	n += snprintf(whole + n, sizeof(whole) - (size_t)n, "%s %s %s\n", when, level_names[level], line);
	/* A log that cannot be written must not stop the mount: nothing sensible is left to do. */
	bool written = has_room(log->fd) && write(log->fd, whole, (size_t)n) >= 0;

	log->dropped = written ? 0 : log->dropped + 1;
}

void bw_log(struct bw_log *log, enum bw_log_level level, const char *event, const char *fmt, ...)
{
	char line[LINE_MAX_BYTES];
	va_list ap;

	if (!log || level > log->level)
		return;
	int n = snprintf(line, sizeof(line), "%s%s", event, *fmt ? " " : "");

	va_start(ap, fmt);
	bw_cut_at_word(line + n, sizeof(line) - (size_t)n, vsnprintf(line + n, sizeof(line) - (size_t)n, fmt, ap));
	va_end(ap);
	/* One event is one line, whatever a file name or a server put into it. */
	for (char *p = line; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
	write_line(log, level, line);
}

char *bw_log_value(char *text)
{
	for (char *p = text; *p; p++)
		if (*p == '"')
			*p = '\'';
	return text;
}

/* What snprintf() may do with a lock or memory is not for a signal handler. */
static size_t add(char *line, size_t len, size_t at, const char *text)
{
	while (*text && at + 1 < len)
		line[at++] = *text++;
	line[at] = 0;
	return at;
}

static void syslog_dying(const struct bw_devlog *devlog, const char *text)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	char line[LINE_MAX_BYTES], pid[16], *digit = pid + sizeof(pid) - 1;

	if (fd < 0)
		return;
	*digit = 0;
	for (unsigned n = (unsigned)getpid(); n; n /= 10)
		*--digit = (char)('0' + n % 10);
	/* Priority 27: LOG_DAEMON | LOG_ERR. */
	size_t n = add(line, sizeof(line), 0, "<27>batchweave[");

	n = add(line, sizeof(line), n, digit);
	n = add(line, sizeof(line), n, "]: ");
	n = add(line, sizeof(line), n, text);
	(void)!sendto(fd, line, n, MSG_NOSIGNAL, (const struct sockaddr *)&devlog->daemon, sizeof(devlog->daemon));
	close(fd);
}

void bw_log_dying(const struct bw_log *log, const char *text)
{
	char line[LINE_MAX_BYTES], when[32];

	if (!log)
		return;
	if (log->to_syslog) {
		syslog_dying(&log->devlog, text);
		return;
	}
	bw_wall_text(bw_wall_ms(), when, sizeof(when));
	size_t n = add(line, sizeof(line) - 1, 0, when);

	n = add(line, sizeof(line) - 1, n, " error ");
	n = add(line, sizeof(line) - 1, n, text);
	n = add(line, sizeof(line), n, "\n");
	if (has_room(log->fd))
		(void)!write(log->fd, line, n);
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
