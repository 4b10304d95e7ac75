#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the Kafka rows rest on, without Kafka: the better layout of a round, what is said without Java, bytes at a distance."""
import os
import socket
import subprocess
import sys
import threading
import time
import types
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import harness  # noqa: E402
import kafka_broker  # noqa: E402
import kafka_world  # noqa: E402
import row_kafka_ingest  # noqa: E402
import row_kafka_read  # noqa: E402
import row_kafka_tail  # noqa: E402
import world  # noqa: E402
from harness import Metric, Row  # noqa: E402

BUILD = os.environ["BW_BUILD_DIR"]


class Rows(unittest.TestCase):
    def test_the_better_one_is_of_its_own_round(self):
        # Whoever begins a round, and also where the better one is asked before the others have run.
        best, turns = kafka_world.Best("x", max), {"a": iter([1, 5, 9]), "b": iter([3, 4, 2])}
        contestants = {"best": best, **{n: best.of(n, lambda _, n=n: {"x": next(turns[n]), "who": n}) for n in "ab"}}
        result = harness.run_row(Row("g.r", "T", contestants, [Metric("x", "X")], reference="best"), 3)
        self.assertEqual([s["who"] for s in result.samples["best"]], ["b", "a", "a"])
        self.assertEqual(result.values("best", "x"), [3, 5, 9])

    def test_every_row_says_why_there_is_no_kafka(self):
        options = types.SimpleNamespace(quick=True, tiny=False, build=BUILD)
        options.bench = types.SimpleNamespace(build=BUILD, work=None, options=options, keep=lambda name, make: make())
        rows = [r for m in (row_kafka_ingest, row_kafka_read, row_kafka_tail) for r in m.rows(options)]
        path, os.environ["PATH"] = os.environ["PATH"], ""
        try:
            failures = [harness.run_row(r, 1).failure for r in rows]
        finally:
            os.environ["PATH"] = path
        self.assertGreater(len(rows), 4)
        for failure in failures:
            self.assertIn("Kafka is not available: java is not installed", failure)

    def test_a_small_machine_gets_a_small_heap(self):
        self.assertLessEqual(kafka_broker.heap(3072), max(512, world.memory_available() >> 20))
        self.assertEqual(kafka_broker.heap(600), min(600, kafka_broker.heap(3072)))


class OurMount(unittest.TestCase):
    def setUp(self):
        self.bench = world.Bench(types.SimpleNamespace(build=BUILD, dir=None, s3=False, bucket="", quick=True, tiny=True))
        self.addCleanup(self.bench.close)

    def test_it_reads_as_many_steps_as_kafka(self):
        # More than `batchweave bench` takes by itself, which are the newest ones.
        url = row_kafka_read.new_stream(self.bench, self.bench.folder("filled"), 2, 4096, 150)
        filled = types.SimpleNamespace(bench=self.bench, url=url, ranks=2, size=4096, steps=150, paths=lambda: [])
        self.assertEqual(row_kafka_read.from_mount(filled, "catchup", "--readers", 2)["steps"], 150)
        self.assertIn("hot", row_kafka_read.mount_catch_up(filled))


class Distance(unittest.TestCase):
    def test_bytes_arrive_late_and_whole_and_the_end_after_them(self):
        data = os.urandom(3 << 20)
        with socket.create_server(("127.0.0.1", 0)) as server:
            threading.Thread(target=echo, args=(server,), daemon=True).start()
            proxy = subprocess.Popen([os.path.join(BUILD, "tests/bench/tcp_delay"), "127.0.0.1",
                                      str(server.getsockname()[1]), "0", "30000"], stdout=subprocess.PIPE)
            try:
                port = int(proxy.stdout.readline())
                begin, got = time.monotonic(), b""
                with socket.create_connection(("127.0.0.1", port)) as s:
                    threading.Thread(target=lambda: (s.sendall(data), s.shutdown(socket.SHUT_WR)), daemon=True).start()
                    while chunk := s.recv(1 << 16):
                        first = time.monotonic() if not got else first
                        got += chunk
                self.assertGreaterEqual(first - begin, 0.06)
                self.assertEqual(got, data)
            finally:
                proxy.terminate()
                proxy.communicate()


def echo(server):
    s, _ = server.accept()
    with s:
        while chunk := s.recv(1 << 16):
            s.sendall(chunk)


if __name__ == "__main__":
    unittest.main()
