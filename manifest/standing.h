/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether the slot of a version that was taken is one of the stream, or of one that was destroyed while its writer did
 * not look: every name may have been free for a moment then.  Root 1 goes before any other name is free (destroy.h), so
 * asking for it after the slot was taken tells.  It tells as well whether a name that is free is one of the stream's
 * next version, or was freed: who reads asks after he has found nothing newer (head_probe.c).
 *
 * Requests are sent by whoever asks, one after the other, who waits for each.
 */
#ifndef BW_MANIFEST_STANDING_H
#define BW_MANIFEST_STANDING_H

#include "manifest/stream.h"
#include "store/store.h"

/* Sends op and waits; op stays the caller's to end. */
typedef enum bw_outcome bw_run_op(void *ctx, struct bw_op *op);
/* Whether the object of that name is there: gets a byte of it. */
enum bw_outcome bw_ask_for(bw_run_op *run_op, void *ctx, const char *key);
enum bw_outcome bw_ask_for_root_1(const struct bw_stream *stream, bw_run_op *run_op, void *ctx);

enum bw_standing {
	BW_STANDS,
	BW_GONE,
	BW_HIDDEN,	/* the way to the store shows nothing that is there, so what it says of root 1 is nothing */
	BW_UNSAID,	/* no answer */
};

/* The slot, and the bytes that were put there if absent: the put was OK, or found something. */
struct bw_slot {
	const struct bw_stream *stream;	/* borrowed, as what follows */
	const char *key;
	const void *bytes;
	size_t len;
	bw_run_op *run;
	void *ctx;
};

/* At most four requests; one while root 1 is there. */
enum bw_standing bw_slot_standing(const struct bw_slot *slot);
/*
 * Of a stream that is gone: nobody will ever read what was put.  Deletes it if it is there, for a barrier may be in its place;
 * who cannot leaves it to whoever cleans up.
 */
void bw_slot_remove(const struct bw_slot *slot);

#endif
