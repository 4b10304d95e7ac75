# SPDX-License-Identifier: Apache-2.0
# ctest: once 10-s
"""The tables of docs/surface.md are what a mount shows, and its numbers are right."""
import ctypes
import os
import re
import signal
import time

import bw
import prom

PAGE = os.path.join(bw.HERE, "..", "..", "docs", "surface.md")


def table(heading):
    """{name: its row} of a table of the page."""
    part = bw.read(PAGE).split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return {m.group(1): m.group(0) for m in re.finditer(r"^\| `([^`]+)` \|.*$", part, re.MULTILINE)}


def paths(value, at=""):
    """Paths of all members; names of producers and jobs are NAME."""
    found = set()
    for key, inside in value.items():
        name = "NAME" if at in ("producers", "jobs") else key
        here = f"{at}.{name}" if at else name
        if isinstance(inside, dict):
            found |= paths(inside, here)
            if here in ("producers", "jobs"):
                found.add(here)
        else:
            found.add(here)
    return found


class Surface(bw.TestCase):
    def setUp(self):
        super().setUp()
        self.began = time.time()
        self.m = self.mount(self.stream(2), f"memory=64M,cache={self.root}/cache")
        os.mkdir(self.m.path("checkpoint/train"))
        self.m.put("p", 0)
        self.m.put("p", 1)

    def test_metrics(self):
        families = prom.parse(self.m.status("metrics"))
        rows = table("Metrics")
        self.assertEqual({"batchweave_" + name for name in rows}, set(families))
        for name, row in rows.items():
            kind, labels = [cell.strip() for cell in row.split("|")[2:4]]
            family = families["batchweave_" + name]
            self.assertEqual(kind, family.type, name)
            self.assertEqual(set(filter(None, labels.split(", "))), family.label_names() - {"le"}, name)

    def test_fields(self):
        said = self.m.said()
        self.assertEqual(paths(said), set(table("Fields of status.json")))
        self.assertIn(said["stream"], bw.batchweave("status", self.m.stream.url).stdout)
        self.assertEqual((said["version"], said["sealed"]), (6, False))  # root, job, producer, its epoch, two batches
        self.assertEqual(said["producers"]["p"]["epoch"], 1)
        cache = said["disk_cache"]
        self.assertEqual((cache["used"], cache["blocks"] > 0), (cache["used"], cache["used"] > 0))
        self.assertLessEqual(cache["used"], cache["limit"])
        self.assertIn(cache["filling"], (True, False))

    def test_files(self):
        self.assertEqual(set(os.listdir(self.m.path("status"))), set(table("Files of /status")))

    @staticmethod
    def agree(page, *names):
        """On one page, as a request may end at any time."""
        ops = {("op", op) for op in ("get", "put", "list", "delete")}
        return len({sum(v for labels, v in page["batchweave_" + name].items() if ops & set(labels)) for name in names}) == 1

    def test_numbers(self):
        """Numbers that are known beforehand, or are said elsewhere."""
        m = self.m
        said = m.said()
        sizes = sum(m.meta(step)["bytes"] for step in range(2))
        for name, value in (("head_step", 2), ("version", said["version"]), ("sealed", 0), ("stream_bytes_total", sizes),
                            ("live_bytes", sizes), ("job_markers", 0), ("job_stops_reclaiming", 1), ("store_ok", 1),
                            ("memory_limit_bytes", 64 << 20), ("build_info", 1), ("commit_seconds_count", 2),
                            ("commit_attempts_count", 5), ("disk_cache_limit_bytes", said["disk_cache"]["limit"])):
            self.assertEqual(m.metric(name), value, name)
        self.assertGreater(m.metric("last_commit_timestamp_seconds"), self.began - 1)
        self.assertEqual(int(m.metric("last_commit_timestamp_seconds") * 1000), m.meta(1)["commit_time_ms"])
        self.assertLess(abs(m.metric("start_time_seconds") - self.began), 60)
        self.assertLessEqual(m.metric("memory_used_bytes"), 64 << 20)
        bw.wait_until(lambda: self.agree(m.metrics(), "store_request_seconds_count", "store_requests_total"),
                      what="as many times as there were requests")
        self.assertEqual(m.metric("build_info", version=bw.batchweave("version").stdout.split()[1]), 1)
        self.assertGreaterEqual(m.metric("disk_cache_written_bytes_total"), 0)
        os.mkdir(m.path("checkpoint/other"))
        for step in (0, 1):
            bw.write(m.path("checkpoint/other", step), b"")
        self.assertEqual((m.metric("job_markers", job="other"), m.metric("job_stops_reclaiming", job="other")), (2, 0))
        bw.batchweave("seal", m.stream.url)
        bw.error_of(os.stat, m.step(5))
        self.assertEqual(m.metric("sealed"), 1)

    def test_a_signal_is_eintr(self):
        """V7: a handler that returns makes the call that waits say EINTR."""
        waits = self.mount(self.m.stream, "wait=1000")

        def ask():
            signal.signal(signal.SIGUSR1, lambda *args: None)
            ctypes.set_errno(0)
            fd = bw.LIBC.open(waits.step(2, 0).encode(), os.O_RDONLY)
            self.assertEqual((fd, bw.errno_name(ctypes.get_errno())), (-1, "EINTR"))

        child = self.spawn(ask)
        bw.wait_until(lambda: "reason=step" in waits.status("waiting"), what="who waits")
        child.kill(signal.SIGUSR1)
        self.join(child)


if __name__ == "__main__":
    bw.main()
