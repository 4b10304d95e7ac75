/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The TGB object: the W slices of one batch as checksummed blocks, then a footer that finds them.
 *
 * Layout (docs/format.md): blocks of rank 0, blocks of rank 1, ..., footer.  A block is at most
 * block_size raw bytes of one slice, stored as it is or as one zstd frame; its checksum covers the
 * stored bytes, so damage is found before anything is decompressed.  The footer names stream,
 * producer, epoch, seq and ranks: fsck can check an object alone.  The step is not in it: the commit
 * assigns that, so a retry of a commit rewrites only the root.
 *
 * Where there are many ranks the footer has pages, each of which is verified alone: who reads one rank
 * reads its page, not the whole.
 *
 * A decoded footer, or page of one, is immutable and refcounted.  Pure: no I/O here.
 */
#ifndef BW_MANIFEST_TGB_H
#define BW_MANIFEST_TGB_H

#include "manifest/stream.h"
#include "store/base/blob.h"

struct bw_slice {
	uint64_t offset;	/* of its first block in the object */
	uint64_t stored;	/* bytes in the object */
	uint64_t raw;		/* bytes a reader sees */
	uint64_t xxh3;		/* of the raw bytes */
	uint32_t block0;	/* its first block, by its number in the object */
	uint32_t blocks_n;
};

struct bw_block {
	uint64_t offset;	/* in the object */
	uint32_t stored;
	uint64_t xxh3;		/* of the stored bytes */
};

struct bw_tgb {
	atomic_uint refs;
	uint8_t stream_id[16];
	char producer[BW_NAME_MAX + 1];
	uint64_t epoch, seq;
	uint32_t ranks;
	uint32_t block_size;
	enum bw_compress compress;
	uint32_t blocks_n;		/* of the object */
	uint64_t data_len;		/* the footer's offset */
	/* What is known: all of it, or what one page says. */
	uint32_t first, known;		/* ranks */
	uint32_t block0, blocks_known;
	struct bw_slice *slices;	/* owned, [known] */
	struct bw_block *blocks;	/* owned, [blocks_known] */
};

static inline bool bw_tgb_knows(const struct bw_tgb *t, uint32_t rank)
{
	return rank >= t->first && rank - t->first < t->known;
}

/* Of a rank that is known; of a block of such a rank's slice. */
static inline const struct bw_slice *bw_tgb_slice(const struct bw_tgb *t, uint32_t rank)
{
	return &t->slices[rank - t->first];
}

static inline const struct bw_block *bw_tgb_block(const struct bw_tgb *t, uint32_t number)
{
	return &t->blocks[number - t->block0];
}

struct bw_tgb *bw_tgb_ref(struct bw_tgb *t);
void bw_tgb_unref(struct bw_tgb *t);	/* NULL is fine */
size_t bw_tgb_bytes(const struct bw_tgb *t);	/* memory it holds, for the budget */

/*
 * The footer's last 16 bytes: its length, its checksum and a magic, so that it can be found from the
 * end of the object.  bw_tgb_decode() takes the whole footer, trailer included, and the object's
 * size; it checks every offset and length against it.  -BW_E_CORRUPT, -BW_E_FORMAT_NEWER, -ENOMEM.
 */
#define BW_TGB_TRAILER 16u
int bw_tgb_decode(const void *footer, size_t len, uint64_t object_size, struct bw_tgb **ret)
	bw_must_check;
/* The footer's length as its trailer says it; bounds checked against the object's size. */
int bw_tgb_trailer(const void *trailer, uint64_t object_size, uint32_t *ret_footer_len)
	bw_must_check;

/* What an entry says of a footer, so that the root vouches for it: XXH3 of all of it, or of the head that vouches for its pages. */
uint64_t bw_tgb_sum(const void *footer, size_t len);

/*
 * The page in which the slice of rank is found, if the footer has pages and all slices have as many blocks: false when
 * it has none, or when they cannot.  A guess, as that is not known beforehand: what lies there may be anything.
 */
struct bw_entry;
struct bw_tgb_page {
	uint32_t number;
	uint32_t length;
	uint64_t offset;	/* in the object */
};
bool bw_tgb_page(const struct bw_stream *s, const struct bw_entry *e, uint32_t rank, struct bw_tgb_page *ret);
/* Takes what bw_tgb_page() says, and verifies it by e.  As bw_tgb_decode(), or -ENOENT: the footer is cut otherwise. */
int bw_tgb_page_decode(const void *page, size_t len, const struct bw_entry *e, uint32_t number, struct bw_tgb **ret)
	bw_must_check;

/* Is t the footer of the object that e commits to s, or a page of it?  0 or -BW_E_CORRUPT. */
int bw_tgb_check(const struct bw_tgb *t, const struct bw_stream *s, const struct bw_entry *e)
	bw_must_check;
/* Sum, decode and check in one: the whole footer of the object that e commits to s.  As bw_tgb_decode(). */
int bw_tgb_verify(const void *footer, size_t len, const struct bw_stream *s, const struct bw_entry *e, struct bw_tgb **ret)
	bw_must_check;
/*
 * Whether the slices of e's object can be of one length, *ret_slice, and stored as they are, by what e says of its
 * sizes; rank's is then at rank * *ret_slice.  A guess: only the footer knows.
 */
bool bw_tgb_may_be_even(const struct bw_stream *s, const struct bw_entry *e, uint64_t *ret_slice);

/*
 * Reads block number i of the object from its stored bytes: checks the sum, decompresses.
 * *ret gets a reference to stored itself when the block is not compressed.
 */
int bw_tgb_block_read(const struct bw_tgb *t, uint32_t i, struct bw_blob *stored,
		      struct bw_blob **ret) bw_must_check;
/* Raw bytes of block i; from its place in its slice. */
uint32_t bw_tgb_block_raw(const struct bw_tgb *t, const struct bw_slice *s, uint32_t i_in_slice);

/*
 * Building.  Slices in rank order, each as bw_tgb_builder_block() calls with block_size raw bytes
 * (the last one of a slice may be shorter, and only it), ended by bw_tgb_builder_end_slice().  For
 * each block the builder says which bytes to store: the raw ones, or compressed ones in scratch.
 */
struct bw_tgb_builder;
int bw_tgb_builder_new(const struct bw_stream *s, const char *producer, uint64_t epoch, uint64_t seq,
		       struct bw_tgb_builder **ret) bw_must_check;
void bw_tgb_builder_free(struct bw_tgb_builder *b);	/* NULL is fine */
/* *ret_stored points to raw or into the builder, valid until the next call. */
int bw_tgb_builder_block(struct bw_tgb_builder *b, const void *raw, size_t len,
			 const void **ret_stored, size_t *ret_len) bw_must_check;
int bw_tgb_builder_end_slice(struct bw_tgb_builder *b) bw_must_check;
/* After the last slice: appends the footer to out; *ret_tgb is what a reader would decode. */
int bw_tgb_builder_finish(struct bw_tgb_builder *b, struct bw_buf *out, struct bw_tgb **ret_tgb)
	bw_must_check;

#endif
