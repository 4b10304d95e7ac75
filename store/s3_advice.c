/* SPDX-License-Identifier: Apache-2.0 */
/* What somebody can do about an answer of the store. */
#include "store/s3.h"

#include <string.h>

const char *bw_s3_advice(const char *detail)
{
	static const struct {
		const char *code, *advice;
	} table[] = {
		{"NoSuchBucket", "there is no such bucket: create it, or check URL, endpoint and region"},
		{"InvalidAccessKeyId", "the store does not know this access key"},
		{"SignatureDoesNotMatch", "the secret key does not belong to the access key"},
		{"RequestTimeTooSkewed", "set the clock of this machine"},
		{"ExpiredToken", "the credentials have expired"},
		{"AuthorizationHeaderMalformed", "set the region of the bucket"},
		{"IllegalLocationConstraintException", "set the region of the bucket"},
		{"PermanentRedirect", "set the region and the endpoint of the bucket"},
		{"AllAccessDisabled", "the account of the bucket is closed"},
		{"AccessDenied", "these credentials lack a permission; docs/object-stores.md lists what is needed"},
		{"InvalidBucketName", "the store does not take this bucket name"},
		{"(Object Lock)", "the bucket locks whatever is put into it: use one without a default retention"},
		{"NotImplemented", "the store does not have what is needed"},
		{"UserSuspended", "the user of these credentials is suspended"},
		{"no whole page of a listing", "what came is no listing of S3, or not all of it"},
		{"a listing does not go on", "asked for the next page of a listing (start-after) the store lists again what"
					     " it has listed"},
		/* Words of curl and OpenSSL.  What is not about the signature of the certificate goes first. */
		{"certificate subject name", "the certificate is for another host: use the name it was made for as"
					     " endpoint"},
		{"certificate has expired", "the certificate of the store has expired: renew it, or set the clock of"
					    " this machine"},
		{"certificate is not yet valid", "set the clock of this machine"},
		{"SSL certificate problem", "the certificate of the store is not signed by a CA that is trusted here:"
					    " name the file of its CA with ca=FILE or AWS_CA_BUNDLE"},
		{"error setting certificate", "the CA file holds no certificate in PEM"},
		{"wrong version number", "what answers there does not speak TLS: check the port of the endpoint, which"
					 " has to begin with http:// for a store without"},
	};

	/* A status alone, without a code of S3. */
	if (strcmp(detail, "404") == 0 || strcmp(detail, "405") == 0)
		return "what answers there is no S3 store: check the endpoint";
	if (strcmp(detail, "501") == 0)
		return "the store does not have what is needed";
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (strstr(detail, table[i].code))
			return table[i].advice;
	return NULL;
}
