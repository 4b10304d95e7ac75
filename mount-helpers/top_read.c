/* SPDX-License-Identifier: Apache-2.0 */
/* The status files of a mount, read into a look. */
#include "mount-helpers/top.h"

#include "store/base/clock.h"

#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const reasons[] = BW_WAIT_REASON_NAMES;

/* A number of len bytes that does not end in a NUL.  False: it is none. */
static bool number_of(const char *text, size_t len, double *ret)
{
	char copy[64], *end;

	if (!len || len >= sizeof(copy))
		return false;
	memcpy(copy, text, len);
	copy[len] = 0;
	*ret = strtod(copy, &end);
	return *end == 0 && end != copy && !strpbrk(copy, " \txX");
}

/* ---- metrics -------------------------------------------------------------------------------------- */

/* A sample: name, what stands in its braces, value; none of them ends in a NUL. */
struct sample {
	const char *name, *labels;
	size_t name_len, labels_len;
	double value;
};

/* Sums of samples.  with: a label it must carry; NULL: whatever it has. */
static const struct {
	const char *name, *with;
	enum bw_top_value v;
} wanted[] = {
	{"head_step", NULL, BW_TOP_HEAD},
	{"first_step", NULL, BW_TOP_FIRST},
	{"live_bytes", NULL, BW_TOP_LIVE},
	{"stream_bytes_total", NULL, BW_TOP_BYTES},
	{"commits_total", "result=\"ok\"", BW_TOP_COMMITS},
	{"commits_total", "result=\"failed\"", BW_TOP_FAILED},
	{"commits_total", "result=\"conflict\"", BW_TOP_CONFLICTS},
	{"commit_seconds_sum", NULL, BW_TOP_COMMIT_S},
	{"commit_attempts_sum", NULL, BW_TOP_ATTEMPTS},
	{"commit_attempts_count", NULL, BW_TOP_VERSIONS},
	{"commit_window_seconds", NULL, BW_TOP_WINDOW_S},
	{"store_requests_total", NULL, BW_TOP_REQUESTS},
	{"store_requests_total", "code=\"throttled\"", BW_TOP_BAD},
	{"store_requests_total", "code=\"denied\"", BW_TOP_BAD},
	{"store_requests_total", "code=\"full\"", BW_TOP_BAD},
	{"store_requests_total", "code=\"unreachable\"", BW_TOP_BAD},
	{"store_requests_total", "code=\"unknown\"", BW_TOP_BAD},
	{"store_requests_total", "code=\"corrupt\"", BW_TOP_BAD},
	{"store_retries_total", NULL, BW_TOP_RETRIES},
	{"store_throttled_total", NULL, BW_TOP_THROTTLED},
	{"store_send_rate", NULL, BW_TOP_SEND_RATE},
	{"store_request_seconds_count", "op=\"get\"", BW_TOP_GETS},
	{"store_request_seconds_sum", "op=\"get\"", BW_TOP_GET_S},
	{"store_request_seconds_count", "op=\"put\"", BW_TOP_PUTS},
	{"store_request_seconds_sum", "op=\"put\"", BW_TOP_PUT_S},
	{"store_bytes_total", "dir=\"in\"", BW_TOP_IN},
	{"store_bytes_total", "dir=\"out\"", BW_TOP_OUT},
	{"read_bytes_total", "source=\"cache\"", BW_TOP_READ_MEMORY},
	{"read_bytes_total", "source=\"disk\"", BW_TOP_READ_DISK},
	{"read_bytes_total", "source=\"store\"", BW_TOP_READ_STORE},
	{"useful_bytes_total", NULL, BW_TOP_USEFUL},
	{"checksum_failures_total", NULL, BW_TOP_CHECKSUMS},
	{"errors_total", NULL, BW_TOP_ERRORS},
	{"cache_bytes", NULL, BW_TOP_CACHE},
	{"disk_cache_bytes", NULL, BW_TOP_DISK_CACHE},
	{"staging_bytes", "place=\"memory\"", BW_TOP_STAGED},
	{"staging_bytes", "place=\"disk\"", BW_TOP_STAGED_DISK},
	{"memory_used_bytes", NULL, BW_TOP_MEMORY},
	{"memory_limit_bytes", NULL, BW_TOP_MEMORY_LIMIT},
};

static bool is_named(const struct sample *s, const char *name)
{
	return s->name_len == strlen(name) && memcmp(s->name, name, s->name_len) == 0;
}

static bool carries(const struct sample *s, const char *label)
{
	return memmem(s->labels, s->labels_len, label, strlen(label)) != NULL;
}

/* The text of a label that holds no quotes; false: it has none such, or it does not fit. */
static bool label_of(const struct sample *s, const char *begin, char *ret, size_t room)
{
	const char *at = memmem(s->labels, s->labels_len, begin, strlen(begin));

	if (!at)
		return false;
	at += strlen(begin);
	size_t left = (size_t)(s->labels + s->labels_len - at);
	const char *end = memchr(at, '"', left);

	if (!end || (size_t)(end - at) >= room)
		return false;
	memcpy(ret, at, (size_t)(end - at));
	ret[end - at] = 0;
	return true;
}

/* Names of ours are plain; any other could steer a terminal. */
static void make_plain(char *name)
{
	for (; *name; name++)
		if (!strchr("._-", *name) && !(*name >= '0' && *name <= '9') && !(*name >= 'a' && *name <= 'z') &&
		    !(*name >= 'A' && *name <= 'Z'))
			*name = '?';
}

static void add(double *to, double more)
{
	*to = isnan(*to) ? more : *to + more;
}

static struct bw_top_job *job_of(struct bw_top *t, char *name)
{
	make_plain(name);
	for (unsigned i = 0; i < t->jobs_n; i++)
		if (strcmp(t->jobs[i].name, name) == 0)
			return &t->jobs[i];
	if (t->jobs_n == BW_JOBS_MAX)
		return NULL;
	struct bw_top_job *j = &t->jobs[t->jobs_n++];

	*j = (struct bw_top_job){.lag = NAN, .markers = 0};
	snprintf(j->name, sizeof(j->name), "%s", name);
	return j;
}

static void take_bucket(struct bw_top *t, const struct sample *s)
{
	unsigned op = carries(s, "op=\"get\"") ? 0 : carries(s, "op=\"put\"") ? 1 : 2;
	char bound[32];
	double at;

	if (op == 2 || t->buckets_n[op] == BW_TOP_BUCKETS || !label_of(s, "le=\"", bound, sizeof(bound)))
		return;
	at = strcmp(bound, "+Inf") == 0 ? INFINITY : strtod(bound, NULL);
	t->buckets[op][t->buckets_n[op]++] = (struct bw_top_bucket){.bound = at, .count = s->value};
}

static void take_sample(struct bw_top *t, const struct sample *s)
{
	char name[BW_NAME_MAX + 1];

	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		if (is_named(s, wanted[i].name) && (!wanted[i].with || carries(s, wanted[i].with)))
			add(&t->v[wanted[i].v], s->value);
	if (is_named(s, "store_request_seconds_bucket"))
		take_bucket(t, s);
	if (is_named(s, "lag_steps") && label_of(s, "job=\"", name, sizeof(name))) {
		struct bw_top_job *j = job_of(t, name);

		if (j)
			j->lag = s->value;
	}
	for (int r = 0; r < BW_WAIT_REASONS; r++) {
		char label[48];

		snprintf(label, sizeof(label), "reason=\"%s\"", reasons[r]);
		if (!carries(s, label))
			continue;
		if (is_named(s, "waiters"))
			t->v[BW_TOP_WAITERS + r] = s->value;
		if (is_named(s, "wait_seconds_sum"))
			t->v[BW_TOP_WAITED + r] = s->value;
	}
}

/* Comments are passed over, and so is what is of no mount. */
static int take_line(struct bw_top *t, const char *line, size_t len)
{
	static const char prefix[] = "batchweave_";
	size_t prefix_len = sizeof(prefix) - 1;

	if (!len || *line == '#' || len < prefix_len || memcmp(line, prefix, prefix_len) != 0)
		return 0;
	struct sample s = {.name = line + prefix_len};
	const char *end = line + len, *at = s.name;

	while (at < end && *at != '{' && *at != ' ')
		at++;
	s.name_len = (size_t)(at - s.name);
	if (at < end && *at == '{') {
		const char *close = memchr(at, '}', (size_t)(end - at));

		if (!close)
			return -EINVAL;
		s.labels = at + 1;
		s.labels_len = (size_t)(close - s.labels);
		at = close + 1;
	} else {
		s.labels = "";
	}
	if (at == end || *at++ != ' ' || !number_of(at, (size_t)(end - at), &s.value))
		return -EINVAL;
	take_sample(t, &s);
	return 0;
}

int bw_top_metrics(const char *text, size_t len, struct bw_top *t)
{
	if (!len || text[len - 1] != '\n')
		return -EINVAL;
	for (size_t at = 0; at < len;) {
		size_t line = (size_t)((const char *)memchr(text + at, '\n', len - at) - (text + at));
		int err = take_line(t, text + at, line);

		if (err)
			return err;
		at += line + 1;
	}
	return 0;
}

/* ---- status.json ---------------------------------------------------------------------------------- */

/* A text without its quotes, control characters and escapes; cut to fit. */
static void copy_text(char *to, size_t room, const char *text, size_t len)
{
	size_t n = 0;

	for (size_t i = 1; i + 1 < len && n + 1 < room; i++) {
		if (text[i] == '\\' && i + 2 < len)
			i++;
		to[n++] = (unsigned char)text[i] < 0x20 || (unsigned char)text[i] >= 0x7f ? '?' : text[i];
	}
	to[n] = 0;
}

/* "jobs.NAME.REST", where a name may have dots of its own: REST is what stands behind the last one of rest's length. */
static bool name_in(const char *path, const char *begin, const char *end, char name[BW_NAME_MAX + 1])
{
	size_t len = strlen(path), front = strlen(begin), back = strlen(end);

	if (len <= front + back || strncmp(path, begin, front) != 0 || strcmp(path + len - back, end) != 0)
		return false;
	len -= front + back;
	if (len > BW_NAME_MAX)
		return false;
	memcpy(name, path + front, len);
	name[len] = 0;
	return true;
}

static struct bw_top_producer *producer_of(struct bw_top *t, char *name)
{
	make_plain(name);
	for (unsigned i = t->producers_n; i-- > 0;)
		if (strcmp(t->producers[i].name, name) == 0)
			return &t->producers[i];
	if (t->producers_n == BW_PRODUCERS_MAX)
		return NULL;
	struct bw_top_producer *p = &t->producers[t->producers_n++];

	*p = (struct bw_top_producer){.next = NAN, .pending = NAN};
	snprintf(p->name, sizeof(p->name), "%s", name);
	return p;
}

static void take_producer(struct bw_top *t, const char *path, double number)
{
	char name[BW_NAME_MAX + 1];
	bool is_next = name_in(path, "producers.", ".next", name);

	if (!is_next && !name_in(path, "producers.", ".pending", name))
		return;
	struct bw_top_producer *p = producer_of(t, name);

	if (p)
		*(is_next ? &p->next : &p->pending) = number;
}

/* "jobs.train.markers.17": only how many there are counts. */
static void take_job(struct bw_top *t, const char *path, const char *text, size_t len)
{
	char name[BW_NAME_MAX + 1], cut[512];
	bool stops = name_in(path, "jobs.", ".stops_reclaiming", name);
	struct bw_top_job *j;

	snprintf(cut, sizeof(cut), "%s", path);
	char *dot = strrchr(cut, '.');

	if (dot)
		*dot = 0;
	if (!stops && !name_in(cut, "jobs.", ".markers", name))
		return;
	j = job_of(t, name);
	if (j && stops)
		j->stops = len == 4 && memcmp(text, "true", 4) == 0;
	else if (j)
		j->markers++;
}

static void take_status(void *ctx, const char *path, const char *text, size_t len)
{
	bool is_true = len == 4 && memcmp(text, "true", 4) == 0;
	struct bw_top *t = ctx;
	double number = NAN;

	if (strcmp(path, "stream") == 0)
		copy_text(t->stream, sizeof(t->stream), text, len);
	else if (strcmp(path, "store.url") == 0)
		copy_text(t->url, sizeof(t->url), text, len);
	else if (strcmp(path, "store.last_error") == 0)
		copy_text(t->trouble, sizeof(t->trouble), text, len);
	else if (strcmp(path, "store.ok") == 0)
		t->ok = is_true;
	else if (strcmp(path, "sealed") == 0)
		t->sealed = is_true;
	else if (strncmp(path, "jobs.", 5) == 0)
		take_job(t, path, text, len);
	else if (!number_of(text, len, &number))
		return;
	else if (strcmp(path, "ranks") == 0)
		t->ranks = number;
	else if (strcmp(path, "version") == 0)
		t->v[BW_TOP_VERSION] = number;
	else
		take_producer(t, path, number);
}

int bw_top_status(const char *text, size_t len, struct bw_top *t)
{
	if (!len || *text != '{')
		return -EINVAL;
	return bw_top_json_walk(text, len, take_status, t);
}

/* ---- Files ---------------------------------------------------------------------------------------- */

static int read_all(const char *dir, const char *name, struct bw_buf *out)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s/status/%s", dir, name) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = 1;

	if (fd < 0)
		return -errno;
	while (n > 0) {
		void *room = bw_buf_room(out, 65536);

		n = room ? read(fd, room, 65536) : -1;
		if (n > 0)
			bw_buf_used(out, (size_t)n);
	}
	int err = bw_buf_err(out);

	if (!err && n < 0)
		err = -errno;
	close(fd);
	return err;
}

int bw_top_read_mount(const char *dir, struct bw_top *t)
{
	bw_auto_buf struct bw_buf metrics = {.max = 0}, status = {.max = 0};
	int64_t began = bw_now();

	bw_buf_init(&metrics, BW_TOP_TEXT_MAX);
	bw_buf_init(&status, BW_TOP_TEXT_MAX);
	t->of_mount = true;
	int err = read_all(dir, "metrics", &metrics);

	t->at_ns = bw_now();
	if (!err)
		err = read_all(dir, "status.json", &status);
	if (!err)
		err = bw_top_metrics(bw_buf_text(&metrics), metrics.len, t);
	if (!err)
		err = bw_top_status(bw_buf_text(&status), status.len, t);
	t->v[BW_TOP_LOOK_S] = (double)(bw_now() - began) / 1e9;
	return err;
}
