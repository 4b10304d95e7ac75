/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a fuzz target is: one function that takes bytes, and one that repairs checksums, because a
 * mutant that fails the first checksum teaches nothing about the parser behind it.
 *
 * driver.c runs a target over its corpus and over mutants of it, with any compiler (CTest, label
 * fuzz); libfuzzer.c gives the same target to libFuzzer (preset fuzz).
 */
#ifndef BW_TESTS_FUZZ_H
#define BW_TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* Runs the parser, and aborts when a property does not hold.  True: the input was accepted. */
bool bw_fuzz_one(const uint8_t *bytes, size_t len);

/* Makes lengths and checksums of a mutant right, as far as they can be found; in place. */
void bw_fuzz_fix(uint8_t *bytes, size_t len);

static inline void bw_fuzz_must(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "property broken: %s\n", what);
	abort();
}

#endif
