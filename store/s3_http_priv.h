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

struct curl_slist;

/*
 * The sockets that curl has open, by local port: curl does not say which one a transfer uses, but tells its port.
 * One that finds no room is not known, and has its acknowledgements as late as the kernel likes.
 */
#define BW_SOCKETS_MAX 256

struct bw_sockets {
	unsigned n;
	struct bw_socket {
		int fd, port;		/* 0: it had none when it was looked at last */
	} at[BW_SOCKETS_MAX];
};

/* Has easy open and close its sockets here; false: no memory.  s outlives the multi handle. */
bool bw_sockets_watch(struct bw_sockets *s, void *easy);
int bw_sockets_find(struct bw_sockets *s, int port);	/* -1: unknown */
void bw_socket_acknowledge(int fd);

struct bw_transfer {
	void *easy;			/* CURL */
	struct bw_sockets *sockets;	/* borrowed */
	struct bw_http_request *r;	/* NULL: idle */
	struct curl_slist *headers, *connect_to;
	struct bw_transfer *next;	/* in the list of idle ones */
	size_t sent;			/* of the body, as curl took it */
	bool connected;			/* the request began to leave */
	int fd;				/* over this socket; -1: unknown */
	bool answering;			/* the first byte of a final answer was seen */
	bool failed;			/* by a callback, as r->end says */
	uint64_t moved, mark;		/* bytes both ways; as it was at since_ns */
	int64_t since_ns;
	size_t got;			/* bytes of the answer's body in place */
	struct bw_blob *last;		/* of the chain r->blob: where the next bytes go */
	size_t in_last, to_come;	/* bytes that are in it; bytes for which there is no blob yet */
	struct bw_buf unsized;		/* a body whose length was not told */
	char words[BW_HTTP_WORDS];
};

/* What is the same for all of them; false: no memory. */
bool bw_transfer_begin(struct bw_transfer *t, const struct bw_s3_config *config,
		       struct bw_http_request *r, int64_t now);
/* Bytes came too slowly for too long. */
bool bw_transfer_is_slow(struct bw_transfer *t, int64_t now);
/* Whether anything of the request left. */
bool bw_transfer_was_sent(const struct bw_transfer *t);
/* Fills in the result of t->r by a CURLcode; t is idle then and may begin again.  Does not call done(). */
void bw_transfer_end(struct bw_transfer *t, int code);
/* The same for one the loop cut short. */
void bw_transfer_cut(struct bw_transfer *t, enum bw_http_end end, const char *words);

/* A header field, without its line end, into the fields of r. */
void bw_http_header(struct bw_http_request *r, const char *line, size_t len);

#endif
