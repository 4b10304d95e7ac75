/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the commands of batchweave(1) share: options, sentences on stderr, exit codes.
 *
 * A command is a row in the table of batchweave.c and a function.  It says at most one sentence on
 * stderr, "batchweave COMMAND: ...", and that sentence says what to do.  One thread.
 */
#ifndef BW_MOUNT_HELPERS_COMMAND_H
#define BW_MOUNT_HELPERS_COMMAND_H

#include "store/base/err.h"
#include "store/s3.h"

#include <getopt.h>

enum {
	BW_EXIT_DONE = 0,
	BW_EXIT_WRONG = 1,	/* found something wrong, or the answer is no */
	BW_EXIT_USAGE = 2,
	BW_EXIT_STORE = 3,	/* the store did not answer, or refuses */
	BW_EXIT_INTERRUPTED = 130,
};

struct bw_command {
	const char *name;
	const char *synopsis;	/* what follows the name: "URL [STEP]" */
	const char *summary;	/* one line of the list of commands */
	const char *help;	/* the rest of --help, lines that end in \n; "" for none */
	bool takes_store;	/* the options of a store as well: BW_STORE_OPTIONS */
	int (*run)(const struct bw_command *c, int argc, char **argv);	/* argv[0]: the name */
};

/* Says "batchweave NAME: ..." on stderr and returns code. */
int bw_say(const struct bw_command *c, int code, const char *fmt, ...) bw_printf_like(3, 4);
/* Says what, a colon and the text of err; returns BW_EXIT_STORE or BW_EXIT_WRONG as err asks. */
int bw_say_err(const struct bw_command *c, int err, const char *fmt, ...) bw_printf_like(3, 4);
/* The same for callees that explain themselves: why, or the text of err when why is empty. */
int bw_say_why(const struct bw_command *c, int err, const char *why);
/* BW_EXIT_STORE for errors that mean that the store did not answer or refused, else BW_EXIT_WRONG. */
int bw_exit_of(int err);
/* For work that ends in order: from now on SIGINT and SIGTERM, and SIGHUP unless it is ignored, are read from the signalfd
 * returned, which does not block and is the caller's.  -errno. */
int bw_take_signals(void) bw_must_check;
/* Before a call into a mount: where its daemon hangs, Ctrl-C ends the call only when nothing handles the signal. */
void bw_let_interrupts_kill(void);

/*
 * The next option: its val, or -1 when only operands are left (optind is the first), or BW_OPT_STOP
 * with *ret_code, the exit code: --help was answered or an error was said.  Options may stand before
 * and after operands.  longs needs no entry for --help and ends in zeros; a val that is a lower-case letter is
 * a short option as well.
 */
#define BW_OPT_STOP 1000
int bw_option(const struct bw_command *c, int argc, char **argv, const struct option *longs,
	      int *ret_code);

/* How to reach the store of an s3:// URL: the environment, and options of the command line over it. */
struct bw_store_options {
	struct bw_s3_config s3;
	char given[32];		/* the first such option that was written, "--endpoint"; "": none */
};
/* Rows of the table of long options of a command that takes them. */
#define BW_STORE_OPTION 900	/* their vals: from here to BW_OPT_STOP */
#define BW_STORE_OPTIONS                                                                           \
	{"endpoint", required_argument, NULL, BW_STORE_OPTION},                                    \
	{"region", required_argument, NULL, BW_STORE_OPTION + 1},                                  \
	{"profile", required_argument, NULL, BW_STORE_OPTION + 2},                                 \
	{"path-style", no_argument, NULL, BW_STORE_OPTION + 3},                                    \
	{"ca", required_argument, NULL, BW_STORE_OPTION + 4},                                      \
	{"no-verify-tls", no_argument, NULL, BW_STORE_OPTION + 5},                                 \
	{"unsigned-payload", no_argument, NULL, BW_STORE_OPTION + 6},                              \
	{"virtual-hosts", no_argument, NULL, BW_STORE_OPTION + 7}
void bw_store_options_init(struct bw_store_options *o);
/*
 * bw_option() for such a command: takes the store's options itself and returns the next one that is
 * not among them.
 */
int bw_option_of(const struct bw_command *c, int argc, char **argv, const struct option *longs,
		 struct bw_store_options *o, int *ret_code);

/* Says that the operands are wrong, with the synopsis; BW_EXIT_USAGE. */
int bw_say_usage(const struct bw_command *c);

/* The commands, in their order of appearance; the last one has no name. */
extern const struct bw_command bw_commands[];
void bw_print_help(const struct bw_command *c);	/* to stdout */

int bw_cmd_init(const struct bw_command *c, int argc, char **argv);
int bw_cmd_mount(const struct bw_command *c, int argc, char **argv);
int bw_cmd_status(const struct bw_command *c, int argc, char **argv);
int bw_cmd_ls(const struct bw_command *c, int argc, char **argv);
int bw_cmd_cat(const struct bw_command *c, int argc, char **argv);
int bw_cmd_put(const struct bw_command *c, int argc, char **argv);
int bw_cmd_destroy(const struct bw_command *c, int argc, char **argv);
int bw_cmd_checkpoint(const struct bw_command *c, int argc, char **argv);
int bw_cmd_seal(const struct bw_command *c, int argc, char **argv);
int bw_cmd_gc(const struct bw_command *c, int argc, char **argv);
int bw_cmd_watch(const struct bw_command *c, int argc, char **argv);
int bw_cmd_bench(const struct bw_command *c, int argc, char **argv);
int bw_cmd_fsck(const struct bw_command *c, int argc, char **argv);
int bw_cmd_doctor(const struct bw_command *c, int argc, char **argv);
int bw_cmd_top(const struct bw_command *c, int argc, char **argv);

#endif
