/* SPDX-License-Identifier: Apache-2.0 */
#include "store/base/path.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

char *bw_path_absolute(const char *path)
{
	char here[PATH_MAX], *whole;

	if (*path == '/')
		return strdup(path);
	if (!getcwd(here, sizeof(here)) || asprintf(&whole, "%s/%s", here, path) < 0)
		return NULL;
	return whole;
}
