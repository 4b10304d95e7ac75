/* SPDX-License-Identifier: Apache-2.0 */
/* From templates to the tree of their names. */
#include "fs/view.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define STEP_DIGITS 13u			/* of BW_VIEW_STEPS_MAX */
#define RANK_DIGITS 5u			/* of BW_RANKS_MAX */

/* A name that is being read: its node, and the text that goes with it. */
struct name {
	struct bw_view_node node;
	char text[BW_VIEW_NAME_MAX + 1];
	size_t len, longest;
};

/* ---- One name ----------------------------------------------------------------------------------- */

/* What stands between the field's word and its brace, as in Python: nothing, d, 08 or 08d. */
static const char *read_width(const char *at, uint8_t *ret)
{
	unsigned width = 0;

	if (*at == ':') {
		at++;
		if (at[0] == '0' && at[1] >= '1' && at[1] <= '9') {
			for (at++; isdigit((unsigned char)*at) && width <= BW_VIEW_WIDTH_MAX; at++)
				width = 10 * width + (unsigned)(*at - '0');
		} else if (*at != 'd') {
			return NULL;
		}
		at += *at == 'd';
	}
	/* One digit is what a number has anyway. */
	*ret = width > 1 ? (uint8_t)width : 0;
	return *at == '}' && width <= BW_VIEW_WIDTH_MAX ? at + 1 : NULL;
}

/* A field, at its opening brace.  NULL: the next is in *why. */
static const char *read_field(struct name *n, const char *at, const char **why)
{
	unsigned field = strncmp(at, "{step", 5) == 0 ? BW_VIEW_STEP : BW_VIEW_RANK;
	size_t digits = field == BW_VIEW_STEP ? STEP_DIGITS : RANK_DIGITS;

	*why = "has a brace that belongs to no {step} and no {rank}; a width is written {step:08d}, up to 20";
	if (strncmp(at, "{step", 5) && strncmp(at, "{rank", 5))
		return NULL;
	at = read_width(at + 5, &n->node.width[field - 1]);
	if (!at)
		return NULL;
	*why = field == BW_VIEW_STEP ? "has {step} twice" : "has {rank} twice";
	if (n->node.known & field)
		return NULL;
	*why = "has a digit or a field right behind a field, so that its names could be read in two ways";
	if (*at == '{' || isdigit((unsigned char)*at))
		return NULL;
	n->node.fields |= (uint8_t)field;
	n->node.known |= (uint8_t)field;
	n->longest += digits > n->node.width[field - 1] ? digits : n->node.width[field - 1];
	n->text[n->len++] = (char)field;
	return at;
}

static bool is_reserved(const char *text)
{
	static const char *const tops[] = {"step", "produce", "checkpoint", "status"};

	for (size_t i = 0; i < sizeof(tops) / sizeof(tops[0]); i++)
		if (strcmp(text, tops[i]) == 0)
			return true;
	return false;
}

/* Reads a name up to its slash or the end of the template.  NULL or what is wrong with it. */
static const char *read_name(struct name *n, const char **at)
{
	const char *why = NULL;

	while (**at && **at != '/') {
		if (n->len == BW_VIEW_NAME_MAX)
			return "has a name that could be longer than 255 bytes";
		if (**at != '{' && **at != '}') {
			n->text[n->len++] = *(*at)++;
			n->longest++;
			continue;
		}
		*at = read_field(n, *at, &why);
		if (!*at)
			return why;
	}
	n->text[n->len] = 0;
	if (!n->len)
		return "begins or ends with a slash, or has two in a row";
	if (strcmp(n->text, ".") == 0 || strcmp(n->text, "..") == 0)
		return "has a name that is . or ..";
	if (n->longest > BW_VIEW_NAME_MAX)
		return "has a name that could be longer than 255 bytes";
	if (n->node.parent == 0 && is_reserved(n->text))
		return "begins with step, produce, checkpoint or status, which are the mount's own";
	if (n->node.known == BW_VIEW_RANK)
		return "has {rank} in a name above that of {step}; it goes the other way round, or in one name";
	return NULL;
}

/* ---- Names of one directory ----------------------------------------------------------------------- */

static bool is_field(char c)
{
	return c == BW_VIEW_STEP || c == BW_VIEW_RANK;
}

static bool may_be_digit(char c)
{
	return is_field(c) || isdigit((unsigned char)c);
}

/* A field takes all digits there are, so names are compared from left to right as far as both have a field
 * in the same place; a digit in one where the other has a field leaves it open. */
static bool differ_from_left(const char *a, const char *b)
{
	for (; *a && *b; a++, b++) {
		if (is_field(*a) && is_field(*b))
			continue;
		if (is_field(*a) || is_field(*b))
			return !may_be_digit(*a) || !may_be_digit(*b);
		if (*a != *b)
			return true;
	}
	return *a || *b;
}

static bool differ_from_right(const char *a, const char *b)
{
	const char *end_a = a + strlen(a), *end_b = b + strlen(b);

	while (end_a > a && end_b > b) {
		char x = *--end_a, y = *--end_b;
		if (is_field(x) || is_field(y))
			return !may_be_digit(x) || !may_be_digit(y);
		if (x != y)
			return true;
	}
	return false;
}

/* Whether no name fits both.  Doubt is a no. */
static bool can_be_told_apart(const struct bw_views *v, const struct bw_view_node *old, const struct name *n)
{
	const char *text = v->text + old->text;

	return differ_from_left(text, n->text) || differ_from_right(text, n->text);
}

static bool is_same_name(const struct bw_views *v, const struct bw_view_node *old, const struct name *n)
{
	return strcmp(v->text + old->text, n->text) == 0 &&
	       memcmp(old->width, n->node.width, sizeof(old->width)) == 0;
}

/* Puts a name into the directory, or finds it there: a template that is given twice is one view. */
static const char *place_name(struct bw_views *v, const struct name *n, uint8_t *ret)
{
	for (uint8_t i = 1; i < v->nodes_n; i++) {
		const struct bw_view_node *old = &v->nodes[i];
		if (old->parent != n->node.parent)
			continue;
		if (is_same_name(v, old, n)) {
			if (old->file != n->node.file)
				return "has a file where another view has a directory";
			*ret = i;
			return NULL;
		}
		if (!can_be_told_apart(v, old, n))
			return "has names that could be taken for those of another view";
	}
	if (v->nodes_n == BW_VIEW_NODES_MAX || v->text_len + n->len + 1 > BW_VIEW_TEXT_MAX)
		return "is one too many: all views together have up to 31 names and 4096 bytes";
	if (n->node.file && v->views_n++ == BW_VIEWS_MAX)
		return "is one too many: a mount has up to 8 views";
	*ret = v->nodes_n++;
	v->nodes[*ret] = n->node;
	v->nodes[*ret].text = v->text_len;
	memcpy(v->text + v->text_len, n->text, n->len + 1);
	v->text_len += (uint16_t)(n->len + 1);
	return NULL;
}

/* ---- A template ----------------------------------------------------------------------------------- */

static const char *add(struct bw_views *v, const char *template)
{
	const char *at = template, *why;
	uint8_t node = 0, known = 0;

	if (strpbrk(template, "\"'\\"))	/* mount(8) hands on what was quoted for it */
		return "has a quote or a backslash, which names of a view have not";
	if (!strstr(template, "{step"))
		return "has no {step}";
	if (!strstr(template, "{rank"))
		return "has no {rank}";
	if (!v->nodes_n) {	/* the top directory, with an empty name */
		v->nodes_n = 1;
		v->text_len = 1;
	}
	for (;; at++) {
		struct name n = {.node = {.parent = node, .known = known}};
		why = read_name(&n, &at);
		if (why)
			return why;
		n.node.file = !*at;
		why = place_name(v, &n, &node);
		if (why || n.node.file)
			return why;
		known = n.node.known;
	}
}

static bool is_printable(const char *text)
{
	for (const char *p = text; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			return false;
	return true;
}

int bw_views_add(struct bw_views *v, const char *template, char *why, size_t why_len)
{
	struct bw_views next = *v;
	size_t len = strlen(template);

	if (!len || len > BW_VIEW_TEMPLATE_MAX || !is_printable(template)) {
		snprintf(why, why_len, "option view takes a path of up to %u bytes with {step} and {rank}, such as "
				       "step_{step}/rank_{rank}.bin", BW_VIEW_TEMPLATE_MAX);
		return -EINVAL;
	}
	const char *wrong = add(&next, template);

	if (wrong) {
		snprintf(why, why_len, "option view: \"%.200s\" %s", template, wrong);
		return -EINVAL;
	}
	*v = next;
	return 0;
}
