# SPDX-License-Identifier: Apache-2.0
"""TLS in front of a store: certificates made with openssl, and what ends TLS and passes the bytes on.

The bytes inside go through untouched, the Host header that the signature covers among them.
"""
import contextlib
import os
import selectors
import socket
import ssl
import subprocess
import threading
import urllib.parse


class Authority:
    """A CA of our own."""

    def __init__(self, folder, name):
        self.stem, self.serial = os.path.join(folder, name), 0
        self.file = self.stem + ".pem"
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                     "-subj", "/CN=" + name, "-keyout", self.stem + ".key", "-out", self.file)

    @staticmethod
    def openssl(*args):
        done = subprocess.run(["openssl", *args], capture_output=True, text=True, check=False, timeout=60)
        if done.returncode:
            raise AssertionError(f"openssl {args}: {done.stderr}")

    def certificate(self, names):
        """(certificate, key) of a server; names as in a subjectAltName."""
        self.serial += 1
        stem = f"{self.stem}-{self.serial}"
        with open(stem + ".ext", "w", encoding="ascii") as f:
            f.write("subjectAltName=" + names + "\n")
        self.openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
                     "/CN=store", "-keyout", stem + ".key", "-out", stem + ".csr")
        self.openssl("x509", "-req", "-in", stem + ".csr", "-CA", self.file, "-CAkey", self.stem + ".key", "-days",
                     "2", "-set_serial", str(self.serial), "-extfile", stem + ".ext", "-out", stem + ".pem")
        return stem + ".pem", stem + ".key"


class Front:
    """Listens on loopback.  certificate: what it shows, None: no TLS; upstream: of http://."""

    def __init__(self, certificate, upstream):
        self.context = None
        if certificate:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(*certificate)
        url = urllib.parse.urlsplit(upstream)
        self.upstream = (url.hostname, url.port)
        self.connections, self.refused, self.served = 0, [], 0
        self.first = []  # the first bytes of connections without TLS
        self.lock, self.open = threading.Lock(), set()
        self.server = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        with contextlib.suppress(OSError):
            self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()
        self.cut()

    def cut(self):
        """Every connection ends now."""
        with self.lock:
            for sock in self.open:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def accept(self):
        while True:
            try:
                sock, _ = self.server.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError), sock:
            if not self.context:
                sock.settimeout(5)
                self.first.append(sock.recv(4096))
                sock.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            sock.settimeout(20)
            try:
                inside = self.context.wrap_socket(sock, server_side=True)
            except OSError as e:
                self.refused.append(str(e))
                return
            inside.settimeout(None)
            self.relay(inside)

    def relay(self, inside):
        """On one thread: an SSL object does not bear two, and a request and its answer alternate."""
        with inside, socket.create_connection(self.upstream) as up:
            up.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                self.open |= {inside, up}
                self.served += 1
            try:
                self.pump(inside, up)
            finally:
                with self.lock:
                    self.open -= {inside, up}

    @staticmethod
    def pump(inside, up):
        with selectors.DefaultSelector() as ready:
            ready.register(inside, selectors.EVENT_READ, up)
            ready.register(up, selectors.EVENT_READ, inside)
            while True:
                # Bytes that are decrypted already are not seen by select.
                pairs = [(inside, up)] if inside.pending() else [(k.fileobj, k.data) for k, _ in ready.select()]
                for source, target in pairs:
                    data = source.recv(65536)
                    if not data:
                        return
                    target.sendall(data)
