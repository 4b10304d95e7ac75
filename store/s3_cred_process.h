/* SPDX-License-Identifier: Apache-2.0 */
/*
 * credential_process: a command of the user's own that prints credentials.
 *
 * It gets our environment and nothing more, an empty stdin, no other descriptors, a process group of its own and a
 * minute; the group is killed when the time is up or the chain is freed.  What it prints is secret; the first line
 * of its stderr goes to the log.
 */
#ifndef BW_STORE_S3_CRED_PROCESS_H
#define BW_STORE_S3_CRED_PROCESS_H

#include "store/s3_cred_source.h"

/* command: for sh -c.  where begins the sentence of a failure.  As bw_cred_source's fetch, never 0. */
int bw_cred_process(struct bw_cred_job *job, const char *where, const char *command,
		    struct bw_creds *out) bw_must_check;

#endif
