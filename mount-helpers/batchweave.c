/* SPDX-License-Identifier: Apache-2.0 */
/*
 * batchweave(1): the table of commands and the way into them.
 */
#include "mount-helpers/command.h"
#include "mount-helpers/output.h"
#include "mount-helpers/say.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int cmd_version(const struct bw_command *c, int argc, char **argv);
static int cmd_help(const struct bw_command *c, int argc, char **argv);

const struct bw_command bw_commands[] = {
	{"init",
	 "URL --ranks W [--keep N] [--margin N] [--grace TIME] [--max-ahead N]"
	 " [--compress none|zstd[:LEVEL]]",
	 "Creates a stream, after probing whether the store keeps its promises",
	 "  --ranks W       data-parallel ranks that read the stream, 1 to 65536\n"
	 "  --keep N        markers a job must hold before it releases steps (default 2)\n"
	 "  --margin N      steps kept below a job's oldest marker (default 0)\n"
	 "  --grace TIME    between reclaiming a step and deleting it (default 1h)\n"
	 "  --max-ahead N   steps that producers may run ahead of the slowest job (default 0: any)\n"
	 "  --compress HOW  none, zstd or zstd:LEVEL, for all slices (default none)\n"
	 "\n"
	 "A stream that exists with the same options is fine; with other options it is an error.  So is a place\n"
	 "inside another stream.\n",
	 true, bw_cmd_init},
	{"mount", "URL DIR [-o OPTION[,OPTION...]]", "Mounts a stream, as mount.batchweave(8) does", "",
	 false, bw_cmd_mount},
	{"status", "URL|DIR [--json]", "Tells head, producers and jobs of a stream or of a mount",
	 "  --json  one JSON object\n", true, bw_cmd_status},
	{"ls", "URL [STEP]", "Lists the steps, or the ranks of one step",
	 "Of a step: number, bytes, commit time, producer/seq.  Of a rank: number, bytes, checksum.\n",
	 true, bw_cmd_ls},
	{"cat", "URL STEP RANK", "Writes a slice to standard output, verified", "", true, bw_cmd_cat},
	{"put", "URL PRODUCER [--seq N] [--state FILE] FILE...",
	 "Commits one file a rank as the producer's next batch and prints its step",
	 "  --seq N       commit only if N is the producer's next seq\n"
	 "  --state FILE  at most 16 MiB that are committed with the batch\n"
	 "\n"
	 "Takes the producer from any mount that has it.  Waits where max-ahead says so.\n",
	 true, bw_cmd_put},
	{"checkpoint", "URL JOB [STEP] [--text TEXT] [--remove]",
	 "Registers a job, or sets one of its markers; or withdraws either",
	 "  --text TEXT  at most 255 bytes that are kept with the marker, such as a path\n"
	 "  --remove     withdraws the marker, or a job without markers\n"
	 "\n"
	 "A job is registered before it reads: the step that is printed is the oldest that is kept for it.\n"
	 "The marker of a live checkpoint that resumes reading at STEP keeps that step and all after it.\n",
	 true, bw_cmd_checkpoint},
	{"seal", "URL", "Ends a stream: no more commits, and who reads past the end is told so",
	 "Prints the number of steps.  It cannot be undone.\n", true, bw_cmd_seal},
	{"gc", "URL [--dry-run] [--force] [--once | --every TIME] [--rate N]",
	 "Deletes what no checkpoint needs any more, and what never became part of a commit",
	 "  --dry-run     writes nothing, tells what would be done\n"
	 "  --force       trims also when young markers release more than half of the live bytes\n"
	 "  --once        one pass (default)\n"
	 "  --every TIME  a pass each TIME, until Ctrl-C\n"
	 "  --rate N      objects deleted per second at most (default 1000)\n"
	 "\n"
	 "Says what was deleted, and what was kept and why.  Any number may run at once, and any may be\n"
	 "killed at any time: the next pass goes on where it was.  A pass makes tombstones of 4096 old\n"
	 "versions at most and says how many are left; with --every the next follows a second later then.\n",
	 true, bw_cmd_gc},
	{"watch", "URL --job J --dir DIR --format NAME [--once]",
	 "Keeps the markers of a job equal to the checkpoints in a trainer's directory",
	 "  --job J        the job; it is registered first, and all its markers are this command's\n"
	 "  --dir DIR      where the trainer keeps its checkpoints\n"
	 "  --format NAME  megatron, deepspeed, dcp (torchtitan too), hf, orbax, lightning, or\n"
	 "                 pattern:NAME[/PATH], such as pattern:step-{step}/DONE\n"
	 "  --scale N      steps of the stream for each step of the trainer (default 1)\n"
	 "  --offset N     marker = step * scale + offset (default 0)\n"
	 "  --settle TIME  between two looks that must agree (default 5s; 65s on network disks)\n"
	 "  --poll TIME    between looks when nothing seems to happen (default 30s)\n"
	 "  --once         takes two looks and ends, for cron\n"
	 "  --adopt        withdraws markers too that no checkpoint in DIR explains\n"
	 "\n"
	 "Runs until a signal ends it.  A marker is set for a checkpoint that is whole, and\n"
	 "withdrawn when it has gone; what cannot be read is kept.\n",
	 true, bw_cmd_watch},
	{"fsck", "URL [--data] [--json]", "Checks that the store holds what the manifest says",
	 "  --data  reads and verifies every block of every step as well\n"
	 "  --json  one JSON object\n"
	 "\n"
	 "Only reads, and may run beside mounts and gc.  Exit code 1: something is wrong, a line each.\n",
	 true, bw_cmd_fsck},
	{"bench", "URL|DIR [--rows LIST] [--ranks W] [--size SIZE] [--batches N | --seconds TIME] [-o OPTIONS] [--json]",
	 "Measures producing and consuming through mounts, and reports it",
	 "Of a URL it creates a stream below it, URL/bench-..., mounts it twice, and takes all of it away at the\n"
	 "end.  Of a DIR, where a stream is mounted, it reads; it writes there only when --rows names such a row.\n"
	 "\n"
	 "  --rows LIST        of ingest, tail, seek, catchup, hot, loop (all; of a DIR: those that read)\n"
	 "  --ranks W          slices of a batch, 1 to 4096 (8)\n"
	 "  --size SIZE        of a slice (1M)\n"
	 "  --batches N        that a row writes, and steps that seek and loop read (100)\n"
	 "  --seconds TIME     a row ends then at the latest\n"
	 "  --producers P      that write at a time (1)\n"
	 "  --writers N        threads of a producer, which share the slices of its batch (1)\n"
	 "  --readers R        of the ranks 0 to R-1 (8, or W)\n"
	 "  --compute MS       of a step in loop (10)\n"
	 "  --io SIZE          of one read or write at most (the whole slice)\n"
	 "  --from STEP        of a DIR: the first step to read (of the newest --batches)\n"
	 "  --to STEP          of a DIR: the step behind the last one to read (the head)\n"
	 "  -o, --options OPTIONS\n"
	 "                     of both mounts, as mount.batchweave(8) takes them\n"
	 "  --producer-options OPTIONS\n"
	 "                     of the mount that is written to\n"
	 "  --reader-options OPTIONS\n"
	 "                     of the mount that is read (wait=60 stands before them)\n"
	 "  --pid PID          of the daemon of DIR, to count its processor time\n"
	 "  --touch SIZE       memory that is taken and given back before the first row\n"
	 "  --json             one JSON object\n"
	 "  --samples          with every time that was measured, in --json\n"
	 "  --keep             leaves the stream, and says how to remove it\n",
	 true, bw_cmd_bench},
	{"doctor", "[URL] [-o OPTIONS] [--json]",
	 "Checks what a mount needs of this machine, of a store and of a stream",
	 "  -o, --options OPTIONS\n"
	 "            as the mount will have them: memory=, staging=, cache=, allow_other; with ro\n"
	 "            nothing is written to the store\n"
	 "  --json    one JSON object\n"
	 "\n"
	 "A line for each check: ok, note (may be meant so) or WRONG, with the remedy.  With a URL the store is\n"
	 "probed as by init, and what that writes is taken away again.  Exit code 1: something is wrong; 3: the\n"
	 "store does not answer.\n",
	 true, bw_cmd_doctor},
	{"top", "URL|DIR [--every TIME] [-n N | --once] [--json]",
	 "Shows live what a mount or a stream does",
	 "  --every TIME     between two looks (default 2s)\n"
	 "  -n, --number N   ends after N looks\n"
	 "  --once           the whole view once, then ends\n"
	 "  --json           one JSON object a look\n"
	 "\n"
	 "Of a DIR, where a stream is mounted: what that mount does.  Of a URL: what all mounts together commit.\n"
	 "On a terminal q or Ctrl-C ends it; elsewhere it prints a line a look.\n",
	 true, bw_cmd_top},
	{"destroy", "URL --yes-destroy NAME", "Deletes a whole stream",
	 "  --yes-destroy NAME  the stream's id, as batchweave init and status print it\n"
	 "\n"
	 "Unmount the stream everywhere first.  What was stopped before its end is gone on with by the same\n"
	 "command.  Objects that are not of the stream are left, and named.\n",
	 true, bw_cmd_destroy},
	{"version", "", "Prints the version", "", false, cmd_version},
	{"help", "[COMMAND]", "Explains a command", "", false, cmd_help},
	{0},
};

static const struct bw_command *find_command(const char *name)
{
	for (const struct bw_command *c = bw_commands; c->name; c++)
		if (strcmp(c->name, name) == 0)
			return c;
	return NULL;
}

static int say_unknown(const char *name)
{
	return bw_complain("batchweave", BW_EXIT_USAGE,
			   "there is no command '%s'; see batchweave help", name);
}

static int cmd_version(const struct bw_command *c, int argc, char **argv)
{
	static const struct option none[] = {{0}};
	int code;

	if (bw_option(c, argc, argv, none, &code) == BW_OPT_STOP)
		return code;
	if (optind < argc)
		return bw_say_usage(c);
	printf("batchweave %s\n", BW_VERSION);
	return BW_EXIT_DONE;
}

static void print_commands(FILE *to)
{
	fprintf(to, "usage: batchweave COMMAND ...\n\n");
	for (const struct bw_command *c = bw_commands; c->name; c++)
		fprintf(to, "  %-10s  %s\n", c->name, c->summary);
	fprintf(to, "\nbatchweave COMMAND --help tells more.  A URL is file:///absolute/directory\n"
		    "or s3://bucket[/prefix].  Exit codes: 0 done, 1 found something wrong or the\n"
		    "answer is no, 2 usage, 3 the store did not answer.\n");
}

static int cmd_help(const struct bw_command *c, int argc, char **argv)
{
	static const struct option none[] = {{0}};
	int code;

	if (bw_option(c, argc, argv, none, &code) == BW_OPT_STOP)
		return code;
	if (argc - optind > 1)
		return bw_say_usage(c);
	if (optind == argc) {
		print_commands(stdout);
		return BW_EXIT_DONE;
	}
	const struct bw_command *about = find_command(argv[optind]);

	if (!about)
		return say_unknown(argv[optind]);
	bw_print_help(about);
	return BW_EXIT_DONE;
}

static void on_interrupt(int sig)
{
	(void)sig;
	_exit(BW_EXIT_INTERRUPTED);
}

int main(int argc, char **argv)
{
	bw_output_begin();
	signal(SIGINT, on_interrupt);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);	/* under ulimit -f a write that is too far says EFBIG */
	if (argc < 2) {
		print_commands(stderr);
		return BW_EXIT_USAGE;
	}
	const char *name = argv[1];

	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
		name = "help";
	if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0)
		name = "version";
	const struct bw_command *c = find_command(name);

	if (!c)
		return say_unknown(name);
	return bw_output_finish("batchweave", c->run(c, argc - 1, argv + 1));
}
