/* SPDX-License-Identifier: Apache-2.0 */
#include "store/base/proc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* In place: blanks, tabs, newlines and backslashes of what people named are \ and three octal digits in mountinfo. */
static void unescape(char *text)
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

/* "36 35 98:0 /root /mnt/dir rw - type source options" */
bool bw_proc_mount_read(char *line, struct bw_proc_mount *ret)
{
	enum { ID, PARENT, DEVICE, ROOT, WHERE, FIELDS };
	char *field[FIELDS], *rest = line;

	for (int i = 0; i < FIELDS; i++)
		field[i] = strsep(&rest, " ");
	rest = rest ? strstr(rest, " - ") : NULL;
	if (!rest || sscanf(field[DEVICE], "%u:%u", &ret->major, &ret->minor) != 2)
		return false;
	rest += strlen(" - ");
	char *type = strsep(&rest, " "), *source = strsep(&rest, " \n");

	if (!source)
		return false;
	unescape(field[WHERE]);
	unescape(source);
	ret->id = field[ID];
	ret->where = field[WHERE];
	ret->type = type;
	ret->source = source;
	return true;
}

bool bw_proc_mount_at(const char *path, unsigned *ret_major, unsigned *ret_minor)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	struct bw_proc_mount m;
	char *line = NULL;
	size_t room = 0;
	bool found = false;

	if (!f)
		return false;
	while (getline(&line, &room, f) > 0) {
		if (!bw_proc_mount_read(line, &m) || strcmp(m.where, path))
			continue;
		found = true;	/* the last one of a path hides the others */
		*ret_major = m.major;
		*ret_minor = m.minor;
	}
	free(line);
	fclose(f);
	return found;
}
