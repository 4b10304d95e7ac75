/* SPDX-License-Identifier: Apache-2.0 */
#include "store/store.h"

#include <stdio.h>
#include <string.h>

static bool has_control(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			return true;
	return false;
}

/* "." and ".." mean one thing to a directory and another to a bucket; neither is needed. */
static bool has_dot_segment(const char *path)
{
	for (;;) {
		size_t len = strcspn(path, "/");
		if ((len == 1 && path[0] == '.') || (len == 2 && path[0] == '.' && path[1] == '.'))
			return true;
		if (!path[len])
			return false;
		path += len + 1;
	}
}

static int parse_scheme(const char *text, struct bw_url *url, const char **ret_path, char *why,
			size_t why_len)
{
	const char *end = strstr(text, "://");

	if (!end && text[0] == '/')
		return bw_refuse(why, why_len, "put file:// before the path of a directory: "
					       "file:///data/run1");
	if (!end)
		return bw_refuse(why, why_len, "a store URL begins with file:// or s3://, "
					       "for example file:///data/run1");
	size_t len = (size_t)(end - text);

	if (len == 4 && memcmp(text, "file", 4) == 0)
		url->scheme = BW_URL_FILE;
	else if (len == 2 && memcmp(text, "s3", 2) == 0)
		url->scheme = BW_URL_S3;
	else
		return bw_refuse(why, why_len, "unknown scheme %.*s://; use file:// or s3://",
				 len < 16 ? (int)len : 16, text);
	*ret_path = end + 3;
	return 0;
}

int bw_url_parse(const char *text, struct bw_url *ret, char *why, size_t why_len)
{
	struct bw_url url;
	const char *path = "";

	if (has_control(text))
		return bw_refuse(why, why_len, "remove the control characters from the URL");
	int err = parse_scheme(text, &url, &path, why, why_len);
	if (err)
		return err;
	size_t len = strlen(path);

	while (len && path[len - 1] == '/')
		len--;
	if (len >= sizeof(url.path))
		return bw_refuse(why, why_len, "the path in the URL is longer than %zu bytes; use a "
					       "shorter one", sizeof(url.path) - 1);
	memcpy(url.path, path, len);
	url.path[len] = 0;
	if (url.scheme == BW_URL_FILE && url.path[0] != '/')
		return bw_refuse(why, why_len, "file:// needs the absolute path of a directory: "
					       "file:///data/run1");
	if (url.scheme == BW_URL_S3 && (!len || url.path[0] == '/'))
		return bw_refuse(why, why_len, "name a bucket: s3://bucket or s3://bucket/prefix");
	if (has_dot_segment(url.path))
		return bw_refuse(why, why_len, "write the path of the URL without . and .. segments");
	*ret = url;
	return 0;
}

bool bw_url_is_s3(const char *text)
{
	return strncmp(text, "s3://", 5) == 0;
}
