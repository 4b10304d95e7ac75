/* SPDX-License-Identifier: Apache-2.0 */
/* golden_payload FILE: the payload of a root, an index node or a tombstone, checked and unpacked. */
#include "manifest/envelope.h"
#include "store/base/limits.h"

#include <stdio.h>

int main(int argc, char **argv)
{
	bw_auto_buf struct bw_buf file = {.max = 0}, raw = {.max = 0};
	FILE *f = argc == 2 ? fopen(argv[1], "rb") : NULL;
	char piece[4096];
	size_t n;

	bw_buf_init(&file, BW_ROOT_RAW_MAX + 64);
	bw_buf_init(&raw, BW_ROOT_RAW_MAX);
	if (!f) {
		fprintf(stderr, "usage: golden_payload FILE\n");
		return 2;
	}
	while ((n = fread(piece, 1, sizeof(piece), f)) > 0)
		bw_buf_add(&file, piece, n);
	fclose(f);
	if (bw_buf_err(&file) ||
	    (bw_envelope_open(BW_ENVELOPE_ROOT, file.bytes, file.len, &raw, NULL) != 0 &&
	     bw_envelope_open(BW_ENVELOPE_NODE, file.bytes, file.len, &raw, NULL) != 0)) {
		fprintf(stderr, "%s: no sound envelope\n", argv[1]);
		return 1;
	}
	fwrite(raw.bytes, 1, raw.len, stdout);
	return 0;
}
