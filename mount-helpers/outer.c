/* SPDX-License-Identifier: Apache-2.0 */
#include "mount-helpers/outer.h"

#include "manifest/destroy.h"
#include "mount-helpers/session.h"
#include "store/base/fd.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PLACES_MAX 32

/* Read as it is: opening a directory as a store may change what lies in it. */
static bool file_has(const char *dir)
{
	char path[PATH_MAX + sizeof(BW_STREAM_KEY) + 1], json[BW_STREAM_JSON_MAX + 1];
	struct bw_stream s;

	snprintf(path, sizeof(path), "%s/" BW_STREAM_KEY, dir);
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return false;
	ssize_t n = bw_read_all(fd, json, sizeof(json));

	close(fd);
	int err = n < 0 ? (int)n : bw_stream_decode(json, (size_t)n, &s);

	return !err || err == -BW_E_FORMAT_NEWER;
}

/* 1, 0 or an error.  Who may not read there, or finds something else of that name, has found no stream. */
static int bucket_has(const struct bw_url *place, const struct bw_s3_config *s3, char *why, size_t why_len)
{
	const struct bw_store_config config = {.s3 = s3};
	struct bw_store *store;
	char id[33];
	int err = bw_store_open(place, &config, &store, why, why_len);

	if (err)
		return err;
	err = bw_stream_id(store, bw_session_deadline(), id, why, why_len);
	bw_store_free(store);
	if (err == -BW_E_NO_STREAM || err == -BW_E_DENIED || err == -BW_E_CORRUPT)
		return 0;
	return !err || err == -BW_E_FORMAT_NEWER ? 1 : err;
}

/* False: there is nothing above. */
static bool go_up(char *path)
{
	char *slash = strrchr(path, '/');

	while (slash && slash > path && slash[-1] == '/')
		slash--;
	if (!slash || slash == path)
		return false;
	*slash = 0;
	return true;
}

int bw_outer_refuse(const char *url, const struct bw_s3_config *s3, char *why, size_t why_len)
{
	struct bw_url place;
	int has = 0;

	why[0] = 0;
	if (bw_url_parse(url, &place, why, why_len)) {
		why[0] = 0;	/* who opens it says so */
		return 0;
	}
	bool is_file = place.scheme == BW_URL_FILE;

	if (is_file && file_has(place.path))
		return 0;
	for (int i = 0; i < PLACES_MAX && !has && go_up(place.path); i++)
		has = is_file ? file_has(place.path) : bucket_has(&place, s3, why, why_len);
	if (has < 0)
		return has;
	why[0] = 0;
	if (!has)
		return 0;
	snprintf(why, why_len, "this place is inside the stream at %s://%s; create the new one beside that, not below it",
		 is_file ? "file" : "s3", place.path);
	return -BW_E_FOREIGN;
}
