/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The system calls of the file backend, seen and made to fail: the program's own fsync() and its like
 * stand before the C library's.  Included once in a program.
 */
#ifndef BW_TESTS_STORE_FILE_CALLS_H
#define BW_TESTS_STORE_FILE_CALLS_H

#include "tests/support/stores.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum call { NONE, FSYNC_FILE, FSYNC_DIR, LINK, RENAME, UNLINK, WRITE, PREAD };

/* What was called, in order; one worker thread calls.  What is not atomic here changes while that has nothing to do. */
static struct {
	atomic_bool on;
	char text[1024];	/* "fsync(a/b) link(a/b/c) ...", with text_lock where the worker may be at it */
	_Atomic enum call fail;
	int err;
	bool fail_after;	/* the call is made before it fails */
	unsigned skip;		/* calls of that kind that do not fail */
	unsigned times;		/* that do, then; 0: all */
	char root[BW_TMPDIR_MAX];
	void (*at_listing)(void);	/* called before a directory is read */
	void (*at_unlink)(void);	/* called before a name is removed */
	bool forge_identity;	/* statx() says what follows */
	uint64_t ino;
	int64_t btime;		/* negative: the file system knows none */
	int refuse_openat2;	/* errno */
	unsigned openat2_n, openat_n;
	/* Two fsyncs at a time: each waits for the other, a while. */
	bool meet;
	atomic_uint file_syncs, dir_syncs, met;
	bool also_unlink;	/* fails, with calls.err, of objects */
} calls;
static pthread_mutex_t text_lock = PTHREAD_MUTEX_INITIALIZER;

/* Begins anew. */
static inline void watch_calls(void)
{
	pthread_mutex_lock(&text_lock);
	calls.text[0] = 0;
	pthread_mutex_unlock(&text_lock);
	calls.on = true;
}

static inline bool was_called(const char *what)
{
	pthread_mutex_lock(&text_lock);
	bool is = strstr(calls.text, what);
	pthread_mutex_unlock(&text_lock);
	return is;
}

static bool fails(enum call call)
{
	if (!calls.on || calls.fail != call)
		return false;
	if (calls.skip > 0) {
		calls.skip--;
		return false;
	}
	if (calls.times && --calls.times == 0)
		calls.fail = NONE;
	errno = calls.err;
	return true;
}

/* The path of fd below the store directory: "." for itself, "tmp" for any temporary file. */
static void note(const char *what, int fd, const char *name)
{
	char link[64], path[512], entry[600];

	if (!calls.on)
		return;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, path, sizeof(path) - 1);
	path[n < 0 ? 0 : n] = 0;
	size_t root = strlen(calls.root);
	const char *at = strncmp(path, calls.root, root) == 0 ? path + root : path;
	at = *at == '/' ? at + 1 : at;
	if (strncmp(at, ".tmp", 4) == 0)
		snprintf(entry, sizeof(entry), "%s(tmp) ", what);
	else
		snprintf(entry, sizeof(entry), "%s(%s%s%s) ", what, *at ? at : name ? "" : ".",
			 *at && name ? "/" : "", name ? name : "");
	pthread_mutex_lock(&text_lock);
	strncat(calls.text, entry, sizeof(calls.text) - strlen(calls.text) - 1);
	pthread_mutex_unlock(&text_lock);
}

long syscall(long number, ...)
{
	long (*real)(long, ...) = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
	va_list args;
	long a[6];

	va_start(args, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(args, long);
	va_end(args);
	if (number == SYS_openat2 && calls.on) {
		calls.openat2_n++;
		if (calls.refuse_openat2) {
			errno = calls.refuse_openat2;
			return -1;
		}
	}
	return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int openat64(int dir, const char *name, int flags, ...)
{
	va_list args;

	va_start(args, flags);
	mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
	va_end(args);
	calls.openat_n += calls.on;
	return (int)syscall(SYS_openat, dir, name, flags, mode);
}

static void meet(enum call call)
{
	atomic_fetch_add(call == FSYNC_DIR ? &calls.dir_syncs : &calls.file_syncs, 1);
	for (int i = 0; i < 10000 && (!calls.dir_syncs || !calls.file_syncs); i++)
		usleep(1000);
	atomic_fetch_add(&calls.met, calls.dir_syncs && calls.file_syncs);
}

int fsync(int fd)
{
	struct stat st;
	enum call call = fstat(fd, &st) == 0 && S_ISDIR(st.st_mode) ? FSYNC_DIR : FSYNC_FILE;

	if (calls.meet) {
		meet(call);
		return (int)syscall(SYS_fsync, fd);
	}
	note("fsync", fd, NULL);
	return fails(call) ? -1 : (int)syscall(SYS_fsync, fd);
}

int linkat(int from, const char *name, int to, const char *new_name, int flags)
{
	note("link", to, new_name);
	if (calls.fail_after && calls.fail == LINK)
		syscall(SYS_linkat, from, name, to, new_name, flags);
	return fails(LINK) ? -1 : (int)syscall(SYS_linkat, from, name, to, new_name, flags);
}

int renameat(int from, const char *name, int to, const char *new_name)
{
	note("rename", to, new_name);
	if (calls.fail_after && calls.fail == RENAME)
		syscall(SYS_renameat, from, name, to, new_name);
	return fails(RENAME) ? -1 : (int)syscall(SYS_renameat, from, name, to, new_name);
}

int unlinkat(int dir, const char *name, int flags)
{
	note("unlink", dir, name);
	if (calls.on && calls.at_unlink)
		calls.at_unlink();
	if (calls.on && calls.also_unlink && !strchr(name, '-')) {
		errno = calls.err;
		return -1;
	}
	return fails(UNLINK) ? -1 : (int)syscall(SYS_unlinkat, dir, name, flags);
}

ssize_t write(int fd, const void *bytes, size_t len)
{
	if (calls.on)
		len = len > 1000 ? 1000 : len;	/* short writes are legal */
	return fails(WRITE) ? -1 : (ssize_t)syscall(SYS_write, fd, bytes, len);
}

/* Fails with 0, too: the end of the file. */
static ssize_t pread_short(int fd, void *bytes, size_t len, off_t off)
{
	if (calls.on)
		len = len > 1000 ? 1000 : len;
	if (fails(PREAD))
		return calls.err ? -1 : 0;
	return (ssize_t)syscall(SYS_pread64, fd, bytes, len, off);
}

ssize_t pread64(int fd, void *bytes, size_t len, off64_t off)
{
	return pread_short(fd, bytes, len, off);
}

DIR *fdopendir(int fd)
{
	DIR *(*real)(int) = (DIR * (*)(int)) dlsym(RTLD_NEXT, "fdopendir");

	if (calls.on && calls.at_listing)
		calls.at_listing();
	return real(fd);
}

int statx(int dir, const char *path, int flags, unsigned mask, struct statx *ret)
{
	int rc = (int)syscall(SYS_statx, dir, path, flags, mask, ret);

	if (rc == 0 && calls.forge_identity) {
		ret->stx_ino = calls.ino;
		ret->stx_btime.tv_sec = calls.btime;
		if (calls.btime < 0)
			ret->stx_mask &= ~STATX_BTIME;
		else
			ret->stx_mask |= STATX_BTIME;
	}
	return rc;
}

struct fixture {
	char dir[BW_TMPDIR_MAX];
	struct bw_store *s;
};

static void setup(struct fixture *f)
{
	memset(&calls, 0, sizeof(calls));
	bw_test_tmpdir(f->dir);
	snprintf(calls.root, sizeof(calls.root), "%s", f->dir);
	cr_assert_eq(bw_store_file_new(f->dir, false, 1, &f->s), 0);
	/* The first put of all names the store. */
	cr_assert_eq(bw_test_put(f->s, "0", "", 0, true), BW_OK);
}

static void teardown(struct fixture *f)
{
	bw_store_free(f->s);
	bw_test_rmtree(f->dir);
}

struct ending {
	enum bw_outcome outcome;
	int err;
};

static inline struct ending end_of(struct bw_store *s, struct bw_op *op)
{
	watch_calls();
	bw_store_sync(s, op);
	calls.on = false;
	calls.fail = NONE;
	bw_op_done(op);
	return (struct ending){op->outcome, op->err};
}

static inline struct ending put_bytes(struct fixture *f, const char *key, const void *bytes, size_t len,
			       bool if_absent)
{
	struct bw_bytes_body body;
	struct bw_op op;

	bw_bytes_body_init(&body, bytes, len);
	bw_op_put(&op, key, &body.body, if_absent);
	return end_of(f->s, &op);
}

static inline struct ending put(struct fixture *f, const char *key, bool if_absent)
{
	return put_bytes(f, key, "bytes", 5, if_absent);
}

static void fail_next(enum call call, int err)
{
	calls.fail = call;
	calls.err = err;
	calls.skip = calls.times = 0;
	calls.fail_after = false;
}

#define expect(result, wanted, wanted_err)                                                         \
	do {                                                                                       \
		struct ending expect_r = (result);                                                 \
		cr_assert_eq(expect_r.outcome, wanted, "%s, not %s",                               \
			     bw_outcome_name(expect_r.outcome), bw_outcome_name(wanted));          \
		cr_assert_eq(expect_r.err, wanted_err, "err %d", expect_r.err);                    \
	} while (0)

static inline bool is_there(struct fixture *f, const char *key)
{
	return bw_test_holds(f->s, key, "bytes", 5);
}

#endif
