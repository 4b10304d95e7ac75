/* SPDX-License-Identifier: Apache-2.0 */
/* S5: a log that takes no more loses lines, and says how many; it holds nobody. */
#include "store/base/log.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINES 20000u	/* more than a pipe or a socket holds */

/* Takes everything that is there now; how many lines, and what they begin with. */
static unsigned take_lines(int fd, char *ret, size_t len)
{
	static char text[4u << 20];
	ssize_t n, at = 0;
	unsigned lines = 0;

	while ((n = read(fd, text + at, sizeof(text) - 1 - (size_t)at)) > 0)
		at += n;
	text[at] = 0;
	cr_assert(!at || text[at - 1] == '\n', "lines are whole");
	snprintf(ret, len, "%.*s", (int)len - 1, text);
	for (const char *line = text; *line; line = strchr(line, '\n') + 1)
		lines++;
	return lines;
}

/* ends: what is read from, and what the log is. */
static void fill_and_empty(const int ends[2])
{
	char said[1024], dropped[64];
	struct bw_log *log;
	int was = dup(STDERR_FILENO);

	cr_assert_eq(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
	cr_assert_eq(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
	cr_assert_eq(bw_log_open("stderr", BW_LOG_INFO, &log), 0);
	for (int round = 0; round < 2; round++) {
		for (unsigned i = 0; i < LINES; i++)
			bw_log(log, BW_LOG_INFO, "event", "number=%u round=%d", i, round);
		unsigned lines = take_lines(ends[0], said, sizeof(said));

		cr_assert(lines && lines < LINES);
		snprintf(dropped, sizeof(dropped), " warn lines_dropped lines=%u ", LINES - lines);
		bw_log(log, BW_LOG_ERROR, "last", "round=%d", round);
		cr_assert_eq(take_lines(ends[0], said, sizeof(said)), 2);
		cr_assert(strstr(said, dropped), "%s not in %s", dropped, said);
		cr_assert_eq(strstr(said, " error last round=") > strstr(said, dropped), true);
		bw_log(log, BW_LOG_INFO, "after", "%s", "");
		cr_assert_eq(take_lines(ends[0], said, sizeof(said)), 1, "it is told once");
	}
	bw_log_dying(log, "dies");
	cr_assert_eq(take_lines(ends[0], said, sizeof(said)), 1);
	for (unsigned i = 0; i < LINES; i++)
		bw_log_dying(log, "dies");
	bw_log_close(log);
	dup2(was, STDERR_FILENO);
	close(was);
	close(ends[0]);
	close(ends[1]);
}

Test(log, S5_a_pipe_that_nobody_empties, .timeout = 120)
{
	int ends[2];

	cr_assert_eq(pipe(ends), 0);
	fill_and_empty(ends);
}

Test(log, S5_a_socket_that_nobody_empties, .timeout = 120)
{
	int ends[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	fill_and_empty(ends);
}

/* Of a pipe without a reader and of a full disk nobody is told either, until there is room again. */
Test(log, lines_that_fail_are_counted)
{
	char said[1024];
	struct bw_log *log;
	int ends[2], was = dup(STDERR_FILENO), full = open("/dev/full", O_WRONLY | O_CLOEXEC);

	cr_assert(full >= 0 && pipe(ends) == 0 && fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0);
	cr_assert_eq(dup2(full, STDERR_FILENO), STDERR_FILENO);
	cr_assert_eq(bw_log_open("stderr", BW_LOG_INFO, &log), 0);
	for (int i = 0; i < 3; i++)
		bw_log(log, BW_LOG_INFO, "event", "%s", "");
	cr_assert_eq(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
	bw_log(log, BW_LOG_INFO, "event", "%s", "");
	dup2(was, STDERR_FILENO);
	cr_assert_eq(take_lines(ends[0], said, sizeof(said)), 2);
	cr_assert(strstr(said, " lines_dropped lines=3 "), "%s", said);
	bw_log_close(log);
	close(ends[0]);
	close(ends[1]);
	close(full);
	close(was);
}

/* A value ends at its quote. */
Test(log, quotes_in_a_value)
{
	char said[256], why[] = "profile \"a\" is gone", none[] = "";
	struct bw_log *log;
	int ends[2], was = dup(STDERR_FILENO);

	cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
	cr_assert_eq(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
	cr_assert_eq(bw_log_open("stderr", BW_LOG_INFO, &log), 0);
	bw_log(log, BW_LOG_WARN, "event", "why=\"%s\" none=\"%s\"", bw_log_value(why), bw_log_value(none));
	bw_log_close(log);
	dup2(was, STDERR_FILENO);
	close(was);
	close(ends[1]);
	cr_assert_eq(take_lines(ends[0], said, sizeof(said)), 1);
	cr_assert(strstr(said, " warn event why=\"profile 'a' is gone\" none=\"\"\n"), "%s", said);
	close(ends[0]);
}
