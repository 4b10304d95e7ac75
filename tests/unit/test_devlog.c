/* SPDX-License-Identifier: Apache-2.0 */
/* S5: a syslog daemon that takes nothing, goes away or was never there holds nobody. */
#include "store/base/log.h"

#include "tests/support/tmpdir.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define LINES 5000u	/* more than a socket holds */

struct world {
	char dir[BW_TMPDIR_MAX];
	struct sockaddr_un at;
	struct bw_log *log;
	int fd;			/* the daemon's; -1: none is there */
};

static void daemon_start(struct world *w, int type)
{
	w->fd = socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	cr_assert_geq(w->fd, 0);
	cr_assert_eq(bind(w->fd, (struct sockaddr *)&w->at, sizeof(w->at)), 0);
	cr_assert(type != SOCK_STREAM || listen(w->fd, 4) == 0);
}

/* killed: as by kill -9, so that its name stays. */
static void daemon_end(struct world *w, bool killed)
{
	close(w->fd);
	w->fd = -1;
	cr_assert(killed || unlink(w->at.sun_path) == 0);
}

static void setup(struct world *w)
{
	*w = (struct world){.at.sun_family = AF_UNIX, .fd = -1};
	bw_test_tmpdir(w->dir);
	cr_assert_lt(strlen(w->dir) + sizeof("/log"), sizeof(w->at.sun_path));
	snprintf(w->at.sun_path, sizeof(w->at.sun_path), "%.90s/log", w->dir);
	cr_assert_eq(bw_log_open_syslog(w->at.sun_path, BW_LOG_INFO, &w->log), 0);
}

static void teardown(struct world *w)
{
	bw_log_close(w->log);
	if (w->fd >= 0)
		close(w->fd);
	bw_test_rmtree(w->dir);
}

static void say(struct world *w, unsigned number)
{
	bw_log(w->log, BW_LOG_WARN, "event", "number=%u", number);
}

/* What follows the tag in the next record; "": there is none. */
static const char *heard(struct world *w)
{
	static char record[4096];
	ssize_t n = recv(w->fd, record, sizeof(record) - 1, 0);

	record[n > 0 ? n : 0] = 0;
	char *text = strstr(record, "]: ");

	cr_assert(n <= 0 || text, "%s", record);
	return n > 0 ? text + 3 : "";
}

static void assert_heard(struct world *w, const char *expected)
{
	const char *text = heard(w);

	cr_assert_str_eq(text, expected, "%s instead of %s", text, expected);
}

/* RFC 3164 without the host, as syslog(3) writes it here. */
Test(devlog, a_record_has_the_form_of_syslog)
{
	char record[4096], pattern[256], when[32];
	struct world w;
	regex_t form;

	cr_assert_eq(setenv("TZ", "XYZ-5:30", 1), 0);
	tzset();
	setup(&w);
	daemon_start(&w, SOCK_DGRAM);
	time_t before, after;
	ssize_t n;

	do {
		before = time(NULL);
		bw_log(w.log, BW_LOG_ERROR, "event", "name=\"%s\" number=%d", "a\nb", 7);
		after = time(NULL);
		n = recv(w.fd, record, sizeof(record) - 1, 0);
		cr_assert_gt(n, 0);
	} while (before != after);
	record[n] = 0;
	snprintf(pattern, sizeof(pattern), "^<27>[A-Z][a-z]{2} [ 0-9][0-9] [0-9]{2}:[0-9]{2}:[0-9]{2} batchweave\\[%d\\]: "
		 "event name=\"a\\?b\" number=7$", (int)getpid());
	cr_assert_eq(regcomp(&form, pattern, REG_EXTENDED | REG_NOSUB), 0);
	cr_assert_eq(regexec(&form, record, 0, NULL, 0), 0, "%s", record);
	regfree(&form);
	strftime(when, sizeof(when), "%b %e %T", localtime(&before));
	cr_assert_eq(strncmp(record + 4, when, strlen(when)), 0, "%s: %s", when, record);
	bw_log(w.log, BW_LOG_WARN, "warn", "%s", "");
	bw_log(w.log, BW_LOG_INFO, "info", "%s", "");
	cr_assert(recv(w.fd, record, sizeof(record), 0) > 4 && strncmp(record, "<28>", 4) == 0);
	cr_assert(recv(w.fd, record, sizeof(record), 0) > 4 && strncmp(record, "<30>", 4) == 0);
	bw_log(w.log, BW_LOG_DEBUG, "debug", "%s", "");
	bw_log_dying(w.log, "dies");
	assert_heard(&w, "dies");
	teardown(&w);
}

Test(devlog, S5_a_daemon_that_takes_nothing, .timeout = 120)
{
	char dropped[128];
	struct world w;

	setup(&w);
	daemon_start(&w, SOCK_DGRAM);
	for (int round = 0; round < 2; round++) {
		unsigned n = 0;

		for (unsigned i = 0; i < LINES; i++)
			say(&w, i);
		while (*heard(&w))
			n++;
		cr_assert(n && n < LINES);
		snprintf(dropped, sizeof(dropped), "lines_dropped lines=%u reason=\"the log took no more\"", LINES - n);
		say(&w, LINES);
		assert_heard(&w, dropped);
		assert_heard(&w, "event number=5000");
		say(&w, LINES + 1);
		assert_heard(&w, "event number=5001");
		assert_heard(&w, "");
	}
	teardown(&w);
}

Test(devlog, a_daemon_that_was_started_again)
{
	struct world w;

	setup(&w);
	for (int killed = 0; killed < 2; killed++) {
		daemon_start(&w, SOCK_DGRAM);
		say(&w, 1);
		assert_heard(&w, "event number=1");
		daemon_end(&w, false);
		daemon_start(&w, SOCK_DGRAM);
		say(&w, 2);
		assert_heard(&w, "event number=2");
		daemon_end(&w, killed);
		say(&w, 3);
		say(&w, 4);
		cr_assert(!killed || unlink(w.at.sun_path) == 0);
		daemon_start(&w, SOCK_DGRAM);
		say(&w, 5);
		assert_heard(&w, "lines_dropped lines=2 reason=\"the log took no more\"");
		assert_heard(&w, "event number=5");
		daemon_end(&w, false);
	}
	teardown(&w);
}

Test(devlog, no_daemon_at_all)
{
	char path[200];
	struct world w;
	struct bw_log *log;

	setup(&w);
	for (unsigned i = 0; i < 10; i++)
		say(&w, i);
	bw_log_dying(w.log, "dies");
	bw_log_reopen(w.log);
	teardown(&w);
	memset(path, 'a', sizeof(path) - 1);
	path[sizeof(path) - 1] = 0;
	cr_assert_eq(bw_log_open_syslog(path, BW_LOG_INFO, &log), -ENAMETOOLONG);
}

/* As syslog-ng's unix-stream(). */
Test(devlog, a_daemon_of_streams)
{
	char text[4096];
	struct world w;

	setup(&w);
	daemon_start(&w, SOCK_STREAM);
	say(&w, 1);
	say(&w, 2);
	int fd = accept4(w.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	cr_assert_geq(fd, 0);
	ssize_t n = recv(fd, text, sizeof(text), 0);
	char *end = n > 0 ? memchr(text, 0, (size_t)n) : NULL;

	cr_assert(end && strstr(text, "]: event number=1"));
	cr_assert(text[n - 1] == 0 && strstr(end + 1, "]: event number=2"), "a NUL ends each");
	close(fd);
	say(&w, 3);
	fd = accept4(w.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	cr_assert_geq(fd, 0);
	n = recv(fd, text, sizeof(text), 0);
	cr_assert(n > 0 && strstr(text, "]: event number=3"));
	for (unsigned i = 0; i < LINES; i++)
		say(&w, i);
	close(fd);
	teardown(&w);
}
