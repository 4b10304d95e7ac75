/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every size that is not decided by a user stands here, once.
 */
#ifndef BW_BASE_LIMITS_H
#define BW_BASE_LIMITS_H

/* Names and keys. */
#define BW_NAME_MAX 64			 /* producer and job names, bytes without the NUL */
#define BW_KEY_MAX 511			 /* object keys below the store URL, bytes without the NUL */
#define BW_LARGE_OBJECT (5u << 20)	 /* a store may send what is longer in parts: none is shorter */
#define BW_LIST_PAGE_MAX 1000		 /* keys, or uploads, in one page of a listing */
#define BW_UPLOAD_ID_MAX 1023		 /* id of an unfinished upload, bytes without the NUL */
#define BW_DELETE_MANY_MAX 1000		 /* keys in one delete of many */

/* Words for people. */
#define BW_DETAIL_MAX 1023u		 /* what is told of a request that failed, bytes without the NUL */
#define BW_WHY_MAX 2047u		 /* a sentence that says why something failed, bytes without the NUL */

/* Streams. */
#define BW_RANKS_MAX 65536u		 /* ranks of a stream */
#define BW_STEPS_MAX (UINT64_C(1) << 45) /* steps of a stream: they must fit an inode number */
#define BW_COUNTER_MAX (UINT64_C(1) << 63) /* seq, step and rank are below this when parsed */

/* Format. */
#define BW_BLOCK_SIZE (1u << 20)	 /* raw bytes of a block when a stream is created */
#define BW_BLOCK_SIZE_MAX (16u << 20)	 /* largest block a reader accepts */
#define BW_FOOTER_MAX (64u << 20)	 /* TGB footer, bytes */
#define BW_ROOT_RAW_MAX (16u << 20)	 /* manifest root before compression, bytes */
#define BW_NODE_RAW_MAX (1u << 20)	 /* index node before compression, bytes */
#define BW_STREAM_JSON_MAX (64u << 10)	 /* stream.json, bytes */
#define BW_TOMBSTONE_MAX 128u		 /* a tombstoned root, bytes */
#define BW_JSON_DEPTH_MAX 16		 /* nesting of our JSON */

/* The root (protocol.md). */
#define BW_LEAF_ENTRIES 128u		 /* committed steps in an index leaf */
#define BW_TAIL_MAX 1024u		 /* newest entries a root may hold unfolded */
#define BW_TAIL_FOLD 256u		 /* a tail this long folds its oldest leaf */
#define BW_FANOUT 64u			 /* pointers in an index node */
#define BW_LEVELS_MAX 4			 /* index levels; 128*64^3 steps need four */
#define BW_LEVEL_FOLD 64u		 /* a level with this many pointers folds its oldest node */
#define BW_TOP_POINTERS_MAX 1024u	 /* pointers of one level; level 2 folds at so many, level 3 never */
#define BW_PRODUCERS_MAX 1024u
#define BW_JOBS_MAX 64u
#define BW_MARKERS_MAX 256u		 /* of one job */
#define BW_MARKER_TEXT_MAX 255u		 /* bytes */
#define BW_STATE_INLINE_MAX 512u	 /* bytes of one producer's state in the root */
#define BW_STATES_INLINE_MAX (32u << 10) /* bytes of all of them */
#define BW_FOOTER_INLINE_MAX (8u << 10)	 /* bytes of one batch's footer in the root */
#define BW_FOOTERS_INLINE_MAX (32u << 10) /* bytes of all of them */
#define BW_STATE_MAX (16u << 20)	 /* a state object, bytes */
#define BW_CHANGES_MAX 1024u		 /* operations in one version */
#define BW_APPENDS_MAX 256u		 /* TGBs in one version */

/* The mount. */
#define BW_PENDING_MAX 1024u		 /* queued batches of one producer */
#define BW_ERRORS_KEPT 256u		 /* lines of /status/errors */

#endif
