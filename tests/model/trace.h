/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tells how a state that breaks an invariant is reached: the moves are made again from the start,
 * with the mounts keeping their names, though the explorer exchanged them as it liked.
 */
#ifndef BW_TESTS_MODEL_TRACE_H
#define BW_TESTS_MODEL_TRACE_H

#include "tests/model/explorer.h"

#include <stdio.h>

/* After bw_explore() said BW_BROKEN.  Returns the number of moves; out may be NULL. */
unsigned bw_trace(struct bw_explorer *e, FILE *out);

#endif
