/* SPDX-License-Identifier: Apache-2.0 */
/* /status/metrics: Prometheus text format, names as interface.md fixes them. */
#include "fs/fs_priv.h"
#include "fs/jobs.h"

#include <inttypes.h>
#include <stdio.h>

static void head(struct bw_buf *out, const char *name, const char *type, const char *help)
{
	bw_buf_fmt(out, "# HELP batchweave_%s %s\n# TYPE batchweave_%s %s\n", name, help, name, type);
}

static void one(struct bw_buf *out, const char *name, const char *type, const char *help, uint64_t v)
{
	head(out, name, type, help);
	bw_buf_fmt(out, "batchweave_%s %" PRIu64 "\n", name, v);
}

static double seconds(uint64_t ns)
{
	return (double)ns / 1e9;
}

/* A histogram of requests or commits; labels: "op=\"get\"", or "". */
static void print_buckets(struct bw_buf *out, const char *name, const char *labels, atomic_uint_fast64_t *buckets,
			  uint64_t ns)
{
	static const double bounds[] = BW_STATS_BUCKETS;
	const char *comma = *labels ? "," : "", *open = *labels ? "{" : "", *close = *labels ? "}" : "";
	uint64_t sum = 0;

	for (int b = 0; b < BW_STATS_BUCKETS_N; b++) {
		sum += atomic_load(&buckets[b]);
		bw_buf_fmt(out, "batchweave_%s_bucket{%s%sle=\"%g\"} %" PRIu64 "\n", name, labels, comma, bounds[b], sum);
	}
	sum += atomic_load(&buckets[BW_STATS_BUCKETS_N]);
	bw_buf_fmt(out, "batchweave_%s_bucket{%s%sle=\"+Inf\"} %" PRIu64 "\n", name, labels, comma, sum);
	bw_buf_fmt(out, "batchweave_%s_sum%s%s%s %.6f\n", name, open, labels, close, seconds(ns));
	bw_buf_fmt(out, "batchweave_%s_count%s%s%s %" PRIu64 "\n", name, open, labels, close, sum);
}

static void print_commits(struct bw_fs *fs, struct bw_buf *out)
{
	struct bw_counters *c = &fs->counters;
	uint64_t ok = atomic_load(&c->commits_ok), failed = atomic_load(&c->commits_failed);
	const struct bw_commit_stats *s = fs->committer ? bw_committer_stats(fs->committer) : NULL;

	head(out, "commits_total", "counter", "Batches of this mount by outcome.");
	bw_buf_fmt(out, "batchweave_commits_total{result=\"ok\"} %" PRIu64 "\n", ok);
	bw_buf_fmt(out, "batchweave_commits_total{result=\"failed\"} %" PRIu64 "\n", failed);
	bw_buf_fmt(out, "batchweave_commits_total{result=\"conflict\"} %" PRIu64 "\n",
		   s ? (uint64_t)atomic_load(&s->conflicts) : 0);
	head(out, "commit_seconds", "histogram", "From a batch being whole to its commit.");
	print_buckets(out, "commit_seconds", "", c->commit_buckets, atomic_load(&c->commit_ns));
	head(out, "commit_attempts", "summary", "Attempts it took to commit a version.");
	bw_buf_fmt(out, "batchweave_commit_attempts_sum %" PRIu64 "\n",
		   s ? (uint64_t)atomic_load(&s->attempts) : 0);
	bw_buf_fmt(out, "batchweave_commit_attempts_count %" PRIu64 "\n",
		   s ? (uint64_t)atomic_load(&s->versions) : 0);
	one(out, "commits_prepared_total", "counter", "Versions whose root was on the disk when their batch was.",
	    s ? atomic_load(&s->prepared) : 0);
	head(out, "commit_window_seconds", "gauge", "How long commits are put off to share a version.");
	bw_buf_fmt(out, "batchweave_commit_window_seconds %.6f\n",
		   s ? seconds(atomic_load(&s->window_ns)) : 0);
	one(out, "killed_writers_total", "counter", "Slices not made whole because their writer was killed.",
	    atomic_load(&c->killed_writers));
}

static void print_store(struct bw_fs *fs, struct bw_buf *out)
{
	struct bw_store_stats *s = &fs->stats;
	char op[32];

	head(out, "store_requests_total", "counter", "Requests to the store by kind and outcome.");
	for (int k = 0; k < BW_STATS_KINDS; k++)
		for (int o = 0; o < BW_STATS_OUTCOMES; o++)
			bw_buf_fmt(out, "batchweave_store_requests_total{op=\"%s\",code=\"%s\"} %" PRIu64 "\n",
				   bw_op_kind_name((enum bw_op_kind)k), bw_outcome_name((enum bw_outcome)o),
				   (uint64_t)atomic_load(&s->requests[k][o]));
	head(out, "store_request_seconds", "histogram", "Time of requests to the store.");
	for (int k = 0; k < BW_STATS_KINDS; k++) {
		snprintf(op, sizeof(op), "op=\"%s\"", bw_op_kind_name((enum bw_op_kind)k));
		print_buckets(out, "store_request_seconds", op, s->buckets[k], atomic_load(&s->nanoseconds[k]));
	}
	head(out, "store_bytes_total", "counter", "Bytes of objects from and to the store.");
	bw_buf_fmt(out, "batchweave_store_bytes_total{dir=\"in\"} %" PRIu64 "\n",
		   (uint64_t)atomic_load(&s->bytes_in));
	bw_buf_fmt(out, "batchweave_store_bytes_total{dir=\"out\"} %" PRIu64 "\n",
		   (uint64_t)atomic_load(&s->bytes_out));
}

/* What it took to get the answers that print_store() counts once each. */
static void print_sending(struct bw_fs *fs, struct bw_buf *out)
{
	struct bw_send_stats *s = &fs->stats.send;

	one(out, "store_retries_total", "counter", "Requests sent again because they failed.",
	    atomic_load(&s->repeats));
	one(out, "store_hedged_total", "counter", "Gets sent a second time because no answer came.",
	    atomic_load(&s->hedges));
	one(out, "store_hedges_won_total", "counter", "Second gets that were answered before the first.",
	    atomic_load(&s->hedges_won));
	one(out, "store_throttled_total", "counter", "Answers that asked for fewer requests.",
	    atomic_load(&s->throttled));
	one(out, "store_send_rate", "gauge", "Requests per second that may be sent now; 0: no limit.",
	    atomic_load(&s->rate));
}

static void print_reads(struct bw_fs *fs, struct bw_buf *out)
{
	static const char *const opened[] = BW_OPENED_NAMES;
	struct bw_counters *c = &fs->counters;

	head(out, "read_bytes_total", "counter", "Bytes of slices handed to the kernel, by where they were found.");
	bw_buf_fmt(out, "batchweave_read_bytes_total{source=\"cache\"} %" PRIu64 "\n",
		   (uint64_t)atomic_load(&c->read_cache));
	bw_buf_fmt(out, "batchweave_read_bytes_total{source=\"disk\"} %" PRIu64 "\n",
		   (uint64_t)atomic_load(&c->read_disk));
	bw_buf_fmt(out, "batchweave_read_bytes_total{source=\"store\"} %" PRIu64 "\n",
		   (uint64_t)atomic_load(&c->read_store));
	head(out, "slices_opened_total", "counter", "Slices opened, by what was done: read through the page cache, there before, past it.");
	for (int i = 0; i < BW_OPENED_WAYS; i++)
		bw_buf_fmt(out, "batchweave_slices_opened_total{how=\"%s\"} %" PRIu64 "\n", opened[i],
			   (uint64_t)atomic_load(&c->opened[i]));
	one(out, "useful_bytes_total", "counter", "Bytes of slices asked for by reads that reached the daemon.",
	    atomic_load(&c->useful));
	one(out, "prefetched_bytes_total", "counter", "Bytes of blocks fetched ahead.",
	    atomic_load(&c->prefetched));
	one(out, "checksum_failures_total", "counter", "Blocks whose checksum did not match (V5).",
	    atomic_load(&c->checksum_failures));
}

static void print_disk(struct bw_disk_cache *d, struct bw_buf *out)
{
	if (!d)
		return;
	const struct bw_disk_stats *s = bw_disk_stats(d);

	one(out, "disk_cache_bytes", "gauge", "Bytes of blocks and footers in the directory of cache=.",
	    atomic_load(&s->bytes));
	one(out, "disk_cache_limit_bytes", "gauge", "What it may hold; 0 until what lay there has been found.",
	    atomic_load(&s->limit));
	one(out, "disk_cache_blocks", "gauge", "Its files.", atomic_load(&s->blocks));
	one(out, "disk_cache_filling", "gauge", "1; 0 while it is not ready, or the disk is full, fails or hangs.",
	    bw_disk_state(d) == BW_DISK_FILLS);
	one(out, "disk_cache_written_bytes_total", "counter", "Bytes written to it.", atomic_load(&s->written));
	one(out, "disk_cache_dropped_total", "counter", "Blocks not kept as the disk was slow, full or failing.",
	    atomic_load(&s->dropped));
	one(out, "disk_cache_damaged_total", "counter", "Files that were gone, cut or damaged when they were read.",
	    atomic_load(&s->damaged));
	one(out, "disk_cache_given_up_total", "counter", "Reads of it that took longer than 2 seconds: the store was asked.",
	    atomic_load(&s->given_up));
}

static void print_waits(struct bw_fs *fs, struct bw_buf *out)
{
	static const char *const reasons[] = BW_WAIT_REASON_NAMES;

	head(out, "waiters", "gauge", "Requests that wait now, by reason; see /status/waiting.");
	for (int i = 0; i < BW_WAIT_REASONS; i++)
		bw_buf_fmt(out, "batchweave_waiters{reason=\"%s\"} %" PRIu64 "\n", reasons[i],
			   (uint64_t)atomic_load(&fs->counters.waiters[i]));
	head(out, "wait_seconds", "summary", "Time requests have waited, by reason.");
	for (int i = 0; i < BW_WAIT_REASONS; i++) {
		bw_buf_fmt(out, "batchweave_wait_seconds_sum{reason=\"%s\"} %.6f\n", reasons[i],
			   seconds(atomic_load(&fs->counters.waited_ns[i])));
		bw_buf_fmt(out, "batchweave_wait_seconds_count{reason=\"%s\"} %" PRIu64 "\n", reasons[i],
			   (uint64_t)atomic_load(&fs->counters.waits[i]));
	}
}

static void print_jobs(const struct bw_stream *stream, const struct bw_root *r, struct bw_buf *out)
{
	head(out, "lag_steps", "gauge", "Steps between a job's newest marker and the head.");
	for (uint32_t i = 0; i < r->jobs_n; i++) {
		const struct bw_job *j = &r->jobs[i];
		bw_buf_fmt(out, "batchweave_lag_steps{job=\"%s\"} %" PRIu64 "\n", j->name,
			   r->head - bw_job_stands(r, j));
	}
	head(out, "job_markers", "gauge", "Markers that a job holds.");
	for (uint32_t i = 0; i < r->jobs_n; i++)
		bw_buf_fmt(out, "batchweave_job_markers{job=\"%s\"} %" PRIu32 "\n", r->jobs[i].name, r->jobs[i].markers_n);
	head(out, "job_stops_reclaiming", "gauge", "1: a job holds too few markers, so nothing is reclaimed.");
	for (uint32_t i = 0; i < r->jobs_n; i++)
		bw_buf_fmt(out, "batchweave_job_stops_reclaiming{job=\"%s\"} %d\n", r->jobs[i].name,
			   bw_job_stops_reclaiming(stream, &r->jobs[i]));
}

/* What the newest root says that this mount knows: the same on all mounts, sooner or later. */
static void print_stream(struct bw_fs *fs, const struct bw_root *r, struct bw_buf *out)
{
	one(out, "head_step", "gauge", "The step to be committed next, as this mount knows it.", r->head);
	one(out, "first_step", "gauge", "The oldest step that is not reclaimed.", r->first);
	one(out, "version", "gauge", "The newest version of the manifest that this mount knows.", r->version);
	one(out, "sealed", "gauge", "1: there will be no more steps.", r->sealed);
	head(out, "last_commit_timestamp_seconds", "gauge", "When the newest version was committed, by its committer.");
	bw_buf_fmt(out, "batchweave_last_commit_timestamp_seconds %.3f\n", (double)r->time_ms / 1000);
	one(out, "stream_bytes_total", "counter", "Bytes of the objects of all steps ever committed.", r->bytes);
	one(out, "live_bytes", "gauge", "Bytes of the objects of all steps that are not reclaimed.",
	    bw_live_bytes(&fs->live, r));
	one(out, "garbage_steps", "gauge", "Reclaimed steps that are not deleted yet.", r->first - r->swept);
	one(out, "max_ahead_steps", "gauge", "How far producers may run ahead of the slowest job; 0: any.",
	    fs->stream.options.max_ahead);
	print_jobs(&fs->stream, r, out);
}

static bool store_answers(struct bw_fs *fs)
{
	return !bw_head_poisoned(fs->head) && bw_stats_trouble(&fs->stats).outcome == BW_OK;
}

void bw_metrics_print(struct bw_fs *fs, struct bw_buf *out)
{
	struct bw_root *r = bw_head_root(fs->head);

	print_stream(fs, r, out);
	bw_root_unref(r);
	print_commits(fs, out);
	print_store(fs, out);
	print_sending(fs, out);
	print_reads(fs, out);
	print_disk(fs->disk, out);
	print_waits(fs, out);
	one(out, "cache_bytes", "gauge", "Bytes of blocks and footers in memory.",
	    atomic_load(&fs->counters.cache_bytes));
	head(out, "staging_bytes", "gauge", "Bytes of staged batches.");
	bw_buf_fmt(out, "batchweave_staging_bytes{place=\"memory\"} %" PRIu64 "\n",
		   (uint64_t)atomic_load(&fs->space.memory));
	bw_buf_fmt(out, "batchweave_staging_bytes{place=\"disk\"} %" PRIu64 "\n",
		   (uint64_t)atomic_load(&fs->space.disk));
	one(out, "memory_limit_bytes", "gauge", "The memory= budget.", fs->o.memory);
	one(out, "memory_used_bytes", "gauge", "What is taken of it.", bw_memory_used(fs));
	one(out, "reclaimed_bytes_total", "counter", "Bytes of objects that this mount has deleted (option gc).",
	    atomic_load(&fs->counters.reclaimed_bytes));
	one(out, "errors_total", "counter", "Errors that callers got; the last ones are in /status/errors.",
	    bw_errors_total(&fs->errors));
	one(out, "store_ok", "gauge", "1: the store answers as it should; see the line store of /status/status.",
	    store_answers(fs));
	head(out, "start_time_seconds", "gauge", "When this mount was made.");
	bw_buf_fmt(out, "batchweave_start_time_seconds %.3f\n", (double)fs->started_ms / 1000);
	head(out, "build_info", "gauge", "Always 1; the labels tell the version.");
	bw_buf_fmt(out, "batchweave_build_info{version=\"%s\",format=\"%d\"} 1\n", BW_VERSION, BW_FORMAT);
}
