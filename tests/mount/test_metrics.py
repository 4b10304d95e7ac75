# SPDX-License-Identifier: Apache-2.0
# ctest: once waits 40-s
"""/status/metrics: the form, each number after load that moves it, and who waits for what."""
import os
import signal
import subprocess
import sys
import threading
import unittest

import bw
import prom
from broken_s3 import BrokenS3

SECRET = "hush-hush-hush-hush"
REASONS = {"step", "lookup", "commit", "take", "mark", "ahead", "read"}
KILLED = "import os, sys, time; f = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT); os.write(f, b'x'); time.sleep(1000)"


class Parser(unittest.TestCase):
    """The parser itself finds what it looks for."""

    good = ('# HELP a_total A.\n# TYPE a_total counter\na_total{x="1"} 2\na_total{x="2"} 3\n'
            '# HELP h H.\n# TYPE h histogram\nh_bucket{le="1"} 1\nh_bucket{le="+Inf"} 2\nh_sum 3.5\nh_count 2\n')

    def test_what_is_right(self):
        found = prom.parse(self.good)
        self.assertEqual(found["a_total"].values(), [2, 3])
        self.assertEqual(found["h"].label_names(), {"le"})

    def test_what_is_wrong(self):
        for old, new in (("\nh_count 2\n", "\nh_count 2"), ("counter", "count"), ("A.\n", "\n"), ('x="2"', 'x="1"'),
                         ('{x="1"}', "{x=1}"), ('{x="1"}', "{}"), ('{x="1"}', '{x="1",x="2"}'), ("} 2\n", "}  2\n"),
                         ("a_total{", "b_total{"), ("# HELP h H.\n", ""), ("# TYPE h histogram\n", ""), ('"1"} 1', '"1"} 3'),
                         ("h_count 2", "h_count 3"), ("h_sum 3.5\n", ""), ("+Inf", "9"), ("3.5", "NaN"), ("} 3\n", "} -3\n"),
                         ("a_total", "a"), ("h_sum", "h_max"), ("# HELP h", "# HELP a_total")):
            self.assertIn(old, self.good)
            with self.assertRaises(ValueError, msg=(old, new)):
                prom.parse(self.good.replace(old, new))


class S3Stream:
    """A stream in a server of our own, as bw.Mount wants it."""

    def __init__(self, url, ranks):
        self.url, self.ranks = url, ranks


class Case(bw.TestCase):
    def setUp(self):
        super().setUp()
        self.seen = {}  # name: whether it was ever anything but 0

    def look(self, *mounts, name=None, **labels):
        """Remembers what has moved.  With a name: whether a sample of it with these labels is above 0, on the page looked at."""
        above = False
        for m in mounts:
            for family in prom.parse(m.status("metrics")).values():
                self.seen[family.name] = self.seen.get(family.name) or any(family.values())
                above |= any(value > 0 for (sample, has), value in family.samples.items()
                             if sample == f"batchweave_{name}" and labels.items() <= dict(has).items())
        return above

    def until(self, mount, name, **labels):
        """Waits until a metric is above 0."""
        bw.wait_until(lambda: self.look(mount, name=name, **labels), what=f"{name}{labels}")

    def slow_store(self, *options):
        """A server of our own and a stream in it."""
        self.s3 = BrokenS3()
        self.s3.__enter__()
        self.addCleanup(self.s3.__exit__)
        self.env = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1",
                    "AWS_CA_BUNDLE": ""}
        url = "s3://bucket/run"
        bw.batchweave("init", url, "--ranks", 1, "--endpoint", self.s3.endpoint, *options, env={**os.environ, **self.env})
        return S3Stream(url, 1)

    def slow_mount(self, stream, options=""):
        return self.mount(stream, ",".join(filter(None, (options, "endpoint=" + self.s3.endpoint))), env=self.env)


class Metrics(Case):
    def commit_and_read(self, a, b):
        os.mkdir(a.path("checkpoint/train"))
        for seq in range(4):
            a.put("p", seq, [os.urandom(200000)])
            self.assertEqual(len(b.get(seq)[0]), 200000)
        reader = self.spawn(bw.read, b.step(4, 0), "rb")
        self.until(b, "waiters", reason="step")
        a.put("p", 4, [os.urandom(200000)])
        self.join(reader)
        self.look(a, b)
        a.begin("staged", 0)
        bw.write(a.slot("staged", 0, 0) + ".part", b"x" * 5000)
        self.until(a, "staging_bytes")

    def errors(self, stream, a, b):
        """A fenced producer, a killed writer, a damaged block: each is counted, named, and an error of somebody."""
        a.begin("q", 0)
        b.begin("q", 0)
        self.assert_errno("ESTALE", bw.write, a.slot("q", 0, 0), b"x")
        bw.write(b.slot("q", 0, 0), b"x")
        b.begin("q", 1)
        with subprocess.Popen([sys.executable, "-c", KILLED, b.slot("q", 1, 0)]) as child:
            bw.wait_until(lambda: os.path.exists(b.slot("q", 1, 0)) and os.stat(b.slot("q", 1, 0)).st_size == 1)
            child.send_signal(signal.SIGKILL)
        self.until(b, "killed_writers_total")
        key = [k for k in stream.objects("/data/") if "/p/" in k and "/3-" in k][0]
        kept = stream.store.read(key)
        stream.store.write(key, b"?" + kept[1:])
        fresh = self.mount(stream, "prefetch=0")
        self.assert_errno("EIO", bw.read, fresh.step(3, 0), "rb")
        stream.store.write(key, kept)
        self.look(a, b, fresh)
        self.assertEqual(a.metric("errors_total"), len(a.status("errors").splitlines()))
        self.assertGreaterEqual(fresh.metric("errors_total"), 1)  # the kernel asks twice
        self.assertEqual(len(fresh.status("errors").splitlines()), 1)
        self.assertEqual(a.metric("commits_total", result="failed"), 1)

    def reclaim(self, stream, a):
        """Markers release steps: they are garbage, and then gone."""
        self.until(a, "lag_steps", job="train")
        self.until(a, "job_stops_reclaiming", job="train")
        for step in (2, 3):
            bw.write(a.path("checkpoint/train", step), b"")
        self.assertEqual(a.metric("job_stops_reclaiming", job="train"), 0)
        self.until(a, "first_step")
        self.until(a, "garbage_steps")  # the grace keeps the objects

    def test_every_metric_moves(self):
        """After load of every kind no metric of a mount is one that was always 0."""
        stream = self.stream(1, "--grace", "5", "--max-ahead", "100")
        a = self.mount(stream, "gc,memory=64M")
        b = self.mount(stream, f"wait=100,prefetch=8,cache={self.folder('cache')}/c")
        self.commit_and_read(a, b)
        self.crowd((a,), "commits_prepared_total")  # not to be had among many, or when their commits are put off
        self.errors(stream, a, b)
        self.crowd((a, b), "commits_total", result="conflict")
        self.reclaim(stream, a)
        again = self.disk_cache(stream, b)
        self.store_in_trouble()
        self.until(a, "reclaimed_bytes_total")
        bw.batchweave("seal", stream.url)
        self.assert_errno("ENOENT ENODATA", os.stat, a.step(100000))
        self.until(a, "sealed")
        self.assertEqual([name for name, moved in self.seen.items() if not moved], [])
        self.documented(a, again)

    def disk_cache(self, stream, m):
        """What was fetched before is found on the disk, also when it was damaged there; a full disk keeps nothing."""
        self.assertEqual(m.umount(), 0)
        m.restart()
        self.until(m, "disk_cache_bytes")
        m.get(4)
        self.until(m, "read_bytes_total", source="disk")
        for folder, _, names in os.walk(self.root + "/cache"):
            for name in names:
                with open(os.path.join(folder, name), "r+b") as f:
                    f.write(b"?")
        m.get(3)
        self.until(m, "disk_cache_damaged_total")
        self.slow_disk(stream)
        full = self.mount(stream, f"cache={self.disk('256k')}/c,cache_size=1G,prefetch=0")
        for step in (2, 3, 4):
            full.get(step)
        self.until(full, "disk_cache_dropped_total")
        return m

    def slow_disk(self, stream):
        """What a disk that hangs has is fetched."""
        gate = bw.Gate(self.root + "/gate")
        self.addCleanup(gate.open)
        m = self.mount(stream, f"cache={self.folder('slow')}/c", gate)
        m.get(4)
        self.until(m, "disk_cache_blocks")
        m.umount()
        m.restart()
        self.until(m, "disk_cache_blocks")
        gate.say("disk")
        m.get(4)
        self.until(m, "disk_cache_given_up_total")
        gate.open()

    def crowd(self, mounts, name, **labels):
        """A producer on each mount commits as fast as it can until a metric of one of them is above 0."""
        ends = threading.Event()

        def produce(m, producer):
            seq = 0
            while not ends.is_set():
                m.put(producer, seq, [b"x"])
                seq += 1

        threads = [threading.Thread(target=produce, args=(m, f"{name}-{i}")) for i, m in enumerate(mounts)]
        for thread in threads:
            thread.start()
        try:
            bw.wait_until(lambda: self.look(*mounts, name=name, **labels), what=f"{name}{labels}")
        finally:
            ends.set()
            for thread in threads:
                thread.join()

    def store_in_trouble(self):
        """Answers that ask for less, names that are not answered the first time, a store that is away."""
        stream = self.slow_store()
        m = self.slow_mount(stream, "io_timeout=20,prefetch=0")
        self.s3.delay = 0.02
        self.crowd([m] + [self.slow_mount(stream) for _ in range(3)], "commit_window_seconds")
        self.s3.delay = 0
        m.put("p", 0, [b"x"])
        m.put("p", 1, [b"x"])
        last = m.head() - 1
        self.assertEqual(m.umount(), 0)
        m.restart()
        self.s3.rule = "stalls"
        m.get(last)
        self.until(m, "store_hedges_won_total")
        self.s3.rule = "slow-down"
        m.get(last - 1)
        self.until(m, "store_throttled_total")
        self.until(m, "store_retries_total")
        self.until(m, "store_send_rate")
        self.assertEqual(m.metric("store_ok"), 1)  # before: it may be asked for news at any time
        self.s3.rule = "errors"
        self.assert_errno("EIO", os.stat, m.step(last + 7))
        self.assertEqual(m.metric("store_ok"), 0)
        self.s3.rule = ""

    def documented(self, *mounts):
        """promtool has nothing to say."""
        for m in mounts:
            done = subprocess.run(["promtool", "check", "metrics"], input=m.status("metrics"), text=True,
                                  capture_output=True, check=False)
            self.assertEqual((done.returncode, done.stdout + done.stderr), (0, ""))


class Waits(Case):
    """Each reason to wait is seen: a line in status/waiting while it lasts, a number there and afterwards."""

    def reason(self, m, reason, words, call, *args):
        """call waits on m for this reason; the line says words."""
        self.assertEqual(m.metric("waiters"), 0)
        self.ended = m.metric("wait_seconds_count", reason=reason)
        child = self.spawn(call, *args)
        line = bw.wait_until(lambda: [x for x in m.status("waiting").splitlines() if f" reason={reason}" in x],
                             what=f"who waits for {reason}")[0]
        self.assertRegex(line, rf"^pid={child.pid} comm=\S+ {words}( rank=-)? since=\d{{4}}-\S+Z reason={reason}$")
        self.assertEqual(m.metric("waiters", reason=reason), 1)
        self.assertIn("waiting    1 requests", m.status("status"))
        return child

    def is_over(self, m, reason):
        self.assertEqual(m.metric("waiters"), 0)
        self.assertGreater(m.metric("wait_seconds_count", reason=reason), self.ended)
        self.assertGreater(m.metric("wait_seconds_sum", reason=reason), 0)

    def test_reasons(self):
        stream = self.slow_store("--max-ahead", "2")
        tried = {}

        def held(reason, m, words, call, *args, by=(), ends=None):
            """by: requests of the store that are not answered until he has been seen; ends: what else lets him go."""
            self.s3.held = by
            try:
                child = self.reason(m, reason, words, call, *args)
            finally:
                self.s3.held = ()
            if ends:
                ends()
            self.join(child)
            self.is_over(m, reason)
            tried[reason] = True

        def is_missing(path):
            """A look-up says EIO when the store is held for longer than it may take."""
            bw.wait_until(lambda: bw.error_of(os.stat, path) == "ENOENT", what="ENOENT")

        a = self.slow_mount(stream)
        held("lookup", a, "step=5", is_missing, a.step(5), by=("GET",))
        held("mark", a, "job=train", os.mkdir, a.path("checkpoint/train"), by=("PUT",))
        os.mkdir(a.path("produce/p"))
        b = self.slow_mount(stream, "wait=100")
        held("take", b, "producer=p seq=0", os.mkdir, b.slot("p", 0), by=("PUT",))
        os.mkdir(b.slot("p", 0) + "/rank")
        held("commit", b, "producer=p seq=0", bw.write, b.slot("p", 0, 0), b"x", by=("PUT",))
        held("step", b, "step=1 rank=[-0]", bw.read, b.step(1, 0), "rb", ends=lambda: b.put("p", 1, [b"x"]))
        held("ahead", b, "producer=p seq=2 job=train", os.mkdir, b.slot("p", 2),
             ends=lambda: bw.write(b.path("checkpoint/train/2"), b""))
        os.stat(a.step(1))  # what its head is, is known
        held("read", a, "step=1 rank=0", bw.read, a.step(1, 0), "rb", by=("GET",))
        self.assertEqual(set(tried), REASONS)
        told = {dict(labels)["reason"] for _, labels in prom.parse(b.status("metrics"))["batchweave_waiters"].samples}
        self.assertEqual(told, REASONS)


if __name__ == "__main__":
    bw.main()
