/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What batchweave doctor finds: a line for each check, with its remedy.
 *
 * A check adds findings and decides nothing else.  FINE and NOTE are for people, WRONG makes the exit code: what
 * keeps a mount from working, or will. A note is about what may be meant so.  One thread.
 */
#ifndef BW_MOUNT_HELPERS_DOCTOR_H
#define BW_MOUNT_HELPERS_DOCTOR_H

#include "fs/options.h"
#include "store/base/limits.h"

#include <stdio.h>

enum bw_verdict { BW_FINE, BW_NOTE, BW_WRONG };

struct bw_finding {
	enum bw_verdict verdict;
	const char *check;	/* static: "fuse device" */
	char found[BW_WHY_MAX + 1];
	char remedy[BW_WHY_MAX + 1];	/* "" where there is nothing to do */
};

#define BW_FINDINGS_MAX 64u

struct bw_doctor {
	FILE *to;		/* a finding is printed here as it comes; NULL: not */
	unsigned n, wrong, notes;
	bool store_away;	/* the store did not answer, or refused */
	struct bw_finding findings[BW_FINDINGS_MAX];
};

/* remedy and what fmt makes are copied, cut behind a word where they are too long; printed without control characters. */
void bw_doctor_add(struct bw_doctor *d, enum bw_verdict verdict, const char *check, const char *remedy,
		   const char *fmt, ...) bw_printf_like(5, 6);
const char *bw_verdict_name(enum bw_verdict verdict);	/* "ok", "note", "WRONG" */

/* ---- This machine --------------------------------------------------------------------------------- */

/* What the checks look at; a test describes another machine. */
struct bw_machine {
	const char *root;	/* before every path of the system: "" here */
	const char *release;	/* of the kernel: "6.1.0-18-amd64" */
	const char *path;	/* the PATH to look for programs in */
	const char *tmpdir;	/* TMPDIR; "" */
	uid_t uid;
	bool admin;		/* CAP_SYS_ADMIN is in force */
	uint64_t files, files_max;	/* open files of a process: soft and hard limit */
	uint64_t memory;	/* bytes that this process may use */
};

/* Points to static memory. */
void bw_machine_here(struct bw_machine *ret);

/* The kernel and /dev/fuse. */
void bw_doctor_fuse(struct bw_doctor *d, const struct bw_machine *m);
/* Whether this user may mount, and let others in. */
void bw_doctor_user(struct bw_doctor *d, const struct bw_machine *m, const struct bw_mount_options *o);
/* Open files, memory, and the directories of staged bytes and of the disk cache. */
void bw_doctor_limits(struct bw_doctor *d, const struct bw_machine *m, const struct bw_mount_options *o);
void bw_doctor_room(struct bw_doctor *d, const struct bw_machine *m, const struct bw_mount_options *o);
/* The mounts here of the stream at url, or of all (NULL): whether each answers within five seconds.  Forks. */
void bw_doctor_mounts(struct bw_doctor *d, const struct bw_machine *m, const char *url);

#endif
