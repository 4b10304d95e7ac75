/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private to the credential chain: what a source is, and what all of them share.
 *
 * A source is one function, called on the chain's thread, that may wait for whatever it needs but gives up at
 * once when the chain is freed (stop_fd).  It says one of three things: it is not configured, it has
 * credentials, or it is configured and failed; then why holds one sentence that says what to do.
 */
#ifndef BW_STORE_S3_CRED_SOURCE_H
#define BW_STORE_S3_CRED_SOURCE_H

#include "store/base/limits.h"
#include "store/s3_creds.h"

#include <limits.h>
#include <stddef.h>
#include <sys/types.h>
#include <time.h>

#define BW_CRED_WHY (BW_DETAIL_MAX + 1)
#define BW_CRED_WATCHED 2

/* Files that credentials came from: a change of one of them asks for a new look. */
struct bw_cred_watch {
	struct bw_cred_file {
		char path[PATH_MAX];	/* "": none */
		bool there;
		dev_t dev;
		ino_t ino;
		off_t size;
		struct timespec mtime;
	} files[BW_CRED_WATCHED];
};
/* Remembers path as it is now, in place i.  Look before reading, so that no change is missed. */
void bw_cred_watch(struct bw_cred_watch *w, unsigned i, const char *path);
bool bw_cred_watch_changed(const struct bw_cred_watch *w);

/* One round through the sources. */
struct bw_cred_job {
	const char *profile, *region, *ca;	/* as in the config */
	bool profile_named;
	struct bw_log *log;			/* borrowed; NULL: silent */
	int stop_fd;				/* readable: give up with -BW_E_STOPPING */
	const char *before;			/* the source that answered last; NULL: none did */
	char why[BW_CRED_WHY];			/* of a failure */
	char note[160];				/* why a source that might have answered did not; "" */
	bool extended, was_extended;		/* what answered had expired, and was given more time; the round before */
	struct bw_cred_watch watch;
};

struct bw_cred_source {
	const char *name;
	bool yields;	/* to a profile that was named */
	bool extends;	/* what it hands out serves on when it has expired, while it has nothing newer */
	/* 1: *out is filled in (its source is not); 0: not configured; -BW_E_DENIED with why, or -BW_E_UNREACHABLE
	 * when it may answer later; -BW_E_STOPPING; -ENOMEM. */
	int (*fetch)(struct bw_cred_job *job, struct bw_creds *out);
};
extern const struct bw_cred_source bw_cred_environment, bw_cred_web_identity, bw_cred_files, bw_cred_container,
	bw_cred_instance;

/* Sets why; answers -BW_E_DENIED.  Never with a secret among the arguments. */
int bw_cred_fail(struct bw_cred_job *job, const char *fmt, ...) bw_printf_like(2, 3);

/* What a source answers that does not answer: one that has given credentials before is away, else it is where nobody put it. */
int bw_cred_away(const struct bw_cred_job *job);

/* Waits; true: the chain is being freed. */
bool bw_cred_stopped(const struct bw_cred_job *job, int wait_ms);

/*
 * Copies values into out, judging them: all must be printable without blanks and fit; token may be empty.
 * where begins the sentence of a failure ("the environment").  1 or -BW_E_DENIED.
 */
int bw_cred_set(struct bw_cred_job *job, const char *where, const char *key_id, const char *secret,
		const char *token, struct bw_creds *out) bw_must_check;

/* "" and unset are the same: NULL. */
const char *bw_cred_getenv(const char *name);

/* Zeroed memory that stays out of core dumps; NULL when memory is short.  Freeing wipes it; NULL is fine. */
void *bw_secret_new(size_t len);
void bw_secret_free(void *p, size_t len);
struct bw_creds *bw_creds_new(void);	/* one reference, never expires; NULL when memory is short */

/*
 * When credentials that are there at wall_ms and expire at expires_ms (never: INT64_MAX) are renewed: early_ms before,
 * those with less than twice as long to live at half of it.  In either case up to a quarter of that earlier, as chance
 * (0 to 1) has it: a fleet that started together does not ask together.
 */
int64_t bw_cred_renew_ms(int64_t wall_ms, int64_t expires_ms, int64_t early_ms, double chance);

/* How long things take; tests are in a hurry. */
struct bw_cred_times {
	int64_t early_ms;	/* before they expire, credentials are renewed */
	int64_t retry_ns;	/* between attempts to renew while old ones serve */
	int64_t again_ns;	/* between attempts for those who wait */
	int64_t look_ns;	/* between looks at the files they came from */
};
int bw_cred_chain_new_timed(const struct bw_cred_config *config, const struct bw_cred_times *times,
			    struct bw_cred_chain **ret) bw_must_check;

#endif
