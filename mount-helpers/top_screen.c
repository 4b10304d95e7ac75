/* SPDX-License-Identifier: Apache-2.0 */
#include "mount-helpers/top_screen.h"

#include "store/base/buf.h"
#include "store/base/fd.h"

#include <string.h>
#include <sys/ioctl.h>

#define ENTER "\033[?1049h\033[?25l\033[2J"
#define LEAVE "\033[?25h\033[?1049l"
#define DRAW_MAX (1u << 20)

static void send(const struct bw_screen *s, const char *text)
{
	/* A terminal that has gone is heard of by SIGHUP. */
	int err = bw_write_all(s->fd, text, strlen(text));

	(void)err;
}

int bw_screen_begin(struct bw_screen *s, int fd)
{
	struct termios raw;

	*s = (struct bw_screen){.fd = fd};
	if (tcgetattr(fd, &s->before))
		return -errno;
	raw = s->before;
	raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);	/* signals stay: Ctrl-C and Ctrl-Z */
	if (tcsetattr(fd, TCSAFLUSH, &raw))
		return -errno;
	s->on = true;
	send(s, ENTER);
	return 0;
}

void bw_screen_end(struct bw_screen *s)
{
	if (!s->on)
		return;
	s->on = false;
	send(s, LEAVE);
	tcsetattr(s->fd, TCSAFLUSH, &s->before);
}

void bw_screen_size(const struct bw_screen *s, unsigned *ret_columns, unsigned *ret_rows)
{
	struct winsize size = {.ws_col = 0};

	if (ioctl(s->fd, TIOCGWINSZ, &size) || !size.ws_col || !size.ws_row)
		size = (struct winsize){.ws_col = 80, .ws_row = 24};
	*ret_columns = size.ws_col;
	*ret_rows = size.ws_row;
}

void bw_screen_draw(const struct bw_screen *s, const char *text, size_t len)
{
	bw_auto_buf struct bw_buf out = {.max = 0};
	const char *end = text + len;

	bw_buf_init(&out, DRAW_MAX);
	bw_buf_str(&out, "\033[H");
	while (text < end) {
		const char *nl = memchr(text, '\n', (size_t)(end - text));
		size_t n = (size_t)((nl ? nl : end) - text);

		bw_buf_add(&out, text, n);
		bw_buf_str(&out, "\033[K");
		text += n + 1;
		/* Behind the last line of the screen a newline would scroll it. */
		if (text < end)
			bw_buf_str(&out, "\r\n");
	}
	bw_buf_str(&out, "\033[J");
	send(s, bw_buf_text(&out));
}
