/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams do not lie inside each other: the one outside takes what is of the other for something foreign, and who deletes
 * its directory, or gives its prefix a lifecycle rule, means the other as well.
 */
#ifndef BW_MOUNT_HELPERS_OUTER_H
#define BW_MOUNT_HELPERS_OUTER_H

#include "store/s3.h"

/*
 * Looks upwards from the place of url for a stream, as far as the bucket or the root directory, at 32 places at most.
 * 0: there is none, or nothing of what is there may be read, or, on file://, the place has a stream itself.
 * -BW_E_FOREIGN: there is one, which why names; else what the store said, with a sentence.
 */
int bw_outer_refuse(const char *url, const struct bw_s3_config *s3, char *why, size_t why_len) bw_must_check;

#endif
