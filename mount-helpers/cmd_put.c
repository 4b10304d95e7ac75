/* SPDX-License-Identifier: Apache-2.0 */
#include "mount-helpers/session.h"
#include "mount-helpers/slice_file.h"

#include "fs/jobs.h"
#include "manifest/committer.h"
#include "store/base/parse.h"

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SEQ = 1, STATE };

#define LOOK_AGAIN_US 500000

static const struct option longs[] = {
	{"seq", required_argument, NULL, SEQ},
	{"state", required_argument, NULL, STATE},
	BW_STORE_OPTIONS,
	{0},
};

/* All that one put needs, from its command line to its commit. */
struct put {
	const struct bw_command *c;
	struct bw_store_options store;
	struct bw_session s;
	const char *producer;
	bool has_seq;
	uint64_t seq;
	const char *state_path;		/* NULL: none */
	struct bw_buf state;
	char **paths;			/* [ranks] */
	struct bw_slice_file *files;	/* owned, [ranks] */
	struct bw_body **bodies;	/* owned, [ranks], into files */
	struct bw_progress progress;
	struct bw_file_sink sink;
	struct bw_committer *committer;
	struct bw_producer_entry held;	/* name, epoch and next are what counts here */
	struct bw_batch *batch;
};

static int say_bad_file(struct put *p, const char *path, int err)
{
	if (err == -ENODATA)
		return bw_say(p->c, BW_EXIT_WRONG,
			      "%s is empty; a rank without data needs a valid empty container", path);
	if (err == -ESPIPE)
		return bw_say(p->c, BW_EXIT_WRONG,
			      "%s is no plain file; slices are read twice, so write them to files first",
			      path);
	if (err == -ESTALE)
		return bw_say(p->c, BW_EXIT_WRONG,
			      "%s changed while it was read, so nothing was committed", path);
	bw_say_err(p->c, err, "cannot read %s", path);
	return BW_EXIT_WRONG;
}

static int open_files(struct put *p)
{
	uint32_t ranks = p->s.stream.options.ranks;
	uint64_t total = 0;

	p->files = calloc(ranks, sizeof(*p->files));
	p->bodies = calloc(ranks, sizeof(*p->bodies));
	if (!p->files || !p->bodies)
		return bw_say_err(p->c, -ENOMEM, "cannot hold %" PRIu32 " files", ranks);
	for (uint32_t i = 0; i < ranks; i++) {
		int r = bw_slice_file_init(&p->files[i], p->paths[i], &p->progress);

		if (r < 0)
			return say_bad_file(p, p->paths[i], r);
		p->bodies[i] = &p->files[i].body;
		total += p->files[i].body.size;
	}
	/* Each byte is read for its checksum, and again for the upload unless it was compressed. */
	p->progress.total = p->s.stream.options.compress == BW_COMPRESS_NONE ? 2 * total : total;
	return 0;
}

static int read_state(struct put *p)
{
	ssize_t n = 1;

	if (!p->state_path)
		return 0;
	int fd = open(p->state_path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return say_bad_file(p, p->state_path, -errno);
	while (n > 0) {
		void *room = bw_buf_room(&p->state, 65536);

		if (!room)
			break;
		n = read(fd, room, 65536);
		if (n > 0)
			bw_buf_used(&p->state, (size_t)n);
	}
	int err = n < 0 ? -errno : 0;

	close(fd);
	if (err)
		return say_bad_file(p, p->state_path, err);
	if (bw_buf_err(&p->state) < 0 || p->state.len > BW_STATE_MAX)
		return bw_say(p->c, BW_EXIT_WRONG,
			      "%s is larger than the %u MiB that a state may have", p->state_path,
			      BW_STATE_MAX >> 20);
	return 0;
}

/* The step of a committed batch when it is among the newest. */
static bool find_step(const struct bw_root *root, const char *producer, uint64_t seq, uint64_t *ret)
{
	const struct bw_producer_entry *e = bw_root_producer(root, producer);

	if (e && e->next == seq + 1) {
		*ret = e->last_step;
		return true;
	}
	for (uint32_t i = 0; i < root->tail_n; i++) {
		const struct bw_entry *t = &root->tail[i];

		if (t->seq == seq && strcmp(t->producer, producer) == 0) {
			*ret = t->step;
			return true;
		}
	}
	return false;
}

/* --seq must be what is due.  0 or an exit code with the sentence said. */
static int check_seq(struct put *p, uint64_t next, const struct bw_root *root)
{
	uint64_t step;

	if (!p->has_seq || p->seq == next)
		return 0;
	if (p->seq > next)
		return bw_say(p->c, BW_EXIT_WRONG,
			      "seq %" PRIu64 " would leave a gap: the next seq of %s is %" PRIu64, p->seq,
			      p->producer, next);
	if (find_step(root, p->producer, p->seq, &step))
		return bw_say(p->c, BW_EXIT_WRONG,
			      "seq %" PRIu64 " of %s is committed already, as step %" PRIu64
			      "; the next seq is %" PRIu64, p->seq, p->producer, step, next);
	return bw_say(p->c, BW_EXIT_WRONG,
		      "seq %" PRIu64 " of %s is committed already; the next seq is %" PRIu64, p->seq,
		      p->producer, next);
}

/* What is compressed goes through a file. */
static int open_sink(struct put *p)
{
	if (p->s.stream.options.compress == BW_COMPRESS_NONE)
		return 0;
	char text[128];
	int r = bw_file_sink_init(&p->sink);

	return r < 0 ? bw_say(p->c, BW_EXIT_WRONG, "no file can be made in %s (%s): name another directory with TMPDIR",
			      bw_file_sink_folder(), bw_err_text(r, text, sizeof(text))) : 0;
}

/* Checks all that can be known before the producer is taken from whoever has it. */
static int check_first(struct put *p, int paths_n)
{
	const struct bw_root *root = p->s.root;
	const struct bw_producer_entry *e = bw_root_producer(root, p->producer);
	uint32_t ranks = p->s.stream.options.ranks;
	int r = bw_root_may_write(root);

	if (r < 0)
		return bw_say_err(p->c, r, "cannot write to %s", p->s.url);
	if ((uint64_t)paths_n != ranks)
		return bw_say(p->c, BW_EXIT_USAGE,
			      "a batch of this stream has %" PRIu32 " file%s, one a rank in their order;"
			      " %d given", ranks, ranks == 1 ? "" : "s", paths_n);
	/* Who asks whether a seq is committed has an answer at the end of a stream too. */
	int code = check_seq(p, e ? e->next : 0, root);

	if (!code && root->sealed)
		code = bw_say_err(p->c, -BW_E_SEALED, "cannot commit");
	if (!code)
		code = open_files(p);
	if (!code)
		code = open_sink(p);
	return code ? code : read_state(p);
}

static int say_failed(struct put *p, int err)
{
	for (uint32_t i = 0; p->files && i < p->s.stream.options.ranks; i++)
		if (atomic_load(&p->files[i].err) < 0)
			return say_bad_file(p, p->files[i].path, atomic_load(&p->files[i].err));
	switch (-err) {
	case BW_E_FENCED:
		return bw_say(p->c, BW_EXIT_WRONG,
			      "somebody else has taken producer %s meanwhile, so nothing was committed;"
			      " run this again when they are done", p->producer);
	case BW_E_UNKNOWN:
		return bw_say(p->c, BW_EXIT_STORE,
			      "the store did not say whether it was committed; it was if batchweave status %s says that"
			      " the next seq of %s is above %" PRIu64, p->s.url, p->producer, p->held.next);
	default:
		return bw_say_err(p->c, err, "cannot commit seq %" PRIu64 " of %s", p->held.next,
				  p->producer);
	}
}

/* P7: until the slowest job has come near enough.  Ctrl-C ends it; nothing is taken from anybody before. */
static int wait_for_jobs(struct put *p)
{
	bool said = false;

	for (;; usleep(LOOK_AGAIN_US)) {
		struct bw_root *root;
		int r = bw_head_refresh(p->s.head, bw_session_deadline(), &root);

		if (r < 0)
			return bw_say_err(p->c, r, "cannot read the newest manifest");
		const struct bw_job *slowest = bw_jobs_slowest(root);
		bool waits = !root->sealed && bw_jobs_too_far(&p->s.stream, root, 1);

		if (waits && !said)
			bw_say(p->c, 0,
			       "waiting: the head is %" PRIu64 ", job %s stands at step %" PRIu64
			       ", and producers may run %" PRIu64 " steps ahead of it", root->head, slowest->name,
			       bw_job_stands(root, slowest), p->s.stream.options.max_ahead);
		said |= waits;
		bw_root_unref(root);
		if (!waits)
			return 0;
	}
}

static int take(struct put *p)
{
	int r = bw_committer_new(p->s.store, &p->s.stream, p->s.head, p->s.opened_ns, NULL, &p->committer);

	if (r == 0)
		r = bw_committer_take(p->committer, p->producer, bw_session_commit_deadline(), &p->held);
	if (r < 0)
		return bw_say_err(p->c, r, "cannot take producer %s", p->producer);
	struct bw_root *root = bw_head_root(p->s.head);
	int code = check_seq(p, p->held.next, root);

	bw_root_unref(root);
	return code;
}

/*
 * Takes as long as the bytes move: the store cuts what stalls, and tries it some times more.  What has failed all the same is tried
 * for as long as any request.
 */
static int upload(struct put *p)
{
	int64_t give_up_ns = BW_NEVER, at_ns;

	for (unsigned times = 0;; times++) {
		int r = bw_batch_upload_sync(p->batch, p->s.store, BW_NEVER);

		if (r != -BW_E_UNKNOWN && r != -BW_E_UNREACHABLE && r != -BW_E_THROTTLED)
			return r;
		if (!times)
			give_up_ns = bw_session_deadline();
		at_ns = bw_batch_again_ns(times, give_up_ns);
		if (at_ns == BW_NEVER)
			return r == -BW_E_UNKNOWN ? -BW_E_UNREACHABLE : r;	/* nothing was committed, that is certain */
		bw_sleep(at_ns - bw_now());
	}
}

static int build_and_upload(struct put *p)
{
	const struct bw_stream *stream = &p->s.stream;
	struct bw_sink *sink = p->sink.fd < 0 ? NULL : &p->sink.sink;
	int r = bw_batch_build(stream, p->producer, p->held.epoch, p->held.next, p->bodies, sink, &p->batch);
	if (r == 0 && p->state_path) {
		struct bw_root *root = bw_head_root(p->s.head);

		r = bw_batch_set_state(p->batch, p->state.bytes, p->state.len, bw_root_state_room(root));
		bw_root_unref(root);
	}
	if (r == 0)
		r = upload(p);
	return r < 0 ? say_failed(p, r) : 0;
}

static int append(struct put *p, struct bw_txn_change *ret)
{
	struct bw_change change = {0};
	int r = bw_batch_change(p->batch, bw_committer_owner(p->committer), &change);

	if (r == 0)
		r = bw_committer_sync(p->committer, &change, bw_session_commit_deadline(), ret);
	bw_change_done(&change);
	return r;
}

static int commit(struct put *p)
{
	struct bw_txn_change result = {0};
	int r = append(p, &result);

	if (r == -BW_E_LIMIT && bw_batch_state_apart(p->batch)) {
		r = upload(p);
		if (r == 0)
			r = append(p, &result);
	}
	if (r < 0)
		return say_failed(p, r);
	printf("%" PRIu64 "\n", result.step);
	return BW_EXIT_DONE;
}

static void on_interrupt(int sig)
{
	static const char text[] = "batchweave put: interrupted; whether the batch was committed shows"
				   " in the next seq that batchweave status tells\n";

	(void)sig;
	if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
		_exit(BW_EXIT_INTERRUPTED);
	_exit(BW_EXIT_INTERRUPTED);
}

static int put(struct put *p, const char *url, int paths_n)
{
	int code = bw_session_open(&p->s, p->c, url, &p->store, true);

	if (!code)
		code = check_first(p, paths_n);
	if (code)
		return code;
	if (p->s.stream.options.max_ahead)
		code = wait_for_jobs(p);
	if (code)
		return code;
	signal(SIGINT, on_interrupt);
	code = take(p);
	if (!code)
		code = build_and_upload(p);
	return code ? code : commit(p);
}

static void put_done(struct put *p)
{
	bw_batch_free(p->batch);
	bw_committer_free(p->committer, bw_now());
	bw_session_done(&p->s);
	bw_file_sink_done(&p->sink);
	bw_buf_done(&p->state);
	free(p->files);
	free(p->bodies);
}

static int parse(struct put *p, int argc, char **argv)
{
	int option, code;

	bw_store_options_init(&p->store);
	while ((option = bw_option_of(p->c, argc, argv, longs, &p->store, &code)) != -1) {
		if (option == BW_OPT_STOP)
			return code;
		if (option == STATE) {
			p->state_path = optarg;
			continue;
		}
		if (bw_parse_u64(optarg, BW_COUNTER_MAX - 1, &p->seq) < 0)
			return bw_say(p->c, BW_EXIT_USAGE,
				      "--seq must be a plain decimal number, not '%s'", optarg);
		p->has_seq = true;
	}
	if (argc - optind < 3)
		return bw_say_usage(p->c);
	p->producer = argv[optind + 1];
	p->paths = argv + optind + 2;
	if (!bw_name_valid(p->producer))
		return bw_say(p->c, BW_EXIT_USAGE,
			      "a producer's name is 1 to 64 letters, digits, dots, dashes and underscores"
			      " and begins with a letter or a digit; '%s' is not", p->producer);
	return -1;
}

int bw_cmd_put(const struct bw_command *c, int argc, char **argv)
{
	struct put p = {.c = c, .sink = {.fd = -1}};
	int code = parse(&p, argc, argv);

	if (code >= 0)
		return code;
	bw_buf_init(&p.state, BW_STATE_MAX + 65536);
	bw_progress_init(&p.progress, "committing", "B", 0, true);
	code = put(&p, argv[optind], argc - optind - 2);
	bw_progress_done(&p.progress);
	put_done(&p);
	return code;
}
