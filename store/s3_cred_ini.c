/* SPDX-License-Identifier: Apache-2.0 */
#include "store/s3_cred_ini.h"

#include <string.h>

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f';
}

static struct bw_ini_text trim(struct bw_ini_text t)
{
	while (t.len && is_blank(t.p[t.len - 1]))
		t.len--;
	while (t.len && is_blank(*t.p)) {
		t.p++;
		t.len--;
	}
	return t;
}

bool bw_ini_is(const struct bw_ini_text *t, const char *text)
{
	return t->p && t->len == strlen(text) && memcmp(t->p, text, t->len) == 0;
}

void bw_ini_init(struct bw_ini *i, const void *bytes, size_t len)
{
	const char *p = bytes;
	size_t bom = len >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;

	*i = (struct bw_ini){.p = p + bom, .end = p + len};
}

static bool next_line(struct bw_ini *i, struct bw_ini_text *ret)
{
	if (i->p == i->end)
		return false;
	size_t left = (size_t)(i->end - i->p);
	const char *newline = memchr(i->p, '\n', left);

	ret->p = i->p;
	ret->len = newline ? (size_t)(newline - i->p) : left;
	i->p += ret->len + (newline ? 1 : 0);
	i->line++;
	return true;
}

static int read_section(struct bw_ini *i, struct bw_ini_text text, struct bw_ini_item *ret)
{
	const char *close = memchr(text.p, ']', text.len);

	i->after_key = false;
	i->section = (struct bw_ini_text){NULL, 0};	/* keys below a broken header are nobody's */
	if (!close)
		return -BW_E_CORRUPT;
	i->section = trim((struct bw_ini_text){text.p + 1, (size_t)(close - text.p) - 1});
	*ret = (struct bw_ini_item){.key = {NULL, 0}};
	return 1;
}

static int read_key(struct bw_ini *i, struct bw_ini_text text, size_t indent, struct bw_ini_item *ret)
{
	const char *equals = memchr(text.p, '=', text.len);

	if (!equals || equals == text.p)
		return -BW_E_CORRUPT;
	i->indent = indent;
	i->after_key = true;
	ret->key = trim((struct bw_ini_text){text.p, (size_t)(equals - text.p)});
	ret->value = trim((struct bw_ini_text){equals + 1, text.len - (size_t)(equals - text.p) - 1});
	return 1;
}

int bw_ini_next(struct bw_ini *i, struct bw_ini_item *ret)
{
	struct bw_ini_text line;

	while (next_line(i, &line)) {
		struct bw_ini_text text = trim(line);
		size_t indent = (size_t)(text.p - line.p);

		if (!text.len || *text.p == '#' || *text.p == ';')
			continue;
		if (i->after_key && indent > i->indent)
			continue;
		return *text.p == '[' ? read_section(i, text, ret) : read_key(i, text, indent, ret);
	}
	return 0;
}

/* Cuts the quotes off "a name with blanks". */
static struct bw_ini_text unquote(struct bw_ini_text t)
{
	if (t.len >= 2 && (*t.p == '"' || *t.p == '\'') && t.p[t.len - 1] == *t.p) {
		t.p++;
		t.len -= 2;
	}
	return t;
}

bool bw_ini_is_profile(const struct bw_ini_text *section, bool is_config, const char *profile)
{
	static const char word[] = "profile";
	const size_t len = sizeof(word) - 1;

	if (!section->p)
		return false;
	if (!is_config)
		return bw_ini_is(section, profile);
	if (section->len > len && memcmp(section->p, word, len) == 0 && is_blank(section->p[len])) {
		struct bw_ini_text name = unquote(trim((struct bw_ini_text){section->p + len,
									    section->len - len}));
		return bw_ini_is(&name, profile);
	}
	return strcmp(profile, "default") == 0 && bw_ini_is(section, "default");
}
