/* SPDX-License-Identifier: Apache-2.0 */
/* What an answer says about the state of the store. */
#include "store/layer.h"
#include "store/s3_request.h"

#include <stdio.h>
#include <string.h>

static bool is_one_of(const char *code, const char *const *codes)
{
	for (; *codes; codes++)
		if (strcmp(code, *codes) == 0)
			return true;
	return false;
}

/* It left, and what became of it is not known. */
static enum bw_outcome in_the_dark(enum bw_op_kind kind)
{
	return bw_op_kind_is_read(kind) ? BW_UNREACHABLE : BW_UNKNOWN;
}

/* ---- No whole answer -------------------------------------------------------------------------- */

static enum bw_outcome classify_end(enum bw_op_kind kind, const struct bw_http_request *r)
{
	switch (r->end) {
	case BW_HTTP_NOT_SENT:
		return BW_UNREACHABLE;
	case BW_HTTP_NOT_BELIEVED:
		return BW_DENIED;
	case BW_HTTP_CANCELLED:
		return BW_CANCELLED;
	case BW_HTTP_TOO_LONG:
		return bw_op_kind_is_read(kind) ? BW_CORRUPT : BW_UNKNOWN;
	case BW_HTTP_NO_MEMORY:
		return r->status ? in_the_dark(kind) : BW_UNREACHABLE;
	case BW_HTTP_LOST:
	case BW_HTTP_SLOW:
	case BW_HTTP_LATE:
	case BW_HTTP_ANSWERED:
		break;
	}
	return in_the_dark(kind);
}

/* ---- Corrections of the address --------------------------------------------------------------- */

/* In "[bucket.]s3.old-region.amazonaws.com" and the hosts for FIPS and dual stack the region is part of the host. */
static void move_aws_host(struct bw_s3_address *a, const char *region)
{
	char old[100], host[sizeof(a->host)];
	int len = snprintf(old, sizeof(old), ".%s.amazonaws.com", a->region);
	const char *at = strstr(a->host, old);

	if (!at)
		return;
	int n = snprintf(host, sizeof(host), "%.*s.%s.amazonaws.com%s", (int)(at - a->host), a->host, region,
			 at + len);

	if (n > 0 && (size_t)n < sizeof(host))
		memcpy(a->host, host, (size_t)n + 1);
}

/* The general host of AWS, which knows no buckets of regions that an account must ask for, becomes that of the region. */
static void move_general_host(struct bw_s3_address *a)
{
	static const char general[] = "s3.amazonaws.com";
	const char *at = strstr(a->host, general);
	char host[sizeof(a->host)];

	if (!at || (at != a->host && at[-1] != '.'))
		return;
	int n = snprintf(host, sizeof(host), "%.*ss3.%s.amazonaws.com%s", (int)(at - a->host), a->host, a->region,
			 at + sizeof(general) - 1);

	if (n > 0 && (size_t)n < sizeof(host))
		memcpy(a->host, host, (size_t)n + 1);
}

static bool move_region(struct bw_s3_address *a, const char *region)
{
	if (!region[0] || strcmp(region, a->region) == 0 ||
	    strspn(region, "abcdefghijklmnopqrstuvwxyz0123456789-_") != strlen(region))
		return false;
	move_aws_host(a, region);
	snprintf(a->region, sizeof(a->region), "%s", region);
	return true;
}

/* A bucket that the new host begins with is not in the path any more. */
static bool move_host(struct bw_s3_address *a, const char *host, size_t len)
{
	const char *bucket = a->bucket_path + 1;
	size_t bucket_len = a->bucket_path[0] ? strlen(bucket) : 0;

	len = bw_s3_host_len(a->scheme, host, len);
	if (!len || len >= sizeof(a->host) ||
	    strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:[]") < len)
		return false;
	if (strlen(a->host) == len && memcmp(a->host, host, len) == 0)
		return false;
	if (bucket_len && len > bucket_len + 1 && host[bucket_len] == '.' &&
	    memcmp(host, bucket, bucket_len) == 0)
		a->bucket_path[0] = 0;
	memcpy(a->host, host, len);
	a->host[len] = 0;
	return true;
}

/* Never to another scheme: what began encrypted stays so. */
static bool move_location(struct bw_s3_address *a, const char *location)
{
	size_t len = strlen(a->scheme);

	if (strncmp(location, a->scheme, len) != 0 || strncmp(location + len, "://", 3) != 0)
		return false;
	location += len + 3;
	return move_host(a, location, strcspn(location, "/?#"));
}

/* Another region, and the host that goes with it: where ours does not name its region, the one that the store names. */
static bool move_bucket(struct bw_s3_address *a, const char *region, const char *endpoint)
{
	char host[sizeof(a->host)];

	memcpy(host, a->host, sizeof(host));
	bool is_region = move_region(a, region);
	bool is_host = strcmp(host, a->host) != 0 || move_host(a, endpoint, strlen(endpoint));

	return is_region || is_host;
}

/*
 * "The ap-east-1 location constraint is incompatible for the region specific endpoint this request was sent to": so say
 * regions that an account must ask for, often without a header.  "" when the words are others.
 */
static void region_in_words(const char *message, char *ret, size_t ret_len)
{
	static const char before[] = "The ", behind[] = " location constraint";

	ret[0] = 0;
	if (strncmp(message, before, sizeof(before) - 1) != 0)
		return;
	const char *name = message + sizeof(before) - 1;
	size_t len = strcspn(name, " ");

	if (len >= ret_len || strncmp(name + len, behind, sizeof(behind) - 1) != 0)
		return;
	/* A bucket without one is in the first region of all. */
	if (len == strlen("unspecified") && strncmp(name, "unspecified", len) == 0)
		snprintf(ret, ret_len, "us-east-1");
	else
		snprintf(ret, ret_len, "%.*s", (int)len, name);
}

static bool is_moved(const struct bw_http_request *r, const struct bw_s3_error *error,
		     struct bw_s3_address *a)
{
	const char *region = r->region[0] ? r->region : error->region;
	char words[sizeof(a->region)];

	switch (r->status) {
	case 301:
	case 307:
	case 308:
		if (r->status != 301 && move_location(a, r->location)) {
			move_region(a, region);
			return true;
		}
		return move_bucket(a, region, error->endpoint) || move_location(a, r->location);
	case 400:
	case 403:
		if (strcmp(error->code, "AuthorizationHeaderMalformed") == 0)
			return move_region(a, region);
		if (strcmp(error->code, "IllegalLocationConstraintException") != 0)
			return false;
		region_in_words(error->message, words, sizeof(words));
		if (!move_region(a, *region ? region : words))
			return false;
		move_general_host(a);
		return true;
	}
	return false;
}

/* The year 9999: from the next one on no date can be signed. */
#define NO_DATE_S INT64_C(253370764800)

/*
 * Also where our clock turns out to be right: then the request was signed long before it came there, and the machine was
 * suspended meanwhile.  Signed anew it is taken.
 */
static bool is_skewed(const struct bw_http_request *r, const struct bw_s3_error *error, int64_t wall_s,
		      struct bw_s3_address *a)
{
	if (strcmp(error->code, "RequestTimeTooSkewed") != 0 || r->date_s < 0 || r->date_s >= NO_DATE_S)
		return false;
	int64_t skew_s = r->date_s - wall_s;

	if (skew_s - a->skew_s >= 2 || a->skew_s - skew_s >= 2)
		a->skew_s = skew_s;
	return true;
}

static enum bw_s3_remedy remedy_of(const struct bw_http_request *r, const struct bw_s3_error *error,
				   int64_t wall_s, struct bw_s3_address *a)
{
	/* A signature that does not match: the secret of the same key may have been replaced. */
	static const char *const expired[] = {"ExpiredToken", "ExpiredTokenException", "InvalidToken",
					      "TokenRefreshRequired", "InvalidAccessKeyId",
					      "SignatureDoesNotMatch", NULL};

	if (is_moved(r, error, a))
		return BW_S3_MOVED;
	if (is_skewed(r, error, wall_s, a))
		return BW_S3_SKEWED;
	if (is_one_of(error->code, expired))
		return BW_S3_EXPIRED;
	return strcmp(error->code, "AccessDenied") == 0 ? BW_S3_DOUBTED : BW_S3_NONE;
}

/* ---- A whole answer --------------------------------------------------------------------------- */

static enum bw_outcome classify_good(enum bw_op_kind kind, const struct bw_http_request *r)
{
	if (kind != BW_OP_GET)
		return BW_OK;
	if (r->status != 200 && r->status != 206)
		return BW_CORRUPT;
	return r->expect == SIZE_MAX || (r->blob && bw_blob_chain_len(r->blob) == r->expect) ? BW_OK : BW_CORRUPT;
}

/*
 * Only the store itself, naming the key, can say that an object is not there: a page of something between
 * us and it says nothing about the object.
 */
static enum bw_outcome classify_missing(enum bw_op_kind kind, const struct bw_s3_error *error)
{
	if (strcmp(error->code, "NoSuchBucket") == 0)
		return BW_DENIED;
	if (strcmp(error->code, "NoSuchUpload") == 0 ||
	    (strcmp(error->code, "NoSuchKey") == 0 &&
	     (kind == BW_OP_GET || kind == BW_OP_DELETE || kind == BW_OP_ABORT_UPLOAD)))
		return BW_NOT_FOUND;
	return in_the_dark(kind);
}

/* Codes that decide, whatever the status they come with.  The store says that it did nothing. */
static bool classify_code(const char *code, enum bw_outcome *ret)
{
	static const char *const throttled[] = {"SlowDown", "TooManyRequests", "Throttling",
						"ThrottlingException", "RequestLimitExceeded",
						"BandwidthLimitExceeded", NULL};
	static const char *const full[] = {"QuotaExceeded", "InsufficientCapacity", "EntityTooLarge",
					   "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", NULL};
	/* The bytes were changed or cut on their way in: the same request may be sent again. */
	static const char *const damaged[] = {"BadDigest", "InvalidDigest", "IncompleteBody",
					      "XAmzContentSHA256Mismatch", "RequestTimeout",
					      "XAmzContentChecksumMismatch", NULL};

	if (is_one_of(code, throttled))
		*ret = BW_THROTTLED;
	else if (is_one_of(code, full))
		*ret = BW_FULL;
	else if (is_one_of(code, damaged))
		*ret = BW_UNREACHABLE;
	else if (strcmp(code, "NotImplemented") == 0)
		*ret = BW_DENIED;
	else
		return false;
	return true;
}

static enum bw_outcome classify_status(enum bw_op_kind kind, bool if_absent,
				       const struct bw_http_request *r, const struct bw_s3_error *error)
{
	enum bw_outcome by_code;

	if (r->status >= 200 && r->status <= 299)
		return classify_good(kind, r);
	if (classify_code(error->code, &by_code))
		return by_code;
	switch (r->status) {
	case 404:
		return classify_missing(kind, error);
	case 412:
		return kind == BW_OP_PUT && if_absent ? BW_EXISTS : in_the_dark(kind);
	case 416:
		return kind == BW_OP_GET ? BW_CORRUPT : in_the_dark(kind);
	case 408:
	case 409:	/* of racing puts: which of them was applied is for the state to say */
		return in_the_dark(kind);
	case 413:
	case 507:
		return BW_FULL;
	case 429:
		return BW_THROTTLED;
	case 501:	/* whatever is asked for so, now or later */
		return BW_DENIED;
	}
	return r->status >= 300 && r->status <= 499 ? BW_DENIED : in_the_dark(kind);
}

enum bw_outcome bw_s3_classify(enum bw_op_kind kind, bool if_absent, const struct bw_http_request *r,
			       int64_t wall_s, struct bw_s3_address *a, struct bw_s3_error *error,
			       enum bw_s3_remedy *ret_remedy)
{
	memset(error, 0, sizeof(*error));
	*ret_remedy = BW_S3_NONE;
	if (r->end != BW_HTTP_ANSWERED)
		return classify_end(kind, r);
	if (r->error && bw_s3_error_parse(r->error->bytes, r->error->len, error) != 0)
		memset(error, 0, sizeof(*error));
	enum bw_outcome outcome = classify_status(kind, if_absent, r, error);

	if (r->status >= 300 && r->status <= 499)
		*ret_remedy = remedy_of(r, error, wall_s, a);
	return outcome;
}

int bw_s3_errno(enum bw_outcome outcome, const struct bw_http_request *r, const struct bw_s3_error *error)
{
	static const char *const quota[] = {"QuotaExceeded", "XMinioAdminBucketQuotaExceeded", NULL};

	if (r->end == BW_HTTP_NO_MEMORY)
		return -ENOMEM;
	if (outcome == BW_FULL && is_one_of(error->code, quota))
		return -EDQUOT;
	if (outcome == BW_FULL)
		return r->status == 413 || strcmp(error->code, "EntityTooLarge") == 0 ? -EFBIG : -ENOSPC;
	return 0;
}

void bw_s3_detail(const struct bw_http_request *r, const struct bw_s3_error *error, char *ret,
		  size_t ret_len)
{
	const char *id = r->request_id[0] ? r->request_id : error->request_id;

	/* A code that says nothing: of the words that come with it, the ones that somebody can act upon. */
	bool is_locked = strcmp(error->code, "InvalidRequest") == 0 && strstr(error->message, "Object Lock");

	if (r->end != BW_HTTP_ANSWERED)
		snprintf(ret, ret_len, "%s", r->detail);
	else
		snprintf(ret, ret_len, "%d%s%s%s%s%s", r->status, error->code[0] ? " " : "", error->code,
			 is_locked ? " (Object Lock)" : "", id[0] ? ", request " : "", id);
}

enum bw_outcome bw_s3_judge_completion(enum bw_outcome outcome, const char *code, bool if_absent)
{
	/* The parts are not what they were: another upload may work. */
	static const char *const anew[] = {"InvalidPart", "InvalidPartOrder", NULL};
	/* Another change of the key came between, and the store gave this one up for it. */
	static const char *const lost_race[] = {"ConditionalRequestConflict", "OperationAborted", NULL};

	if (!strcmp(code, "NoSuchUpload"))
		return BW_UNKNOWN;
	if (is_one_of(code, anew))
		return BW_UNREACHABLE;
	if (is_one_of(code, lost_race))
		return BW_THROTTLED;
	if (!strcmp(code, "PreconditionFailed") && if_absent)
		return BW_EXISTS;
	if (outcome == BW_OK)	/* a failure that came behind the status */
		return BW_UNKNOWN;
	return outcome == BW_CORRUPT || outcome == BW_NOT_FOUND ? BW_UNKNOWN : outcome;
}
