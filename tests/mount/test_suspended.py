# SPDX-License-Identifier: Apache-2.0
# ctest: waits 35-s
"""S3, P3m, P4, P5, V6: a daemon that is stopped for longer than every timeout, as a laptop or a virtual machine is, and goes on."""
import os
import shutil
import signal
import time

import bw

RANKS = 2
SHORT = "io_timeout=5,commit_timeout=5"
LONGER = 6.5  # seconds, than any of those


class Suspended(bw.TestCase):
    def suspend(self, mount, seconds=LONGER):
        """Nobody may touch the mount meanwhile: this returns when it may again."""
        mount.proc.send_signal(signal.SIGSTOP)
        try:
            time.sleep(seconds)
        finally:
            mount.proc.send_signal(signal.SIGCONT)

    def produce(self, mount, name, notes, stop):
        """What close refuses is looked up and done again, as a producer that wants to live does."""
        seq = 0
        with open(notes, "w", encoding="ascii", buffering=1) as told:
            while not os.path.exists(stop):
                try:
                    mount.put(name, seq)
                    told.write(f"{seq} ok\n")
                except OSError as e:
                    told.write(f"{seq} {bw.errno_name(e.errno)}\n")
                    self.settle(mount, name, seq)
                seq += 1

    def settle(self, mount, name, seq):
        """The attempt goes on: until the batch is committed, or can be written again."""
        def settled():
            if int(mount.resume(name)["next"]) > seq:
                return True
            try:
                shutil.rmtree(mount.slot(name, seq))
                mount.put(name, seq)
            except OSError as e:  # on its way, or committed a moment ago
                if bw.errno_name(e.errno) not in ("EBUSY", "EEXIST", "EPERM", "EROFS", "ENOENT"):
                    raise
            return False
        bw.wait_until(settled, what=f"the outcome of {seq}")

    def consume(self, mount, stop):
        """Reads step after step; an error is one of a timeout, and the same step reads well after it."""
        step = 0
        while not os.path.exists(stop):
            said = bw.error_of(os.stat, mount.step(step, 0))
            if said in ("ENOENT", "EIO", "ETIMEDOUT"):  # after a timeout nobody knows whether there is one
                time.sleep(0.01)
                continue
            try:
                mount.get(step)
            except OSError as e:
                if bw.errno_name(e.errno) not in ("EIO", "ETIMEDOUT"):
                    raise
                mount.get(step)
            step += 1

    def test_s3_under_load(self):
        """S3, P3m, P4: reads and commits go on; every batch is there once, whatever its close said."""
        stream = self.stream(RANKS)
        mount, other = self.mount(stream, SHORT), self.mount(stream)
        notes, stop = self.root + "/notes", self.root + "/stop"
        load = [self.spawn(self.produce, mount, "p", notes, stop), self.spawn(self.consume, mount, stop)]
        bw.wait_until(lambda: mount.head() > 20, what="some commits")
        self.suspend(mount)
        head = mount.head()
        bw.wait_until(lambda: mount.head() > head + 20, what="commits after it")
        bw.write(stop, "")
        self.join(*load)
        told = [line.split() for line in bw.read(notes).split("\n")[:-1]]
        self.assertEqual([int(seq) for seq, _ in told], list(range(len(told))))
        self.assertLess(len([1 for _, what in told if what != "ok"]), 3)
        self.assertEqual(other.head(), len(told))
        for step in range(other.head()):
            self.assertEqual(other.meta(step)["producer"], "p")
            self.assert_step(other, step, "p", step)
        self.assertEqual(mount.metric("waiters"), 0)

    def test_v6_v7_reads_and_waits_that_were_under_way(self):
        """V6, V7: an answer or a timeout for each, and then the mount is as good as before."""
        stream = self.stream(RANKS)
        mount, other = self.mount(stream, SHORT + ",wait=5,prefetch=0"), self.mount(stream)
        for seq in range(3):
            other.put("p", seq)
        waiter = self.spawn(lambda: self.assertIn(bw.error_of(open, mount.step(3, 0)), ("", "ETIMEDOUT", "EIO")))
        never = self.spawn(lambda: self.assert_errno("ETIMEDOUT EIO", open, mount.step(1000, 0)))
        bw.wait_until(lambda: mount.status("waiting").count("step=") == 2, what="the waiters")
        mount.proc.send_signal(signal.SIGSTOP)
        reader = self.spawn(lambda: self.assertIn(bw.error_of(bw.read, mount.step(0, 0), "rb"), ("", "EIO")))
        other.put("p", 3)
        time.sleep(LONGER)
        mount.proc.send_signal(signal.SIGCONT)
        self.join(waiter, never, reader)
        for step in range(4):
            self.assert_step(mount, step, "p", step)
        self.assertEqual(mount.status("waiting"), "")

    def test_p5_fenced_while_it_was_stopped(self):
        """P5, P4, S3: the attempt of a mount that lost its producer meanwhile leaves nothing, and its close says so."""
        stream, gate = self.stream(RANKS), self.gate()
        stopped, other = self.mount(stream, SHORT, gate=gate), self.mount(stream)
        stopped.put("p", 0)
        stopped.begin("p", 1)
        bw.write(stopped.slot("p", 1, 0), b"old")
        gate.hold()
        close = self.spawn(lambda: self.assert_errno("ESTALE ETIMEDOUT", bw.write, stopped.slot("p", 1, 1), b"old"))
        bw.wait_until(lambda: "reason=commit" in stopped.status("waiting"), what="the commit")
        stopped.proc.send_signal(signal.SIGSTOP)
        other.put("p", 1)
        other.put("p", 2)
        gate.open()
        time.sleep(LONGER)
        stopped.proc.send_signal(signal.SIGCONT)
        self.join(close)
        bw.wait_until(lambda: stopped.head() == 3, what="the news")
        for mount in (stopped, other):
            for step in range(3):
                self.assert_step(mount, step, "p", step)
        self.assert_errno("ESTALE EEXIST", stopped.begin, "p", 1)

        def again():
            """The upload may have been through before its time was up: then this was fenced, and what is left must go first."""
            shutil.rmtree(stopped.slot("p", 1), ignore_errors=True)
            return bw.error_of(stopped.begin, "p", 3) == ""

        bw.wait_until(again, what="the producer again")
        for rank in range(RANKS):
            bw.write(stopped.slot("p", 3, rank), bw.payload("p", 3, rank))
        self.assert_step(other, 3, "p", 3)


if __name__ == "__main__":
    bw.main()
