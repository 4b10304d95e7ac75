/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/heap.h"

#include <malloc.h>

#define OWN_MAPPING_MIN (32 << 20)	/* larger allocations are mapped and unmapped; glibc's maximum */
#define TOP_KEPT (64 << 20)		/* free bytes at the end of the heap that stay */

void bw_heap_tune(void)
{
	mallopt(M_MMAP_THRESHOLD, OWN_MAPPING_MIN);
	mallopt(M_TRIM_THRESHOLD, TOP_KEPT);
	mallopt(M_ARENA_MAX, 1);
}
