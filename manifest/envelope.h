/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The wrapping of every metadata object (manifest roots, index nodes): what it is, how long, which
 * codec, and checksums of the stored bytes, so that a truncated, foreign or damaged object is refused
 * before one byte of it is believed or unpacked, and no bit can change without being noticed.
 * docs/format.md gives the layout.
 */
#ifndef BW_MANIFEST_ENVELOPE_H
#define BW_MANIFEST_ENVELOPE_H

#include "store/base/buf.h"

#include <stdbool.h>

enum bw_envelope_kind { BW_ENVELOPE_ROOT = 'R', BW_ENVELOPE_NODE = 'N', BW_ENVELOPE_TOMBSTONE = 'T' };

/* Appends the wrapped bytes to out.  zstd above 4 kB of raw, when that is shorter. */
int bw_envelope_seal(enum bw_envelope_kind kind, const void *raw, size_t len, struct bw_buf *out)
	bw_must_check;

/*
 * Checks and unwraps; raw (initialised by the caller with its own maximum) gets the payload.
 * -BW_E_CORRUPT, -BW_E_FORMAT_NEWER, -ENOMEM.  A kind other than expected is CORRUPT, except that
 * *ret_kind tells a tombstone where a root was expected.  Allocates at most raw->max.
 */
int bw_envelope_open(enum bw_envelope_kind expected, const void *bytes, size_t len,
		     struct bw_buf *raw, enum bw_envelope_kind *ret_kind) bw_must_check;

#endif
