/* SPDX-License-Identifier: Apache-2.0 */
#include "manifest/root.h"

#include <stdlib.h>
#include <string.h>

void bw_change_done(struct bw_change *c)
{
	free(c->state);
	free(c->text);
	free(c->footer);
	c->footer = NULL;
	c->state = NULL;
	c->text = NULL;
}

int bw_change_copy(struct bw_change *to, const struct bw_change *from)
{
	uint8_t *state = NULL, *footer = NULL;
	char *text = NULL;

	if (from->state) {
		state = malloc((size_t)from->state_len + 1);	/* an empty state is not NULL */
		if (!state)
			goto fail;
		memcpy(state, from->state, from->state_len);
	}
	if (from->text) {
		text = strdup(from->text);
		if (!text)
			goto fail;
	}
	if (from->footer)
		footer = malloc(from->footer_len);
	if (footer)		/* else it does without: it is a help */
		memcpy(footer, from->footer, from->footer_len);
	*to = *from;
	to->footer = footer;
	to->state = state;
	to->text = text;
	return 0;
fail:
	free(state);
	free(text);
	return -ENOMEM;
}
