/* SPDX-License-Identifier: Apache-2.0 */
/* The last errors of a mount, newest last: /status/errors.  Thread-safe, bounded. */
#ifndef BW_FS_ERRORS_H
#define BW_FS_ERRORS_H

#include "store/base/buf.h"
#include "store/base/limits.h"
#include "store/base/sync.h"

struct bw_errors {
	struct bw_mutex lock;
	unsigned n, at;
	uint64_t total;
	char *lines[BW_ERRORS_KEPT];	/* owned */
};

void bw_errors_init(struct bw_errors *e);
void bw_errors_done(struct bw_errors *e);
void bw_errors_add(struct bw_errors *e, const char *fmt, ...) bw_printf_like(2, 3);
/* One more of an error that has its line: only counted. */
void bw_errors_again(struct bw_errors *e);
void bw_errors_print(struct bw_errors *e, struct bw_buf *out);
uint64_t bw_errors_total(struct bw_errors *e);	/* since the mount, not only those that are kept */
/* The newest line without its time, or "". */
void bw_errors_last(struct bw_errors *e, char *buf, size_t len);

#endif
