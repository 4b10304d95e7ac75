/* SPDX-License-Identifier: Apache-2.0 */
#include "store/s3.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const variables[] = {
	"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE",
	"AWS_CA_BUNDLE",
};

static void clear(void)
{
	for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++)
		unsetenv(variables[i]);
}

TestSuite(s3_config, .init = clear);

static struct bw_s3_config from_env(void)
{
	struct bw_s3_config c;

	memset(&c, 0xee, sizeof(c));
	bw_s3_config_from_env(&c);
	return c;
}

Test(s3_config, an_empty_environment_leaves_defaults)
{
	struct bw_s3_config c = from_env();

	cr_assert_str_empty(c.endpoint);
	cr_assert_str_empty(c.region);
	cr_assert_str_empty(c.profile);
	cr_assert_str_empty(c.ca);
	cr_assert_str_empty(c.address);
	cr_assert_eq(c.style, BW_S3_STYLE_AUTO);
	cr_assert_not(c.no_verify_tls);
	cr_assert_not(c.unsigned_payload);
	cr_assert_eq(c.connections, 0);
	cr_assert_eq(c.part_size, 0);
	cr_assert_null(c.log);
}

Test(s3_config, the_environment_is_read_and_the_special_name_wins)
{
	setenv("AWS_ENDPOINT_URL", "https://all.example", 1);
	setenv("AWS_DEFAULT_REGION", "eu-west-1", 1);
	setenv("AWS_PROFILE", "train", 1);
	setenv("AWS_CA_BUNDLE", "/etc/ca.pem", 1);
	struct bw_s3_config c = from_env();

	cr_assert_str_eq(c.endpoint, "https://all.example");
	cr_assert_str_eq(c.region, "eu-west-1");
	cr_assert_str_eq(c.profile, "train");
	cr_assert_not(c.profile_named);
	cr_assert_str_eq(c.ca, "/etc/ca.pem");
	setenv("AWS_ENDPOINT_URL_S3", "http://s3.example:9000", 1);
	setenv("AWS_REGION", "eu-north-1", 1);
	c = from_env();
	cr_assert_str_eq(c.endpoint, "http://s3.example:9000");
	cr_assert_str_eq(c.region, "eu-north-1");
	setenv("AWS_ENDPOINT_URL_S3", "", 1);
	setenv("AWS_REGION", "", 1);
	c = from_env();
	cr_assert_str_eq(c.endpoint, "https://all.example", "empty is not set");
	cr_assert_str_eq(c.region, "eu-west-1");
}

Test(s3_config, a_variable_that_is_too_long_does_no_harm)
{
	char text[9000];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++)
		setenv(variables[i], text, 1);
	struct bw_s3_config c = from_env();

	cr_assert_eq(strlen(c.endpoint), sizeof(c.endpoint) - 1);
	cr_assert_eq(strlen(c.region), sizeof(c.region) - 1);
	cr_assert_eq(strlen(c.profile), sizeof(c.profile) - 1);
	cr_assert_eq(strlen(c.ca), sizeof(c.ca) - 1);
}

Test(s3_config, what_a_user_writes_is_set_over_it)
{
	const char *expect = NULL;

	setenv("AWS_ENDPOINT_URL_S3", "http://s3.example:9000", 1);
	struct bw_s3_config c = from_env();

	cr_assert_eq(bw_s3_config_set(&c, "endpoint", "http://127.0.0.1:7480", &expect), 0);
	cr_assert_eq(bw_s3_config_set(&c, "region", "default", &expect), 0);
	cr_assert_eq(bw_s3_config_set(&c, "profile", "two words", &expect), 0);
	cr_assert_eq(bw_s3_config_set(&c, "ca", "/a/b.pem", &expect), 0);
	cr_assert_eq(bw_s3_config_set(&c, "path_style", NULL, &expect), 0);
	cr_assert_eq(bw_s3_config_set(&c, "no_verify_tls", NULL, &expect), 0);
	cr_assert_eq(bw_s3_config_set(&c, "unsigned_payload", NULL, &expect), 0);
	cr_assert_str_eq(c.endpoint, "http://127.0.0.1:7480");
	cr_assert_str_eq(c.region, "default");
	cr_assert_str_eq(c.profile, "two words");
	cr_assert(c.profile_named);
	cr_assert_str_eq(c.ca, "/a/b.pem");
	cr_assert_eq(c.style, BW_S3_STYLE_PATH);
	cr_assert(c.no_verify_tls);
	cr_assert(c.unsigned_payload);
	cr_assert_eq(bw_s3_config_set(&c, "virtual_hosts", NULL, &expect), 0);
	cr_assert_eq(c.style, BW_S3_STYLE_VIRTUAL, "the last one counts");
	cr_assert_eq(bw_s3_config_set(&c, "secret", "x", &expect), 1);
	cr_assert_eq(bw_s3_config_set(&c, "address", "x", &expect), 1, "no option");
}

Test(s3_config, a_relative_file_is_found_after_the_daemon_has_left)
{
	char dir[] = "/tmp/bw-config-XXXXXX", expected[64];
	const char *expect = NULL;

	cr_assert_not_null(mkdtemp(dir));
	cr_assert_eq(chdir(dir), 0);
	FILE *f = fopen("ca.pem", "w");

	cr_assert_not_null(f);
	fclose(f);
	setenv("AWS_CA_BUNDLE", "ca.pem", 1);
	struct bw_s3_config c = from_env();

	snprintf(expected, sizeof(expected), "%s/ca.pem", dir);
	cr_assert_str_eq(c.ca, expected);
	c.ca[0] = 0;
	cr_assert_eq(bw_s3_config_set(&c, "ca", "./ca.pem", &expect), 0);
	cr_assert_str_eq(c.ca, expected);
	unlink("ca.pem");
	rmdir(dir);
	cr_assert_eq(bw_s3_config_set(&c, "ca", "gone.pem", &expect), 0);
	cr_assert_str_eq(c.ca, "gone.pem", "whoever reads it says that it is missing");
}

Test(s3_config, values_that_cannot_be_are_refused_and_change_nothing)
{
	static const struct {
		const char *name, *value;
	} bad[] = {
		{"endpoint", NULL}, {"endpoint", ""}, {"endpoint", "minio:9000"}, {"region", NULL},
		{"region", ""}, {"region", "eu west"}, {"region", "eu/west"}, {"region", "a\nb"},
		{"profile", NULL}, {"profile", ""}, {"profile", "a\tb"}, {"ca", NULL}, {"ca", ""},
		{"path_style", "yes"}, {"path_style", ""}, {"no_verify_tls", "0"}, {"unsigned_payload", "yes"},
		{"virtual_hosts", "1"},
	};
	struct bw_s3_config before = from_env(), c = before;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		const char *expect = NULL;

		cr_assert_eq(bw_s3_config_set(&c, bad[i].name, bad[i].value, &expect), -EINVAL, "%zu", i);
		cr_assert_not_null(expect);
		cr_assert_str_not_empty(expect);
		cr_assert_arr_eq(&c, &before, sizeof(c));
	}
}

Test(s3_config, S7_an_endpoint_is_a_scheme_a_host_and_a_port)
{
	static const char *const good[] = {
		"http://h", "https://h", "http://h/", "http://127.0.0.1:7480", "https://s3.example.com:443/",
		"http://[::1]:9000", "http://[fe80::1]", "https://my-store.example", "http://a_b:1",
		"http://h:65535",
	};
	static const char *const bad[] = {
		"", "h", "http:", "http://", "http:///", "https://:80", "http://h:", "http://h:0",
		"http://h:65536", "http://h:99999999999", "http://h:8x", "http://h/base", "http://h//",
		"http://key:secret@h", "http://key@h", "http://h?x=1", "http://h#x", "ftp://h", "HTTP://h",
		"http://h h", "http://[]", "http://[::1", "http://[::1]x", "http://h\n", " http://h",
		"http://h%41", "s3://h", "http://[::1%25eth0]",
	};

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		cr_assert(bw_s3_endpoint_valid(good[i]), "%s", good[i]);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_assert_not(bw_s3_endpoint_valid(bad[i]), "%s", bad[i]);
}
