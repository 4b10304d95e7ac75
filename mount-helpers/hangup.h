/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a terminal that goes away is meant to end us.  Any thread. */
#ifndef BW_MOUNT_HELPERS_HANGUP_H
#define BW_MOUNT_HELPERS_HANGUP_H

#include <stdbool.h>

/* True under nohup(1): who blocks SIGHUP to wait for it would hear of it all the same. */
bool bw_hangup_ignored(void);

#endif
