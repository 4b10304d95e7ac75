/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ways to a store: a store object for each address that its name resolves to, when there are
 * several.  They may be several servers, and the probe of init asks whether they know of each other.
 */
#ifndef BW_MOUNT_HELPERS_WAYS_H
#define BW_MOUNT_HELPERS_WAYS_H

#include "store/s3.h"

#define BW_WAYS_MAX 8u

struct bw_ways {
	struct bw_store *stores[BW_WAYS_MAX];	/* owned */
	unsigned n;
};

/*
 * None for a store with one address, or none that answers.  Zeroes w first, and bw_ways_done() is due in any case.
 * 0 or a negative error with its sentence in why.
 */
int bw_ways_open(struct bw_ways *w, const char *url, const struct bw_s3_config *s3, char *why,
		 size_t why_len) bw_must_check;
void bw_ways_done(struct bw_ways *w);

#endif
