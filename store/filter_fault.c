/* SPDX-License-Identifier: Apache-2.0 */
#include "store/layer.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* What a shell says of a process that SIGKILL ended. */
#define KILLED 137

/* A request that outlives its op: delivered a second time, or late. */
struct copy {
	struct bw_op op;
	struct bw_bytes_body body;
	char upload[BW_UPLOAD_ID_MAX + 1];
	uint8_t bytes[];
};

struct fault {
	struct bw_store store;
	struct bw_fault_plan *plan;	/* borrowed */
	struct bw_gate gate;
	struct bw_workq *q;
	atomic_uint_fast64_t nth;
};

/* An op on its way, with what is to become of its answer. */
struct faulted {
	struct bw_frame frame;
	struct fault *f;
	enum bw_fault fault;
	uint64_t nth;
	struct copy *copy;	/* owned: to deliver when the first was answered */
};

static void copy_done(struct bw_op *op)
{
	bw_op_done(op);
	free(op->ctx);
}

static int copy_new(const struct bw_op *op, struct copy **ret)
{
	size_t size = op->kind == BW_OP_PUT ? op->body->size : 0;
	struct copy *c = calloc(1, sizeof(*c) + size);

	if (!c)
		return -ENOMEM;
	int err = size ? op->body->read(op->body, 0, c->bytes, size) : 0;
	if (err) {
		free(c);
		return err;
	}
	c->op = *op;
	c->op.deadline_ns = BW_NEVER;	/* the network does not know it */
	c->op.done = copy_done;
	c->op.early = NULL;
	c->op.ctx = c;
	if (op->kind == BW_OP_PUT) {
		bw_bytes_body_init(&c->body, c->bytes, size);
		c->op.body = &c->body.body;
	}
	if (op->upload) {
		snprintf(c->upload, sizeof(c->upload), "%s", op->upload);
		c->op.upload = c->upload;
	}
	*ret = c;
	return 0;
}

/* ---- Answers that are forged ---------------------------------------------------------------- */

static void run_end(struct bw_task *task)
{
	struct bw_op *op = bw_op_of(task);
	struct fault *f = (struct fault *)op->at;

	op->done(op);
	bw_gate_leave(&f->gate);
}

static void end(struct fault *f, struct bw_op *op, enum bw_outcome outcome, int err)
{
	bw_op_fail(op, outcome, err);
	snprintf(op->detail, sizeof(op->detail), "injected");
	bw_op_queue(op, f->q, run_end, 0);
}

static void run_late(struct bw_task *task)
{
	struct bw_op *op = bw_op_of(task);

	bw_store_submit(op->at->next, op);
}

static void late(struct fault *f, struct bw_op *op)
{
	struct copy *c;

	if (op->kind != BW_OP_PUT && op->kind != BW_OP_DELETE && op->kind != BW_OP_ABORT_UPLOAD) {
		end(f, op, BW_UNREACHABLE, 0);
		return;
	}
	int err = copy_new(op, &c);
	if (err) {
		end(f, op, BW_UNREACHABLE, err);
		return;
	}
	bw_op_queue(&c->op, f->q, run_late, bw_now() + f->plan->late_ns);
	end(f, op, BW_UNKNOWN, 0);
}

/* ---- Answers that are spoilt ---------------------------------------------------------------- */

static void drop_answer(struct bw_op *op, enum bw_outcome outcome)
{
	bw_op_done(op);
	bw_op_fail(op, outcome, 0);
	snprintf(op->detail, sizeof(op->detail), "injected");
}

static void flip(struct bw_op *op, uint64_t nth)
{
	if (op->outcome != BW_OK || !op->blob->len)
		return;
	/* The store may share its bytes with others: spoil a copy. */
	struct bw_blob *blob = bw_blob_copy(op->blob->bytes, op->blob->len);

	if (!blob) {
		drop_answer(op, BW_UNREACHABLE);
		return;
	}
	uint64_t bit = (nth * 7919 + blob->len * 4) % (blob->len * 8);
	blob->bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	blob->next = op->blob->next;
	op->blob->next = NULL;
	bw_blob_unref(op->blob);
	op->blob = blob;
}

static void done(struct bw_op *op)
{
	struct faulted *d = (struct faulted *)bw_frame_pop(op);
	struct fault *f = d->f;
	bool is_read = bw_op_kind_is_read(op->kind);

	switch (d->fault) {
	case BW_FAULT_DIE_AFTER:
		_exit(KILLED);
	case BW_FAULT_LOST_REPLY:
		drop_answer(op, is_read ? BW_UNREACHABLE : BW_UNKNOWN);
		break;
	case BW_FAULT_SHORT:
		if (op->outcome == BW_OK && op->kind == BW_OP_GET)
			drop_answer(op, BW_CORRUPT);
		break;
	case BW_FAULT_FLIP:
		if (op->kind == BW_OP_GET)
			flip(op, d->nth);
		break;
	case BW_FAULT_DUPLICATE:
		bw_store_submit(f->store.next, &d->copy->op);
		break;
	default:
		break;
	}
	free(d);
	op->done(op);
	bw_gate_leave(&f->gate);
}

/* ---- The filter ----------------------------------------------------------------------------- */

static void forward(struct fault *f, struct bw_op *op, enum bw_fault fault, uint64_t nth)
{
	struct faulted *d = calloc(1, sizeof(*d));
	int err = d ? 0 : -ENOMEM;

	/* A second copy would write its outcomes into items that are the caller's again. */
	if (fault == BW_FAULT_DUPLICATE && op->kind == BW_OP_DELETE_MANY)
		fault = BW_FAULT_NONE;
	if (!err && fault == BW_FAULT_DUPLICATE)
		err = copy_new(op, &d->copy);
	if (err) {
		free(d);
		end(f, op, BW_UNREACHABLE, err);
		return;
	}
	d->f = f;
	d->fault = fault;
	d->nth = nth;
	bw_frame_push(op, &d->frame, done);
	bw_store_submit(f->store.next, op);
}

static void submit(struct bw_store *s, struct bw_op *op)
{
	struct fault *f = (struct fault *)s;
	uint64_t nth = atomic_fetch_add(&f->nth, 1);
	enum bw_fault fault = f->plan->decide(f->plan, op, nth);

	bw_gate_enter(&f->gate);
	switch (fault) {
	case BW_FAULT_DIE_BEFORE:
		_exit(KILLED);
	case BW_FAULT_BEFORE:
		end(f, op, BW_UNREACHABLE, 0);
		break;
	case BW_FAULT_THROTTLED:
		end(f, op, BW_THROTTLED, 0);
		break;
	case BW_FAULT_FULL:
		end(f, op, BW_FULL, -ENOSPC);
		break;
	case BW_FAULT_DENIED:
		end(f, op, BW_DENIED, -EACCES);
		break;
	case BW_FAULT_LATE:
		late(f, op);
		break;
	default:
		forward(f, op, fault, nth);
	}
}

static void fault_free(struct bw_store *s)
{
	struct fault *f = (struct fault *)s;

	if (f->q) {
		bw_gate_wait(&f->gate);
		bw_workq_free(f->q);	/* what is late is delivered now */
	}
	bw_store_free(s->next);
	bw_gate_done(&f->gate);
	free(f);
}

int bw_filter_fault_new(struct bw_store *below, struct bw_fault_plan *plan, struct bw_store **ret)
{
	static const struct bw_store_ops ops = {
		.name = "fault", .submit = submit, .free = fault_free};
	struct fault *f = calloc(1, sizeof(*f));

	if (!f) {
		bw_store_free(below);
		return -ENOMEM;
	}
	f->store = (struct bw_store){.ops = &ops, .next = below};
	f->plan = plan;
	bw_gate_init(&f->gate);
	int err = bw_workq_new("bw-fault", 1, &f->q);
	if (err) {
		fault_free(&f->store);
		return err;
	}
	*ret = &f->store;
	return 0;
}
