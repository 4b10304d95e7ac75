/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doctor's look at a store and at the stream in it.  Writes nothing but the objects of the probe, and takes them away
 * again.  Synchronous; one thread beside those of the store.
 */
#ifndef BW_MOUNT_HELPERS_DOCTOR_STORE_H
#define BW_MOUNT_HELPERS_DOCTOR_STORE_H

#include "manifest/root.h"
#include "mount-helpers/doctor.h"
#include "store/store.h"

struct bw_doctor_ask {
	const char *url;		/* as it was typed; borrowed, like the rest */
	const struct bw_url *parsed;
	const struct bw_s3_config *s3;
	bool ro;			/* nothing is written: for credentials that only read */
};

/* Credentials, the way to the store, its rules (with a progress line), the clock, the stream. */
void bw_doctor_store(struct bw_doctor *d, const struct bw_doctor_ask *ask);

/* What the newest root says: producers, jobs, what is reclaimed.  now_ms: wall clock.  Pure. */
void bw_doctor_stream(struct bw_doctor *d, const struct bw_stream *s, const struct bw_root *root, int64_t now_ms);

#endif
