# SPDX-License-Identifier: Apache-2.0
# ctest: once waits 70-s
"""batchweave init and its kin against S3 servers that break one rule each (I14), and against none.

What a store is refused for is named; what keeps us from asking is one sentence with the right exit code.
"""
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import unittest

import apart
import bw
from broken_s3 import BrokenS3

SECRET = "hush-hush-hush-hush"
NET = 40  # seconds; below the minute that a command gives its requests: who is not there is told earlier
MIB = 1 << 20


class Case(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="bw-s3-")
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
        self.env |= {"HOME": self.dir, "AWS_EC2_METADATA_DISABLED": "true",
                     "AWS_CONFIG_FILE": self.dir + "/none", "AWS_SHARED_CREDENTIALS_FILE": self.dir + "/none",
                     "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1"}
        self.url = "s3://bucket/run/7"
        self.prefix = []  # a program that runs the command

    def server(self, rule="", **kwargs):
        s3 = BrokenS3(rule, **kwargs)
        s3.__enter__()
        self.addCleanup(s3.__exit__)
        return s3

    def with_two_addresses(self, port):
        """An endpoint whose name means 127.0.0.1 and 127.0.0.2 to the commands that follow."""
        hosts = os.path.join(self.dir, "hosts")
        bw.write(hosts, "127.0.0.1 two.test\n127.0.0.2 two.test\n")
        self.prefix = ["unshare", "--mount", sys.executable, apart.__file__, "sh", "-c",
                       f'mount --bind {hosts} /etc/hosts && exec "$0" "$@"']
        if subprocess.run([*self.prefix, "true"], capture_output=True, check=False).returncode:
            self.skipTest("only root can give a name two addresses")
        return f"http://two.test:{port}"

    def bw(self, *args, program=bw.BATCHWEAVE):
        done = subprocess.run([*self.prefix, program, *map(str, args)], capture_output=True, check=False, env=self.env,
                              timeout=NET, stdin=subprocess.DEVNULL)
        self.assertNotIn(SECRET.encode(), done.stdout + done.stderr)
        return done

    def good(self, *args):
        done = self.bw(*args)
        self.assertEqual((done.returncode, done.stderr), (0, b""), args)
        return done.stdout

    def bad(self, code, says, *args, **kwargs):
        done = self.bw(*args, **kwargs)
        text = done.stderr.decode()
        self.assertEqual(done.returncode, code, (args, text))
        self.assertEqual(text.count("\n"), 1, text)
        self.assertRegex(text, says)

    def init(self, s3, *args):
        return ("init", self.url, "--ranks", 2, "--endpoint", s3.endpoint, *args)

    def stream(self, s3):
        return json.loads(s3.objects["run/7/stream.json"])


class Good(Case):
    def test_a_good_store(self):
        s3 = self.server()
        self.assertRegex(self.good(*self.init(s3)), rb"^created stream [0-9a-f]{32} at s3://bucket/run/7: 2 ranks\n$")
        self.assertRegex(self.good(*self.init(s3)), rb"^found the same stream")
        self.assertEqual([k for k in s3.objects if "probe-" in k], [])
        self.assertEqual(len(s3.objects), 2)
        self.assertEqual(s3.uploads, {}, "nothing is left half put together")
        self.assertNotIn("large_if_absent", self.stream(s3))
        for command, path in s3.requests:
            self.assertNotIn(SECRET, path)
            self.assertTrue(path.startswith("/bucket"), (command, path))

    def test_inside_another_stream(self):
        s3 = self.server()
        self.good(*self.init(s3))
        outer, before = self.url, dict(s3.objects)
        self.url += "/x/y"
        self.bad(1, f"inside the stream at {outer};", *self.init(s3))
        self.assertEqual(s3.objects, before)
        s3.hidden = ("run/7/stream.json", "run/stream.json", "stream.json")
        self.good(*self.init(s3))

    def test_put_and_read(self):
        s3 = self.server()
        self.env["AWS_ENDPOINT_URL_S3"] = s3.endpoint
        self.good("init", self.url, "--ranks", 1)
        for size in (1, 3 * MIB + 7, 14 * MIB):
            data = os.urandom(size)
            path = os.path.join(self.dir, "slice")
            with open(path, "wb") as f:
                f.write(data)
            step = int(self.good("put", self.url, "p", path))
            self.assertEqual(self.good("cat", self.url, step, 0), data)
        self.assertEqual(json.loads(self.good("status", self.url, "--json"))["head"], 3)
        self.assertEqual(len(self.good("ls", self.url).splitlines()), 3)

    def test_the_bucket_in_the_host_name(self):
        s3 = self.server()
        there = ("--endpoint", f"http://localhost:{s3.port}", "--virtual-hosts")  # any name below localhost is here
        self.good("init", self.url, "--ranks", 2, *there)
        self.stream(s3)
        self.assertRegex(self.good("status", self.url, *there), rb"head +0")
        for command, path in s3.requests:
            self.assertFalse(path.startswith("/bucket"), (command, path))
        self.bad(2, "a bucket named b.u.c has no place in a host's name: leave virtual_hosts out", "init", "s3://b.u.c/x",
                 "--ranks", 2, *there)

    def test_two_addresses_of_one_store(self):
        one = self.server()
        two = self.server(host="127.0.0.2", port=one.port, share=one)
        self.good(*self.init(one, "--endpoint", self.with_two_addresses(one.port)))
        self.assertTrue(one.requests and two.requests, "both were asked")

    def test_an_address_where_nobody_is(self):
        one = self.server()
        self.good(*self.init(one, "--endpoint", self.with_two_addresses(one.port)))


class Refused(Case):
    def test_I14_each_broken_rule_is_named(self):
        rules = {
            "no-condition": "a second put-if-absent of one name succeeds",
            "no-range": "a read of a range brings other bytes|cannot read a range",
            "unordered": "a listing is not in the order of its keys|cannot list the store",
            "no-pages": "asked for the next page of a listing .* lists again what it has listed",
            "stale": "what was written cannot be read at once",
        }
        for rule, sentence in rules.items():
            with self.subTest(rule):
                s3 = self.server(rule)
                self.bad(1, sentence, *self.init(s3))
                self.assertEqual([k for k in s3.objects if "/stream.json" in k or "/probe-" in k], [])

    def test_a_store_that_cannot_list(self):
        """Nothing is taken for an empty place that was not listed to its end."""
        for rule, code, sentence in (
                ("no-list", 3, r"cannot list the store: the store does not have what is needed \(501 NotImplemented"),
                ("no-end", 1, r"cannot list the store: what came is no listing of S3, or not all of it")):
            with self.subTest(rule):
                s3 = self.server(rule)
                s3.objects["run/7/other"] = b"of somebody else"
                self.bad(code, sentence, *self.init(s3))
                self.assertEqual(list(s3.objects), ["run/7/other"])
                self.assertEqual([c for c, _ in s3.requests if c != "GET"], [], "nothing was written there")

    def test_a_store_whose_listings_do_not_go_on(self):
        """Who lists ends with an error that names it, and asks for no page twice."""
        s3 = self.server()
        self.good(*self.init(s3, "--grace", 0))
        id8 = self.stream(s3)["id"][:8]
        s3.objects |= {f"run/7/{id8}/state/{n:04}": b"of somebody else" for n in range(1001)}
        s3.rule = "no-pages"
        name = self.stream(s3)["id"]
        for code, *words in (1, "gc", self.url), (3, "fsck", self.url), (1, "destroy", self.url, "--yes-destroy", name):
            with self.subTest(words[0]):
                s3.requests.clear()
                self.bad(code, "lists again what it has listed", *words, "--endpoint", s3.endpoint)
                self.assertLess(len(s3.requests), 100)

    def test_a_store_that_refuses(self):
        """Each command says what that means, and what to do about it."""
        s3 = self.server()
        self.good(*self.init(s3))
        name = self.stream(s3)["id"]
        s3.rule = "denied"
        for words in ("ls", self.url), ("gc", self.url), ("fsck", self.url), ("destroy", self.url, "--yes-destroy", name):
            with self.subTest(words[0]):
                self.bad(3, r"these credentials lack a permission \(403 AccessDenied[^)]*\): docs/object-stores\.md",
                         *words, "--endpoint", s3.endpoint)

    def test_a_store_that_tells_no_times(self):
        """C4: nothing is deleted there, and gc says why; so does the log of a mount."""
        s3 = self.server("no-times")
        self.good(*self.init(s3, "--grace", 0))
        said = self.good("gc", self.url, "--endpoint", s3.endpoint)
        self.assertIn("nothing is deleted: the store does not say when objects were written", said.decode())
        at, log = os.path.join(self.dir, "m"), os.path.join(self.dir, "log")
        os.mkdir(at)
        done = self.bw(self.url, at, "-o", f"gc,log={log},endpoint={s3.endpoint}", program=bw.MOUNT)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.addCleanup(subprocess.run, ["umount", at], check=False)
        bw.wait_until(lambda: " reclaim_stands_still " in bw.read(log), what="a line in the log")

    def test_a_store_that_deletes_one_by_one(self):
        s3 = self.server("no-delete-many")
        self.good(*self.init(s3))
        self.assertEqual([k for k in s3.objects if "probe-" in k], [])

    def test_I14_two_addresses_of_two_stores(self):
        one = self.server()
        self.server(host="127.0.0.2", port=one.port)
        self.bad(1, "this store cannot hold a stream",
                 *self.init(one, "--endpoint", self.with_two_addresses(one.port)))

    def test_no_condition_for_parts_is_written_down(self):
        for rule in ("no-condition-in-parts", "condition-in-parts-refused"):
            with self.subTest(rule):
                s3 = self.server(rule)
                self.good(*self.init(s3))
                self.assertIs(self.stream(s3)["large_if_absent"], False)
                self.assertEqual([k for k in s3.objects if "probe-" in k], [])
                paths = []
                for rank in range(2):
                    paths.append(os.path.join(self.dir, f"slice{rank}"))
                    with open(paths[-1], "wb") as f:
                        f.write(os.urandom(7 * MIB))
                self.good("put", self.url, "p", *paths, "--endpoint", s3.endpoint)
                for rank, path in enumerate(paths):
                    self.assertEqual(self.good("cat", self.url, 0, rank, "--endpoint", s3.endpoint),
                                     bw.read(path, "rb"))


class NoLongerKept(Case):
    """I14: a store that has given up put-if-absent since the stream was created is told by who is going to write."""

    def setUp(self):
        super().setUp()
        self.s3 = self.server()
        self.good(*self.init(self.s3))
        self.at = ("--endpoint", self.s3.endpoint)
        self.slices = []
        for rank in range(2):
            self.slices.append(os.path.join(self.dir, f"slice{rank}"))
            bw.write(self.slices[-1], "x")

    def puts(self, *args):
        """The good command's requests that write."""
        before = len(self.s3.requests)
        self.good(*args)
        return [path for command, path in self.s3.requests[before:] if command != "GET"]

    def test_a_put_asks_once_and_who_reads_does_not(self):
        for command in (("status", self.url), ("ls", self.url)):
            self.assertEqual(self.puts(*command, *self.at), [])
        paths = self.puts("put", self.url, "p", *self.slices, *self.at)
        self.assertEqual([p for p in paths if p.endswith("stream.json")], ["/bucket/run/7/stream.json"])
        self.assertEqual(self.puts("cat", self.url, 0, 0, *self.at), [])

    def test_refused(self):
        self.good("put", self.url, "p", *self.slices, *self.at)
        before = dict(self.s3.objects)
        self.s3.rule = "no-condition"
        says = (r"this store cannot hold a stream any more: a second put-if-absent of one name succeeds "
                r"\(is versioning enabled in the bucket\?\)")
        self.bad(1, says, "put", self.url, "p", *self.slices, *self.at)
        self.bad(32, says, self.url, self.dir, "-o", "endpoint=" + self.s3.endpoint, program=bw.MOUNT)
        self.assertEqual(self.s3.objects, before)
        self.assertEqual(self.good("cat", self.url, 0, 0, *self.at), b"x", "what is there is read as ever")

    def test_without_the_right_to_put(self):
        """Who may not write hears that, as before."""
        self.s3.rule = "read-only"
        self.bad(3, "these credentials lack a permission|refuses access", "put", self.url, "p", *self.slices, *self.at)


class NotReached(Case):
    def each(self, endpoint, code, says):
        """init, another command and a mount say the same."""
        self.bad(code, says, "init", self.url, "--ranks", 2, "--endpoint", endpoint)
        self.bad(code, says, "status", self.url, "--endpoint", endpoint)
        self.mount(endpoint, says)

    def mount(self, endpoint, says):
        self.bad(32, says, self.url, self.dir, "-o", "endpoint=" + endpoint, program=bw.MOUNT)

    def test_nobody_listens(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            # Kept, so that nobody else comes to listen there meanwhile.
            self.bad(3, r"nobody answers at that address and port \(.*\): check the endpoint", "init", self.url, "--ranks", 2, "--endpoint",
                     f"http://127.0.0.1:{s.getsockname()[1]}")

    def test_nobody_answers(self):
        self.mount(self.server("silent").endpoint, "cannot be reached|did not answer")

    def test_no_such_host(self):
        self.bad(3, r"the name of the store is not known here \(.*\): check the endpoint", "status", self.url, "--endpoint",
                 "http://no-such-host.invalid")

    def test_only_errors(self):
        self.bad(3, "cannot be reached|did not answer", "status", self.url, "--endpoint",
                 self.server("errors").endpoint)

    def test_no_such_bucket(self):
        self.each(self.server("no-bucket").endpoint, 3, "there is no such bucket")

    def test_what_to_do_is_said(self):
        """By init, another command and a mount, behind what the store said."""
        for rule, says in (("no-bucket", r"there is no such bucket \(404 NoSuchBucket.*\): create it"),
                           ("says 403 InvalidAccessKeyId", r"does not know this access key \(403 .*\): check which key is used"),
                           ("says 403 SignatureDoesNotMatch", "does not belong to the access key .*: check how it was copied"),
                           ("says 301 PermanentRedirect", "another region, or at another endpoint .*: set the region"),
                           ("says 400 InvalidToken", "session token .*: set AWS_SESSION_TOKEN")):
            self.each(self.server(rule).endpoint, 3, says)

    def test_no_permission(self):
        self.each(self.server("denied").endpoint, 3, "these credentials lack a permission")
        s3 = self.server("read-only")
        self.bad(3, "cannot write to the store: these credentials lack a permission", *self.init(s3))
        self.assertEqual(s3.objects, {})

    def test_no_credentials(self):
        s3 = self.server()
        del self.env["AWS_ACCESS_KEY_ID"], self.env["AWS_SECRET_ACCESS_KEY"]
        self.each(s3.endpoint, 3, r"credentials")
        self.assertEqual(s3.requests, [])

    def test_no_stream(self):
        s3 = self.server()
        self.bad(1, "there is no stream at s3://bucket/run/7; check the URL, or create one with batchweave init", "ls", self.url,
                 "--endpoint", s3.endpoint)
        self.bad(32, "there is no stream at s3://bucket/run/7; check the URL, or create one with batchweave init s3://bucket/run/7 --ranks W$", self.url, self.dir, "-o", "endpoint=" + s3.endpoint, program=bw.MOUNT)

    def test_wrong_words(self):
        self.bad(2, "bucket name", "ls", "s3://b", "--endpoint", "http://127.0.0.1:1")
        self.bad(2, r"\w", "ls", self.url, "--endpoint", "http://127.0.0.1:1", "--ca", self.dir + "/none.pem")
        self.bad(1, "endpoint takes http", self.url, self.dir, "-o", "endpoint=127.0.0.1:1", program=bw.MOUNT)
        self.env["AWS_ENDPOINT_URL_S3"] = f"http://key:{SECRET}@127.0.0.1:1"
        self.bad(2, "endpoint", "ls", self.url)
        self.bad(1, "endpoint", self.url, self.dir, program=bw.MOUNT)


if __name__ == "__main__":
    unittest.main()
