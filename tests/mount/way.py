# SPDX-License-Identifier: Apache-2.0
"""The way of daemons to the S3 engine, which a test can hold up, spoil or cut.

It is run by threads of the test, so that test must not touch what only the daemon can bring while it
holds the interpreter: a page of a mapped slice, above all.
"""
import contextlib
import os
import time

import proxy


class Way(proxy.Proxy):
    """Does for s3:// what bw.Gate does for file://, to the puts that commit a root."""

    def __init__(self):
        super().__init__(os.environ["AWS_ENDPOINT_URL_S3"])
        self.word = ""
        self.lost = set()  # what was put without an answer

    def env(self):
        return {"AWS_ENDPOINT_URL_S3": self.endpoint}

    def hold(self):
        self.word = "hold"

    def fail(self, _number, applied=False):
        """An answer that says nothing about what was done: none, or status 500."""
        self.word = "lost" if applied else "500"

    def open(self):
        self.word = ""

    @contextlib.contextmanager
    def away(self):
        """Nobody answers."""
        self.refusing = True
        self.cut()
        try:
            yield
        finally:
            self.refusing = False

    def decide(self, request):
        if request.method == "PUT" and "/manifest/" in request.path and \
                "if-none-match" in request.headers:
            while self.word == "hold" and not self.closing.is_set():
                time.sleep(0.002)
            if self.word == "500":
                return "500"
            if self.word == "lost" and request.path not in self.lost:
                self.lost.add(request.path)
                return "lost"
        return super().decide(request)
