/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parts of the probe share.  Private to probe*.c.
 *
 * Each part asks the store about one rule.  It returns 0, refuse() with the rule that is broken, or
 * fail() with what kept it from asking.
 */
#ifndef BW_MANIFEST_PROBE_PRIV_H
#define BW_MANIFEST_PROBE_PRIV_H

#include "manifest/open_io.h"

#define BW_PROBE_RACES 4u

struct bw_probe {
	struct bw_io io;		/* through the store itself */
	const struct bw_probe_config *config;
	char prefix[32];		/* "probe-<random>/" */
	char *why;
	size_t why_len;
};

void bw_probe_key(const struct bw_probe *p, const char *name, char key[BW_KEY_MAX + 1]);
int bw_probe_refuse(struct bw_probe *p, const char *rule);
int bw_probe_fail(struct bw_probe *p, int err, const char *what);
/* The object must hold these bytes, whichever way it is read; else it is refused with the rule. */
int bw_probe_expect(struct bw_probe *p, const char *name, const char *bytes, const char *rule);
/* Of ways 0 .. ways_n: the store itself, then each of the config's. */
struct bw_store *bw_probe_way(const struct bw_probe *p, unsigned i);

int bw_probe_race(struct bw_probe *p);		/* leaves "race-0" ... */
/* Whether put-if-absent is good for an object that goes in parts; leaves "large". */
int bw_probe_large(struct bw_probe *p, struct bw_probe_result *ret);

#endif
