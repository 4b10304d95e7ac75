/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How malloc treats the blocks of a mount: about a mebibyte each, made by threads of the store, freed
 * by whoever answered the last read, thousands a second.
 *
 * Left alone glibc keeps one heap per thread and hands freed blocks back to the kernel, which clears
 * every page of the next one again: reads through the cache are then two to three times slower, and a batch of 64 MiB
 * on its way to a bucket costs half as much again.  So what was used once stays while the mount works, as much as its
 * memory= allows, and goes back when it rests.  The first of it comes in huge pages where the kernel has them: each
 * byte is copied in and out of it, by the page.
 */
#ifndef BW_FS_HEAP_H
#define BW_FS_HEAP_H

#include <stdint.h>

/* For the whole process, so for main() to call, before it starts threads.  keep: free bytes that stay, at least 64 MiB of
 * them and at most 1 GiB. */
void bw_heap_tune(uint64_t keep);
/* Gives free memory back to the kernel, all but 64 MiB.  Any thread; others that allocate wait meanwhile. */
void bw_heap_rest(void);

#endif
