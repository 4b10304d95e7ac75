/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One transfer of the HTTP loop: an easy handle and what its callbacks gather.  Private to store/s3_http*.c.
 * Touched by the loop's thread only.
 */
#ifndef BW_STORE_S3_HTTP_PRIV_H
#define BW_STORE_S3_HTTP_PRIV_H

#include "store/base/buf.h"
#include "store/s3_http.h"

#define BW_HTTP_WORDS 256	/* CURL_ERROR_SIZE */
#define BW_HTTP_LINES_MAX 16	/* of the header of a request */

struct curl_slist;

/*
 * What a loop waits for: the sockets of its transfers, the time at which curl wants to be called by itself, and wakers.
 *
 * Curl tells of each socket what it waits for, but of one that it keeps for the next request nothing: that one stays
 * registered as it was, so a request over a kept connection changes nothing in the kernel.  Only the loop's thread
 * touches it, but for bw_sockets_wake().
 *
 * Sockets are also found by their local port: curl does not say which one a transfer uses, but tells its port.  One
 * that finds no room is registered each time anew, and has its acknowledgements as late as the kernel likes.
 */
#define BW_SOCKETS_MAX 256

struct bw_sockets {
	void *multi;		/* CURLM */
	int epoll, waker;
	int64_t timer_ns;
	bool owe;		/* a transfer may */
	unsigned n;
	struct bw_socket {
		int fd, port;		/* 0: it had none when it was looked at last */
		uint32_t wanted, watched;	/* EPOLLIN, EPOLLOUT: by curl, by the kernel */
	} at[BW_SOCKETS_MAX];
};

/* s is zeroed; it outlives multi.  -errno. */
int bw_sockets_init(struct bw_sockets *s, void *multi) bw_must_check;
void bw_sockets_done(struct bw_sockets *s);
/* Has easy open and close its sockets here; false: no memory. */
bool bw_sockets_watch(struct bw_sockets *s, void *easy);
/* From any thread: bw_sockets_wait(), now or the next time, does not wait. */
void bw_sockets_wake(struct bw_sockets *s);
/* Lets curl do what its time has come for; with force, whatever it says. */
void bw_sockets_tick(struct bw_sockets *s, bool force);
/* Until a socket or the timer has something for curl to do, which it then does; ms at most, -1: for ever. */
void bw_sockets_wait(struct bw_sockets *s, int ms);
int bw_sockets_find(struct bw_sockets *s, int port);	/* -1: unknown */
void bw_socket_acknowledge(int fd);

struct bw_transfer {
	void *easy;			/* CURL */
	struct bw_sockets *sockets;	/* borrowed */
	struct bw_http_request *r;	/* NULL: idle */
	struct curl_slist *lines;	/* [BW_HTTP_LINES_MAX]: the header, as it lies in r */
	struct curl_slist *connect_to;
	struct bw_transfer *next;	/* in the list of idle ones */
	size_t sent;			/* of the body, as curl took it */
	bool connected;			/* the request began to leave */
	int64_t connect_ns;		/* how long a connection may take */
	/* TCP is not in these: to a dead address it takes what the kernel allows, and more time does not help. */
	int64_t connect_took_ns;	/* its name and TLS took so long; -1: it was there, or is not yet */
	int64_t connect_named_ns;	/* its name was found in so long and TCP did not come about; 0: no such thing */
	int fd;				/* over this socket; -1: unknown */
	bool answering;			/* the first byte of a final answer was seen */
	bool owes;			/* that is not acknowledged yet */
	bool failed;			/* by a callback, as r->end says */
	uint64_t moved, mark;		/* bytes both ways; as it was at since_ns */
	int64_t since_ns;
	size_t got;			/* bytes of the answer's body in place */
	struct bw_blob *last;		/* of the chain r->blob: where the next bytes go */
	size_t in_last, to_come;	/* bytes that are in it; bytes for which there is no blob yet */
	struct bw_buf unsized;		/* a body whose length was not told */
	char words[BW_HTTP_WORDS];
};

/* t is zeroed.  Sets what is the same for all of its requests; false: no memory. */
bool bw_transfer_init(struct bw_transfer *t, struct bw_sockets *sockets, const struct bw_s3_config *config)
	bw_must_check;
void bw_transfer_done(struct bw_transfer *t);
/* Over a connection that takes connect_ns at most to come about.  False: no memory. */
bool bw_transfer_begin(struct bw_transfer *t, struct bw_http_request *r, int64_t now, int64_t connect_ns)
	bw_must_check;
/* Of an answer that has begun and is not whole, the header is acknowledged, once. */
void bw_transfer_acknowledge(struct bw_transfer *t);
/* Bytes came too slowly for too long. */
bool bw_transfer_is_slow(struct bw_transfer *t, int64_t now);
/* Whether anything of the request left. */
bool bw_transfer_was_sent(const struct bw_transfer *t);
void bw_transfer_not_connected(struct bw_transfer *t);	/* at the end: sets connect_named_ns if so */
/* How long the next connection may take, by how this one came about or did not, of which a CURLcode tells. */
int64_t bw_transfer_next_connect_ns(const struct bw_transfer *t, int code, int64_t now_ns);
/* Fills in the result of t->r by a CURLcode; t is idle then and may begin again.  Does not call done(). */
void bw_transfer_end(struct bw_transfer *t, int code);
/* The same for one the loop cut short. */
void bw_transfer_cut(struct bw_transfer *t, enum bw_http_end end, const char *words);

/* A header field, without its line end, into the fields of r. */
void bw_http_header(struct bw_http_request *r, const char *line, size_t len);

#endif
