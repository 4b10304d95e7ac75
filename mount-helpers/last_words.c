/* SPDX-License-Identifier: Apache-2.0 */
/* Everything below handle() is async-signal-safe: system calls, and loops over static memory. */
#include "mount-helpers/last_words.h"

#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static const struct {
	int signal;
	const char *name;
} faults[] = {
	{SIGSEGV, "SIGSEGV"}, {SIGBUS, "SIGBUS"}, {SIGFPE, "SIGFPE"},	{SIGILL, "SIGILL"},
	{SIGABRT, "SIGABRT"}, {SIGSYS, "SIGSYS"}, {SIGTRAP, "SIGTRAP"},
};
#define FAULTS (sizeof(faults) / sizeof(faults[0]))

/* A handler is given no context of ours. */
static struct {
	_Atomic(const struct bw_log *) log;
	atomic_flag said;
	char dir[PATH_MAX];
	struct sigaction before[FAULTS];
} words = {.said = ATOMIC_FLAG_INIT};

struct line {
	char text[PATH_MAX + 512];
	size_t len;
};

static void add(struct line *l, const char *text)
{
	while (*text && l->len + 1 < sizeof(l->text))
		l->text[l->len++] = *text++;
	l->text[l->len] = 0;
}

static void add_number(struct line *l, uint64_t n, unsigned base)
{
	char digits[24], *at = digits + sizeof(digits) - 1;

	*at = 0;
	do
		*--at = "0123456789abcdef"[n % base];
	while (n /= base);
	add(l, at);
}

static void say(const char *name, const siginfo_t *info)
{
	static struct line l;	/* not on the stack, which may be what ran out */
	const struct bw_log *log = atomic_load(&words.log);
	char thread[16] = "?";

	if (!log || atomic_flag_test_and_set(&words.said))
		return;
	prctl(PR_GET_NAME, thread);
	add(&l, "fatal_signal signal=");
	add(&l, name);
	if (info->si_code <= 0) {
		add(&l, " from=");
		add_number(&l, (uint64_t)info->si_pid, 10);
	} else {
		add(&l, " address=0x");
		add_number(&l, (uintptr_t)info->si_addr, 16);
	}
	add(&l, " thread=");
	add(&l, thread);
	add(&l, " version=" BW_VERSION " dir=\"");
	add(&l, words.dir);
	add(&l, "\" note=\"the daemon ends here: programs get ENOTCONN until the stream is mounted again; "
		"what was acknowledged is committed, what was staged is gone\"");
	bw_log_dying(log, l.text);
}

static void handle(int sig, siginfo_t *info, void *context)
{
	size_t i = 0;

	(void)context;
	while (i + 1 < FAULTS && faults[i].signal != sig)
		i++;
	say(faults[i].name, info);
	sigaction(sig, &words.before[i], NULL);
	/* A fault happens again when this returns, now to whoever was here before; what was sent has to be sent. */
	if (info->si_code <= 0)
		raise(sig);
}

void bw_last_words_begin(const struct bw_log *log, const char *dir)
{
	struct sigaction sa = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_ONSTACK};

	strncpy(words.dir, dir, sizeof(words.dir) - 1);
	for (char *p = words.dir; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == '"' || *p == 0x7f)
			*p = '?';
	atomic_store(&words.log, log);
	sigemptyset(&sa.sa_mask);
	for (size_t i = 0; i < FAULTS; i++) {
		sigaction(faults[i].signal, &sa, &words.before[i]);
		/* A caller that ignores them does not mean us: a fault that is ignored happens for ever. */
		if (!(words.before[i].sa_flags & SA_SIGINFO) && words.before[i].sa_handler == SIG_IGN)
			words.before[i].sa_handler = SIG_DFL;
	}
}

void bw_last_words_end(void)
{
	atomic_store(&words.log, NULL);
}
