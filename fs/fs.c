/* SPDX-License-Identifier: Apache-2.0 */
/* Life of a mount: what starts after what, and how it ends (S5). */
#include "fs/fs_priv.h"
#include "fs/heap.h"
#include "fs/memory.h"

#include "store/base/clock.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define POOL_THREADS 2u
#define BUILD_THREADS 2u	/* of their own: a large batch must not hold up a read */
#define FILES_ELSE 1024u	/* open files that staging leaves to everything else */
#define TOGETHER (UINT64_C(2) << 20)	/* in one get; of larger ones a single reader has too few at a time */
#define GC_SHARE 32u		/* of the memory, for a pass of reclaiming */
#define TEXTS_SHARE 8u		/* of the memory, for texts of files that are open */
#define REST_MS 10000		/* nothing to do for so long */
#define DRAIN_NS (30 * BW_SEC)		/* S5: what is queued may take this long at the end */

static void reclaim_memory(void *ctx, uint64_t bytes)
{
	struct bw_fs *fs = ctx;

	bw_reader_shrink(fs->reader, bytes);
}

/* *ret_named: somebody said so. */
static const char *staging_dir(const struct bw_mount_options *o, bool *ret_named)
{
	const char *tmp = getenv("TMPDIR");

	*ret_named = o->staging[0] || (tmp && *tmp);
	if (o->staging[0])
		return o->staging;
	return *ret_named ? tmp : "/tmp";
}

static int fail(char *why, size_t why_len, int code, const char *what, int err)
{
	char text[128];

	snprintf(why, why_len, "%s: %s", what, bw_err_text(err, text, sizeof(text)));
	return code;
}

/* Files are made there when memory is short, hours later, and the daemon is in another directory then. */
static int find_staging(struct bw_fs *fs, char *why, size_t why_len)
{
	bool named;
	const char *dir = staging_dir(&fs->o, &named);
	char text[128];

	if (fs->o.ro)
		return 0;
	fs->staging = realpath(dir, NULL);
	int err = fs->staging ? bw_spool_try(fs->staging) : -errno;

	/* A full disk may have room again by then. */
	if (!err || err == -ENOSPC || err == -EDQUOT)
		return 0;
	bw_err_text(err, text, sizeof(text));
	if (!named) {	/* where there is no /tmp for us, reads and batches that fit into memory go well */
		bw_log(fs->log, BW_LOG_WARN, "staging_refused", "dir=\"%s\" reason=\"%s\" note=\"batches that do not fit into memory= "
		       "fail: set staging=\"", dir, text);
		if (!fs->staging)
			fs->staging = strdup(dir);
		return fs->staging ? 0 : BW_FS_SYSTEM;
	}
	snprintf(why, why_len, "no file can be made in %s (%s): name another directory for staged bytes with -o staging=, or "
		 "mount with -o ro", dir, text);
	return err == -ENOENT || err == -ENOTDIR || err == -EACCES || err == -EPERM ? BW_FS_USAGE : BW_FS_SYSTEM;
}

static int say_no_stream(const struct bw_fs *fs, char *why, size_t why_len)
{
	bw_cut_at_word(why, why_len, snprintf(why, why_len, "there is no stream at %s; check the URL, or create one with "
					      "batchweave init %s --ranks W", fs->url_text, fs->url_text));
	return BW_FS_MOUNT_FAILED;
}

static int open_stream(struct bw_fs *fs, struct bw_root **ret_root, char *why, size_t why_len)
{
	struct bw_store_config config = {.stats = &fs->stats, .s3 = &fs->o.s3};

	if (bw_url_parse(fs->url_text, &fs->url, why, why_len))
		return BW_FS_USAGE;
	int err = bw_store_open(&fs->url, &config, &fs->store, why, why_len);

	if (err == -ENOENT)
		return say_no_stream(fs, why, why_len);
	if (err)
		return err == -EINVAL ? BW_FS_USAGE : BW_FS_MOUNT_FAILED;
	int64_t deadline = bw_now() + fs->o.io_timeout_ns;
	/* A file system does not lose what link(2) promises; a bucket can be set up anew. */
	bool asks = !fs->o.ro && fs->url.scheme == BW_URL_S3;

	fs->opened_ns = bw_boottime();
	err = (asks ? bw_stream_open_to_write : bw_stream_open)(fs->store, deadline, &fs->stream,
								ret_root, why, why_len);
	if (err == -BW_E_NO_STREAM)
		return say_no_stream(fs, why, why_len);
	if (err)
		return BW_FS_MOUNT_FAILED;
	if (!fs->o.ro && bw_root_may_write(*ret_root)) {
		snprintf(why, why_len, "this stream is written by a newer release: upgrade, or mount it "
				       "with -o ro");
		return BW_FS_MOUNT_FAILED;
	}
	return 0;
}

static int start_disk(struct bw_fs *fs, const struct bw_root *root, char *why, size_t why_len)
{
	struct bw_disk_config disk = {
		.dir = fs->o.cache, .size = fs->o.cache_size, .first = root->first, .budget = &fs->budget,
		.log = fs->log, .now = bw_now,
	};

	if (!fs->o.cache[0])
		return 0;
	memcpy(disk.stream, fs->stream.id, sizeof(disk.stream));
	int err = bw_disk_new(&disk, &fs->disk, why, why_len);

	if (err == -EBUSY)
		return BW_FS_MOUNT_FAILED;
	return err ? err == -ENOMEM ? BW_FS_SYSTEM : BW_FS_USAGE : 0;
}

static void saw_steps(void *ctx, struct bw_root *old, struct bw_root *now)
{
	struct bw_fs *fs = ctx;

	if (now->head > old->head)
		atomic_store(&fs->grown_ns, bw_now());
	/* Before anybody is told of the steps: who asks for them then finds their footers. */
	bw_reader_root(fs->reader, now);
	bw_reader_news(fs->reader, old->head, now->head);
}

static void heard(void *ctx)
{
	bw_head_heard(ctx);
}

/* Commits of other mounts on this host, at once; without it they are found by asking, as ever. */
static void start_news(struct bw_fs *fs)
{
	char key[BW_KEY_MAX + 1], text[80];

	if (fs->url.scheme != BW_URL_FILE)
		return;
	bw_key_root(&fs->stream, 1, key);
	int err = bw_file_news_new(fs->url.path, key, heard, fs->head, &fs->news);

	if (err)
		bw_log(fs->log, BW_LOG_INFO, "no_inotify", "reason=\"%s\" "
		       "note=\"commits of other mounts are found by asking\"",
		       bw_err_text(err, text, sizeof(text)));
}

static int start_readers(struct bw_fs *fs)
{
	struct bw_reader_config reader = {
		.store = fs->store, .stream = &fs->stream, .head = fs->head, .budget = &fs->budget,
		.pool = fs->pool, .log = fs->log, .counters = &fs->counters, .disk = fs->disk,
		.prefetch = fs->o.prefetch,
		.prefetch_most = fs->url.scheme == BW_URL_S3 ? fs->o.prefetch_most : 0, .io_timeout_ns = fs->o.io_timeout_ns,
		.together = fs->url.scheme == BW_URL_S3 ? TOGETHER : 0,
		.here = fs->url.scheme == BW_URL_FILE,
	};
	struct bw_steps_config steps = {
		.head = fs->head, .waiting = &fs->waiting, .wait_ns = fs->o.wait_ns,
		.io_timeout_ns = fs->o.io_timeout_ns,
	};
	struct bw_checkpoint_config checkpoint = {
		.head = fs->head, .committer = fs->committer, .waiting = &fs->waiting, .errors = &fs->errors,
		.log = fs->log, .commit_timeout_ns = fs->o.commit_timeout_ns,
	};
	int err = 0;

	if (fs->o.prefetch && bw_fs_passed_fd(fs->dir) < 0)
		err = bw_hand_new(fs, &fs->hand);
	if (fs->hand) {
		reader.came = bw_hand_came;
		reader.ctx = fs->hand;
	}
	if (!err)
		err = bw_reader_new(&reader, &fs->reader);

	/* Before those who wait for a step are woken (steps.h): its bytes are on their way when they ask. */
	if (!err)
		bw_head_subscribe(fs->head, saw_steps, fs);
	if (!err)
		err = bw_steps_new(&steps, &fs->steps);
	return err ? err : bw_checkpoint_new(&checkpoint, &fs->checkpoint);
}

/* What is left of the open files is for the store, the cache, and looks at who closes. */
static uint32_t staging_files(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur > UINT32_MAX)
		return 0;
	uint32_t most = (uint32_t)limit.rlim_cur;

	return most > 4 * FILES_ELSE ? most - FILES_ELSE : most / 4 * 3;
}

static int start_writers(struct bw_fs *fs)
{
	/* One thread is left to serve what the others may hang in. */
	int err = bw_closer_new(bw_fuse_threads() - 1, &fs->closer);

	if (!err)
		err = bw_workq_new("bw-build", BUILD_THREADS, &fs->builders);
	if (err)
		return err;
	fs->space = (struct bw_spool_space){
		.budget = &fs->budget, .memory_max = fs->o.memory / 2,
		.dir = fs->staging, .files_max = staging_files(), .reclaim = reclaim_memory, .ctx = fs,
	};
	struct bw_produce_config produce = {
		.store = fs->store, .stream = &fs->stream, .head = fs->head,
		.committer = fs->committer, .reader = fs->reader, .pool = fs->builders,
		.closer = fs->closer, .waiting = &fs->waiting, .errors = &fs->errors,
		.counters = &fs->counters, .log = fs->log, .space = &fs->space, .options = &fs->o,
		.changed = bw_fuse_changed, .changed_ctx = fs,
	};
	return bw_produce_new(&produce, &fs->produce);
}

/* What the paths of a view look like is worth seeing before a loader waits for others. */
static void tell_views(struct bw_fs *fs)
{
	const struct bw_views *v = &fs->o.views;
	char path[BW_VIEW_PATH_MAX + 1];

	for (uint32_t i = 1; i < v->nodes_n; i++) {
		if (!v->nodes[i].file)
			continue;
		bw_view_path(v, &(struct bw_view_place){.node = i}, path);
		bw_log(fs->log, BW_LOG_INFO, "view", "step=0 rank=0 path=\"%s\"", path);
	}
}

static void saw_root(void *ctx, struct bw_root *old, struct bw_root *now)
{
	struct bw_fs *fs = ctx;

	bw_released_saw(&fs->released, fs->stream.options.margin, old, now);
	bw_disk_reclaimed(fs->disk, now->first);
}

static int start_gc(struct bw_fs *fs)
{
	struct bw_gc_config gc = {
		.store = fs->store, .stream = &fs->stream, .head = fs->head,
		.committer = fs->committer, .counters = &fs->counters, .log = fs->log,
		.memory = fs->o.memory / GC_SHARE,
	};

	return fs->o.gc ? bw_gc_new(&gc, &fs->gc) : 0;
}

static int start_parts(struct bw_fs *fs, struct bw_root *root)
{
	int err = bw_workq_new("bw-pool", POOL_THREADS, &fs->pool);

	if (!err)
		err = bw_workq_new("bw-side", 1, &fs->side);
	if (!err)
		err = bw_head_new(fs->store, &fs->stream, root, fs->opened_ns, fs->log, &fs->head);
	if (!err) {
		bw_head_subscribe(fs->head, saw_root, fs);
		bw_live_init(&fs->live, fs->head);
	}
	if (!err && !fs->o.ro)
		err = bw_committer_new(fs->store, &fs->stream, fs->head, fs->opened_ns, fs->log, &fs->committer);
	if (!err)
		err = start_readers(fs);
	if (!err && !fs->o.ro)
		err = start_writers(fs);
	if (!err)
		err = start_gc(fs);
	if (!err)
		start_news(fs);
	return err;
}

/* S6: what a store in a bucket keeps of bodies on their way comes out of the same memory=. */
static uint64_t set_transfers(struct bw_mount_options *o, const char *url)
{
	uint64_t bytes = o->memory / 4;

	if (o->ro || !bw_url_is_s3(url))
		return 0;
	o->s3.parts_memory = bytes < BW_S3_PARTS_MEMORY ? bytes : BW_S3_PARTS_MEMORY;
	return o->s3.parts_memory;
}

/* S6 is not ours alone to keep: what a control group allows, and where staged bytes go, is set by people. */
static void warn_of_memory(const struct bw_fs *fs)
{
	uint64_t limit = bw_memory_cgroup();
	bool limited = limit != UINT64_MAX;

	if (limited && fs->o.memory + BW_MEMORY_BESIDE > limit)
		bw_log(fs->log, BW_LOG_WARN, "memory_above_limit", "memory=%" PRIu64 " limit=%" PRIu64 " note=\"the control "
		       "group allows less than memory= and the 64 MiB that the daemon itself may take\"", fs->o.memory, limit);
	if (fs->staging && bw_memory_is_dir(fs->staging))
		bw_log(fs->log, limited ? BW_LOG_WARN : BW_LOG_INFO, "staging_in_memory", "dir=\"%s\" note=\"staged bytes that do "
		       "not fit into memory= go to a file system that is memory too: set staging=\"", fs->staging);
}

static int make(const char *url, const char *dir, const struct bw_mount_options *options,
		struct bw_log *log, struct bw_fs **ret)
{
	struct bw_fs *fs = calloc(1, sizeof(*fs));

	if (!fs)
		return -ENOMEM;
	fs->wake[0] = fs->wake[1] = -1;
	fs->o = *options;
	fs->log = fs->o.s3.log = log;
	fs->started_ms = bw_wall_ms();
	if (!fs->o.memory)
		fs->o.memory = bw_memory_default();
	bw_budget_init(&fs->budget, fs->o.memory - set_transfers(&fs->o, url));
	bw_budget_init(&fs->texts, fs->o.memory / TEXTS_SHARE);
	bw_errors_init(&fs->errors);
	bw_fold_init(&fs->fold);
	bw_waiting_init(&fs->waiting, &fs->counters);
	bw_released_init(&fs->released);
	bw_mutex_init(&fs->lock, BW_RANK_FS);
	bw_mutex_init(&fs->handles_lock, BW_RANK_LEAF);
	bw_cond_init(&fs->changed);
	fs->url_text = strdup(url);
	fs->dir = bw_fs_passed_fd(dir) >= 0 ? strdup(dir) : realpath(dir, NULL);
	*ret = fs;
	if (bw_once_init(&fs->once, fs->o.direct_io))
		return -ENOMEM;
	return fs->url_text && fs->dir && pipe2(fs->wake, O_CLOEXEC | O_NONBLOCK) == 0 ? 0 : -errno;
}

int bw_fs_start(const char *url, const char *dir, const struct bw_mount_options *options,
		struct bw_log *log, struct bw_fs **ret, char *why, size_t why_len)
{
	struct bw_fs *fs = NULL;
	struct bw_root *root = NULL;

	if (options->ro && options->gc) {
		snprintf(why, why_len, "option gc deletes, so it does not go with ro");
		return BW_FS_USAGE;
	}
	if (options->cache_size && !options->cache[0]) {
		snprintf(why, why_len, "option cache_size goes with cache=DIR");
		return BW_FS_USAGE;
	}
	int err = make(url, dir, options, log, &fs), code;

	if (err) {
		code = fail(why, why_len, err == -ENOENT ? BW_FS_USAGE : BW_FS_SYSTEM, dir, err);
		goto failed;
	}
	code = find_staging(fs, why, why_len);
	if (code)
		goto failed;
	warn_of_memory(fs);
	code = open_stream(fs, &root, why, why_len);
	if (code)
		goto failed;
	code = start_disk(fs, root, why, why_len);
	if (code)
		goto failed;
	err = start_parts(fs, root);
	if (err) {
		code = fail(why, why_len, BW_FS_SYSTEM, "cannot start", err);
		goto failed;
	}
	tell_views(fs);
	code = bw_fuse_mount(fs, why, why_len);
	if (code)
		goto failed;
	err = bw_fuse_serve(fs);
	if (err) {
		code = fail(why, why_len, BW_FS_MOUNT_FAILED, "the mount does not answer", err);
		goto failed;
	}
	bw_root_unref(root);
	*ret = fs;
	return 0;
failed:
	bw_root_unref(root);
	bw_fs_free(fs);
	return code;
}

/* Grows while anything is read or written. */
static uint64_t activity(struct bw_fs *fs)
{
	return atomic_load(&fs->counters.useful) + atomic_load(&fs->counters.prefetched) +
	       atomic_load(&fs->counters.commits_ok) + bw_memory_used(fs);
}

/* Until somebody wakes it.  A mount that had nothing to do for a while holds no memory for what may come. */
static void run_until_woken(struct bw_fs *fs)
{
	struct pollfd fd = {.fd = fs->wake[0], .events = POLLIN};
	uint64_t seen = 0;
	bool rests = true;
	int n;

	while ((n = poll(&fd, 1, REST_MS)) <= 0) {
		if (n)
			continue;	/* a signal */
		bw_step_tell_repeats(fs, bw_now());
		uint64_t now = activity(fs);
		if (now == seen && !rests)
			bw_heap_rest();
		rests = now == seen;
		seen = now;
	}
}

void bw_fs_run(struct bw_fs *fs)
{
	run_until_woken(fs);
	bw_gc_stop(fs->gc);
	int64_t deadline = bw_now() + DRAIN_NS;

	bw_checkpoint_stop(fs->checkpoint);
	if (fs->produce) {
		bw_produce_stop(fs->produce);
		bw_produce_drain(fs->produce, deadline);
	}
	bw_checkpoint_drain(fs->checkpoint, deadline);
	bw_steps_stop(fs->steps);
	bw_fuse_unmount(fs);
	bw_step_tell_repeats(fs, BW_NEVER);
}

void bw_fs_stop(struct bw_fs *fs)
{
	/* Full means that it has been told often enough. */
	(void)!write(fs->wake[1], "", 1);
}

void bw_fs_reopen_log(struct bw_fs *fs)
{
	bw_log_reopen(fs->log);
}

static void end_head(struct bw_fs *fs)
{
	bw_lock(&fs->lock);
	fs->head_over = true;
	bw_unlock(&fs->lock);
	bw_head_free(fs->head);
}

void bw_fs_free(struct bw_fs *fs)
{
	if (!fs)
		return;
	bw_gc_stop(fs->gc);
	if (fs->produce) {
		bw_produce_stop(fs->produce);
		bw_produce_drain(fs->produce, bw_now());
	}
	if (fs->checkpoint)
		bw_checkpoint_stop(fs->checkpoint);
	if (fs->steps)
		bw_steps_stop(fs->steps);
	bw_fuse_unmount(fs);
	if (fs->committer)
		bw_committer_free(fs->committer, bw_now() + 5 * BW_SEC);
	bw_gc_free(fs->gc);
	bw_closer_free(fs->closer);
	/* Uploads that outlived the drain end with the store; they find the queue closed. */
	bw_workq_free(fs->builders);
	if (fs->produce)
		bw_produce_release_store(fs->produce);
	bw_workq_free(fs->side);
	bw_file_news_free(fs->news);
	bw_reader_stop(fs->reader);
	bw_hand_free(fs->hand);
	end_head(fs);
	bw_reader_free(fs->reader);
	bw_disk_free(fs->disk);
	bw_workq_free(fs->pool);
	/* Where nothing was begun that needs what is freed next. */
	(fs->produce ? bw_store_free : bw_store_leave)(fs->store);
	bw_live_done(&fs->live);
	fs->space.leaving = true;
	bw_produce_free(fs->produce);
	bw_checkpoint_free(fs->checkpoint);
	bw_steps_free(fs->steps);
	bw_fuse_destroy(fs);
	bw_cond_done(&fs->changed);
	bw_mutex_done(&fs->handles_lock);
	bw_mutex_done(&fs->lock);
	bw_once_done(&fs->once);
	bw_released_done(&fs->released);
	bw_waiting_done(&fs->waiting);
	bw_fold_done(&fs->fold);
	bw_errors_done(&fs->errors);
	if (fs->wake[0] >= 0) {
		close(fs->wake[0]);
		close(fs->wake[1]);
	}
	free(fs->staging);
	free(fs->dir);
	free(fs->url_text);
	free(fs);
}
