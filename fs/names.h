/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names and inode numbers of the mount: pure text and arithmetic.
 *
 * A number in a path is canonical decimal below 2^63: "0", "7", never "007", "+7" or "-1".
 * Inode numbers under /step are arithmetic, so they are the same on every mount, after every restart,
 * and need no table:  bit 63 set, 45 bits of step, 18 bits of what: 0 the step's directory,
 * 1 its rank/, 2 meta.json, 4 + r the slice of rank r.
 * Under /checkpoint: bit 62 set, 16 bits of job, 46 bits: 0 the job's directory, step + 1 a marker.  Which
 * number a job has is a matter of each mount.
 * Directories of views: bit 61 set (view.h); slices have in views the numbers that they have under /step.
 */
#ifndef BW_FS_NAMES_H
#define BW_FS_NAMES_H

#include "store/base/err.h"
#include "store/base/limits.h"

#include <stdbool.h>
#include <stdint.h>

/* 0, or -EINVAL for anything but canonical decimal below 2^63. */
int bw_decimal_parse(const char *text, uint64_t *ret) bw_must_check;

/*
 * What a file name inside rank/ is: a rank (canonical decimal below ranks, alone or with one of the
 * known extensions), -ENOENT a stray name, -EINVAL digits (with or without extension) that are no
 * rank of this stream, such as "01", "-1", "+1" or W.
 */
int bw_rank_name_parse(const char *name, uint32_t ranks, uint32_t *ret) bw_must_check;

/* A slice as a number; 0 is none. */
static inline uint64_t bw_slice_number(uint64_t step, uint32_t rank)
{
	return 1 + step * BW_RANKS_MAX + rank;
}

enum bw_step_what { BW_STEP_DIR = 0, BW_STEP_RANKS = 1, BW_STEP_META = 2, BW_STEP_SLICE = 4 };
uint64_t bw_step_ino(uint64_t step, enum bw_step_what what, uint32_t rank);
bool bw_is_step_ino(uint64_t ino);
void bw_step_ino_split(uint64_t ino, uint64_t *step, enum bw_step_what *what, uint32_t *rank);

#define BW_JOB_NUMBERS (1u << 16)
uint64_t bw_job_ino(uint32_t job);
uint64_t bw_marker_ino(uint32_t job, uint64_t step);	/* step is below BW_STEPS_MAX */
bool bw_is_job_ino(uint64_t ino);	/* of a job or of a marker */
/* True: of a marker, with its step. */
bool bw_job_ino_split(uint64_t ino, uint32_t *ret_job, uint64_t *ret_step);

#endif
