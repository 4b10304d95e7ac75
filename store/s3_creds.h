/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Credentials of an S3 store: the chain of sources, asked in order, and renewed before they expire.
 *
 *   environment   AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN
 *   web identity  AWS_WEB_IDENTITY_TOKEN_FILE + AWS_ROLE_ARN (+ AWS_ROLE_SESSION_NAME): STS AssumeRoleWithWebIdentity
 *   shared files  AWS_CONFIG_FILE, AWS_SHARED_CREDENTIALS_FILE; profile; credential_process; read again when they change
 *   container     AWS_CONTAINER_CREDENTIALS_RELATIVE_URI / _FULL_URI (+ AWS_CONTAINER_AUTHORIZATION_TOKEN[_FILE])
 *   instance      metadata service, version 2 only (AWS_EC2_METADATA_DISABLED, AWS_EC2_METADATA_SERVICE_ENDPOINT)
 *
 * A profile that somebody names for this store (AWS_PROFILE does not) goes before both kinds of the environment.
 *
 * The chain has a thread of its own, which may wait for the network, a disk or a child process; nobody else
 * does.  A source that is configured but fails ends the chain with its reason: falling through to another identity
 * would surprise.  Secrets are wiped when freed and never printed (S7).
 */
#ifndef BW_STORE_S3_CREDS_H
#define BW_STORE_S3_CREDS_H

#include "store/base/log.h"
#include "store/s3_sign.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Immutable once shared, but for what is kept of signing with them. */
struct bw_creds {
	atomic_uint refs;
	int64_t expires_ms;	/* wall clock; INT64_MAX: never */
	bool extended;		/* they had expired: this is until when they are used on, as nothing newer is to be had */
	const char *source;	/* static: "environment", "web identity", ... */
	char key_id[256], secret[512], token[8192];	/* token "": none */
	struct bw_sign_cache sign;
};
struct bw_creds *bw_creds_ref(struct bw_creds *c);
void bw_creds_unref(struct bw_creds *c);	/* NULL is fine; wipes with the last */

struct bw_cred_chain;
struct bw_cred_config {
	const char *profile;	/* copied; "" : AWS_PROFILE or default */
	bool profile_named;	/* the environment and a web identity of it are not asked */
	const char *region;	/* copied; for STS; "": us-east-1 */
	const char *ca;		/* copied; "": the system's */
	struct bw_log *log;	/* borrowed; NULL: silent */
};
/* Starts its thread.  0, -ENOMEM or -errno of the thread. */
int bw_cred_chain_new(const struct bw_cred_config *config, struct bw_cred_chain **ret) bw_must_check;
void bw_cred_chain_free(struct bw_cred_chain *c);	/* NULL is fine; waits answer -BW_E_STOPPING first */

/* Somebody who needs credentials; owned by them, lent until done() runs. */
struct bw_cred_wait {
	/* On the chain's thread, without locks; may not block.  err 0: creds has one reference for the taker.  -BW_E_DENIED:
	 * why says which source failed and how, or that none is configured.  -BW_E_UNREACHABLE: the same of one that
	 * is overloaded, and may answer who asks again. */
	void (*done)(struct bw_cred_wait *w, int err, struct bw_creds *creds, const char *why);
	struct bw_cred_wait *next;	/* private */
};
/*
 * True: *ret has current credentials (a reference) and w was not kept.  False: they are being fetched and
 * w's done() will run.  Credentials are renewed 5 minutes and a little before they expire while the old ones still
 * serve; a source that fails to renew is asked again every 10 s, and the old ones are used until they expire.
 */
bool bw_cred_chain_get(struct bw_cred_chain *c, struct bw_cred_wait *w, struct bw_creds **ret);
/*
 * The store refuses in words that do not tell credentials that have ended from a permission that lacks: a Ceph RGW
 * says AccessDenied of a key that was removed a moment ago.  As bw_cred_chain_get(), but when nothing newer is
 * current the source is asked again only if its files have changed; else *ret is creds once more.
 */
bool bw_cred_chain_doubted(struct bw_cred_chain *c, struct bw_cred_wait *w, const struct bw_creds *creds,
			   struct bw_creds **ret);
/* True: w was waiting, and its done() will not run.  False: it has begun or will soon.  Only w's address is looked at. */
bool bw_cred_chain_forget(struct bw_cred_chain *c, struct bw_cred_wait *w);
/* The store says these have expired or are unknown: they are not given out again unless the source insists. */
void bw_cred_chain_refused(struct bw_cred_chain *c, const struct bw_creds *creds);

#endif
