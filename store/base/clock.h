/* SPDX-License-Identifier: Apache-2.0 */
/* Time.  Deadlines are monotonic nanoseconds; wall time is information for people only. */
#ifndef BW_BASE_CLOCK_H
#define BW_BASE_CLOCK_H

#include <stdint.h>

#define BW_MS INT64_C(1000000)
#define BW_SEC INT64_C(1000000000)
#define BW_NEVER INT64_MAX

int64_t bw_now(void);		/* CLOCK_MONOTONIC, ns */
int64_t bw_boottime(void);	/* CLOCK_BOOTTIME, ns: goes on while the host is suspended; for no deadline */
int64_t bw_wall_ms(void);	/* CLOCK_REALTIME, ms since 1970 */
void bw_sleep(int64_t ns);	/* whole, signals or not; commands and tests only */

/*
 * "2026-01-31T12:00:00Z" into buf of 21 bytes at least; "?" in a smaller one (2 at least) and for years that are
 * not four digits.  Async-signal-safe.
 */
void bw_wall_text(int64_t wall_ms, char *buf, unsigned long len);

#endif
