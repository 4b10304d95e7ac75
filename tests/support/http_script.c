/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/http_script.h"

#include "store/base/sync.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define REQUEST_MAX (128u << 10)

struct bw_script {
	int listener, stop_fd;
	char url[64];
	pthread_t thread;
	struct bw_mutex lock;	/* what follows */
	struct bw_cond cond;
	struct bw_script_rule rules[BW_SCRIPT_RULES];
	unsigned hits[BW_SCRIPT_RULES];
	unsigned n, misses;
};

static void must(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "scripted server: %s: %s\n", what, strerror(errno));
	abort();
}

static bool stopped(struct bw_script *s, int fd)
{
	struct pollfd fds[] = {{.fd = s->stop_fd, .events = POLLIN}, {.fd = fd, .events = POLLIN}};

	while (poll(fds, fd < 0 ? 1 : 2, -1) < 0)
		must(errno == EINTR, "poll");
	return fds[0].revents;
}

static bool complete(const char *text, size_t len)
{
	const char *end = strstr(text, "\r\n\r\n"), *said;

	if (!end)
		return false;
	said = strcasestr(text, "\r\nContent-Length:");
	size_t body = said && said < end ? strtoul(said + 17, NULL, 10) : 0;

	return len >= (size_t)(end - text) + 4 + body;
}

static bool receive(struct bw_script *s, int fd, char *text)
{
	size_t len = 0;

	text[0] = 0;
	while (!complete(text, len)) {
		if (len == REQUEST_MAX || stopped(s, fd))
			return false;
		ssize_t n = recv(fd, text + len, REQUEST_MAX - len, 0);

		if (n <= 0)
			return false;
		len += (size_t)n;
		text[len] = 0;
	}
	return true;
}

static bool is_for(const struct bw_script_rule *r, const char *text)
{
	char line[2048];

	snprintf(line, sizeof(line), "%s %s%s", r->method, r->target,
		 r->prefix ? "" : " HTTP/1.1\r\n");
	return strncmp(text, line, strlen(line)) == 0;
}

/* The rule for a request, counted; lacking: it is for nobody, or lacks what the rule demands. */
static struct bw_script_rule choose(struct bw_script *s, const char *text)
{
	static const struct bw_script_rule lacking = {.status = 418};

	BW_LOCK_SCOPE(&s->lock);
	for (unsigned i = 0; i < s->n; i++) {
		struct bw_script_rule *r = &s->rules[i];
		bool good = true;

		if (!is_for(r, text) || (r->times && s->hits[i] >= r->times))
			continue;
		for (unsigned d = 0; d < 4 && r->demands[d]; d++)
			good = good && strstr(text, r->demands[d]);
		if (!good)
			break;
		s->hits[i]++;
		bw_cond_broadcast(&s->cond);
		return *r;
	}
	s->misses++;
	fprintf(stderr, "scripted server: unwanted: %.300s\n", text);
	return lacking;
}

static void serve(struct bw_script *s, int fd, char *text)
{
	if (!receive(s, fd, text))
		return;
	struct bw_script_rule r = choose(s, text);
	const char *body = r.body ? r.body : "";
	char head[1024];

	if (r.hangs) {
		stopped(s, -1);
		return;
	}
	int n = snprintf(head, sizeof(head), "HTTP/1.1 %d x\r\nContent-Length: %zu\r\n%sConnection: close\r\n\r\n",
			 r.status, strlen(body), r.headers ? r.headers : "");
	/* A client that has gone is no fault of the server. */
	if (send(fd, head, (size_t)n, MSG_NOSIGNAL) == n && *body)
		(void)!send(fd, body, strlen(body), MSG_NOSIGNAL);
	shutdown(fd, SHUT_WR);
}

static void *run(void *arg)
{
	struct bw_script *s = arg;
	char *text = malloc(REQUEST_MAX + 1);

	must(text, "memory");
	while (!stopped(s, s->listener)) {
		int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0)
			continue;
		serve(s, fd, text);
		close(fd);
	}
	free(text);
	return NULL;
}

struct bw_script *bw_script_new(const struct bw_script_rule *rules, unsigned n)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct bw_script *s = calloc(1, sizeof(*s));
	socklen_t len = sizeof(addr);

	must(s && n <= BW_SCRIPT_RULES, "memory");
	memcpy(s->rules, rules, n * sizeof(*rules));
	s->n = n;
	bw_mutex_init(&s->lock, BW_RANK_LEAF);
	bw_cond_init(&s->cond);
	s->stop_fd = eventfd(0, EFD_CLOEXEC);
	s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	must(s->stop_fd >= 0 && s->listener >= 0, "socket");
	must(bind(s->listener, (struct sockaddr *)&addr, sizeof(addr)) == 0, "bind");
	must(listen(s->listener, 64) == 0, "listen");
	must(getsockname(s->listener, (struct sockaddr *)&addr, &len) == 0, "getsockname");
	snprintf(s->url, sizeof(s->url), "http://127.0.0.1:%u", ntohs(addr.sin_port));
	must(bw_thread_start(&s->thread, "script", run, s) == 0, "thread");
	return s;
}

void bw_script_free(struct bw_script *s)
{
	if (!s)
		return;
	must(eventfd_write(s->stop_fd, 1) == 0, "eventfd");
	pthread_join(s->thread, NULL);
	close(s->listener);
	close(s->stop_fd);
	bw_cond_done(&s->cond);
	bw_mutex_done(&s->lock);
	free(s);
}

const char *bw_script_url(const struct bw_script *s)
{
	return s->url;
}

void bw_script_answer(struct bw_script *s, unsigned rule, int status, const char *body)
{
	BW_LOCK_SCOPE(&s->lock);
	s->rules[rule].status = status;
	s->rules[rule].body = body;
}

unsigned bw_script_hits(struct bw_script *s, unsigned rule)
{
	BW_LOCK_SCOPE(&s->lock);
	return s->hits[rule];
}

unsigned bw_script_misses(struct bw_script *s)
{
	BW_LOCK_SCOPE(&s->lock);
	return s->misses;
}

void bw_script_wait(struct bw_script *s, unsigned rule, unsigned hits)
{
	BW_LOCK_SCOPE(&s->lock);
	while (s->hits[rule] < hits)
		bw_cond_wait(&s->cond, &s->lock);
}
