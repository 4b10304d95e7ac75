/* SPDX-License-Identifier: Apache-2.0 */
#include "store/s3_cred_source.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int bw_cred_fail(struct bw_cred_job *job, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	bw_cut_at_word(job->why, sizeof(job->why), vsnprintf(job->why, sizeof(job->why), fmt, ap));
	va_end(ap);
	/* Parts of it may come from a server. */
	for (char *p = job->why; *p; p++) {
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = ' ';
	}
	return -BW_E_DENIED;
}

int bw_cred_away(const struct bw_cred_job *job)
{
	return job->before ? -BW_E_UNREACHABLE : -BW_E_DENIED;
}

bool bw_cred_stopped(const struct bw_cred_job *job, int wait_ms)
{
	struct pollfd fd = {.fd = job->stop_fd, .events = POLLIN};

	return poll(&fd, 1, wait_ms) > 0;
}

const char *bw_cred_getenv(const char *name)
{
	const char *value = getenv(name);

	return value && *value ? value : NULL;
}

/* Printable and without blanks, as all credentials are: a line break would end a header field. */
static int copy(struct bw_cred_job *job, const char *where, const char *what, const char *value,
		char *to, size_t size)
{
	size_t len = strlen(value);

	if (len >= size)
		return bw_cred_fail(job, "%s: the %s is %zu bytes long, more than %zu: check it", where,
				    what, len, size - 1);
	for (size_t i = 0; i < len; i++) {
		if (value[i] <= 0x20 || value[i] >= 0x7f)
			return bw_cred_fail(job, "%s: the %s holds a blank or a character that no key has:"
					    " check how it was copied", where, what);
	}
	memcpy(to, value, len + 1);
	return 0;
}

int bw_cred_set(struct bw_cred_job *job, const char *where, const char *key_id, const char *secret,
		const char *token, struct bw_creds *out)
{
	if (!*key_id || !*secret)
		return bw_cred_fail(job, "%s: the %s is empty: set it", where,
				    *key_id ? "secret access key" : "access key id");
	if (copy(job, where, "access key id", key_id, out->key_id, sizeof(out->key_id)) < 0 ||
	    copy(job, where, "secret access key", secret, out->secret, sizeof(out->secret)) < 0 ||
	    copy(job, where, "session token", token, out->token, sizeof(out->token)) < 0)
		return -BW_E_DENIED;
	return 1;
}

static void look(struct bw_cred_file *f)
{
	struct stat st;

	f->there = stat(f->path, &st) == 0;
	if (!f->there)
		return;
	f->dev = st.st_dev;
	f->ino = st.st_ino;
	f->size = st.st_size;
	f->mtime = st.st_mtim;
}

void bw_cred_watch(struct bw_cred_watch *w, unsigned i, const char *path)
{
	struct bw_cred_file *f = &w->files[i];

	memset(f, 0, sizeof(*f));
	snprintf(f->path, sizeof(f->path), "%s", path);
	look(f);
}

static bool changed(const struct bw_cred_file *f)
{
	struct bw_cred_file now;

	memset(&now, 0, sizeof(now));
	memcpy(now.path, f->path, sizeof(now.path));
	look(&now);
	return now.there != f->there || now.dev != f->dev || now.ino != f->ino || now.size != f->size ||
	       now.mtime.tv_sec != f->mtime.tv_sec || now.mtime.tv_nsec != f->mtime.tv_nsec;
}

bool bw_cred_watch_changed(const struct bw_cred_watch *w)
{
	for (unsigned i = 0; i < BW_CRED_WATCHED; i++) {
		if (w->files[i].path[0] && changed(&w->files[i]))
			return true;
	}
	return false;
}
