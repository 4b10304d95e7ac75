# SPDX-License-Identifier: Apache-2.0
"""A Ceph RGW of a test's own, whose gateway can be killed and started again.

Monitor and OSD go on, so nothing that was acknowledged is lost and a start takes a second or two.  What a test
leaves is removed whatever becomes of it: a keeper waits for the end of a pipe that dies with the test.
Tests that need it fail where Ceph is not installed; tests/run --no-s3 leaves them out.
"""
import json
import os
import secrets
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request

import bw
import s3

HELPER = os.path.join(bw.HERE, "..", "..", "mount-helpers", "one-node-s3")
BUCKET = "batchweave"


class Stream:
    """A stream below a prefix that nobody else has, as bw.Mount wants it."""
    way = dir = None

    def __init__(self, env, ranks=2, *options):
        self.env, self.ranks = env, ranks
        self.prefix = "test/" + secrets.token_hex(8)
        self.url = f"s3://{BUCKET}/{self.prefix}"
        bw.batchweave("init", self.url, "--ranks", ranks, *options, env={**os.environ, **env})


class Node:
    def __init__(self):
        self.root = tempfile.mkdtemp(prefix="bw-node-")
        self.dir, self.log = os.path.join(self.root, "node"), os.path.join(self.root, "log")
        # Its end of the pipe is ours alone: the keeper hears of our death, however it comes.
        self.keeper = subprocess.Popen(
            ["sh", "-c", 'cat >/dev/null; "$0" stop "$1"; rm -rf "$2"', HELPER, self.dir, self.root],
            stdin=subprocess.PIPE, start_new_session=True)
        env = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
        try:
            done = subprocess.run([HELPER, "start", self.dir, "--log", self.log], check=False, text=True,
                                  capture_output=True, timeout=180, env=env)
            if done.returncode:
                raise AssertionError(f"no RGW: {done.stderr[-4000:]}")
            self.env = dict(word.split("=", 1) for word in done.stdout.split()[1:])
        except BaseException:
            self.close()
            raise
        self.env |= {"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": self.root + "/none",
                     "AWS_SHARED_CREDENTIALS_FILE": self.root + "/none", "AWS_CA_BUNDLE": "", "AWS_PROFILE": "",
                     "AWS_SESSION_TOKEN": ""}
        self.endpoint = self.env["AWS_ENDPOINT_URL_S3"]
        self.ceph = {**os.environ, "CEPH_CONF": self.dir + "/ceph.conf"}
        self.gateway = None  # ours, after the first kill

    def close(self):
        if self.gateway:
            self.gateway.kill()
            self.gateway.wait(bw.PATIENCE)
        self.keeper.stdin.close()
        self.keeper.wait(bw.PATIENCE)

    def kill_gateway(self):
        """kill -9; no connection is answered from here on."""
        with open(self.dir + "/radosgw.pid", encoding="ascii") as f:
            pid = int(f.read())
        os.kill(pid, 9)
        if self.gateway:
            self.gateway.wait(bw.PATIENCE)
        else:
            bw.wait_until(lambda: not os.path.exists(f"/proc/{pid}"), what="the end of radosgw")

    def start_gateway(self):
        """Returns when it answers."""
        with open(self.log + "/radosgw.out", "ab") as out:
            self.gateway = subprocess.Popen(["radosgw", "-f", "-n", "client.admin"], stdin=subprocess.DEVNULL,
                                            stdout=out, stderr=out, env=self.ceph, start_new_session=True)
        bw.write(self.dir + "/radosgw.pid", str(self.gateway.pid))
        bw.wait_until(self.answers, what="an answer of radosgw")

    def answers(self):
        if self.gateway and self.gateway.poll() is not None:
            raise AssertionError(f"radosgw ended with {self.gateway.returncode}")
        try:
            with urllib.request.urlopen(self.endpoint, timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            return False

    def admin(self, *args):
        """radosgw-admin; its JSON."""
        done = subprocess.run(["radosgw-admin", "-n", "client.admin", *args], check=False, text=True,
                              capture_output=True, timeout=bw.PATIENCE, env=self.ceph)
        if done.returncode:
            raise AssertionError(f"radosgw-admin {args}: {done.stderr}")
        return json.loads(done.stdout) if done.stdout.strip() else None

    def add_key(self):
        """A second (third ...) key of the same user: (key id, secret)."""
        key, secret = "K" + secrets.token_hex(9).upper(), secrets.token_hex(20)
        self.admin("key", "create", "--uid=batchweave", "--key-type=s3", "--access-key", key,
                   "--secret-key", secret)
        return key, secret

    def remove_key(self, key):
        self.admin("key", "rm", "--uid=batchweave", "--key-type=s3", "--access-key", key)

    def bucket(self):
        return s3.Bucket(BUCKET, self.endpoint, self.env["AWS_ACCESS_KEY_ID"],
                         self.env["AWS_SECRET_ACCESS_KEY"], self.env["AWS_REGION"])


class TestCase(bw.TestCase):
    """Each class of tests has a node of its own."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        missing = [t for t in ("ceph-mon", "ceph-osd", "radosgw", "radosgw-admin") if not shutil.which(t)]
        if missing:
            raise AssertionError(f"not installed: {', '.join(missing)}; tests/run --no-s3 leaves out what needs it")
        cls.node = Node()
        cls.addClassCleanup(cls.node.close)

    def s3_stream(self, ranks=2, *options, env=None):
        return Stream(env or self.node.env, ranks, *options)

    def s3_mount(self, stream, options="", env=None, **kwargs):
        return self.mount(stream, options, env={**stream.env, **(env or {})}, **kwargs)

    def command(self, *args, env=None, program=bw.BATCHWEAVE, timeout=bw.PATIENCE):
        """A program that may fail."""
        return subprocess.run([program, *map(str, args)], capture_output=True, check=False, text=True,
                              timeout=timeout, env={**os.environ, **self.node.env, **(env or {})},
                              stdin=subprocess.DEVNULL)

    def store_of(self, mount):
        """What status.json says about the store."""
        return mount.said()["store"]

