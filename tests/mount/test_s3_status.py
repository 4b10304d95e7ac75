# SPDX-License-Identifier: Apache-2.0
# ctest: once waits 200-s
"""What a mount of an S3 store says when the store is down, and what it never says."""
import glob
import json
import os
import re
import signal
import subprocess
import time
import unittest

import bw
from broken_s3 import SLOW_S, BrokenS3

SECRET = "hush-hush-hush-hush"


class Stream:
    """A stream in a server of our own, as bw.Mount wants it."""
    url, ranks = "s3://bucket/run", 1


class Status(bw.TestCase):
    def setUp(self):
        super().setUp()
        self.s3 = BrokenS3()
        self.s3.__enter__()
        self.addCleanup(self.s3.__exit__)
        self.env = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_CA_BUNDLE": ""}
        bw.batchweave("init", Stream.url, "--ranks", 1, "--endpoint", self.s3.endpoint,
                      env={**os.environ, **self.env})
        self.m = self.mount(Stream, f"io_timeout=5,endpoint={self.s3.endpoint}", env=self.env)

    def store(self):
        return json.loads(self.m.status("status.json"))["store"]

    def test_a_bucket_of_another_region(self):
        """S3: what the store says of its region is followed with the first request, remembered and logged."""
        self.m.umount()
        self.s3.rule = "elsewhere"
        before = len(self.s3.requests)
        mount = self.mount(Stream, f"region=us-east-1,endpoint={self.s3.endpoint}", env=self.env)
        for seq in range(3):
            mount.put("p", seq, [b"%d" % seq])
            self.assertEqual(mount.get(seq), [b"%d" % seq])
        self.assertGreater(len(self.s3.requests) - before, 10)
        self.assertEqual(self.s3.sent_away, 1)
        self.assertEqual(mount.log().count(" warn store_moved "), 1)
        self.assertRegex(mount.log(), r" warn store_moved host=127\.0\.0\.1:\d+ region=eu-test-1\n")

    def test_down_and_up(self):
        """V6: a store that is down is EIO after io_timeout, and status says so until it answers again."""
        self.m.put("p", 0, [b"first"])
        said = self.store()
        self.assertIsInstance(said.pop("hedged"), int)  # a get that is late on a busy machine is asked for twice
        self.assertEqual(said, {"url": Stream.url, "ok": True, "last_error": "", "send_rate": None, "throttled": 0, "retries": 0})
        self.assertRegex(self.m.status("status"), r"(?m)^store      answers$")
        self.s3.rule = "errors"
        self.assertEqual(bw.error_of(bw.read, self.m.step(0, 0), "rb"), "EIO")
        said = self.store()
        self.assertIs(said["ok"], False)
        self.assertRegex(said["last_error"], r"^unreachable since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        self.assertRegex(self.m.status("status"), r"(?m)^store      unreachable since \d{4}-")
        self.s3.rule = ""
        self.assertEqual(self.m.get(0), [b"first"])
        self.assertIs(self.store()["ok"], True)
        self.assertRegex(self.m.status("status"), r"(?m)^store      answers$")

    def test_s5_what_outlives_the_drain_ends_with_the_store(self):
        """S5: an upload, and a mkdir that asks for news, to neither of which the store says a word."""
        # The drain waits 30 s for the upload, and the daemon 10 s more until the upload's time is over.
        m = self.mount(Stream, f"io_timeout=1000,commit_timeout=35,endpoint={self.s3.endpoint}", env=self.env)
        m.put("p", 0, [b"first"])
        m.begin("p", 1)
        self.m.put("q", 0, [b"second"])
        self.assertEqual(m.get(1), [b"second"])
        self.s3.held = ("PUT", "GET")
        children = (self.spawn(bw.error_of, bw.write, m.slot("p", 1, 0), b"third"),
                    self.spawn(bw.error_of, os.mkdir, m.slot("q", 1)))
        bw.wait_until(lambda: all(f"reason={why}" in m.status("waiting") for why in ("commit", "take")), what="both")
        self.assertEqual(m.stop(), 0)
        self.s3.held = ()
        self.join(*children)
        self.assertEqual(self.m.head(), 2)

    def pending(self, options, failing):
        """A mount with batches 1 to 3 taken by closes, `failing` of which cannot be uploaded; more answers are lost after SIGTERM."""
        m = self.mount(Stream, f"pending=4,endpoint={self.s3.endpoint}{options}", env=self.env)
        for seq in range(4):
            m.begin("p", seq)
        bw.write(m.slot("p", 0, 0), b"0")
        bw.wait_until(lambda: m.head() == 1, what="the first commit")
        self.s3.rule = "no-data"
        for seq in range(1, 4):
            bw.write(m.slot("p", seq, 0), b"%d" % seq)
        bw.wait_until(lambda: m.status("waiting").count("uploads_failed=") == failing, what="failed uploads")
        m.proc.send_signal(signal.SIGTERM)
        bw.wait_until(lambda: " info stopping reason=SIGTERM" in m.log(), what="the end")
        before = self.data_puts()
        bw.wait_until(lambda: self.data_puts() >= before + 6 * failing, 20, "three more uploads of each, of two puts")
        return m

    def data_puts(self):
        return [verb for verb, path in self.s3.requests if "/data/" in path].count("PUT")

    def test_s5_p8_uploads_are_made_again_until_the_drain_ends(self):
        """S5, P8: a store in trouble when SIGTERM comes, and well again some seconds later."""
        m = self.pending("", 3)
        self.s3.rule = ""
        self.assertEqual(m.reap(), 0)
        self.assertEqual([self.m.get(step) for step in range(4)], [[b"%d" % step] for step in range(4)])
        self.assertNotIn("commit_failed", m.log())

    def test_s5_p8_what_is_dropped_is_named(self):
        """S5, P8: it stays in trouble: the log names each batch that a close has taken, those behind the first as well."""
        self.s3.data = ("/data/p/1/1-", "/data/p/1/3-")  # 2 is uploaded, and its turn never comes
        m = self.pending(",commit_timeout=35", 2)
        m.reap()
        m.complaints.clear()
        failed = re.findall(r" error commit_failed producer=p seq=(\d+) ", m.log())
        self.assertEqual(sorted(failed), ["1", "2", "3"], m.log())
        self.assertEqual(self.m.head(), 1)

    def test_s5_late_replies_go_nowhere(self):
        """S5: least of all to a file that has got the number of the kernel's descriptor while the mount ends."""
        gate = bw.Gate(os.path.join(self.root, "gate"))
        self.addCleanup(gate.open)
        self.m.put("p", 0, [os.urandom(4 << 20)])
        m = self.mount(Stream, f"io_timeout=60,endpoint={self.s3.endpoint}", env=self.env, gate=gate)
        self.assertTrue(os.path.exists(m.step(0)))
        self.s3.held = ("GET",)
        reader = self.spawn(bw.error_of, bw.read, m.step(0, 0), "rb")
        bw.wait_until(lambda: self.s3.holding, what="a read that waits for the store")
        gate.say("unmount")
        m.proc.send_signal(signal.SIGTERM)
        bw.wait_until(lambda: os.path.exists(gate.path + ".held"), what="the end of the mount")
        before = len(self.s3.requests)
        self.s3.held = ()
        bw.wait_until(lambda: len(self.s3.requests) > before, what="the store's answer")
        time.sleep(1)  # for the reply, if there is one
        gate.open()
        self.assertEqual(m.reap(), 0)
        self.join(reader)
        self.assertEqual(bw.read(gate.path + ".held", "rb"), b"")

    def test_failed_uploads_of_an_attempt_are_not_those_of_the_next(self):
        """P3e: a batch that is tried again begins anew, in /status/waiting too."""
        m = self.mount(Stream, f"commit_timeout=5,endpoint={self.s3.endpoint}", env=self.env)
        m.begin("p", 0)
        self.s3.rule = "no-data"
        self.assertIn(bw.error_of(bw.write, m.slot("p", 0, 0), b"first"), ("ETIMEDOUT", "EIO"))
        bw.wait_until(lambda: "state=staging" in m.status("waiting"), what="the end of the attempt")
        self.assertIn("uploads_failed=", m.status("waiting"))
        self.s3.rule, self.s3.held = "", ("PUT",)
        os.unlink(m.slot("p", 0, 0))
        child = self.spawn(bw.write, m.slot("p", 0, 0), b"second")
        bw.wait_until(lambda: "state=committing missing=0/1\n" in m.status("waiting"), what="the next attempt")
        self.s3.held = ()
        self.join(child)
        self.assertEqual(m.get(0), [b"second"])

    def uploads_failed(self):
        """Of the one batch that is being committed."""
        told = re.search(r"state=committing missing=0/1 uploads_failed=(\d+)\n", self.m.status("waiting"))
        return int(told[1]) if told else 0

    def test_writes_that_fail_while_reads_are_answered(self):
        """A full store: what waits for it is to be seen, and it is asked less and less often."""
        self.m.put("p", 0, [b"first"])
        before = [verb for verb, _ in self.s3.requests].count("PUT")
        self.s3.rule = "no-writes"
        child = self.spawn(self.m.put, "p", 1, [b"second"])
        try:
            bw.wait_until(lambda: self.uploads_failed() >= 4, what="the fourth failure")
            puts = [verb for verb, _ in self.s3.requests].count("PUT") - before
            self.assertLessEqual(puts, 2 * self.uploads_failed() + 2, "two for each")
            self.assert_errno("ENOENT", os.stat, self.m.step(99))
            self.assertRegex(self.store()["last_error"], r"^answers reads, but no writes since \d{4}-")
            self.assertIs(self.store()["ok"], False)
            self.assertEqual(self.m.metric("store_ok"), 0)
        finally:
            self.s3.rule = ""
        self.join(child)
        self.assertEqual(self.m.status("waiting"), "")

    def test_a_mount_that_nobody_uses_sees_the_end_of_an_outage(self):
        """Whoever collects its metrics hears of it: opening them asks the store, one request at a time, and waits for no answer."""
        m = self.mount(Stream, f"ro,io_timeout=5,endpoint={self.s3.endpoint}", env=self.env)
        self.m.umount()
        self.s3.rule = "errors"
        self.assert_errno("EIO", os.stat, m.step(0))
        self.assertEqual(m.metric("store_ok"), 0)
        self.s3.held = ("GET",)
        self.s3.rule = ""
        before = len(self.s3.requests)
        for _ in range(20):
            self.assertEqual(m.metric("store_ok"), 0)
        bw.wait_until(lambda: self.s3.holding, what="the request")
        self.s3.held = ()
        bw.wait_until(lambda: m.metric("store_ok") == 1, what="the end of the outage")
        self.assertLess(len(self.s3.requests) - before, 10)

    def test_a_command_uploads_for_as_long_as_bytes_move(self):
        path = self.folder("slice") + "/0"
        bw.write(path, os.urandom(10_000_000))
        self.s3.rule = "slow-data"
        done = bw.batchweave("put", Stream.url, "hand", path, "--endpoint", self.s3.endpoint, timeout=SLOW_S + bw.PATIENCE,
                             env={**os.environ, **self.env})
        self.assertEqual(done.stdout, "0\n")
        self.assertEqual(len([p for verb, p in self.s3.requests if verb == "PUT" and "/data/hand/" in p]), 1)

    def test_a_command_puts_again_as_well(self):
        path = self.folder("slice") + "/0"
        bw.write(path, b"by hand")
        self.s3.rule = "no-data"
        with subprocess.Popen([bw.BATCHWEAVE, "put", Stream.url, "hand", path, "--endpoint", self.s3.endpoint],
                              env={**os.environ, **self.env}) as put:
            bw.wait_until(lambda: len([p for verb, p in self.s3.requests if verb == "PUT" and "/data/hand/" in p]) >= 6,
                          what="the third upload")
            self.s3.rule = ""
            self.assertEqual(put.wait(60), 0)
        self.assertEqual(self.m.get(0), [b"by hand"])

    def test_a_commit_that_failed(self):
        """What the store said has a key of its own, in the log and in /status/errors."""
        self.m.begin("p", 0)
        self.s3.rule = "read-only"
        self.assert_errno("EACCES", bw.write, self.m.slot("p", 0, 0), b"refused")
        said = r'producer=p seq=0 errno=13 reason="the store refuses access" detail="403 AccessDenied[^"]*"$'
        self.assertRegex(self.m.status("errors"), r"(?m)^\S+Z " + said)
        self.assertRegex(self.m.log(), r"(?m) error commit_failed " + said)
        self.s3.rule = ""

    def test_a_read_that_failed(self):
        """A read of an open file that ends EIO has its line in /status/errors, as an open has."""
        self.m.put("p", 0, [os.urandom(100000)])
        m = self.mount(Stream, f"io_timeout=5,prefetch=0,endpoint={self.s3.endpoint}", env=self.env)
        with open(m.step(0, 0), "rb", buffering=0) as f:
            self.s3.rule = "errors"
            self.assertEqual(m.status("errors"), "")
            self.assert_errno("EIO", os.pread, f.fileno(), 1, 0)
        lines = m.status("errors").splitlines()
        self.assertNotEqual(lines, [])
        for line in lines:
            self.assertRegex(line, r"^\d{4}-\S+Z step=0 errno=5 reason=\"[^\"]+\"$")

    def test_v6_a_read_waits_for_io_timeout_once(self):
        """V6: the kernel asks twice for what it could not read ahead; whoever reads does not wait twice."""
        self.m.put("p", 0, [os.urandom(100000)])
        m = self.mount(Stream, f"io_timeout=10,prefetch=0,endpoint={self.s3.endpoint}", env=self.env)
        with open(m.step(0, 0), "rb", buffering=0) as f:
            self.s3.rule = "silent"
            since = time.monotonic()
            self.assert_errno("EIO", os.pread, f.fileno(), 1, 0)
            self.assertLess(time.monotonic() - since, 18)
            self.s3.rule = ""
            self.assertEqual(len(os.pread(f.fileno(), 200000, 0)), 100000)

    def test_V3_a_stalled_request_is_not_a_stalled_look_up(self):
        """V3: of each name the first GET is never answered; look-ups and reads end well all the same."""
        data = [os.urandom(100000)]
        self.m.put("p", 0, data)
        self.s3.rule = "stalls"
        self.assert_errno("ENOENT", os.stat, self.m.step(1))
        self.s3.requests.clear()
        self.assertEqual(self.m.get(0), data)
        self.assertEqual(self.store()["retries"], 0, "it was cut, and sent again by the clock")
        hedged = self.store()["hedged"]
        self.assertGreaterEqual(hedged, 2)
        self.assertGreaterEqual(self.m.metric("store_hedged_total"), hedged)
        self.assertGreaterEqual(self.m.metric("store_hedges_won_total"), 2)

    def test_slowed_down(self):
        self.m.put("p", 0, [b"first"])
        self.assertEqual(self.m.metric("store_send_rate"), 0)
        self.s3.rule = "slow-down"
        self.assertEqual(self.m.get(0), [b"first"])
        said, line = self.store(), self.m.status("status")
        self.assertRegex(line, r"(?m)^store      .*, slowed to \d+ requests/s$")
        self.assertGreater(said["send_rate"], 0)
        self.assertGreater(said["throttled"], 0)
        self.assertGreater(said["retries"], 0)
        self.assertGreater(self.m.metric("store_send_rate"), 0)
        self.assertGreaterEqual(self.m.metric("store_retries_total"), said["retries"])
        self.assertGreaterEqual(self.m.metric("store_throttled_total"), said["throttled"])

    def test_refused(self):
        self.m.put("p", 0, [b"first"])
        self.s3.rule = "denied"
        self.assertNotEqual(bw.error_of(bw.read, self.m.step(0, 0), "rb"), "")
        self.assertRegex(self.store()["last_error"], "^refuses access since ")

    def test_S7_secrets_are_nowhere_to_be_seen(self):
        self.m.put("p", 0, [b"first"])
        texts = [self.m.log(), self.m.stderr(), bw.read(f"/proc/{self.m.proc.pid}/cmdline")]
        texts += [bw.read(path) for path in glob.glob(self.m.path("status", "*"))]
        for text in texts:
            self.assertNotIn(SECRET, text)
        for path, data in self.s3.objects.items():
            self.assertNotIn(SECRET.encode(), path.encode() + data)


if __name__ == "__main__":
    unittest.main()
