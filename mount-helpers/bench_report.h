/* SPDX-License-Identifier: Apache-2.0 */
/* What people read, and what programs read.  One thread; functions append to standard output. */
#ifndef BW_MOUNT_HELPERS_BENCH_REPORT_H
#define BW_MOUNT_HELPERS_BENCH_REPORT_H

#include "mount-helpers/bench.h"

/* "1.5 GB" of bytes, "8 KiB" of a size that was typed with K, M or G.  Into buf, at least 32 bytes. */
const char *bw_report_bytes(char *buf, uint64_t n);
const char *bw_report_size(char *buf, uint64_t n);

/* What will be done, before it is; a line for each row as it ends; and what the figures mean. */
void bw_report_begin(const struct bw_bench_result *r);
/* 0 or -ENOMEM. */
int bw_report_row(const struct bw_bench_row *row) bw_must_check;
void bw_report_end(const struct bw_bench_result *r);

/* The whole as one JSON object.  0 or -ENOMEM. */
int bw_report_json(const struct bw_bench_result *r, bool samples) bw_must_check;

#endif
