/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The few synchronous requests that creating and opening a stream is made of.
 * Private to manifest/.
 */
#ifndef BW_MANIFEST_OPEN_IO_H
#define BW_MANIFEST_OPEN_IO_H

#include "manifest/open.h"
#include "store/store.h"

/* A root's stored bytes are never longer than this. */
#define BW_ROOT_STORED_MAX (2 * (uint64_t)BW_ROOT_RAW_MAX)

struct bw_io {
	struct bw_store *store;	/* borrowed */
	int64_t deadline_ns;
	char detail[BW_DETAIL_MAX + 1];	/* of the last request, when it failed: for the sentence */
};

/* Any request, until the deadline of io: what bw_op_err() says.  bw_op_done() is due. */
int bw_io_run(struct bw_io *io, struct bw_op *op) bw_must_check;

/* 0 with *ret owned by the caller, -ENOENT, or what bw_op_err() says. */
int bw_io_get(struct bw_io *io, const char *key, uint64_t max, struct bw_blob **ret) bw_must_check;
/* The same as the first request to a store: waits BW_FIRST_ANSWER_NS at most. */
int bw_io_first(struct bw_io *io, const char *key, uint64_t max, struct bw_blob **ret) bw_must_check;
/* 0, -EEXIST (if_absent), or what bw_op_err() says; -BW_E_UNKNOWN is not resolved. */
int bw_io_put(struct bw_io *io, const char *key, const void *bytes, size_t len, bool if_absent)
	bw_must_check;
/*
 * Makes the object exist with these bytes.  An ambiguous answer is repeated until it is OK or EXISTS
 * or the deadline has passed; then the object is read.  0: it holds these bytes; -EEXIST: others,
 * *ret_other owned by the caller.
 */
int bw_io_make(struct bw_io *io, const char *key, const void *bytes, size_t len,
	       struct bw_blob **ret_other) bw_must_check;

/*
 * stream.json, as the first request to a store.  -BW_E_NO_STREAM and others with a sentence in why.  *ret_json,
 * NULL before, is the caller's, also when this fails.
 */
int bw_io_stream(struct bw_io *io, struct bw_stream *ret, struct bw_blob **ret_json, char *why, size_t why_len)
	bw_must_check;

/* Says why a request has ended with err, of which the store has told detail ("": nothing), and what helps if that is known. */
void bw_detail_why(int err, const char *detail, char *why, size_t why_len);
/* Says in one sentence what was done and why it failed. */
void bw_io_why(const struct bw_io *io, int err, const char *what, char *why, size_t why_len);

/* Decodes what a get of a version brought: a value of enum bw_version_is, or a negative error. */
int bw_version_decode(const struct bw_stream *s, uint64_t version, const struct bw_blob *blob,
		      struct bw_root **ret);

#endif
