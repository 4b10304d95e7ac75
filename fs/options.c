/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/options.h"

#include "store/base/clock.h"
#include "store/base/limits.h"
#include "store/base/parse.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void bw_mount_options_default(struct bw_mount_options *o)
{
	*o = (struct bw_mount_options){
		.io_timeout_ns = 60 * BW_SEC,
		.commit_timeout_ns = 300 * BW_SEC,
		.prefetch = 2,
		.prefetch_most = 8,
		.uid = getuid(),
		.gid = getgid(),
		.loglevel = BW_LOG_INFO,
	};
	bw_s3_config_from_env(&o->s3);
	mode_t mask = umask(0);

	umask(mask);
	o->umask = mask;
}

/* What mount(8) knows and other programs put into the list; it means nothing here or is the kernel's business. */
static bool is_dropped(const char *name)
{
	static const char *const dropped[] = {
		"dev", "nodev", "suid", "nosuid", "exec", "noexec", "sync", "async", "dirsync",
		"atime", "noatime", "diratime", "nodiratime", "relatime", "norelatime", "strictatime", "nostrictatime",
		"lazytime", "nolazytime", "mand", "nomand", "iversion", "noiversion", "silent", "loud",
		"symfollow", "nosymfollow",
		"defaults", "auto", "noauto", "nofail", "_netdev", "comment", "helper", "uhelper",
		"user", "nouser", "users", "nousers", "owner", "noowner", "group", "nogroup",
		"default_permissions",
	};

	if (strncmp(name, "x-", 2) == 0 || strncmp(name, "X-", 2) == 0)
		return true;
	for (size_t i = 0; i < sizeof(dropped) / sizeof(dropped[0]); i++)
		if (strcmp(name, dropped[i]) == 0)
			return true;
	return false;
}

static int set_octal(const char *value, mode_t *ret)
{
	mode_t v = 0;

	if (!*value)
		return -EINVAL;
	for (; *value; value++) {
		if (*value < '0' || *value > '7')
			return -EINVAL;
		v = v * 8 + (mode_t)(*value - '0');
		if (v > 0777)
			return -EINVAL;
	}
	*ret = v;
	return 0;
}

static int set_u32(const char *value, uint32_t max, uint32_t *ret)
{
	uint64_t v;

	if (bw_parse_u64(value, max, &v))
		return -EINVAL;
	*ret = (uint32_t)v;
	return 0;
}

static int set_path(const char *value, char *ret, size_t len)
{
	if (!*value || strlen(value) >= len)
		return -EINVAL;
	memcpy(ret, value, strlen(value) + 1);
	return 0;
}

static int set_timeout(const char *value, int64_t *ret)
{
	int64_t ns;

	if (bw_parse_duration(value, &ns) || ns <= 0)
		return -EINVAL;
	*ret = ns;
	return 0;
}

/* 1: not a flag.  0: set. */
static int set_flag(struct bw_mount_options *o, const char *name)
{
	if (strcmp(name, "ro") == 0)
		o->ro = true;
	else if (strcmp(name, "rw") == 0)
		o->ro = false;		/* the last one counts, as with mount(8) */
	else if (strcmp(name, "allow_other") == 0)
		o->allow_other = true;
	else if (strcmp(name, "gc") == 0)
		o->gc = true;
	else if (strcmp(name, "foreground") == 0)
		o->foreground = true;
	else if (strcmp(name, "debug") == 0)
		o->debug = o->foreground = true;
	else
		return 1;
	return 0;
}

static int set_direct_io(const char *value, enum bw_once_mode *ret)
{
	static const char *const modes[] = {[BW_ONCE_AUTO] = "auto", [BW_ONCE_ALWAYS] = "yes", [BW_ONCE_NEVER] = "no"};

	for (unsigned i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
		if (strcmp(value, modes[i]) == 0) {
			*ret = (enum bw_once_mode)i;
			return 0;
		}
	return -EINVAL;
}

/* 1: unknown.  -EINVAL: known, but not with this value; *ret_expect says what it takes. */
static int set_value(struct bw_mount_options *o, const char *name, const char *value,
		     const char **ret_expect)
{
	uint32_t id = 0;

	*ret_expect = "a time such as 30, 5m or 2h";
	if (strcmp(name, "wait") == 0)
		return bw_parse_duration(value, &o->wait_ns);
	if (strcmp(name, "io_timeout") == 0)
		return set_timeout(value, &o->io_timeout_ns);
	if (strcmp(name, "commit_timeout") == 0)
		return set_timeout(value, &o->commit_timeout_ns);
	*ret_expect = "close or rename";
	if (strcmp(name, "commit") == 0) {
		if (strcmp(value, "close") && strcmp(value, "rename"))
			return -EINVAL;
		o->commit = *value == 'c' ? BW_COMMIT_CLOSE : BW_COMMIT_RENAME;
		return 0;
	}
	*ret_expect = "auto, yes or no";
	if (strcmp(name, "direct_io") == 0)
		return set_direct_io(value, &o->direct_io);
	*ret_expect = "a whole number";
	if (strcmp(name, "pending") == 0)
		return set_u32(value, BW_PENDING_MAX, &o->pending);
	if (strcmp(name, "prefetch") == 0) {
		o->prefetch_most = 0;	/* as many as were asked for */
		return set_u32(value, 64, &o->prefetch);
	}
	if (strcmp(name, "uid") == 0 || strcmp(name, "gid") == 0) {
		if (set_u32(value, UINT32_MAX - 1, &id))
			return -EINVAL;
		*(*name == 'u' ? &o->uid : &o->gid) = id;
		return 0;
	}
	*ret_expect = "a size of 16M or more, such as 512M or 2G";
	if (strcmp(name, "memory") == 0)
		return bw_parse_size(value, &o->memory) || o->memory < 16u << 20 ? -EINVAL : 0;
	if (strcmp(name, "cache_size") == 0)
		return bw_parse_size(value, &o->cache_size) || o->cache_size < 16u << 20 ? -EINVAL : 0;
	*ret_expect = "an octal mode such as 022";
	if (strcmp(name, "umask") == 0)
		return set_octal(value, &o->umask);
	*ret_expect = "a path";
	if (strcmp(name, "staging") == 0)
		return set_path(value, o->staging, sizeof(o->staging));
	*ret_expect = "an absolute path";
	if (strcmp(name, "cache") == 0)
		return *value == '/' ? set_path(value, o->cache, sizeof(o->cache)) : -EINVAL;
	*ret_expect = "a file, syslog or stderr";
	if (strcmp(name, "log") == 0)
		return set_path(value, o->log, sizeof(o->log));
	*ret_expect = "error, warn, info or debug";
	if (strcmp(name, "loglevel") == 0)
		return bw_log_level_parse(value, &o->loglevel);
	return 1;
}

/* 1: not one of these.  The rest as set_value(). */
static int set_s3(struct bw_mount_options *o, const char *name, const char *value,
		  const char **ret_expect)
{
	int err = bw_s3_config_set(&o->s3, name, value, ret_expect);

	if (!err)
		snprintf(o->s3_option, sizeof(o->s3_option), "%s", name);
	return err;
}

/* What was written for an endpoint may hold a password: it is not repeated. */
static int say_bad(const char *name, const char *expect, const char *value, char *why, size_t why_len)
{
	if (strchr(value, '@'))
		snprintf(why, why_len, "option %s takes %s", name, expect);
	else
		snprintf(why, why_len, "option %s takes %s, not \"%s\"", name, expect, value);
	return -EINVAL;
}

static int parse_one(struct bw_mount_options *o, char *text, char *why, size_t why_len)
{
	char *value = strchr(text, '=');
	const char *expect;

	if (value)
		*value++ = 0;
	if (strcmp(text, "view") == 0)
		return bw_views_add(&o->views, value ? value : "", why, why_len);
	if (!value && set_flag(o, text) == 0)
		return 0;
	if (is_dropped(text))
		return 0;
	int err = set_s3(o, text, value, &expect);
	if (err == 1)
		err = set_value(o, text, value ? value : "", &expect);
	if (!err)
		return 0;
	if (strcmp(text, "remount") == 0) {
		snprintf(why, why_len, "options of a mount cannot be changed: umount it and mount it again");
		return -EINVAL;
	}
	if (err != 1)
		return say_bad(text, expect, value ? value : "", why, why_len);
	snprintf(why, why_len, "unknown option: %s", text);
	return -EINVAL;
}

int bw_mount_options_parse(struct bw_mount_options *o, const char *list, char *why, size_t why_len)
{
	char *copy = strdup(list), *at = copy, *one;
	int err = 0;

	if (!copy) {
		snprintf(why, why_len, "out of memory");
		return -ENOMEM;
	}
	while (!err && (one = strsep(&at, ",")))
		if (*one)
			err = parse_one(o, one, why, why_len);
	free(copy);
	return err;
}
