/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The directory of a disk cache: one file a block, whose name says all that is known of it.
 *
 * The one idea: a file holds the bytes as the store has them and nothing else, so nothing on the disk has to
 * be parsed but names.  Whether the bytes are right only the checksum of the block says (V5), and the reader
 * asks it each time: hence no fsync, no journal, no index file.  What a crash leaves half written is told by its
 * length or by its sum.
 *
 * Large files are written and read past the kernel's page cache where the file system can: it would hold what the
 * mount's own page cache holds too, at the cost of a copy and of pages.
 *
 * Only what is named as ours is ever touched.  Nothing is followed: a link, a fifo or somebody else's file in
 * the place of a block is damage like any other.
 *
 * No state, no threads; every call here may wait for the disk.
 */
#ifndef BW_FS_DISK_DIR_H
#define BW_FS_DISK_DIR_H

#include "store/base/blob.h"
#include "store/base/err.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* As number: the footer of the step's object; less one and less its number, a page of it. */
#define BW_DISK_FOOTER UINT32_MAX

struct bw_disk_name {
	uint8_t stream[16];
	uint64_t step;		/* below BW_STEPS_MAX */
	uint32_t number;	/* of the block in its object */
	uint32_t len;		/* bytes, 1 to BW_FOOTER_MAX */
};

#define BW_DISK_NAME_LEN 67
void bw_disk_name_print(const struct bw_disk_name *n, char text[BW_DISK_NAME_LEN + 1]);
/* Only the spelling that is printed. */
bool bw_disk_name_parse(const char *text, size_t len, struct bw_disk_name *ret);

/*
 * Opens path, which is made when only itself is missing, and holds its lock until *ret is closed.  0,
 * -EBUSY (another mount has it), -EPERM (others could read or change it, or its owner could not), -EINVAL (not an absolute path),
 * -errno; one sentence in why.
 */
int bw_disk_dir_open(const char *path, int *ret, char *why, size_t why_len) bw_must_check;

/*
 * Whole pages that go to and from the disk.  The caller's, for one call at a time; grown to the largest file of at
 * most BW_DISK_ROOM_MAX, freed by free().  (Pages of their own for each read would leave holes in the heap that no
 * later one fits.)
 */
struct bw_disk_room {
	uint8_t *bytes;
	size_t size;
};
#define BW_DISK_ROOM_MAX (4u << 20)

/* 0.  -ENOENT.  -BW_E_CORRUPT: not a file of ours or of another length.  -ENOMEM, -errno. */
int bw_disk_read(int dir, const struct bw_disk_name *n, struct bw_disk_room *room, struct bw_blob **ret) bw_must_check;
/* It was of use, which scans will tell. */
void bw_disk_touch(int dir, const struct bw_disk_name *n);
/* Leaves the whole file or none, unless the machine or the process dies meanwhile.  bytes: n->len of them. */
int bw_disk_write(int dir, const struct bw_disk_name *n, const void *bytes, struct bw_disk_room *room)
	bw_must_check;
/* 0, also when there is none; -EISDIR: not a file; -errno. */
int bw_disk_remove(int dir, const struct bw_disk_name *n) bw_must_check;

/*
 * Tells of each file that is named as ours and could be what its name says; what could not is deleted, as is
 * what each() says false to.  used_s: when it was written or touched last, seconds since 1970.  Ends early when
 * *stop.
 */
int bw_disk_scan(int dir, const atomic_bool *stop,
		 bool (*each)(void *ctx, const struct bw_disk_name *n, uint32_t used_s), void *ctx) bw_must_check;

/* Bytes that may still be written to the file system of dir. */
int bw_disk_free_bytes(int dir, uint64_t *ret) bw_must_check;

#endif
