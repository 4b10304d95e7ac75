/* SPDX-License-Identifier: Apache-2.0 */
/* The addresses behind a store's name, and what is said about answers. */
#include "store/s3.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Somebody who accepts connections on 127.0.0.1; *ret_port is theirs. */
static int listen_here(unsigned *ret_port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	cr_assert_geq(fd, 0);
	cr_assert_eq(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	cr_assert_eq(listen(fd, 8), 0);
	cr_assert_eq(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	*ret_port = ntohs(a.sin_port);
	return fd;
}

Test(s3_resolve, only_addresses_that_answer)
{
	char found[4][BW_S3_ADDRESS_MAX], host[64], port_text[8];
	unsigned port;
	int fd = listen_here(&port);

	snprintf(host, sizeof(host), "127.0.0.1:%u", port);
	cr_assert_eq(bw_s3_resolve(host, "1", found, 4), 1);
	cr_assert_str_eq(found[0], "127.0.0.1");
	cr_assert_eq(bw_s3_resolve(host, "1", found, 0), 0);
	snprintf(port_text, sizeof(port_text), "%u", port);
	cr_assert_eq(bw_s3_resolve("127.0.0.1", port_text, found, 4), 1, "the port goes without saying");
	cr_assert_geq(bw_s3_resolve("localhost", port_text, found, 4), 1);
	snprintf(host, sizeof(host), "[::1]:%u", port);
	cr_assert_eq(bw_s3_resolve(host, "1", found, 4), 0, "nobody is there");
	close(fd);
	snprintf(host, sizeof(host), "127.0.0.1:%u", port);
	cr_assert_eq(bw_s3_resolve(host, "1", found, 4), 0);
}

Test(s3_resolve, what_is_no_host_has_no_addresses)
{
	static const char *const bad[] = {"", ":80", "[", "[::1", "no-such-host.invalid", "h:99999999", "a:b"};
	char found[2][BW_S3_ADDRESS_MAX];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_assert_eq(bw_s3_resolve(bad[i], "80", found, 2), 0, "%s", bad[i]);
}

Test(s3_resolve, of_the_host_that_requests_go_to)
{
	struct bw_s3_config c = {.style = BW_S3_STYLE_AUTO};
	struct bw_url url = {.scheme = BW_URL_S3, .path = "bucket/prefix"};
	char found[2][BW_S3_ADDRESS_MAX];
	unsigned port;
	int fd = listen_here(&port);

	snprintf(c.endpoint, sizeof(c.endpoint), "http://127.0.0.1:%u", port);
	cr_assert_eq(bw_s3_addresses(&url, &c, found, 2), 1);
	cr_assert_str_eq(found[0], "127.0.0.1");
	snprintf(url.path, sizeof(url.path), "no bucket");
	cr_assert_eq(bw_s3_addresses(&url, &c, found, 2), 0);
	close(fd);
}

static const char *cause(const char *detail)
{
	const struct bw_s3_advice *advice = bw_s3_advice(detail);

	cr_assert(!advice || (*advice->cause && *advice->remedy));
	return advice ? advice->cause : "";
}

Test(s3_resolve, advice_goes_by_the_code_in_the_detail)
{
	cr_assert_str_eq(cause("403 SignatureDoesNotMatch, request tx1"), "the secret key does not belong to the access key");
	cr_assert_str_eq(cause("404"), "what answers there is no S3 store");
	cr_assert_str_eq(cause("407"), "the proxy wants a password");
	cr_assert_str_eq(cause("400 IllegalLocationConstraintException"), "the bucket is in another region");
	static const char *const nothing[] = {"400 InvalidRequest, request tx1", "", "503", "500 InternalError, request tx1",
					      "404 NoSuchKey", "403, request tx1", "part 404 has no ETag"};

	for (size_t i = 0; i < sizeof(nothing) / sizeof(nothing[0]); i++)
		cr_assert_null(bw_s3_advice(nothing[i]), "%s", nothing[i]);
}

/* Of curl, whose words for one thing differ by release. */
Test(s3_resolve, advice_where_nobody_answered)
{
	static const char *const cases[][2] = {
		{"Could not resolve host: bucket.s3.example.com", "the name of the store is not known here"},
		{"Couldn't resolve host name", "the name of the store is not known here"},
		{"Could not resolve proxy: nowhere", "the name of the proxy is not known here"},
		{"Failed to connect to 127.0.0.1 port 1 after 0 ms: Couldn't connect to server",
		 "nobody answers at that address and port"},
		{"Connection timed out after 3001 milliseconds", "nobody answers at that address and port"},
		{"SSL connection timed out", "nobody answers at that address and port"},
		{"CONNECT tunnel failed, response 403", "the proxy does not let this through"},
		{"Received HTTP code 403 from proxy after CONNECT", "the proxy does not let this through"},
		{"Received HTTP/0.9 when not allowed", "what answers there does not speak HTTP"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		cr_assert_str_eq(cause(cases[i][0]), cases[i][1], "%s", cases[i][0]);
}

/* A source of credentials says itself what to do, and other codes than the store's may be in it. */
Test(s3_resolve, no_advice_about_credentials)
{
	cr_assert_null(bw_s3_advice("STS at https://sts.example.com refuses the role with AccessDenied (no): correct AWS_ROLE_ARN"));
	cr_assert_null(bw_s3_advice("profile \"ExpiredToken\" is neither in a nor in b: add it or name another"));
}
