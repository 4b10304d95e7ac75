/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Criterion's tests without Criterion, for ThreadSanitizer: the library's runner keeps a heap of its own at
 * fixed addresses, which are the sanitizer's, and cannot start.  This has what the macros of its headers call,
 * and a main() that runs each test in a child, one after the other.
 *
 * PROGRAM [--jobs 1] [--filter SUITE/TEST] (with * and ?)
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <fnmatch.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SLOWER 5u	/* than the timeouts of the tests are for */

extern struct criterion_test *__start_cr_tst[], *__stop_cr_tst[];
extern struct criterion_suite *__start_cr_sts[] __attribute__((weak));
extern struct criterion_suite *__stop_cr_sts[] __attribute__((weak));

struct criterion_options criterion_options;

/* The test that this child runs. */
static struct {
	const struct criterion_test *test;
	const struct criterion_suite *suite;
	const struct criterion_test_params *params;
	size_t param;
	pthread_t thread;
	jmp_buf end;
	bool failed;
} now;

/* ---- What the macros call --------------------------------------------------------------------------- */

void criterion_internal_test_setup(void)
{
	if (now.suite && now.suite->data->init)
		now.suite->data->init();
	if (now.test->data->init)
		now.test->data->init();
}

void criterion_internal_test_main(void (*fn)(void))
{
	if (setjmp(now.end))
		return;
	if (now.params)
		((void (*)(void *))fn)((char *)now.params->params + now.param * now.params->size);
	else
		fn();
}

void criterion_internal_test_teardown(void)
{
	if (now.test->data->fini)
		now.test->data->fini();
	if (now.suite && now.suite->data->fini)
		now.suite->data->fini();
}

void criterion_send_assert(struct criterion_assert_stats *stats)
{
	fprintf(stderr, "%s:%u: %s\n", stats->file, stats->line, stats->message);
}

void criterion_continue_test(void)
{
	now.failed = true;
}

void criterion_abort_test(void)
{
	now.failed = true;
	if (!pthread_equal(now.thread, pthread_self()))
		_exit(1);
	longjmp(now.end, 1);
}

void criterion_skip_test(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputs(": skipped\n", stderr);
	longjmp(now.end, 1);
}

void cri_asserts_passed_incr(void)
{
}

char *cr_translate_assert_msg(int index, ...)
{
	va_list args;

	(void)index;
	va_start(args, index);
	char *expression = strdup(va_arg(args, const char *));
	va_end(args);
	return expression;
}

int cr_asprintf(char **ret, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	int n = vasprintf(ret, format, args);
	va_end(args);
	return n;
}

void cr_asprintf_free(char *text)
{
	free(text);
}

void cr_log(enum criterion_severity severity, const char *format, ...)
{
	va_list args;

	(void)severity;
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}

/* ---- The runner ------------------------------------------------------------------------------------- */

static const struct criterion_suite *suite_of(const struct criterion_test *t)
{
	for (struct criterion_suite **s = __start_cr_sts; s < __stop_cr_sts; s++)
		if (*s && !strcmp((*s)->name, t->category))
			return *s;
	return NULL;
}

static double timeout_of(const struct criterion_test *t, const struct criterion_suite *s)
{
	return t->data->timeout > 0 ? t->data->timeout : s ? s->data->timeout : 0;
}

static _Noreturn void child(const struct criterion_test *t, const struct criterion_test_params *params, size_t param)
{
	now.test = t;
	now.suite = suite_of(t);
	now.params = params;
	now.param = param;
	now.thread = pthread_self();
	alarm((unsigned)timeout_of(t, now.suite) * SLOWER);
	t->test();
	exit(now.failed);	/* where a report made it end otherwise, by the sanitizer */
}

static bool passes(const struct criterion_test *t, const struct criterion_test_params *params, size_t param)
{
	struct timespec from, to;
	int status;

	fflush(NULL);
	clock_gettime(CLOCK_MONOTONIC, &from);
	pid_t pid = fork();

	if (!pid)
		child(t, params, param);
	if (pid < 0 || waitpid(pid, &status, 0) != pid) {
		perror("fork");
		exit(2);
	}
	clock_gettime(CLOCK_MONOTONIC, &to);
	bool ok = WIFEXITED(status) && WEXITSTATUS(status) == 0;

	printf("%s %s/%s", ok ? "ok    " : "FAILED", t->category, t->name);
	if (params)
		printf(" %zu", param);
	printf(", %.1f s", (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9);
	if (!ok)
		printf(", %s %d", WIFSIGNALED(status) ? "signal" : "status",
		       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	putchar('\n');
	return ok;
}

static unsigned failures(const struct criterion_test *t)
{
	unsigned n = 0;

	if (t->data->kind_ != CR_TEST_PARAMETERIZED)
		return !passes(t, NULL, 0);
	struct criterion_test_params params = t->data->param_();

	for (size_t i = 0; i < params.length; i++)
		n += !passes(t, &params, i);
	if (params.cleanup)
		params.cleanup(&params);
	return n;
}

int main(int argc, char **argv)
{
	const char *filter = "*";
	unsigned tests = 0, failed = 0;

	for (int i = 1; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "--filter"))
			filter = argv[i + 1];
		else if (strcmp(argv[i], "--jobs") != 0)
			return 2;
	}
	for (struct criterion_test **t = __start_cr_tst; t < __stop_cr_tst; t++) {
		char name[512];

		if (!*t)
			continue;
		snprintf(name, sizeof(name), "%s/%s", (*t)->category, (*t)->name);
		if (fnmatch(filter, name, 0) != 0)
			continue;
		tests++;
		failed += failures(*t);
	}
	printf("%u tests, %u failed\n", tests, failed);
	return failed || !tests;
}
