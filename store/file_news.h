/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tells at once when an object appears in one directory of a store of files.
 *
 * The one idea: it is a hint.  Whoever hears it asks the store as ever, and nothing is wrong when it is late, comes for
 * nothing, or never: the kernel tells (inotify) what is put on this host, not what another host puts on a network
 * file system.
 *
 * Has a thread, on which heard() runs.
 */
#ifndef BW_STORE_FILE_NEWS_H
#define BW_STORE_FILE_NEWS_H

#include "store/store.h"

struct bw_file_news;

/* key: of any object in that directory of the store in dir; both are copied.  heard() must not block; several objects
 * may be one call.  -errno when this host has no inotify left; -ENAMETOOLONG.  A directory that is not there is looked
 * for now and then. */
int bw_file_news_new(const char *dir, const char *key, void (*heard)(void *ctx), void *ctx,
		     struct bw_file_news **ret) bw_must_check;
/* heard() does not run any more.  NULL is fine. */
void bw_file_news_free(struct bw_file_news *n);

#endif
