/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What trainers and producers do to a mounted directory, ours or a peer's, timed call by call.
 *
 *   mount_load read READERS < LINES                  lines "READER PATH OFFSET LENGTH": each reader its own, in order
 *   mount_load batch DIR PRODUCERS FIRST COUNT RANKS SIZE    COUNT batches a producer below DIR/produce/bench-<p>
 *   mount_load files DIR WRITERS COUNT FILES SIZE SYNC       COUNT times FILES new files below DIR, written and
 *                                                            closed; SYNC 1: each with fsync, 2: the folder too
 *   mount_load tail DIR OTHER PRODUCER SEQ STEP COUNT READERS RANKS SIZE    batches through DIR; when the last close
 *                                                            has returned, READERS read their rank through OTHER
 *
 * Prints one JSON object: seconds, bytes, cpu_s, p50_ms and p99_ms of an item (a piece read; a batch or a set of
 * files written; from the acknowledgement to the last byte of the last reader) and, of batches, commit_p50_ms and
 * commit_p99_ms, what the last close alone took.  Every path is opened for each item and read to its end with calls of at most 8 MiB.
 */
#include "store/base/clock.h"
#include "store/base/rand.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define THREADS_MAX 1024
#define BUFFER (8u << 20)

struct item {
	char *path;
	uint64_t offset, length;
};

struct worker {
	struct load *l;
	unsigned id;
	pthread_t thread;
	uint8_t *buffer;
	struct item *items;	/* read */
	size_t n;
	double *ms, *commit_ms;	/* [n] */
	uint64_t bytes;
	int64_t end_ns;		/* tail: when the last byte was there */
};

struct load {
	const char *dir, *other, *producer;
	unsigned workers, ranks, sync;
	uint64_t first, count, size, step, at;
	pthread_barrier_t start, stop;
	struct worker w[THREADS_MAX];
};

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "mount_load: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void *must(void *p)
{
	if (!p)
		die("memory");
	return p;
}

static double ms_between(int64_t begin_ns, int64_t end_ns)
{
	return (double)(end_ns - begin_ns) / 1e6;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

/* ---- files ------------------------------------------------------------------------------------ */

static void read_piece(struct worker *w, const char *path, uint64_t offset, uint64_t length)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint64_t done = 0;

	if (fd < 0)
		die(path);
	while (done < length) {
		size_t want = length - done < BUFFER ? length - done : BUFFER;
		ssize_t n = pread(fd, w->buffer, want, (off_t)(offset + done));

		if (n <= 0)
			die(path);
		done += (uint64_t)n;
	}
	close(fd);
	w->bytes += done;
}

/* When the close began. */
static int64_t write_file(struct worker *w, const char *path, uint64_t size, bool sync)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	uint64_t done = 0;

	if (fd < 0)
		die(path);
	while (done < size) {
		size_t want = size - done < BUFFER ? size - done : BUFFER;
		ssize_t n = write(fd, w->buffer, want);

		if (n <= 0)
			die(path);
		done += (uint64_t)n;
	}
	if (sync && fsync(fd))
		die(path);
	int64_t begin_ns = bw_now();

	if (close(fd))
		die(path);
	w->bytes += done;
	return begin_ns;
}

__attribute__((format(printf, 1, 2))) static void make_dir(const char *format, ...)
{
	char path[4096];
	va_list args;

	va_start(args, format);
	vsnprintf(path, sizeof(path), format, args);
	va_end(args);
	if (mkdir(path, 0755) && errno != EEXIST)
		die(path);
}

static void sync_dir(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || fsync(fd))
		die(path);
	close(fd);
}

/* ---- what a worker does ----------------------------------------------------------------------- */

static void work_read(struct worker *w)
{
	for (size_t i = 0; i < w->n; i++) {
		int64_t begin_ns = bw_now();

		read_piece(w, w->items[i].path, w->items[i].offset, w->items[i].length);
		w->ms[i] = ms_between(begin_ns, bw_now());
	}
}

/* The last of the slices commits; when that close began. */
static int64_t write_batch(struct worker *w, const char *producer, uint64_t seq)
{
	struct load *l = w->l;
	char path[4096];
	int64_t closing_ns = 0;

	make_dir("%s/produce/%s/%" PRIu64, l->dir, producer, seq);
	make_dir("%s/produce/%s/%" PRIu64 "/rank", l->dir, producer, seq);
	for (unsigned r = 0; r < l->ranks; r++) {
		snprintf(path, sizeof(path), "%s/produce/%s/%" PRIu64 "/rank/%u", l->dir, producer, seq, r);
		closing_ns = write_file(w, path, l->size, false);
	}
	return closing_ns;
}

static void work_batch(struct worker *w)
{
	struct load *l = w->l;
	char producer[64];

	snprintf(producer, sizeof(producer), "bench-%u", w->id);
	make_dir("%s/produce/%s", l->dir, producer);
	for (uint64_t i = 0; i < l->count; i++) {
		int64_t begin_ns = bw_now(), closing_ns = write_batch(w, producer, l->first + i), end_ns = bw_now();

		w->ms[i] = ms_between(begin_ns, end_ns);
		w->commit_ms[i] = ms_between(closing_ns, end_ns);
	}
}

static void work_files(struct worker *w)
{
	struct load *l = w->l;
	char path[4096];

	for (uint64_t i = 0; i < l->count; i++) {
		int64_t begin_ns = bw_now();

		for (unsigned r = 0; r < l->ranks; r++) {
			snprintf(path, sizeof(path), "%s/%u-%" PRIu64 "-%u", l->dir, w->id, i, r);
			write_file(w, path, l->size, l->sync > 0);
		}
		if (l->sync > 1)
			sync_dir(l->dir);
		w->ms[i] = ms_between(begin_ns, bw_now());
	}
}

/* Worker 0 writes, the others wait for it and read. */
static void work_tail(struct worker *w)
{
	struct load *l = w->l;
	char path[4096];

	if (w->id == 0)
		make_dir("%s/produce/%s", l->dir, l->producer);
	for (uint64_t i = 0; i < l->count; i++) {
		int64_t acked_ns = 0;

		if (w->id == 0) {
			int64_t closing_ns = write_batch(w, l->producer, l->first + i);

			acked_ns = bw_now();
			w->commit_ms[i] = ms_between(closing_ns, acked_ns);
		}
		pthread_barrier_wait(&l->start);
		if (w->id) {
			snprintf(path, sizeof(path), "%s/step/%" PRIu64 "/rank/%u", l->other, l->step + i, (w->id - 1) % l->ranks);
			read_piece(w, path, 0, l->size);
			w->end_ns = bw_now();
		}
		pthread_barrier_wait(&l->stop);
		if (w->id)
			continue;
		int64_t end_ns = 0;

		for (unsigned k = 1; k < l->workers; k++)
			end_ns = l->w[k].end_ns > end_ns ? l->w[k].end_ns : end_ns;
		w->ms[i] = ms_between(acked_ns, end_ns);
	}
}

/* ---- all -------------------------------------------------------------------------------------- */

struct run {
	struct worker *w;
	void (*work)(struct worker *w);
	bool together;		/* begins with the others */
};

static void *thread(void *arg)
{
	struct run *r = arg;

	if (r->together)
		pthread_barrier_wait(&r->w->l->start);
	r->work(r->w);
	return NULL;
}

/* Random, so that nobody can make less of it; all pages are there before anything is timed. */
static void fill(struct worker *w)
{
	struct bw_rng rng;
	uint64_t n = w->l->size;

	for (size_t i = 0; w->items && i < w->n; i++)
		n = w->items[i].length > n ? w->items[i].length : n;
	n = n < BUFFER ? (n + 7) / 8 * 8 : BUFFER;
	w->buffer = must(malloc(n + 1));
	bw_rng_init(&rng, w->id + 1);
	for (size_t i = 0; i < n; i += 8) {
		uint64_t word = bw_rng_next(&rng);

		memcpy(w->buffer + i, &word, 8);
	}
}

static void read_lines(struct load *l)
{
	size_t caps[THREADS_MAX] = {0};
	char line[4400], path[4096];
	struct item i;
	unsigned id;

	while (fgets(line, sizeof(line), stdin)) {
		if (sscanf(line, "%u %4095s %" SCNu64 " %" SCNu64, &id, path, &i.offset, &i.length) != 4 ||
		    id >= l->workers)
			die("lines are READER PATH OFFSET LENGTH");
		struct worker *w = &l->w[id];

		if (w->n == caps[id]) {
			caps[id] = caps[id] ? 2 * caps[id] : 64;
			w->items = must(realloc(w->items, caps[id] * sizeof(*w->items)));
		}
		i.path = must(strdup(path));
		w->items[w->n++] = i;
	}
}

static void print_times(const char *name, struct load *l, unsigned workers, bool commits)
{
	size_t n = 0, at = 0;
	double *all;

	for (unsigned k = 0; k < workers; k++)
		n += l->w[k].n;
	all = must(calloc(n + 1, sizeof(*all)));
	for (unsigned k = 0; k < workers; k++)
		for (size_t i = 0; i < l->w[k].n; i++)
			all[at++] = commits ? l->w[k].commit_ms[i] : l->w[k].ms[i];
	qsort(all, n, sizeof(*all), by_size);
	printf(", \"%sp50_ms\": %.4f, \"%sp99_ms\": %.4f", name, all[n / 2], name, all[n * 99 / 100]);
	free(all);
}

static double cpu_s(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void run_all(struct load *l, void (*work)(struct worker *w), bool tail)
{
	static struct run runs[THREADS_MAX];

	for (unsigned k = 0; k < l->workers; k++) {
		struct worker *w = &l->w[k];

		w->l = l;
		w->id = k;
		w->n = work == work_read ? w->n : l->count;
		w->ms = must(calloc(w->n + 1, sizeof(double)));
		w->commit_ms = must(calloc(w->n + 1, sizeof(double)));
		fill(w);
		runs[k] = (struct run){w, work, !tail};
	}
	pthread_barrier_init(&l->start, NULL, tail ? l->workers : l->workers + 1);
	pthread_barrier_init(&l->stop, NULL, l->workers);
	double cpu_begin = cpu_s();

	for (unsigned k = 0; k < l->workers; k++)
		if (pthread_create(&l->w[k].thread, NULL, thread, &runs[k]))
			die("thread");
	if (!tail)
		pthread_barrier_wait(&l->start);
	int64_t begin_ns = bw_now();
	uint64_t bytes = 0;

	for (unsigned k = 0; k < l->workers; k++) {
		pthread_join(l->w[k].thread, NULL);
		bytes += l->w[k].bytes;
	}
	printf("{\"seconds\": %.5f, \"bytes\": %" PRIu64 ", \"cpu_s\": %.4f", ms_between(begin_ns, bw_now()) / 1e3, bytes,
	       cpu_s() - cpu_begin);
	print_times("", l, tail ? 1 : l->workers, false);
	if (work == work_batch || tail)
		print_times("commit_", l, tail ? 1 : l->workers, true);
	printf("}\n");
}

static uint64_t number(const char *text)
{
	char *end;
	uint64_t n = strtoull(text, &end, 10);

	errno = EINVAL;
	if (!*text || *end)
		die(text);
	return n;
}

int main(int argc, char **argv)
{
	static struct load l;
	const char *what = argc > 1 ? argv[1] : "";

	l.dir = argc > 2 ? argv[2] : "";
	if (strcmp(what, "read") == 0 && argc == 3) {
		l.workers = (unsigned)number(argv[2]);
	} else if (strcmp(what, "batch") == 0 && argc == 8) {
		l.workers = (unsigned)number(argv[3]);
		l.first = number(argv[4]);
		l.count = number(argv[5]);
		l.ranks = (unsigned)number(argv[6]);
		l.size = number(argv[7]);
	} else if (strcmp(what, "files") == 0 && argc == 8) {
		l.workers = (unsigned)number(argv[3]);
		l.count = number(argv[4]);
		l.ranks = (unsigned)number(argv[5]);
		l.size = number(argv[6]);
		l.sync = (unsigned)number(argv[7]);
	} else if (strcmp(what, "tail") == 0 && argc == 11) {
		l.other = argv[3];
		l.producer = argv[4];
		l.first = number(argv[5]);
		l.step = number(argv[6]);
		l.count = number(argv[7]);
		l.workers = 1 + (unsigned)number(argv[8]);
		l.ranks = (unsigned)number(argv[9]);
		l.size = number(argv[10]);
	} else {
		fprintf(stderr, "usage: mount_load read|batch|files|tail ... (see the head of its source)\n");
		return 2;
	}
	if (!l.workers || l.workers > THREADS_MAX) {
		fprintf(stderr, "mount_load: 1 to %d threads\n", THREADS_MAX);
		return 2;
	}
	if (*what == 'r')
		read_lines(&l);
	run_all(&l, *what == 'r' ? work_read : *what == 'b' ? work_batch : *what == 'f' ? work_files : work_tail, *what == 't');
	return 0;
}
