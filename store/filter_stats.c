/* SPDX-License-Identifier: Apache-2.0 */
#include "store/layer.h"
#include "store/stats.h"

#include <stdlib.h>

struct stats {
	struct bw_store store;
	struct bw_store_stats *counts;	/* borrowed */
};

struct timed {
	struct bw_frame frame;
	struct bw_store_stats *counts;
	int64_t start_ns;
};

static void add(atomic_uint_fast64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static bool is_write(enum bw_op_kind kind)
{
	return kind != BW_OP_GET && kind != BW_OP_LIST && kind != BW_OP_LIST_UPLOADS;
}

static void note_failure(struct bw_send_stats *s, bool write, enum bw_outcome outcome, int64_t now_ms)
{
	uint_fast64_t none = 0;

	if (write && !atomic_load(&s->writes_trouble))
		atomic_store(&s->reads_answered, false);
	/* The first of a row says since when. */
	atomic_compare_exchange_strong(write ? &s->writes_trouble : &s->reads_trouble, &none,
				       (uint64_t)now_ms << 4 | (unsigned)outcome);
	if (write)
		atomic_store(&s->write_failed_ns, bw_now());
}

static void note_answer(struct bw_send_stats *s, bool write)
{
	atomic_store(&s->reads_trouble, 0);
	if (write)
		atomic_store(&s->writes_trouble, 0);
	else
		atomic_store(&s->reads_answered, true);
}

void bw_stats_note(struct bw_send_stats *s, enum bw_op_kind kind, enum bw_outcome outcome, int64_t now_ms)
{
	switch (outcome) {
	case BW_UNREACHABLE:
	case BW_UNKNOWN:
	case BW_THROTTLED:
	case BW_DENIED:
	case BW_FULL:
		note_failure(s, is_write(kind), outcome, now_ms);
		break;
	case BW_CANCELLED:
		break;
	default:
		note_answer(s, is_write(kind));
		break;
	}
}

static struct bw_trouble trouble_of(uint64_t noted, bool writes_only)
{
	return (struct bw_trouble){
		.outcome = noted ? (enum bw_outcome)(noted & 15) : BW_OK,
		.writes_only = noted && writes_only,
		.since_ms = (int64_t)(noted >> 4),
	};
}

struct bw_trouble bw_stats_trouble(const struct bw_store_stats *s)
{
	uint64_t reads = atomic_load(&s->send.reads_trouble), writes = atomic_load(&s->send.writes_trouble);

	if (reads)
		return trouble_of(reads, false);
	if (!atomic_load(&s->send.reads_answered))
		return trouble_of(writes, false);
	/* The wall clock may be set meanwhile. */
	return trouble_of(bw_now() - atomic_load(&s->send.write_failed_ns) <= BW_STATS_WRITES_MS * BW_MS ? writes : 0, true);
}

static void count(struct bw_store_stats *c, const struct bw_op *op, int64_t ns)
{
	static const double bounds[] = BW_STATS_BUCKETS;
	unsigned bucket = 0;

	while (bucket < BW_STATS_BUCKETS_N && (double)ns > bounds[bucket] * (double)BW_SEC)
		bucket++;
	add(&c->buckets[op->kind][bucket], 1);
	add(&c->nanoseconds[op->kind], (uint64_t)ns);
	if (op->kind == BW_OP_GET && op->outcome == BW_OK)
		add(&c->bytes_in, bw_blob_chain_len(op->blob));
	/* In these cases the body was sent, even if it did not become the object. */
	if (op->kind == BW_OP_PUT &&
	    (op->outcome == BW_OK || op->outcome == BW_EXISTS || op->outcome == BW_UNKNOWN))
		add(&c->bytes_out, op->body->size);
	add(&c->requests[op->kind][op->outcome], 1);
}

static void done(struct bw_op *op)
{
	struct timed *t = (struct timed *)bw_frame_pop(op);

	count(t->counts, op, bw_now() - t->start_ns);
	bw_stats_note(&t->counts->send, op->kind, op->outcome, bw_wall_ms());
	free(t);
	op->done(op);
}

static void submit(struct bw_store *s, struct bw_op *op)
{
	struct timed *t = malloc(sizeof(*t));

	/* Short of memory, a request goes uncounted rather than undone. */
	if (t) {
		t->counts = ((struct stats *)s)->counts;
		t->start_ns = bw_now();
		bw_frame_push(op, &t->frame, done);
	}
	bw_store_submit(s->next, op);
}

static void cancel(struct bw_store *s, struct bw_op *op)
{
	bw_store_cancel(s->next, op);
}

static void stats_free(struct bw_store *s)
{
	bw_store_free(s->next);
	free(s);
}

int bw_filter_stats_new(struct bw_store *below, struct bw_store_stats *stats, struct bw_store **ret)
{
	static const struct bw_store_ops ops = {
		.name = "stats", .submit = submit, .cancel = cancel, .free = stats_free};
	struct stats *s = malloc(sizeof(*s));

	if (!s) {
		bw_store_free(below);
		return -ENOMEM;
	}
	*s = (struct stats){.store = {.ops = &ops, .next = below}, .counts = stats};
	*ret = &s->store;
	return 0;
}

uint64_t bw_stats_requests(const struct bw_store_stats *s, enum bw_op_kind kind)
{
	uint64_t sum = 0;

	for (int o = 0; o < BW_STATS_OUTCOMES; o++)
		sum += atomic_load_explicit(&s->requests[kind][o], memory_order_relaxed);
	return sum;
}

uint64_t bw_stats_all(const struct bw_store_stats *s)
{
	uint64_t sum = 0;

	for (int k = 0; k < BW_STATS_KINDS; k++)
		sum += bw_stats_requests(s, (enum bw_op_kind)k);
	return sum;
}
