/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Footers of small batches inside the root that committed them: who follows the newest steps learns where
 * their slices lie along with the news, and asks the store for nothing but the slices.
 *
 * They are a help, not part of what is committed: any footer may be missing, and is fetched then.  Builds
 * that do not know them carry them on, so a footer of an older version's step is no fault.  Pure.
 */
#ifndef BW_MANIFEST_ROOT_FOOTERS_H
#define BW_MANIFEST_ROOT_FOOTERS_H

#include "manifest/json.h"
#include "manifest/root.h"

/* The member's key: behind "levels", where its order among the keys of newer releases puts it. */
#define BW_ROOT_FOOTERS "footers"

/* Keeps bytes, [e->footer_len] and taken over whatever becomes of them, if they are few and there is room.
 * Steps rise from call to call. */
void bw_root_footers_add(struct bw_root *r, const struct bw_entry *e, uint8_t *bytes);
void bw_root_footers_done(struct bw_root *r);

/* The list.  *err as in root_codec.c: set to -ENOMEM; all else shows in j. */
void bw_root_footers_put(struct bw_buf *b, const struct bw_root *r);
void bw_root_footers_get(struct bw_json *j, int *err, struct bw_root *r);

/* NULL, or which rule is broken; the tail is sound. */
const char *bw_root_footers_check(const struct bw_root *r);

#endif
