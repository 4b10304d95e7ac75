# SPDX-License-Identifier: Apache-2.0
# ctest: once s3 long 160-s
"""S2, S3, V6, P3m: a Ceph RGW killed and started again below mounts that read and commit."""
import os
import random
import signal
import subprocess
import sys
import time

import bw
import load
import node


class UnderLoad(node.TestCase):
    limit = 400

    def outage(self, rng):
        time.sleep(rng.uniform(0.5, 1.5))
        self.node.kill_gateway()
        time.sleep(rng.choice((0, 0.5, 2, 6)))
        self.node.start_gateway()

    def test_s2_s3_killed_and_started_under_load(self):
        """Reads and commits resume by themselves; nothing is lost, nothing is doubled."""
        seed = int(os.environ.get("BW_SEED") or random.SystemRandom().randrange(1 << 32))
        print(f"seed {seed} (repeat with BW_SEED={seed})", file=sys.stderr, flush=True)
        rng = random.Random(seed)
        stream = self.s3_stream(load.RANKS)
        one = self.s3_mount(stream, "commit_timeout=500,io_timeout=120")
        two = self.s3_mount(stream, "commit_timeout=500,io_timeout=120,pending=4,memory=96M")
        load_ = load.Load(self, one, two)
        load_.wait_for_commits()
        for _ in range(8):
            self.outage(rng)
            load_.wait_for_commits()
        load_.end()
        load_.check(self.s3_mount(stream))
        for mount in (one, two):
            self.assertIs(self.store_of(mount)["ok"], True)


class Down(node.TestCase):
    """What a mount does while the gateway is away."""

    def setUp(self):
        super().setUp()
        self.made = self.s3_stream(load.RANKS)
        self.writer = self.s3_mount(self.made, "commit_timeout=500,io_timeout=5")
        self.data = [[os.urandom(300000), b"y"] for _ in range(3)]
        for seq in range(3):
            self.writer.put("p", seq, self.data[seq])
        self.down = False
        self.addCleanup(self.up)

    def kill(self):
        self.node.kill_gateway()
        self.down = True

    def up(self):
        if self.down:
            self.node.start_gateway()
            self.down = False

    def test_v6_reads(self):
        """V6: what is cached reads on, what is not is EIO after io_timeout, and status says why; then all is well."""
        reader = self.s3_mount(self.made, "io_timeout=5,prefetch=0")
        self.assertEqual(reader.get(0), self.data[0])
        said = self.store_of(reader)
        self.assertEqual((said["url"], said["ok"], said["last_error"]), (self.made.url, True, ""))
        self.kill()
        for _ in range(3):
            self.assertEqual(reader.get(0), self.data[0])
        self.assert_errno("EIO", bw.read, reader.step(1, 0), "rb")
        said = self.store_of(reader)
        self.assertIs(said["ok"], False)
        self.assertRegex(said["last_error"], r"^unreachable since \d{4}-")
        self.assertRegex(reader.status("status"), r"(?m)^store +unreachable since \d{4}-")
        self.assert_errno("EIO", os.stat, reader.step(3))
        self.assertEqual(reader.get(0), self.data[0])
        self.assertEqual(reader.head(), 3)
        self.up()
        self.assertEqual([reader.get(s) for s in range(3)], self.data)
        self.assert_errno("ENOENT", os.stat, reader.step(3))
        self.assertIs(self.store_of(reader)["ok"], True)
        self.assertRegex(reader.status("status"), r"(?m)^store +answers$")

    def test_v6_a_read_that_begins_before_the_store_is_back(self):
        """A read whose io_timeout is longer than the outage knows nothing of it."""
        reader = self.s3_mount(self.made, "io_timeout=200,prefetch=0")
        self.kill()
        got = self.spawn(lambda: self.assertEqual(reader.get(1), self.data[1]))
        bw.wait_until(lambda: f"pid={got.pid} " in reader.status("waiting"), what="the waiter")
        self.assertRegex(reader.status("waiting"), rf"pid={got.pid} comm=\S+ step=1 rank=0 since=\S+ reason=read\n")
        time.sleep(1.5)  # some attempts
        self.assertIsNone(got.poll())
        self.up()
        self.join(got)
        self.assertEqual((reader.status("waiting"), reader.metric("waiters", reason="read")), ("", 0))
        self.assertGreater(reader.metric("wait_seconds_sum", reason="read"), 1.5)

    def test_v7_a_wait_that_begins_before_the_store_is_back(self):
        """V7, V6: who waits for a step anyway does not hear of an outage that is shorter than io_timeout."""
        reader = self.s3_mount(self.made, "io_timeout=200,wait=300,prefetch=0")
        self.kill()
        got = self.spawn(lambda: self.assertEqual(reader.get(3), self.data[0]))
        bw.wait_until(lambda: "step=3" in reader.status("waiting"), what="the waiter")
        time.sleep(6)  # longer than a look-up may take
        self.assertIsNone(got.poll())
        self.up()
        self.writer.put("p", 3, self.data[0])
        self.join(got)

    def test_p3m_commits_wait(self):
        """P3m: a close waits for the store; status says why although nobody reads; then the batch is committed once."""
        self.assertEqual(self.writer.get(2), self.data[2])
        self.writer.begin("p", 3)
        bw.write(self.writer.slot("p", 3, 0), b"zero")
        self.kill()
        close = self.spawn(bw.write, self.writer.slot("p", 3, 1), b"one")
        bw.wait_until(lambda: "reason=commit" in self.writer.status("waiting"), what="the waiter")
        bw.wait_until(lambda: self.store_of(self.writer)["ok"] is False, what="the trouble in status.json")
        self.assertRegex(self.writer.status("status"), r"(?m)^store +unreachable since \d{4}-")
        self.assertIsNone(close.poll())
        self.assertEqual(self.writer.head(), 3)
        self.assertEqual(self.writer.get(2), self.data[2])
        self.up()
        self.join(close)
        self.assertEqual(self.writer.head(), 4)
        self.assertEqual(self.s3_mount(self.made).get(3), [b"zero", b"one"])
        self.assertIs(self.store_of(self.writer)["ok"], True)

    def test_s5_the_daemon_leaves(self):
        """S5: SIGTERM with a commit on its way to a store that is down ends the daemon; the batch is whole or not there."""
        m = self.s3_mount(self.made, "commit_timeout=5,io_timeout=5")
        m.begin("q", 0)
        bw.write(m.slot("q", 0, 0), b"zero")
        self.kill()
        close = self.spawn(lambda: bw.error_of(bw.write, m.slot("q", 0, 1), b"one"))
        bw.wait_until(lambda: "reason=commit" in m.status("waiting"), what="the waiter")
        m.stop(signal.SIGTERM)
        self.join(close)
        self.assertEqual([c for c in m.complaints if "did not end" in c], [])
        m.complaints.clear()  # with a commit unresolved its exit code may say so
        self.up()
        m.restart()
        if m.head() == 4:
            self.assertEqual(m.get(3), [b"zero", b"one"])
        else:
            self.assertEqual((m.head(), int(m.resume("q")["next"])), (3, 0))

    def test_a_mount_of_a_store_that_is_down(self):
        """Exit code and one sentence, for the mount and for commands, in bounded time."""
        self.kill()
        folder = self.folder("mnt")
        for options in ("io_timeout=5", ""):
            done = self.command(self.made.url, folder, "-o", options or "rw", program=bw.MOUNT, timeout=90)
            self.assertEqual(done.returncode, 32, done.stderr)
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
            self.assertRegex(done.stderr, "cannot be reached|did not answer|nobody answers")
            self.assertFalse(os.path.ismount(folder))
        for words in (["status", self.made.url], ["init", self.made.url + "x", "--ranks", 1]):
            done = self.command(*words, timeout=90)
            self.assertEqual(done.returncode, 3, done.stderr)
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.up()
        done = self.command(self.made.url, folder, program=bw.MOUNT)
        self.addCleanup(subprocess.run, ["umount", "-l", folder], check=False, capture_output=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(bw.read(folder + "/status/head"), "3\n")
        bw.unmount(folder)


if __name__ == "__main__":
    bw.main()
