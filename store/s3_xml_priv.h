/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scanner under the readers of s3_xml.h.  Private to store/s3_xml*.c.
 *
 * A document is told as the texts of its leaves, each with its path of local names: "Error/Code".  That is
 * all that the answers of an S3 store need, and namespaces, prefixes and attributes fall away by themselves.
 */
#ifndef BW_STORE_S3_XML_PRIV_H
#define BW_STORE_S3_XML_PRIV_H

#include "store/s3_xml.h"

#define BW_XML_DEPTH_MAX 16
#define BW_XML_TEXT_MAX (8u << 10)	/* of one leaf: a key of 1,024 bytes, each written as %XX, fits */

struct bw_xml_visitor {
	/* An element that is no leaf or may become one; NULL: not of interest. */
	int (*open)(void *ctx, const char *path);
	/* Its end.  text: NUL-terminated, valid during the call; NULL when it held elements. */
	int (*close)(void *ctx, const char *path, const char *text);
	void *ctx;
};

/*
 * 0, what a visitor returned (the first that was not 0 ends the scan), -BW_E_CORRUPT for what is no
 * XML, has a document type, is nested deeper or longer than allowed, or -ENOMEM.
 */
int bw_xml_scan(const void *bytes, size_t len, const struct bw_xml_visitor *v) bw_must_check;

/* Copies text with control characters made blanks, cut off where ret ends. */
void bw_xml_copy(const char *text, char *ret, size_t ret_len);

/* "2009-10-12T17:50:30.000Z", with any number of digits behind the point, or none. */
int bw_xml_time(const char *text, int64_t *ret_ms) bw_must_check;

/* One page of a listing: items of one kind below the root, and two leaves that tell how to read them. */
struct bw_xml_page {
	const char *root, *item;	/* "ListBucketResult", "/Contents" */
	int (*field)(void *ctx, const char *name, const char *text);	/* a leaf of the item that is open */
	int (*add)(void *ctx);		/* the item that was open has ended */
	bool has_more, more, is_encoded;
};
/* What a visitor's close does. */
int bw_xml_page_close(struct bw_xml_page *p, void *ctx, const char *path, const char *text) bw_must_check;
/* Decodes key, if the page is encoded, and takes off the prefix, which it must have. */
int bw_xml_page_key(const struct bw_xml_page *p, const char *prefix, char *key) bw_must_check;
/* Replaces *ret, owned, by a copy of text, or by NULL. */
int bw_xml_keep(const char *text, char **ret) bw_must_check;
/*
 * Somebody else's objects can have names that no key of ours has: too long to be told, or with
 * control characters, or nothing at all behind the prefix (the mark that consoles make of a folder).
 */
bool bw_xml_can_be_told(const char *key);

#endif
