/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shared config and credentials files: sections of "key = value" lines.  Pure; nothing is copied, texts point
 * into the file and are not NUL-terminated.
 *
 * Read as the AWS command line does: "#" and ";" begin a comment only at the start of a line; a line that is
 * indented deeper than the key above it belongs to that key's value, which is of no interest here.
 */
#ifndef BW_STORE_S3_CRED_INI_H
#define BW_STORE_S3_CRED_INI_H

#include "store/base/err.h"

#include <stdbool.h>
#include <stddef.h>

struct bw_ini_text {
	const char *p;		/* NULL: none */
	size_t len;
};
bool bw_ini_is(const struct bw_ini_text *t, const char *text);

struct bw_ini {
	const char *p, *end;
	unsigned line;			/* of the item that was read last; from 1 */
	size_t indent;			/* of the key above */
	bool after_key;
	struct bw_ini_text section;	/* between the brackets, without blanks around it */
};

struct bw_ini_item {
	struct bw_ini_text key;		/* NULL: the section itself begins */
	struct bw_ini_text value;	/* may be empty */
};

void bw_ini_init(struct bw_ini *i, const void *bytes, size_t len);
/* 1: *ret; 0: the end; -BW_E_CORRUPT: line is neither, and what follows can still be read. */
int bw_ini_next(struct bw_ini *i, struct bw_ini_item *ret) bw_must_check;

/* The profile that a section is about: [profile x] and [default] in a config file, [x] in a credentials file. */
bool bw_ini_is_profile(const struct bw_ini_text *section, bool is_config, const char *profile);

#endif
