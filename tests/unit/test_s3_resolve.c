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

Test(s3_resolve, advice_goes_by_the_code_in_the_detail)
{
	cr_assert_str_eq(bw_s3_advice("403 SignatureDoesNotMatch, request tx1"),
			 "the secret key does not belong to the access key");
	cr_assert_str_eq(bw_s3_advice("404"), "what answers there is no S3 store: check the endpoint");
	cr_assert_str_eq(bw_s3_advice("400 IllegalLocationConstraintException"), "set the region of the bucket");
	cr_assert_null(bw_s3_advice("400 InvalidRequest, request tx1"));
	cr_assert_null(bw_s3_advice(""));
	cr_assert_null(bw_s3_advice("503"));
	cr_assert_null(bw_s3_advice("500 InternalError, request tx1"));
}
