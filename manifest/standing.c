/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/standing.h"

#include <string.h>

static enum bw_outcome run(const struct bw_slot *slot, struct bw_op *op)
{
	enum bw_outcome outcome = slot->run(slot->ctx, op);

	bw_op_done(op);
	return outcome;
}

enum bw_outcome bw_ask_for(bw_run_op *run_op, void *ctx, const char *key)
{
	struct bw_op op;

	bw_op_get(&op, key, 0, 1);
	enum bw_outcome outcome = run_op(ctx, &op);

	bw_op_done(&op);
	return outcome;
}

enum bw_outcome bw_ask_for_root_1(const struct bw_stream *stream, bw_run_op *run_op, void *ctx)
{
	char first[BW_KEY_MAX + 1];

	bw_key_root(stream, 1, first);
	return bw_ask_for(run_op, ctx, first);
}

static enum bw_outcome ask_for_slot(const struct bw_slot *slot)
{
	return bw_ask_for(slot->run, slot->ctx, slot->key);
}

static enum bw_outcome put_again(const struct bw_slot *slot)
{
	struct bw_bytes_body body;
	struct bw_op op;

	bw_bytes_body_init(&body, slot->bytes, slot->len);
	bw_op_put(&op, slot->key, &body.body, true);
	return run(slot, &op);
}

/*
 * "Not there" is believed of a store only that shows what is in the slot: a proxy that has lost its way says it of
 * everything.  Or who destroys the stream has deleted that meanwhile; then the name is free for it to be put again.
 * Who may read the slot and not root 1, which may lie in an archive, is told of what is not there that it is not.
 */
enum bw_standing bw_slot_standing(const struct bw_slot *slot)
{
	enum bw_outcome there = bw_ask_for_root_1(slot->stream, slot->run, slot->ctx);

	if (there != BW_NOT_FOUND && there != BW_DENIED)
		return there == BW_OK ? BW_STANDS : BW_UNSAID;
	enum bw_outcome made = ask_for_slot(slot);

	if (made == BW_OK)
		return there == BW_NOT_FOUND ? BW_GONE : BW_STANDS;
	if (made != BW_NOT_FOUND || there != BW_NOT_FOUND)
		return BW_UNSAID;
	if (put_again(slot) != BW_EXISTS)
		return BW_UNSAID;
	/* Another one who slept may have put the same name anew meanwhile. */
	return ask_for_slot(slot) == BW_NOT_FOUND ? BW_HIDDEN : BW_UNSAID;
}

static bool is_there(const struct bw_slot *slot)
{
	struct bw_op op;

	bw_op_get_all(&op, slot->key, slot->len);
	bool is = slot->run(slot->ctx, &op) == BW_OK && op.blob->len == slot->len &&
		  !memcmp(op.blob->bytes, slot->bytes, slot->len);

	bw_op_done(&op);
	return is;
}

void bw_slot_remove(const struct bw_slot *slot)
{
	struct bw_op op;

	if (!is_there(slot))
		return;
	bw_op_delete(&op, slot->key);
	(void)run(slot, &op);
}
