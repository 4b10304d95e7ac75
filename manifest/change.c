/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/root.h"
void bw_change_done(struct bw_change *c) { (void)c; }
