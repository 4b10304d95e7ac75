# SPDX-License-Identifier: Apache-2.0
"""P4, P5, P8, I5 to I8: what a producer may rely on when it, its mount or its host is replaced."""
import errno
import os
import shutil

import bw

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
            drain(mount, name)
        self.assertEqual(mount.status("errors"), "")
        self.assertEqual(mount.head(), len(states))
        self.assertGreaterEqual(len(self.state_objects(stream)), 16)
        other = self.mount(stream)
        for name in names[::5] + names[-1:]:  # each asks the store for news
            self.assertEqual(other.state(name), states[name, 1])


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
        drain(a, "p")
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
        fsync = bw.error_of(drain, a, "p")
        self.assertEqual(fsync, "" if seq == 8 else "ESTALE")
        head = b.head()
        self.assertEqual(head, seq + 1)
        owners = [b.get(step)[0][:1] for step in range(head)]
        self.assertEqual(owners, [b"A"] * seq + [b"B"])
        self.assertEqual([int(b.meta(step)["seq"]) for step in range(head)], list(range(head)))


def drain(mount, name):
    """fsync of the producer's directory (P8)."""
    fd = os.open(mount.path("produce", name), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class QueuedErrors(bw.TestCase):
    @bw.file_only("the gate in the way to an engine cannot say that it is full")
    def test_p8_an_error_is_told_once_and_the_order_holds(self):
        """P8, I5: the first of a queue that fails is told of once; nothing behind it overtakes it."""
        stream, gate = self.stream(1), self.gate()
        mount = self.mount(stream, "pending=4", gate=gate)
        mount.put("p", 0)
        drain(mount, "p")
        gate.fail(errno.ENOSPC)
        told = [bw.error_of(mount.put, "p", 1)]
        bw.wait_until(lambda: "seq=1 " in mount.status("errors"), what="the error of seq 1")
        told.append(bw.error_of(mount.put, "p", 2))
        told.append(bw.error_of(drain, mount, "p"))
        self.assertEqual([t for t in told if t not in ("", "EAGAIN")], ["ENOSPC"], told)
        # Told, so that it is not told again; the batch itself goes on saying so (P3e).
        self.assertEqual(bw.error_of(drain, mount, "p"), "")
        self.assertEqual(bw.error_of(os.open, mount.slot("p", 1, 0), os.O_RDONLY), "ENOSPC")
        self.assert_nothing_committed(mount, 1)
        gate.open()
        # Made again it commits, and what waited behind it after it.
        shutil.rmtree(mount.slot("p", 1))
        mount.put("p", 1)
        drain(mount, "p")
        bw.wait_until(lambda: mount.head() == 3, what="the commit of both")
        for step in range(3):
            self.assert_step(mount, step, "p", step)


if __name__ == "__main__":
    bw.main()
