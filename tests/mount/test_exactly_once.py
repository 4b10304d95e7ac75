# SPDX-License-Identifier: Apache-2.0
"""P4, P5, P8, I5 to I8: what a producer may rely on when it, its mount or its host is replaced."""
import base64
import errno
import os
import re
import shutil
import signal
import threading
import time

import bw
from broken_s3 import BrokenS3

STATE_INLINE = 512  # bytes of a state that ride in the root
STATES_INLINE = 24 << 10  # of all of them: above this a new one goes into an object


class States(bw.TestCase):
    def state_objects(self, stream):
        return [k for k in stream.objects("state/") if k.startswith("state/") or "/state/" in k]

    def test_p4_states_up_to_512_bytes_ride_in_the_root(self):
        """P4, I8: at 512 bytes no object, at 513 one; both are what resume gives, here and elsewhere."""
        stream = self.stream(1)
        a, b = self.mount(stream), self.mount(stream)
        objects = 0
        for seq, size in enumerate((1, STATE_INLINE, STATE_INLINE + 1, 0, 40000, STATE_INLINE)):
            state = os.urandom(size)
            a.put("p", seq, state=state)
            objects += size > STATE_INLINE
            self.assertEqual(len(self.state_objects(stream)), objects, f"a state of {size} bytes")
            os.path.exists(b.step(seq))
            for mount in (a, b):
                self.assertEqual(mount.state("p"), state)
                self.assertEqual(bw.read(mount.path("produce/p/state"), "rb"), state)
                self.assertEqual(int(mount.resume("p")["next"]), seq + 1)
        a.kill()
        self.assertEqual(b.state("p"), state)
        a.restart()
        self.assertEqual(a.state("p"), state)

    def test_p4_many_states_stay_within_the_root(self):
        """P4, I12: when those of all producers fill their room in the root, the next is an object."""
        stream = self.stream(1)
        mount = self.mount(stream)
        states = {}
        for i in range(STATES_INLINE // STATE_INLINE + 4):
            states[f"p{i}"] = os.urandom(STATE_INLINE)
            mount.put(f"p{i}", 0, state=states[f"p{i}"])
        self.assertGreaterEqual(len(self.state_objects(stream)), 1)
        self.assertLess(len(self.state_objects(stream)), 8)
        other = self.mount(stream)
        for name, state in states.items():
            self.assertEqual(other.state(name), state)

    def test_p4_many_states_at_once_stay_within_the_root(self):
        """P4, P7, I12: more than have room there, of batches that nobody knew of each other when they were uploaded."""
        stream, gate = self.stream(1), self.gate()
        mount = self.mount(stream, "pending=2", gate=gate)
        names = [f"p{i}" for i in range((32 << 10) // STATE_INLINE + 16)]
        states = {(name, seq): os.urandom(STATE_INLINE) for name in names for seq in range(2)}
        for name, seq in states:
            mount.begin(name, seq)
        gate.hold()
        for (name, seq), state in states.items():
            bw.write(mount.path("produce", name, seq, "state"), state)
            bw.write(mount.slot(name, seq, 0), bw.payload(name, seq, 0))
        bw.wait_until(lambda: len(stream.objects("data/")) == len(states), what="all uploads")
        gate.open()
        for name in names:
            mount.drain(name)
        self.assertEqual(mount.status("errors"), "")
        self.assertEqual(mount.head(), len(states))
        self.assertGreaterEqual(len(self.state_objects(stream)), 16)
        other = self.mount(stream)
        for name in names[::5] + names[-1:]:  # each asks the store for news
            self.assertEqual(other.state(name), states[name, 1])


class Overtaken(bw.TestCase):
    class Stream:
        """In a server of our own, as bw.Mount wants it."""
        url, ranks = "s3://bucket/run", 1

    def setUp(self):
        super().setUp()
        self.s3 = BrokenS3()
        self.s3.__enter__()
        self.addCleanup(self.s3.__exit__)
        keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_CA_BUNDLE": ""}
        bw.batchweave("init", self.Stream.url, "--ranks", 1, "--grace", 0, "--endpoint", self.s3.endpoint,
                      env={**os.environ, **keys})
        self.writes, self.reads = (self.mount(self.Stream, f"endpoint={self.s3.endpoint}", env=keys) for _ in range(2))

    def states(self):
        return [key for key in self.s3.objects if "/state/" in key]

    def put(self, seq):
        state = os.urandom(STATE_INLINE + 1)
        self.writes.put("p", seq, [b"slice"], state=state)
        return state

    def overtake(self, times):
        """Whoever asks for a state finds that the next batch is committed, and a collector has been there."""
        given, lock = [], threading.Lock()

        def before(method, key):
            if method != "GET" or "/state/" not in key:
                return
            with lock:  # a get that takes long is sent twice
                if key in self.s3.objects and len(given) < times:
                    given.append(self.put(len(given) + 1))
                    self.s3.objects.pop(key)

        self.s3.before = before
        return given

    def test_p4_a_state_that_goes_while_it_is_asked_for(self):
        """P4, C4: what resume gives then is the next one, of one version with its seq."""
        self.put(0)
        given = self.overtake(3)
        resume = self.reads.resume("p")
        self.assertEqual(len(given), 3)
        self.assertEqual((int(resume["next"]), base64.b64decode(resume["state"])), (4, given[-1]))
        self.assertEqual(self.reads.state("p"), given[-1])
        self.assertNotIn("state_failed", self.reads.log())

    def test_p4_a_state_that_is_gone_is_no_state(self):
        """P4: it is damage when the newest version names it all the same."""
        self.put(0)
        for key in self.states():
            self.s3.objects.pop(key)
        self.assert_errno("EIO", self.reads.resume, "p")
        self.assertEqual(self.reads.log().count("state_failed"), 1)


class ElsewhereAgain(bw.TestCase):
    def replay(self, mount, name, until):
        """What a producer does when it starts: resume, then on from there.  Returns where it began."""
        resume = mount.resume(name)
        seq, state = int(resume["next"]), mount.state(name)
        self.assertEqual(state, f"after {seq - 1}".encode() if seq else b"")
        for n in range(seq, until):
            mount.put(name, n, state=f"after {n}")
        return seq

    def check(self, mount, name, count):
        self.assertEqual(mount.head(), count)
        for step in range(count):
            self.assertEqual(int(mount.meta(step)["seq"]), step)
            self.assert_step(mount, step, name, step)

    def test_p4_a_producer_goes_on_from_another_host(self):
        """P4, S2: its mount is killed in the middle of a batch; elsewhere it continues at the last commit."""
        stream = self.stream(2)
        a, b = self.mount(stream), self.mount(stream)
        os.mkdir(a.path("produce/p"))
        self.assertEqual(self.replay(a, "p", 5), 0)
        a.begin("p", 5)
        bw.write(a.slot("p", 5, 0), b"half of it")
        a.kill()
        os.path.exists(b.step(5))
        self.assertEqual(self.replay(b, "p", 9), 5)
        self.check(b, "p", 9)
        # And back, while the other is still there: its epoch ends.
        epoch = b.resume("p")["epoch"]
        a.restart()
        self.assertEqual(self.replay(a, "p", 11), 9)
        self.assertGreater(int(a.resume("p")["epoch"]), int(epoch))
        b.begin("p", 11)  # takes it once more: nothing of A is left to be refused
        for rank in range(2):
            bw.write(b.slot("p", 11, rank), bw.payload("p", 11, rank))
        self.check(a, "p", 12)

    def test_p4_a_queue_dies_with_its_host(self):
        """P4, P8, I6: what fsync has told of is there; of the rest a beginning, in order; the others are replayed."""
        stream = self.stream(2)
        a, b = self.mount(stream, "pending=8"), self.mount(stream)
        os.mkdir(a.path("produce/p"))
        self.replay(a, "p", 15)
        a.drain("p")
        for seq in range(15, 20):
            a.put("p", seq, state=f"after {seq}")
        a.kill()
        os.path.exists(b.step(20))
        began = self.replay(b, "p", 25)
        self.assertGreaterEqual(began, 15)
        self.check(b, "p", 25)

    def test_p5_i7_a_fenced_queue_leaves_nothing(self):
        """P5, I7: B takes the producer while A has batches queued: what commits of A comes before B."""
        stream = self.stream(1)
        a, b = self.mount(stream, "pending=8"), self.mount(stream)
        for seq in range(8):
            a.put("p", seq, [f"A {seq}".encode()])
        os.path.exists(b.step(0))
        os.makedirs(b.path("produce/p"), exist_ok=True)
        while True:  # its next may grow until the producer is B's
            seq = int(b.resume("p")["next"])
            if not bw.error_of(os.mkdir, b.slot("p", seq)):
                break
            os.path.exists(b.step(seq))
        os.mkdir(b.slot("p", seq) + "/rank")
        bw.write(b.slot("p", seq, 0), b"B")
        fsync = bw.error_of(a.drain, "p")
        self.assertEqual(fsync, "" if seq == 8 else "ESTALE")
        head = b.head()
        self.assertEqual(head, seq + 1)
        owners = [b.get(step)[0][:1] for step in range(head)]
        self.assertEqual(owners, [b"A"] * seq + [b"B"])
        self.assertEqual([int(b.meta(step)["seq"]) for step in range(head)], list(range(head)))


class QueuedErrors(bw.TestCase):
    def setUp(self):
        super().setUp()
        self.gate_ = self.gate()
        self.m = self.mount(self.stream(1), "pending=4", gate=self.gate_)
        self.m.put("p", 0)
        self.m.drain("p")

    def fail_the_first(self):
        """Batch 1 fails after its close has said yes."""
        self.gate_.fail(errno.ENOSPC)
        self.m.put("p", 1)
        bw.wait_until(lambda: "seq=1 " in self.m.status("errors"), what="the error of seq 1")

    @bw.file_only("the gate in the way to an engine cannot say that it is full")
    def test_p8_an_error_is_told_once_and_the_order_holds(self):
        """P8, I5: the first of a queue that fails is told of to one close, and by fsync until it is mended; nothing overtakes it."""
        self.fail_the_first()
        told = [bw.error_of(self.m.put, "p", seq) for seq in (2, 3)]
        self.assertEqual(told, ["ENOSPC", ""])
        # What closes have taken is not all committed, whoever has been told so (S2); so says the batch itself (P3e).
        for _ in range(2):
            self.assertEqual(bw.error_of(self.m.drain, "p"), "ENOSPC")
            self.assertEqual(bw.error_of(os.open, self.m.slot("p", 1, 0), os.O_RDONLY), "ENOSPC")
        self.assert_nothing_committed(self.m, 1)
        self.gate_.open()
        # Made again it commits, and what waited behind it after it.
        shutil.rmtree(self.m.slot("p", 1))
        self.m.put("p", 1)
        self.m.drain("p")
        self.assertEqual(self.m.head(), 4)
        for step in range(4):
            self.assert_step(self.m, step, "p", step)

    @bw.file_only("the gate in the way to an engine cannot say that it is full")
    def test_p8_p3_who_cannot_look_is_not_told(self):
        """P8, P3: a shell closes what it opens for `cat` before that writes; the error waits for a close of who opened the file."""
        self.fail_the_first()
        self.m.begin("p", 2)
        source = os.path.join(self.root, "slice")
        bw.write(source, bw.payload("p", 2, 0))
        done = self.shell("cat $S > $F", check=False, S=source, F=self.m.slot("p", 2, 0))
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("No space left", done.stderr)
        self.shell("cat $S > $F", S=source, F=self.m.slot("p", 2, "stray"))  # once

    @bw.file_only("the gate in the way to an engine cannot say that it is full")
    def test_p8_p3k_nor_where_nobody_is_judged(self):
        """P8, P3k: the same with commit=rename."""
        m = self.mount(self.stream(1), "pending=4,commit=rename", gate=self.gate_)
        for seq in (0, 1):
            m.begin("p", seq)
            bw.write(m.slot("p", seq, "new"), bw.payload("p", seq, 0))
        self.gate_.fail(errno.ENOSPC)
        os.rename(m.slot("p", 0, "new"), m.slot("p", 0, 0))
        bw.wait_until(lambda: "seq=0 " in m.status("errors"), what="the error of seq 0")
        done = self.shell("cat $S > $F", check=False, S=bw.__file__, F=m.slot("p", 1, "other"))
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("No space left", done.stderr)


class Followers(bw.TestCase):
    """P8: batches that are whole before the one that they follow is."""

    def setUp(self):
        super().setUp()
        self.gate_ = self.gate()
        self.s = self.stream(1)
        self.m = self.mount(self.s, "pending=2", gate=self.gate_)
        for seq in range(7):
            self.m.begin("p", seq)
        self.write(0)
        self.m.drain("p")

    def write(self, seq):
        bw.write(self.m.slot("p", seq, 0), bw.payload("p", seq, 0))

    def check(self, mount, count):
        self.assertEqual(mount.head(), count)
        for step in range(count):
            self.assert_step(mount, step, "p", step)

    def test_p8_s2_fsync_speaks_for_all_that_was_taken(self):
        """P8, S2, P3k: the writer of 1 was killed; 2, which close has taken, is not committed, and fsync says so."""
        child = self.spawn(lambda: (os.write(os.open(self.m.slot("p", 1, 0), os.O_WRONLY | os.O_CREAT), b"part"),
                                    os.kill(os.getpid(), signal.SIGKILL)))
        self.assertEqual(child.wait(), -signal.SIGKILL)
        bw.wait_until(lambda: "writer_killed" in self.m.log(), what="the judgement")
        self.write(2)
        for _ in range(2):
            self.assertEqual(bw.error_of(self.m.drain, "p"), "EAGAIN")
        self.assert_nothing_committed(self.m, 1)
        self.write(1)
        self.m.drain("p")
        self.check(self.m, 3)

    def test_p8_s2_fsync_that_waited_for_others(self):
        """P8, S2: nor does it answer for 3 with the end of 1."""
        self.gate_.hold()
        self.write(1)
        self.write(3)
        said = []
        sync = threading.Thread(target=lambda: said.append(bw.error_of(self.m.drain, "p")))
        sync.start()
        bw.wait_until(lambda: "reason=commit" in self.m.status("waiting"), what="the waiter")
        self.gate_.open()
        sync.join(bw.PATIENCE)
        self.assertEqual(said, ["EAGAIN"])
        self.check(self.m, 2)
        self.write(2)
        self.m.drain("p")
        self.check(self.m, 4)

    def test_p8_no_more_than_n(self):
        """P8: they count among the N; who comes later hears EAGAIN, as without pending, and is committed in its turn."""
        self.assertEqual([bw.error_of(self.write, seq) for seq in (2, 3, 4, 5)], ["", "", "EAGAIN", "EAGAIN"])
        self.assert_nothing_committed(self.m, 1)
        self.write(1)
        self.m.drain("p")
        self.check(self.m, 6)

    def test_p8_no_more_than_n_with_the_first(self):
        """P8: the close that they have waited for is one too many while none of them is committed."""
        self.write(2)
        self.write(3)
        self.gate_.hold()
        done = threading.Event()
        first = threading.Thread(target=lambda: (self.write(1), done.set()))
        first.start()
        bw.wait_until(lambda: "reason=commit" in self.m.status("waiting") or done.is_set(), what="the waiter")
        self.assertFalse(done.is_set(), "a third batch was taken with pending=2")
        self.gate_.open()
        first.join(bw.PATIENCE)
        self.m.drain("p")
        self.check(self.m, 4)

    @bw.file_only("the gate in the way to an engine cannot say that it is full")
    def test_p8_a_close_does_not_wait_for_what_does_not_move(self):
        """P8, P3m: when the one before them fails, its close does not wait for those that wait for it."""
        self.write(2)
        self.write(3)
        self.assertEqual(bw.error_of(self.write, 4), "EAGAIN")
        self.gate_.fail(errno.ENOSPC)
        child = self.spawn(self.write, 1)
        self.join(child)
        self.assertEqual(bw.error_of(self.m.drain, "p"), "ENOSPC")
        self.gate_.open()
        os.unlink(self.m.slot("p", 1, 0))
        self.write(1)
        self.m.drain("p")
        self.check(self.m, 5)

    def end(self, stop):
        """Ends the mount with 1 and 2 taken, and the root of 1 on its way."""
        self.write(2)
        self.gate_.hold()
        self.write(1)
        self.assertEqual(bw.error_of(bw.write, self.m.slot("p", 5, "stray"), b"x"), "")
        ending = threading.Thread(target=stop)
        ending.start()
        return ending

    def test_p8_s5_a_signal_drains_them(self):
        """P8, S5: what waited for the batch that is on its way when SIGTERM comes is committed after it."""
        ending = self.end(self.m.stop)
        tries = iter(range(1000000))
        bw.wait_until(lambda: bw.error_of(bw.write, self.m.slot("p", 5, f"stray{next(tries)}"), b"x"), what="the end of mkdirs")
        self.gate_.open()
        ending.join(bw.PATIENCE)
        self.m.restart()
        self.check(self.m, 3)

    def test_p8_s5_so_does_umount(self):
        """P8, S5: the same of umount."""
        ending = self.end(self.m.umount)
        bw.wait_until(lambda: not self.m.is_mounted(), what="the umount")
        time.sleep(0.5)  # until the daemon has heard of it
        self.gate_.open()
        ending.join(bw.PATIENCE)
        self.m.restart()
        self.check(self.m, 3)

    def test_p8_s5_what_is_dropped_is_named(self):
        """P8, S5: 2 was taken, and what it waits for never came: the log says that it is not committed."""
        self.write(2)
        self.assertEqual(self.m.stop(), 0)
        self.assertEqual(re.findall(r"(?m) error commit_failed producer=p seq=(\d+) errno=\d+ reason=\"([^\"]+)\"$", self.m.log()),
                         [("2", "shutting down")])
        self.m.restart()
        self.check(self.m, 1)


if __name__ == "__main__":
    bw.main()
