/* SPDX-License-Identifier: Apache-2.0 */
/* All bytes into a file descriptor or out of it, whatever a call takes at a time.  Thread-safe as the calls are. */
#ifndef BW_BASE_FD_H
#define BW_BASE_FD_H

#include "store/base/err.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Both block as write(2) does.  0, or -errno: then some of the bytes may have been written. */
int bw_write_all(int fd, const void *bytes, size_t len) bw_must_check;
int bw_write_at(int fd, const void *bytes, size_t len, uint64_t off) bw_must_check;
/* All that comes until the end: how many bytes, or -errno; -EFBIG when there are size of them or more. */
ssize_t bw_read_all(int fd, void *ret, size_t size) bw_must_check;

#endif
