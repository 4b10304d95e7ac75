/* SPDX-License-Identifier: Apache-2.0 */
#include "store/s3_cred_profile.h"

#include "store/base/fd.h"

#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *const key_names[] = {
#define X(name, text) text,
	BW_PROFILE_KEYS(X)
#undef X
};

/* A mount from fstab has no HOME: then the user's entry says where it is. */
static bool home(char *ret, size_t size)
{
	const char *dir = bw_cred_getenv("HOME");
	struct passwd pw, *got = NULL;
	char buf[4096];

	if (!dir && getpwuid_r(getuid(), &pw, buf, sizeof(buf), &got) == 0 && got)
		dir = got->pw_dir;
	return dir && (size_t)snprintf(ret, size, "%s", dir) < size;
}

/* True: a variable names the file.  "": there is no place for it. */
static bool find(const char *variable, const char *name, char path[PATH_MAX])
{
	const char *said = bw_cred_getenv(variable);
	char dir[PATH_MAX];
	int n = 0;

	if (said && strncmp(said, "~/", 2) != 0)
		n = snprintf(path, PATH_MAX, "%s", said);
	else if (home(dir, sizeof(dir)))
		n = snprintf(path, PATH_MAX, "%s/%s", dir, said ? said + 2 : name);
	if (n <= 0 || n >= PATH_MAX)
		path[0] = 0;
	return said;
}

/* Bytes read, or -errno; -EFBIG: more than a file may have. */
/* said: by a variable, or of a profile that somebody named. */
static int load(struct bw_cred_job *job, struct bw_profile_file *f, bool said)
{
	/* A pipe or a terminal must not hold the chain up. */
	int fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	ssize_t n = -errno;
	char text[64];

	if (fd >= 0) {
		f->bytes = bw_secret_new(BW_PROFILE_FILE_MAX + 1);
		n = f->bytes ? bw_read_all(fd, f->bytes, BW_PROFILE_FILE_MAX + 1) : -ENOMEM;
		close(fd);
	}
	if (n >= 0)
		f->len = (size_t)n;
	if (n >= 0 || n == -ENOENT || n == -ENOTDIR)
		return 0;
	/* Containers often run with somebody else's HOME, and mean nothing by it. */
	if (n == -EACCES && !said) {
		snprintf(job->note, sizeof(job->note), "%.100s may not be read", f->path);
		return 0;
	}
	if (n == -ENOMEM)
		return -ENOMEM;
	return bw_cred_fail(job, "%s cannot be read (%s): make it readable for this user or set another file",
			    f->path, n == -EFBIG ? "it is longer than 256 KiB"
						 : bw_err_text((int)n, text, sizeof(text)));
}

static int parse(struct bw_cred_job *job, struct bw_profile *p, struct bw_profile_file *f, bool is_config)
{
	struct bw_ini_item item;
	struct bw_ini ini;
	int got;

	bw_ini_init(&ini, f->bytes, f->len);
	while ((got = bw_ini_next(&ini, &item)) != 0) {
		if (!bw_ini_is_profile(&ini.section, is_config, p->name))
			continue;
		if (got < 0)
			return bw_cred_fail(job, "%s: line %u is no \"key = value\": correct it", f->path,
					    ini.line);
		p->found = true;
		for (int k = 0; item.key.p && k < BW_PROFILE_KEYS_N; k++) {
			if (bw_ini_is(&item.key, key_names[k]))
				f->values[k] = item.value;
		}
	}
	return 0;
}

static int read_file(struct bw_cred_job *job, struct bw_profile *p, int i, const char *variable,
		     const char *name)
{
	struct bw_profile_file *f = &p->files[i];
	bool said = find(variable, name, f->path);

	if (!f->path[0])
		return 0;
	bw_cred_watch(&job->watch, (unsigned)i, f->path);
	int err = load(job, f, said || p->named);

	return err || !f->bytes ? err : parse(job, p, f, i == BW_PROFILE_CONFIG);
}

int bw_profile_read(struct bw_cred_job *job, struct bw_profile *ret)
{
	const char *said = *job->profile ? job->profile : bw_cred_getenv("AWS_PROFILE");

	memset(ret, 0, sizeof(*ret));
	ret->name = said ? said : "default";
	ret->named = said;
	int err = read_file(job, ret, BW_PROFILE_CONFIG, "AWS_CONFIG_FILE", ".aws/config");

	if (!err)
		err = read_file(job, ret, BW_PROFILE_CREDENTIALS, "AWS_SHARED_CREDENTIALS_FILE",
				".aws/credentials");
	if (err)
		bw_profile_done(ret);
	return err;
}

void bw_profile_done(struct bw_profile *p)
{
	for (int i = 0; i < BW_PROFILE_FILES; i++) {
		bw_secret_free(p->files[i].bytes, BW_PROFILE_FILE_MAX + 1);
		p->files[i].bytes = NULL;
	}
}

const struct bw_ini_text *bw_profile_get(const struct bw_profile *p, enum bw_profile_key key)
{
	for (int i = BW_PROFILE_FILES - 1; i >= 0; i--) {
		if (p->files[i].values[key].len)
			return &p->files[i].values[key];
	}
	return NULL;
}

bool bw_profile_copy(const struct bw_ini_text *value, char *to, size_t size)
{
	if (value->len >= size || memchr(value->p, 0, value->len))
		return false;
	memcpy(to, value->p, value->len);
	to[value->len] = 0;
	return true;
}
