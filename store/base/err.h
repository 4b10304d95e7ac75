/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One dialect of errors for the whole tree.
 *
 * A fallible function returns int: 0 (or a count) on success, and on failure -errno or one of the
 * negative private codes below.  A private code keeps apart what errno lumps together (a fenced
 * producer and a stale file handle are both ESTALE to the kernel) and is folded to its errno class
 * by bw_err_errno(), at the edge of the program and nowhere else.
 */
#ifndef BW_BASE_ERR_H
#define BW_BASE_ERR_H

#include <errno.h>

#define bw_must_check __attribute__((warn_unused_result))
#define bw_printf_like(fmt, first) __attribute__((format(printf, fmt, first)))

/* X(name, errno class, text for people) */
#define BW_ERRORS(X)                                                                               \
	X(CORRUPT, EIO, "an object is damaged or is not what its name says")                       \
	X(FORMAT_NEWER, ENOTSUP, "written by a newer release; upgrade this one")                   \
	X(UNREACHABLE, EIO, "the store cannot be reached")                                         \
	X(THROTTLED, EIO, "the store asks to slow down")                                           \
	X(DENIED, EACCES, "the store refuses access")                                              \
	X(UNKNOWN, EIO, "the outcome of a request is unknown")                                     \
	X(NOT_COMMITTED, ENOENT, "the step is not committed")                                      \
	X(RECLAIMED, ESTALE, "the step has been reclaimed")                                        \
	X(PAST_END, ENODATA, "past the end of a sealed stream")                                    \
	X(FENCED, ESTALE, "another mount has taken this producer")                                 \
	X(SEALED, EROFS, "the stream is sealed")                                                   \
	X(SEQ_GAP, EINVAL, "the seq is not the producer's next")                                   \
	X(SEQ_TAKEN, EEXIST, "the seq is committed already")                                       \
	X(LIMIT, ENOSPC, "a limit of the manifest is reached")                                     \
	X(CONTRADICTION, EIO, "the store contradicts what it said before")                         \
	X(NO_STREAM, ENOENT, "there is no stream here")                                            \
	X(DESTROYED, ESTALE, "the stream is being destroyed, or was")                              \
	X(FOREIGN, EEXIST, "the prefix holds objects of something else")                           \
	X(STOPPING, ECANCELED, "shutting down")                                                    \
	X(NO_THREADS, EAGAIN,                                                                      \
	  "no more threads or processes may be made here: raise ulimit -u, ulimit -v, or pids.max of the control group")

enum {
	BW_E_BASE = 4095,
#define X(name, class, text) BW_E_##name,
	BW_ERRORS(X)
#undef X
	BW_E_END
};

/* The positive errno to tell the kernel or a shell for err (a negative code); 0 for 0 or more. */
int bw_err_errno(int err);

/* A sentence without a full stop; static for private codes, else copied into buf.  Never NULL. */
const char *bw_err_text(int err, char *buf, unsigned long len);

/*
 * After snprintf() and its like, which want wanted bytes: a text that is longer than the len bytes at text ends with a
 * whole word and " ...".  What is read by people goes through here.
 */
void bw_cut_at_word(char *text, unsigned long len, int wanted);

/* Says in why what is wrong with what somebody gave; cut to why_len, which may be 0, behind a word.  -EINVAL. */
int bw_refuse(char *why, unsigned long why_len, const char *fmt, ...) bw_printf_like(3, 4);

/* What steers a terminal, or begins a line, becomes a question mark, as ls(1) and mount(8) show it.  text. */
char *bw_make_plain(char *text);

#endif
