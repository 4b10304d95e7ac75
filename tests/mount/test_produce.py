# SPDX-License-Identifier: Apache-2.0
# ctest: 45-s
"""P1, P4, P5, P6, P8: what commits, in which order, by whom, and what leaves no trace."""
import collections
import os
import re
import shutil
import threading

import bw


class Requests(bw.TestCase):
    """What a slice costs the kernel and the daemon: requests, counted."""

    RANKS = 8

    def batch(self, mount, seq):
        """Opcodes of a batch of slices that are made, written and closed, each by its path."""
        at = len(mount.stderr())
        os.mkdir(mount.slot("p", seq))
        os.mkdir(mount.slot("p", seq) + "/rank")
        for rank in range(self.RANKS):
            fd = os.open(mount.slot("p", seq, rank), os.O_WRONLY | os.O_CREAT)
            os.write(fd, b"x")
            os.close(fd)
        return collections.Counter(re.findall(r"opcode: (\w+)", mount.stderr()[at:]))

    def test_p2_the_way_to_a_slice_is_walked_once(self):
        """P2: per slice LOOKUP, CREATE, WRITE, FLUSH, RELEASE, and one GETATTR of the directory it was made in."""
        mount = self.mounted("debug", ranks=self.RANKS)
        mount.put("p", 0)
        seen = [self.batch(mount, seq) for seq in range(1, 9)]  # what is kept is kept for a second: any of them will do
        for opcode, most in {"LOOKUP": 1, "CREATE": 1, "WRITE": 1, "FLUSH": 1, "GETATTR": 1}.items():
            self.assertLessEqual(min(s[opcode] for s in seen), most * self.RANKS + 4, f"{opcode}: {seen}")
        for one in seen:
            self.assertEqual((one["CREATE"], one["WRITE"], one["FLUSH"]), (self.RANKS,) * 3)
        self.assertEqual(mount.head(), 9)


class CommitOnClose(bw.TestCase):
    def test_p1_the_last_close_commits(self):
        """P1, S2: when it has returned, the store holds the batch for who reads without a mount."""
        mount = self.mounted()
        mount.begin("p", 0)
        for rank in (3, 1, 0):
            bw.write(mount.slot("p", 0, rank), bw.payload("p", 0, rank))
            self.assert_nothing_committed(mount)
        bw.write(mount.slot("p", 0, 2), bw.payload("p", 0, 2))
        for rank in range(4):
            self.assertEqual(mount.stream.cat(0, rank), bw.payload("p", 0, rank))
        self.assertEqual(mount.head(), 1)

    def test_p1_not_while_a_slice_is_open_for_writing(self):
        mount = self.mounted()
        mount.begin("p", 0)
        held = os.open(mount.slot("p", 0, 0), os.O_WRONLY | os.O_CREAT)
        os.write(held, b"part one, ")
        for rank in (1, 2, 3):
            bw.write(mount.slot("p", 0, rank), b"x")
        again = os.open(mount.slot("p", 0, 2), os.O_WRONLY)
        self.assert_nothing_committed(mount)
        os.write(held, b"part two")
        os.close(held)
        self.assert_nothing_committed(mount)
        os.close(again)
        self.assertEqual(mount.get(0), [b"part one, part two", b"x", b"x", b"x"])

    def test_p1_empty_files_do_not_count(self):
        """P1, P3: at least one byte; touch and an empty close commit nothing."""
        mount = self.mounted(ranks=2)
        mount.begin("p", 0)
        bw.write(mount.slot("p", 0, 0), b"x")
        self.shell('touch $F; : > $F; cat /dev/null > $F; truncate -s 0 $F', F=mount.slot("p", 0, 1))
        self.assert_nothing_committed(mount)
        bw.write(mount.slot("p", 0, 1), b"y")
        self.assertEqual(mount.get(0), [b"x", b"y"])

    def test_p1_one_rank(self):
        mount = self.mounted(ranks=1)
        for seq in range(3):
            mount.put("p", seq)
            self.assertEqual(mount.head(), seq + 1)
            self.assert_step(mount, seq, "p", seq)

    def test_p1_many_ranks(self):
        mount = self.mounted(ranks=300)
        mount.put("p", 0)
        self.assert_step(mount, 0, "p", 0)
        self.assertEqual(os.listdir(mount.path("step/0/rank")), [str(r) for r in range(300)])

    def test_p1_slices_of_uneven_sizes(self):
        mount = self.mounted()
        slices = [b"1", os.urandom((1 << 20) - 1), os.urandom((5 << 20) + 1), os.urandom(1 << 20)]
        mount.put("p", 0, slices)
        self.assertTrue(mount.get(0) == slices)
        self.assertEqual([os.stat(mount.step(0, r)).st_size for r in range(4)],
                         [len(s) for s in slices])

    def test_p1_parallel_writers(self):
        """P1, P3: one process per rank, closing at the same time: one commit, whole."""
        mount = self.mounted(ranks=8)
        for seq in range(20):
            mount.begin("p", seq)
            self.join(*[self.spawn(bw.write, mount.slot("p", seq, r), bw.payload("p", seq, r, 50000))
                        for r in range(8)])
            self.assertEqual(mount.head(), seq + 1)
            self.assert_step(mount, seq, "p", seq,
                             [bw.payload("p", seq, r, 50000) for r in range(8)])

    def test_p1_many_producers_at_once(self):
        """P1, P4: each producer's batches in its own order, each once."""
        mount = self.mounted(ranks=2)
        names = [f"p{i}" for i in range(6)]

        def produce(name):
            for seq in range(15):
                mount.put(name, seq)

        self.join(*[self.spawn(produce, name) for name in names])
        self.assertEqual(mount.head(), 90)
        seen = {name: 0 for name in names}
        for step in range(90):
            meta = mount.meta(step)
            name, seq = meta["producer"], int(meta["seq"])
            self.assertEqual(seq, seen[name])
            seen[name] += 1
            self.assert_step(mount, step, name, seq)


class ExactlyOnce(bw.TestCase):
    def test_p4_next_state_and_resume(self):
        """P4: the three files say what was committed last, on every mount and after a restart."""
        stream = self.stream(2)
        a, b = self.mount(stream), self.mount(stream)
        os.mkdir(a.path("produce/p"))
        for mount in (a, b):
            self.assertEqual(bw.read(mount.path("produce/p/next")), "0\n")
            self.assertEqual(bw.read(mount.path("produce/p/state")), "")
            self.assertEqual(mount.state("p"), b"")
        for seq, state in enumerate((b"cursor 1", bytes(range(256)), b"", b"big" * 20000)):
            a.put("p", seq, state=state)
            for mount in (a, b):
                os.path.exists(mount.step(seq))
                self.assertEqual(bw.read(mount.path("produce/p/next")), f"{seq + 1}\n")
                self.assertEqual(bw.read(mount.path("produce/p/state"), "rb"), state)
                self.assertEqual(int(mount.resume("p")["next"]), seq + 1)
                self.assertEqual(mount.state("p"), state)
        self.assertEqual(a.umount(), 0)
        a.restart()
        self.assertEqual(a.state("p"), b"big" * 20000)
        self.assertEqual(os.stat(a.path("produce/p/state")).st_size, 60000)

    def test_p4_a_gap_is_refused(self):
        """P4: EINVAL for a seq whose predecessor is neither committed nor staged; the log says next."""
        mount = self.mounted()
        for seq in (1, 2, 17):
            self.assert_errno("EINVAL", os.makedirs, mount.slot("p", seq))
        mount.put("p", 0)
        self.assert_errno("EINVAL", os.makedirs, mount.slot("p", 2))
        self.assertRegex(mount.log(), r"next=1\b")
        mount.put("p", 1)
        self.assertEqual(mount.head(), 2)

    def test_p4_seqs_commit_in_order(self):
        """P4: the close that completes k+1 first says EAGAIN at once; k+1 commits when k does."""
        mount = self.mounted()
        mount.begin("p", 0)
        mount.begin("p", 1)
        for rank in range(3):
            bw.write(mount.slot("p", 0, rank), bw.payload("p", 0, rank))
            bw.write(mount.slot("p", 1, rank), bw.payload("p", 1, rank))
        self.assert_errno("EAGAIN", bw.write, mount.slot("p", 1, 3), bw.payload("p", 1, 3))
        self.assert_nothing_committed(mount)
        bw.write(mount.slot("p", 0, 3), bw.payload("p", 0, 3))
        bw.wait_until(lambda: mount.head() == 2, what="the commit of both")
        self.assert_step(mount, 0, "p", 0)
        self.assert_step(mount, 1, "p", 1)
        self.assert_errno("EEXIST", os.mkdir, mount.slot("p", 1))

    def test_p4_a_staged_predecessor_taken_away(self):
        """P4, P6: k removed while k+1 waits: k+1 does not commit before a new k."""
        mount = self.mounted(ranks=1)
        mount.begin("p", 0)
        mount.begin("p", 1)
        self.assert_errno("EAGAIN", bw.write, mount.slot("p", 1, 0), b"one")
        shutil.rmtree(mount.slot("p", 0))
        self.assert_nothing_committed(mount)
        mount.put("p", 0, [b"zero"])
        bw.wait_until(lambda: mount.head() == 2, what="the commit of both")
        self.assertEqual([mount.get(0), mount.get(1)], [[b"zero"], [b"one"]])

    def test_p4_a_committed_seq_is_not_written_again(self):
        mount = self.mounted()
        mount.put("p", 0)
        self.assert_errno("EEXIST", os.mkdir, mount.slot("p", 0))
        self.assertEqual(mount.umount(), 0)
        mount.restart()
        self.assert_errno("EEXIST", os.mkdir, mount.slot("p", 0))
        self.assertNotEqual(bw.error_of(bw.write, mount.slot("p", 0, 0), b"x"), "")
        self.assert_step(mount, 0, "p", 0)

    def test_p4_staged_batches_die_with_the_daemon(self):
        """P4, P6: after kill -9 nothing of an incomplete batch is left; the seq is free."""
        mount = self.mounted()
        mount.put("p", 0)
        mount.begin("p", 1)
        for rank in range(3):
            bw.write(mount.slot("p", 1, rank), b"old")
        mount.kill()
        mount.restart()
        self.assert_nothing_committed(mount, 1)
        self.assertEqual(bw.read(mount.path("produce/p/next")), "1\n")
        mount.put("p", 1)
        self.assert_step(mount, 1, "p", 1)

    def test_p4_listing_of_a_producer(self):
        mount = self.mounted()
        mount.put("p", 0)
        mount.begin("p", 1)
        names = os.listdir(mount.path("produce/p"))
        self.assertEqual(len(names), len(set(names)))
        self.assertLessEqual({"next", "state", "resume", "1"}, set(names))
        self.assertIn("p", os.listdir(mount.path("produce")))


class Fencing(bw.TestCase):
    def test_p5_the_new_mount_takes_over(self):
        """P5: mkdir of a seq on B takes the producer: A's commit is ESTALE and leaves nothing."""
        stream = self.stream()
        a, b = self.mount(stream), self.mount(stream)
        a.put("p", 0)
        a.begin("p", 1)
        for rank in range(3):
            bw.write(a.slot("p", 1, rank), b"from A")
        b.begin("p", 1)
        self.assert_errno("ESTALE", bw.write, a.slot("p", 1, 3), b"from A")
        self.assert_nothing_committed(b, 1)
        for rank in range(4):
            bw.write(b.slot("p", 1, rank), b"from B")
        self.assertEqual(b.get(1), [b"from B"] * 4)
        self.assertEqual(a.get(1), [b"from B"] * 4)
        self.assertGreater(int(b.meta(1)["epoch"]), int(b.meta(0)["epoch"]))
        self.assertEqual(int(b.resume("p")["epoch"]), int(b.meta(1)["epoch"]))

    def test_p5_and_can_be_taken_back(self):
        """P5: the producer goes where the last mkdir was, and seqs go on."""
        stream = self.stream(2)
        mounts = self.mount(stream), self.mount(stream)
        for seq in range(10):
            mounts[seq % 2].put("p", seq)
        for step in range(10):
            self.assert_step(mounts[0], step, "p", step)
        epochs = [int(mounts[0].meta(s)["epoch"]) for s in range(10)]
        self.assertEqual(sorted(set(epochs)), epochs)

    def test_p5_what_is_left_must_go_first(self):
        """P5: who was fenced with a batch in hand is told so by every mkdir, until it removed that batch; then it takes the producer back."""
        stream = self.stream(2)
        a, b = self.mount(stream), self.mount(stream)
        a.begin("p", 0)
        bw.write(a.slot("p", 0, 0), b"old")
        for seq in range(2):
            b.put("p", seq)
        self.assert_errno("ESTALE", bw.write, a.slot("p", 0, 1), b"old")
        for seq in (1, 2):
            self.assert_errno("ESTALE", a.begin, "p", seq)
        shutil.rmtree(a.slot("p", 0))
        a.put("p", 2)
        for step in range(3):
            self.assert_step(b, step, "p", step)

    def test_p5_who_hears_of_a_fence_is_told_so(self):
        """P5: so is who has heard of it from the store, before any commit of his failed; and nobody is fenced for him."""
        stream = self.stream(2)
        a, b = self.mount(stream), self.mount(stream)
        a.begin("p", 0)
        bw.write(a.slot("p", 0, 0), b"old")
        b.begin("p", 0)
        self.assertFalse(os.path.exists(a.step(99)))  # the news
        self.assert_errno("ESTALE", a.begin, "p", 1)
        for rank in range(2):
            bw.write(b.slot("p", 0, rank), bw.payload("p", 0, rank))
        self.assertFalse(os.path.exists(a.step(99)))
        self.assert_errno("ESTALE", a.begin, "p", 1)
        self.assert_errno("ESTALE", bw.write, a.slot("p", 0, 1), b"old")
        b.put("p", 1)
        shutil.rmtree(a.slot("p", 0))
        a.put("p", 2)
        for step in range(3):
            self.assert_step(b, step, "p", step)

    def test_p5_looking_fences_nobody(self):
        """P5: reading, listing and mkdir of the producer leave it where it is."""
        stream = self.stream(2)
        a, b = self.mount(stream), self.mount(stream)
        a.put("p", 0)
        epoch = a.resume("p")["epoch"]
        a.begin("p", 1)
        os.listdir(b.path("produce"))
        os.listdir(b.path("produce/p"))
        for name in ("next", "state", "resume"):
            bw.read(b.path("produce/p", name))
        self.assert_errno("EEXIST", os.mkdir, b.path("produce/p"))
        os.makedirs(b.path("produce/p"), exist_ok=True)
        self.assert_errno("EEXIST", os.mkdir, b.slot("p", 0))
        for rank in range(2):
            bw.write(a.slot("p", 1, rank), b"x")
        self.assertEqual(b.get(1), [b"x", b"x"])
        self.assertEqual(b.resume("p")["epoch"], epoch)

    def test_p5_two_mounts_race_for_every_seq(self):
        """P4, P5: whoever loses is told ESTALE; the stream has each seq once, whole, from one mount."""
        stream = self.stream(2)
        mounts = {"A": self.mount(stream), "B": self.mount(stream)}

        def produce(name, mount):
            def attempt():
                seq = int(mount.resume("p")["next"])
                if seq >= 30:
                    return True
                try:
                    mount.put("p", seq, [f"{name} {seq} {r}".encode() for r in range(2)])
                except OSError as e:
                    self.assertIn(bw.errno_name(e.errno), ("ESTALE", "EEXIST"))
                    for left in filter(str.isdigit, os.listdir(mount.path("produce/p"))):
                        shutil.rmtree(mount.slot("p", left), ignore_errors=True)
                return False

            while not attempt():
                os.path.exists(mount.step(1 << 40))  # asks for news

        os.mkdir(mounts["A"].path("produce/p"))
        os.path.exists(mounts["B"].step(0))
        self.join(*[self.spawn(produce, *item) for item in mounts.items()])
        head = mounts["A"].head()
        self.assertGreaterEqual(head, 30)
        for step in range(head):
            self.assertEqual(int(mounts["B"].meta(step)["seq"]), step)
            got = mounts["B"].get(step)
            winner = got[0][:1].decode()
            self.assertEqual(got, [f"{winner} {step} {r}".encode() for r in range(2)])

    def test_p5_a_command_fences_a_mount(self):
        """P5: batchweave put takes the producer as a mount would."""
        stream = self.stream(1)
        mount = self.mount(stream)
        mount.put("p", 0)
        mount.begin("p", 1)
        file = os.path.join(self.root, "file")
        bw.write(file, b"command")
        bw.batchweave("put", stream.url, "p", "--seq", 1, file)
        self.assert_errno("ESTALE", bw.write, mount.slot("p", 1, 0), b"mount")
        self.assertEqual(mount.get(1), [b"command"])


class NoTrace(bw.TestCase):
    def test_p6_a_batch_that_was_removed(self):
        """P6: rm -rf at every stage before the last close; the seq is free again."""
        mount = self.mounted()
        for written in range(4):
            mount.begin("p", 0)
            for rank in range(written):
                bw.write(mount.slot("p", 0, rank), b"x" * 100000)
            shutil.rmtree(mount.slot("p", 0))
            self.assert_nothing_committed(mount)
        self.assertEqual(mount.stream.objects("data/"), [])
        mount.put("p", 0)
        self.assert_step(mount, 0, "p", 0)

    def test_p6_staged_bytes_are_given_back(self):
        """P6, S6: removed, replaced and committed batches leave no staged bytes."""
        mount = self.mounted(ranks=2)
        for seq in range(3):
            mount.begin("p", seq)
            bw.write(mount.slot("p", seq, 0), os.urandom(3 << 20))
            self.assertGreaterEqual(mount.metric("staging_bytes"), 3 << 20)
            bw.write(mount.slot("p", seq, 0), os.urandom(1 << 20))
            self.assertLess(mount.metric("staging_bytes"), 3 << 20)
            bw.write(mount.slot("p", seq, 1), b"x")
        mount.begin("p", 3)
        bw.write(mount.slot("p", 3, 0), os.urandom(1 << 20))
        shutil.rmtree(mount.slot("p", 3))
        bw.wait_until(lambda: mount.metric("staging_bytes") == 0, what="no staged bytes")


class Pipelining(bw.TestCase):
    def test_p8_close_returns_early_and_order_holds(self):
        """P8, P4: with pending=N all batches commit in order; fsync of the producer waits for them."""
        mount = self.mounted("pending=8")
        for seq in range(40):
            mount.put("p", seq, state=str(seq))
        mount.drain("p")
        self.assertEqual(mount.head(), 40)
        for step in range(40):
            self.assertEqual(int(mount.meta(step)["seq"]), step)
            self.assert_step(mount, step, "p", step)
        self.assertEqual(mount.state("p"), b"39")

    def test_p8_close_does_not_wait_for_the_commit(self):
        """P8: N batches close while no root can be written; the queue commits when it can."""
        stream, gate = self.stream(), self.gate()
        mount = self.mount(stream, "pending=4", gate=gate)
        mount.put("p", 0)
        mount.drain("p")
        gate.hold()
        for seq in range(1, 5):
            mount.put("p", seq)
        self.assert_nothing_committed(mount, 1)
        pending = mount.said()["producers"]["p"]["pending"]
        self.assertEqual(pending, 4)
        done = threading.Event()
        fifth = threading.Thread(target=lambda: (mount.put("p", 5), done.set()))
        fifth.start()
        self.assertFalse(done.wait(0.5), "a fifth batch was queued with pending=4")
        gate.open()
        fifth.join(bw.PATIENCE)
        mount.drain("p")
        self.assertEqual(mount.head(), 6)
        for step in range(6):
            self.assert_step(mount, step, "p", step)

    def test_p8_the_next_close_or_fsync_reports(self):
        """P8, P3e, P6: a queued batch that fails is told by fsync, and nothing after it commits."""
        stream = self.stream(1)
        a, b = self.mount(stream, "pending=4"), self.mount(stream)
        a.put("p", 0)
        a.drain("p")
        a.begin("p", 1)
        b.begin("p", 1)  # takes the producer
        said = [bw.error_of(bw.write, a.slot("p", 1, 0), b"from A"), bw.error_of(a.drain, "p")]
        self.assertIn("ESTALE", said)
        self.assertEqual(set(said) - {"", "ESTALE"}, set())
        self.assertIn("p", a.status("errors"))
        self.assert_nothing_committed(b, 1)
        bw.write(b.slot("p", 1, 0), b"from B")
        self.assertEqual(a.get(1), [b"from B"])

    def test_p8_umount_drains(self):
        """P8, S5: batches that were queued when the mount was taken away are committed."""
        stream, gate = self.stream(), self.gate()
        mount, other = self.mount(stream, "pending=20", gate=gate), self.mount(stream)
        for seq in range(20):
            mount.begin("p", seq)
        gate.hold()
        for seq in range(20):
            for rank in range(4):
                bw.write(mount.slot("p", seq, rank), bw.payload("p", seq, rank))
        codes = []
        ending = threading.Thread(target=lambda: codes.append(mount.umount()))
        ending.start()
        bw.wait_until(lambda: not mount.is_mounted(), what="the umount")
        self.assertEqual(other.head(), 0, "nothing was in the queue any more")
        gate.open()
        ending.join(bw.PATIENCE)
        self.assertEqual(codes, [0])
        self.assertEqual(int(other.resume("p")["next"]), 20)
        self.assertEqual(other.head(), 20)
        for step in range(20):
            self.assert_step(other, step, "p", step)


if __name__ == "__main__":
    bw.main()
