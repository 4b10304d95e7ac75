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
		{"PermanentRedirect", "set the region and the endpoint of the bucket"},
		{"AllAccessDisabled", "the account of the bucket is closed"},
		{"AccessDenied", "these credentials lack a permission; docs/object-stores.md lists what is needed"},
		{"InvalidBucketName", "the store does not take this bucket name"},
		{"NotImplemented", "the store does not have what is needed"},
	};

	/* A status alone, without a code of S3. */
	if (strcmp(detail, "404") == 0 || strcmp(detail, "405") == 0)
		return "what answers there is no S3 store: check the endpoint";
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (strstr(detail, table[i].code))
			return table[i].advice;
	return NULL;
}
