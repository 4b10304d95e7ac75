/* SPDX-License-Identifier: Apache-2.0 */
/* batchweave doctor: what it says of machines and streams that are not this one. */
#include "mount-helpers/doctor_store.h"
#include "tests/support/tmpdir.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A system below a folder, in which nothing is wrong. */
struct world {
	char dir[BW_TMPDIR_MAX];
	struct bw_machine m;
	struct bw_mount_options o;
	struct bw_doctor d;
};

static void put(const struct world *w, const char *path, const char *text, mode_t mode)
{
	char full[512], command[600];

	snprintf(full, sizeof(full), "%s%s", w->dir, path);
	snprintf(command, sizeof(command), "mkdir -p $(dirname %s)", full);
	cr_assert_eq(system(command), 0);
	FILE *f = fopen(full, "w");

	cr_assert(f && fputs(text, f) >= 0 && fclose(f) == 0);
	cr_assert_eq(chmod(full, mode), 0);
}

static void take(const struct world *w, const char *path)
{
	char full[512];

	snprintf(full, sizeof(full), "%s%s", w->dir, path);
	cr_assert_eq(unlink(full), 0);
}

static void world(struct world *w)
{
	memset(w, 0, sizeof(*w));
	bw_test_tmpdir(w->dir);
	bw_mount_options_default(&w->o);
	w->o.memory = 256u << 20;
	w->m = (struct bw_machine){.root = w->dir, .release = "6.1.0-18-amd64", .path = "/none:/usr/bin", .tmpdir = w->dir,
				   .uid = 1000, .files = 4096, .files_max = 4096, .memory = UINT64_C(1) << 30};
	put(w, "/dev/fuse", "", 0666);
	put(w, "/proc/self/comm", "doctor\n", 0644);
	put(w, "/proc/filesystems", "nodev\tsysfs\n\text4\nnodev\tfuse\n", 0444);
	put(w, "/proc/sys/fs/fuse/max_pages_limit", "256\n", 0644);
	put(w, "/usr/bin/fusermount3", "", 04755);
	put(w, "/sbin/mount.batchweave", "", 0755);
	put(w, "/etc/fuse.conf", "# user_allow_other\n\nuser_allow_other\n", 0644);
}

static void look(struct world *w)
{
	w->d = (struct bw_doctor){.to = NULL};
	bw_doctor_fuse(&w->d, &w->m);
	bw_doctor_user(&w->d, &w->m, &w->o);
	bw_doctor_limits(&w->d, &w->m, &w->o);
	bw_doctor_room(&w->d, &w->m, &w->o);
}

static const struct bw_finding *find(const struct bw_doctor *d, const char *check)
{
	for (unsigned i = 0; i < d->n; i++)
		if (strcmp(d->findings[i].check, check) == 0)
			return &d->findings[i];
	cr_assert(false, "nothing is said of %s", check);
	return NULL;
}

/* The one check that is not fine, with a remedy that says this. */
static void expect(struct world *w, enum bw_verdict verdict, const char *check, const char *remedy)
{
	look(w);
	const struct bw_finding *f = find(&w->d, check);

	cr_expect_eq(f->verdict, verdict, "%s: %s", check, f->found);
	cr_expect(strstr(f->remedy, remedy), "%s: %s", check, f->remedy);
	cr_expect_eq(w->d.wrong, verdict == BW_WRONG);
}

/* read_ahead_kb is a note for whoever is not root, and staging one where the disk is small. */
Test(doctor, nothing_is_wrong)
{
	struct world w;

	world(&w);
	look(&w);
	for (unsigned i = 0; i < w.d.n; i++) {
		const struct bw_finding *f = &w.d.findings[i];

		cr_expect_neq(f->verdict, BW_WRONG, "%s: %s", f->check, f->found);
		cr_expect_eq(f->verdict == BW_FINE, !*f->remedy, "%s: a remedy where there is something to do", f->check);
	}
	cr_expect_eq(w.d.wrong, 0);
	bw_test_rmtree(w.dir);
}

Test(doctor, fuse_is_missing)
{
	struct world w;

	world(&w);
	w.m.release = "5.9.16";
	expect(&w, BW_WRONG, "kernel", "5.10");
	w.m.release = "5.10.0-rc1";
	look(&w);
	cr_expect_eq(find(&w.d, "kernel")->verdict, BW_FINE);
	put(&w, "/proc/filesystems", "nodev\tfusectl\n\tfuseblk\n", 0444);
	expect(&w, BW_WRONG, "fuse module", "modprobe fuse");
	put(&w, "/proc/filesystems", "nodev\tfuse\n", 0444);
	put(&w, "/proc/sys/fs/fuse/max_pages_limit", "32\n", 0644);
	expect(&w, BW_WRONG, "request size", "max_pages_limit=256");
	take(&w, "/proc/sys/fs/fuse/max_pages_limit");	/* older kernels have none */
	look(&w);
	cr_expect_eq(w.d.wrong, 0);
	take(&w, "/dev/fuse");
	expect(&w, BW_WRONG, "fuse device", "--device /dev/fuse");
	bw_test_rmtree(w.dir);
}

/* Of a small container: nothing is wrong that nobody can see. */
Test(doctor, without_proc)
{
	struct world w;
	char path[600];

	world(&w);
	snprintf(path, sizeof(path), "rm -r %s/proc", w.dir);
	cr_assert_eq(system(path), 0);
	expect(&w, BW_NOTE, "fuse module", "mount -t proc proc /proc");
	expect(&w, BW_NOTE, "processes", "commit=rename");
	cr_expect(strstr(find(&w.d, "processes")->found, "nothing commits"));
	w.o.ro = true;
	look(&w);
	cr_expect_not(strstr(find(&w.d, "processes")->found, "nothing commits"));
	snprintf(path, sizeof(path), "rm %s/dev/fuse && ln -s /dev/null %s/dev/fuse", w.dir, w.dir);
	cr_assert_eq(system(path), 0);
	look(&w);
	cr_expect_eq(find(&w.d, "fuse module")->verdict, BW_FINE, "a device that opens is enough");
	bw_test_rmtree(w.dir);
}

Test(doctor, who_may_mount)
{
	struct world w;

	world(&w);
	take(&w, "/etc/fuse.conf");
	expect(&w, BW_NOTE, "allow_other", "user_allow_other >> /etc/fuse.conf");
	put(&w, "/etc/fuse.conf", "#user_allow_other\n", 0644);
	w.o.allow_other = true;
	expect(&w, BW_WRONG, "allow_other", "user_allow_other >> /etc/fuse.conf");
	put(&w, "/etc/fuse.conf", "user_allow_other\n", 0644);
	put(&w, "/usr/bin/fusermount3", "", 0755);
	expect(&w, BW_WRONG, "fusermount3", "4755");
	take(&w, "/usr/bin/fusermount3");
	expect(&w, BW_WRONG, "fusermount3", "apt-get install fuse3");
	w.m.uid = 0;
	w.m.admin = true;	/* root mounts without it */
	expect(&w, BW_NOTE, "fusermount3", "apt-get install fuse3");
	put(&w, "/usr/bin/fusermount3", "", 04755);
	w.m.admin = false;
	expect(&w, BW_WRONG, "permissions", "SYS_ADMIN");
	w.m.uid = 1000;
	take(&w, "/sbin/mount.batchweave");
	expect(&w, BW_NOTE, "mount helper", "--prefix /usr");
	bw_test_rmtree(w.dir);
}

Test(doctor, limits_and_room)
{
	struct world w;

	world(&w);
	w.m.files = w.m.files_max = 1024;
	expect(&w, BW_WRONG, "open files", "ulimit -n");
	w.m.files_max = 4096;	/* which the mount gives itself */
	w.m.memory = w.o.memory;
	expect(&w, BW_WRONG, "memory", "memory=");
	w.m.memory = w.o.memory + (64u << 20) - 1;
	expect(&w, BW_WRONG, "memory", "memory=");
	w.m.memory++;
	look(&w);
	cr_expect_eq(w.d.wrong, 0, "that and what the daemon itself takes");
	w.m.tmpdir = "/nowhere";
	expect(&w, BW_WRONG, "staging", "staging=DIR");
	snprintf(w.o.staging, sizeof(w.o.staging), "%s", w.dir);	/* which TMPDIR does not matter then */
	look(&w);
	cr_expect_eq(w.d.wrong, 0);
	w.o.memory = UINT64_C(1) << 60;
	w.m.memory = UINT64_C(1) << 62;
	expect(&w, BW_NOTE, "staging", "staging=DIR");
	w.o.memory = 64u << 20;
	snprintf(w.o.cache, sizeof(w.o.cache), "%s/cache", w.dir);
	look(&w);
	cr_expect_eq(find(&w.d, "disk cache")->verdict, BW_FINE, "it will be made");
	cr_assert_eq(mkdir(w.o.cache, 0755), 0);
	w.m.uid = geteuid();
	w.m.admin = true;
	expect(&w, BW_WRONG, "disk cache", "700");
	cr_assert_eq(chmod(w.o.cache, 0700), 0);
	w.o.cache_size = UINT64_C(1) << 60;
	expect(&w, BW_NOTE, "disk cache", "cache_size=");
	w.m.uid = geteuid() + 1;
	expect(&w, BW_WRONG, "disk cache", "chown");
	if (access("/dev/shm", W_OK) == 0) {
		snprintf(w.o.staging, sizeof(w.o.staging), "/dev/shm");
		*w.o.cache = 0;
		expect(&w, BW_NOTE, "staging", "on a disk");
	}
	bw_test_rmtree(w.dir);
}

Test(doctor, what_it_says_cannot_steer_a_terminal)
{
	char *said = NULL;
	size_t len = 0;
	struct bw_doctor d = {.to = open_memstream(&said, &len)};

	bw_doctor_add(&d, BW_NOTE, "x", "a\033[2Jb", "%s", "one\ntwo\r");
	cr_expect_str_eq(said, "note   x                 one?two?; remedy: a?[2Jb\n");
	cr_expect_str_eq(d.findings[0].found, "one\ntwo\r", "JSON has escapes");
	fclose(d.to);
	free(said);
	d.to = NULL;
	for (unsigned i = 0; i < 2 * BW_FINDINGS_MAX; i++)
		bw_doctor_add(&d, BW_WRONG, "y", "", "%u", i);
	cr_expect_eq(d.n, BW_FINDINGS_MAX);
	cr_expect_eq(d.wrong, 2 * BW_FINDINGS_MAX, "none is forgotten where it counts");
}

/* ---- Streams -------------------------------------------------------------------------------------- */

#define HOUR_MS (INT64_C(3600) * 1000)
#define NOW_MS (1000 * HOUR_MS)

static const struct bw_finding *judge(struct bw_doctor *d, const struct bw_stream *s, const struct bw_root *root,
				      const char *check)
{
	*d = (struct bw_doctor){.to = NULL};
	bw_doctor_stream(d, s, root, NOW_MS);
	cr_expect_eq(d->wrong, 0, "what may be meant so is a note");
	return find(d, check);
}

Test(doctor, producers_that_have_stopped)
{
	struct bw_producer_entry p[] = {{.name = "a", .next = 3, .last_ms = NOW_MS - 30 * 60 * 1000},
					{.name = "b", .next = 3, .last_ms = NOW_MS - 5 * HOUR_MS},
					{.name = "new"}};
	struct bw_root root = {.head = 6, .time_ms = NOW_MS - 30 * 60 * 1000, .producers = p, .producers_n = 3};
	struct bw_stream s = {.format = 1, .options = {.ranks = 4, .keep = 2, .grace_s = 3600}};
	struct bw_doctor d;
	const struct bw_finding *f = judge(&d, &s, &root, "producers");

	cr_expect_eq(f->verdict, BW_NOTE);
	cr_expect(strstr(f->found, "1 of 3"), "%s", f->found);
	cr_expect(strstr(f->found, ": b"), "%s", f->found);
	p[1].last_ms = p[0].last_ms;
	cr_expect_eq(judge(&d, &s, &root, "producers")->verdict, BW_FINE);
	p[0].last_ms = p[1].last_ms = NOW_MS - 3 * HOUR_MS;
	f = judge(&d, &s, &root, "producers");
	cr_expect_eq(f->verdict, BW_NOTE);
	cr_expect(strstr(f->found, "nothing has been committed for 3.0 hours"), "%s", f->found);
	root.sealed = true;
	cr_expect_eq(judge(&d, &s, &root, "producers")->verdict, BW_FINE, "none is due");
}

Test(doctor, jobs_and_garbage)
{
	struct bw_marker markers[] = {{.step = 10, .text = (char *)""}, {.step = 20, .text = (char *)""}};
	struct bw_job j = {.name = "train", .markers_n = 1, .markers = markers};
	struct bw_root root = {.head = 50, .first = 10, .swept = 10, .time_ms = NOW_MS, .jobs_n = 0};
	struct bw_stream s = {.format = 1, .options = {.ranks = 4, .keep = 2, .grace_s = 3600, .max_ahead = 30}};
	struct bw_doctor d;

	cr_expect_eq(judge(&d, &s, &root, "jobs")->verdict, BW_NOTE, "nobody is registered");
	root.jobs_n = 1;
	root.jobs = &j;
	const struct bw_finding *f = judge(&d, &s, &root, "jobs");

	cr_expect_eq(f->verdict, BW_NOTE);
	cr_expect(strstr(f->found, "train"), "%s", f->found);
	f = find(&d, "max-ahead");
	cr_expect(strstr(f->found, "is 40 steps past job train, the limit is 30"), "%s", f->found);
	j.markers_n = 2;
	root.head = 49;		/* one more may come */
	cr_expect_eq(judge(&d, &s, &root, "jobs")->verdict, BW_FINE);
	for (unsigned i = 0; i < d.n; i++)
		cr_expect_str_neq(d.findings[i].check, "max-ahead");
	cr_expect_eq(find(&d, "garbage")->verdict, BW_FINE);
	root.swept = 3;
	cr_expect_eq(judge(&d, &s, &root, "garbage")->verdict, BW_FINE, "the grace is not over");
	root.time_ms = NOW_MS - 4 * HOUR_MS;
	f = judge(&d, &s, &root, "garbage");
	cr_expect_eq(f->verdict, BW_NOTE);
	cr_expect(strstr(f->found, "7 reclaimed"), "%s", f->found);
	cr_expect(strstr(f->remedy, "batchweave gc"), "%s", f->remedy);
}
