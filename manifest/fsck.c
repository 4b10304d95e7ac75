/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/fsck.h"

#include "manifest/fsck_priv.h"
#include "manifest/open.h"
#include "manifest/open_io.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int get_stream(struct fsck *f)
{
	int err = -BW_E_CORRUPT;

	for (int i = 0; i < FSCK_READS && (err == -BW_E_CORRUPT || err == -BW_E_FORMAT_NEWER); i++) {
		bw_auto_blob struct bw_blob *json = NULL;

		/* A store that is not there is told from one that is slow. */
		f->patience_ns = f->o->request_ns < BW_FIRST_ANSWER_NS ? f->o->request_ns :
									 BW_FIRST_ANSWER_NS;
		err = fsck_get(f, BW_STREAM_KEY, BW_STREAM_JSON_MAX, &json);
		f->patience_ns = f->o->request_ns;
		if (!err)
			err = bw_stream_decode(json->bytes, json->len, &f->stream);
	}
	if (err == -BW_E_CORRUPT)
		return fsck_note(f, BW_FSCK_STREAM, FSCK_NONE, BW_STREAM_KEY,
				 BW_STREAM_KEY " is damaged: nobody can open the stream");
	if (err)
		return err == -ENOENT ? -BW_E_NO_STREAM : err;
	f->report->has_stream = true;
	f->report->stream = f->stream;
	return 0;
}

/* A live marker keeps its step, and what follows it. */
static int check_markers(struct fsck *f)
{
	const struct bw_root *r = f->root;
	int err = 0;

	for (uint32_t i = 0; i < r->jobs_n; i++)
		for (uint32_t k = 0; !err && k < r->jobs[i].markers_n; k++)
			if (r->jobs[i].markers[k].step < r->first)
				err = fsck_note(f, BW_FSCK_MARKER, r->jobs[i].markers[k].step, r->first - 1, "",
						"the marker of %s at step %" PRIu64
						" is below the oldest step that is kept, %" PRIu64,
						r->jobs[i].name, r->jobs[i].markers[k].step, r->first);
	return err;
}

static int take_root(struct fsck *f)
{
	const struct bw_root *r = f->root;

	f->latest = bw_root_ref(f->root);
	f->places = calloc(r->producers_n ? r->producers_n : 1, sizeof(*f->places));
	f->report->has_root = true;
	f->report->version = r->version;
	f->report->first = r->first;
	f->report->head = r->head;
	return f->places ? 0 : -ENOMEM;
}

static int run(struct fsck *f)
{
	int err = get_stream(f);

	if (err || !f->report->has_stream)
		return err;
	err = fsck_newest(f);
	if (err || !f->root)
		return err;
	err = take_root(f);
	if (!err)
		err = fsck_history(f);
	if (!err)
		err = check_markers(f);
	if (!err)
		err = fsck_objects(f);
	if (!err)
		err = fsck_states(f);
	if (!err)
		err = fsck_hint(f);
	if (!err && f->o->data)
		err = fsck_data(f);
	return err;
}

static void say(const struct fsck *f, int err, char *why, size_t why_len)
{
	struct bw_io io = {.store = f->store};

	memcpy(io.detail, f->failed_detail, sizeof(io.detail));
	if (err == -ECANCELED)
		snprintf(why, why_len, "stopped");
	else if (err == -BW_E_NO_STREAM)
		snprintf(why, why_len, "there is no stream here: no " BW_STREAM_KEY);
	else if (f->failed[0])
		bw_io_why(&io, err, f->failed, why, why_len);
	else
		bw_detail_why(err, "", why, why_len);
}

int bw_fsck(struct bw_store *store, const struct bw_fsck_options *o, struct bw_fsck_report *ret,
	    char *why, size_t why_len)
{
	struct fsck f = {.store = store, .o = o, .report = ret};

	*ret = (struct bw_fsck_report){.has_stream = false};
	bw_mutex_init(&f.note_lock, BW_RANK_LEAF);
	bw_mutex_init(&f.io_lock, BW_RANK_INDEX);
	bw_cond_init(&f.io_cond);
	int err = run(&f);

	if (err)
		say(&f, err, why, why_len);
	bw_root_unref(f.root);
	bw_root_unref(f.latest);
	free(f.places);
	free(f.bad);
	fsck_table_done(&f.data);
	fsck_table_done(&f.nodes);
	bw_cond_done(&f.io_cond);
	bw_mutex_done(&f.io_lock);
	bw_mutex_done(&f.note_lock);
	return err;
}
