/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The FUSE session: mounting, the threads that serve it, unmounting.
 *
 * The loop is ours, not libfuse's: its threads are cancelled while they read, ours are told to stop and
 * woken by a signal, so that no lock is ever lost.
 */
#include "fs/fuse_ops.h"

#include "store/base/clock.h"
#include "store/base/parse.h"
#include "store/base/proc.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define WAKE_SIGNAL SIGUSR2
#define INIT_LIMIT_NS (30 * BW_SEC)
#define READ_AHEAD_KB 1024

/*
 * What a thread did before it replied has happened before the next request of the caller: the kernel
 * orders them, which ThreadSanitizer cannot see.
 */
#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#define SEND_ORDER(session) __tsan_release(session)
#define RECEIVE_ORDER(session) __tsan_acquire(session)
#else
#define SEND_ORDER(session) ((void)(session))
#define RECEIVE_ORDER(session) ((void)(session))
#endif

static void woken(int sig)
{
	(void)sig;
}

static void *serve(void *arg)
{
	struct bw_fs *fs = arg;
	struct fuse_buf buf = {.mem = NULL};
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, WAKE_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	while (!atomic_load(&fs->exiting) && !fuse_session_exited(fs->session)) {
		int n = fuse_session_receive_buf(fs->session, &buf);
		if (n == -EINTR || n == -EAGAIN)
			continue;
		if (n <= 0)
			break;
		fuse_session_process_buf(fs->session, &buf);
	}
	free(buf.mem);
	bw_lock(&fs->lock);
	bool last = --fs->serving == 0;
	bw_cond_broadcast(&fs->changed);
	bw_unlock(&fs->lock);
	if (last)
		bw_fs_stop(fs);		/* unmounted from outside */
	return NULL;
}

/*
 * libfuse before 3.17 never tells the kernel that look-ups of one directory may run side by side, so
 * the kernel would line up everybody who polls /step, 100 ms each (V3), and behind them `ls` (V7).  Nor that
 * files past the page cache may be mapped all the same, which numpy.memmap does.  That holds for all of a mount, staged files
 * too, whose shared mappings must be refused (P2); so only where there are none.  The first request of a session and its
 * first reply are INIT's: what is offered is seen there, and the flags are put into it on its way.
 */
#define OPCODE_INIT 26			/* FUSE_INIT of the kernel's fuse.h, as what follows */
#define INIT_IN_OPCODE 4		/* offsets in struct fuse_in_header and, behind it, struct fuse_init_in */
#define INIT_IN_FLAGS (40 + 12)
#define INIT_IN_FLAGS2 (40 + 16)
#define INIT_OUT_FLAGS 12		/* offsets in struct fuse_init_out */
#define INIT_OUT_MIN 24			/* its first released length */
#define INIT_OUT_FLAGS2 32
#define INIT_OUT_LEN 64
#define PARALLEL_DIROPS (1u << 18)	/* FUSE_PARALLEL_DIROPS */
#define INIT_EXT (1u << 30)		/* FUSE_INIT_EXT: flags2 counts */
#define DIRECT_IO_ALLOW_MMAP (1u << 4)	/* FUSE_DIRECT_IO_ALLOW_MMAP, in flags2 */

static uint32_t flags_at(const void *bytes, size_t offset)
{
	uint32_t flags;

	memcpy(&flags, (const char *)bytes + offset, sizeof(flags));
	return flags;
}

static void add_flags(void *bytes, size_t offset, uint32_t more)
{
	uint32_t flags = flags_at(bytes, offset) | more;

	memcpy((char *)bytes + offset, &flags, sizeof(flags));
}

static void see_init(struct bw_fs *fs, const void *request, size_t len)
{
	if (fs->o.ro && len >= INIT_IN_FLAGS2 + sizeof(uint32_t) && flags_at(request, INIT_IN_OPCODE) == OPCODE_INIT &&
	    flags_at(request, INIT_IN_FLAGS) & INIT_EXT)
		fs->direct_mmap = flags_at(request, INIT_IN_FLAGS2) & DIRECT_IO_ALLOW_MMAP;
}

static void add_to_init(struct bw_fs *fs, void *reply, size_t len)
{
	if (fs->parallel_dirops && len >= INIT_OUT_MIN)
		add_flags(reply, INIT_OUT_FLAGS, PARALLEL_DIROPS);
	if (fs->direct_mmap && len >= INIT_OUT_LEN) {
		add_flags(reply, INIT_OUT_FLAGS, INIT_EXT);
		add_flags(reply, INIT_OUT_FLAGS2, DIRECT_IO_ALLOW_MMAP);
	} else {
		bw_once_give_up(&fs->once);
	}
}

static ssize_t pass_read(int fd, void *buf, size_t len, void *userdata)
{
	struct bw_fs *fs = userdata;
	ssize_t n = read(fd, buf, len);

	RECEIVE_ORDER(fs->session);
	if (n > 0 && !atomic_load(&fs->init_replied))
		see_init(fs, buf, (size_t)n);
	return n;
}

/* Not before: the kernel sets readahead to its own idea when it takes the answer. */
static void say_ready(struct bw_fs *fs)
{
	BW_LOCK_SCOPE(&fs->lock);
	fs->ready = true;
	bw_cond_broadcast(&fs->changed);
}

static ssize_t pass_writev(int fd, struct iovec *iov, int count, void *userdata)
{
	struct bw_fs *fs = userdata;

	bool is_init = !atomic_exchange(&fs->init_replied, true) && count == 2;

	if (is_init)
		add_to_init(fs, iov[1].iov_base, iov[1].iov_len);
	SEND_ORDER(fs->session);
	/* Not writev(): sanitizers look at the bytes once more after the call, and by then the caller may
	 * have read them and closed its file, which frees them. */
	ssize_t n = -1;

	atomic_fetch_add(&fs->replying, 1);
	if (atomic_load(&fs->unmounting))
		errno = ENODEV;
	else
		n = syscall(SYS_writev, fd, iov, count);
	atomic_fetch_sub(&fs->replying, 1);

	if (is_init && n > 0)
		say_ready(fs);
	return n;
}

static int pass_through(struct fuse_session *session)
{
	static const struct fuse_custom_io io = {.read = pass_read, .writev = pass_writev};

	return fuse_session_custom_io(session, &io, fuse_session_fd(session));
}

static int session_new(struct bw_fs *fs)
{
	char name[4200], *argv[8];
	int argc = 0;

	/* Commas and backslashes of the URL would be options. */
	size_t n = (size_t)snprintf(name, sizeof(name), "fsname=");

	for (const char *p = fs->url_text; *p && n + 3 < sizeof(name); p++) {
		if (*p == ',' || *p == '\\')
			name[n++] = '\\';
		name[n++] = *p;
	}
	name[n] = 0;
	argv[argc++] = (char *)"batchweave";
	argv[argc++] = (char *)"-o";
	argv[argc++] = name;
	argv[argc++] = (char *)"-o";
	char options[160];

	snprintf(options, sizeof(options), "subtype=batchweave,default_permissions,nodev,nosuid,noatime%s%s",
		 fs->o.allow_other ? ",allow_other" : "", fs->o.ro ? ",ro" : "");
	argv[argc++] = options;
	if (fs->o.debug)
		argv[argc++] = (char *)"-d";
	struct fuse_args args = FUSE_ARGS_INIT(argc, argv);

	fs->session = fuse_session_new(&args, &bw_fuse_ops, sizeof(bw_fuse_ops), fs);
	fuse_opt_free_args(&args);
	return fs->session ? 0 : -EINVAL;
}

int bw_fs_passed_fd(const char *dir)
{
	static const char prefix[] = "/dev/fd/";
	uint64_t fd;

	if (strncmp(dir, prefix, sizeof(prefix) - 1) != 0 ||
	    bw_parse_u64(dir + sizeof(prefix) - 1, INT_MAX, &fd))
		return -1;
	return (int)fd;
}

/* The first line in text that libfuse or fusermount3 wrote, without their names; "" for none. */
static const char *reason_of(char *text)
{
	static const char *const from[] = {"fusermount3: ", "fuse: "};

	for (char *line; (line = strsep(&text, "\n"));)
		for (size_t i = 0; i < sizeof(from) / sizeof(from[0]); i++)
			if (strncmp(line, from[i], strlen(from[i])) == 0)
				return line + strlen(from[i]);
	return "";
}

/*
 * Mounts.  What libfuse and fusermount3 say about a failure goes to standard error, which a daemon does not
 * have: it is held while they work, and passed on when there was none.
 */
static bool mount_session(struct bw_fs *fs, char *said, size_t said_len)
{
	int held = memfd_create("batchweave-mount", MFD_CLOEXEC);
	int was = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	bool hears = held >= 0 && was >= 0 && dup2(held, STDERR_FILENO) == STDERR_FILENO;
	bool ok = fuse_session_mount(fs->session, fs->dir) == 0;
	ssize_t n = 0;

	if (hears) {
		dup2(was, STDERR_FILENO);
		n = pread(held, said, said_len - 1, 0);
		if (n > 0 && ok)
			(void)!write(STDERR_FILENO, said, (size_t)n);
	}
	said[n > 0 ? n : 0] = 0;
	if (held >= 0)
		close(held);
	if (was >= 0)
		close(was);
	return ok;
}

#define IN_A_CONTAINER "in a container, give it the device and the right to mount: docker run --device /dev/fuse --cap-add SYS_ADMIN"

/* What somebody can do about words of libfuse, fusermount3 and mount(2). */
static const struct remedy {
	const char *words, *remedy;
	enum bw_fs_failure code;
} remedies[] = {
	{"allow_other", "as root: echo user_allow_other >> /etc/fuse.conf; or leave out allow_other", BW_FS_USAGE},
	{"no write access to mountpoint", "mount on a directory that belongs to this user", BW_FS_USAGE},
	{"not owned by user", "mount on a directory that belongs to this user", BW_FS_USAGE},
	{"too many FUSE filesystems", "as root: raise mount_max in /etc/fuse.conf", BW_FS_MOUNT_FAILED},
	{"exec fusermount3", "install it (apt-get install fuse3), or mount as root", BW_FS_SYSTEM},
	{"not permitted", "mount as root, or as a user through fusermount3, which must be setuid root; " IN_A_CONTAINER
	 " --security-opt apparmor=unconfined", BW_FS_USAGE},
	{"ermission denied", "mount as root, or on a directory that belongs to this user; " IN_A_CONTAINER, BW_FS_USAGE},
};

static int say_not_mounted(const struct bw_fs *fs, char *said, char *why, size_t why_len)
{
	const char *reason = reason_of(said);

	for (size_t i = 0; i < sizeof(remedies) / sizeof(remedies[0]); i++) {
		if (strstr(reason, remedies[i].words)) {
			snprintf(why, why_len, "cannot mount on %s: %s; %s", fs->dir, reason, remedies[i].remedy);
			return remedies[i].code;
		}
	}
	snprintf(why, why_len, "cannot mount on %s: %s", fs->dir,
		 *reason ? reason : "only root may, or fusermount3, if it is installed, for others");
	return BW_FS_MOUNT_FAILED;
}

/* Asked before libfuse, whose words do not tell what to do. */
static int check_device(char *why, size_t why_len)
{
	if (access("/dev/fuse", R_OK | W_OK) == 0)
		return 0;
	bool refused = errno == EACCES || errno == EPERM;

	snprintf(why, why_len, "/dev/fuse cannot be opened (%s): as root, %s; " IN_A_CONTAINER, strerrordesc_np(errno),
		 refused ? "chmod 666 /dev/fuse" : "modprobe fuse");
	return refused ? BW_FS_USAGE : BW_FS_SYSTEM;
}

/* Tells this mount from others that come to be at the same path. */
static void remember_device(struct bw_fs *fs)
{
	bw_proc_mount_at(fs->dir, &fs->dev_major, &fs->dev_minor);
}

int bw_fuse_mount(struct bw_fs *fs, char *why, size_t why_len)
{
	char said[1024];

	int code = bw_fs_passed_fd(fs->dir) < 0 ? check_device(why, why_len) : 0;

	if (code)
		return code;
	if (session_new(fs)) {
		snprintf(why, why_len, "cannot set up FUSE");
		return BW_FS_SYSTEM;
	}
	if (!mount_session(fs, said, sizeof(said)))
		return say_not_mounted(fs, said, why, why_len);
	fs->mounted = true;
	remember_device(fs);
	if (pass_through(fs->session)) {
		snprintf(why, why_len, "cannot set up FUSE");
		return BW_FS_SYSTEM;
	}
	return 0;
}

/* The kernel caps readahead at 128 KiB until this is raised, which root may do. */
static void raise_readahead(struct bw_fs *fs)
{
	char path[128] = "/sys/class/bdi/$(mountpoint -d DIR)/read_ahead_kb";
	const char *why = "the device of the mount is not known: somebody else has mounted";
	int fd = -1;

	if (fs->dev_major || fs->dev_minor) {
		snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/read_ahead_kb", fs->dev_major, fs->dev_minor);
		fd = open(path, O_WRONLY | O_CLOEXEC);
		why = fd < 0 || dprintf(fd, "%d\n", READ_AHEAD_KB) < 0 ? strerrordesc_np(errno) : NULL;
	}
	if (fd >= 0)
		close(fd);
	if (why)
		bw_log(fs->log, BW_LOG_INFO, "readahead_not_raised",
		       "file=\"%s\" reason=\"%s\" remedy=\"as root: echo %d > %s\"", path, why, READ_AHEAD_KB, path);
}

unsigned bw_fuse_threads(void)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned n = cpus < 2 ? 2 : (unsigned)cpus + 1;

	return n < BW_FUSE_THREADS_MAX ? n : BW_FUSE_THREADS_MAX;
}

int bw_fuse_serve(struct bw_fs *fs)
{
	struct sigaction sa = {.sa_handler = woken};	/* no SA_RESTART: it ends a read */
	unsigned n = bw_fuse_threads();
	int err = 0;

	sigaction(WAKE_SIGNAL, &sa, NULL);
	bw_lock(&fs->lock);
	fs->serving = n;
	bw_unlock(&fs->lock);
	for (; fs->threads_n < n && !err; fs->threads_n += !err)
		err = bw_thread_start(&fs->threads[fs->threads_n], "bw-fuse", serve, fs);
	bw_lock(&fs->lock);
	if (err)
		fs->serving -= n - fs->threads_n;
	int64_t deadline = bw_now() + INIT_LIMIT_NS;

	while (!err && !fs->ready && fs->serving)
		if (!bw_cond_wait_until(&fs->changed, &fs->lock, deadline))
			err = -ETIMEDOUT;
	if (!err && !fs->ready)
		err = -EIO;
	bw_unlock(&fs->lock);
	if (!err)
		raise_readahead(fs);
	return err;
}

void bw_fuse_changed(void *ctx, uint64_t ino)
{
	struct bw_fs *fs = ctx;

	/* An answer on its way with what was true before does not count any more: the kernel numbers them. */
	fuse_lowlevel_notify_inval_inode(fs->session, ino, -1, 0);
}

static void join_threads(struct bw_fs *fs)
{
	atomic_store(&fs->exiting, true);
	if (fs->session)
		fuse_session_exit(fs->session);
	/* A signal may come between the check and the read: again, until all have left. */
	bw_lock(&fs->lock);
	while (fs->serving) {
		for (unsigned i = 0; i < fs->threads_n; i++)
			pthread_kill(fs->threads[i], WAKE_SIGNAL);
		bw_cond_wait_until(&fs->changed, &fs->lock, bw_now() + 10 * BW_MS);
	}
	bw_unlock(&fs->lock);
	for (unsigned i = 0; i < fs->threads_n; i++)
		pthread_join(fs->threads[i], NULL);
	fs->threads_n = 0;
}

/* libfuse closes its descriptor first, and may be asked to write to that number until it has unmounted. */
static void end_replies(struct bw_fs *fs)
{
	atomic_store(&fs->unmounting, true);
	BW_LOCK_SCOPE(&fs->lock);
	while (atomic_load(&fs->replying))
		bw_cond_wait_until(&fs->changed, &fs->lock, bw_now() + BW_MS);
}

/* Ours was detached (umount -l) and a program is still in it, or somebody has mounted over it. */
static bool path_is_anothers(const struct bw_fs *fs)
{
	unsigned major, minor;

	if (!fs->dev_major && !fs->dev_minor)
		return false;
	return bw_proc_mount_at(fs->dir, &major, &minor) && (major != fs->dev_major || minor != fs->dev_minor);
}

/*
 * Closes the kernel's descriptor, which ends our mount wherever it is.  In its place comes one whose poll() says POLLERR:
 * to libfuse, which unmounts by path, that is a mount which has gone.  False: nothing was done.
 */
static bool leave_path(struct bw_fs *fs)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC))
		return false;
	close(ends[0]);
	bool left = dup3(ends[1], fuse_session_fd(fs->session), O_CLOEXEC) >= 0;

	close(ends[1]);
	return left;
}

void bw_fuse_unmount(struct bw_fs *fs)
{
	bw_hand_stop(fs->hand);
	join_threads(fs);
	end_replies(fs);
	/* Where neither can be done, bw_fuse_destroy() closes the descriptor. */
	if (fs->mounted && (!path_is_anothers(fs) || leave_path(fs)))
		fuse_session_unmount(fs->session);
	fs->mounted = false;
}

void bw_fuse_destroy(struct bw_fs *fs)
{
	if (fs->session)
		fuse_session_destroy(fs->session);
	fs->session = NULL;
	/* Files that were open to the end: no release came for them. */
	while (fs->handles)
		bw_handle_abandon(fs->handles);
}
