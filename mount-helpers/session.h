/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream opened by a command: the store, what is fixed, the newest root, and look-ups in it.
 *
 * Everything is synchronous and bounded by BW_SESSION_TIMEOUT_NS a request; a body that is uploaded may take as long as it moves.
 * One thread.
 */
#ifndef BW_MOUNT_HELPERS_SESSION_H
#define BW_MOUNT_HELPERS_SESSION_H

#include "manifest/head.h"
#include "manifest/open.h"
#include "manifest/tgb.h"
#include "mount-helpers/command.h"

#define BW_SESSION_TIMEOUT_NS (60 * BW_SEC)
#define BW_SESSION_COMMIT_NS (300 * BW_SEC)

struct bw_session {
	const struct bw_command *command;
	const char *url;	/* borrowed, as it was typed */
	struct bw_store *store;	/* owned, like what follows */
	struct bw_stream stream;
	struct bw_root *root;	/* the newest when the session was opened */
	struct bw_head *head;
	int64_t opened_ns;	/* the bw_boottime() before that root was looked for */
};

/* The store behind url.  0, or an exit code with the sentence said.  create: makes the directory. */
int bw_session_store(const struct bw_command *c, const char *url, const struct bw_store_options *o,
		     bool create, struct bw_store **ret);

/*
 * 0, or an exit code with the sentence said.  bw_session_done() is due in both cases.  to_write: a store that does
 * not keep put-if-absent any more is refused.
 */
int bw_session_open(struct bw_session *s, const struct bw_command *c, const char *url,
		    const struct bw_store_options *o, bool to_write);
void bw_session_done(struct bw_session *s);

/* bw_now() time by which a request that is sent now is to be answered. */
int64_t bw_session_deadline(void);
/* For the outcome of a commit, which takes as many requests as others leave it to take: as long as a close on a mount waits. */
int64_t bw_session_commit_deadline(void);

/*
 * The entry of a committed step, and its verified footer.  0, or an exit code with the sentence
 * said: not committed, reclaimed, damaged, unreachable.
 */
int bw_session_entry(struct bw_session *s, uint64_t step, struct bw_entry *ret);
int bw_session_tgb(struct bw_session *s, const struct bw_entry *e, struct bw_tgb **ret);
/* The raw bytes of block i, fetched again once when its checksum is wrong. */
int bw_session_block(struct bw_session *s, const struct bw_entry *e, const struct bw_tgb *t,
		     uint32_t i, struct bw_blob **ret);

/* "STEP" of a command line: canonical decimal.  0 or an exit code with the sentence said. */
int bw_session_step(const struct bw_command *c, const char *text, uint64_t *ret);

#endif
