/* SPDX-License-Identifier: Apache-2.0 */
/* The repair that every enveloped object shares. */
#ifndef BW_TESTS_FUZZ_ENVELOPE_FIX_H
#define BW_TESTS_FUZZ_ENVELOPE_FIX_H

#include "manifest/envelope.h"
#include "store/base/hash.h"

#include <endian.h>
#include <string.h>

/* Both sums and the stored length; the payload's length as well where it is stored raw. */
static inline void bw_fix_envelope(uint8_t *bytes, size_t len)
{
	uint32_t payload, le32;
	uint64_t le64;

	if (len < 32 || len > UINT32_MAX)
		return;
	memcpy(bytes, "BWOB", 4);
	payload = (uint32_t)len - 32;
	le32 = htole32(payload);
	memcpy(bytes + 12, &le32, 4);
	if (bytes[6] == 0)
		memcpy(bytes + 8, &le32, 4);
	le64 = htole64(bw_xxh3(bytes + 32, payload));
	memcpy(bytes + 16, &le64, 8);
	le64 = htole64(bw_xxh3(bytes, 24));
	memcpy(bytes + 24, &le64, 8);
}

#endif
