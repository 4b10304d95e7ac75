/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes the metadata of a stream with a long history into a directory: stream.json, index nodes, the
 * newest root and a hint.  No data objects, so steps can be listed and looked up, not read.
 *
 * usage: long_history DIR STEPS
 */
#include "manifest/open_search.h"
#include "tests/support/sample.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char *dir;		/* of this program's one run */

/* Test data needs no fsync. */
static void put(const char *key, const void *bytes, size_t len)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/%s", dir, key);
	for (char *p = path + strlen(dir) + 1; (p = strchr(p, '/')); p++) {
		*p = 0;
		mkdir(path, 0755);
		*p = '/';
	}
	FILE *f = fopen(path, "we");
	if (!f || fwrite(bytes, 1, len, f) != len || fclose(f)) {
		perror(path);
		exit(1);
	}
}

static void folded(void *ctx, unsigned level, const struct bw_pointer *p, const struct bw_buf *bytes)
{
	struct bw_sample *s = ctx;
	char key[BW_KEY_MAX + 1];

	bw_key_node(&s->stream, level, p->first, p->last, p->hash, key);
	put(key, bytes->bytes, bytes->len);
}

static int write_top(struct bw_sample *s)
{
	bw_auto_buf struct bw_buf json = {.max = 0}, root = {.max = 0};
	char key[BW_KEY_MAX + 1], hint[BW_HINT_MAX];

	bw_buf_init(&json, BW_STREAM_JSON_MAX);
	bw_buf_init(&root, 2 * BW_ROOT_RAW_MAX);
	if (bw_stream_encode(&s->stream, &json) || bw_root_encode(s->root, &root))
		return 1;
	put(BW_STREAM_KEY, json.bytes, json.len);
	bw_key_root(&s->stream, s->root->version, key);
	put(key, root.bytes, root.len);
	bw_key_hint(&s->stream, key);
	put(key, hint, bw_hint_print(s->root->version, hint));
	printf("%zu\n", root.len);
	return 0;
}

int main(int argc, char **argv)
{
	struct bw_sample s;

	if (argc != 3) {
		fprintf(stderr, "usage: %s DIR STEPS\n", argv[0]);
		return 2;
	}
	dir = argv[1];
	bw_sample_init(&s, 4);
	s.folded = folded;
	s.ctx = &s;
	bw_sample_grow(&s, strtoull(argv[2], NULL, 10));
	int code = write_top(&s);

	bw_sample_done(&s);
	return code;
}
