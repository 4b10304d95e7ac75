/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers and names that people type: options of commands and of mounts, paths in a mount.
 *
 * One spelling of each number: no sign, no blank, no leading zero, nothing behind it but a known unit.
 * All of them are pure, read nothing behind the NUL, write *ret on success only and return 0 or
 * -EINVAL.
 */
#ifndef BW_BASE_PARSE_H
#define BW_BASE_PARSE_H

#include "store/base/err.h"

#include <stdbool.h>
#include <stdint.h>

/* Canonical decimal from 0 to max, max included. */
int bw_parse_u64(const char *text, uint64_t max, uint64_t *ret) bw_must_check;

/* Bytes: canonical decimal with K, M or G (powers of 1024, either case) or nothing behind it. */
int bw_parse_size(const char *text, uint64_t *ret) bw_must_check;

/* Nanoseconds of "30", "30s", "5m", "2h", "0.5", "1.5h"; at most nine digits behind the point. */
int bw_parse_duration(const char *text, int64_t *ret_ns) bw_must_check;

/* [A-Za-z0-9][A-Za-z0-9._-]{0,63}: what a producer or a job may be called.  Reads no more than BW_NAME_MAX + 1 bytes. */
bool bw_name_valid(const char *text);

#endif
