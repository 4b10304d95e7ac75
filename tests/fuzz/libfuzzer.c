/* SPDX-License-Identifier: Apache-2.0 */
/* Hands a target to libFuzzer; three of four mutants get right checksums. */
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);
size_t LLVMFuzzerMutate(uint8_t *bytes, size_t len, size_t max);
size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t len, size_t max, unsigned seed);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	bw_fuzz_one(bytes, len);
	return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t len, size_t max, unsigned seed)
{
	len = LLVMFuzzerMutate(bytes, len, max);
	if (seed % 4)
		bw_fuzz_fix(bytes, len);
	return len;
}
