/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/model/trace.h"

#include <stdlib.h>
#include <string.h>

#define TRACE_MAX 256

static void print(FILE *out, unsigned number, const struct bw_move *m)
{
	if (!out)
		return;
	fprintf(out, "  %2u. ", number);
	fprintf(out, m->format, m->args[0], m->args[1], m->args[2]);
	fputc('\n', out);
}

/* The first move from state that leads to what stands for `want`, or that breaks something. */
static const struct bw_move *find(struct bw_explorer *e, const uint8_t *state, const uint8_t *want)
{
	const struct bw_moves *moves = bw_explorer_moves(e, state);

	for (size_t k = 0; k < moves->n; k++) {
		uint8_t next[BW_STATE_MAX];

		if (!want) {
			if (moves->moves[k].broken)
				return &moves->moves[k];
			continue;
		}
		memcpy(next, moves->moves[k].next, e->size);
		bw_explorer_canonical(e, next);
		if (!moves->moves[k].broken && !memcmp(next, want, e->size))
			return &moves->moves[k];
	}
	return NULL;
}

unsigned bw_trace(struct bw_explorer *e, FILE *out)
{
	uint32_t path[TRACE_MAX];
	unsigned n = 0, number = 0;
	uint8_t state[BW_STATE_MAX] = {0};
	uint32_t last = e->to == BW_NO_STATE ? e->from : e->to;

	for (uint32_t i = last; e->parents[i] != BW_NO_STATE && n < TRACE_MAX; i = e->parents[i])
		path[n++] = i;
	e->setting.model->start(&e->setting, state);
	while (n-- > 0) {
		const struct bw_move *m = find(e, state, e->states + (size_t)path[n] * e->size);

		if (!m)
			abort(); /* canonical() depends on more than the state: a defect of the
				    model */
		print(out, ++number, m);
		memcpy(state, m->next, e->size);
	}
	const struct bw_move *m = e->to == BW_NO_STATE ? find(e, state, NULL) : NULL;

	if (m)
		print(out, ++number, m);
	if (out)
		fprintf(out, "  broken: %s\n", e->broken);
	return number;
}
