/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sequential reads through the reader over a file store, beside plain pread of the same objects in
 * the same run: into one buffer, which never leaves the CPU's caches, and round a ring as large as what
 * a reader has under way, which is the same work without checking.  Not a test: prints GB/s and
 * ratios, medians of several rounds.
 *
 *   reader_bench [-d DIR] [-s STEPS] [-m MIB] [-r READERS] [-n ROUNDS] [-b BUDGET_MIB] [-k READ_KIB]
 *                [-t POOL] [-z] [-c] [-g] [-v]
 *
 * -z compresses, -c goes through the whole chain of a mount (limit, retry, stats), -g leaves malloc as
 * glibc has it, -v compares every byte (a stress rather than a benchmark: for sanitizers).  Each reader
 * has a rank of its own.
 */
#include "fs/heap.h"
#include "fs/reader.h"
#include "store/base/hash.h"
#include "store/base/rand.h"
#include "store/base/sync.h"
#include "store/stats.h"
#include "tests/support/sample.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)
#define ROUNDS_MAX 99
#define READERS_MAX 64
#define RING (16 * MIB)

struct bench {
	const char *dir;
	unsigned steps, readers, rounds, pool_n;
	uint64_t slice, budget_bytes;
	size_t read_bytes;
	bool compress, chain, verify;

	char temp[64];
	struct bw_sample sample;
	struct bw_store_stats stats;
	struct bw_store *store;
	struct bw_head *head;
	struct bw_workq *pool;
	struct bw_budget budget;
	struct bw_counters counters;
	struct bw_reader *reader;
	struct bw_tgb **tgbs;		/* [steps] */
	uint8_t *buffers[READERS_MAX];
};

struct job {
	struct bench *b;
	uint32_t rank;
	pthread_t thread;
	uint64_t bytes;
	uint8_t *buffer;	/* RING bytes of it, touched */
};

static void check(int err, const char *what)
{
	char text[128];

	if (!err)
		return;
	fprintf(stderr, "reader_bench: %s: %s\n", what, bw_err_text(err, text, sizeof(text)));
	exit(1);
}

static uint64_t word_at(const struct bench *b, uint64_t step, uint32_t rank, uint64_t at)
{
	uint64_t word = ((step * 1031 + rank + 1) << 40) + at / 8;

	word = (word ^ word >> 29) * UINT64_C(0xbf58476d1ce4e5b9);
	return b->compress ? word & UINT64_C(0x0f0f0f0f0f0f0f0f) : word;
}

static void fill(const struct bench *b, uint64_t step, uint32_t rank, uint64_t at, uint8_t *bytes,
		 size_t len)
{
	for (size_t i = 0; i < len; i += 8) {
		uint64_t word = word_at(b, step, rank, at + i);
		memcpy(bytes + i, &word, 8);
	}
}

/* ---- The stream ------------------------------------------------------------------------------- */

static void put_step(struct bench *b, struct bw_entry *e, struct bw_buf *object)
{
	struct bw_bytes_body body;
	char key[BW_KEY_MAX + 1];
	struct bw_op op;

	bw_key_data(&b->sample.stream, e->producer, e->epoch, e->seq, e->nonce, key);
	bw_bytes_body_init(&body, object->bytes, object->len);
	bw_op_put(&op, key, &body.body, true);
	if (bw_store_sync(b->store, &op) != BW_OK)
		check(bw_op_err(&op), "put");
	bw_sample_append(&b->sample, e);
}

static void make_step(struct bench *b, uint64_t step)
{
	const struct bw_stream *s = &b->sample.stream;
	struct bw_entry e = {.step = step, .producer = "bench", .epoch = 1, .seq = step, .nonce = 1};
	struct bw_tgb_builder *builder;
	bw_auto_buf struct bw_buf object = {.max = 0};
	uint8_t *raw = malloc(s->block_size);

	bw_buf_init(&object, SIZE_MAX / 4);
	check(raw ? 0 : -ENOMEM, "memory");
	check(bw_tgb_builder_new(s, e.producer, 1, step, &builder), "builder");
	for (uint32_t rank = 0; rank < b->readers; rank++) {
		for (uint64_t at = 0; at < b->slice; at += s->block_size) {
			size_t n = b->slice - at < s->block_size ? b->slice - at : s->block_size;
			const void *stored;
			size_t len;
			fill(b, step, rank, at, raw, n);
			check(bw_tgb_builder_block(builder, raw, n, &stored, &len), "block");
			bw_buf_add(&object, stored, len);
		}
		check(bw_tgb_builder_end_slice(builder), "slice");
	}
	uint64_t data_len = object.len;

	check(bw_tgb_builder_finish(builder, &object, &b->tgbs[step]), "footer");
	bw_tgb_builder_free(builder);
	free(raw);
	e.size = object.len;
	e.raw = b->slice * b->readers;
	e.footer_len = (uint32_t)(object.len - data_len);
	e.footer_xxh3 = bw_tgb_sum(object.bytes + data_len, e.footer_len);
	put_step(b, &e, &object);
}

static void open_store(struct bench *b)
{
	struct bw_store_config config = {.create = true, .stats = &b->stats};
	struct bw_url url = {.scheme = BW_URL_FILE};
	char why[256];

	snprintf(b->temp, sizeof(b->temp), "%s/reader-bench-XXXXXX", b->dir);
	check(mkdtemp(b->temp) ? 0 : -errno, b->temp);
	if (!b->chain) {
		check(bw_store_file_new(b->temp, false, 0, &b->store), "store");
		return;
	}
	memcpy(url.path, b->temp, strlen(b->temp) + 1);
	check(bw_store_open(&url, &config, &b->store, why, sizeof(why)), "store");
}

static void make(struct bench *b)
{
	open_store(b);
	bw_sample_init(&b->sample, b->readers);
	b->sample.stream.block_size = BW_BLOCK_SIZE;
	if (b->compress) {
		b->sample.stream.options.compress = BW_COMPRESS_ZSTD;
		b->sample.stream.options.compress_level = 1;
	}
	b->tgbs = calloc(b->steps, sizeof(struct bw_tgb *));
	check(b->tgbs ? 0 : -ENOMEM, "memory");
	for (uint64_t step = 0; step < b->steps; step++)
		make_step(b, step);
	check(bw_head_new(b->store, &b->sample.stream, b->sample.root, bw_boottime(), NULL, &b->head), "head");
	check(bw_workq_new("pool", b->pool_n, &b->pool), "pool");
	bw_budget_init(&b->budget, b->budget_bytes);
	for (unsigned i = 0; i < b->readers; i++) {
		b->buffers[i] = malloc(RING);
		check(b->buffers[i] ? 0 : -ENOMEM, "memory");
		memset(b->buffers[i], 1, RING);
	}
}

static void unmake(struct bench *b)
{
	char command[128];

	bw_head_free(b->head);
	bw_workq_free(b->pool);
	bw_store_free(b->store);
	for (unsigned i = 0; i < b->steps; i++)
		bw_tgb_unref(b->tgbs[i]);
	free(b->tgbs);
	for (unsigned i = 0; i < b->readers; i++)
		free(b->buffers[i]);
	bw_sample_done(&b->sample);
	snprintf(command, sizeof(command), "rm -rf '%s'", b->temp);
	if (system(command))
		fprintf(stderr, "reader_bench: cannot remove %s\n", b->temp);
}

/* ---- What is measured ------------------------------------------------------------------------- */

static const struct bw_entry *entry_of(const struct bench *b, uint64_t step)
{
	return bw_root_tail_entry(b->sample.root, step);
}

static void read_plain(struct job *j, uint8_t *ring, uint64_t ring_bytes)
{
	struct bench *b = j->b;
	char path[BW_KEY_MAX + 80], key[BW_KEY_MAX + 1];

	for (uint64_t step = 0; step < b->steps; step++) {
		const struct bw_entry *e = entry_of(b, step);
		const struct bw_slice *s = &b->tgbs[step]->slices[j->rank];
		bw_key_data(&b->sample.stream, e->producer, e->epoch, e->seq, e->nonce, key);
		snprintf(path, sizeof(path), "%s/%s", b->temp, key);
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		check(fd < 0 ? -errno : 0, path);
		for (uint64_t at = 0; at < s->stored;) {
			size_t n = s->stored - at < b->read_bytes ? s->stored - at : b->read_bytes;
			ssize_t got = pread(fd, ring + at % ring_bytes, n, (off_t)(s->offset + at));
			check(got <= 0 ? -EIO : 0, "pread");
			at += (uint64_t)got;
		}
		close(fd);
		j->bytes += s->raw;
	}
}

static void *read_one_buffer(void *arg)
{
	struct job *j = arg;

	read_plain(j, j->buffer, j->b->read_bytes);
	return NULL;
}

static void *read_ring(void *arg)
{
	struct job *j = arg;

	read_plain(j, j->buffer, RING);
	return NULL;
}

struct one_read {
	struct bw_read read;
	struct bw_tgb_wait footer;
	struct bw_tgb *tgb;
	struct bw_mutex lock;
	struct bw_cond cond;
	bool over;
	int err;
	uint8_t *bytes;		/* for comparison; NULL: not wanted */
};

static void read_done(struct bw_read *read, int err)
{
	struct one_read *r = read->ctx;
	size_t at = 0;

	for (unsigned i = 0; r->bytes && i < read->pieces_n; i++) {
		memcpy(r->bytes + at, read->pieces[i].blob->bytes + read->pieces[i].offset,
		       read->pieces[i].length);
		at += read->pieces[i].length;
	}
	BW_LOCK_SCOPE(&r->lock);
	r->err = err;
	r->over = true;
	bw_cond_signal(&r->cond);
}

static void wait_over(struct one_read *r, const char *what)
{
	bw_lock(&r->lock);
	while (!r->over)
		bw_cond_wait(&r->cond, &r->lock);
	bw_unlock(&r->lock);
	check(r->err, what);
}

static void footer_done(struct bw_tgb_wait *wait, int err, struct bw_tgb *tgb)
{
	struct one_read *r = bw_container_of(wait, struct one_read, footer);

	BW_LOCK_SCOPE(&r->lock);
	r->tgb = tgb;
	r->err = err;
	r->over = true;
	bw_cond_signal(&r->cond);
}

static void get_footer(struct job *j, struct one_read *r, uint64_t step)
{
	r->over = false;
	r->err = 0;
	r->footer = (struct bw_tgb_wait){.done = footer_done, .entry = *entry_of(j->b, step)};
	if (!bw_reader_tgb(j->b->reader, &r->footer, &r->tgb))
		wait_over(r, "footer");
}

static void read_one(struct job *j, struct one_read *r, uint64_t step, uint64_t at, uint8_t *model)
{
	struct bench *b = j->b;

	r->over = false;
	r->read.entry = entry_of(b, step);
	r->read.tgb = r->tgb;
	r->read.rank = j->rank;
	r->read.offset = at;
	r->read.length = b->read_bytes;
	r->read.sequential = at > 0;
	r->read.done = read_done;
	r->read.ctx = r;
	bw_reader_read(b->reader, &r->read);
	wait_over(r, "read");
	j->bytes += r->read.length;
	if (!model)
		return;
	fill(b, step, j->rank, at, model, r->read.length);
	check(memcmp(r->bytes, model, r->read.length) ? -BW_E_CORRUPT : 0, "compare");
}

static void *read_slices(void *arg)
{
	struct job *j = arg;
	struct bench *b = j->b;
	struct one_read r = {.bytes = b->verify ? malloc(b->read_bytes + 8) : NULL};
	uint8_t *model = b->verify ? malloc(b->read_bytes + 8) : NULL;

	bw_mutex_init(&r.lock, BW_RANK_LEAF);
	bw_cond_init(&r.cond);
	for (uint64_t step = 0; step < b->steps; step++) {
		get_footer(j, &r, step);
		for (uint64_t at = 0; at < b->slice; at += b->read_bytes)
			read_one(j, &r, step, at, model);
		bw_tgb_unref(r.tgb);
	}
	free(r.bytes);
	free(model);
	return NULL;
}

struct rate {
	double gbs;		/* GB/s of all readers together */
	double cpu;		/* microseconds of CPU per MiB, of all threads */
};

static double cpu_us(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static struct rate run(struct bench *b, void *(*what)(void *arg))
{
	struct job jobs[READERS_MAX];
	int64_t begin = bw_now();
	double cpu = cpu_us();
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < b->readers; i++) {
		jobs[i] = (struct job){.b = b, .rank = i, .buffer = b->buffers[i]};
		check(bw_thread_start(&jobs[i].thread, "job", what, &jobs[i]), "thread");
	}
	for (uint32_t i = 0; i < b->readers; i++) {
		pthread_join(jobs[i].thread, NULL);
		bytes += jobs[i].bytes;
	}
	return (struct rate){.gbs = (double)bytes / (double)(bw_now() - begin),
			     .cpu = (cpu_us() - cpu) / ((double)bytes / (double)MIB)};
}

static struct rate run_reader(struct bench *b)
{
	struct bw_reader_config config = {
		.store = b->store, .stream = &b->sample.stream, .head = b->head,
		.budget = &b->budget, .pool = b->pool, .counters = &b->counters,
		.prefetch = 2, .io_timeout_ns = 60 * BW_SEC,
	};

	check(bw_reader_new(&config, &b->reader), "reader");
	struct rate rate = run(b, read_slices);

	bw_reader_free(b->reader);
	check(bw_budget_used(&b->budget) ? -EINVAL : 0, "the budget is not 0 at the end");
	return rate;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *values, unsigned n)
{
	qsort(values, n, sizeof(*values), by_value);
	return values[n / 2];
}

enum what { ONE_BUFFER, A_RING, READER, WHATS };

static void measure(struct bench *b)
{
	static void *(*const plain[])(void *) = {read_one_buffer, read_ring};
	double gbs[WHATS][ROUNDS_MAX], cpu[WHATS][ROUNDS_MAX], ratio[READER][ROUNDS_MAX];
	struct rusage u;

	run(b, read_one_buffer);	/* into the page cache */
	for (unsigned i = 0; i < b->rounds; i++) {
		for (int w = 0; w < WHATS; w++) {
			struct rate r = w == READER ? run_reader(b) : run(b, plain[w]);
			gbs[w][i] = r.gbs;
			cpu[w][i] = r.cpu;
		}
		for (int w = 0; w < READER; w++)
			ratio[w][i] = gbs[READER][i] / gbs[w][i];
	}
	double useful = (double)b->counters.useful;

	getrusage(RUSAGE_SELF, &u);
	printf("readers=%u read=%zuK GB/s one-buffer=%.2f ring=%.2f reader=%.2f "
	       "ratio one-buffer=%.2f ring=%.2f cpu us/MiB one-buffer=%.0f ring=%.0f reader=%.0f "
	       "prefetched=%.2f hits=%.2f rss=%ldM\n",
	       b->readers, b->read_bytes >> 10, median(gbs[ONE_BUFFER], b->rounds),
	       median(gbs[A_RING], b->rounds), median(gbs[READER], b->rounds),
	       median(ratio[ONE_BUFFER], b->rounds), median(ratio[A_RING], b->rounds),
	       median(cpu[ONE_BUFFER], b->rounds), median(cpu[A_RING], b->rounds),
	       median(cpu[READER], b->rounds), (double)b->counters.prefetched / useful,
	       (double)b->counters.read_cache / useful, u.ru_maxrss >> 10);
}

static unsigned number(const char *text, unsigned max)
{
	char *end;
	unsigned long v = strtoul(text, &end, 10);

	check(!*text || *end || !v || v > max ? -EINVAL : 0, text);
	return (unsigned)v;
}

int main(int argc, char **argv)
{
	static struct bench b = {.dir = "/tmp", .steps = 8, .readers = 1, .rounds = 7, .pool_n = 2,
				 .slice = 64 * MIB, .budget_bytes = 256 * MIB, .read_bytes = 128 << 10};
	bool tune = true;
	int c;

	while ((c = getopt(argc, argv, "d:s:m:r:n:b:k:t:zcvg")) != -1) {
		switch (c) {
		case 'd': b.dir = optarg; break;
		case 's': b.steps = number(optarg, BW_TAIL_FOLD - 1); break;
		case 'm': b.slice = number(optarg, 4096) * MIB; break;
		case 'r': b.readers = number(optarg, READERS_MAX); break;
		case 'n': b.rounds = number(optarg, ROUNDS_MAX); break;
		case 'b': b.budget_bytes = number(optarg, 65536) * MIB; break;
		case 'k': b.read_bytes = (size_t)number(optarg, 1024) << 10; break;
		case 't': b.pool_n = number(optarg, 64); break;
		case 'z': b.compress = true; break;
		case 'c': b.chain = true; break;
		case 'v': b.verify = true; break;
		case 'g': tune = false; break;
		default: return 2;
		}
	}
	if (tune)
		bw_heap_tune(0);
	make(&b);
	measure(&b);
	unmake(&b);
	return 0;
}
