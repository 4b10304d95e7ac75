/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The floor of every read benchmark: a FUSE filesystem of the shape of a mount (/step/<n>/rank/<r>,
 * equal sizes, kernel page cache kept) whose bytes are one buffer in memory.  What it cannot do faster,
 * no filesystem in user space can.
 *
 * usage: bench_nullfs DIR STEPS RANKS BYTES [direct]    (stays in the foreground; direct: without the page cache)
 */
#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct null_fs {
	uint64_t steps, ranks, bytes;
	bool direct;
	char *buffer;		/* owned: as long as the longest read and what may lie before it */
};

#define BUFFER_BYTES (4u << 20)
#define INO_STEP 2
/* ino = 4 * (1 + step * (ranks + 1) + slot) + kind; slot 0 is the step itself, 1 + r its rank r */
enum { KIND_STEP = 3, KIND_RANKS = 1 };

static uint64_t node_ino(const struct null_fs *fs, uint64_t step, uint64_t slot, int kind)
{
	return 4 * (1 + step * (fs->ranks + 1) + slot) + (uint64_t)kind;
}

static void fill(const struct null_fs *fs, fuse_ino_t ino, struct stat *st)
{
	uint64_t slot = ino > INO_STEP ? (ino / 4 - 1) % (fs->ranks + 1) : 0;

	memset(st, 0, sizeof(*st));
	st->st_ino = ino;
	st->st_nlink = 1;
	st->st_blksize = 1 << 20;
	st->st_mode = S_IFDIR | 0555;
	if (ino % 4 == KIND_STEP && slot) {
		st->st_mode = S_IFREG | 0444;
		st->st_size = (off_t)fs->bytes;
	}
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	const struct null_fs *fs = fuse_req_userdata(req);
	struct fuse_entry_param e = {.attr_timeout = 86400, .entry_timeout = 86400};
	uint64_t n = strtoull(name, NULL, 10);

	if (parent == FUSE_ROOT_ID)
		e.ino = INO_STEP;
	else if (parent == INO_STEP)
		e.ino = n < fs->steps ? node_ino(fs, n, 0, KIND_STEP) : 0;
	else if (parent % 4 == KIND_STEP)
		e.ino = parent - KIND_STEP + KIND_RANKS;
	else
		e.ino = n < fs->ranks ? parent - KIND_RANKS + 4 * (n + 1) + KIND_STEP : 0;
	if (!e.ino) {
		fuse_reply_err(req, ENOENT);
		return;
	}
	fill(fs, e.ino, &e.attr);
	fuse_reply_entry(req, &e);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat st;

	(void)fi;
	fill(fuse_req_userdata(req), ino, &st);
	fuse_reply_attr(req, &st, 86400);
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	const struct null_fs *fs = fuse_req_userdata(req);

	(void)ino;
	fi->keep_cache = !fs->direct;
	fi->direct_io = fs->direct;
	fuse_reply_open(req, fi);
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	const struct null_fs *fs = fuse_req_userdata(req);

	(void)ino;
	(void)fi;
	if ((uint64_t)off >= fs->bytes)
		size = 0;
	else if (size > fs->bytes - (uint64_t)off)
		size = fs->bytes - (uint64_t)off;
	/* Other bytes for other offsets, so that the copy walks through memory as a cache would. */
	fuse_reply_buf(req, fs->buffer + (uint64_t)off % (BUFFER_BYTES / 2), size);
}

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	(void)userdata;
	conn->want &= ~(unsigned)(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE |
				  FUSE_CAP_READDIRPLUS | FUSE_CAP_AUTO_INVAL_DATA);
	conn->max_background = 64;
	conn->congestion_threshold = 48;
}

static const struct fuse_lowlevel_ops ops = {
	.init = op_init, .lookup = op_lookup, .getattr = op_getattr, .open = op_open, .read = op_read};

int main(int argc, char **argv)
{
	if (argc < 5) {
		fprintf(stderr, "usage: %s DIR STEPS RANKS BYTES [direct]\n", argv[0]);
		return 2;
	}
	struct null_fs fs = {.steps = strtoull(argv[2], NULL, 10),
			     .ranks = strtoull(argv[3], NULL, 10),
			     .bytes = strtoull(argv[4], NULL, 10),
			     .direct = argc > 5,
			     .buffer = malloc(BUFFER_BYTES)};
	char *fuse_argv[] = {argv[0], (char *)"-o", (char *)"fsname=null,subtype=bench_nullfs"};
	struct fuse_args args = FUSE_ARGS_INIT(3, fuse_argv);
	struct fuse_loop_config *config = fuse_loop_cfg_create();
	int err = 1;

	if (!fs.buffer || !config)
		return 1;
	memset(fs.buffer, 'x', BUFFER_BYTES);
	struct fuse_session *se = fuse_session_new(&args, &ops, sizeof(ops), &fs);

	if (se && fuse_set_signal_handlers(se) == 0 && fuse_session_mount(se, argv[1]) == 0) {
		fuse_loop_cfg_set_max_threads(config, 3);
		fuse_loop_cfg_set_idle_threads(config, 3);
		err = fuse_session_loop_mt(se, config);
		fuse_session_unmount(se);
	}
	fuse_loop_cfg_destroy(config);
	if (se)
		fuse_session_destroy(se);
	free(fs.buffer);
	return err != 0;
}
