/* SPDX-License-Identifier: Apache-2.0 */
/* Where a configuration comes from: the environment, then what a user has written. */
#include "store/s3.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_alnum(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* [host] or a name or an IPv4 address.  Returns what follows it, or NULL. */
static const char *skip_host(const char *p)
{
	const char *start = p;

	if (*p == '[') {
		p++;
		while (is_alnum(*p) || *p == ':' || *p == '.')
			p++;
		return *p == ']' && p > start + 2 ? p + 1 : NULL;
	}
	while (is_alnum(*p) || *p == '.' || *p == '-' || *p == '_')
		p++;
	return p > start ? p : NULL;
}

bool bw_s3_endpoint_valid(const char *text)
{
	unsigned port = 0;
	const char *p = NULL;

	if (strncmp(text, "http://", 7) == 0)
		p = skip_host(text + 7);
	else if (strncmp(text, "https://", 8) == 0)
		p = skip_host(text + 8);
	if (!p)
		return false;
	if (*p == ':') {
		for (p++; *p >= '0' && *p <= '9' && port <= 65535; p++)
			port = port * 10 + (unsigned)(*p - '0');
		if (!port || port > 65535)
			return false;
	}
	if (*p == '/')
		p++;
	return !*p;
}

static int set_text(const char *value, char *ret, size_t len)
{
	if (!value || !*value || strlen(value) >= len)
		return -EINVAL;
	for (const char *p = value; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			return -EINVAL;
	memcpy(ret, value, strlen(value) + 1);
	return 0;
}

/* It goes into host names and signatures. */
static int set_region(const char *value, char *ret, size_t len)
{
	for (const char *p = value ? value : ""; *p; p++)
		if (!is_alnum(*p) && *p != '-' && *p != '_')
			return -EINVAL;
	return set_text(value, ret, len);
}

/* A daemon leaves the directory it was started in, and reads the file later. */
static int set_file(const char *value, char *ret, size_t len)
{
	char real[PATH_MAX];

	if (value && *value && *value != '/' && realpath(value, real))
		value = real;
	return set_text(value, ret, len);
}

static int set_flag(const char *value, bool *ret)
{
	if (value)
		return -EINVAL;
	*ret = true;
	return 0;
}

static int set_style(const char *value, enum bw_s3_style style, enum bw_s3_style *ret)
{
	if (value)
		return -EINVAL;
	*ret = style;
	return 0;
}

int bw_s3_config_set(struct bw_s3_config *c, const char *name, const char *value,
		     const char **ret_expect)
{
	int err;

	if (strcmp(name, "endpoint") == 0) {
		*ret_expect = "http://host[:port] or https://host[:port] without user, password and path";
		return value && bw_s3_endpoint_valid(value) ?
			       set_text(value, c->endpoint, sizeof(c->endpoint)) : -EINVAL;
	}
	if (strcmp(name, "region") == 0) {
		*ret_expect = "the name of a region such as eu-west-1";
		return set_region(value, c->region, sizeof(c->region));
	}
	if (strcmp(name, "profile") == 0) {
		*ret_expect = "the name of a profile of the shared config files";
		err = set_text(value, c->profile, sizeof(c->profile));
		c->profile_named |= !err;
		return err;
	}
	if (strcmp(name, "ca") == 0) {
		*ret_expect = "a file with certificates";
		return set_file(value, c->ca, sizeof(c->ca));
	}
	*ret_expect = "no value";
	if (strcmp(name, "no_verify_tls") == 0)
		return set_flag(value, &c->no_verify_tls);
	if (strcmp(name, "unsigned_payload") == 0)
		return set_flag(value, &c->unsigned_payload);
	if (strcmp(name, "path_style") == 0)
		return set_style(value, BW_S3_STYLE_PATH, &c->style);
	if (strcmp(name, "virtual_hosts") == 0)
		return set_style(value, BW_S3_STYLE_VIRTUAL, &c->style);
	return 1;
}

/* The first of the variables that is set and not empty. */
static const char *first_of(const char *one, const char *two)
{
	const char *value = getenv(one);

	if ((!value || !*value) && two)
		value = getenv(two);
	return value && *value ? value : NULL;
}

/* What does not fit is kept as far as it does: it is refused, with a reason, when the store is opened. */
static void take(const char *value, char *ret, size_t len)
{
	if (value)
		snprintf(ret, len, "%s", value);
}

void bw_s3_config_from_env(struct bw_s3_config *ret)
{
	struct bw_s3_config c = {.style = BW_S3_STYLE_AUTO};
	const char *ca = first_of("AWS_CA_BUNDLE", NULL);

	take(first_of("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"), c.endpoint, sizeof(c.endpoint));
	take(first_of("AWS_REGION", "AWS_DEFAULT_REGION"), c.region, sizeof(c.region));
	take(first_of("AWS_PROFILE", NULL), c.profile, sizeof(c.profile));
	if (ca && set_file(ca, c.ca, sizeof(c.ca)))
		take(ca, c.ca, sizeof(c.ca));
	*ret = c;
}
