/* SPDX-License-Identifier: Apache-2.0 */
#include "mount-helpers/watch_job.h"

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define ROOT_NS (15 * BW_SEC)
#define GLANCE_NS (100 * BW_MS)		/* between looks for a signal while a commit is under way */
#define STOP_NS (5 * BW_SEC)		/* what a commit under way is given at the end */

int bw_watch_job_open(struct bw_watch_job *j, const struct bw_command *c, const char *url,
		      const struct bw_store_options *o, const char *name)
{
	*j = (struct bw_watch_job){.name = name, .signals = -1};
	bw_mutex_init(&j->lock, BW_RANK_LEAF);
	bw_cond_init(&j->cond);
	/* Until here Ctrl-C ends the program at once, as it does every command. */
	int code = bw_session_open(&j->s, c, url, o, true);

	if (code)
		return code;
	int r = bw_root_may_write(j->s.root);

	if (r < 0)
		return bw_say_err(c, r, "cannot write to %s", url);
	j->signals = bw_take_signals();
	r = j->signals < 0 ? j->signals
			   : bw_committer_new(j->s.store, &j->s.stream, j->s.head, j->s.opened_ns, NULL, &j->committer);
	return r < 0 ? bw_say_err(c, r, "cannot start") : 0;
}

void bw_watch_job_done(struct bw_watch_job *j)
{
	if (j->signals >= 0) {
		sigset_t set;

		/* A second signal ends it at once. */
		signal(SIGINT, SIG_DFL);
		sigfillset(&set);
		pthread_sigmask(SIG_UNBLOCK, &set, NULL);
		close(j->signals);
	}
	bw_committer_free(j->committer, bw_now() + STOP_NS);
	bw_change_done(&j->item.change);
	bw_session_done(&j->s);
	bw_cond_done(&j->cond);
	bw_mutex_done(&j->lock);
}

int bw_watch_job_root(struct bw_watch_job *j, struct bw_root **ret)
{
	return bw_head_refresh(j->s.head, bw_now() + ROOT_NS, ret);
}

static bool signal_came(struct bw_watch_job *j)
{
	struct signalfd_siginfo info;

	if (read(j->signals, &info, sizeof(info)) > 0)
		j->stop = true;
	return j->stop;
}

bool bw_watch_job_wait(struct bw_watch_job *j, int fd, int64_t deadline_ns)
{
	struct pollfd fds[2] = {{.fd = j->signals, .events = POLLIN}, {.fd = fd, .events = POLLIN}};

	while (!signal_came(j)) {
		int64_t left = deadline_ns == BW_NEVER ? INT64_MAX : deadline_ns - bw_now();

		if (left <= 0)
			return false;
		/* Rounded up, so that nobody spins through the last millisecond. */
		int ms = left > 3600 * BW_SEC ? 3600 * 1000 : (int)((left + BW_MS - 1) / BW_MS);

		if (poll(fds, 2, ms) > 0 && fds[1].revents)
			return signal_came(j);
	}
	return true;
}

static void settle(struct bw_commit_item *item, const struct bw_txn_change *result)
{
	struct bw_watch_job *j = item->ctx;

	BW_LOCK_SCOPE(&j->lock);
	j->over = true;
	j->err = result->err;
	bw_cond_broadcast(&j->cond);
}

int bw_watch_job_change(struct bw_watch_job *j, enum bw_change_kind kind, uint64_t step,
			const char *text)
{
	struct bw_change change = {.kind = kind, .step = step, .text = (char *)text};

	memcpy(change.name, j->name, strlen(j->name) + 1);
	if (j->under_way || signal_came(j))
		return -ECANCELED;
	bw_change_done(&j->item.change);
	j->item = (struct bw_commit_item){.done = settle, .ctx = j, .hurry = true};
	int err = bw_change_copy(&j->item.change, &change);

	if (err)
		return err;
	j->over = false;
	bw_committer_push(j->committer, &j->item);
	for (;;) {
		bw_lock(&j->lock);
		if (!j->over)
			bw_cond_wait_until(&j->cond, &j->lock, bw_now() + GLANCE_NS);
		bool over = j->over;

		err = j->err;
		bw_unlock(&j->lock);
		if (over)
			return err;
		if (signal_came(j)) {
			j->under_way = true;
			return -ECANCELED;
		}
	}
}
