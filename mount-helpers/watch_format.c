/* SPDX-License-Identifier: Apache-2.0 */
#include "mount-helpers/watch.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct bw_watch_format *const formats[] = {
	&bw_watch_megatron, &bw_watch_deepspeed, &bw_watch_dcp,	   &bw_watch_hf,
	&bw_watch_orbax,    &bw_watch_lightning, &bw_watch_pattern,
};

const struct bw_watch_format *bw_watch_format_find(const char *text, const char **ret_arg)
{
	const char *colon = strchr(text, ':');
	size_t len = colon ? (size_t)(colon - text) : strlen(text);
	const char *arg = colon ? colon + 1 : NULL;

	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
		const struct bw_watch_format *f = formats[i];

		if (strlen(f->name) != len || strncmp(f->name, text, len) != 0)
			continue;
		if (f->arg_ok ? !arg || !f->arg_ok(arg) : arg != NULL)
			return NULL;
		*ret_arg = arg;
		return f;
	}
	return NULL;
}

/* ---- Snapshots --------------------------------------------------------------------------------- */

static void file_done(struct bw_watch_file *f)
{
	free(f->path);
	bw_watch_facts_done(&f->facts);
}

void bw_watch_snapshot_done(struct bw_watch_snapshot *s)
{
	for (uint32_t i = 0; i < s->n; i++) {
		struct bw_watch_item *item = &s->items[i];

		for (uint32_t k = 0; k < item->n; k++)
			file_done(&item->files[k]);
		free(item->files);
		file_done(&item->self);
	}
	free(s->items);
	*s = (struct bw_watch_snapshot){.n = 0};
}

const struct bw_watch_item *bw_watch_item(const struct bw_watch_snapshot *s, const char *name)
{
	uint32_t lo = 0, hi = s->n;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		int order = strcmp(s->items[mid].self.path, name);

		if (!order)
			return &s->items[mid];
		if (order < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

const struct bw_watch_file *bw_watch_file(const struct bw_watch_item *item, const char *path)
{
	uint32_t lo = 0, hi = item->n;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		int order = strcmp(item->files[mid].path, path);

		if (!order)
			return &item->files[mid];
		if (order < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

/* ---- Names ------------------------------------------------------------------------------------- */

bool bw_watch_digits(const char **at, uint64_t *ret)
{
	const char *p = *at;
	uint64_t v = 0;

	for (; *p >= '0' && *p <= '9'; p++) {
		if (v > (UINT64_C(1) << 62) / 10 - 1)
			return false;
		v = v * 10 + (uint64_t)(*p - '0');
	}
	if (p == *at)
		return false;
	*at = p;
	*ret = v;
	return true;
}

bool bw_watch_step_last(const char *name, uint64_t *ret)
{
	const char *p = name + strlen(name);

	while (p > name && p[-1] >= '0' && p[-1] <= '9')
		p--;
	return bw_watch_digits(&p, ret);
}

void bw_watch_squeeze(char *path)
{
	char *to = path;

	for (const char *p = path; *p; p++)
		if (*p != '/' || p[1] != '/')
			*to++ = *p;
	*to = 0;
}

const char *bw_watch_base(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

bool bw_watch_ends(const char *text, const char *ending)
{
	size_t n = strlen(text), m = strlen(ending);

	return n > m && !strcmp(text + n - m, ending);
}

static bool is_data(const char *path)
{
	static const char *const endings[] = {".pt",	 ".pth", ".ckpt",	".bin",
					      ".distcp", ".npz", ".safetensors", ".msgpack"};

	for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++)
		if (bw_watch_ends(path, endings[i]))
			return true;
	return !strcmp(bw_watch_base(path), ".metadata");
}

enum bw_watch_scan bw_watch_scan_of(const char *path)
{
	if (!strcmp(bw_watch_base(path), ".metadata"))
		return BW_SCAN_DCP;
	if (bw_watch_ends(path, ".safetensors"))
		return BW_SCAN_SAFETENSORS;
	if (bw_watch_ends(path, ".index.json"))
		return BW_SCAN_JSON;
	if (bw_watch_ends(path, ".pt") || bw_watch_ends(path, ".pth") ||
	    bw_watch_ends(path, ".ckpt") || bw_watch_ends(path, ".bin"))
		return BW_SCAN_TORCH;
	return BW_SCAN_NONE;
}

void bw_watch_say(struct bw_watch_verdict *v, enum bw_watch_state state, const char *fmt, ...)
{
	va_list ap;

	v->state = state;
	va_start(ap, fmt);
	vsnprintf(v->why, sizeof(v->why), fmt, ap);
	va_end(ap);
}

/* ---- Whole or not ------------------------------------------------------------------------------- */

/* What f names must stand beside it, with bytes in it. */
static bool named_there(const struct bw_watch_item *item, const struct bw_watch_file *f,
			struct bw_watch_verdict *v)
{
	size_t folder = (size_t)(bw_watch_base(f->path) - f->path);
	const char *name = f->facts.names;
	char path[4096 + 256];

	for (uint32_t i = 0; i < f->facts.names_n; i++, name += strlen(name) + 1) {
		int n = snprintf(path, sizeof(path), "%.*s%s", (int)folder, f->path, name);
		const struct bw_watch_file *there =
			n > 0 && (size_t)n < sizeof(path) ? bw_watch_file(item, path) : NULL;

		if (!there || !there->size) {
			bw_watch_say(v, BW_WATCH_TORN, "%s names %s, which is %s", f->path, name,
				     there ? "empty" : "not there");
			return false;
		}
	}
	return true;
}

static bool file_whole(const struct bw_watch_item *item, const struct bw_watch_file *f,
		       struct bw_watch_verdict *v)
{
	if (f->is_dir)
		return true;
	if (!f->size && is_data(f->path)) {
		bw_watch_say(v, BW_WATCH_TORN, "%s is empty", f->path);
		return false;
	}
	bool index = bw_watch_ends(f->path, ".index.json");

	if (f->facts.end == BW_END_TORN && (index || is_data(f->path))) {
		bw_watch_say(v, BW_WATCH_TORN, "%s is cut off", f->path);
		return false;
	}
	return !(index || f->scanned == BW_SCAN_DCP) || named_there(item, f, v);
}

bool bw_watch_whole(const struct bw_watch_item *item, struct bw_watch_verdict *v)
{
	char text[128];

	if (item->err) {
		bw_watch_say(v, BW_WATCH_UNKNOWN, "it cannot be read: %s",
			     bw_err_text(item->err, text, sizeof(text)));
		return false;
	}
	if (item->moved) {
		bw_watch_say(v, BW_WATCH_UNKNOWN, "it changes");
		return false;
	}
	if (item->self.is_dir && !item->n) {
		bw_watch_say(v, BW_WATCH_TORN, "it is empty");
		return false;
	}
	if (!item->self.is_dir)
		return file_whole(item, &item->self, v);
	for (uint32_t i = 0; i < item->n; i++)
		if (!file_whole(item, &item->files[i], v))
			return false;
	return true;
}

bool bw_watch_shards(const struct bw_watch_item *item, uint32_t *ret_n, struct bw_watch_verdict *v)
{
	char path[4096 + 256];

	*ret_n = 0;
	for (uint32_t i = 0; i < item->n; i++) {
		const char *f = item->files[i].path;
		int folder = (int)(bw_watch_base(f) - f);

		if (!strcmp(f + folder, ".metadata.tmp")) {
			bw_watch_say(v, BW_WATCH_TORN, "%s is being written", f);
			return false;
		}
		if (!bw_watch_ends(f, ".distcp"))
			continue;
		snprintf(path, sizeof(path), "%.*s.metadata", folder, f);
		if (!bw_watch_file(item, path)) {
			bw_watch_say(v, BW_WATCH_TORN, "there is no %s", path);
			return false;
		}
		(*ret_n)++;
	}
	return true;
}

const char *bw_watch_lacks(const struct bw_watch_item *item, const struct bw_watch_item *model)
{
	for (uint32_t i = 0; i < model->n; i++) {
		const struct bw_watch_file *f = &model->files[i];

		if (!f->is_dir && f->size && is_data(f->path) && !bw_watch_file(item, f->path))
			return f->path;
	}
	return NULL;
}
