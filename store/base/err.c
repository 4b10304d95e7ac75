/* SPDX-License-Identifier: Apache-2.0 */
#include "store/base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int bw_err_errno(int err)
{
	if (err >= 0)
		return 0;
	switch (-err) {
#define X(name, class, text)                                                                       \
	case BW_E_##name:                                                                          \
		return class;
		BW_ERRORS(X)
#undef X
	default:
		return -err < BW_E_BASE ? -err : EIO;
	}
}

const char *bw_err_text(int err, char *buf, unsigned long len)
{
	switch (-err) {
#define X(name, class, text)                                                                       \
	case BW_E_##name:                                                                          \
		return text;
		BW_ERRORS(X)
#undef X
	default:
		break;
	}
	if (!len)
		return "error";
	const char *text = strerrordesc_np(-err);
	if (text)
		snprintf(buf, len, "%s", text);
	else
		snprintf(buf, len, "error %d", err);
	return buf;
}

void bw_cut_at_word(char *text, unsigned long len, int wanted)
{
	static const char more[] = " ...";

	if (wanted < 0 || (unsigned long)wanted < len || len < sizeof(more))
		return;
	unsigned long end = len - sizeof(more);

	unsigned long at = end;

	while (at && text[at] != ' ')
		at--;
	/* One word alone is cut, but not within a character. */
	while (!at && end && ((unsigned char)text[end] & 0xc0) == 0x80)
		end--;
	memcpy(text + (at ? at : end), more, sizeof(more));
}

int bw_refuse(char *why, unsigned long why_len, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	bw_cut_at_word(why, why_len, vsnprintf(why, why_len, fmt, ap));
	va_end(ap);
	return -EINVAL;
}

char *bw_make_plain(char *text)
{
	for (char *p = text; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
	return text;
}
