/* SPDX-License-Identifier: Apache-2.0 */
#include "mount-helpers/top.h"

#include <stdio.h>
#include <string.h>

#define DEPTH_MAX 16
#define PATH_LEN 512

struct walk {
	const char *p, *end;
	bw_top_json_value *value;
	void *ctx;
	char path[PATH_LEN];	/* cut where it is too long */
};

static void skip_blanks(struct walk *w)
{
	while (w->p < w->end && (*w->p == ' ' || *w->p == '\t' || *w->p == '\n' || *w->p == '\r'))
		w->p++;
}

static bool take(struct walk *w, char c)
{
	skip_blanks(w);
	if (w->p == w->end || *w->p != c)
		return false;
	w->p++;
	return true;
}

/* With its quotes. */
static int take_text(struct walk *w, const char **ret, size_t *ret_len)
{
	const char *from = w->p;

	if (!take(w, '"'))
		return -EINVAL;
	from = w->p - 1;
	while (w->p < w->end && *w->p != '"') {
		if ((unsigned char)*w->p < 0x20)
			return -EINVAL;
		w->p += *w->p == '\\' ? 2 : 1;
	}
	if (w->p >= w->end)
		return -EINVAL;
	w->p++;
	*ret = from;
	*ret_len = (size_t)(w->p - from);
	return 0;
}

/* A number, true, false or null: judged by whoever wants it. */
static int take_word(struct walk *w, const char **ret, size_t *ret_len)
{
	const char *from = w->p;

	while (w->p < w->end && (strchr("+-.", *w->p) || (*w->p >= '0' && *w->p <= '9') ||
				 (*w->p >= 'a' && *w->p <= 'z') || *w->p == 'E') && *w->p)
		w->p++;
	*ret = from;
	*ret_len = (size_t)(w->p - from);
	return *ret_len ? 0 : -EINVAL;
}

static int walk_value(struct walk *w, size_t path_len, int depth);

/* The path gets ".NAME"; its length, which stays below PATH_LEN. */
static size_t extend(struct walk *w, size_t path_len, const char *name, size_t name_len)
{
	int n = snprintf(w->path + path_len, PATH_LEN - path_len, "%s%.*s", path_len ? "." : "", (int)name_len, name);
	size_t len = path_len + (n > 0 ? (size_t)n : 0);

	return len < PATH_LEN ? len : PATH_LEN - 1;
}

static int walk_object(struct walk *w, size_t path_len, int depth)
{
	const char *name;
	size_t len;
	int err = 0;

	if (take(w, '}'))
		return 0;
	do {
		skip_blanks(w);
		err = take_text(w, &name, &len);
		if (!err && !take(w, ':'))
			err = -EINVAL;
		if (!err)
			err = walk_value(w, extend(w, path_len, name + 1, len - 2), depth);
		w->path[path_len] = 0;
	} while (!err && take(w, ','));
	return err ? err : take(w, '}') ? 0 : -EINVAL;
}

static int walk_array(struct walk *w, size_t path_len, int depth)
{
	char number[24];
	int err = 0;

	if (take(w, ']'))
		return 0;
	for (unsigned i = 0; !err && (!i || take(w, ',')); i++) {
		int len = snprintf(number, sizeof(number), "%u", i);

		err = walk_value(w, extend(w, path_len, number, (size_t)len), depth);
		w->path[path_len] = 0;
	}
	return err ? err : take(w, ']') ? 0 : -EINVAL;
}

static int walk_value(struct walk *w, size_t path_len, int depth)
{
	const char *text;
	size_t len;
	int err;

	if (depth == DEPTH_MAX)
		return -EINVAL;
	if (take(w, '{'))
		return walk_object(w, path_len, depth + 1);
	if (take(w, '['))
		return walk_array(w, path_len, depth + 1);
	if (w->p < w->end && *w->p == '"')
		err = take_text(w, &text, &len);
	else
		err = take_word(w, &text, &len);
	if (!err)
		w->value(w->ctx, w->path, text, len);
	return err;
}

int bw_top_json_walk(const char *text, size_t len, bw_top_json_value *value, void *ctx)
{
	struct walk w = {.p = text, .end = text + len, .value = value, .ctx = ctx};
	int err = walk_value(&w, 0, 0);

	skip_blanks(&w);
	return err ? err : w.p == w.end ? 0 : -EINVAL;
}
