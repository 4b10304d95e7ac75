/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects in a bucket of an S3 store: AWS S3, Ceph RGW, MinIO and what speaks like them.
 *
 * The parts, each with its own header: s3_http.h moves requests (one thread, all of libcurl),
 * s3_request.h turns an op into a request and an answer into an outcome, s3_sign.h signs,
 * s3_creds.h knows with what, s3_xml.h reads answers, s3_multipart.c sends large bodies in parts.
 */
#ifndef BW_STORE_S3_H
#define BW_STORE_S3_H

#include "store/store.h"

#define BW_S3_ADDRESS_MAX 64

enum bw_s3_style { BW_S3_STYLE_AUTO, BW_S3_STYLE_PATH, BW_S3_STYLE_VIRTUAL };

struct bw_s3_config {
	char endpoint[512];	/* "https://host[:port]" or, only when written so, "http://..."; "": AWS S3 of the region */
	char region[64];	/* "": us-east-1 until the store names another */
	char profile[128];	/* of the shared config files; "": default */
	bool profile_named;	/* as an option, and not by AWS_PROFILE: it goes before keys and tokens of the environment */
	char ca[4096];		/* PEM file; "": the system's */
	enum bw_s3_style style;	/* AUTO: virtual hosts without an endpoint, for a bucket whose name can stand there; else path style */
	bool no_verify_tls;
	bool unsigned_payload;	/* large bodies go unsigned over http:// too */
	unsigned connections;	/* 0: BW_S3_CONNECTIONS */
	unsigned loops;		/* threads that serve them; 0: by processors */
	uint64_t part_size;	/* bodies longer than one and a half of it go in parts; 0: BW_S3_PART */
	uint64_t parts_memory;	/* bytes of parts of all uploads at a time, but one part goes always; 0: BW_S3_PARTS_MEMORY */
	char address[BW_S3_ADDRESS_MAX];	/* connect to this IP address whatever the host resolves to; "": resolve it */
	struct bw_log *log;	/* borrowed; NULL: silent */
};

#define BW_S3_CONNECTIONS 32u
#define BW_S3_PART (UINT64_C(8) << 20)
#define BW_S3_PARTS_MEMORY (UINT64_C(128) << 20)

/*
 * What AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, AWS_REGION, AWS_DEFAULT_REGION, AWS_PROFILE and
 * AWS_CA_BUNDLE say; the rest at its default.  Options of a mount or command are set over it.
 */
void bw_s3_config_from_env(struct bw_s3_config *ret);

/*
 * Sets what a user has written for one of the names endpoint, region, profile, path_style, virtual_hosts,
 * no_verify_tls, unsigned_payload, ca; value is NULL when none was given.  0; 1: no such name; -EINVAL: not with this value, and
 * *ret_expect says what the name takes.  A relative path of a file is made absolute.
 */
int bw_s3_config_set(struct bw_s3_config *c, const char *name, const char *value,
		     const char **ret_expect) bw_must_check;

/*
 * "http://host[:port]" or "https://host[:port]", with a slash behind it or without.  No user, no password, no path:
 * an endpoint is shown in logs and command lines.
 */
bool bw_s3_endpoint_valid(const char *text);

/* Where the hosts of AWS are that belong to a region; static. */
const char *bw_aws_domain(const char *region);

/* Parts of sentences: "there is no such bucket", "create it". */
struct bw_s3_advice {
	const char *cause, *remedy;
};
/* What the detail of an op that ended badly means, and what to do about it; static.  NULL: nothing is known. */
const struct bw_s3_advice *bw_s3_advice(const char *detail);

/*
 * The IP addresses (as config.address takes them) behind a "host[:port]" that accept a connection within two
 * seconds; at most max.  0 of them when the name does not resolve: a request will say why.  Blocks.
 */
unsigned bw_s3_resolve(const char *host, const char *default_port, char (*ret)[BW_S3_ADDRESS_MAX],
		       unsigned max);
/* Of the host that requests for url go to. */
unsigned bw_s3_addresses(const struct bw_url *url, const struct bw_s3_config *config,
			 char (*ret)[BW_S3_ADDRESS_MAX], unsigned max);

/*
 * url is an s3:// one.  Starts threads, so call it after the last fork; sends nothing yet: what is wrong with
 * credentials or the bucket arrives as the outcome of a request.  -EINVAL with one sentence in why for an
 * endpoint that is no URL, a bucket name that is none, a CA file that cannot be read.
 */
int bw_store_s3_new(const struct bw_url *url, const struct bw_s3_config *config,
		    struct bw_store **ret, char *why, size_t why_len) bw_must_check;

#endif
