/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taking a snapshot of a checkpoint directory, and waiting for it to change.
 *
 * inotify only makes the next look come sooner: nothing depends on an event, because network file
 * systems have none for what other hosts do.
 * Thread-safety: none.
 */
#ifndef BW_MOUNT_HELPERS_WATCH_LOOK_H
#define BW_MOUNT_HELPERS_WATCH_LOOK_H

#include "mount-helpers/watch.h"

/*
 * Lists dir, and all that is below its entries that format takes for checkpoints.  What files say is
 * moved out of *old (may be NULL) when they have not changed, else read.  An entry that cannot be read is
 * marked so; 0, or -errno when dir itself could not be listed to its end: then nothing is known.
 */
int bw_watch_look(const char *dir, const struct bw_watch_format *format, const char *arg,
		  struct bw_watch_snapshot *old, struct bw_watch_snapshot *ret) bw_must_check;

/* Do changes by other hosts go unnoticed here?  False also when dir is not there. */
bool bw_watch_is_network(const char *dir);

/*
 * Begins to listen for changes of dir and of the entries that format takes for checkpoints, as far as s
 * (may be NULL) has them; what was listened to before is forgotten.  A descriptor for poll(2), to be
 * closed; or -errno, after which looks at intervals do.
 */
int bw_watch_listen(const char *dir, const struct bw_watch_format *format, const char *arg,
		    const struct bw_watch_snapshot *s) bw_must_check;

#endif
