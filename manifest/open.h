/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Creating and opening a stream.  Synchronous: for commands and the start of a mount.
 */
#ifndef BW_MANIFEST_OPEN_H
#define BW_MANIFEST_OPEN_H

#include "manifest/root.h"
#include "store/store.h"

/* A store that is not there is told from one that is slow: the first request waits so long at most. */
#define BW_FIRST_ANSWER_NS (12 * BW_SEC)

/* How a store is probed.  All zeros is right for one that has one address and sends nothing in parts. */
struct bw_probe_config {
	/* The same store through each address that its name resolves to: what one of them took, the
	 * others must know at once. */
	struct bw_store *const *ways;
	unsigned ways_n;
	uint64_t large;		/* bytes of an object that it sends in parts; 0: it has no parts */
	/* Of a creation, where nothing is yet: an error, with its sentence in why, refuses the place.  May be NULL. */
	int (*place)(void *ctx, char *why, size_t why_len);
	void (*step)(void *ctx);	/* runs BW_PROBE_STEPS times when nothing is wrong; may be NULL */
	void *ctx;
};
#define BW_PROBE_STEPS 7

struct bw_probe_result {
	bool large_unconditional;	/* put-if-absent of a large object is ignored or refused */
};

/*
 * Probes the store, refuses a prefix that holds other objects, then writes stream.json and
 * root 1.  An existing stream with equal options: 0 and *ret_existed; with others: -EEXIST.
 * Everything it fails for is one sentence in why.
 */
int bw_stream_create_probed(struct bw_store *store, const struct bw_probe_config *probe,
			    const struct bw_stream_options *options, int64_t deadline_ns,
			    struct bw_stream *ret, bool *ret_existed, char *why, size_t why_len)
	bw_must_check;
/* The same with a probe of zeros. */
int bw_stream_create(struct bw_store *store, const struct bw_stream_options *options,
		     int64_t deadline_ns, struct bw_stream *ret, bool *ret_existed, char *why,
		     size_t why_len) bw_must_check;

/*
 * The probe alone, for doctor: put-if-absent twice, races of 16 with one winner each, reading back,
 * range read, order and pages of a listing, large objects, delete.  Leaves nothing behind.
 * -EOPNOTSUPP: the store breaks the rule that why names; else what kept it from asking.
 */
int bw_stream_probe(struct bw_store *store, const struct bw_probe_config *config, int64_t deadline_ns,
		    struct bw_probe_result *ret, char *why, size_t why_len) bw_must_check;

/* stream.json, then the newest root as protocol.md, "Cold open", finds it: hint, doubling, bisection.
 * No listing, no clock. */
int bw_stream_open(struct bw_store *store, int64_t deadline_ns, struct bw_stream *ret,
		   struct bw_root **ret_root, char *why, size_t why_len) bw_must_check;

/*
 * The same for who is going to write.  Beside the search it asks with one request, that changes nothing, whether
 * the store still keeps put-if-absent.  -EOPNOTSUPP: no; what cannot be found out, for want of a permission
 * say, is for the first write to find.
 */
int bw_stream_open_to_write(struct bw_store *store, int64_t deadline_ns, struct bw_stream *ret,
			    struct bw_root **ret_root, char *why, size_t why_len) bw_must_check;

#endif
