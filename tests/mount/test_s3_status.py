# SPDX-License-Identifier: Apache-2.0
# ctest: once
"""What a mount of an S3 store says when the store is down, and what it never says."""
import glob
import json
import os
import unittest

import bw
from broken_s3 import BrokenS3

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
        self.m = self.mount(Stream, f"io_timeout=2,endpoint={self.s3.endpoint}", env=self.env)

    def store(self):
        return json.loads(self.m.status("status.json"))["store"]

    def test_down_and_up(self):
        """V6: a store that is down is EIO after io_timeout, and status says so until it answers again."""
        self.m.put("p", 0, [b"first"])
        self.assertEqual(self.store(), {"url": Stream.url, "ok": True, "last_error": ""})
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
