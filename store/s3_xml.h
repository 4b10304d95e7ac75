/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The XML answers of an S3 store, read with expat, and the two XML bodies it is sent.  Pure.
 *
 * Each reader takes whole answers of bounded length, ignores what it does not know (stores add elements and
 * namespaces), refuses document types and entities, and returns -BW_E_CORRUPT for what is no such answer.
 */
#ifndef BW_STORE_S3_XML_H
#define BW_STORE_S3_XML_H

#include "store/base/buf.h"
#include "store/store.h"

#define BW_S3_XML_MAX (8u << 20)	/* longer answers are CORRUPT: 1,000 keys of 1,024 bytes fit */

/* <Error>.  What is missing is "". */
struct bw_s3_error {
	char code[64];		/* "NoSuchKey" */
	char message[256];
	char region[64];	/* of AuthorizationHeaderMalformed and PermanentRedirect */
	char endpoint[256];
	char request_id[80];
};
int bw_s3_error_parse(const void *bytes, size_t len, struct bw_s3_error *ret) bw_must_check;

/*
 * <ListBucketResult>: keys with prefix cut off their front (keys that lack it: CORRUPT), ascending as the store
 * sent them (not ascending: CORRUPT).  encoding-type=url is undone.
 */
int bw_s3_list_parse(const void *bytes, size_t len, const char *prefix, struct bw_listing **ret)
	bw_must_check;

/*
 * <ListMultipartUploadsResult>: the same of uploads, in the order of the store; several may have one key.  An id
 * longer than BW_UPLOAD_ID_MAX, or with control characters, is CORRUPT.
 */
int bw_s3_uploads_parse(const void *bytes, size_t len, const char *prefix, struct bw_uploads **ret)
	bw_must_check;

/* <InitiateMultipartUploadResult>: the upload id. */
int bw_s3_upload_id_parse(const void *bytes, size_t len, char *ret, size_t ret_len) bw_must_check;

/* A 200 answer to CompleteMultipartUpload: 0, or 1 and *ret when it is an <Error> after all. */
int bw_s3_complete_parse(const void *bytes, size_t len, struct bw_s3_error *ret) bw_must_check;

/* <DeleteResult>: sets the outcome of each item (those not named failed are OK). */
int bw_s3_deleted_parse(const void *bytes, size_t len, const char *prefix, struct bw_delete_item *items,
			size_t n) bw_must_check;

/* <Delete>, quiet, for n items; and <CompleteMultipartUpload> for n parts, numbered from 1. */
int bw_s3_delete_print(const char *prefix, const struct bw_delete_item *items, size_t n,
		       struct bw_buf *out) bw_must_check;
int bw_s3_complete_print(char *const *etags, size_t n, struct bw_buf *out) bw_must_check;

#endif
