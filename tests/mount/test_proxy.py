# SPDX-License-Identifier: Apache-2.0
# ctest: once
"""The fault proxy does what it says, before anything else is judged through it."""
import collections
import contextlib
import http.client
import http.server
import threading
import unittest

import proxy


class Handler(http.server.BaseHTTPRequestHandler):
    """Keeps objects in memory."""
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def answer(self, status, body=b""):
        self.server.seen.append((self.command, self.path, self.headers["Host"]))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        body = self.server.objects.get(self.path)
        self.answer(404 if body is None else 200, body or b"nothing")

    def do_PUT(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if "If-None-Match" in self.headers and self.path in self.server.objects:
            self.answer(412)
            return
        self.server.objects[self.path] = body
        self.answer(200)

    def log_message(self, *_):
        pass


DATA = bytes(range(256)) * 2000


class Through(unittest.TestCase):
    def setUp(self):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.objects, self.server.seen = {"/b/k": DATA}, []
        thread = threading.Thread(target=self.server.serve_forever)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        self.p = proxy.Proxy("http://127.0.0.1:%d" % self.server.server_port, seed=1)
        self.addCleanup(self.p.close)
        self.p.delay_s, self.p.slow_s = 0.01, 1
        self.client = http.client.HTTPConnection("127.0.0.1", int(self.p.endpoint.split(":")[-1]),
                                                 timeout=30)
        self.addCleanup(self.client.close)

    def ask(self, method, path, body=None, **headers):
        """(status, body); what ended the connection, when something did."""
        try:
            self.client.request(method, path, body, headers)
            answer = self.client.getresponse()
            return answer.status, answer.read()
        except (http.client.HTTPException, OSError) as e:
            self.client.close()
            return type(e).__name__, b""

    def seen(self, method):
        return len([s for s in self.server.seen if s[0] == method])

    def test_without_faults_it_is_not_there(self):
        for i in range(50):
            self.assertEqual(self.ask("PUT", f"/b/{i}", DATA[i:]), (200, b""))
            self.assertEqual(self.ask("GET", f"/b/{i}"), (200, DATA[i:]))
        self.assertEqual(self.ask("GET", "/b/none"), (404, b"nothing"))
        self.assertEqual(self.p.requests, 101)
        self.assertEqual(len(self.p.connections), 1, "the connection was not kept")
        host = self.p.endpoint[len("http://"):]
        self.assertEqual({s[2] for s in self.server.seen}, {host}, "the signed Host was changed")

    def test_statuses(self):
        for kind in ("500", "503", "409", "412"):
            self.p.retry_after_s = 2
            self.p.next(kind)
            self.client.request("PUT", "/b/new", b"x", {"If-None-Match": "*"})
            answer = self.client.getresponse()
            self.assertEqual(answer.status, int(kind))
            self.assertIn(b"<Code>", answer.read())
            self.assertEqual(answer.headers["Retry-After"], "2" if kind == "503" else None)
        self.assertEqual(self.server.seen, [], "a refused request was forwarded")

    def test_lost_and_resets(self):
        for kind, applied in (("lost", True), ("reset_answer", True), ("reset_request", False)):
            self.p.next(kind)
            self.assertNotIn(self.ask("PUT", "/b/" + kind, DATA)[0], (200, 500))
            self.assertEqual("/b/" + kind in self.server.objects, applied, kind)

    def test_spoilt_bodies(self):
        for kind in ("slow", "stall", "short"):
            self.p.next(kind, path="/b/k")
            self.assertIn(self.ask("GET", "/b/k")[0], ("IncompleteRead", "ConnectionResetError"))
        self.p.next("truncated")
        self.assertEqual(self.ask("GET", "/b/k"), (200, DATA[:len(DATA) // 2]))
        self.p.next("flip")
        status, body = self.ask("GET", "/b/k")
        self.assertEqual((status, len(body)), (200, len(DATA)))
        self.assertEqual(sum(a != b for a, b in zip(body, DATA)), 1)
        self.p.next("flip_put")
        self.assertEqual(self.ask("PUT", "/b/new", DATA), (200, b""))
        self.assertEqual(sum(a != b for a, b in zip(self.server.objects["/b/new"], DATA)), 1)

    def test_duplicate(self):
        self.p.next("duplicate")
        self.assertEqual(self.ask("PUT", "/b/once", b"x", **{"If-None-Match": "*"}), (200, b""))
        self.assertEqual(self.seen("PUT"), 2)

    def test_what_is_said_befalls_whom_it_was_said_of(self):
        self.p.next("500", method="PUT", path="/b/x")
        self.assertEqual(self.ask("GET", "/b/k")[0], 200)
        self.assertEqual(self.ask("PUT", "/b/y", b"1")[0], 200)
        self.assertEqual(len(self.p.unused), 1)
        self.assertEqual(self.ask("PUT", "/b/x", b"1")[0], 500)
        self.assertEqual(self.p.unused, [])

    def test_each_kind_at_its_rate(self):
        self.p.kinds, self.p.rate = ["500", "503", "delay", "409"], 0.1
        got = collections.Counter(self.ask("GET", "/b/none")[0] for _ in range(500))
        self.assertEqual(got[500], self.p.counts["500"])
        self.assertEqual(self.p.counts["409"], 0)
        for kind in ("500", "503", "delay"):
            self.assertGreater(self.p.counts[kind], 25)
            self.assertLess(self.p.counts[kind], 90)
        self.p.quiet()
        self.assertEqual({self.ask("GET", "/b/k")[0] for _ in range(50)}, {200})

    def test_an_engine_that_is_down(self):
        self.assertEqual(self.ask("GET", "/b/k")[0], 200)
        self.p.refusing = True
        self.p.cut()
        with contextlib.suppress(OSError):
            self.client.close()
        self.assertNotEqual(self.ask("GET", "/b/k")[0], 200)
        self.p.refusing = False
        self.assertEqual(self.ask("GET", "/b/k"), (200, DATA))


if __name__ == "__main__":
    unittest.main()
