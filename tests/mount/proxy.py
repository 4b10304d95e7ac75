#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A proxy in front of an S3 endpoint that does to requests and answers what networks and stores do.

Clients are given its address as their endpoint.  The Host header goes through untouched: it is signed,
and the engine checks the signature against the Host it is sent.

    proxy = Proxy("http://127.0.0.1:7480", seed=7)
    proxy.kinds, proxy.rate = ["lost", "flip"], 0.05    # each kind befalls one request in twenty
    proxy.next("503", method="PUT", path="/manifest/")  # and this befalls the next such request
    proxy.counts                                        # {"lost": 12, ...}; proxy.requests: all of them

Only requests that a kind can befall are counted among those it is drawn for; see KINDS.
"""
import argparse
import collections
import contextlib
import os
import random
import select
import signal
import socket
import struct
import threading
import time
import urllib.parse

PIECE = 64 << 10
HEAD_MAX = 64 << 10


class Closed(Exception):
    """The other side has gone."""


def is_put(r):
    return r.method in ("PUT", "POST") and r.length > 0


def is_object_get(r):
    return r.method == "GET" and "list-type" not in r.path and "uploads" not in r.path


def is_conditional(r):
    return r.method in ("PUT", "POST") and "if-none-match" in r.headers


def is_any(_):
    return True


# What can be done, and to which requests.
KINDS = {
    "lost": is_any,             # applied, and closed without an answer
    "500": is_any,              # not forwarded
    "503": is_any,              # SlowDown, not forwarded; with Retry-After when retry_after_s is set
    "409": is_conditional,      # not forwarded
    "412": is_conditional,      # not forwarded: a lie
    "reset_request": is_any,    # RST in the middle of the request, not forwarded
    "reset_answer": is_any,     # forwarded, RST in the middle of the answer
    "slow": is_object_get,      # the body drips for slow_s, then RST
    "stall": is_object_get,     # half of the body, then nothing for slow_s, then RST
    "short": is_object_get,     # half of the body, then an orderly end
    "truncated": is_object_get,  # half of the body, and Content-Length says that this is all
    "flip": is_object_get,      # one byte of the body is another
    "flip_put": is_put,         # the same on the way in: the store must refuse it
    "duplicate": is_any,        # sent twice, the first answer counts
    "delay": is_any,            # delay_s, then as usual
}


def parse_head(reader):
    """(first line, [(name, value)], {lower name: value}); Closed at an orderly end before it."""
    lines, size = [], 0
    while True:
        line = reader.readline(HEAD_MAX)
        size += len(line)
        if not line.endswith(b"\n") or size > HEAD_MAX:
            raise Closed
        line = line.rstrip(b"\r\n")
        if not line and lines:
            break
        if line:
            lines.append(line.decode("latin-1"))
    fields = [tuple(part.strip() for part in line.split(":", 1)) for line in lines[1:]]
    return lines[0], fields, {name.lower(): value for name, value in fields}


def make_head(first, fields):
    return "\r\n".join([first, *(f"{n}: {v}" for n, v in fields), "", ""]).encode("latin-1")


def read_exactly(reader, n):
    """n bytes in pieces."""
    while n:
        piece = reader.read1(min(n, PIECE)) if hasattr(reader, "read1") else reader.read(min(n, PIECE))
        if not piece:
            raise Closed
        n -= len(piece)
        yield piece


def raw_chunks(reader):
    """A chunked body as it is on the wire."""
    while True:
        line = reader.readline(HEAD_MAX)
        if not line:
            raise Closed
        yield line
        size = int(line.split(b";")[0], 16)
        if size:
            yield from read_exactly(reader, size + 2)
            continue
        while line not in (b"\r\n", b"\n"):
            line = reader.readline(HEAD_MAX)
            if not line:
                raise Closed
            yield line
        return


def reset(sock):
    """Ends the connection with RST."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with contextlib.suppress(OSError):
        sock.close()


def flipped(data, at):
    return data[:at] + bytes([data[at] ^ 0x20]) + data[at + 1:]


class Request:
    def __init__(self, reader):
        self.first, self.fields, self.headers = parse_head(reader)
        self.method, self.path, _ = self.first.split(" ", 2)
        self.length = int(self.headers.get("content-length", 0))
        if "transfer-encoding" in self.headers:
            raise Closed  # S3 clients say how much they send


class Answer:
    def __init__(self, reader, method):
        self.first, self.fields, self.headers = parse_head(reader)
        self.status = int(self.first.split(" ", 2)[1])
        self.reader = reader
        self.length = None  # chunked, or until the connection ends
        self.chunked = self.headers.get("transfer-encoding", "").lower() == "chunked"
        if method == "HEAD" or self.status in (204, 304):
            self.length = 0
        elif "content-length" in self.headers and not self.chunked:
            self.length = int(self.headers["content-length"])
        self.last = self.headers.get("connection", "").lower() == "close" or (
            self.length is None and not self.chunked)

    def pieces(self):
        if self.length is not None:
            yield from read_exactly(self.reader, self.length)
        elif self.chunked:
            yield from raw_chunks(self.reader)
        else:
            while piece := self.reader.read1(PIECE):
                yield piece

    def drain(self):
        for _ in self.pieces():
            pass


class Upstream:
    """One kept connection to the engine."""

    def __init__(self, address):
        self.address, self.sock, self.reader = address, None, None

    def close(self):
        if self.reader:
            self.reader.close()
        if self.sock:
            self.sock.close()
        self.sock = self.reader = None

    def open(self):
        if self.sock and select.select([self.sock], [], [], 0)[0]:
            self.close()  # ended by the engine while it was idle
        if not self.sock:
            self.sock = socket.create_connection(self.address, timeout=60)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.reader = self.sock.makefile("rb", PIECE)

    def ask(self, request, pieces):
        self.open()
        self.sock.sendall(make_head(request.first, [(n, v) for n, v in request.fields
                                                    if n.lower() != "expect"]))
        for piece in pieces:
            self.sock.sendall(piece)
        answer = Answer(self.reader, request.method)
        while answer.status == 100:
            answer = Answer(self.reader, request.method)
        return answer


class Connection:
    """One client; runs on a thread of its own."""

    def __init__(self, proxy, sock):
        self.proxy, self.sock = proxy, sock
        self.reader = sock.makefile("rb", PIECE)
        self.up = Upstream(proxy.upstream)

    def run(self):
        try:
            while self.serve():
                pass
        except (Closed, OSError, ValueError):
            pass
        finally:
            self.up.close()
            with contextlib.suppress(OSError):
                self.reader.close()
            with contextlib.suppress(OSError):
                self.sock.close()

    def serve(self):
        """One request.  False: this was the last."""
        request = Request(self.reader)
        kind = self.proxy.decide(request)
        if request.headers.get("expect", "").lower() == "100-continue":
            self.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        return self.handlers.get(kind, Connection.plain)(self, request, kind)

    def body(self, request):
        return read_exactly(self.reader, request.length)

    def whole_body(self, request):
        return b"".join(self.body(request))

    def tell(self, answer, pieces):
        self.sock.sendall(make_head(answer.first, answer.fields))
        for piece in pieces:
            self.sock.sendall(piece)
        if answer.last:
            self.up.close()
        return not answer.last

    # ---- What befalls a request ----

    def plain(self, request, _kind):
        answer = self.up.ask(request, self.body(request))
        return self.tell(answer, answer.pieces())

    def delay(self, request, kind):
        self.proxy.sleep(self.proxy.delay_s)
        return self.plain(request, kind)

    def lost(self, request, _kind):
        self.up.ask(request, self.body(request)).drain()
        return False

    def refuse(self, request, kind):
        for _ in self.body(request):
            pass
        words = {"500": ("Internal Server Error", "InternalError"),
                 "503": ("Slow Down", "SlowDown"),
                 "409": ("Conflict", "ConditionalRequestConflict"),
                 "412": ("Precondition Failed", "PreconditionFailed")}
        reason, code = words[kind]
        text = (f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>injected'
                f'</Message><RequestId>injected</RequestId></Error>').encode()
        fields = [("Content-Type", "application/xml"), ("Content-Length", len(text)),
                  ("x-amz-request-id", "injected")]
        if kind == "503" and self.proxy.retry_after_s:
            fields.append(("Retry-After", self.proxy.retry_after_s))
        self.sock.sendall(make_head(f"HTTP/1.1 {kind} {reason}", fields)
                          + (b"" if request.method == "HEAD" else text))
        return True

    def reset_request(self, request, _kind):
        left = request.length // 2
        for _ in read_exactly(self.reader, left):
            pass
        reset(self.sock)
        return False

    def reset_answer(self, request, _kind):
        answer = self.up.ask(request, self.body(request))
        data = make_head(answer.first, answer.fields) + b"".join(answer.pieces())
        self.sock.sendall(data[:len(data) // 2])
        self.proxy.sleep(0.01)  # what was sent arrives before the RST
        reset(self.sock)
        return False

    def spoil(self, request, kind):
        """Faults of the body of a get.  What has none goes as it is."""
        answer = self.up.ask(request, self.body(request))
        if answer.status not in (200, 206) or not answer.length:
            self.proxy.uncount(kind)
            return self.tell(answer, answer.pieces())
        data = b"".join(answer.pieces())
        half = len(data) // 2
        if kind == "flip":
            return self.tell(answer, [flipped(data, self.proxy.below(len(data)))])
        if kind == "truncated":
            answer.fields = [(n, half if n.lower() == "content-length" else v)
                             for n, v in answer.fields]
            return self.tell(answer, [data[:half]])
        self.sock.sendall(make_head(answer.first, answer.fields))
        if kind == "slow":
            self.drip(data)
        else:
            self.sock.sendall(data[:half])
        if kind == "stall":
            self.proxy.sleep(self.proxy.slow_s, self.sock)
        if kind != "short":
            reset(self.sock)
        return False

    def drip(self, data):
        """A few bytes every tenth of a second, never all of them."""
        end = time.monotonic() + self.proxy.slow_s
        for at in range(0, len(data) - 1, 256):
            if time.monotonic() > end or not self.proxy.sleep(0.1, self.sock):
                return
            self.sock.sendall(data[at:min(at + 256, len(data) - 1)])

    def flip_put(self, request, _kind):
        data = self.whole_body(request)
        answer = self.up.ask(request, [flipped(data, self.proxy.below(len(data)))])
        return self.tell(answer, answer.pieces())

    def duplicate(self, request, _kind):
        data = self.whole_body(request)
        answer = self.up.ask(request, [data])
        pieces = list(answer.pieces())
        if not answer.last:
            self.up.ask(request, [data]).drain()
        return self.tell(answer, pieces)

    handlers = {
        "lost": lost, "500": refuse, "503": refuse, "409": refuse, "412": refuse,
        "reset_request": reset_request, "reset_answer": reset_answer,
        "slow": spoil, "stall": spoil, "short": spoil, "truncated": spoil, "flip": spoil,
        "flip_put": flip_put, "duplicate": duplicate, "delay": delay,
    }


class Proxy:
    def __init__(self, upstream, seed=0, listen=("127.0.0.1", 0)):
        url = urllib.parse.urlsplit(upstream)
        self.upstream = (url.hostname, url.port or 80)
        self.kinds, self.rate = [], 0.0
        self.retry_after_s = 0
        self.delay_s, self.slow_s = 0.3, 20
        self.refusing = False  # as if the engine were down: every connection ends with RST
        self.counts, self.requests = collections.Counter(), 0
        self.history = collections.deque(maxlen=2000)  # (method, path, kind), for people
        self.lock = threading.Lock()
        self.random = random.Random(seed)
        self.script = []
        self.closing = threading.Event()
        self.connections = {}  # thread: socket
        self.server = socket.create_server(listen, backlog=256)
        os.register_at_fork(after_in_child=self.forget)
        self.endpoint = "http://%s:%d" % self.server.getsockname()[:2]
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    # ---- For tests ----

    def next(self, kind, method=None, path="", times=1):
        """This befalls the next requests of the method whose path contains path, whatever the rate."""
        if kind not in KINDS:
            raise ValueError(kind)
        with self.lock:
            self.script += [(kind, method, path)] * times

    @property
    def unused(self):
        """What next() said and nobody met yet."""
        with self.lock:
            return list(self.script)

    def quiet(self):
        """Nothing befalls anybody any more."""
        with self.lock:
            self.rate, self.script = 0.0, []

    def cut(self):
        """RST on every connection."""
        with self.lock:
            sockets = list(self.connections.values())
        for sock in sockets:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.shutdown(socket.SHUT_RDWR)

    def forget(self):
        """In a forked child: a connection ends when the proxy says so, not when the child does."""
        for sock in [self.server, *list(self.connections.values())]:
            if sock.fileno() >= 0:
                with contextlib.suppress(OSError):
                    os.close(sock.fileno())

    def close(self):
        self.closing.set()
        with contextlib.suppress(OSError):
            self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()
        self.thread.join()
        self.cut()
        for thread in list(self.connections):
            thread.join(10)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # ---- For connections ----

    def decide(self, request):
        with self.lock:
            self.requests += 1
            kind = self.draw(request)
            if kind:
                self.counts[kind] += 1
            self.history.append((request.method, request.path, kind))
            return kind

    def draw(self, request):
        for i, (kind, method, path) in enumerate(self.script):
            if method in (None, request.method) and path in request.path and KINDS[kind](request):
                del self.script[i]
                return kind
        fitting = [k for k in self.kinds if KINDS[k](request)]
        at = self.random.random()
        if not fitting or at >= self.rate * len(fitting):
            return None
        return fitting[min(int(at / self.rate), len(fitting) - 1)]

    def uncount(self, kind):
        with self.lock:
            self.counts[kind] -= 1

    def below(self, n):
        with self.lock:
            return self.random.randrange(n)

    def sleep(self, seconds, sock=None):
        """False: the client has gone or the proxy ends."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if self.closing.wait(min(left, 0.1)):
                return False
            if sock and select.select([sock], [], [], 0)[0] and not sock.recv(1, socket.MSG_PEEK):
                return False
        return True

    def accept(self):
        while True:
            try:
                sock, _ = self.server.accept()
            except OSError:
                return
            if self.closing.is_set() or self.refusing:
                reset(sock)
                continue
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            thread = threading.Thread(target=self.serve, args=(sock,), daemon=True)
            with self.lock:
                self.connections[thread] = sock
            thread.start()

    def serve(self, sock):
        try:
            Connection(self, sock).run()
        finally:
            with self.lock:
                del self.connections[threading.current_thread()]


def main():
    parser = argparse.ArgumentParser(description="Injects faults between an S3 client and a store.")
    parser.add_argument("upstream", help="http://host:port of the store")
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="HOST:PORT")
    parser.add_argument("--rate", type=float, default=0.05, help="probability of each kind")
    parser.add_argument("--kinds", default=",".join(KINDS), help="default: all of them")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    host, port = args.listen.rsplit(":", 1)
    kinds = args.kinds.split(",")
    unknown = [k for k in kinds if k not in KINDS]
    if unknown:
        parser.error("no such kind: " + ", ".join(unknown))
    with Proxy(args.upstream, args.seed, (host, int(port))) as proxy:
        proxy.kinds, proxy.rate = kinds, args.rate
        print(proxy.endpoint, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.sigwait({signal.SIGINT, signal.SIGTERM})
        print(f"{proxy.requests} requests", *(f"{k}={n}" for k, n in sorted(proxy.counts.items())))


if __name__ == "__main__":
    main()
