/* SPDX-License-Identifier: Apache-2.0 */
/* The heap of a mount: which pages the kernel is asked for. */
#include "fs/heap.h"

#include <criterion/criterion.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIB (1u << 20)

/* What the kernel says of the mapping that holds `at`. */
struct mapping {
	unsigned long size_kib, resident_kib;
	bool huge;	/* it was asked for huge pages */
};

static bool find(const void *at, struct mapping *ret)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	unsigned long from, to;
	char line[512];
	bool in = false;

	cr_assert(f);
	memset(ret, 0, sizeof(*ret));
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2) {
			if (in)
				break;
			in = from <= (uintptr_t)at && (uintptr_t)at < to;
		} else if (in) {
			(void)sscanf(line, "Size: %lu kB", &ret->size_kib);
			(void)sscanf(line, "Rss: %lu kB", &ret->resident_kib);
			if (strncmp(line, "VmFlags:", 8) == 0)
				ret->huge = strstr(line, " hg");
		}
	}
	fclose(f);
	return in;
}

/* Whether malloc is glibc's, and the kernel has huge pages at all. */
static bool can_be(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	return false;
#else
	return access("/sys/kernel/mm/transparent_hugepage/enabled", R_OK) == 0;
#endif
}

Test(heap, what_will_stay_of_it_is_asked_for_in_huge_pages_and_not_touched)
{
	struct mapping m;

	bw_heap_tune(0);
	if (!can_be())
		cr_skip("the heap is a sanitizer's, or there are no huge pages");
	/* The middle of the heap's last 32 MiB, wherever it began. */
	cr_assert(find((char *)sbrk(0) - 16 * MIB, &m));
	cr_assert(m.huge);
	cr_assert_geq(m.size_kib, 48 * 1024);
	cr_assert_leq(m.resident_kib, 8 * 1024);
}

/* Blocks of a mebibyte come from there, and the same ones again. */
Test(heap, blocks_are_reused)
{
	void *blocks[24], *first = NULL;
	uintptr_t end;

	bw_heap_tune(0);
	end = (uintptr_t)sbrk(0);
	for (int round = 0; round < 4; round++) {
		for (int i = 0; i < 24; i++) {
			blocks[i] = malloc(MIB + 64);
			cr_assert(blocks[i]);
			memset(blocks[i], i, MIB);
		}
		if (round == 0)
			first = blocks[0];
		if (can_be())
			cr_assert_eq(blocks[0], first);
		for (int i = 24; i-- > 0;)
			free(blocks[i]);
	}
	cr_assert_eq((uintptr_t)sbrk(0), end);
}

static unsigned long resident_kib(void)
{
	unsigned long pages = 0;
	FILE *f = fopen("/proc/self/statm", "re");

	cr_assert(f);
	cr_assert_eq(fscanf(f, "%*u %lu", &pages), 1);
	fclose(f);
	return pages * (unsigned long)sysconf(_SC_PAGESIZE) / 1024;
}

/* S6: what was used stays for the next batch, within memory=, and goes when nothing is done. */
Test(heap, what_was_used_stays_until_the_mount_rests)
{
	enum { N = 160 };
	static void *blocks[N];

	bw_heap_tune(256 * MIB);
	for (int i = 0; i < N; i++) {
		blocks[i] = malloc(MIB);
		cr_assert(blocks[i]);
		memset(blocks[i], 1, MIB);
	}
	for (int i = N; i-- > 0;)
		free(blocks[i]);
	if (!can_be())
		cr_skip("the heap is a sanitizer's, or there are no huge pages");
	cr_assert_geq(resident_kib(), N * 1024);
	bw_heap_rest();
	cr_assert_leq(resident_kib(), 96 * 1024, "%lu KiB", resident_kib());
}
