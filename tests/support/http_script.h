/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small HTTP server on loopback that answers by a script and checks what it is asked.
 *
 * Rules are looked at in order; the first whose method and target are those of the request and that has answers left
 * gives the answer, unless the request lacks what the rule demands: then it is 418, and nobody forgets it.
 */
#ifndef BW_TESTS_HTTP_SCRIPT_H
#define BW_TESTS_HTTP_SCRIPT_H

#include <stdbool.h>

#define BW_SCRIPT_RULES 16

struct bw_script_rule {
	const char *method, *target;	/* target: path and query, as sent */
	bool prefix;			/* target is how it begins */
	const char *demands[4];		/* texts that the request's head or body must hold */
	int status;
	const char *headers;		/* more of them, each with its "\r\n"; NULL: none */
	const char *body;		/* NULL: "" */
	unsigned times;			/* answers; 0: any number */
	bool hangs;			/* says nothing until the server stops */
};

struct bw_script;
/* Rules are copied, their texts borrowed.  Ends the test program when it cannot. */
struct bw_script *bw_script_new(const struct bw_script_rule *rules, unsigned n);
void bw_script_free(struct bw_script *s);	/* NULL is fine */

const char *bw_script_url(const struct bw_script *s);	/* "http://127.0.0.1:PORT" */
void bw_script_answer(struct bw_script *s, unsigned rule, int status, const char *body);	/* from now on */
unsigned bw_script_hits(struct bw_script *s, unsigned rule);
unsigned bw_script_misses(struct bw_script *s);	/* requests that no rule wanted, or that lacked something */
void bw_script_wait(struct bw_script *s, unsigned rule, unsigned hits);	/* until it has that many */

#endif
