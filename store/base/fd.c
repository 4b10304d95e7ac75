/* SPDX-License-Identifier: Apache-2.0 */
#include "store/base/fd.h"

#include <errno.h>
#include <unistd.h>

int bw_write_all(int fd, const void *bytes, size_t len)
{
	for (const uint8_t *p = bytes; len;) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int bw_write_at(int fd, const void *bytes, size_t len, uint64_t off)
{
	for (const uint8_t *p = bytes; len;) {
		ssize_t n = pwrite(fd, p, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		p += n;
		off += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

ssize_t bw_read_all(int fd, void *ret, size_t size)
{
	size_t len = 0;

	while (len < size) {
		ssize_t n = read(fd, (uint8_t *)ret + len, size - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : (ssize_t)len;
		len += (size_t)n;
	}
	return -EFBIG;
}
