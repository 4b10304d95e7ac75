/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/memory.h"

#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/statfs.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t read_limit(const char *group, const char *file)
{
	char path[4300];
	unsigned long long v = 0;

	snprintf(path, sizeof(path), "%s/%s", group, file);
	FILE *f = fopen(path, "re");

	if (!f)
		return UINT64_MAX;
	/* "max", or what the first version of control groups says instead. */
	if (fscanf(f, "%llu", &v) != 1 || !v || v >> 62)
		v = UINT64_MAX;
	fclose(f);
	return v;
}

/* where: "/a/b", cut short on the way.  A limit may sit on any ancestor. */
static uint64_t limit_upwards(char *where, bool v2)
{
	char group[4200];
	uint64_t limit = UINT64_MAX;

	for (char *end = where + strlen(where);; end = strrchr(where, '/')) {
		*end = 0;
		snprintf(group, sizeof(group), "/sys/fs/cgroup%s%s", v2 ? "" : "/memory", where);
		if (v2) {
			limit = min_u64(limit, read_limit(group, "memory.max"));
			/* Above it every allocation of the daemon is slowed down, readers with it. */
			limit = min_u64(limit, read_limit(group, "memory.high"));
		} else {
			limit = min_u64(limit, read_limit(group, "memory.limit_in_bytes"));
		}
		if (!*where)
			return limit;
	}
}

uint64_t bw_memory_cgroup(void)
{
	char line[4096];
	uint64_t limit = UINT64_MAX;
	FILE *f = fopen("/proc/self/cgroup", "re");

	if (!f)
		return limit;
	while (fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = 0;
		char *sub = strchr(line, ':'), *where = sub ? strchr(sub + 1, ':') : NULL;

		if (!where || where[1] != '/')
			continue;
		if (where == sub + 1)
			limit = min_u64(limit, limit_upwards(where + 1, true));
		else if (strncmp(sub, ":memory:", 8) == 0)
			limit = min_u64(limit, limit_upwards(where + 1, false));
	}
	fclose(f);
	return limit;
}

uint64_t bw_memory_limit(void)
{
	return min_u64(bw_memory_cgroup(), (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE));
}

uint64_t bw_memory_default(void)
{
	uint64_t share = bw_memory_limit() / 4;

	if (share < 64 * MIB)
		return 64 * MIB;
	return min_u64(share, 4096 * MIB);
}

bool bw_memory_is_dir(const char *dir)
{
	struct statfs fs;

	return statfs(dir, &fs) == 0 && (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC);
}
