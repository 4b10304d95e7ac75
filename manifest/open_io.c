/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/open_io.h"

#include "manifest/open_search.h"
#include "store/s3.h"

#include <stdio.h>
#include <string.h>

int bw_io_run(struct bw_io *io, struct bw_op *op)
{
	op->deadline_ns = io->deadline_ns;
	bw_store_sync(io->store, op);
	int err = bw_op_err(op);

	memcpy(io->detail, op->detail, sizeof(io->detail));
	if (!err)
		io->detail[0] = 0;
	return err;
}

int bw_io_get(struct bw_io *io, const char *key, uint64_t max, struct bw_blob **ret)
{
	struct bw_op op;

	bw_op_get_all(&op, key, max);
	int err = bw_io_run(io, &op);

	if (!err) {
		*ret = op.blob;
		op.blob = NULL;
	}
	bw_op_done(&op);
	return err;
}

int bw_io_first(struct bw_io *io, const char *key, uint64_t max, struct bw_blob **ret)
{
	int64_t deadline_ns = io->deadline_ns, first_ns = bw_now() + BW_FIRST_ANSWER_NS;

	io->deadline_ns = first_ns < deadline_ns ? first_ns : deadline_ns;
	int err = bw_io_get(io, key, max, ret);

	io->deadline_ns = deadline_ns;
	return err;
}

int bw_io_put(struct bw_io *io, const char *key, const void *bytes, size_t len, bool if_absent)
{
	struct bw_bytes_body body;
	struct bw_op op;

	bw_bytes_body_init(&body, bytes, len);
	bw_op_put(&op, key, &body.body, if_absent);
	int err = bw_io_run(io, &op);

	bw_op_done(&op);
	return err;
}

int bw_io_make(struct bw_io *io, const char *key, const void *bytes, size_t len,
	       struct bw_blob **ret_other)
{
	bw_auto_blob struct bw_blob *there = NULL;
	int err = bw_io_put(io, key, bytes, len, true);

	while (err == -BW_E_UNKNOWN && bw_now() < io->deadline_ns) {
		bw_sleep(20 * BW_MS);
		err = bw_io_put(io, key, bytes, len, true);
	}
	if (err != -EEXIST)
		return err;
	err = bw_io_get(io, key, BW_ROOT_STORED_MAX, &there);
	if (err)
		return err;
	if (there->len == len && !memcmp(there->bytes, bytes, len))
		return 0;
	*ret_other = there;
	there = NULL;
	return -EEXIST;
}

void bw_detail_why(int err, const char *detail, char *why, size_t why_len)
{
	const struct bw_s3_advice *advice = bw_s3_advice(detail);
	char buf[96];
	/* The deadline has ended it. */
	const char *text = err == -ECANCELED || err == -ETIMEDOUT ? "the store did not answer in time" :
								  bw_err_text(err, buf, sizeof(buf));

	if (advice)
		bw_cut_at_word(why, why_len, snprintf(why, why_len, "%s (%s): %s", advice->cause, detail, advice->remedy));
	else if (*detail)
		bw_cut_at_word(why, why_len, snprintf(why, why_len, "%s (%s)", text, detail));
	else
		snprintf(why, why_len, "%s", text);
}

void bw_io_why(const struct bw_io *io, int err, const char *what, char *why, size_t why_len)
{
	size_t n = (size_t)snprintf(why, why_len, "%s: ", what);

	if (n < why_len)
		bw_detail_why(err, io->detail, why + n, why_len - n);
}

int bw_version_decode(const struct bw_stream *s, uint64_t version, const struct bw_blob *blob,
		      struct bw_root **ret)
{
	bool tombstone = false;
	int err = bw_root_decode(s, version, blob->bytes, blob->len, ret, &tombstone);

	if (err)
		return err;
	return tombstone ? BW_VERSION_TOMBSTONE : BW_VERSION_ROOT;
}
