/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Orbax: 500/ or PREFIX_500/.
 *
 * On a file system everything is written into 500.orbax-checkpoint-tmp*, the commit time is put into
 * _CHECKPOINT_METADATA, and a rename gives it its name.  On buckets it is written in place and
 * commit_success.txt comes last.  So the mark is the name without the suffix, or that file, and the commit
 * time besides; releases that write no _CHECKPOINT_METADATA have the name alone.  Old ones are deleted file
 * by file, or moved into another folder.
 */
#include "mount-helpers/watch.h"

#include <string.h>

#define SUFFIX ".orbax-checkpoint-tmp"
#define SUCCESS "commit_success.txt"
#define METADATA "_CHECKPOINT_METADATA"

static bool step(const char *arg, const char *name, bool is_dir, uint64_t *ret)
{
	const char *last = strrchr(name, '_');
	const char *p = last && last > name ? last + 1 : name;

	(void)arg;
	return is_dir && bw_watch_digits(&p, ret) && !*p;
}

static enum bw_watch_scan scan(const char *path)
{
	return strcmp(bw_watch_base(path), METADATA) ? bw_watch_scan_of(path) : BW_SCAN_JSON;
}

static bool has_success(const struct bw_watch_item *item)
{
	const struct bw_watch_file *f = bw_watch_file(item, SUCCESS);

	return f && f->size;
}

/* Does this run mark its checkpoints with commit_success.txt? */
static bool uses_success(const struct bw_watch_snapshot *s)
{
	for (uint32_t i = 0; i < s->n; i++)
		if (bw_watch_file(&s->items[i], SUCCESS))
			return true;
	return false;
}

/* An item of the checkpoint: a folder.  Torn: nothing in it, or OCDBT data without its manifest. */
static bool folder_whole(const struct bw_watch_item *item, const char *folder,
			 struct bw_watch_verdict *v)
{
	size_t len = strlen(folder);
	bool manifest = false, ocdbt = false;
	uint32_t n = 0;

	for (uint32_t i = 0; i < item->n; i++) {
		const char *p = item->files[i].path;

		if (strncmp(p, folder, len) != 0 || p[len] != '/')
			continue;
		p += len + 1;
		n++;
		manifest |= !strcmp(p, "manifest.ocdbt") && item->files[i].size;
		ocdbt |= !strcmp(p, "d") || !strncmp(p, "ocdbt.process_", 14);
	}
	if (!n)
		bw_watch_say(v, BW_WATCH_TORN, "%s is empty", folder);
	else if (ocdbt && !manifest)
		bw_watch_say(v, BW_WATCH_TORN, "there is no %s/manifest.ocdbt", folder);
	return n && (manifest || !ocdbt);
}

static bool folders_whole(const struct bw_watch_item *item, struct bw_watch_verdict *v)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < item->n; i++) {
		const struct bw_watch_file *f = &item->files[i];

		if (strstr(f->path, SUFFIX)) {
			bw_watch_say(v, BW_WATCH_TORN, "%s is being written", f->path);
			return false;
		}
		if (f->is_dir && !strchr(f->path, '/') && !folder_whole(item, f->path, v))
			return false;
		n += !f->is_dir && f->size && strcmp(f->path, METADATA) != 0 &&
		     strcmp(f->path, SUCCESS) != 0;
	}
	if (!n)
		bw_watch_say(v, BW_WATCH_TORN, "there is no state in it");
	return n;
}

static void judge(const char *arg, const struct bw_watch_snapshot *s, const struct bw_watch_item *item,
		  struct bw_watch_verdict *v)
{
	const struct bw_watch_file *metadata = bw_watch_file(item, METADATA);

	(void)arg;
	if (!bw_watch_whole(item, v) || !folders_whole(item, v))
		return;
	if (metadata && (metadata->facts.end != BW_END_WHOLE || !metadata->facts.committed))
		bw_watch_say(v, BW_WATCH_TORN, "%s has no commit time", METADATA);
	else if (uses_success(s) && !has_success(item))
		bw_watch_say(v, BW_WATCH_TORN, "there is no %s", SUCCESS);
	v->slow = v->state == BW_WATCH_DONE && !metadata && !has_success(item);
}

const struct bw_watch_format bw_watch_orbax = {
	.name = "orbax", .step = step, .scan = scan, .judge = judge,
};
