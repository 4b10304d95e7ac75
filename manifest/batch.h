/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From W slices to a durable TGB object and the change that will commit it.
 *
 * The slices are bodies: bytes in memory, staged files, files of a command line.  They are read twice
 * (checksums, then upload), or once when the stream compresses, because then the stored bytes go to a
 * sink.  Used by the mount and by `batchweave put`: the same code.
 */
#ifndef BW_MANIFEST_BATCH_H
#define BW_MANIFEST_BATCH_H

#include "manifest/root.h"
#include "manifest/tgb.h"
#include "store/store.h"

/* Where compressed blocks are kept until the upload is over: memory or a file. */
struct bw_sink {
	int (*write)(struct bw_sink *sink, uint64_t off, const void *bytes, size_t len);
	int (*read)(struct bw_sink *sink, uint64_t off, void *bytes, size_t len);
};

struct bw_batch;

/* slices: [ranks] borrowed bodies that outlive the batch; sink: borrowed, needed when the stream
 * compresses.  Reads every slice: run it where blocking is allowed. */
int bw_batch_build(const struct bw_stream *s, const char *producer, uint64_t epoch, uint64_t seq,
		   struct bw_body *const *slices, struct bw_sink *sink, struct bw_batch **ret)
	bw_must_check;
/*
 * The same step by step, while the slices are still being written: rank after rank.  A slice is fed as far as its bytes
 * will not change: as whole blocks below upto, and to its end, which is upto, once it is whole.  The body's size is not
 * looked at.  Who finds that fed bytes did change frees the batch.
 */
int bw_batch_new(const struct bw_stream *s, const char *producer, uint64_t epoch, uint64_t seq,
		 struct bw_sink *sink, struct bw_batch **ret) bw_must_check;
int bw_batch_feed(struct bw_batch *b, struct bw_body *slice, uint64_t upto, bool whole) bw_must_check;
uint32_t bw_batch_feeds(const struct bw_batch *b);	/* the rank to be fed; ranks: all are */
uint64_t bw_batch_fed(const struct bw_batch *b);	/* bytes of it */
int bw_batch_finish(struct bw_batch *b) bw_must_check;

/*
 * Begins to upload a batch that is being fed (store.h, struct bw_early).  early_grow: what was fed may go; the
 * object will have about `expected` bytes (0: nobody knows).  True: released() runs
 * once, maybe after bw_batch_upload() is done; until then the batch, its slices and its sink stay.  Before the batch is
 * freed without an upload, early_drop.
 */
bool bw_batch_early(struct bw_batch *b, struct bw_store *store, void (*released)(void *ctx), void *ctx);
void bw_batch_early_grow(struct bw_batch *b, uint64_t expected);
void bw_batch_early_drop(struct bw_batch *b);
/* Adds the state to commit with it; copied.  At most BW_STATE_MAX bytes: -EFBIG.  It rides in the root
 * when it is short and inline_ok (the root seems to have room: bw_root_state_room()), else in an object. */
int bw_batch_set_state(struct bw_batch *b, const void *state, size_t len, bool inline_ok)
	bw_must_check;
/*
 * The batch is uploaded, and the append that was to commit it was refused with -BW_E_LIMIT: others have taken the room in the root
 * meanwhile.  True: its state rides there no longer.  Upload the batch once more, which puts the state alone, and commit the change
 * that it has then.  False: that was not the reason.
 */
bool bw_batch_state_apart(struct bw_batch *b) bw_must_check;
void bw_batch_free(struct bw_batch *b);	/* NULL is fine; not while it is being uploaded */

/*
 * Uploads the data object, and the state as an object of its own when it is long.  done runs once, on
 * a thread of the store, and may free the batch; err 0: durable.  detail is borrowed.  An ambiguous
 * put is repeated at once, a single time: the name is ours alone, so EXISTS means that an earlier try of
 * ours was applied.  -BW_E_UNKNOWN: still ambiguous; the same batch may be uploaded again, later.
 * -BW_E_CONTRADICTION: the name was taken before our first try.
 */
void bw_batch_upload(struct bw_batch *b, struct bw_store *store, int64_t deadline_ns,
		     void (*done)(void *ctx, int err, const char *detail), void *ctx);
/*
 * When a batch is to be uploaded again whose uploads have ended -BW_E_UNKNOWN so many times before, and once more now: a whole body is
 * no small thing to ask of a store in trouble.  After 100 ms, doubling up to 2 s, and once shortly before the deadline; BW_NEVER: that was it.
 */
int64_t bw_batch_again_ns(unsigned times, int64_t deadline_ns);
int bw_batch_upload_sync(struct bw_batch *b, struct bw_store *store, int64_t deadline_ns)
	bw_must_check;

/* The APPEND that commits it; owner as of the committer.  The caller bw_change_done()s it. */
int bw_batch_change(const struct bw_batch *b, const uint8_t owner[16], struct bw_change *ret)
	bw_must_check;
const void *bw_batch_footer(const struct bw_batch *b);	/* as long as its change says; borrowed */
struct bw_tgb *bw_batch_tgb(const struct bw_batch *b);	/* borrowed */
uint64_t bw_batch_size(const struct bw_batch *b);	/* of the data object */

#endif
