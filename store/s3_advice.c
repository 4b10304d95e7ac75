/* SPDX-License-Identifier: Apache-2.0 */
/* What somebody can do about an answer of the store. */
#include "store/s3.h"

#include <stdlib.h>
#include <string.h>

#define SET_REGION "set the region of the bucket: --region, -o region= or AWS_REGION"
#define NOT_THERE "check the endpoint, that the store runs, firewalls, and http_proxy and https_proxy if they are set"
#define NO_S3 "what answers there is no S3 store"

struct row {
	const char *words;
	struct bw_s3_advice advice;
};

/* Codes of S3, behind a status. */
static const struct row codes[] = {
	{"NoSuchBucket", {"there is no such bucket", "create it, or check its name in the URL, the endpoint and the region"}},
	{"InvalidAccessKeyId", {"the store does not know this access key",
				"check which key is used (docs/credentials.md), and that it belongs to this endpoint"}},
	{"SignatureDoesNotMatch", {"the secret key does not belong to the access key",
				   "check how it was copied; a proxy that changes requests has the same effect"}},
	{"RequestTimeTooSkewed", {"the clock of this machine is wrong",
				  "set the clock of this machine: timedatectl set-ntp true, or chrony"}},
	{"ExpiredToken", {"the credentials have expired", "renew them where they come from"}},
	{"InvalidToken", {"the session token is not one of this access key",
			  "set AWS_SESSION_TOKEN to what came with the key, or unset it"}},
	{"AuthorizationHeaderMalformed", {"the bucket is in another region", SET_REGION}},
	{"IllegalLocationConstraintException", {"the bucket is in another region", SET_REGION}},
	{"PermanentRedirect", {"the bucket is in another region, or at another endpoint",
			       "set the region and the endpoint of the bucket"}},
	{"AllAccessDisabled", {"the account of the bucket is closed", "use a bucket of another account"}},
	{"AccessDenied", {"these credentials lack a permission", "docs/object-stores.md lists what is needed"}},
	{"InvalidBucketName", {"the store does not take this bucket name", "check it in the URL"}},
	{"(Object Lock)", {"the bucket locks whatever is put into it", "use one without a default retention"}},
	{"NotImplemented", {"the store does not have what is needed", "docs/object-stores.md lists stores that do"}},
	{"UserSuspended", {"the user of these credentials is suspended", "ask who runs the store"}},
};

/* A status alone: who answers does not speak S3, or does not know what was asked for. */
static const struct row statuses[] = {
	{"400", {NO_S3, "check the endpoint, which begins with https:// for a store that speaks TLS"}},
	{"403", {"what answers there refuses, and not as S3 does", "check the endpoint, and http_proxy if it is set"}},
	{"404", {NO_S3, "check the endpoint"}},
	{"405", {NO_S3, "check the endpoint"}},
	{"407", {"the proxy wants a password", "write it into http_proxy, or name the store's host in no_proxy"}},
	{"501", {"the store does not have what is needed", "docs/object-stores.md lists stores that do"}},
};

/* Words of ours, of curl and of OpenSSL.  What is not about the signature of the certificate goes first. */
static const struct row failures[] = {
	{"no whole page of a listing", {"what came is no listing of S3, or not all of it", "check the endpoint"}},
	{"a listing does not go on", {"asked for the next page of a listing (start-after) the store lists again what it has listed",
				      "use another store, or a release of it without this fault"}},
	{"certificate subject name", {"the certificate is for another host", "use the name it was made for as endpoint"}},
	{"certificate has expired", {"the certificate of the store has expired",
				     "renew it, or set the clock of this machine"}},
	{"certificate is not yet valid", {"the certificate of the store is not valid yet",
					  "set the clock of this machine"}},
	{"SSL certificate problem", {"the certificate of the store is not signed by a CA that is trusted here",
				     "name the file of its CA with --ca FILE, -o ca=FILE or AWS_CA_BUNDLE"}},
	{"error setting certificate", {"the CA file holds no certificate in PEM",
				       "name another with --ca FILE, -o ca=FILE or AWS_CA_BUNDLE"}},
	{"wrong version number", {"what answers there does not speak TLS",
				  "check the port of the endpoint, which has to begin with http:// for a store without"}},
	{"HTTP/0.9", {"what answers there does not speak HTTP", "check the port of the endpoint"}},
	{"resolve proxy", {"the name of the proxy is not known here", "correct http_proxy and https_proxy, or unset them"}},
	{"resolve host", {"the name of the store is not known here",
			  "check the endpoint and the region, and DNS with getent hosts NAME; a store that knows no buckets"
			  " in host names needs --path-style or -o path_style"}},
	{"CONNECT tunnel failed", {"the proxy does not let this through",
				   "name the store's host in no_proxy, or correct https_proxy"}},
	{"from proxy after CONNECT", {"the proxy does not let this through",
				      "name the store's host in no_proxy, or correct https_proxy"}},
	{"Failed to connect", {"nobody answers at that address and port", NOT_THERE}},
	{"onnection timed out", {"nobody answers at that address and port", NOT_THERE}},
	{"Resolving timed out", {"the name of the store cannot be looked up in time", "check DNS: getent hosts NAME"}},
};

#define N(table) (sizeof(table) / sizeof((table)[0]))

static const struct bw_s3_advice *find(const struct row *table, size_t n, const char *detail)
{
	for (size_t i = 0; i < n; i++)
		if (strstr(detail, table[i].words))
			return &table[i].advice;
	return NULL;
}

const struct bw_s3_advice *bw_s3_advice(const char *detail)
{
	char *end;
	long status = strtol(detail, &end, 10);

	/* What a source of credentials says tells itself what to do, and may name such codes. */
	if (status >= 100 && status <= 599 && end == detail + 3)
		return *end ? find(codes, N(codes), detail) : find(statuses, N(statuses), detail);
	return find(failures, N(failures), detail);
}
