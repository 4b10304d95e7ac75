/* SPDX-License-Identifier: Apache-2.0 */
/*
 * golden_generate DIR: writes the golden objects of this format, the same bytes on every run (but for
 * what another release of zstd may pack differently).  Not run by the tests: what a release has
 * written stays as it is, so this is run once for each format, into an empty folder.
 *
 *	plain/	a stream that lived: two producers, states, a job, a trim, a sweep, a seal
 *	packed/	a stream whose blocks are compressed
 *	long/	roots and index nodes of a stream of 16,641 steps, without its data
 */
#include "manifest/apply.h"
#include "manifest/tgb.h"
#include "store/base/hash.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CREATED_MS INT64_C(1767225600000)	/* 2026-01-01 */

struct maker {
	const char *dir;
	struct bw_stream stream;
	struct bw_root *root;
	bool quiet;		/* nothing of the next versions is saved */
	bool tells;		/* roots bring the footers of their steps along */
};

static void must(bool fine, const char *what)
{
	if (!fine) {
		fprintf(stderr, "golden: %s\n", what);
		exit(1);
	}
}

static void save(const struct maker *m, const char *key, const void *bytes, size_t len)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/%s", m->dir, key);
	for (char *slash = path; (slash = strchr(slash + 1, '/'));) {
		*slash = 0;
		must(mkdir(path, 0777) == 0 || errno == EEXIST, path);
		*slash = '/';
	}
	FILE *f = fopen(path, "wb");
	must(f && fwrite(bytes, 1, len, f) == len && fclose(f) == 0, path);
}

static void start(struct maker *m, const char *dir, uint8_t id, uint32_t ranks, uint32_t block_size,
		  int zstd_level)
{
	bw_auto_buf struct bw_buf json = {.max = 0}, root = {.max = 0};
	char key[BW_KEY_MAX + 1];

	*m = (struct maker){.dir = dir};
	for (size_t i = 0; i < sizeof(m->stream.id); i++)
		m->stream.id[i] = (uint8_t)(id + i);
	m->stream.format = BW_FORMAT;
	m->stream.block_size = block_size;
	m->stream.created_ms = CREATED_MS;
	bw_stream_options_default(&m->stream.options);
	m->stream.options.ranks = ranks;
	m->stream.options.compress = zstd_level ? BW_COMPRESS_ZSTD : BW_COMPRESS_NONE;
	m->stream.options.compress_level = zstd_level;
	bw_buf_init(&json, BW_STREAM_JSON_MAX);
	must(bw_stream_encode(&m->stream, &json) == 0, "stream.json");
	save(m, BW_STREAM_KEY, json.bytes, json.len);
	bw_buf_init(&root, BW_ROOT_RAW_MAX);
	must(bw_root_first(&m->stream, &m->root) == 0, "first root");
	must(bw_root_encode(m->root, &root) == 0, "first root");
	m->root->stored_xxh3 = bw_xxh3(root.bytes, root.len);
	bw_key_root(&m->stream, 1, key);
	save(m, key, root.bytes, root.len);
}

static void save_nodes(const struct maker *m, const struct bw_new_nodes *nodes)
{
	for (uint32_t i = 0; i < nodes->n; i++) {
		const struct bw_new_node *n = &nodes->nodes[i];
		char key[BW_KEY_MAX + 1];

		if (n->pointer.first || (m->quiet && !n->level))
			continue;	/* one leaf and one node are enough */
		bw_key_node(&m->stream, n->level, n->pointer.first, n->pointer.last, n->pointer.hash,
			    key);
		save(m, key, n->bytes.bytes, n->bytes.len);
	}
}

/* Commits the changes, and frees what they own. */
static void commit(struct maker *m, struct bw_change *changes, uint32_t n)
{
	struct bw_commit c = {.time_ms = CREATED_MS + (int64_t)m->root->version * 1000};
	bw_auto_buf struct bw_buf bytes = {.max = 0};
	struct bw_new_nodes nodes = {0};
	struct bw_root *next;
	char key[BW_KEY_MAX + 1];

	memset(c.id, (int)(m->root->version + 1), sizeof(c.id));
	must(bw_apply(&m->stream, m->root, changes, n, &c, &next, &nodes) == 0, "apply");
	save_nodes(m, &nodes);
	bw_new_nodes_done(&nodes);
	bw_buf_init(&bytes, BW_ROOT_RAW_MAX);
	must(bw_root_encode(next, &bytes) == 0, "encode");
	next->stored_xxh3 = bw_xxh3(bytes.bytes, bytes.len);
	bw_root_unref(m->root);
	m->root = next;
	if (!m->quiet) {
		bw_key_root(&m->stream, next->version, key);
		save(m, key, bytes.bytes, bytes.len);
	}
	for (uint32_t i = 0; i < n; i++)
		bw_change_done(&changes[i]);
}

static struct bw_change change(enum bw_change_kind kind, const char *name)
{
	struct bw_change c = {.kind = kind};

	memcpy(c.name, name, strlen(name));
	if (kind == BW_CHANGE_FENCE || kind == BW_CHANGE_APPEND)
		memset(c.owner, name[0], sizeof(c.owner));
	return c;
}

/* Bytes of a slice: text that compresses, or (odd ranks) bytes that do not. */
static void fill(uint8_t *p, size_t len, uint32_t rank, uint64_t seq)
{
	for (size_t i = 0; i < len; i++) {
		uint64_t h = bw_xxh3_seed(&i, sizeof(i), rank * 1000 + seq);

		p[i] = rank % 2 ? (uint8_t)h : (uint8_t)"token "[(i + seq) % 6];
	}
}

/* The TGB whose slice of rank r has len * (r + 1) bytes, saved; the change that appends it. */
static struct bw_change tgb(const struct maker *m, const char *producer, uint64_t seq, size_t len)
{
	struct bw_change c = change(BW_CHANGE_APPEND, producer);
	bw_auto_buf struct bw_buf object = {.max = 0}, footer = {.max = 0};
	struct bw_tgb_builder *b;
	struct bw_tgb *t;
	char key[BW_KEY_MAX + 1];

	c.epoch = 1;
	c.seq = seq;
	c.nonce = bw_xxh3_seed(producer, strlen(producer), seq);
	bw_buf_init(&object, 1 << 20);
	bw_buf_init(&footer, BW_FOOTER_MAX);
	must(bw_tgb_builder_new(&m->stream, producer, 1, seq, &b) == 0, "builder");
	for (uint32_t r = 0; r < m->stream.options.ranks; r++) {
		size_t slice_len = len * (r + 1);
		uint8_t *slice = malloc(slice_len);

		must(slice, "memory");
		fill(slice, slice_len, r, seq);
		for (size_t at = 0, n; at < slice_len; at += n) {
			const void *stored;
			size_t stored_len;

			n = slice_len - at < m->stream.block_size ? slice_len - at : m->stream.block_size;
			must(bw_tgb_builder_block(b, slice + at, n, &stored, &stored_len) == 0, "block");
			bw_buf_add(&object, stored, stored_len);
		}
		must(bw_tgb_builder_end_slice(b) == 0, "slice");
		c.raw += slice_len;
		free(slice);
	}
	must(bw_tgb_builder_finish(b, &footer, &t) == 0, "footer");
	bw_buf_add(&object, footer.bytes, footer.len);
	c.size = object.len;
	c.footer_len = (uint32_t)footer.len;
	c.footer_xxh3 = bw_tgb_sum(footer.bytes, footer.len);
	if (m->tells) {
		c.footer = malloc(footer.len);
		must(c.footer, "memory");
		memcpy(c.footer, footer.bytes, footer.len);
	}
	bw_key_data(&m->stream, producer, 1, seq, c.nonce, key);
	save(m, key, object.bytes, object.len);
	bw_tgb_unref(t);
	bw_tgb_builder_free(b);
	return c;
}

static void add_state(const struct maker *m, struct bw_change *c, const void *state, uint32_t len)
{
	char key[BW_KEY_MAX + 1];

	c->has_state = true;
	c->state_len = len;
	c->state_xxh3 = bw_xxh3(state, len);
	if (len <= BW_STATE_INLINE_MAX) {
		c->state = malloc(len + 1);
		must(c->state, "memory");
		memcpy(c->state, state, len);
		return;
	}
	bw_key_state(&m->stream, c->name, c->epoch, c->seq, c->nonce, key);
	save(m, key, state, len);
}

static void overwrite(const struct maker *m, uint64_t version)
{
	bw_auto_buf struct bw_buf tombstone = {.max = 0};
	char key[BW_KEY_MAX + 1];

	bw_buf_init(&tombstone, BW_TOMBSTONE_MAX);
	must(bw_tombstone_encode(version, &tombstone) == 0, "tombstone");
	bw_key_root(&m->stream, version, key);
	save(m, key, tombstone.bytes, tombstone.len);
}

static void drop(const struct maker *m, const char *key)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/%s", m->dir, key);
	must(unlink(path) == 0, path);
}

static void plain(const char *dir)
{
	struct maker m;
	struct bw_change c[3];
	char state[600], key[BW_KEY_MAX + 1], swept[BW_KEY_MAX + 1];

	start(&m, dir, 0x10, 2, 64, 0);
	c[0] = change(BW_CHANGE_FENCE, "tok");			/* version 2 */
	c[1] = change(BW_CHANGE_REGISTER, "img");
	c[2] = change(BW_CHANGE_JOB, "train");
	commit(&m, c, 3);
	c[0] = tgb(&m, "tok", 0, 50);				/* 3: step 0 */
	add_state(&m, &c[0], "{\"shard\":0,\"at\":100}", 20);
	bw_key_data(&m.stream, "tok", 1, 0, c[0].nonce, swept);
	commit(&m, c, 1);
	c[0] = tgb(&m, "tok", 1, 70);				/* 4: step 1 */
	c[1] = change(BW_CHANGE_FENCE, "img");
	commit(&m, c, 2);
	memset(state, 's', sizeof(state));
	c[0] = tgb(&m, "img", 0, 10);				/* 5: step 2 */
	add_state(&m, &c[0], state, sizeof(state));
	c[1] = change(BW_CHANGE_MARK, "train");
	c[1].step = 1;
	c[1].text = strdup("/ckpt/step 1, 100%");
	c[2] = change(BW_CHANGE_MARK, "train");
	c[2].step = 3;
	commit(&m, c, 3);
	c[0] = change(BW_CHANGE_TRIM, "");			/* 6: first 1 */
	commit(&m, c, 1);
	c[0] = change(BW_CHANGE_SWEEP, "");			/* 7 */
	c[0].step = 1;
	c[1] = change(BW_CHANGE_UNMARK, "train");
	c[1].step = 1;
	commit(&m, c, 2);
	drop(&m, swept);
	c[0] = change(BW_CHANGE_SEAL, "");			/* 8 */
	commit(&m, c, 1);
	overwrite(&m, 1);
	overwrite(&m, 2);
	bw_key_hint(&m.stream, key);
	save(&m, key, "2\n", 2);
	bw_root_unref(m.root);
}

/* A stream of one batch, whose slice of rank r has len * (r + 1) bytes. */
static void one_batch(const char *dir, uint8_t id, uint32_t ranks, int level, size_t len)
{
	struct maker m;
	struct bw_change c[1];

	start(&m, dir, id, ranks, 4096, level);
	c[0] = change(BW_CHANGE_FENCE, "tok");
	commit(&m, c, 1);
	c[0] = tgb(&m, "tok", 0, len);
	commit(&m, c, 1);
	bw_root_unref(m.root);
}

/* Two batches, whose footers the roots bring along. */
static void told(const char *dir)
{
	struct maker m;
	struct bw_change c[2];

	start(&m, dir, 0x50, 2, 64, 0);
	m.tells = true;
	c[0] = change(BW_CHANGE_FENCE, "tok");
	commit(&m, c, 1);
	c[0] = tgb(&m, "tok", 0, 50);
	commit(&m, c, 1);
	c[0] = tgb(&m, "tok", 1, 10);
	c[1] = tgb(&m, "tok", 2, 70);
	commit(&m, c, 2);
	bw_root_unref(m.root);
}

static void appends(struct maker *m, uint32_t n)
{
	struct bw_change c[BW_APPENDS_MAX];
	uint64_t next = m->root->producers[0].next;

	for (uint32_t i = 0; i < n; i++) {
		c[i] = change(BW_CHANGE_APPEND, "tok");
		c[i].epoch = 1;
		c[i].seq = next + i;
		c[i].nonce = bw_xxh3_seed("nonce", 5, c[i].seq);
		c[i].size = 1000 + c[i].seq % 10;
		c[i].raw = 800;
		c[i].footer_len = 172;
		c[i].footer_xxh3 = bw_xxh3_seed("footer", 6, c[i].seq);
	}
	commit(m, c, n);
}

static void long_stream(const char *dir)
{
	struct maker m;
	struct bw_change c = change(BW_CHANGE_FENCE, "tok");

	start(&m, dir, 0x30, 1, 1 << 20, 0);
	commit(&m, &c, 1);
	appends(&m, BW_APPENDS_MAX);		/* version 3 folds a leaf */
	m.quiet = true;
	while (m.root->head < 16640)
		appends(&m, BW_APPENDS_MAX);	/* up to the first node of level 1 */
	m.quiet = false;
	appends(&m, 1);
	printf("long: version %" PRIu64 ", %u levels\n", m.root->version, m.root->levels_n);
	bw_root_unref(m.root);
}

int main(int argc, char **argv)
{
	char dir[4096];

	must(argc == 2, "usage: golden_generate DIR");
	must(mkdir(argv[1], 0777) == 0 || errno == EEXIST, argv[1]);
	snprintf(dir, sizeof(dir), "%s/plain", argv[1]);
	plain(dir);
	snprintf(dir, sizeof(dir), "%s/packed", argv[1]);
	one_batch(dir, 0x20, 3, 3, 3000);
	snprintf(dir, sizeof(dir), "%s/wide", argv[1]);
	one_batch(dir, 0x40, 130, 0, 1);	/* a footer with pages: of 64, 64 and 2 ranks */
	snprintf(dir, sizeof(dir), "%s/told", argv[1]);
	told(dir);
	snprintf(dir, sizeof(dir), "%s/long", argv[1]);
	long_stream(dir);
	return 0;
}
