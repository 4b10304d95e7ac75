/* SPDX-License-Identifier: Apache-2.0 */
#include "store/s3_xml.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N(array) (sizeof(array) / sizeof((array)[0]))
#define DECL "<?xml version=\"1.0\" encoding=\"UTF-8\"?>"
#define NS " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\""

static int error_of(const char *text, struct bw_s3_error *e)
{
	memset(e, 0x55, sizeof(*e));
	return bw_s3_error_parse(text, strlen(text), e);
}

static int list_of(const char *text, const char *prefix, struct bw_listing **ret)
{
	*ret = NULL;
	return bw_s3_list_parse(text, strlen(text), prefix, ret);
}

/* ---- Errors --------------------------------------------------------------------------------- */

Test(s3_xml, error_of_aws)
{
	struct bw_s3_error e;

	cr_assert_eq(error_of(DECL "\n<Error><Code>AuthorizationHeaderMalformed</Code><Message>The "
			      "authorization header is malformed; the region 'us-east-1' is wrong; "
			      "expecting 'eu-west-1'</Message><Region>eu-west-1</Region><RequestId>"
			      "4442587FB7D0A2F9</RequestId><HostId>x/y=</HostId></Error>", &e), 0);
	cr_assert_str_eq(e.code, "AuthorizationHeaderMalformed");
	cr_assert_str_eq(e.region, "eu-west-1");
	cr_assert_str_eq(e.request_id, "4442587FB7D0A2F9");
	cr_assert_str_eq(e.endpoint, "");
	cr_assert(strstr(e.message, "expecting 'eu-west-1'"));
}

Test(s3_xml, error_of_a_moved_bucket)
{
	struct bw_s3_error e;

	cr_assert_eq(error_of(DECL "<Error><Code>PermanentRedirect</Code><Message>The bucket you are "
			      "attempting to access must be addressed using the specified endpoint."
			      "</Message><Endpoint>b.s3.eu-west-1.amazonaws.com</Endpoint><Bucket>b"
			      "</Bucket></Error>", &e), 0);
	cr_assert_str_eq(e.code, "PermanentRedirect");
	cr_assert_str_eq(e.endpoint, "b.s3.eu-west-1.amazonaws.com");
}

Test(s3_xml, error_of_rgw_has_no_message)
{
	struct bw_s3_error e;

	cr_assert_eq(error_of(DECL "<Error><Code>NoSuchKey</Code><BucketName>b</BucketName><RequestId>"
			      "tx000000b7a1-00655d0c3e-1023-default</RequestId><HostId>1023-default-"
			      "default</HostId></Error>", &e), 0);
	cr_assert_str_eq(e.code, "NoSuchKey");
	cr_assert_str_eq(e.message, "");
	cr_assert_str_eq(e.request_id, "tx000000b7a1-00655d0c3e-1023-default");
}

Test(s3_xml, error_of_minio_and_of_token_services)
{
	struct bw_s3_error e;

	cr_assert_eq(error_of(DECL "\n<Error><Code>PreconditionFailed</Code><Message>At least one of "
			      "the pre-conditions you specified did not hold</Message><Key>k</Key>"
			      "<BucketName>b</BucketName><Resource>/b/k</Resource><RequestId>17C</"
			      "RequestId><HostId>dd9</HostId></Error>", &e), 0);
	cr_assert_str_eq(e.code, "PreconditionFailed");
	cr_assert_eq(error_of("<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">"
			      "<Error><Type>Sender</Type><Code>ExpiredTokenException</Code><Message>"
			      "Token expired</Message></Error><RequestId>99</RequestId></ErrorResponse>",
			      &e), 0);
	cr_assert_str_eq(e.code, "ExpiredTokenException");
	cr_assert_str_eq(e.request_id, "99");
}

/* What goes to a log is one line and ends at a whole character. */
Test(s3_xml, error_texts_are_cut_and_cleaned)
{
	char text[2000], euros[901];
	struct bw_s3_error e;

	for (int i = 0; i < 300; i++)
		memcpy(euros + 3 * i, "\xe2\x82\xac", 4);
	snprintf(text, sizeof(text), "<Error><Code>A\nB\tC</Code><Message>%s</Message></Error>", euros);
	cr_assert_eq(error_of(text, &e), 0);
	cr_assert_str_eq(e.code, "A B C");
	cr_assert_eq(strlen(e.message), 253);
	cr_assert_str_eq(e.message + 246, "\xe2\x82\xac ...");
	snprintf(text, sizeof(text), "<Error><Message>x%s</Message></Error>", euros);
	cr_assert_eq(error_of(text, &e), 0);
	cr_assert_eq(strlen(e.message), 254);
	cr_assert_str_eq(e.message + 247, "\xe2\x82\xac ...");
}

Test(s3_xml, what_is_no_error)
{
	static const char *const bad[] = {
		"", " \n", "Not Found", "<html><body>502</body></html>", "<Error>", "<Error/><Error/>",
		"<Errors><Code>x</Code></Errors>", "<Error><Code>x</Error></Code>", "{\"a\":1}",
		"<Error><Code>&unknown;</Code></Error>", "<Error>\xff\xfe</Error>", "<Error>&#0;</Error>",
		"<!DOCTYPE Error><Error/>",
		"<!DOCTYPE Error [<!ENTITY a \"aaaa\">]><Error><Code>&a;</Code></Error>",
		"<!DOCTYPE Error SYSTEM \"file:///etc/passwd\"><Error/>",
		"<a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a/></a></a></a></a></a></a></a></a>"};
	struct bw_s3_error e, before;

	memset(&before, 0x55, sizeof(before));
	for (size_t i = 0; i < N(bad); i++) {
		cr_assert_eq(error_of(bad[i], &e), -BW_E_CORRUPT, "%s", bad[i]);
		cr_assert_eq(memcmp(&e, &before, sizeof(e)), 0, "untouched on failure");
	}
}

Test(s3_xml, answers_are_bounded)
{
	static const char head[] = "<Error><Unknown>", tail[] = "</Unknown><Code>x</Code></Error>";
	size_t len = BW_S3_XML_MAX + 1;
	char *text = malloc(len);
	struct bw_s3_error e;

	/* One byte too many, were it blanks; and one text that is longer than any that is used. */
	memset(text, ' ', len);
	memcpy(text, "<Error/>", 8);
	cr_assert_eq(bw_s3_error_parse(text, len, &e), -BW_E_CORRUPT);
	cr_assert_eq(bw_s3_error_parse(text, len - 1, &e), 0);
	memset(text, 'a', 100000);
	memcpy(text, head, sizeof(head) - 1);
	memcpy(text + 100000 - sizeof(tail) + 1, tail, sizeof(tail) - 1);
	cr_assert_eq(bw_s3_error_parse(text, 100000, &e), -BW_E_CORRUPT);
	free(text);
}

/* ---- Listings ------------------------------------------------------------------------------- */

#define ITEM(key) "<Contents><Key>" key "</Key><LastModified>2009-10-12T17:50:30.000Z</LastModified>" \
		  "<ETag>&quot;fba9dede5f27731c9771645a39863328&quot;</ETag><Size>434234</Size>" \
		  "<StorageClass>STANDARD</StorageClass></Contents>"
#define LIST(items, more) DECL "<ListBucketResult" NS "><Name>b</Name><IsTruncated>" more \
			       "</IsTruncated>" items "</ListBucketResult>"

Test(s3_xml, listing_of_aws)
{
	struct bw_listing *l;

	cr_assert_eq(list_of(DECL "\n<ListBucketResult" NS "><Name>bucket</Name><Prefix>runs/7/</Prefix>"
			     "<StartAfter>runs/7/a</StartAfter><KeyCount>2</KeyCount><MaxKeys>1000"
			     "</MaxKeys><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>"
			     "<NextContinuationToken>1ueGcxLPRx1Tr/XYExHnhbYLgveDs2J/wm36Hy4vbOwM="
			     "</NextContinuationToken>" ITEM("runs/7/a%20b%2B") ITEM("runs/7/b+c%3F")
			     "</ListBucketResult>", "runs/7/", &l), 0);
	cr_assert_eq(l->n, 2);
	cr_assert(l->more);
	cr_assert_str_eq(l->items[0].key, "a b+");
	cr_assert_str_eq(l->items[1].key, "b c?");
	cr_assert_eq(l->items[0].size, 434234);
	cr_assert_eq(l->items[0].modified_ms, INT64_C(1255369830000));
	bw_listing_free(l);
}

Test(s3_xml, listing_of_rgw)
{
	struct bw_listing *l;

	cr_assert_eq(list_of(DECL "<ListBucketResult" NS "><Name>bw</Name><Prefix></Prefix><MaxKeys>2"
			     "</MaxKeys><IsTruncated>false</IsTruncated><Contents><Key>a/1</Key>"
			     "<LastModified>2026-11-21T12:00:00.123Z</LastModified><ETag>&quot;0cc1&quot;"
			     "</ETag><Size>0</Size><StorageClass>STANDARD</StorageClass><Owner><ID>test"
			     "</ID><DisplayName>test</DisplayName></Owner><Type>Normal</Type></Contents>"
			     "<Marker></Marker></ListBucketResult>", "", &l), 0);
	cr_assert_eq(l->n, 1);
	cr_assert_not(l->more);
	cr_assert_str_eq(l->items[0].key, "a/1");
	cr_assert_eq(l->items[0].modified_ms % 1000, 123);
	bw_listing_free(l);
	cr_assert_eq(list_of(DECL "<ListBucketResult" NS "><IsTruncated>false</IsTruncated>"
			     "</ListBucketResult>", "x", &l), 0);
	cr_assert_eq(l->n, 0);
	bw_listing_free(l);
}

/* The encoding is named behind what it is the encoding of; elements carry a prefix and attributes. */
Test(s3_xml, listing_in_another_order)
{
	struct bw_listing *l;

	cr_assert_eq(list_of("\n \n" DECL "<s:ListBucketResult xmlns:s=\"http://s3.amazonaws.com/doc/"
			     "2006-03-01/\"><s:Contents x=\"y\"><s:Size>3</s:Size><s:Owner><s:Key>no"
			     "</s:Key><s:Size>7</s:Size></s:Owner><s:LastModified>1970-01-01T00:00:01Z"
			     "</s:LastModified><s:Key><![CDATA[p/]]>%41&#66;</s:Key><s:Restore><s:A>1"
			     "</s:A></s:Restore></s:Contents><s:CommonPrefixes><s:Prefix>q/</s:Prefix>"
			     "</s:CommonPrefixes><s:EncodingType>url</s:EncodingType><s:IsTruncated>false"
			     "</s:IsTruncated></s:ListBucketResult>", "p/", &l), 0);
	cr_assert_eq(l->n, 1);
	cr_assert_str_eq(l->items[0].key, "AB");
	cr_assert_eq(l->items[0].size, 3);
	cr_assert_eq(l->items[0].modified_ms, 1000);
	bw_listing_free(l);
}

Test(s3_xml, listing_is_not_decoded_unless_it_says_so)
{
	struct bw_listing *l;

	cr_assert_eq(list_of(LIST(ITEM("a%41+"), "false"), "", &l), 0);
	cr_assert_str_eq(l->items[0].key, "a%41+");
	bw_listing_free(l);
}

Test(s3_xml, listing_leaves_out_what_cannot_be_told)
{
	char text[4000], name[600];
	struct bw_listing *l;

	memset(name, 'n', sizeof(name));
	name[BW_KEY_MAX] = 0;
	snprintf(text, sizeof(text), LIST(ITEM("p/") ITEM("p/a&#10;b") ITEM("p/%s") ITEM("p/%sn")
					  ITEM("p/z"), "true"), name, name);
	cr_assert_eq(list_of(text, "p/", &l), 0);
	cr_assert_eq(l->n, 2);
	cr_assert_str_eq(l->items[0].key, name);
	cr_assert_str_eq(l->items[1].key, "z");
	cr_assert(l->more);
	bw_listing_free(l);
	/* A page of nothing else leads nowhere. */
	cr_assert_eq(list_of(LIST(ITEM("p/"), "true"), "p/", &l), -BW_E_CORRUPT);
	cr_assert_eq(list_of(LIST(ITEM("p/"), "false"), "p/", &l), 0);
	cr_assert_eq(l->n, 0);
	bw_listing_free(l);
}

Test(s3_xml, what_is_no_listing)
{
	static const char *const bad[] = {
		"<ListBucketResult/>",
		"<Error><Code>NoSuchBucket</Code></Error>",
		LIST("", "maybe"),
		LIST("", "true"),
		LIST(ITEM("p/b") ITEM("p/a"), "false"),
		LIST(ITEM("p/a") ITEM("p/a"), "false"),
		LIST(ITEM("a"), "false"),
		LIST(ITEM("P/a"), "false"),
		LIST(ITEM("p/<b/>a"), "false"),
		LIST("<EncodingType>url</EncodingType>" ITEM("p/%4"), "false"),
		LIST("<EncodingType>url</EncodingType>" ITEM("p/%zz"), "false"),
		LIST("<EncodingType>url</EncodingType>" ITEM("p/%00a"), "false"),
		LIST("<Contents><Key>p/a</Key><Size>1</Size></Contents>", "false"),
		LIST("<Contents><Key>p/a</Key><LastModified>2009-10-12T17:50:30Z</LastModified></Contents>",
		     "false"),
		LIST("<Contents><Size>1</Size><LastModified>2009-10-12T17:50:30Z</LastModified></Contents>",
		     "false"),
		LIST("<Contents><Key>p/a</Key><Size>-1</Size><LastModified>2009-10-12T17:50:30Z"
		     "</LastModified></Contents>", "false"),
		LIST("<Contents><Key>p/a</Key><Size>1</Size><LastModified>yesterday</LastModified>"
		     "</Contents>", "false"),
		LIST("<Contents><Key>p/a</Key><Size>1</Size><LastModified>2009-13-12T17:50:30Z"
		     "</LastModified></Contents>", "false"),
		LIST("<Contents><Key>p/a</Key><Size>1</Size><LastModified>2009-10-12T17:50:30+02:00"
		     "</LastModified></Contents>", "false"),
		LIST("<Contents><Key>p/a</Key><Size>1</Size><LastModified>2009-00-12T17:50:30Z"
		     "</LastModified></Contents>", "false"),
		LIST("<Contents><Key>p/a</Key><Size>1</Size><LastModified>2009-10-00T17:50:30Z"
		     "</LastModified></Contents>", "false"),
		LIST("<Contents><Key>p/a</Key><Size>1</Size><LastModified>2009-10-32T17:50:30Z"
		     "</LastModified></Contents>", "false"),
		LIST("<Contents><Key>p/a</Key><Size>1</Size><LastModified>2009-10-12T24:50:30Z"
		     "</LastModified></Contents>", "false"),
		LIST("<Contents><Key>p/a</Key><Size>1</Size><LastModified>2009-10-12T17:60:30Z"
		     "</LastModified></Contents>", "false"),
		LIST("<Contents><Key>p/a</Key><Size>1</Size><LastModified>2009-10-12T17:50:61Z"
		     "</LastModified></Contents>", "false"),
		LIST("<Contents><Key>p/a</Key><Size>1</Size><LastModified>2009-10-12T17:50:3:Z"
		     "</LastModified></Contents>", "false"),
		LIST("<Contents><Key>p/a</Key><Size>1</Size><LastModified>2009-10-12T17:50:/0Z"
		     "</LastModified></Contents>", "false"),
	};
	struct bw_listing *l;

	for (size_t i = 0; i < N(bad); i++) {
		cr_assert_eq(list_of(bad[i], "p/", &l), -BW_E_CORRUPT, "%s", bad[i]);
		cr_assert_null(l);
	}
}

Test(s3_xml, a_page_holds_a_thousand)
{
	bw_auto_buf struct bw_buf b = {.max = 0};
	struct bw_listing *l;

	for (int n = BW_LIST_PAGE_MAX; n <= BW_LIST_PAGE_MAX + 1; n++) {
		bw_buf_init(&b, 1 << 20);
		bw_buf_str(&b, "<ListBucketResult><IsTruncated>true</IsTruncated>");
		for (int i = 0; i < n; i++)
			bw_buf_fmt(&b, ITEM("k%04d"), i);
		bw_buf_str(&b, "</ListBucketResult>");
		l = NULL;
		cr_assert_eq(bw_s3_list_parse(b.bytes, b.len, "k", &l),
			     n == BW_LIST_PAGE_MAX ? 0 : -BW_E_CORRUPT);
		cr_assert(!l || (l->n == 1000 && !strcmp(l->items[999].key, "0999")));
		bw_listing_free(l);
		bw_buf_done(&b);
	}
}

/* ---- Uploads that nobody finished ----------------------------------------------------------- */

#define BEGUN(key, id)                                                                             \
	"<Upload><Key>" key "</Key><UploadId>" id "</UploadId><Initiator><ID>no</ID></Initiator>"    \
	"<Owner><ID>no</ID></Owner><StorageClass>STANDARD</StorageClass>"                            \
	"<Initiated>2009-10-12T17:50:30.250Z</Initiated></Upload>"
#define UPLOADS(items, more)                                                                       \
	DECL "<ListMultipartUploadsResult" NS "><Bucket>b</Bucket><KeyMarker></KeyMarker>"           \
	     "<NextKeyMarker>k</NextKeyMarker><MaxUploads>9</MaxUploads><IsTruncated>" more          \
	     "</IsTruncated>" items "</ListMultipartUploadsResult>"

static int uploads_of(const char *text, const char *prefix, struct bw_uploads **ret)
{
	*ret = NULL;
	return bw_s3_uploads_parse(text, strlen(text), prefix, ret);
}

Test(s3_xml, uploads)
{
	struct bw_uploads *u;

	cr_assert_eq(uploads_of(UPLOADS(BEGUN("p/b", "2~x/+=") BEGUN("p/b", "1") BEGUN("p/a", "3"), "true"),
				"p/", &u), 0);
	cr_assert_eq(u->n, 3);
	cr_assert(u->more);
	cr_assert_str_eq(u->items[0].key, "b");
	cr_assert_str_eq(u->items[0].id, "2~x/+=");
	cr_assert_eq(u->items[0].begun_ms, 1255369830250);
	cr_assert_str_eq(u->items[1].key, "b");
	cr_assert_str_eq(u->items[2].key, "a", "the order is the store's");
	bw_uploads_free(u);
	cr_assert_eq(uploads_of(UPLOADS("", "false"), "p/", &u), 0);
	cr_assert_eq(u->n, 0);
	cr_assert_not(u->more);
	bw_uploads_free(u);
	cr_assert_eq(uploads_of(UPLOADS("<EncodingType>url</EncodingType>" BEGUN("p%2Fa%2Fb", "x%2F"), "false"),
				"p/", &u), 0);
	cr_assert_str_eq(u->items[0].key, "a/b");
	cr_assert_str_eq(u->items[0].id, "x%2F", "an id is not encoded");
	bw_uploads_free(u);
	/* What no key of ours is called. */
	cr_assert_eq(uploads_of(UPLOADS(BEGUN("p/", "1") BEGUN("p/a", "2"), "false"), "p/", &u), 0);
	cr_assert_eq(u->n, 1);
	cr_assert_str_eq(u->items[0].key, "a");
	bw_uploads_free(u);
}

Test(s3_xml, what_is_no_page_of_uploads)
{
	static const char *const bad[] = {
		"<ListMultipartUploadsResult/>",
		LIST("", "false"),
		"<Error><Code>NoSuchBucket</Code></Error>",
		UPLOADS("", "maybe"),
		UPLOADS("", "true"),
		UPLOADS(BEGUN("p/", "1"), "true"),
		UPLOADS(BEGUN("q/a", "1"), "false"),
		UPLOADS(BEGUN("p/a", ""), "false"),
		UPLOADS(BEGUN("p/a", "x&#10;y"), "false"),
		UPLOADS(BEGUN("p/a", "<x/>"), "false"),
		UPLOADS("<EncodingType>url</EncodingType>" BEGUN("p/%4", "1"), "false"),
		UPLOADS("<Upload><Key>p/a</Key><UploadId>1</UploadId></Upload>", "false"),
		UPLOADS("<Upload><Key>p/a</Key><Initiated>2009-10-12T17:50:30Z</Initiated></Upload>", "false"),
		UPLOADS("<Upload><UploadId>1</UploadId><Initiated>2009-10-12T17:50:30Z</Initiated></Upload>",
			"false"),
		UPLOADS("<Upload><Key>p/a</Key><UploadId>1</UploadId><Initiated>then</Initiated></Upload>",
			"false"),
		UPLOADS(BEGUN("p/a", "1") "<Upload></Upload>", "false"),
	};
	struct bw_uploads *u;

	for (size_t i = 0; i < N(bad); i++) {
		cr_assert_eq(uploads_of(bad[i], "p/", &u), -BW_E_CORRUPT, "%s", bad[i]);
		cr_assert_null(u);
	}
}

Test(s3_xml, an_upload_id_has_a_longest)
{
	char text[3000], id[BW_UPLOAD_ID_MAX + 2];
	struct bw_uploads *u;

	memset(id, 'i', sizeof(id));
	id[BW_UPLOAD_ID_MAX + 1] = 0;
	snprintf(text, sizeof(text), UPLOADS(BEGUN("p/a", "%s"), "false"), id);
	cr_assert_eq(uploads_of(text, "p/", &u), -BW_E_CORRUPT);
	id[BW_UPLOAD_ID_MAX] = 0;
	snprintf(text, sizeof(text), UPLOADS(BEGUN("p/a", "%s"), "false"), id);
	cr_assert_eq(uploads_of(text, "p/", &u), 0);
	cr_assert_str_eq(u->items[0].id, id);
	bw_uploads_free(u);
}

/* ---- Uploads -------------------------------------------------------------------------------- */

Test(s3_xml, upload_id)
{
	static const char good[] = DECL "<InitiateMultipartUploadResult" NS "><Bucket>b</Bucket><Key>k</Key>"
					"<UploadId>2~xZy.-_A</UploadId></InitiateMultipartUploadResult>";
	static const char *const bad[] = {
		"<InitiateMultipartUploadResult><UploadId/></InitiateMultipartUploadResult>",
		"<InitiateMultipartUploadResult/>",
		"<InitiateMultipartUploadResult><UploadId>a&#10;b</UploadId></InitiateMultipartUploadResult>",
		"<InitiateMultipartUploadResult><X><UploadId>a</UploadId></X></InitiateMultipartUploadResult>",
		"<Error><UploadId>2</UploadId></Error>"};
	char id[10];

	cr_assert_eq(bw_s3_upload_id_parse(good, sizeof(good) - 1, id, sizeof(id)), 0);
	cr_assert_str_eq(id, "2~xZy.-_A");
	cr_assert_eq(bw_s3_upload_id_parse(good, sizeof(good) - 1, id, sizeof(id) - 1), -BW_E_CORRUPT);
	for (size_t i = 0; i < N(bad); i++)
		cr_assert_eq(bw_s3_upload_id_parse(bad[i], strlen(bad[i]), id, sizeof(id)), -BW_E_CORRUPT,
			     "%s", bad[i]);
}

Test(s3_xml, complete_that_is_an_error_after_all)
{
	static const char good[] = DECL "\n\n   \n<CompleteMultipartUploadResult" NS "><Location>l</Location>"
					"<Bucket>b</Bucket><Key>k</Key><ETag>&quot;3858f62230ac3c915f300c66"
					"4312c11f-9&quot;</ETag></CompleteMultipartUploadResult>";
	static const char bad[] = "\n\n" DECL "<Error><Code>InternalError</Code><Message>We encountered an "
				  "internal error. Please try again.</Message></Error>";
	struct bw_s3_error e = {.code = "before"};

	cr_assert_eq(bw_s3_complete_parse(good, sizeof(good) - 1, &e), 0);
	cr_assert_str_eq(e.code, "before");
	cr_assert_eq(bw_s3_complete_parse(bad, sizeof(bad) - 1, &e), 1);
	cr_assert_str_eq(e.code, "InternalError");
	cr_assert_eq(bw_s3_complete_parse("", 0, &e), -BW_E_CORRUPT);
	cr_assert_eq(bw_s3_complete_parse("<Other/>", 8, &e), -BW_E_CORRUPT);
	cr_assert_eq(bw_s3_complete_parse(good, sizeof(good) - 2, &e), -BW_E_CORRUPT, "cut short");
}

Test(s3_xml, complete_is_printed)
{
	char one[] = "\"a&b\"", two[] = "plain";
	char *const etags[] = {one, two};
	bw_auto_buf struct bw_buf b = {.max = 0};

	bw_buf_init(&b, 1000);
	cr_assert_eq(bw_s3_complete_print(etags, 2, &b), 0);
	cr_assert_str_eq(bw_buf_text(&b),
			 DECL "\n<CompleteMultipartUpload" NS "><Part><PartNumber>1</PartNumber><ETag>&quot;"
			 "a&amp;b&quot;</ETag></Part><Part><PartNumber>2</PartNumber><ETag>plain</ETag>"
			 "</Part></CompleteMultipartUpload>");
}

/* ---- Deletes of many ------------------------------------------------------------------------ */

#define FAILED(key, code) "<Error><Key>" key "</Key><Code>" code "</Code><Message>m</Message></Error>"

static void four(struct bw_delete_item items[4])
{
	static const char *const keys[] = {"a", "b/1", "b/2", "c"};

	for (int i = 0; i < 4; i++)
		items[i] = (struct bw_delete_item){.key = keys[i], .outcome = BW_CORRUPT};
}

Test(s3_xml, deleted_all)
{
	static const char *const good[] = {
		"<DeleteResult/>", DECL "<DeleteResult" NS "></DeleteResult>",
		"<DeleteResult><Deleted><Key>p/a</Key></Deleted><Deleted><Key>p/c</Key></Deleted></DeleteResult>",
		"<DeleteResult>" FAILED("p/c", "NoSuchKey") "</DeleteResult>"};
	struct bw_delete_item items[4];

	for (size_t i = 0; i < N(good); i++) {
		four(items);
		cr_assert_eq(bw_s3_deleted_parse(good[i], strlen(good[i]), "p/", items, 4), 0);
		for (int k = 0; k < 4; k++)
			cr_assert_eq(items[k].outcome, BW_OK);
	}
}

Test(s3_xml, deleted_some)
{
	static const char text[] = DECL "<DeleteResult" NS "><Deleted><Key>p/a</Key></Deleted>"
		FAILED("p/b/1", "AccessDenied") FAILED("p/b/2", "SlowDown") FAILED("p/c", "InternalError")
		"</DeleteResult>";
	struct bw_delete_item items[4];

	four(items);
	cr_assert_eq(bw_s3_deleted_parse(text, sizeof(text) - 1, "p/", items, 4), 0);
	cr_assert_eq(items[0].outcome, BW_OK);
	cr_assert_eq(items[1].outcome, BW_DENIED);
	cr_assert_eq(items[2].outcome, BW_THROTTLED);
	cr_assert_eq(items[3].outcome, BW_UNKNOWN);
}

Test(s3_xml, what_is_no_answer_to_a_delete)
{
	static const char *const bad[] = {
		"", "<Error><Code>MalformedXML</Code></Error>",
		"<DeleteResult>" FAILED("p/other", "AccessDenied") "</DeleteResult>",
		"<DeleteResult>" FAILED("a", "AccessDenied") "</DeleteResult>",
		"<DeleteResult><Error><Code>AccessDenied</Code></Error></DeleteResult>",
		"<DeleteResult>" FAILED("p/a", "X") FAILED("p/a", "X") FAILED("p/a", "X")
		FAILED("p/a", "X") FAILED("p/a", "X") "</DeleteResult>"};
	struct bw_delete_item items[4];

	for (size_t i = 0; i < N(bad); i++) {
		four(items);
		cr_assert_eq(bw_s3_deleted_parse(bad[i], strlen(bad[i]), "p/", items, 4), -BW_E_CORRUPT,
			     "%s", bad[i]);
		for (int k = 0; k < 4; k++)
			cr_assert_eq(items[k].outcome, BW_CORRUPT, "untouched on failure");
	}
}

Test(s3_xml, delete_is_printed)
{
	struct bw_delete_item items[4];
	bw_auto_buf struct bw_buf b = {.max = 0}, small = {.max = 0};

	four(items);
	bw_buf_init(&b, 1000);
	cr_assert_eq(bw_s3_delete_print("p<&>/", items, 2, &b), 0);
	cr_assert_str_eq(bw_buf_text(&b),
			 DECL "\n<Delete" NS "><Quiet>true</Quiet><Object><Key>p&lt;&amp;&gt;/a</Key></Object>"
			 "<Object><Key>p&lt;&amp;&gt;/b/1</Key></Object></Delete>");
	bw_buf_init(&small, 20);
	cr_assert_eq(bw_s3_delete_print("", items, 4, &small), -ENOSPC);
}
