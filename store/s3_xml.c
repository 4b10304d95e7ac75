/* SPDX-License-Identifier: Apache-2.0 */
#include "store/s3_xml_priv.h"

#include <assert.h>
#include <expat.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#define PATH_MAX_LEN 255

struct scan {
	XML_Parser parser;
	const struct bw_xml_visitor *v;
	char path[PATH_MAX_LEN + 1];	/* local names joined by slashes */
	size_t path_len;
	unsigned depth;
	bool is_leaf;		/* no element was opened within the one that is open */
	struct bw_buf text;
	int err;
};

static void stop(struct scan *s, int err)
{
	if (s->err)
		return;
	s->err = err;
	XML_StopParser(s->parser, XML_FALSE);
}

static void on_open(void *ctx, const XML_Char *name, const XML_Char **attributes)
{
	struct scan *s = ctx;
	const char *colon = strrchr(name, ':');
	const char *local = colon ? colon + 1 : name;
	size_t len = strlen(local);

	(void)attributes;
	if (s->depth == BW_XML_DEPTH_MAX || len + 1 > PATH_MAX_LEN - s->path_len) {
		stop(s, -BW_E_CORRUPT);
		return;
	}
	if (s->depth++)
		s->path[s->path_len++] = '/';
	memcpy(s->path + s->path_len, local, len + 1);
	s->path_len += len;
	s->is_leaf = true;
	bw_buf_reset(&s->text);
	int err = s->v->open ? s->v->open(s->v->ctx, s->path) : 0;
	if (err)
		stop(s, err);
}

static void on_close(void *ctx, const XML_Char *name)
{
	struct scan *s = ctx;

	(void)name;
	if (s->err)
		return;
	int err = s->v->close(s->v->ctx, s->path, s->is_leaf ? bw_buf_text(&s->text) : NULL);
	if (err)
		stop(s, err);
	char *slash = strrchr(s->path, '/');

	s->path_len = slash ? (size_t)(slash - s->path) : 0;
	s->path[s->path_len] = 0;
	s->depth--;
	s->is_leaf = false;
}

static void on_text(void *ctx, const XML_Char *text, int len)
{
	struct scan *s = ctx;

	if (s->err || !s->is_leaf)
		return;
	bw_buf_add(&s->text, text, (size_t)len);
	int err = bw_buf_err(&s->text);
	if (err)
		stop(s, err == -ENOSPC ? -BW_E_CORRUPT : err);
}

/* Entities can only be declared in a document type, and no answer of a store has one. */
static void on_doctype(void *ctx, const XML_Char *name, const XML_Char *system_id,
		       const XML_Char *public_id, int has_internal)
{
	(void)name, (void)system_id, (void)public_id, (void)has_internal;
	stop(ctx, -BW_E_CORRUPT);
}

/* Stores keep a connection busy with blanks while they work, some in front of the declaration. */
static void skip_blanks(const char **bytes, size_t *len)
{
	while (*len && strchr(" \t\r\n", **bytes) && **bytes) {
		++*bytes;
		--*len;
	}
}

int bw_xml_scan(const void *bytes, size_t len, const struct bw_xml_visitor *v)
{
	struct scan s = {.v = v};
	const char *p = bytes;

	if (len > BW_S3_XML_MAX)
		return -BW_E_CORRUPT;
	skip_blanks(&p, &len);
	if (!len)
		return -BW_E_CORRUPT;
	s.parser = XML_ParserCreate("UTF-8");
	if (!s.parser)
		return -ENOMEM;
	bw_buf_init(&s.text, BW_XML_TEXT_MAX);
	XML_SetUserData(s.parser, &s);
	XML_SetElementHandler(s.parser, on_open, on_close);
	XML_SetCharacterDataHandler(s.parser, on_text);
	XML_SetStartDoctypeDeclHandler(s.parser, on_doctype);
	if (XML_Parse(s.parser, p, (int)len, XML_TRUE) != XML_STATUS_OK && !s.err)
		s.err = XML_GetErrorCode(s.parser) == XML_ERROR_NO_MEMORY ? -ENOMEM : -BW_E_CORRUPT;
	bw_buf_done(&s.text);
	XML_ParserFree(s.parser);
	return s.err;
}

void bw_xml_copy(const char *text, char *ret, size_t ret_len)
{
	size_t i;

	for (i = 0; text[i] && i + 1 < ret_len; i++)
		ret[i] = (unsigned char)text[i] < 0x20 || text[i] == 0x7f ? ' ' : text[i];
	while (text[i] && i && ((unsigned char)text[i] & 0xc0) == 0x80)
		i--;	/* not within a character */
	ret[i] = 0;
}

static bool has_root(const char *path, const char *root)
{
	size_t len = strlen(root);

	return strncmp(path, root, len) == 0 && (path[len] == '/' || !path[len]);
}

/* ---- Errors --------------------------------------------------------------------------------- */

/* The error proper: of S3, or within the envelope that the token services put around it. */
static const char *error_field(const char *path)
{
	if (strncmp(path, "ErrorResponse/", 14) == 0)
		path += 14;
	if (strncmp(path, "Error/", 6) == 0)
		path += 6;
	return path;
}

/* Read by people. */
static void copy_message(const char *text, struct bw_s3_error *e)
{
	size_t len = strlen(text);

	bw_xml_copy(text, e->message, sizeof(e->message));
	bw_cut_at_word(e->message, sizeof(e->message), len < INT_MAX ? (int)len : INT_MAX);
}

static int error_close(void *ctx, const char *path, const char *text)
{
	struct bw_s3_error *e = ctx;

	if (!has_root(path, "Error") && !has_root(path, "ErrorResponse"))
		return -BW_E_CORRUPT;
	const char *field = error_field(path);

	if (!text)
		return 0;
	if (!strcmp(field, "Code"))
		bw_xml_copy(text, e->code, sizeof(e->code));
	else if (!strcmp(field, "Message"))
		copy_message(text, e);
	else if (!strcmp(field, "Region"))
		bw_xml_copy(text, e->region, sizeof(e->region));
	else if (!strcmp(field, "Endpoint"))
		bw_xml_copy(text, e->endpoint, sizeof(e->endpoint));
	else if (!strcmp(field, "RequestId"))
		bw_xml_copy(text, e->request_id, sizeof(e->request_id));
	return 0;
}

int bw_s3_error_parse(const void *bytes, size_t len, struct bw_s3_error *ret)
{
	struct bw_s3_error e = {.code = ""};
	struct bw_xml_visitor v = {.close = error_close, .ctx = &e};
	int err = bw_xml_scan(bytes, len, &v);

	if (!err)
		*ret = e;
	return err;
}

/* ---- Uploads in parts ----------------------------------------------------------------------- */

struct text_of {
	const char *root;
	const char *path;
	char *ret;
	size_t ret_len;
	bool found;
};

static int text_close(void *ctx, const char *path, const char *text)
{
	struct text_of *t = ctx;

	if (!has_root(path, t->root))
		return -BW_E_CORRUPT;
	if (strcmp(path, t->path) != 0)
		return 0;
	if (!text || !*text || t->found || strlen(text) >= t->ret_len)
		return -BW_E_CORRUPT;
	for (const char *p = text; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			return -BW_E_CORRUPT;
	memcpy(t->ret, text, strlen(text) + 1);
	t->found = true;
	return 0;
}

int bw_s3_upload_id_parse(const void *bytes, size_t len, char *ret, size_t ret_len)
{
	struct text_of t = {.root = "InitiateMultipartUploadResult",
			    .path = "InitiateMultipartUploadResult/UploadId",
			    .ret = ret,
			    .ret_len = ret_len};
	struct bw_xml_visitor v = {.close = text_close, .ctx = &t};
	int err = bw_xml_scan(bytes, len, &v);

	return !err && !t.found ? -BW_E_CORRUPT : err;
}

struct completed {
	struct bw_s3_error error;
	bool failed;
};

static int complete_close(void *ctx, const char *path, const char *text)
{
	struct completed *c = ctx;

	if (has_root(path, "CompleteMultipartUploadResult"))
		return 0;
	c->failed = true;
	return error_close(&c->error, path, text);
}

int bw_s3_complete_parse(const void *bytes, size_t len, struct bw_s3_error *ret)
{
	struct completed c = {.failed = false};
	struct bw_xml_visitor v = {.close = complete_close, .ctx = &c};
	int err = bw_xml_scan(bytes, len, &v);

	if (err)
		return err;
	if (c.failed)
		*ret = c.error;
	return c.failed;
}

/* ---- Deletes of many ------------------------------------------------------------------------ */

struct deleted {
	const char *prefix;
	const struct bw_delete_item *items;
	size_t n, errors_n;
	char key[BW_XML_TEXT_MAX + 1], code[64];	/* of the <Error> that is open */
	enum bw_outcome outcomes[BW_DELETE_MANY_MAX];
};

static bool is_one_of(const char *code, const char *const *codes)
{
	for (; *codes; codes++)
		if (!strcmp(code, *codes))
			return true;
	return false;
}

/* A key that the store could not delete; what it does not say has to be taken for the worst. */
static enum bw_outcome outcome_of(const char *code)
{
	static const char *const gone[] = {"NoSuchKey", "NoSuchVersion", NULL};
	static const char *const refused[] = {"AccessDenied", "AllAccessDisabled", "MethodNotAllowed",
					      "ObjectLocked", "InvalidObjectState", NULL};
	static const char *const slower[] = {"SlowDown", "ServiceUnavailable", "TooManyRequests",
					     "OperationAborted", NULL};

	if (is_one_of(code, gone))
		return BW_OK;
	if (is_one_of(code, refused))
		return BW_DENIED;
	return is_one_of(code, slower) ? BW_THROTTLED : BW_UNKNOWN;
}

static int deleted_failed(struct deleted *d)
{
	size_t len = strlen(d->prefix);
	bool found = false;

	if (strncmp(d->key, d->prefix, len) != 0 || ++d->errors_n > d->n)
		return -BW_E_CORRUPT;
	for (size_t i = 0; i < d->n; i++) {
		if (strcmp(d->items[i].key, d->key + len) != 0)
			continue;
		d->outcomes[i] = outcome_of(d->code);
		found = true;
	}
	return found ? 0 : -BW_E_CORRUPT;	/* which of ours did it mean? */
}

static int deleted_open(void *ctx, const char *path)
{
	struct deleted *d = ctx;

	if (!strcmp(path, "DeleteResult/Error"))
		d->key[0] = d->code[0] = 0;
	return 0;
}

static int deleted_close(void *ctx, const char *path, const char *text)
{
	struct deleted *d = ctx;

	if (!has_root(path, "DeleteResult"))
		return -BW_E_CORRUPT;
	if (!strcmp(path, "DeleteResult/Error"))
		return deleted_failed(d);
	if (!text)
		return 0;
	if (!strcmp(path, "DeleteResult/Error/Key"))
		memcpy(d->key, text, strlen(text) + 1);
	else if (!strcmp(path, "DeleteResult/Error/Code"))
		bw_xml_copy(text, d->code, sizeof(d->code));
	return 0;
}

int bw_s3_deleted_parse(const void *bytes, size_t len, const char *prefix, struct bw_delete_item *items,
			size_t n)
{
	struct deleted d = {.prefix = prefix, .items = items, .n = n};
	struct bw_xml_visitor v = {.open = deleted_open, .close = deleted_close, .ctx = &d};

	assert(n <= BW_DELETE_MANY_MAX);
	int err = bw_xml_scan(bytes, len, &v);
	if (err)
		return err;
	for (size_t i = 0; i < n; i++)
		items[i].outcome = d.outcomes[i];
	return 0;
}

/* ---- What is sent --------------------------------------------------------------------------- */

#define DECLARATION "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
#define NAMESPACE " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\""

static void print_text(struct bw_buf *out, const char *text)
{
	for (; *text; text++) {
		switch (*text) {
		case '&':
			bw_buf_str(out, "&amp;");
			break;
		case '<':
			bw_buf_str(out, "&lt;");
			break;
		case '>':
			bw_buf_str(out, "&gt;");
			break;
		case '"':
			bw_buf_str(out, "&quot;");
			break;
		default:
			bw_buf_add(out, text, 1);
		}
	}
}

int bw_s3_delete_print(const char *prefix, const struct bw_delete_item *items, size_t n,
		       struct bw_buf *out)
{
	bw_buf_str(out, DECLARATION "<Delete" NAMESPACE "><Quiet>true</Quiet>");
	for (size_t i = 0; i < n; i++) {
		bw_buf_str(out, "<Object><Key>");
		print_text(out, prefix);
		print_text(out, items[i].key);
		bw_buf_str(out, "</Key></Object>");
	}
	bw_buf_str(out, "</Delete>");
	return bw_buf_err(out);
}

int bw_s3_complete_print(char *const *etags, size_t n, struct bw_buf *out)
{
	bw_buf_str(out, DECLARATION "<CompleteMultipartUpload" NAMESPACE ">");
	for (size_t i = 0; i < n; i++) {
		bw_buf_fmt(out, "<Part><PartNumber>%zu</PartNumber><ETag>", i + 1);
		print_text(out, etags[i]);
		bw_buf_str(out, "</ETag></Part>");
	}
	bw_buf_str(out, "</CompleteMultipartUpload>");
	return bw_buf_err(out);
}
