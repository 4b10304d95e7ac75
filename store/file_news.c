/* SPDX-License-Identifier: Apache-2.0 */
#include "store/file_news.h"

#include "store/base/sync.h"

#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#define LOOK_AGAIN_MS 2000	/* for a directory that is not there */
#define APPEARS (IN_CREATE | IN_MOVED_TO)
#define ENDS (IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT | IN_IGNORED)

struct bw_file_news {
	char path[PATH_MAX];
	void (*heard)(void *ctx);
	void *ctx;
	int fd, watch;		/* watch -1: the directory is not there */
	int stop;		/* eventfd */
	bool started;
	pthread_t thread;
};

/* What appeared between two watches was not told. */
static void look(struct bw_file_news *n)
{
	n->watch = inotify_add_watch(n->fd, n->path, APPEARS | ENDS | IN_ONLYDIR | IN_EXCL_UNLINK);
	if (n->watch >= 0)
		n->heard(n->ctx);
}

static void lose(struct bw_file_news *n)
{
	inotify_rm_watch(n->fd, n->watch);
	n->watch = -1;
}

/* All that is there to read: whether it is worth a word. */
static bool drain(struct bw_file_news *n)
{
	_Alignas(struct inotify_event) char events[4096];
	bool appeared = false, ended = false;
	ssize_t len;

	while ((len = read(n->fd, events, sizeof(events))) > 0) {
		const struct inotify_event *e;
		for (const char *at = events; at < events + len; at += sizeof(*e) + e->len) {
			e = (const struct inotify_event *)at;
			if (e->mask & IN_Q_OVERFLOW)
				appeared = true;
			/* Of a watch given up before, it says nothing. */
			if (e->wd != n->watch)
				continue;
			appeared |= e->mask & APPEARS;
			ended |= e->mask & ENDS;
		}
	}
	if (ended)
		lose(n);
	return appeared;
}

static void *run(void *arg)
{
	struct bw_file_news *n = arg;
	struct pollfd fds[2] = {{.fd = n->fd, .events = POLLIN}, {.fd = n->stop, .events = POLLIN}};

	while (!fds[1].revents) {
		if (n->watch < 0)
			look(n);
		if (poll(fds, 2, n->watch < 0 ? LOOK_AGAIN_MS : -1) > 0 && fds[0].revents && drain(n))
			n->heard(n->ctx);
	}
	return NULL;
}

int bw_file_news_new(const char *dir, const char *key, void (*heard)(void *ctx), void *ctx,
		     struct bw_file_news **ret)
{
	struct bw_file_news *n = calloc(1, sizeof(*n));
	const char *slash = strrchr(key, '/');
	int err;

	if (!n)
		return -ENOMEM;
	n->heard = heard;
	n->ctx = ctx;
	n->watch = -1;
	n->stop = -1;
	n->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (n->fd >= 0)
		n->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	err = n->stop < 0 ? -errno : 0;
	if (!err && (size_t)snprintf(n->path, sizeof(n->path), "%s/%.*s", dir,
				     slash ? (int)(slash - key) : 0, key) >= sizeof(n->path))
		err = -ENAMETOOLONG;
	if (!err)
		err = bw_thread_start(&n->thread, "bw-news", run, n);
	n->started = !err;
	if (err) {
		bw_file_news_free(n);
		return err;
	}
	*ret = n;
	return 0;
}

void bw_file_news_free(struct bw_file_news *n)
{
	if (!n)
		return;
	if (n->started) {
		eventfd_write(n->stop, 1);
		pthread_join(n->thread, NULL);
	}
	if (n->fd >= 0)
		close(n->fd);
	if (n->stop >= 0)
		close(n->stop);
	free(n);
}
