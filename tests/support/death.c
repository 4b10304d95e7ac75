/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/death.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static enum bw_fault die_at(struct bw_fault_plan *plan, const struct bw_op *op, uint64_t nth)
{
	struct bw_test_death *d = (struct bw_test_death *)plan;

	(void)op;
	return nth == d->nth ? d->kind : BW_FAULT_NONE;
}

struct bw_store *bw_test_plain_store(const char *dir)
{
	struct bw_store *file;

	if (bw_store_file_new(dir, true, 2, &file))
		_exit(2);
	return file;
}

struct bw_store *bw_test_deadly_store(const char *dir, struct bw_test_death *d, uint64_t nth, enum bw_fault kind)
{
	struct bw_store *fault;

	*d = (struct bw_test_death){.plan = {.decide = die_at}, .nth = nth, .kind = kind};
	if (bw_filter_fault_new(bw_test_plain_store(dir), &d->plan, &fault))
		_exit(2);
	return fault;
}

int bw_test_death_wait(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid)
		abort();
	if (WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == BW_TEST_DIED))
		return WEXITSTATUS(status);
	fprintf(stderr, "the child ended with status 0x%x\n", status);
	abort();
}

void bw_test_copy_dir(const char *base, char dir[BW_TMPDIR_MAX])
{
	char copy[3 * BW_TMPDIR_MAX];

	bw_test_tmpdir(dir);
	snprintf(copy, sizeof(copy), "cp -r %s/. %s", base, dir);
	if (system(copy))
		abort();
}

uint64_t bw_test_deaths(void (*prepare)(const char *base), int (*run)(const char *base, uint64_t nth, enum bw_fault kind),
			enum bw_fault kind)
{
	char base[BW_TMPDIR_MAX];
	uint64_t nth = 0;

	bw_test_tmpdir(base);
	prepare(base);
	while (run(base, nth, kind) == BW_TEST_DIED)
		nth++;
	bw_test_rmtree(base);
	return nth;
}
