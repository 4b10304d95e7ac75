/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every root has to satisfy by itself, whoever made it: asked before it is encoded and after it
 * was decoded, so that neither a bug nor damage passes.
 */
#ifndef BW_MANIFEST_ROOT_CHECK_H
#define BW_MANIFEST_ROOT_CHECK_H

#include "manifest/root.h"

/* NULL, or which rule is broken, in words for a log or a debugger. */
const char *bw_root_check(const struct bw_root *r);
/* Inline: present and within its limits, with the checksum it claims; else the claims alone. */
bool bw_state_valid(const uint8_t *state, uint32_t len, uint64_t xxh3);

#endif
