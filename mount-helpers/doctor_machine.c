/* SPDX-License-Identifier: Apache-2.0 */
#include "mount-helpers/doctor.h"

#include "fs/memory.h"
#include "fs/spool.h"
#include "store/base/clock.h"
#include "store/base/proc.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#define KERNEL_MAJOR 5
#define KERNEL_MINOR 10
#define PAGES_PER_REQUEST 256	/* of the largest request: 1 MiB */
#define FILES_FEW 1024
#define MOUNT_ANSWERS_NS (5 * BW_SEC)

static void path_of(const struct bw_machine *m, const char *path, char ret[PATH_MAX])
{
	snprintf(ret, PATH_MAX, "%s%s", m->root, path);
}

/* The first line that begins with word (blanks before it do not count), without its newline; false: none. */
static bool find_line(const struct bw_machine *m, const char *path, const char *word, char *line, int len)
{
	char full[PATH_MAX];
	bool found = false;

	path_of(m, path, full);
	FILE *f = fopen(full, "re");

	if (!f)
		return false;
	while (!found && fgets(line, len, f)) {
		line[strcspn(line, "\n")] = 0;
		found = strncmp(line + strspn(line, " \t"), word, strlen(word)) == 0;
	}
	fclose(f);
	return found;
}

/* ---- The machine ---------------------------------------------------------------------------------- */

/* Asked of the kernel: /proc may not be there. */
static bool is_admin(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {{.effective = 0}};

	return syscall(SYS_capget, &header, data) == 0 && data[0].effective >> CAP_SYS_ADMIN & 1;
}

void bw_machine_here(struct bw_machine *ret)
{
	static struct utsname name;
	struct rlimit files = {.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};
	const char *path = getenv("PATH"), *tmpdir = getenv("TMPDIR");

	uname(&name);
	getrlimit(RLIMIT_NOFILE, &files);
	*ret = (struct bw_machine){
		.root = "",
		.release = name.release,
		.path = path ? path : "/usr/bin:/bin",
		.tmpdir = tmpdir ? tmpdir : "",
		.uid = geteuid(),
		.files = files.rlim_cur,
		.files_max = files.rlim_max,
		.memory = bw_memory_limit(),
		.admin = is_admin(),
	};
}

/* ---- FUSE ----------------------------------------------------------------------------------------- */

static void check_kernel(struct bw_doctor *d, const struct bw_machine *m)
{
	unsigned major = 0, minor = 0;

	if (sscanf(m->release, "%u.%u", &major, &minor) == 2 &&
	    (major < KERNEL_MAJOR || (major == KERNEL_MAJOR && minor < KERNEL_MINOR)))
		bw_doctor_add(d, BW_WRONG, "kernel", "use Linux 5.10 or later", "Linux %s is too old", m->release);
	else
		bw_doctor_add(d, BW_FINE, "kernel", "", "Linux %s", m->release);
}

/* 1, 0, or -1: it cannot be told. */
static int lists_fuse(const struct bw_machine *m)
{
	char line[256], full[PATH_MAX];

	path_of(m, "/proc/filesystems", full);
	FILE *f = fopen(full, "re");
	bool found = false;

	if (!f)
		return -1;
	while (!found && fgets(line, sizeof(line), f))
		found = strcmp(line, "nodev\tfuse\n") == 0;
	fclose(f);
	return found;
}

/* Opening the device loads the module, and proves it: what is opened is what a mount opens. */
static int knows_fuse(const struct bw_machine *m, int device)
{
	struct stat st;

	return device >= 0 && fstat(device, &st) == 0 && S_ISCHR(st.st_mode) ? 1 : lists_fuse(m);
}

static void check_module(struct bw_doctor *d, int knows)
{
	if (knows > 0)
		bw_doctor_add(d, BW_FINE, "fuse module", "", "the kernel knows FUSE");
	else if (knows < 0)
		bw_doctor_add(d, BW_NOTE, "fuse module", "mount -t proc proc /proc, or look on the host",
			      "whether the kernel knows FUSE cannot be told: /proc/filesystems cannot be read");
	else
		bw_doctor_add(d, BW_WRONG, "fuse module", "modprobe fuse as root; to have it at each boot: echo fuse >"
			      " /etc/modules-load.d/fuse.conf", "the kernel does not know FUSE");
}

static void check_device(struct bw_doctor *d, const struct bw_machine *m)
{
	char path[PATH_MAX];

	path_of(m, "/dev/fuse", path);
	int fd = open(path, O_RDWR | O_CLOEXEC), why = errno;

	check_module(d, knows_fuse(m, fd));
	errno = why;
	if (fd >= 0) {
		close(fd);
		bw_doctor_add(d, BW_FINE, "fuse device", "", "/dev/fuse opens");
	} else if (errno == EACCES || errno == EPERM) {
		bw_doctor_add(d, BW_WRONG, "fuse device",
			      "chmod 666 /dev/fuse as root; in a container, allow it the device: docker run --device"
			      " /dev/fuse --cap-add SYS_ADMIN", "/dev/fuse cannot be opened: %s",
			      strerrordesc_np(errno));
	} else {
		bw_doctor_add(d, BW_WRONG, "fuse device",
			      "modprobe fuse as root; in a container, give it the device: docker run --device /dev/fuse"
			      " --cap-add SYS_ADMIN", "/dev/fuse cannot be opened: %s", strerrordesc_np(errno));
	}
}

static void check_pages(struct bw_doctor *d, const struct bw_machine *m)
{
	char line[64];

	if (!find_line(m, "/proc/sys/fs/fuse/max_pages_limit", "", line, sizeof(line)))
		return;		/* the kernel has no such limit: 256 it is */
	unsigned long pages = strtoul(line, NULL, 10);

	if (pages < PAGES_PER_REQUEST)
		bw_doctor_add(d, BW_WRONG, "request size", "sysctl -w fs.fuse.max_pages_limit=256 as root",
			      "the kernel cuts requests to %lu pages, a quarter or less of the speed", pages);
	else
		bw_doctor_add(d, BW_FINE, "request size", "", "up to %u pages a request", PAGES_PER_REQUEST);
}

static void check_readahead(struct bw_doctor *d, const struct bw_machine *m)
{
	char path[PATH_MAX];

	path_of(m, "/sys/class/bdi", path);
	if (m->uid == 0 && access(path, W_OK) == 0)
		bw_doctor_add(d, BW_FINE, "read_ahead_kb", "", "a mount can raise its own");
	else
		bw_doctor_add(d, BW_NOTE, "read_ahead_kb",
			      "as root after mounting: echo 1024 > /sys/class/bdi/$(mountpoint -d DIR)/read_ahead_kb",
			      "only root can raise it: cold reads of large slices come in pieces of 128 KiB");
}

void bw_doctor_fuse(struct bw_doctor *d, const struct bw_machine *m)
{
	check_kernel(d, m);
	check_device(d, m);
	check_pages(d, m);
	check_readahead(d, m);
}

/* ---- The user ------------------------------------------------------------------------------------- */

/* True with the path of program and what stat says of it. */
static bool find_program(const struct bw_machine *m, const char *program, char ret[PATH_MAX], struct stat *st)
{
	for (const char *p = m->path; *p; p += strcspn(p, ":"), p += *p == ':') {
		int len = (int)strcspn(p, ":");

		snprintf(ret, PATH_MAX, "%s%.*s/%s", m->root, len, p, program);
		if (len && stat(ret, st) == 0 && S_ISREG(st->st_mode))
			return true;
	}
	return false;
}

static void check_fusermount(struct bw_doctor *d, const struct bw_machine *m)
{
	char path[PATH_MAX];
	struct stat st;
	bool needed = !m->admin;

	if (!find_program(m, "fusermount3", path, &st))
		bw_doctor_add(d, needed ? BW_WRONG : BW_NOTE, "fusermount3", "apt-get install fuse3",
			      needed ? "is not installed: only root can mount without it"
				     : "is not installed: only root can mount and unmount");
	else if (needed && !(st.st_mode & S_ISUID))
		bw_doctor_add(d, BW_WRONG, "fusermount3",
			      "chown root and chmod 4755 it as root; a container must not have no-new-privileges",
			      "%s is not setuid root, so it cannot mount for this user", path);
	else
		bw_doctor_add(d, BW_FINE, "fusermount3", "", "%s", path);
}

static void check_helper(struct bw_doctor *d, const struct bw_machine *m)
{
	static const char *const places[] = {"/sbin/mount.batchweave", "/usr/sbin/mount.batchweave"};
	char path[PATH_MAX];

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		path_of(m, places[i], path);
		if (access(path, X_OK) == 0) {
			bw_doctor_add(d, BW_FINE, "mount helper", "", "%s", places[i]);
			return;
		}
	}
	bw_doctor_add(d, BW_NOTE, "mount helper", "install with --prefix /usr, or use batchweave mount",
		      "/sbin/mount.batchweave is not there: mount -t batchweave and fstab do not work");
}

static void check_others(struct bw_doctor *d, const struct bw_machine *m, const struct bw_mount_options *o)
{
	char line[256];

	if (m->uid == 0) {
		bw_doctor_add(d, BW_FINE, "allow_other", "", "root needs no permission for it");
		return;
	}
	if (find_line(m, "/etc/fuse.conf", "user_allow_other", line, sizeof(line)))
		bw_doctor_add(d, BW_FINE, "allow_other", "", "/etc/fuse.conf has user_allow_other");
	else
		bw_doctor_add(d, o->allow_other ? BW_WRONG : BW_NOTE, "allow_other",
			      "as root: echo user_allow_other >> /etc/fuse.conf",
			      "/etc/fuse.conf has no user_allow_other: nobody else can be let into a mount of user %u",
			      (unsigned)m->uid);
}

/* Who closes a slice is looked up there. */
static void check_processes(struct bw_doctor *d, const struct bw_machine *m, const struct bw_mount_options *o)
{
	char path[PATH_MAX];

	path_of(m, "/proc/self", path);
	if (access(path, X_OK) == 0)
		bw_doctor_add(d, BW_FINE, "processes", "", "/proc tells of them");
	else
		bw_doctor_add(d, BW_NOTE, "processes",
			      "mount -t proc proc /proc where the mount is made, or mount with commit=rename",
			      "there is no /proc here%s, and which mounts there are cannot be seen",
			      o->ro || o->commit == BW_COMMIT_RENAME ? "" : ": who closes a slice cannot be judged, so nothing commits");
}

void bw_doctor_user(struct bw_doctor *d, const struct bw_machine *m, const struct bw_mount_options *o)
{
	if (m->uid == 0 && !m->admin)
		bw_doctor_add(d, BW_WRONG, "permissions", "docker run --cap-add SYS_ADMIN, or mount on the host",
			      "root without CAP_SYS_ADMIN may not mount: this is a container");
	else
		bw_doctor_add(d, BW_FINE, "permissions", "", "user %u %s", (unsigned)m->uid,
			      m->admin ? "may mount" : "mounts through fusermount3");
	check_processes(d, m, o);
	check_fusermount(d, m);
	check_helper(d, m);
	check_others(d, m, o);
}

/* ---- Limits and room -------------------------------------------------------------------------------- */

static double mib(uint64_t bytes)
{
	return (double)bytes / (1 << 20);
}

static void check_files(struct bw_doctor *d, const struct bw_machine *m)
{
	/* The mount gives itself what the hard limit allows. */
	if (m->files_max <= FILES_FEW)
		bw_doctor_add(d, BW_WRONG, "open files", "ulimit -n 65536; LimitNOFILE=65536 in a unit",
			      "a mount may have %" PRIu64 ": too few for connections and staged slices", m->files_max);
	else
		bw_doctor_add(d, BW_FINE, "open files", "", "a mount may have %" PRIu64 " (the soft limit, %" PRIu64
			      ", does not bind it)", m->files_max, m->files);
}

static void check_memory(struct bw_doctor *d, const struct bw_machine *m, const struct bw_mount_options *o)
{
	uint64_t asked = o->memory ? o->memory : bw_memory_default();

	if (asked > m->memory || m->memory - asked < BW_MEMORY_BESIDE)
		bw_doctor_add(d, BW_WRONG, "memory", "give the mount less with memory=, or its control group more",
			      "memory= is %.0f MiB, the daemon itself may take %.0f MiB, and all that may be used is %.0f MiB",
			      mib(asked), mib(BW_MEMORY_BESIDE), mib(m->memory));
	else
		bw_doctor_add(d, BW_FINE, "memory", "", "memory= is %.0f MiB of %.0f MiB that may be used", mib(asked),
			      mib(m->memory));
}

void bw_doctor_limits(struct bw_doctor *d, const struct bw_machine *m, const struct bw_mount_options *o)
{
	check_files(d, m);
	check_memory(d, m, o);
}

static uint64_t free_bytes(const struct statvfs *st)
{
	return (uint64_t)st->f_bavail * st->f_frsize;
}

/* As the mount judges it: it wants what it was told to use, and warns where it found nothing by itself. */
static void add_no_staging(struct bw_doctor *d, const char *dir, bool named, int err)
{
	const char *remedy = "give the mount another directory with staging=DIR, or free some room";
	bool full = err == -ENOSPC || err == -EDQUOT;

	if (named && !full)
		bw_doctor_add(d, BW_WRONG, "staging", remedy, "no file can be made in %s: %s", dir, strerrordesc_np(-err));
	else
		bw_doctor_add(d, BW_NOTE, "staging", remedy,
			      "no file can be made in %s (%s): batches that do not fit into memory= fail", dir, strerrordesc_np(-err));
}

static void check_staging(struct bw_doctor *d, const struct bw_machine *m, const struct bw_mount_options *o)
{
	bool named = *o->staging || *m->tmpdir;
	const char *dir = *o->staging ? o->staging : *m->tmpdir ? m->tmpdir : "/tmp";
	uint64_t memory = o->memory ? o->memory : bw_memory_default();
	struct statvfs st;

	if (o->ro)
		return;
	int err = bw_spool_try(dir);

	if (!err && statvfs(dir, &st))
		err = -errno;
	if (err)
		add_no_staging(d, dir, named, err);
	else if (bw_memory_is_dir(dir))
		bw_doctor_add(d, BW_NOTE, "staging", "give the mount a directory on a disk with staging=DIR",
			      "%s is memory too: what does not fit into memory= takes more of it there", dir);
	else if (free_bytes(&st) < memory)
		bw_doctor_add(d, BW_NOTE, "staging", "give the mount another directory with staging=DIR, or free some room",
			      "%s has %.0f MiB free: batches above memory= plus that fail with ENOSPC", dir,
			      mib(free_bytes(&st)));
	else
		bw_doctor_add(d, BW_FINE, "staging", "", "%s has %.0f MiB free", dir, mib(free_bytes(&st)));
}

/* The mount makes dir, but not what it is in. */
static void check_new_cache(struct bw_doctor *d, const char *dir)
{
	char parent[PATH_MAX];
	size_t len = strlen(dir);

	while (len > 1 && dir[len - 1] == '/')
		len--;
	while (len > 1 && dir[len - 1] != '/')
		len--;
	snprintf(parent, sizeof(parent), "%.*s", (int)len, dir);
	if (access(parent, W_OK | X_OK))
		bw_doctor_add(d, BW_WRONG, "disk cache", "make the directory it is to be in, or name another with cache=DIR",
			      "%s cannot be made in %s: %s", dir, parent, strerrordesc_np(errno));
	else
		bw_doctor_add(d, BW_FINE, "disk cache", "", "%s will be made", dir);
}

static void check_cache_room(struct bw_doctor *d, const struct bw_mount_options *o, const struct statvfs *fs)
{
	uint64_t free_now = free_bytes(fs);

	if (fs->f_flag & ST_RDONLY)
		bw_doctor_add(d, BW_WRONG, "disk cache", "name a directory that can be written to",
			      "%s is on a read-only file system", o->cache);
	else if (free_now < UINT64_C(64) << 20 || o->cache_size > free_now)
		bw_doctor_add(d, BW_NOTE, "disk cache", "free some room, or ask for less with cache_size=",
			      "%s has %.0f MiB free, of %.0f MiB asked for (what an earlier mount left there counts)",
			      o->cache, mib(free_now), mib(o->cache_size));
	else if (bw_memory_is_dir(o->cache))
		bw_doctor_add(d, BW_NOTE, "disk cache", "name a directory on a disk", "%s is memory, not a disk", o->cache);
	else
		bw_doctor_add(d, BW_FINE, "disk cache", "", "%s has %.0f MiB free", o->cache, mib(free_now));
}

static void check_cache(struct bw_doctor *d, const struct bw_machine *m, const struct bw_mount_options *o)
{
	struct stat st;
	struct statvfs fs;

	if (!*o->cache)
		return;
	/* A mount does not follow a link there. */
	bool there = lstat(o->cache, &st) == 0;

	if (!there && errno == ENOENT)
		check_new_cache(d, o->cache);
	else if (!there || (S_ISDIR(st.st_mode) && statvfs(o->cache, &fs) < 0))
		bw_doctor_add(d, BW_WRONG, "disk cache", "give it a directory of its own with cache=DIR", "%s: %s",
			      o->cache, strerrordesc_np(errno));
	else if (S_ISLNK(st.st_mode))
		bw_doctor_add(d, BW_WRONG, "disk cache", "name the directory itself with cache=DIR",
			      "%s is a symbolic link, which a mount does not follow", o->cache);
	else if (!S_ISDIR(st.st_mode) || st.st_uid != m->uid || (st.st_mode & 077))
		bw_doctor_add(d, BW_WRONG, "disk cache", "chown it to who mounts and chmod 700, or name another directory",
			      "%s must be a directory of this user alone, mode 0700", o->cache);
	else
		check_cache_room(d, o, &fs);
}

void bw_doctor_room(struct bw_doctor *d, const struct bw_machine *m, const struct bw_mount_options *o)
{
	check_staging(d, m, o);
	check_cache(d, m, o);
}

/* ---- Mounts --------------------------------------------------------------------------------------- */

/* A mount whose daemon hangs holds whoever looks at it: a child looks.  0, the errno, or ETIMEDOUT. */
static int look(const char *dir)
{
	struct statvfs st;
	int status = 0;
	pid_t child = fork();

	if (child < 0)
		return errno;
	if (child == 0) {
		/* A request that the daemon has read cannot be given up, and whoever reads our output would wait with the child. */
		close_range(0, ~0U, 0);
		_exit(statvfs(dir, &st) < 0 ? errno & 0xff : 0);
	}
	int64_t deadline = bw_now() + MOUNT_ANSWERS_NS;

	while (waitpid(child, &status, WNOHANG) == 0) {
		if (bw_now() > deadline) {
			kill(child, SIGKILL);
			return ETIMEDOUT;
		}
		bw_sleep(5 * BW_MS);
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : EIO;
}

static void check_mount(struct bw_doctor *d, const char *dir)
{
	char remedy[PATH_MAX + 256];
	int err = look(dir);

	if (err == ENOTCONN) {
		snprintf(remedy, sizeof(remedy), "umount %s and mount it again", dir);
		bw_doctor_add(d, BW_WRONG, "mount", remedy, "%s has lost its daemon", dir);
	} else if (err == ETIMEDOUT) {
		snprintf(remedy, sizeof(remedy), "see its log; kill its daemon, umount -l %s, and mount it again", dir);
		bw_doctor_add(d, BW_WRONG, "mount", remedy, "%s does not answer", dir);
	} else if (err) {
		bw_doctor_add(d, BW_NOTE, "mount",
			      err == EACCES ? "mount it with allow_other to let this user in"
					    : "see whether something else is mounted over it, or above it", "%s: %s", dir,
			      strerrordesc_np(err));
	} else {
		bw_doctor_add(d, BW_FINE, "mount", "", "%s answers", dir);
	}
}

void bw_doctor_mounts(struct bw_doctor *d, const struct bw_machine *m, const char *url)
{
	char *line = NULL, path[PATH_MAX];
	struct bw_proc_mount at;
	size_t room = 0;

	path_of(m, "/proc/self/mountinfo", path);
	FILE *f = fopen(path, "re");

	while (f && getline(&line, &room, f) > 0)
		if (bw_proc_mount_read(line, &at) && strcmp(at.type, "fuse.batchweave") == 0 &&
		    (!url || strcmp(at.source, url) == 0))
			check_mount(d, at.where);
	free(line);
	if (f)
		fclose(f);
}
