#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The harness itself: turns, ratios, verdicts, what a failure leaves, the report and its plots, delays and counts."""
import http.client
import http.server
import json
import os
import sys
import tempfile
import threading
import types
import unittest
import xml.etree.ElementTree

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import harness  # noqa: E402
import report  # noqa: E402
import svg  # noqa: E402
import world  # noqa: E402
from harness import Goal, Metric, Row  # noqa: E402


def row(values, metrics, **kwargs):
    """values: {contestant: [value of "x" in each round]}"""
    turns = {name: iter(v) for name, v in values.items()}
    return Row("group.row", "Title", {n: lambda _, n=n: {"x": next(turns[n])} for n in values}, metrics, **kwargs)


class Rows(unittest.TestCase):
    def test_a_ratio_is_taken_within_a_round(self):
        # The machine is ten times as slow in the second round: ratios 2, 2, 0.5; medians alone would say 1.
        result = harness.run_row(row({"a": [10, 1, 4], "b": [20, 2, 2]}, [Metric("x", "X")], reference="a"), 3)
        self.assertEqual(result.ratio("b", "a", "x"), 2)
        self.assertEqual(result.median("b", "x"), 2)

    def test_every_round_begins_with_another(self):
        seen = []
        r = Row("g.r", "T", {n: lambda _, n=n: seen.append(n) or {"x": 1} for n in "abc"}, [Metric("x", "X")])
        harness.run_row(r, 3)
        self.assertEqual("".join(seen), "abc" "bca" "cab")

    def test_verdicts(self):
        goals = [Goal("b", at_least=1.5), Goal("b", at_least=2.5), Goal("b", at_most=2.0), Goal("b", at_most=1.9),
                 Goal("b", at_most=20, reference=None), Goal("b", at_most=19, reference=None), Goal("b", at_least=1, reference="gone")]
        metric = Metric("x", "X", goals=goals)
        result = harness.run_row(row({"a": [10], "b": [20]}, [metric], reference="a"), 1)
        self.assertEqual([result.judge(metric, g)[1] for g in goals], [True, False, True, False, True, False, None])
        self.assertEqual([report.verdict(result, metric, g) for g in goals[:2] + goals[-1:]], ["reached", "**not reached**", "-"])

    def test_a_row_that_fails_says_why_and_keeps_what_it_has(self):
        def fail(_):
            raise world.Failed("no such store")
        r = Row("g.r", "T", {"a": lambda _: {"x": 1}, "b": fail}, [Metric("x", "X", goals=[Goal("b", at_most=1)])], reference="a")
        result = harness.run_row(r, 2)
        self.assertEqual(result.failure, "Failed: no such store")
        self.assertEqual(result.values("a", "x"), [1])
        with tempfile.TemporaryDirectory() as folder:
            with open(report.write([result], [("date", "today")], folder), encoding="utf-8") as f:
                text = f.read()
            self.assertIn("**failed**: Failed: no such store", text)
            self.assertNotIn("| reached", text)
            with open(folder + "/results.json", encoding="utf-8") as f:
                self.assertEqual(json.load(f)["rows"][0]["failure"], "Failed: no such store")

    def test_a_world_that_cannot_be_made(self):
        def prepare():
            raise SystemExit("nothing here")
        result = harness.run_row(Row("g.r", "T", {"a": lambda _: {}}, [Metric("x", "X")], prepare=prepare), 1)
        self.assertEqual(result.failure, "SystemExit: nothing here")

    def test_a_contestant_that_is_not_installed(self):
        result = harness.run_row(row({"a": [1], "peer": []}, [Metric("x", "X")], reference="a", optional={"peer": "peer"}), 1, ["peer"])
        self.assertEqual(result.failure, "")
        self.assertIn("Left out, because it is not installed: peer.", "\n".join(report.section(result)))

    def test_the_table_of_a_row(self):
        metric = Metric("x", "MB/s", 1, [Goal("b", at_least=2)])
        result = harness.run_row(row({"a": [10, 11, 12], "b": [20, 33, 30]}, [metric], reference="a"), 3)
        self.assertIn("| b | 30.0 (20.0-33.0) | 2.50 | >= 2 x a | reached |", list(report.table(result, metric, [])))

    def test_plots_hold_every_bar(self):
        text = svg.plot("T & T", "MB/s", ["one", "two"], {"a": [(1, 1, 1), (2, 1, 3)], "b": [None, (4, 4, 4)]})
        bars = [e for e in xml.etree.ElementTree.fromstring(text).iter("{http://www.w3.org/2000/svg}rect") if float(e.get("height")) > 11.5]
        heights = [float(e.get("height")) for e in bars if e.get("fill") in svg.COLOURS]
        self.assertEqual([round(h / heights[0], 3) for h in heights], [1, 2, 4])
        for lines in (True, False):
            xml.etree.ElementTree.fromstring(svg.plot("t", "y", ["x"], {"a": [(0, 0, 0)]}, lines))

    def test_percentiles(self):
        self.assertEqual([harness.percentile(range(100), q) for q in (0, 50, 99, 100)], [0, 50, 99, 99])


class Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append((self.command, self.path, len(body)))
        self.send_response(200)
        self.send_header("Content-Length", str(3 * len(body) or 5))
        self.end_headers()
        self.wfile.write(3 * body or b"hello")

    do_GET = do_PUT = answer

    def log_message(self, *_):
        pass


class Ways(unittest.TestCase):
    """delay_proxy in front of a server of our own."""

    def setUp(self):
        build = os.environ.get("BW_BUILD_DIR") or os.path.join(world.ROOT, "build/dev")
        self.bench = world.Bench(types.SimpleNamespace(build=build, dir=None, s3=False, bucket="", quick=True, tiny=True))
        self.addCleanup(self.bench.close)
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self.server.seen = []
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)

    def way(self, ms):
        way = world.Way(self.bench, f"http://127.0.0.1:{self.server.server_port}", ms, sigma=0)
        self.bench.ways.append(way)
        return way

    def test_requests_and_bytes_are_counted_whatever_their_size(self):
        way = self.way(0)
        kept = http.client.HTTPConnection("127.0.0.1", way.port, timeout=60)
        sizes = [0, 1, 100, 3 << 20, 7]
        for size in sizes:
            kept.request("PUT" if size else "GET", f"/{size}", b"x" * size)
            self.assertEqual(len(kept.getresponse().read()), 3 * size or 5)
        kept.close()
        requests, down = way.counts()
        self.assertEqual(requests, len(sizes))
        self.assertEqual([s[2] for s in self.server.seen], sizes)
        self.assertGreater(down, 3 * sum(sizes))
        self.assertLess(down, 3 * sum(sizes) + 300 * len(sizes))

    def test_each_request_waits_once(self):
        way = self.way(200)
        kept = http.client.HTTPConnection("127.0.0.1", way.port, timeout=60)
        begin = world.time.monotonic()
        for body in (None, b"x" * (1 << 20)):
            kept.request("PUT" if body else "GET", "/", body)
            kept.getresponse().read()
        kept.close()
        self.assertGreaterEqual(world.time.monotonic() - begin, 0.4)  # never less; how much more is the machine's
        self.assertEqual(way.counts()[0], 2)

    def test_a_connection_that_is_gone_stops_nobody(self):
        way = self.way(0)
        for _ in range(3):
            with world.socket.create_connection(("127.0.0.1", way.port)) as s:
                s.sendall(b"GET / HTTP/1.1\r\n")
        kept = http.client.HTTPConnection("127.0.0.1", way.port, timeout=60)
        kept.request("GET", "/")
        self.assertEqual(kept.getresponse().read(), b"hello")
        kept.close()


if __name__ == "__main__":
    unittest.main()
