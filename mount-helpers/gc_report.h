/* SPDX-License-Identifier: Apache-2.0 */
/* What a pass of reclaiming did and kept, and why, in words: for batchweave(1) gc. */
#ifndef BW_MOUNT_HELPERS_GC_REPORT_H
#define BW_MOUNT_HELPERS_GC_REPORT_H

#include "manifest/reclaim.h"

/* To stdout.  dry: what would be done. */
void bw_gc_report(const struct bw_stream *stream, const struct bw_reclaim_report *r, bool dry);
/* Anything was trimmed, deleted or overwritten. */
bool bw_gc_did(const struct bw_reclaim_report *r);

#endif
