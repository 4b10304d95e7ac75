/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the bytes of one file of a checkpoint say: is it whole, and what does it name?
 *
 * Files are found damaged by how they end (a zip directory, a closing brace, the length that a header
 * announces), so that one which a crash or a copy left short is told from a whole one without knowing
 * who wrote it.  Nothing is believed: each scanner is bounded and takes any bytes.
 * Pure but for the read function that is handed in.  Thread-safety: none.
 */
#ifndef BW_MOUNT_HELPERS_WATCH_SCAN_H
#define BW_MOUNT_HELPERS_WATCH_SCAN_H

#include "store/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define BW_WATCH_TEXT_MAX 255		    /* bytes of a tracker */
#define BW_WATCH_JSON_MAX (256u << 20)	    /* bytes of a JSON file; longer ones say nothing */
#define BW_WATCH_METADATA_MAX (1024u << 20) /* bytes of a .metadata; the same */
#define BW_WATCH_NAMES_MAX (1u << 20)	    /* files that one file may name */

enum bw_watch_scan {
	BW_SCAN_NONE,
	BW_SCAN_TEXT,		/* a tracker: one short line */
	BW_SCAN_JSON,		/* global_step, commit_timestamp_nsecs, names of weights */
	BW_SCAN_DCP,		/* .metadata, a pickle: names of __R_N.distcp files */
	BW_SCAN_TORCH,		/* torch.save(): a zip archive, or an older form that says nothing */
	BW_SCAN_SAFETENSORS,
};

enum bw_watch_end { BW_END_UNSAID, BW_END_WHOLE, BW_END_TORN };

struct bw_watch_facts {
	enum bw_watch_end end;
	char text[BW_WATCH_TEXT_MAX + 1];	/* TEXT: without blanks around it; "" when there is none */
	bool has_step;				/* JSON: global_step is a number */
	uint64_t step;
	bool committed;				/* JSON: commit_timestamp_nsecs is a number */
	uint32_t names_n;
	char *names;				/* owned: names_n texts, each with its NUL */
};
void bw_watch_facts_done(struct bw_watch_facts *f);

/* Up to len bytes at off; the count, 0 behind the end, or -errno. */
typedef ssize_t bw_watch_read(void *ctx, uint64_t off, void *bytes, size_t len);

/*
 * size: of the file when it was looked at.  Fills *ret also when it fails.  0, what read said, or
 * -ENOMEM.  A file that says nothing is no error.
 */
int bw_watch_scan(enum bw_watch_scan kind, uint64_t size, bw_watch_read *read, void *ctx,
		  struct bw_watch_facts *ret) bw_must_check;

#endif
