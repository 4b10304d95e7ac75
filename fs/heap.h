/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How malloc treats the blocks of a mount: about a mebibyte each, made by threads of the store, freed
 * by whoever answered the last read, thousands a second.
 *
 * Left alone glibc keeps one heap per thread and hands freed blocks back to the kernel, which clears
 * every page of the next one again: reads through the cache are then two to three times slower.  And what stays of the
 * heap comes in huge pages where the kernel has them: each byte is copied in and out of it, by the page.
 */
#ifndef BW_FS_HEAP_H
#define BW_FS_HEAP_H

/* For the whole process, so for main() to call, before it starts threads. */
void bw_heap_tune(void);

#endif
