/* SPDX-License-Identifier: Apache-2.0 */
/* The texts of /status, meta.json and a producer's files.  JSON is printed by hand: every string in it
 * is a name or a number of ours, and what is not goes through json_string(). */
#include "fs/fs_priv.h"
#include "fs/jobs.h"

#include "store/base/clock.h"
#include "store/base/rand.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *const names[BW_STATUS_FILES] = {
	[BW_STATUS_HEAD] = "head",	 [BW_STATUS_FIRST] = "first",
	[BW_STATUS_STATUS] = "status",	 [BW_STATUS_JSON] = "status.json",
	[BW_STATUS_METRICS] = "metrics", [BW_STATUS_WAITING] = "waiting",
	[BW_STATUS_ERRORS] = "errors",
};

const char *bw_status_name(enum bw_status_file file)
{
	return names[file];
}

static void json_string(struct bw_buf *out, const char *text)
{
	bw_buf_str(out, "\"");
	for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
		if (*p == '"' || *p == '\\')
			bw_buf_fmt(out, "\\%c", *p);
		else if (*p < 0x20 || *p >= 0x7f)
			bw_buf_fmt(out, "\\u%04x", *p);
		else
			bw_buf_u8(out, *p);
	}
	bw_buf_str(out, "\"");
}

static void id_text(const struct bw_fs *fs, char text[33])
{
	bw_hex(fs->stream.id, sizeof(fs->stream.id), text);
}

static void print_producers_json(struct bw_fs *fs, const struct bw_root *r, struct bw_buf *out)
{
	char when[32];

	bw_buf_str(out, "{");
	for (uint32_t i = 0; i < r->producers_n; i++) {
		const struct bw_producer_entry *e = &r->producers[i];
		uint64_t pending = fs->produce ? bw_produce_pending(fs->produce, e->name) : 0;
		bw_wall_text(e->last_ms, when, sizeof(when));
		bw_buf_fmt(out, "%s\"%s\":{\"next\":%" PRIu64 ",\"epoch\":%" PRIu64, i ? "," : "",
			   e->name, e->next, e->epoch);
		if (e->next)
			bw_buf_fmt(out, ",\"last_step\":%" PRIu64 ",\"last_commit\":\"%s\"", e->last_step,
				   when);
		else
			bw_buf_str(out, ",\"last_step\":null,\"last_commit\":null");
		bw_buf_fmt(out, ",\"pending\":%" PRIu64 "}", pending);
	}
	bw_buf_str(out, "}");
}

static void print_jobs_json(const struct bw_fs *fs, const struct bw_root *r, struct bw_buf *out)
{
	bw_buf_str(out, "{");
	for (uint32_t i = 0; i < r->jobs_n; i++) {
		const struct bw_job *j = &r->jobs[i];
		bw_buf_fmt(out, "%s\"%s\":{\"markers\":[", i ? "," : "", j->name);
		for (uint32_t m = 0; m < j->markers_n; m++)
			bw_buf_fmt(out, "%s%" PRIu64, m ? "," : "", j->markers[m].step);
		bw_buf_fmt(out, "],\"holds\":%" PRIu64 ",\"stops_reclaiming\":%s}",
			   bw_job_needs(&fs->stream, r, j),
			   bw_job_stops_reclaiming(&fs->stream, j) ? "true" : "false");
	}
	bw_buf_str(out, "}");
}

static const char *trouble_word(struct bw_trouble t)
{
	switch (t.outcome) {
	case BW_DENIED:
		return t.writes_only ? "refuses writes" : "refuses access";
	case BW_THROTTLED:
		return t.writes_only ? "asks to slow down writes" : "asks to slow down";
	case BW_FULL:
		return "has no room left";
	default:
		return t.writes_only ? "answers reads, but no writes" : "unreachable";
	}
}

/* What is wrong with the store now, "" when it answers. */
static void store_trouble(struct bw_fs *fs, char *text, size_t len)
{
	struct bw_trouble trouble = bw_stats_trouble(&fs->stats);
	int poisoned = bw_head_poisoned(fs->head);
	char since[32];

	bw_wall_text(trouble.since_ms, since, sizeof(since));
	text[0] = 0;
	if (poisoned)
		snprintf(text, len, "%s", poisoned == -BW_E_DESTROYED ? "holds a stream that is being destroyed, or was"
								      : "contradicts what it said before");
	else if (trouble.outcome != BW_OK)
		snprintf(text, len, "%s since %s", trouble_word(trouble), since);
}

uint64_t bw_memory_used(const struct bw_fs *fs)
{
	uint64_t used = bw_budget_used(&fs->budget), texts = bw_budget_used(&fs->texts);

	return used > texts ? used - texts : 0;
}

static uint64_t send_rate(struct bw_fs *fs)
{
	return atomic_load(&fs->stats.send.rate);
}

static void print_store_json(struct bw_fs *fs, struct bw_buf *out)
{
	const struct bw_send_stats *s = &fs->stats.send;
	char last[400], trouble[80], rate[24] = "null";
	uint64_t limit = send_rate(fs);

	store_trouble(fs, trouble, sizeof(trouble));
	bw_errors_last(&fs->errors, last, sizeof(last));
	bw_buf_str(out, "{\"url\":");
	json_string(out, fs->url_text);
	/* The store's own trouble, else the last error of a caller, which may be long ago. */
	bw_buf_fmt(out, ",\"ok\":%s,\"last_error\":", trouble[0] ? "false" : "true");
	json_string(out, trouble[0] ? trouble : last);
	if (limit)
		snprintf(rate, sizeof(rate), "%" PRIu64, limit);
	bw_buf_fmt(out, ",\"send_rate\":%s,\"throttled\":%" PRIu64 ",\"retries\":%" PRIu64
			",\"hedged\":%" PRIu64 "}",
		   rate, (uint64_t)atomic_load(&s->throttled), (uint64_t)atomic_load(&s->repeats),
		   (uint64_t)atomic_load(&s->hedges));
}

static void print_store_line(struct bw_fs *fs, struct bw_buf *out)
{
	uint64_t limit = send_rate(fs);
	char trouble[80];

	store_trouble(fs, trouble, sizeof(trouble));
	bw_buf_fmt(out, "store      %s", trouble[0] ? trouble : "answers");
	if (limit)
		bw_buf_fmt(out, ", slowed to %" PRIu64 " requests/s", limit);
	bw_buf_str(out, "\n");
}

static void print_json(struct bw_fs *fs, const struct bw_root *r, struct bw_buf *out)
{
	char id[33], since[32];

	id_text(fs, id);
	bw_wall_text(fs->started_ms, since, sizeof(since));
	bw_buf_fmt(out, "{\"stream\":\"%s\",\"ranks\":%" PRIu32 ",\"head\":%" PRIu64
			",\"first\":%" PRIu64 ",\"sealed\":%s,\"version\":%" PRIu64
			",\"live_bytes\":%" PRIu64 ",\"garbage_steps\":%" PRIu64 ",\"producers\":",
		   id, fs->stream.options.ranks, r->head, r->first, r->sealed ? "true" : "false",
		   r->version, bw_live_bytes(&fs->live, r), r->first - r->swept);
	print_producers_json(fs, r, out);
	bw_buf_str(out, ",\"jobs\":");
	print_jobs_json(fs, r, out);
	bw_buf_str(out, ",\"store\":");
	print_store_json(fs, out);
	bw_buf_fmt(out, ",\"memory\":{\"limit\":%" PRIu64 ",\"used\":%" PRIu64 "}", fs->o.memory,
		   bw_memory_used(fs));
	if (fs->disk) {
		const struct bw_disk_stats *s = bw_disk_stats(fs->disk);
		bw_buf_fmt(out, ",\"disk_cache\":{\"limit\":%" PRIu64 ",\"used\":%" PRIu64 ",\"blocks\":%" PRIu64
				",\"filling\":%s}", (uint64_t)atomic_load(&s->limit),
			   (uint64_t)atomic_load(&s->bytes), (uint64_t)atomic_load(&s->blocks),
			   bw_disk_state(fs->disk) == BW_DISK_FILLS ? "true" : "false");
	}
	bw_buf_fmt(out, ",\"since\":\"%s\"}\n", since);
}

static void print_jobs(const struct bw_fs *fs, const struct bw_root *r, struct bw_buf *out)
{
	bw_buf_fmt(out, "jobs       %" PRIu32 "%s\n", r->jobs_n, r->jobs_n ? "" : " (nothing is reclaimed)");
	for (uint32_t i = 0; i < r->jobs_n; i++) {
		bw_buf_str(out, "  ");
		bw_job_print(&fs->stream, r, &r->jobs[i], out);
	}
}

static const char *disk_state(struct bw_disk_cache *d)
{
	static const char *const texts[] = {
		[BW_DISK_LOOKS] = "looks what is there",
		[BW_DISK_UNUSABLE] = "DOES NOT FILL: the directory cannot be read",
		[BW_DISK_HANGS] = "DOES NOT ANSWER: what is not read within 2 seconds is fetched",
		[BW_DISK_DOES_NOT_FILL] = "DOES NOT FILL: the disk is full or fails",
		[BW_DISK_FILLS] = "fills",
	};

	return texts[bw_disk_state(d)];
}

static void print_disk_line(const struct bw_fs *fs, struct bw_buf *out)
{
	if (!fs->disk)
		return;
	const struct bw_disk_stats *s = bw_disk_stats(fs->disk);

	bw_buf_fmt(out, "disk cache %" PRIu64 " of %" PRIu64 " bytes in %" PRIu64 " blocks, %s\n",
		   (uint64_t)atomic_load(&s->bytes), (uint64_t)atomic_load(&s->limit),
		   (uint64_t)atomic_load(&s->blocks), disk_state(fs->disk));
}

static void print_status(struct bw_fs *fs, const struct bw_root *r, struct bw_buf *out)
{
	char id[33], since[32], last[400], commit[32];
	uint64_t waiters = 0;

	id_text(fs, id);
	bw_wall_text(fs->started_ms, since, sizeof(since));
	bw_wall_text(r->time_ms, commit, sizeof(commit));
	bw_errors_last(&fs->errors, last, sizeof(last));
	for (int i = 0; i < BW_WAIT_REASONS; i++)
		waiters += atomic_load(&fs->counters.waiters[i]);
	bw_buf_fmt(out, "stream     %s at %s\n", id, fs->url_text);
	print_store_line(fs, out);
	bw_buf_fmt(out, "ranks      %" PRIu32 "\n", fs->stream.options.ranks);
	bw_buf_fmt(out, "steps      first %" PRIu64 ", head %" PRIu64 "%s\n", r->first, r->head,
		   r->sealed ? ", sealed" : "");
	bw_buf_fmt(out, "version    %" PRIu64 ", committed %s\n", r->version, commit);
	bw_buf_fmt(out, "bytes      %" PRIu64 ", %" PRIu64 " reclaimed steps are not deleted yet\n",
		   bw_live_bytes(&fs->live, r), r->first - r->swept);
	bw_buf_fmt(out, "producers  %" PRIu32 ", batches not yet committed here %" PRIu64 "\n",
		   r->producers_n, fs->produce ? bw_produce_staged(fs->produce) : 0);
	print_jobs(fs, r, out);
	bw_buf_fmt(out, "memory     %" PRIu64 " of %" PRIu64 " bytes, staged on disk %" PRIu64 "\n",
		   bw_memory_used(fs), fs->o.memory, (uint64_t)atomic_load(&fs->space.disk));
	print_disk_line(fs, out);
	bw_buf_fmt(out, "waiting    %" PRIu64 " requests\n", waiters);
	int poisoned = bw_head_poisoned(fs->head);

	if (poisoned == -BW_E_DESTROYED)
		bw_buf_str(out, "last error THE STREAM IS BEING DESTROYED, OR WAS: nothing is served\n");
	else if (poisoned)
		bw_buf_str(out, "last error THE STORE CONTRADICTS WHAT IT SAID BEFORE: nothing is served\n");
	else
		bw_buf_fmt(out, "last error %s\n", last[0] ? last : "none");
	bw_buf_fmt(out, "mounted    %s\n", since);
}

void bw_status_print(struct bw_fs *fs, enum bw_status_file file, struct bw_buf *out)
{
	struct bw_root *r = bw_head_root(fs->head);

	switch (file) {
	case BW_STATUS_HEAD:
		bw_buf_fmt(out, "%" PRIu64 "\n", r->head);
		break;
	case BW_STATUS_FIRST:
		bw_buf_fmt(out, "%" PRIu64 "\n", r->first);
		break;
	case BW_STATUS_STATUS:
		print_status(fs, r, out);
		break;
	case BW_STATUS_JSON:
		print_json(fs, r, out);
		break;
	case BW_STATUS_METRICS:
		bw_metrics_print(fs, out);
		break;
	case BW_STATUS_WAITING:
		bw_waiting_print(&fs->waiting, out);
		if (fs->produce)
			bw_produce_print(fs->produce, out);
		break;
	case BW_STATUS_ERRORS:
		bw_errors_print(&fs->errors, out);
		break;
	default:
		break;
	}
	bw_root_unref(r);
}

/* ---- meta.json ---------------------------------------------------------------------------------- */

void bw_meta_print(const struct bw_fs *fs, const struct bw_entry *e, const struct bw_tgb *t,
		   struct bw_buf *out)
{
	char key[BW_KEY_MAX + 1], when[32];

	bw_key_data(&fs->stream, e->producer, e->epoch, e->seq, e->nonce, key);
	bw_wall_text(e->time_ms, when, sizeof(when));
	bw_buf_fmt(out,
		   "{\"step\":%" PRIu64 ",\"producer\":\"%s\",\"seq\":%" PRIu64 ",\"epoch\":%" PRIu64
		   ",\"commit_time\":\"%s\",\"commit_time_ms\":%" PRId64 ",\"version\":%" PRIu64
		   ",\"object\":\"%s\",\"bytes\":%" PRIu64 ",\"footer_xxh3\":\"%016" PRIx64
		   "\",\"compress\":\"%s\",\"block_size\":%" PRIu32 ",\"ranks\":[",
		   e->step, e->producer, e->seq, e->epoch, when, e->time_ms, e->version, key, e->size,
		   e->footer_xxh3, t->compress == BW_COMPRESS_ZSTD ? "zstd" : "none", t->block_size);
	for (uint32_t r = 0; r < t->ranks; r++) {
		const struct bw_slice *s = bw_tgb_slice(t, r);

		bw_buf_fmt(out,
			   "%s\n{\"rank\":%" PRIu32 ",\"bytes\":%" PRIu64 ",\"stored\":%" PRIu64
			   ",\"offset\":%" PRIu64 ",\"xxh3\":\"%016" PRIx64 "\"}",
			   r ? "," : "", r, s->raw, s->stored, s->offset, s->xxh3);
	}
	bw_buf_str(out, "\n]}\n");
}

/* ---- next, state, resume ------------------------------------------------------------------------ */

static void base64(struct bw_buf *out, const uint8_t *in, size_t len)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	char *to = bw_buf_room(out, (len + 2) / 3 * 4);

	if (!to)
		return;
	for (size_t i = 0; i < len; i += 3) {
		uint32_t v = (uint32_t)in[i] << 16 | (i + 1 < len ? (uint32_t)in[i + 1] << 8 : 0) |
			     (i + 2 < len ? in[i + 2] : 0);
		*to++ = digits[v >> 18];
		*to++ = digits[v >> 12 & 63];
		*to++ = i + 1 < len ? digits[v >> 6 & 63] : '=';
		*to++ = i + 2 < len ? digits[v & 63] : '=';
	}
	bw_buf_used(out, (len + 2) / 3 * 4);
}

void bw_text_print(const struct bw_producer_entry *e, const void *state, size_t state_len,
		   enum bw_produce_text what, struct bw_buf *out)
{
	if (what == BW_TEXT_NEXT) {
		bw_buf_fmt(out, "%" PRIu64 "\n", e->next);
		return;
	}
	if (what == BW_TEXT_STATE) {
		bw_buf_add(out, state, state_len);
		return;
	}
	bw_buf_fmt(out, "{\"next\":%" PRIu64 ",\"state\":", e->next);
	if (e->has_state) {
		bw_buf_str(out, "\"");
		base64(out, state, state_len);
		bw_buf_fmt(out, "\",\"state_seq\":%" PRIu64, e->state_seq);
	} else {
		bw_buf_str(out, "null");
	}
	bw_buf_fmt(out, ",\"epoch\":%" PRIu64 "}\n", e->epoch);
}

uint64_t bw_text_size(struct bw_fs *fs, const char *producer, enum bw_produce_text what)
{
	struct bw_root *root = bw_head_root(fs->head);
	const struct bw_producer_entry *e = bw_root_producer(root, producer);
	uint64_t size = 0;

	if (e && what == BW_TEXT_STATE) {
		size = e->has_state ? e->state_len : 0;
	} else if (e) {
		bw_auto_buf struct bw_buf text = {.max = 0};
		bw_buf_init(&text, BW_STATUS_TEXT_MAX);
		/* The length of base64 does not depend on the bytes. */
		bw_text_print(e, NULL, 0, what, &text);
		size = text.len;
		if (what == BW_TEXT_RESUME && e->has_state)
			size += ((uint64_t)e->state_len + 2) / 3 * 4;
	}
	bw_root_unref(root);
	return size;
}
