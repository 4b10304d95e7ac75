/* SPDX-License-Identifier: Apache-2.0 */
#include "store/base/proc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void bw_proc_unescape(char *text)
{
	char *to = text;

	for (const char *p = text; *p; p++) {
		if (p[0] == '\\' && p[1] >= '0' && p[1] <= '3' && p[2] >= '0' && p[2] <= '7' && p[3] >= '0' &&
		    p[3] <= '7') {
			*to++ = (char)((p[1] - '0') * 64 + (p[2] - '0') * 8 + (p[3] - '0'));
			p += 3;
		} else {
			*to++ = *p;
		}
	}
	*to = 0;
}

/* "36 35 98:0 /root /mnt/dir rw - type source options"; false: not one of path.  Changes the line. */
static bool read_mount(char *line, const char *path, struct bw_proc_mount *ret)
{
	struct bw_proc_mount m;
	char *rest = line;

	if (sscanf(line, "%*d %*d %u:%u", &m.major, &m.minor) != 2)
		return false;
	for (int field = 0; field < 4; field++)
		strsep(&rest, " ");
	char *where = strsep(&rest, " "), *type = rest ? strstr(rest, " - ") : NULL;

	if (!where || !type || sscanf(type + 3, "%63s", m.type) != 1)
		return false;
	bw_proc_unescape(where);
	if (strcmp(where, path))
		return false;
	*ret = m;
	return true;
}

bool bw_proc_mount_at(const char *path, struct bw_proc_mount *ret)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char *line = NULL;
	size_t room = 0;
	bool found = false;

	if (!f)
		return false;
	/* The last one of a path hides the others. */
	while (getline(&line, &room, f) > 0)
		found |= read_mount(line, path, ret);
	free(line);
	fclose(f);
	return found;
}
