/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/heap.h"

#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define OWN_MAPPING_MIN (32 << 20)	/* larger allocations are mapped and unmapped; glibc's maximum */
#define TOP_KEPT (64 << 20)		/* free bytes at the end of the heap that always stay */
#define KEEP_MAX (1 << 30)	/* mallopt() takes an int */
#define HUGE_PAGE ((uintptr_t)2 << 20)

/*
 * The heap grows to what will stay of it anyway, without being touched, so that it is one mapping which can be asked
 * to come in huge pages: bytes that arrive for the first time then cost a fault for 512 pages, not for each.
 */
static void ask_for_huge_pages(void)
{
	char *from = sbrk(0);
	void *a = malloc(TOP_KEPT / 2 - HUGE_PAGE), *b = malloc(TOP_KEPT / 2 - HUGE_PAGE);
	char *to = sbrk(0);
	uintptr_t first = ((uintptr_t)from + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1);

	if (a && b && (uintptr_t)to > first)
		(void)madvise((void *)first, (uintptr_t)to - first, MADV_HUGEPAGE);
	free(a);
	free(b);
}

void bw_heap_tune(uint64_t keep)
{
	int most = keep < KEEP_MAX ? (int)keep : KEEP_MAX;

	mallopt(M_MMAP_THRESHOLD, OWN_MAPPING_MIN);
	mallopt(M_TRIM_THRESHOLD, most > TOP_KEPT ? most : TOP_KEPT);
	mallopt(M_ARENA_MAX, 1);
	ask_for_huge_pages();
}

void bw_heap_rest(void)
{
	malloc_trim(TOP_KEPT);
}
