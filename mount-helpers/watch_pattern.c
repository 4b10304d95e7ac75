/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any other trainer: pattern:NAME[/PATH].
 *
 * NAME is the name of a checkpoint, a file or a directory, with {step} where its number stands and * for
 * anything else that varies.  PATH is a file in it that the trainer writes last; without one, being there
 * under that name is the mark, as with trainers that rename.
 */
#include "mount-helpers/watch.h"

#include <string.h>

#define STEP "{step}"
#define NAME_MAX_BYTES 255u

/* p, up to end, against name; * matches as little as it can. */
static bool match(const char *p, const char *end, const char *name, uint64_t *ret)
{
	while (p < end) {
		if (*p == '*') {
			do {
				if (match(p + 1, end, name, ret))
					return true;
			} while (*name++);
			return false;
		}
		if ((size_t)(end - p) >= sizeof(STEP) - 1 && !strncmp(p, STEP, sizeof(STEP) - 1)) {
			if (!bw_watch_digits(&name, ret))
				return false;
			p += sizeof(STEP) - 1;
		} else if (*p++ != *name++) {
			return false;
		}
	}
	return !*name;
}

static const char *name_end(const char *arg)
{
	const char *slash = strchr(arg, '/');

	return slash ? slash : arg + strlen(arg);
}

static bool arg_ok(const char *arg)
{
	const char *end = name_end(arg), *first = strstr(arg, STEP);
	unsigned stars = 0;

	for (const char *p = arg; p < end; p++)
		stars += *p == '*';
	if (!first || first > end || (size_t)(end - arg) > NAME_MAX_BYTES || stars > 4)
		return false;
	/* One number, and a path that leads somewhere below. */
	return !strstr(first + 1, STEP) && strcmp(end, "/") != 0 && !strstr(end, "//") &&
	       !strstr(end, "/..") && !bw_watch_ends(end, "/");
}

static bool step(const char *arg, const char *name, bool is_dir, uint64_t *ret)
{
	return *name != '.' && (is_dir || !*name_end(arg)) && match(arg, name_end(arg), name, ret);
}

static void judge(const char *arg, const struct bw_watch_snapshot *s, const struct bw_watch_item *item,
		  struct bw_watch_verdict *v)
{
	const char *path = name_end(arg);

	(void)s;
	if (!bw_watch_whole(item, v))
		return;
	if (*path && !bw_watch_file(item, path + 1))
		bw_watch_say(v, BW_WATCH_TORN, "there is no %s", path + 1);
	else if (!*path && !item->self.is_dir && !item->self.size)
		bw_watch_say(v, BW_WATCH_TORN, "it is empty");
}

const struct bw_watch_format bw_watch_pattern = {
	.name = "pattern", .step = step, .scan = bw_watch_scan_of, .judge = judge, .arg_ok = arg_ok,
};
