/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A mount whose daemon has died: every call on it says ENOTCONN, and it stays until somebody unmounts it.
 * It can never serve anybody again, so whoever mounts a stream there takes it away first.
 */
#ifndef BW_MOUNT_HELPERS_STALE_H
#define BW_MOUNT_HELPERS_STALE_H

#include "store/base/err.h"

#include <stddef.h>

/*
 * Takes dead mounts of this program away from dir, those of other programs never.  Programs that have files of them open keep
 * them, with the same errors as before.  1: took at least one; 0: there was none; -errno of the unmount.
 * Calls only for what does not answer, so a mount that lives is not asked to wait for anything.
 */
int bw_stale_remove(const char *dir) bw_must_check;

#endif
