/* SPDX-License-Identifier: Apache-2.0 */
/* What a commit does: each change by hand, then random histories against a naive model. */
#include "manifest/apply.h"
#include "manifest/root_entry.h"
#include "store/base/rand.h"
#include "tests/support/change.h"
#include "tests/support/seed.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct bw_stream stream;
static struct bw_root *root;	/* of the running test; each test is a process of its own */

static void start(void)
{
	bw_test_stream(&stream, 4);
	cr_assert_eq(bw_root_first(&stream, &root), 0);
	struct bw_root *stored = bw_test_stored(&stream, root, NULL);

	bw_root_unref(root);
	root = stored;
}

static void end(void)
{
	bw_root_unref(root);
}

static void commit(const struct bw_change *changes, uint32_t n)
{
	struct bw_root *next = bw_test_apply(&stream, root, changes, n, 7);

	cr_assert_eq(bw_apply_check(&stream, root, next), 0);
	bw_root_unref(root);
	root = next;
}

static void commit1(struct bw_change c)
{
	commit(&c, 1);
	bw_change_done(&c);
}

static int check1(struct bw_change c)
{
	int err = bw_change_check(&stream, root, &c);

	bw_change_done(&c);
	return err;
}

TestSuite(apply, .init = start, .fini = end);

Test(apply, fence_registers_and_raises_the_epoch)
{
	commit1(bw_test_fence("p", 1));
	const struct bw_producer_entry *p = bw_root_producer(root, "p");

	cr_assert(p && p->epoch == 1 && p->next == 0);
	commit1(bw_test_fence("p", 2));
	p = bw_root_producer(root, "p");
	cr_assert_eq(p->epoch, 2);
	cr_assert_eq(p->owner[0], 2);
	cr_assert_eq(root->version, 3);
}

/* I5, I7: an append needs the owner, the epoch and the next seq. */
Test(apply, append_is_checked_against_owner_epoch_and_seq)
{
	cr_assert_eq(check1(bw_test_append("p", 1, 1, 0, 9)), -BW_E_FENCED, "unknown producer");
	commit1(bw_test_change(BW_CHANGE_REGISTER, "p"));
	cr_assert_eq(check1(bw_test_append("p", 1, 0, 0, 9)), -BW_E_FENCED, "never taken");
	commit1(bw_test_fence("p", 1));
	cr_assert_eq(check1(bw_test_append("p", 1, 1, 0, 9)), 0);
	cr_assert_eq(check1(bw_test_append("p", 2, 1, 0, 9)), -BW_E_FENCED, "same epoch, other owner");
	cr_assert_eq(check1(bw_test_append("p", 1, 2, 0, 9)), -BW_E_FENCED);
	cr_assert_eq(check1(bw_test_append("p", 1, 1, 1, 9)), -BW_E_SEQ_GAP);
	commit1(bw_test_append("p", 1, 1, 0, 9));
	cr_assert_eq(check1(bw_test_append("p", 1, 1, 0, 9)), -BW_E_SEQ_TAKEN);
	commit1(bw_test_fence("p", 1));
	cr_assert_eq(check1(bw_test_append("p", 1, 1, 1, 9)), -BW_E_FENCED, "uploaded before the fence");
	cr_assert_eq(check1(bw_test_append("p", 1, 2, 1, 9)), 0, "seqs go on across epochs");
}

Test(apply, append_takes_the_next_step_and_says_where_it_is)
{
	struct bw_change c[3] = {bw_test_fence("p", 1), bw_test_append("p", 1, 1, 0, 5),
				 bw_test_append("p", 1, 1, 1, 6)};

	commit(c, 3);
	cr_assert_eq(root->head, 2);
	cr_assert_eq(root->tail_n, 2);
	cr_assert_eq(root->tail[1].step, 1);
	cr_assert_eq(root->tail[1].before, 1000);
	cr_assert_eq(root->tail[1].version, 2);
	cr_assert_eq(root->tail[1].time_ms, root->time_ms);
	cr_assert_eq(root->bytes, 2001);
	const struct bw_producer_entry *p = bw_root_producer(root, "p");

	cr_assert(p->next == 2 && p->last_step == 1 && p->last_version == 2);
	cr_assert_eq(p->last_ms, root->time_ms);
}

/* I8: a state is the one that came with its batch; a batch without one keeps it. */
Test(apply, state_stays_until_the_next_one)
{
	struct bw_change c[2] = {bw_test_fence("p", 1), bw_test_append("p", 1, 1, 0, 5)};

	bw_test_state(&c[1], "cursor 1");
	commit(c, 2);
	bw_change_done(&c[1]);
	commit1(bw_test_append("p", 1, 1, 1, 6));
	const struct bw_producer_entry *p = bw_root_producer(root, "p");

	cr_assert(p->has_state && p->state_seq == 0 && p->next == 2);
	cr_assert_eq(p->state_nonce, 5);
	cr_assert_arr_eq(p->state, "cursor 1", 8);
	struct bw_change in_object = bw_test_append("p", 1, 1, 2, 7);

	in_object.has_state = true;
	in_object.state_len = 100000;
	in_object.state_xxh3 = 77;
	commit1(in_object);
	p = bw_root_producer(root, "p");
	cr_assert(p->has_state && !p->state && p->state_seq == 2 && p->state_len == 100000);
}

Test(apply, inline_states_have_a_sum)
{
	char text[BW_STATE_INLINE_MAX + 2], name[16];

	memset(text, 'x', sizeof(text));
	text[BW_STATE_INLINE_MAX] = 0;
	for (int i = 0; i < 65; i++) {
		snprintf(name, sizeof(name), "p%02d", i);
		commit1(bw_test_fence(name, 1));
		struct bw_change c = bw_test_append(name, 1, 1, 0, 5);

		bw_test_state(&c, text);
		if (i < 64)
			commit1(c);
		else
			cr_assert_eq(check1(c), -BW_E_LIMIT);
	}
	struct bw_change again = bw_test_append("p00", 1, 1, 1, 6);

	bw_test_state(&again, text);
	cr_assert_eq(check1(again), 0, "it replaces its own");
	struct bw_change longer = bw_test_append("p00", 1, 1, 1, 6);

	text[BW_STATE_INLINE_MAX] = 'x';
	text[BW_STATE_INLINE_MAX + 1] = 0;
	bw_test_state(&longer, text);
	cr_assert_eq(check1(longer), -BW_E_LIMIT);
}

Test(apply, seal_refuses_append_and_fence_only)
{
	commit1(bw_test_fence("p", 1));
	commit1(bw_test_change(BW_CHANGE_SEAL, ""));
	commit1(bw_test_change(BW_CHANGE_SEAL, ""));
	cr_assert_eq(check1(bw_test_append("p", 1, 1, 0, 9)), -BW_E_SEALED);
	cr_assert_eq(check1(bw_test_fence("q", 1)), -BW_E_SEALED);
	commit1(bw_test_change(BW_CHANGE_REGISTER, "q"));
	commit1(bw_test_change(BW_CHANGE_JOB, "j"));
	commit1(bw_test_step(BW_CHANGE_MARK, "j", 0));
	cr_assert(root->sealed);
}

/* C1, C2: a job is registered for good, its markers are commits; below first and beyond head are refused. */
Test(apply, jobs_and_markers)
{
	struct bw_change mark = bw_test_step(BW_CHANGE_MARK, "j", 0);

	cr_assert_eq(check1(mark), -ENOENT);
	commit1(bw_test_change(BW_CHANGE_JOB, "j"));
	commit1(bw_test_change(BW_CHANGE_JOB, "j"));
	cr_assert_eq(root->jobs_n, 1);
	cr_assert_eq(check1(bw_test_step(BW_CHANGE_MARK, "j", 1)), -EINVAL, "beyond head");
	mark.text = strdup("one");
	commit1(mark);
	mark.text = strdup("two");
	commit1(mark);
	const struct bw_job *j = bw_root_job(root, "j");

	cr_assert_eq(j->markers_n, 1);
	cr_assert_str_eq(j->markers[0].text, "two");
	commit1(bw_test_step(BW_CHANGE_MARK, "j", 0));
	cr_assert_str_eq(bw_root_job(root, "j")->markers[0].text, "two", "nothing was said of a text");
	mark.text = strdup("");
	commit1(mark);
	cr_assert_str_eq(bw_root_job(root, "j")->markers[0].text, "");
	cr_assert_eq(check1(bw_test_change(BW_CHANGE_UNJOB, "j")), -ENOTEMPTY);
	cr_assert_eq(check1(bw_test_step(BW_CHANGE_UNMARK, "j", 3)), -ENOENT);
	mark = bw_test_step(BW_CHANGE_MARK, "j", 0);
	mark.only_there = true;
	cr_assert_eq(check1(mark), 0);
	commit1(bw_test_step(BW_CHANGE_UNMARK, "j", 0));
	cr_assert_eq(check1(mark), -ENOENT, "it would make it anew");
	commit1(bw_test_change(BW_CHANGE_UNJOB, "j"));
	cr_assert_eq(root->jobs_n, 0);
	cr_assert_eq(check1(bw_test_change(BW_CHANGE_UNJOB, "j")), -ENOENT);
}

static void append_steps(uint64_t n)
{
	const struct bw_producer_entry *p = bw_root_producer(root, "p");
	uint64_t next = p ? p->next : 0;

	if (!p)
		commit1(bw_test_fence("p", 1));
	while (n) {
		uint32_t take = n < BW_APPENDS_MAX ? (uint32_t)n : BW_APPENDS_MAX;
		struct bw_change *c = calloc(take, sizeof(*c));

		for (uint32_t i = 0; i < take; i++)
			c[i] = bw_test_append("p", 1, 1, next + i, next + i);
		commit(c, take);
		free(c);
		next += take;
		n -= take;
	}
}

/* C3: first is what every job can do without; a job with too few markers holds everything. */
Test(apply, a_job_has_so_many_markers)
{
	append_steps(BW_MARKERS_MAX);
	commit1(bw_test_change(BW_CHANGE_JOB, "a"));
	for (uint64_t step = 0; step < BW_MARKERS_MAX; step++)
		commit1(bw_test_step(BW_CHANGE_MARK, "a", step));
	cr_assert_eq(check1(bw_test_step(BW_CHANGE_MARK, "a", BW_MARKERS_MAX)), -BW_E_LIMIT);
	cr_assert_eq(check1(bw_test_step(BW_CHANGE_MARK, "a", 0)), 0, "it is there already");
}

Test(apply, trim_is_computed_from_the_root_it_lands_on)
{
	struct bw_change trim = bw_test_change(BW_CHANGE_TRIM, "");

	append_steps(100);
	commit1(trim);
	cr_assert_eq(root->first, 0, "no job: nothing is reclaimed");
	commit1(bw_test_change(BW_CHANGE_JOB, "a"));
	commit1(bw_test_change(BW_CHANGE_JOB, "b"));
	commit1(bw_test_step(BW_CHANGE_MARK, "a", 40));
	commit1(bw_test_step(BW_CHANGE_MARK, "a", 60));
	commit1(bw_test_step(BW_CHANGE_MARK, "b", 30));
	commit1(trim);
	cr_assert_eq(root->first, 0, "b holds one marker, keep is two");
	commit1(bw_test_step(BW_CHANGE_MARK, "b", 90));
	stream.options.margin = 5;
	trim.trim_most = 24;
	cr_assert_eq(check1(trim), -EAGAIN, "C4: nobody has looked at what step 24 weighs");
	trim.trim_most = 25;
	commit1(trim);
	cr_assert_eq(root->first, 25);
	trim.trim_most = 0;
	commit1(bw_test_step(BW_CHANGE_UNMARK, "b", 30));
	commit1(bw_test_step(BW_CHANGE_MARK, "b", 26));
	stream.options.margin = 50;
	commit1(trim);
	cr_assert_eq(root->first, 25, "first never falls");
	cr_assert_eq(check1(bw_test_step(BW_CHANGE_MARK, "a", 24)), -BW_E_RECLAIMED);
	cr_assert_eq(check1(bw_test_step(BW_CHANGE_SWEEP, "", 26)), -EINVAL);
	commit1(bw_test_step(BW_CHANGE_SWEEP, "", 25));
	cr_assert_eq(root->swept, 25);
	commit1(bw_test_step(BW_CHANGE_SWEEP, "", 3));
	cr_assert_eq(root->swept, 25);
}

Test(apply, names_are_checked)
{
	const char *bad[] = {"", ".a", "a/b", "a b", "a\n"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_assert_eq(check1(bw_test_change(BW_CHANGE_JOB, bad[i])), -EINVAL, "%s", bad[i]);
	struct bw_change c = bw_test_change(BW_CHANGE_REGISTER, "x");

	memset(c.name, 'n', sizeof(c.name));	/* no NUL at all */
	cr_assert_eq(check1(c), -EINVAL);
}

Test(apply, a_version_has_room_for_so_many_and_a_failed_one_makes_nothing)
{
	struct bw_change *c = calloc(BW_APPENDS_MAX + 2, sizeof(*c));
	struct bw_commit by = {.time_ms = 1};
	struct bw_new_nodes nodes;
	struct bw_root *made;

	c[0] = bw_test_fence("p", 1);
	for (uint32_t i = 0; i <= BW_APPENDS_MAX; i++)
		c[i + 1] = bw_test_append("p", 1, 1, i, i);
	cr_assert_eq(bw_apply(&stream, root, c, BW_APPENDS_MAX + 2, &by, &made, &nodes),
		     -BW_E_LIMIT);
	cr_assert_eq(bw_apply(&stream, root, c, 0, &by, &made, &nodes), -EINVAL);
	cr_assert_eq(bw_apply(&stream, root, c, BW_APPENDS_MAX + 1, &by, &made, &nodes), 0);
	cr_assert_eq(made->time_ms, root->time_ms, "time never goes back");
	bw_root_unref(made);
	bw_new_nodes_done(&nodes);
	free(c);
}

Test(apply, tail_and_levels_stay_bounded)
{
	append_steps(128 * 64 * 3);
	cr_assert_lt(root->tail_n, BW_TAIL_FOLD);
	cr_assert_lt(root->levels[0].n, BW_LEVEL_FOLD);
	cr_assert_eq(root->levels_n, 2);
	cr_assert_eq(root->levels[1].pointers[0].first, 0);
	cr_assert_eq(root->levels[1].pointers[0].last, 128 * 64 - 1);
}

static void sweep_to(uint64_t step)
{
	stream.options.keep = 1;
	commit1(bw_test_change(BW_CHANGE_JOB, "j"));
	commit1(bw_test_step(BW_CHANGE_MARK, "j", step));
	commit1(bw_test_change(BW_CHANGE_TRIM, ""));
	commit1(bw_test_step(BW_CHANGE_SWEEP, "", step));
	cr_assert_eq(root->swept, step);
}

/* C4: at the end of a node's steps all but its last leaf, which is in the tail, may be swept: commits go on. */
Test(apply, a_node_whose_oldest_leaves_are_swept_is_folded)
{
	append_steps(128 * 64);
	cr_assert_eq(root->levels[0].n, 63);
	sweep_to(128 * 64);
	cr_assert_eq(root->levels[0].n, 0);
	cr_assert_eq(root->tail_n, 128);
	append_steps(128 * 64 * 2);
	cr_assert_eq(root->levels_n, 2);
	cr_assert_eq(root->levels[1].pointers[0].first, 0);
	cr_assert_eq(root->levels[1].pointers[1].last, 128 * 64 * 2 - 1);
}

/* The same root so many steps later, as if all that lies between had been committed as well. */
static void be_later(uint64_t steps)
{
	root->head += steps;
	root->digest = root->tail_digest;
	for (uint32_t i = 0; i < root->tail_n; i++) {
		root->tail[i].step += steps;
		root->digest = bw_digest_next(root->digest, &root->tail[i]);
	}
	root->producers[0].last_step += steps;
}

static void set_level(unsigned level, uint64_t first, uint32_t n)
{
	uint64_t span = bw_level_span(level);

	root->levels[level].pointers = calloc(n, sizeof(struct bw_pointer));
	root->levels[level].n = n;
	root->levels_n = level + 1 > root->levels_n ? level + 1 : root->levels_n;
	for (uint32_t i = 0; i < n; i++)
		root->levels[level].pointers[i] = (struct bw_pointer){
			.first = first + i * span, .last = first + (i + 1) * span - 1, .hash = i + 1};
}

/* I9, C4: a level that begins with the second node of a group, all else of which is live: none of it is lost. */
Test(apply, a_group_without_its_swept_nodes_keeps_the_others)
{
	const uint64_t node = 128 * 64, at = 64 * node;
	struct bw_change c[BW_APPENDS_MAX];
	struct bw_commit by = {.time_ms = 7};
	struct bw_new_nodes nodes;
	struct bw_root *made;
	struct bw_node *top;

	append_steps(node);
	sweep_to(node);
	be_later(at);
	set_level(1, node, 63);
	set_level(0, at, 63);
	for (uint32_t i = 0; i < 128; i++)
		c[i] = bw_test_append("p", 1, 1, node + i, i);
	cr_assert_eq(bw_apply(&stream, root, c, 128, &by, &made, &nodes), 0);
	cr_assert_eq(nodes.n, 3);
	cr_assert_eq(made->levels_n, 3);
	cr_assert_eq(made->levels[1].n, 1);
	cr_assert_eq(made->levels[2].n, 1);
	const struct bw_pointer *p = &made->levels[2].pointers[0];

	cr_assert(p->first == 0 && p->last == at - 1);
	cr_assert_eq(bw_node_decode(2, p, nodes.nodes[2].bytes.bytes, nodes.nodes[2].bytes.len, &top), 0);
	cr_assert_eq(top->pointers[0].hash, 0, "all that it had is swept");
	for (uint32_t i = 1; i < BW_FANOUT; i++)
		cr_assert_eq(top->pointers[i].hash, i);
	struct bw_root *stored = bw_test_stored(&stream, made, NULL);

	bw_root_unref(stored);
	bw_node_unref(top);
	bw_new_nodes_done(&nodes);
	bw_root_unref(made);
}

/* Racing writers fold alike: same bytes, same names. */
Test(apply, folding_is_deterministic)
{
	append_steps(250);
	struct bw_change a[10], b[7];
	struct bw_commit by_a = {.id = {1}, .time_ms = 5}, by_b = {.id = {2}, .time_ms = 6};
	struct bw_new_nodes nodes_a, nodes_b;
	struct bw_root *made_a, *made_b;

	for (int i = 0; i < 10; i++)
		a[i] = bw_test_append("p", 1, 1, 250 + (uint64_t)i, 1);
	for (int i = 0; i < 7; i++)
		b[i] = bw_test_append("p", 1, 1, 250 + (uint64_t)i, 2);
	cr_assert_eq(bw_apply(&stream, root, a, 10, &by_a, &made_a, &nodes_a), 0);
	cr_assert_eq(bw_apply(&stream, root, b, 7, &by_b, &made_b, &nodes_b), 0);
	cr_assert(nodes_a.n == 1 && nodes_b.n == 1);
	cr_assert_eq(nodes_a.nodes[0].pointer.hash, nodes_b.nodes[0].pointer.hash);
	cr_assert_eq(nodes_a.nodes[0].bytes.len, nodes_b.nodes[0].bytes.len);
	cr_assert_arr_eq(nodes_a.nodes[0].bytes.bytes, nodes_b.nodes[0].bytes.bytes,
			 nodes_a.nodes[0].bytes.len);
	bw_new_nodes_done(&nodes_a);
	bw_new_nodes_done(&nodes_b);
	bw_root_unref(made_a);
	bw_root_unref(made_b);
}

/* I2, I3, I14: whatever contradicts a root that was used is found. */
Test(apply, check_finds_contradictions)
{
	append_steps(300);
	struct bw_root *old = bw_root_ref(root);

	commit1(bw_test_append("p", 1, 1, 300, 1));
	struct bw_root *v1 = bw_root_ref(root);

	root->tail[root->tail_n - 1].nonce++;
	cr_assert_eq(bw_apply_check(&stream, old, root), -BW_E_CONTRADICTION, "another entry");
	root->tail[root->tail_n - 1].nonce--;
	cr_assert_eq(bw_apply_check(&stream, old, root), 0);
	root->changes[0].nonce++;
	cr_assert_eq(bw_apply_check(&stream, old, root), -BW_E_CONTRADICTION, "another change");
	root->changes[0].nonce--;
	root->previous_xxh3++;
	cr_assert_eq(bw_apply_check(&stream, old, root), -BW_E_CONTRADICTION, "another past");
	root->previous_xxh3--;
	commit1(bw_test_append("p", 1, 1, 301, 1));
	cr_assert_eq(bw_apply_check(&stream, old, root), 0, "across a gap");
	old->digest++;
	cr_assert_eq(bw_apply_check(&stream, old, root), -BW_E_CONTRADICTION, "digest across a gap");
	old->digest--;
	append_steps(200);	/* folded: whether it follows is in the index now (head.c) */
	cr_assert_eq(bw_apply_check(&stream, old, root), 0);
	cr_assert_eq(bw_apply_check(&stream, root, old), -BW_E_CONTRADICTION, "backwards");
	old->producers[0].next = 9999;
	cr_assert_eq(bw_apply_check(&stream, old, root), -BW_E_CONTRADICTION, "next falls");
	bw_root_unref(old);
	bw_root_unref(v1);
}

/* S8: a release that knows more about writing may do what this one does not; but not to what was there before. */
Test(apply, what_a_newer_release_makes_is_checked_as_across_a_gap)
{
	const uint64_t swept = BW_LEAF_ENTRIES;

	append_steps(300);
	stream.options.keep = 1;
	commit1(bw_test_change(BW_CHANGE_JOB, "j"));
	commit1(bw_test_step(BW_CHANGE_MARK, "j", swept));
	commit1(bw_test_change(BW_CHANGE_TRIM, ""));
	struct bw_change sweep = bw_test_step(BW_CHANGE_SWEEP, "", swept);
	struct bw_root *next = bw_test_apply(&stream, root, &sweep, 1, 7);

	cr_assert_eq(next->levels[0].n, 1);
	next->levels[0].n = 0;		/* it drops the pointer where this release waits for the whole group */
	next->levels_n = 0;
	cr_assert_eq(bw_apply_check(&stream, root, next), -BW_E_CONTRADICTION);
	next->features_write = strdup("\"later\"");
	struct bw_root *newer = bw_test_stored(&stream, next, NULL);

	cr_assert_eq(bw_apply_check(&stream, root, newer), 0);
	newer->previous_xxh3++;
	cr_assert_eq(bw_apply_check(&stream, root, newer), -BW_E_CONTRADICTION, "another past");
	newer->previous_xxh3--;
	newer->tail_digest++;
	cr_assert_eq(bw_apply_check(&stream, root, newer), -BW_E_CONTRADICTION, "other entries");
	newer->tail_digest--;
	newer->first--;
	cr_assert_eq(bw_apply_check(&stream, root, newer), -BW_E_CONTRADICTION, "first falls");
	newer->first++;
	/* It may take its name back as well: what it makes then is not what this release would. */
	cr_assert_eq(bw_apply_check(&stream, newer, newer), 0);
	next->version++;
	next->previous_xxh3 = newer->stored_xxh3;
	free(next->features_write);
	next->features_write = NULL;
	cr_assert_eq(bw_apply_check(&stream, newer, next), 0);
	bw_root_unref(next);
	bw_root_unref(newer);
}

/* ---- Random histories against a model that remembers everything -------------------------------- */

#define PRODUCERS 5
#define JOBS 3

struct model {
	struct bw_entry *entries;
	uint64_t n, first, swept;
	struct {
		bool known;
		uint64_t epoch, next;
		uint8_t owner;
	} producers[PRODUCERS];
	struct {
		bool known;
		bool *marked;
	} jobs[JOBS];
	bool sealed;
	struct {
		struct bw_pointer pointer;
		unsigned level;
		struct bw_node *node;
	} *nodes;
	uint32_t nodes_n;
};

static uint64_t model_trim(const struct model *m)
{
	uint64_t least = m->n;
	bool any = false;

	for (int j = 0; j < JOBS; j++) {
		uint64_t n = 0, oldest = 0;

		if (!m->jobs[j].known)
			continue;
		any = true;
		for (uint64_t s = m->n + 1; s-- > 0;) {
			if (m->jobs[j].marked[s]) {
				n++;
				oldest = s;
			}
		}
		if (n < stream.options.keep)
			return m->first;
		uint64_t needs = oldest < stream.options.margin ? 0 : oldest - stream.options.margin;

		least = needs < least ? needs : least;
	}
	return any && least > m->first ? least : m->first;
}

static void model_append(struct model *m, int p, const struct bw_change *c,
			 const struct bw_root *made)
{
	struct bw_entry *e = &m->entries[m->n];

	*e = (struct bw_entry){.step = m->n, .epoch = c->epoch, .seq = c->seq, .nonce = c->nonce,
			       .size = c->size, .raw = c->raw, .footer_len = c->footer_len,
			       .footer_xxh3 = c->footer_xxh3, .version = made->version,
			       .time_ms = made->time_ms};
	memcpy(e->producer, c->name, sizeof(e->producer));
	e->before = m->n ? e[-1].before + e[-1].size : 0;
	m->n++;
	m->producers[p].next++;
}

/* A change the model calls valid, or none. */
static bool model_pick(struct model *m, struct bw_rng *rng, struct bw_change *ret, int *ret_i)
{
	static const char *const producers[PRODUCERS] = {"e", "a", "c", "b", "d"};
	static const char *const jobs[JOBS] = {"y", "x", "z"};
	int p = *ret_i = (int)bw_rng_below(rng, PRODUCERS), j = (int)bw_rng_below(rng, JOBS);
	uint64_t roll = bw_rng_below(rng, 1000);

	if (roll < 900) {
		if (!m->producers[p].epoch || m->sealed)
			return false;
		*ret = bw_test_append(producers[p], m->producers[p].owner, m->producers[p].epoch,
				      m->producers[p].next, bw_rng_next(rng));
		return true;
	}
	if (roll < 910) {
		*ret = bw_test_fence(producers[p], (uint8_t)(1 + bw_rng_below(rng, 9)));
		return !m->sealed;
	}
	*ret_i = j;
	if (roll < 915)
		*ret = bw_test_change(BW_CHANGE_JOB, jobs[j]);
	else if (roll < 955)
		*ret = bw_test_step(BW_CHANGE_MARK, jobs[j],
				    m->first + bw_rng_below(rng, m->n - m->first + 1));
	else if (roll < 975)
		*ret = bw_test_step(BW_CHANGE_UNMARK, jobs[j], bw_rng_below(rng, m->n + 1));
	else if (roll < 976)
		*ret = bw_test_change(BW_CHANGE_UNJOB, jobs[j]);
	else if (roll < 990)
		*ret = bw_test_change(BW_CHANGE_TRIM, "");
	else
		*ret = bw_test_step(BW_CHANGE_SWEEP, "",
				    m->swept + bw_rng_below(rng, m->first - m->swept + 1));
	return true;
}

/* Does the model agree that c is valid?  Applies it if so. */
static bool model_change(struct model *m, int i, const struct bw_change *c,
			 const struct bw_root *made)
{
	uint64_t marks = 0;

	for (uint64_t s = 0; c->kind >= BW_CHANGE_JOB && c->kind <= BW_CHANGE_UNMARK && s <= m->n; s++)
		marks += m->jobs[i].marked[s];
	switch (c->kind) {
	case BW_CHANGE_APPEND:
		model_append(m, i, c, made);
		return true;
	case BW_CHANGE_FENCE:
		m->producers[i].known = true;
		m->producers[i].epoch++;
		m->producers[i].owner = c->owner[0];
		return true;
	case BW_CHANGE_JOB:
		m->jobs[i].known = true;
		return true;
	case BW_CHANGE_MARK:
		if (!m->jobs[i].known ||
		    (marks == BW_MARKERS_MAX && !m->jobs[i].marked[c->step]))
			return false;
		m->jobs[i].marked[c->step] = true;
		return true;
	case BW_CHANGE_UNMARK:
		if (!m->jobs[i].known || !m->jobs[i].marked[c->step])
			return false;
		m->jobs[i].marked[c->step] = false;
		return true;
	case BW_CHANGE_UNJOB:
		if (!m->jobs[i].known || marks)
			return false;
		m->jobs[i].known = false;
		return true;
	case BW_CHANGE_TRIM:
		m->first = model_trim(m);
		return true;
	case BW_CHANGE_SWEEP:
		m->swept = c->step > m->swept ? c->step : m->swept;
		return true;
	default:
		return false;
	}
}

static const struct bw_node *model_node(struct model *m, unsigned level, const struct bw_pointer *p)
{
	for (uint32_t i = m->nodes_n; i-- > 0;)
		if (m->nodes[i].level == level && m->nodes[i].pointer.first == p->first &&
		    m->nodes[i].pointer.hash == p->hash)
			return m->nodes[i].node;
	cr_assert(false, "no node of level %u at %lu", level, (unsigned long)p->first);
	return NULL;
}

static void find_in_root(struct model *m, const struct bw_root *r, uint64_t step)
{
	const struct bw_node *node = NULL;
	const struct bw_entry *want = &m->entries[step];
	struct bw_pointer fetch;
	struct bw_entry e;
	unsigned level, gets = 0;
	int rc;

	while ((rc = bw_index_move(r, node, step, &e, &fetch, &level)) == 0) {
		node = model_node(m, level, &fetch);
		gets++;
	}
	cr_assert_eq(rc, 1);
	cr_assert_leq(gets, 3);
	cr_assert(e.step == step && !strcmp(e.producer, want->producer) && e.seq == want->seq &&
		  e.nonce == want->nonce && e.before == want->before &&
		  e.version == want->version && e.time_ms == want->time_ms);
}

static void keep_nodes(struct model *m, const struct bw_new_nodes *nodes)
{
	m->nodes = realloc(m->nodes, (m->nodes_n + nodes->n + 1) * sizeof(*m->nodes));
	for (uint32_t i = 0; i < nodes->n; i++) {
		const struct bw_new_node *n = &nodes->nodes[i];

		m->nodes[m->nodes_n].pointer = n->pointer;
		m->nodes[m->nodes_n].level = n->level;
		cr_assert_eq(bw_node_decode(n->level, &n->pointer, n->bytes.bytes, n->bytes.len,
					    &m->nodes[m->nodes_n].node), 0);
		m->nodes_n++;
	}
}

static void compare(struct model *m, const struct bw_root *r, struct bw_rng *rng)
{
	uint64_t digest = 0;

	cr_assert_eq(r->head, m->n);
	cr_assert_eq(r->first, m->first);
	cr_assert_eq(r->swept, m->swept);
	for (int p = 0; p < PRODUCERS; p++) {
		static const char *const names[PRODUCERS] = {"e", "a", "c", "b", "d"};
		const struct bw_producer_entry *e = bw_root_producer(r, names[p]);

		cr_assert_eq(!!e, m->producers[p].known);
		if (e)
			cr_assert(e->epoch == m->producers[p].epoch &&
				  e->next == m->producers[p].next &&
				  e->owner[0] == m->producers[p].owner);
	}
	for (int i = 0; i < 3 && m->n > m->swept; i++)
		find_in_root(m, r, m->swept + bw_rng_below(rng, m->n - m->swept));
	if (m->n > m->swept)
		find_in_root(m, r, m->swept);
	if (bw_rng_below(rng, 50))
		return;
	for (uint64_t s = 0; s < m->n; s++)
		digest = bw_digest_next(digest, &m->entries[s]);
	cr_assert_eq(r->digest, digest);
}

static void model_free(struct model *m)
{
	for (uint32_t i = 0; i < m->nodes_n; i++)
		bw_node_unref(m->nodes[i].node);
	for (int j = 0; j < JOBS; j++)
		free(m->jobs[j].marked);
	free(m->nodes);
	free(m->entries);
}

static void one_history(uint64_t seed, int versions)
{
	struct model m = {.n = 0};
	struct bw_rng rng;
	uint64_t cap = (uint64_t)versions * 64 + 1;

	bw_rng_init(&rng, seed);
	stream.options.margin = bw_rng_below(&rng, 300);
	m.entries = calloc(cap, sizeof(*m.entries));
	for (int j = 0; j < JOBS; j++)
		m.jobs[j].marked = calloc(cap + 1, 1);
	struct bw_root *back[4] = {NULL};	/* some versions before, for checks across gaps */

	for (int v = 0; v < versions; v++) {
		struct bw_change c[64];
		uint32_t n = 0;
		uint64_t want = 1 + bw_rng_below(&rng, 63);
		struct bw_commit by = {.id = {(uint8_t)v}, .time_ms = root->time_ms + 1};
		struct bw_root stamp = {.version = root->version + 1, .time_ms = by.time_ms};
		struct bw_new_nodes nodes;
		struct bw_root *made;

		for (uint64_t tries = 0; n < want && tries < 500; tries++) {
			int i;

			if (model_pick(&m, &rng, &c[n], &i) && model_change(&m, i, &c[n], &stamp))
				n++;
		}
		if (!n)
			continue;
		cr_assert_eq(bw_apply(&stream, root, c, n, &by, &made, &nodes), 0,
			     "BW_SEED=%lu version %d", (unsigned long)seed, v);
		keep_nodes(&m, &nodes);
		bw_new_nodes_done(&nodes);
		struct bw_root *next = bw_test_stored(&stream, made, NULL);

		bw_root_unref(made);
		cr_assert_eq(bw_apply_check(&stream, root, next), 0, "BW_SEED=%lu",
			     (unsigned long)seed);
		if (back[v % 4])
			cr_assert_eq(bw_apply_check(&stream, back[v % 4], next), 0);
		bw_root_unref(back[v % 4]);
		back[v % 4] = root;
		root = next;
		compare(&m, root, &rng);
	}
	for (int i = 0; i < 4; i++)
		bw_root_unref(back[i]);
	model_free(&m);
}

Test(apply, random_histories_follow_the_model)
{
	uint64_t seed = bw_test_seed();

	fprintf(stderr, "BW_SEED=%lu\n", (unsigned long)seed);
	for (int i = 0; i < 6; i++) {
		end();
		start();
		one_history(seed + (uint64_t)i, 40 << i);
	}
}
