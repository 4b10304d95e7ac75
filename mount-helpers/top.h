/* SPDX-License-Identifier: Apache-2.0 */
/*
 * batchweave top: what was seen at two moments, and what happened between them.
 *
 * A look is a value: read from the status of a mount or from the root of a stream, it has the same members whatever it
 * came from; what its source does not tell is NAN. The view is made of two looks and of nothing else, so it is tested
 * without a mount, a terminal or a clock.  Pure but for bw_top_read_mount(); no threads.
 */
#ifndef BW_MOUNT_HELPERS_TOP_H
#define BW_MOUNT_HELPERS_TOP_H

#include "fs/counters.h"
#include "manifest/root.h"
#include "store/base/buf.h"

#define BW_TOP_TEXT_MAX (16u << 20)	/* bytes of a status file; longer ones are none */
#define BW_TOP_BUCKETS 16u

/* Numbers of a look.  Up to BW_TOP_GAUGES they only rise. */
enum bw_top_value {
	BW_TOP_HEAD,
	BW_TOP_VERSION,
	BW_TOP_BYTES,		/* of all objects ever committed to the stream */
	BW_TOP_COMMITS,		/* batches of this mount */
	BW_TOP_FAILED,
	BW_TOP_CONFLICTS,
	BW_TOP_COMMIT_S,	/* seconds of all commits */
	BW_TOP_ATTEMPTS,
	BW_TOP_VERSIONS,
	BW_TOP_REQUESTS,
	BW_TOP_BAD,		/* requests that ended in neither an answer nor a proper refusal */
	BW_TOP_RETRIES,
	BW_TOP_THROTTLED,
	BW_TOP_GETS,
	BW_TOP_GET_S,
	BW_TOP_PUTS,
	BW_TOP_PUT_S,
	BW_TOP_IN,
	BW_TOP_OUT,
	BW_TOP_READ_MEMORY,
	BW_TOP_READ_DISK,
	BW_TOP_READ_STORE,
	BW_TOP_USEFUL,
	BW_TOP_CHECKSUMS,
	BW_TOP_ERRORS,
	BW_TOP_WAITED,		/* seconds, BW_WAIT_REASONS of them */
	BW_TOP_GAUGES = BW_TOP_WAITED + BW_WAIT_REASONS,
	BW_TOP_FIRST = BW_TOP_GAUGES,
	BW_TOP_LIVE,
	BW_TOP_WINDOW_S,
	BW_TOP_SEND_RATE,
	BW_TOP_CACHE,
	BW_TOP_DISK_CACHE,
	BW_TOP_STAGED,
	BW_TOP_STAGED_DISK,
	BW_TOP_MEMORY,
	BW_TOP_MEMORY_LIMIT,
	BW_TOP_LOOK_S,		/* what the look itself took */
	BW_TOP_WAITERS,		/* now, BW_WAIT_REASONS of them */
	BW_TOP_VALUES = BW_TOP_WAITERS + BW_WAIT_REASONS,
};

struct bw_top_job {
	char name[BW_NAME_MAX + 1];
	double lag;
	double markers;		/* how many */
	bool stops;		/* all reclaiming */
};

struct bw_top_producer {
	char name[BW_NAME_MAX + 1];
	double next, pending;
};

/* Requests that took at most bound seconds, all times below it included. */
struct bw_top_bucket {
	double bound, count;
};

struct bw_top {
	int64_t at_ns;		/* bw_now() time of the look */
	bool of_mount;
	char stream[40], url[512];
	double ranks;
	bool sealed, ok;	/* ok: the store answers */
	char trouble[256];
	double v[BW_TOP_VALUES];
	unsigned jobs_n, producers_n, buckets_n[2];
	struct bw_top_job jobs[BW_JOBS_MAX];
	struct bw_top_producer producers[BW_PRODUCERS_MAX];
	struct bw_top_bucket buckets[2][BW_TOP_BUCKETS];	/* of get, of put */
};

/* Nothing is known; malloc'ed. */
struct bw_top *bw_top_new(void);

/* ---- Looks ---------------------------------------------------------------------------------------- */

/* /status/metrics.  Samples that are not known are passed over.  -EINVAL: it is no such text. */
int bw_top_metrics(const char *text, size_t len, struct bw_top *t) bw_must_check;
/* /status/status.json.  -EINVAL: it is no JSON object. */
int bw_top_status(const char *text, size_t len, struct bw_top *t) bw_must_check;
void bw_top_root(const struct bw_stream *s, const struct bw_root *root, struct bw_top *t);
/* Both files of a mount, and the time.  0 or -errno; -EINVAL too: they are no files of ours.  May block as reads do. */
int bw_top_read_mount(const char *dir, struct bw_top *t) bw_must_check;

/*
 * Any JSON text, at most 16 deep: value() for each text, number, true, false and null in it, with the path to it
 * ("store.ok", "jobs.train.markers.0"), as it is written, quotes included.  -EINVAL.
 */
typedef void bw_top_json_value(void *ctx, const char *path, const char *text, size_t len);
int bw_top_json_walk(const char *text, size_t len, bw_top_json_value *value, void *ctx) bw_must_check;

/* ---- What happened between two looks -------------------------------------------------------------- */

/* A second; NAN when it is not known, 0 when the mount was started anew in between. */
double bw_top_rate(const struct bw_top *before, const struct bw_top *now, enum bw_top_value v);
/* The bound that 99 of 100 gets (0) or puts (1) kept to; INFINITY above the largest, NAN without any. */
double bw_top_p99(const struct bw_top *before, const struct bw_top *now, unsigned op);

/* The whole view: at most rows lines of at most columns characters. */
void bw_top_view(const struct bw_top *before, const struct bw_top *now, const char *when, unsigned columns,
		 unsigned rows, struct bw_buf *out);
/* One line of key=value, for logs. */
void bw_top_line(const struct bw_top *before, const struct bw_top *now, const char *when, struct bw_buf *out);
/* One line, a JSON object; what is not known is null. */
void bw_top_json(const struct bw_top *before, const struct bw_top *now, const char *when, struct bw_buf *out);

#endif
