/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What memory this process may use (S6): the limit of its control group, or the machine.  What counts there is not only
 * what the process holds: pages of files it reads and writes are given back under pressure, but files
 * on a tmpfs, such as staged bytes, are not.
 */
#ifndef BW_FS_MEMORY_H
#define BW_FS_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

/* What memory= does not count: code, threads, tables. */
#define BW_MEMORY_BESIDE (UINT64_C(64) << 20)

/* The smallest limit (memory.max, memory.high, memory.limit_in_bytes) of the control group and those above it, bytes; UINT64_MAX
 * when there is none. */
uint64_t bw_memory_cgroup(void);

/* The memory this process may use: of the machine, or what its cgroups allow. */
uint64_t bw_memory_limit(void);

/* A quarter of it, 64 MiB to 4 GiB. */
uint64_t bw_memory_default(void);

/* Whether files in dir are memory. */
bool bw_memory_is_dir(const char *dir);

#endif
