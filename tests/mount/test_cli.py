# SPDX-License-Identifier: Apache-2.0
# ctest: 70-s
"""batchweave(1) and the arguments of mount.batchweave(8), without a mount.

Each command does what it says; each wrong input gets one sentence on stderr and its exit code:
0 done, 1 wrong or no, 2 usage, 3 store unreachable, and mount(8)'s 1, 2, 32 for mounting.
"""
import contextlib
import hashlib
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import tempfile
import termios
import threading
import time
import unittest

import bw
import objects

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.environ.get("BW_BUILD_DIR") or os.path.join(HERE, "..", "..", "build", "dev")
BATCHWEAVE = os.path.join(BUILD, "mount-helpers", "batchweave")
MOUNT = os.path.join(BUILD, "mount-helpers", "mount.batchweave")
MIB = 1 << 20
NET = 300  # seconds; a net under what hangs, nothing is measured

COMMANDS = "init mount status ls cat put checkpoint seal watch doctor top destroy version help".split()
FILE_ONLY = unittest.skipIf(objects.ON_S3, "only on file://: what it checks is said before a store is asked")


class Case(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="bw-cli-", dir=bw.base_folder())
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        os.chmod(self.dir, 0o755)
        self.store = os.path.join(self.dir, "store")  # of a file:// stream; who makes it is part of the tests
        self.use(objects.new(lambda: self.store))

    def use(self, made):
        self.made, self.url = made, made.url
        self.addCleanup(made.close)

    def path(self, name, data=None):
        path = os.path.join(self.dir, name)
        if data is not None:
            with open(path, "wb") as f:
                f.write(data)
        return path

    def run_bw(self, *args, program=BATCHWEAVE, **kwargs):
        args = [a if isinstance(a, bytes) else str(a) for a in args]
        kwargs.setdefault("stdout", subprocess.PIPE)
        return subprocess.run([program, *args], stderr=subprocess.PIPE, timeout=NET, check=False, **kwargs)

    def good(self, *args, **kwargs):
        """What a command prints; it must succeed and say nothing on stderr."""
        done = self.run_bw(*args, **kwargs)
        self.assertEqual((done.returncode, done.stderr), (0, b""), args)
        return done.stdout

    def bad(self, code, says, *args, prefix=None, **kwargs):
        """The command must fail with this code and one sentence that matches says."""
        done = self.run_bw(*args, **kwargs)
        text = done.stderr.decode("utf-8", "replace")
        self.assertEqual(done.returncode, code, (args, text))
        self.assertEqual(text.count("\n"), 1, (args, text))
        self.assertTrue(text.startswith(prefix or f"batchweave {args[0]}: "), (args, text))
        self.assertNotRegex(text[:-1], r"[\x00-\x1f\x7f]")
        self.assertRegex(text, says)
        return done

    def create(self, ranks=2, *options):
        self.good("init", self.url, "--ranks", ranks, *options)

    def files(self, *contents):
        return [self.path(f"slice{i}", data) for i, data in enumerate(contents)]

    def put(self, *contents, producer="p"):
        return int(self.good("put", self.url, producer, *self.files(*contents)))

    def objects(self, part):
        """Keys of the stream's objects that contain part, sorted."""
        return self.made.keys(part)

    def damage(self, key, data=None, keep=None, flip=None):
        """Replaces an object: by data, by its first bytes, or by itself with one bit turned."""
        old = self.made.read(key)
        if flip is not None:
            data = bytearray(old)
            data[flip] ^= 1
        elif data is None:
            data = old[:keep]
        self.made.write(key, bytes(data))
        return old


class Frame(Case):
    @FILE_ONLY
    def test_help(self):
        text = self.good("help").decode()
        for command in COMMANDS:
            self.assertRegex(text, rf"(?m)^  {command} ")
            page = self.good(command, "--help").decode()
            self.assertTrue(page.startswith(f"usage: batchweave {command}"), page)
            self.assertTrue(self.good("help", command).decode().startswith("usage: "))
        self.assertEqual(self.good("--help").decode(), text)
        self.bad(2, "no command 'nonsense'", "help", "nonsense", prefix="batchweave: ")

    @FILE_ONLY
    def test_no_command_and_unknown_command(self):
        done = self.run_bw()
        self.assertEqual((done.returncode, done.stdout), (2, b""))
        self.assertIn(b"usage: batchweave COMMAND", done.stderr)
        self.bad(2, "no command 'nonsense'", "nonsense", prefix="batchweave: ")
        self.bad(2, "no command ''", "", prefix="batchweave: ")
        self.bad(2, "no command", b"\xff\x1b[2J", prefix="batchweave: ")

    @FILE_ONLY
    def test_version(self):
        self.assertRegex(self.good("version"), rb"^batchweave \d+\.\d+\.\d+\n$")
        self.assertEqual(self.good("--version"), self.good("version"))
        self.assertEqual(self.good("--version", program=MOUNT), self.good("version"))

    @FILE_ONLY
    def test_operands_and_options(self):
        self.create()
        for command in ("status", "ls", "cat", "put", "checkpoint", "seal", "init"):
            self.bad(2, "usage: ", command)
            self.bad(2, "unknown option --nonsense", command, self.url, "--nonsense")
            self.bad(2, "unknown option -Q", command, "-Q", self.url)
            self.bad(2, "unknown option -Qx;", command, self.url, "-Qx")
        self.bad(1, "unknown option -Qx;", self.url, self.dir, "-Qx", program=MOUNT, prefix="mount.batchweave: ")
        self.bad(2, "usage: ", "status", self.url, self.url)
        self.bad(2, "usage: ", "ls", self.url, 0, 0)
        self.bad(2, "usage: ", "cat", self.url, 0)
        self.bad(2, "usage: ", "version", "x")
        self.bad(2, "--ranks needs a value", "init", self.url, "--ranks")
        for args in (("--json", self.url), (self.url, "--json"), ("--json", "--", self.url)):
            self.assertEqual(json.loads(self.good("status", *args))["ranks"], 2)

    @FILE_ONLY
    def test_wrong_urls(self):
        wrong = ["", "nonsense", "/abs/dir", "http://host/x", "file://relative/dir", "file:",
                 "file:///a/../b", "s3:///prefix", "file:///a\nb", "://"]
        for url in wrong:
            for args in (("init", url, "--ranks", 2), ("ls", url), ("cat", url, 0, 0),
                         ("put", url, "p", "/dev/null")):
                self.bad(2, r"\w", *args)
            self.bad(2, r"\w", "status", url)
        self.assertEqual(os.listdir(self.dir), [])

    @unittest.skipIf(objects.ON_S3, "only on file://: an option for s3:// is refused")
    def test_options_of_an_s3_store(self):
        """S7: what is said of an endpoint never holds its password."""
        self.create()
        calls = (("status", self.url), ("ls", self.url), ("cat", self.url, 0, 0),
                 ("put", self.url, "p", "/dev/null", "/dev/null"), ("init", self.url, "--ranks", 2))
        for args in calls:
            for given in (["--endpoint", "http://127.0.0.1:1"], ["--region=x"], ["--profile", "x"],
                          ["--path-style"], ["--ca", "/x"], ["--no-verify-tls"],
                          ["--unsigned-payload"], ["--virtual-hosts"]):
                name = given[0].split("=")[0]
                self.bad(2, f"{name} is for s3:// streams; leave it out", *args, *given)
            done = self.bad(2, "--endpoint must be http", *args, "--endpoint", "http://k:hidden@h")
            self.assertNotIn(b"hidden", done.stderr)
            self.bad(2, "--endpoint must be .*, not 'h:80'", *args, "--endpoint", "h:80")
            self.bad(2, "--region must be .*, not 'a b'", *args, "--region", "a b")
            self.bad(2, "--ca needs a value", *args, "--ca")
        self.bad(2, "--region is for s3://", "status", self.dir, "--region", "x")
        for option in ("endpoint=http://h", "region=x", "profile=x", "path_style", "ca=/x", "no_verify_tls",
                       "unsigned_payload", "virtual_hosts"):
            self.bad(1, f"option {option.split('=')[0]} is for s3:// streams", self.url, self.dir, "-o",
                     option, program=MOUNT, prefix="mount.batchweave: ")
        for name in ("AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_PROFILE", "AWS_CA_BUNDLE"):
            self.good("ls", self.url, env={**os.environ, name: "x"})

    def test_missing_stream(self):
        slices = self.files(b"a", b"b")
        calls = (("status", self.url), ("ls", self.url), ("cat", self.url, 0, 0),
                 ("put", self.url, "p", *slices))
        for args in calls:
            self.bad(1, "there is no stream at .*init", *args)
        self.assertFalse(os.path.exists(self.store), "asking creates nothing")
        if not objects.ON_S3:
            os.mkdir(self.store)
            for args in calls:
                self.bad(1, "there is no stream at .*init", *args)
        self.assertEqual(self.objects(""), [])

    @unittest.skipIf(objects.ON_S3, "only on file://: takes rights of a directory away")
    def test_store_that_refuses(self):
        self.create()
        os.chmod(self.store, 0)
        who = {}
        if os.geteuid() == 0:  # nobody may have no way to the build tree
            who = {"user": 65534, "group": 65534, "program": shutil.copy(BATCHWEAVE, self.dir)}
        for args in (("status", self.url), ("ls", self.url), ("cat", self.url, 0, 0),
                     ("init", self.url, "--ranks", 2)):
            self.bad(3, r"\w", *args, **who)
        os.chmod(self.store, 0o755)

    def test_stream_of_a_newer_format(self):
        """S8: a newer format is refused with a sentence."""
        self.create()
        text = self.made.read("stream.json").decode()
        newer = re.sub(r'"format": *\d+', '"format": 999', text)
        self.assertNotEqual(newer, text)
        self.damage("stream.json", newer.encode())
        for args in (("status", self.url), ("ls", self.url), ("cat", self.url, 0, 0),
                     ("put", self.url, "p", *self.files(b"a", b"b")),
                     ("init", self.url, "--ranks", 2)):
            self.bad(1, "newer", *args)

    def test_output_that_cannot_be_written(self):
        self.create()
        self.put(b"a" * 100000, b"b")
        for args in self.printing():
            with open("/dev/full", "wb") as full:
                self.bad(1, "cannot write the output", *args, prefix="batchweave", stdout=full)

            # Nothing that a command opens may be taken for an output which its caller has closed.
            with tempfile.TemporaryFile() as said:
                done = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", BATCHWEAVE, *map(str, args)], stderr=said,
                                      timeout=NET, check=False)
                said.seek(0)
                self.assertRegex(said.read(), rb"^batchweave( cat)?: cannot write the output(: Bad file descriptor)?\n$")
                self.assertEqual(done.returncode, 1, args)
        # Also of what has found something wrong, or the lost page would pass for all there is.
        with open("/dev/full", "wb") as full:
            self.bad(1, "cannot write the output", "doctor", "file:///none", prefix="batchweave", stdout=full)

        for word in ("--help", "--version"):
            with open("/dev/full", "wb") as full:
                self.bad(1, "cannot write the output: No space", word, prefix="mount.batchweave: ", program=MOUNT, stdout=full)

    def printing(self):
        """Each command that prints, of a stream with a step of two slices."""
        yield from ((word, self.url) for word in ("ls", "status", "fsck", "gc", "doctor"))
        yield from ((word, self.url, "--json") for word in ("status", "fsck", "doctor"))
        yield from (("ls", self.url, 0), ("cat", self.url, 0, 0), ("put", self.url, "p", *self.files(b"a", b"b")),
                    ("version",), ("help",), ("help", "ls"), ("ls", "--help"))

    def test_output_that_nobody_reads(self):
        """As of any tool in front of head(1): by SIGPIPE, without a word; what a command is there for is done."""
        self.create()
        self.put(b"a" * 100000, b"b")
        for args in self.printing():
            reader, writer = os.pipe()
            os.close(reader)
            done = self.run_bw(*args, stdout=writer)
            os.close(writer)
            self.assertEqual((done.returncode, done.stderr), (-signal.SIGPIPE, b""), args)
        self.assertEqual(len(self.good("ls", self.url).splitlines()), 2)
        reader, writer = os.pipe()
        os.close(reader)
        self.bad(1, "step 7 is not committed", "cat", self.url, 7, 0, stdout=writer)
        os.close(writer)


class Completion(Case):
    @FILE_ONLY
    def test_names_with_blanks_and_quotes(self):
        """What bash is offered is what it reads as that name, and goes on behind it."""
        os.makedirs(self.path("a b/c"))
        self.path("a b/it's", b"")
        script = os.path.join(HERE, "..", "..", "mount-helpers", "completion.bash")
        for line, word in ((r"watch URL --dir a", r"a\ b/"), (r"watch URL --dir a\ b/", r"a\ b/c/"), (r"put URL p a\ b/i", r"a\ b/it\'s"),
                           (rf"init file://{self.dir}/a", rf"//{self.dir}/a\ b/"), (r"mount URL a\ b/", r"a\ b/c/")):
            done = subprocess.run(["bash", "-c", '. "$0"; COMP_WORDBREAKS=:=; COMP_LINE=$1 COMP_POINT=${#1}; _batchweave; echo "${COMPREPLY[*]}"',
                                   script, "batchweave " + line], capture_output=True, text=True, check=True, cwd=self.dir,
                                  env={**os.environ, "PATH": os.path.dirname(BATCHWEAVE) + ":" + os.environ["PATH"]})
            self.assertEqual((done.stdout, done.stderr), (word + "\n", ""), line)


class Init(Case):
    def test_creates_once(self):
        self.assertRegex(self.good("init", self.url, "--ranks", 4),
                         rb"^created stream [0-9a-f]{32} at .*: 4 ranks\n$")
        before = self.objects("")
        self.assertRegex(self.good("init", "--ranks", 4, self.url), rb"^found the same stream")
        self.assertEqual(self.objects(""), before)
        self.bad(1, r"\w", "init", self.url, "--ranks", 5)
        self.bad(1, r"\w", "init", self.url, "--ranks", 4, "--keep", 3)
        self.assertEqual(self.objects(""), before)

    @unittest.skipIf(objects.ON_S3, "only on file://: said before a store is asked")
    def test_limits_of_ranks(self):
        for ranks in ("0", "65537", "x", "-1", "", "01", "+1", "4.0", " 4", "99999999999999999999"):
            self.bad(2, "--ranks must be a number from 1 to 65536", "init", self.url, "--ranks", ranks)
            self.bad(2, "--ranks must be", "init", self.url, "--ranks=" + ranks)
        self.bad(2, "--ranks is missing", "init", self.url)
        self.assertFalse(os.path.exists(self.store), "nothing is created for a wrong command")
        self.create(65536)
        self.assertEqual(json.loads(self.good("status", self.url, "--json"))["ranks"], 65536)

    def test_other_options(self):
        wrong = {"--keep": ("0", "257", "x"), "--margin": ("-1", "x", "1K"),
                 "--grace": ("-1", "x", "0.5", "1d"), "--max-ahead": ("-1", "x"),
                 "--compress": ("", "gzip", "zstd:", "zstd:0", "zstd:20", "zstd:x", "zstd:3 ")}
        for option, values in wrong.items():
            for value in values:
                self.bad(2, option + " must be", "init", self.url, "--ranks", 2, option, value)
        self.create(2, "--keep", "3", "--margin", "10", "--grace", "2h", "--max-ahead", "100",
                    "--compress", "zstd:5")
        made = json.loads(self.made.read("stream.json"))
        self.assertEqual((made["keep"], int(made["margin"]), int(made["grace_s"]),
                          int(made["max_ahead"]), made["compress"]), (3, 10, 7200, 100, "zstd:5"))

    def test_refuses_what_is_not_its_own(self):
        self.made.write("thesis.tex", b"x")
        self.bad(1, r"\w", "init", self.url, "--ranks", 2)
        self.assertEqual(self.objects(""), ["thesis.tex"])

    def test_refuses_a_place_inside_another_stream(self):
        self.create()
        before = self.objects("")
        for inner in (self.url + "/x", self.url + "/x/y/z/"):
            self.bad(1, f"inside the stream at {self.url};", "init", inner, "--ranks", 2)
        self.assertEqual(self.objects(""), before)
        self.assertFalse(os.path.exists(os.path.join(self.store, "x")))
        self.good("init", self.url, "--ranks", 2)
        self.good("init", self.url + "-x", "--ranks", 2)

    def test_one_that_is_inside_another_stream_already_is_the_same(self):
        inner = self.url + "/x/y"
        self.good("init", inner, "--ranks", 2)
        self.made.write("stream.json", b'{"name": "of something else"}')
        self.good("init", self.url + "/other", "--ranks", 2)
        self.made.write("stream.json", self.made.read("x/y/stream.json"))
        self.assertRegex(self.good("init", inner, "--ranks", 2), rb"^found the same")
        self.bad(1, "inside the stream at " + inner, "init", inner + "/z", "--ranks", 2)
        self.bad(1, f"inside the stream at {self.url};", "init", self.url + "/x/z", "--ranks", 2)

    @unittest.skipIf(objects.ON_S3, "only on file://: about a path")
    def test_not_a_directory(self):
        with open(self.store, "w", encoding="utf-8"):
            pass
        done = self.run_bw("init", self.url, "--ranks", 2)
        self.assertIn(done.returncode, (1, 3))
        self.assertEqual(done.stderr.count(b"\n"), 1)


class PutAndRead(Case):
    def test_round_trip(self):
        """P1, V1, V5 without a mount: what is put is what cat writes, of every size and shape."""
        for compress in ("none", "zstd"):
            self.use(objects.new(lambda: os.path.join(self.dir, compress)))
            self.create(3, "--compress", compress)
            slices = [b"x", os.urandom(3 * MIB + 17), b"\0" * (2 * MIB)]
            self.assertEqual(self.put(*slices), 0)
            self.assertEqual(self.put(*reversed(slices)), 1)
            for rank in range(3):
                self.assertEqual(self.good("cat", self.url, 0, rank), slices[rank])
                self.assertEqual(self.good("cat", self.url, 1, rank), slices[2 - rank])
            steps = self.good("ls", self.url).decode().splitlines()
            total = sum(map(len, slices))
            self.assertRegex(steps[0], rf"^ +0 +{total} \d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\dZ p/0$")
            self.assertRegex(steps[1], rf"^ +1 +{total} \S+ p/1$")
            self.assertEqual(len(steps), 2)
            ranks = [line.split() for line in self.good("ls", self.url, 0).decode().splitlines()]
            self.assertEqual([line[:2] for line in ranks],
                             [[str(i), str(len(s))] for i, s in enumerate(slices)])
            again = [line.split() for line in self.good("ls", self.url, 1).decode().splitlines()]
            self.assertEqual(ranks[1][2], again[1][2], "equal bytes have equal checksums")
            self.assertNotEqual(ranks[0][2], again[0][2])
        # Zeros shrink, so the compressed object is smaller than its slices.
        self.assertLess(len(self.made.read(self.objects("/data/")[0])), total - MIB)

    def test_empty_stream(self):
        self.create()
        self.assertEqual(self.good("ls", self.url), b"")
        self.bad(1, "step 0 is not committed", "ls", self.url, 0)

    def test_status(self):
        self.create(2)
        text = self.good("status", self.url).decode()
        self.assertRegex(text, r"(?m)^steps      first 0, head 0$")
        self.put(b"a", b"b", producer="tokens")
        self.put(b"c", b"d", producer="tokens")
        text = self.good("status", self.url).decode()
        self.assertRegex(text, r"(?m)^steps      first 0, head 2$")
        self.assertRegex(text, r"(?m)^  tokens: next 2, epoch \d+, last step 1 at \d{4}-")
        data = json.loads(self.good("status", self.url, "--json"))
        self.assertEqual((data["head"], data["first"], data["ranks"], data["sealed"]), (2, 0, 2, False))
        self.assertEqual(data["producers"]["tokens"]["next"], 2)
        self.assertEqual(data["producers"]["tokens"]["last_step"], 1)
        self.assertEqual(data["jobs"], {})
        self.assertEqual(data["store"]["url"], self.url)
        self.assertEqual(data["live_bytes"], sum(len(self.made.read(k)) for k in self.objects("/data/")))

    @unittest.skipIf(objects.ON_S3, "only on file://: about paths")
    def test_status_json_of_any_directory(self):
        for name in (b'a"b\\c', b"\xff\xfe", "größe".encode()):
            url = b"file://" + os.fsencode(self.dir) + b"/" + name
            self.good("init", url, "--ranks", 1)
            shown = json.loads(self.good("status", url, "--json").decode("utf-8"))["store"]["url"]
            self.assertEqual(shown, url.decode("utf-8", "replace"))

    @unittest.skipIf(objects.ON_S3, "only on file://: about paths")
    def test_status_of_no_mount(self):
        self.bad(2, "neither a stream URL", "status", self.dir)
        self.bad(2, "neither a stream URL", "status", self.dir + "/missing")

    def test_cat_refuses(self):
        """V6: not committed, and ranks that are none: 01, x, -1, W."""
        self.create(2)
        self.put(b"a", b"b")
        self.bad(1, "step 1 is not committed: the head is 1", "cat", self.url, 1, 0)
        self.bad(1, "not committed", "cat", self.url, (1 << 63) - 1, 0)
        self.bad(1, "there is no rank 2: the stream has 2", "cat", self.url, 0, 2)
        self.bad(1, "there is no rank 18446744073709551615", "cat", self.url, 0, (1 << 64) - 1)
        for text in ("01", "x", "", "+1", "1.npy", "0x1", str(1 << 64)):
            self.bad(2, "RANK must be", "cat", self.url, 0, text)
            self.bad(2, "STEP must be", "cat", self.url, text, 0)
            self.bad(2, "STEP must be", "ls", self.url, text)
        self.bad(2, "STEP must be", "cat", self.url, 1 << 63, 0)
        self.bad(2, "-1", "cat", self.url, 0, "-1")
        self.bad(2, "RANK must be", "cat", "--", self.url, 0, "-1")

    def test_cat_into_a_pipe_that_closes(self):
        self.create(1)
        self.put(os.urandom(4 * MIB))
        with subprocess.Popen([BATCHWEAVE, "cat", self.url, "0", "0"], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as p:
            p.stdout.read(1)
            p.stdout.close()
            self.assertEqual(p.stderr.read(), b"")
            self.assertEqual(p.wait(NET), -signal.SIGPIPE)

    def test_files_that_may_not_grow(self):
        """ulimit -f: what a command cannot write is an error of its own, not its death by SIGXFSZ."""
        limited = f"--fsize={2 * MIB}", BATCHWEAVE
        self.create(1)
        at = self.put(os.urandom(4 * MIB))
        with open(self.path("out"), "wb") as out:
            self.bad(1, "File too large", *limited, "cat", self.url, at, 0, program="prlimit", stdout=out,
                     prefix="batchweave cat: ")
        self.assertEqual(os.stat(self.path("out")).st_size, 2 * MIB)
        if not objects.ON_S3:
            self.bad(1, "No space left", *limited, "put", self.url, "p", *self.files(os.urandom(4 * MIB)), program="prlimit",
                     prefix="batchweave put: ")
        self.assertEqual(self.put(b"x"), at + 1)

    def test_interrupt(self):
        self.create(1)
        self.put(os.urandom(4 * MIB))
        with subprocess.Popen([BATCHWEAVE, "cat", self.url, "0", "0"], stdout=subprocess.PIPE) as p:
            p.stdout.read(1)
            p.send_signal(signal.SIGINT)
            self.assertEqual(p.wait(NET), 130)
            p.stdout.close()

    def test_progress_on_a_terminal(self):
        self.create(1)
        self.put(os.urandom(4 * MIB))
        shown = self.progress(0)
        self.assertRegex(shown, rb"\rreading: +\d+%, \S+ MB, \S+ [kM]B/s, \d+:\d\d left")
        self.assertTrue(shown.endswith(b"\r\x1b[K"), shown)
        lines = [line.removesuffix(b"\x1b[K") for line in self.progress(16).split(b"\r")]
        self.assertTrue(any(lines))
        self.assertLess(max(map(len, lines)), 16, lines)  # or each one would begin a new line

    def progress(self, columns):
        """What a reader who waits sees."""
        ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (24, columns))
        with subprocess.Popen([BATCHWEAVE, "cat", self.url, "0", "0"], stdout=subprocess.PIPE,
                              stderr=theirs) as p:
            os.close(theirs)
            p.stdout.read(1)
            time.sleep(1.5)  # so that it is long work: the pipe is full and cat waits for us
            self.assertEqual(len(p.stdout.read()), 4 * MIB - 1)
            self.assertEqual(p.wait(NET), 0)
        shown = b""
        with contextlib.suppress(OSError):  # EIO: the other end is closed
            while part := os.read(ours, 4096):
                shown += part
        os.close(ours)
        return shown


class Put(Case):
    def test_seq(self):
        """P4 without a mount: a seq is committed once, in order."""
        self.create(1)
        f = self.files(b"x")
        self.bad(1, "would leave a gap: the next seq of p is 0", "put", self.url, "p", "--seq", 1, *f)
        self.assertEqual(self.good("put", self.url, "p", "--seq", 0, *f), b"0\n")
        self.bad(1, "seq 0 of p is committed already, as step 0; the next seq is 1",
                 "put", self.url, "p", "--seq", 0, *f)
        self.assertEqual(self.good("put", self.url, "q", *f), b"1\n")
        self.assertEqual(self.good("put", self.url, "p", *f, "--seq", 1), b"2\n")
        self.bad(1, "seq 0 of p is committed already, as step 0; the next seq is 2",
                 "put", self.url, "p", "--seq", 0, *f)
        for seq in ("01", "x", "-1", "", str(1 << 63)):
            self.bad(2, "--seq must be", "put", self.url, "p", "--seq", seq, *f)
        self.assertEqual(json.loads(self.good("status", self.url, "--json"))["head"], 3)

    def test_a_refused_seq_takes_nobody_elses_producer(self):
        self.create(1)
        f = self.files(b"x")
        self.put(b"x")
        before = json.loads(self.good("status", self.url, "--json"))
        self.bad(1, "gap", "put", self.url, "p", "--seq", 7, *f)
        self.bad(1, "already", "put", self.url, "p", "--seq", 0, *f)
        self.bad(1, "is empty", "put", self.url, "p", self.path("empty", b""))
        self.assertEqual(json.loads(self.good("status", self.url, "--json")), before)

    def test_what_has_no_room_takes_nobody_elses_producer(self):
        """P5: a directory that is missing here is no reason to fence who writes elsewhere."""
        self.create(1, "--compress", "zstd")
        self.put(b"x")
        before = json.loads(self.good("status", self.url, "--json"))
        none = self.path("none")
        self.bad(1, f"no file can be made in {none} .*: name another directory with TMPDIR", "put", self.url, "p", *self.files(b"x"),
                 env={**os.environ, "TMPDIR": none})
        self.assertEqual(json.loads(self.good("status", self.url, "--json")), before)

    def test_state(self):
        self.create(1)
        f = self.files(b"x")
        self.good("put", self.url, "p", "--state", self.path("s", b"cursor 1"), *f)
        self.assertEqual(self.objects("/state/"), [], "a short one rides in the root")
        self.good("put", self.url, "p", "--state", self.path("s", b""), *f)
        self.good("put", self.url, "p", "--state", self.path("s", b"s" * 16 * MIB), *f)
        self.assertEqual(len(self.objects("/state/")), 1)
        head = json.loads(self.good("status", self.url, "--json"))["head"]
        self.bad(1, "is larger than the 16 MiB", "put", self.url, "p", "--state",
                 self.path("s", b"s" * (16 * MIB + 1)), *f)
        self.bad(1, "cannot read .*missing", "put", self.url, "p", "--state", self.dir + "/missing", *f)
        self.bad(1, "cannot read", "put", self.url, "p", "--state", self.dir, *f)
        self.assertEqual(json.loads(self.good("status", self.url, "--json"))["head"], head)

    def test_bad_files(self):
        """P6: what is refused leaves no trace."""
        self.create(2)
        before = self.objects("")
        a, b = self.files(b"a", b"b")
        for files in ((a,), (a, b, a)):
            self.bad(2, f"has 2 files, .*{len(files)} given", "put", self.url, "p", *files)
        self.bad(1, "empty", "put", self.url, "p", a, self.path("none", b""))
        self.bad(1, "cannot read .*missing", "put", self.url, "p", a, self.dir + "/missing")
        self.bad(1, "cannot read", "put", self.url, "p", a, self.dir)
        os.mkfifo(self.path("fifo"))
        self.bad(1, "no plain file", "put", self.url, "p", a, self.path("fifo"))
        self.assertEqual(self.objects(""), before)

    def test_a_file_that_changes_meanwhile(self):
        """What is committed is what was looked at, or nothing is."""
        self.create(1)
        path = self.path("moving", b"x" * (64 * MIB))
        stop = threading.Event()

        def touch():
            while not stop.is_set():
                with open(path, "r+b") as f:
                    f.write(os.urandom(8))

        mover = threading.Thread(target=touch)
        mover.start()
        try:
            self.bad(1, "changed while it was read", "put", self.url, "p", path)
        finally:
            stop.set()
            mover.join()
        self.assertEqual(json.loads(self.good("status", self.url, "--json"))["head"], 0)

    def test_interrupt(self):
        """P6: an interrupted put commits nothing, says how to find out, and can be run again."""
        self.create(1)
        path = self.path("huge", b"x")
        os.truncate(path, 64 << 30)  # a hole: takes long to read, and no room
        with subprocess.Popen([BATCHWEAVE, "put", self.url, "p", path], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as p:
            while "p" not in json.loads(self.good("status", self.url, "--json"))["producers"]:
                self.assertIsNone(p.poll())
            p.send_signal(signal.SIGINT)
            out, err = p.communicate(timeout=NET)
        self.assertEqual((p.returncode, out), (130, b""))
        self.assertRegex(err, rb"^batchweave put: interrupted; .*batchweave status tells\n$")
        self.assertEqual(self.good("ls", self.url), b"")
        self.assertEqual(self.good("put", self.url, "p", "--seq", 0, *self.files(b"x")), b"0\n")

    def test_bad_producer_names(self):
        self.create(1)
        f = self.files(b"x")
        for name in (b"a/b", b"", b".hidden", b"-x", b"a b", b"a\nb", b"a\x1b[2Jb", b"\xff\xfe",
                     "größe".encode(), b"x" * 65):
            self.bad(2, "producer's name", "put", "--", self.url, name, *f)
        self.assertEqual(self.objects("/data/"), [])
        self.good("put", self.url, "A0._-" + "x" * 59, *f)

    def test_more_ranks_than_open_files(self):
        self.create(3000)
        path = self.path("slice", b"x")
        other = self.path("other", b"y")
        self.good("put", self.url, "p", *[path] * 2999, other)
        self.assertEqual(self.good("cat", self.url, 0, 2999), b"y")
        self.assertEqual(self.good("cat", self.url, 0, 1500), b"x")

    def test_many_at_once(self):
        """V2, I5: producers that put at the same time get dense steps, each seq once."""
        self.create(1)
        producers, each = 4, 6

        def produce(name):
            for seq in range(each):
                path = self.path(f"{name}.{seq}", f"{name}/{seq}".encode())
                done.append((name, seq, int(self.good("put", self.url, name, "--seq", seq, path))))

        done = []
        threads = [threading.Thread(target=produce, args=(f"p{i}",)) for i in range(producers)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(sorted(step for _, _, step in done), list(range(producers * each)))
        for name, seq, step in done:
            self.assertEqual(self.good("cat", self.url, step, 0), f"{name}/{seq}".encode())

    def test_one_producer_taken_from_all_sides(self):
        """P5, I5: of racing puts each is committed once or says that it was not."""
        self.create(1)
        path = self.path("slice", b"x")
        codes = []

        def produce():
            for _ in range(5):
                done = self.run_bw("put", self.url, "p", path)
                codes.append((done.returncode, done.stdout, done.stderr))

        threads = [threading.Thread(target=produce) for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        steps = sorted(int(out) for code, out, _ in codes if code == 0)
        for code, out, err in codes:
            if code:
                self.assertEqual((code, out), (1, b""), err)
                self.assertRegex(err, rb"^batchweave put: .*\n$")
        self.assertEqual(steps, list(range(len(steps))))
        self.assertEqual(json.loads(self.good("status", self.url, "--json"))["head"], len(steps))


class Damage(Case):
    """Truncated and foreign objects: one sentence, exit 1, never wrong bytes, never a crash."""

    def each_damage(self, key):
        """Yields with the object damaged in each way, and puts it back."""
        old = self.made.read(key)
        middle = len(old) // 2
        for how in ({"keep": 0}, {"keep": 1}, {"keep": middle}, {"keep": len(old) - 1},
                    {"data": b"\0" * len(old)}, {"data": b"GIF89a" + old[6:]},
                    {"data": old + b"x"}, {"flip": 0}, {"flip": middle}, {"flip": len(old) - 1}):
            self.damage(key, **how)
            yield str(how)[:40]
            self.damage(key, data=old)

    def test_data(self):
        """V5, I9."""
        self.create(2)
        slices = [os.urandom(MIB + 100), b"short"]
        self.put(*slices)
        self.put(b"next", b"step")
        path = self.objects("/data/")[0]
        if len(self.made.read(path)) < MIB:
            path = self.objects("/data/")[1]
        for how in self.each_damage(path):
            for rank in (0, 1):
                done = self.run_bw("cat", self.url, 0, rank)
                self.assertIn(done.returncode, (0, 1), how)
                if done.returncode:
                    self.assertRegex(done.stderr, rb"^batchweave cat: .*step 0.*\n$", how)
                    self.assertTrue(slices[rank].startswith(done.stdout), how)
                else:
                    self.assertEqual(done.stdout, slices[rank], how)
            self.assertEqual(self.good("cat", self.url, 1, 0), b"next", how)
            self.good("ls", self.url)
        self.assertEqual(self.good("cat", self.url, 0, 0), slices[0])
        # The exact places: a block, and the footer.
        old = self.damage(path, flip=50)
        self.bad(1, "damaged", "cat", self.url, 0, 0)
        self.assertEqual(self.good("cat", self.url, 0, 1), b"short", "other blocks are fine")
        self.damage(path, data=old)
        self.damage(path, flip=len(old) - 5)
        self.bad(1, "damaged", "cat", self.url, 0, 1)
        self.bad(1, "damaged", "ls", self.url, 0)
        self.made.remove(path)
        self.bad(1, "missing", "cat", self.url, 0, 1)

    def test_data_of_another_step(self):
        """A whole, valid object at the wrong place is not believed."""
        self.create(1)
        self.put(b"aaaa")
        self.put(b"bbbb")
        first, second = self.objects("/data/")
        self.damage(second, data=self.made.read(first))
        done = [self.run_bw("cat", self.url, step, 0) for step in (0, 1)]
        self.assertEqual(sorted(d.returncode for d in done), [0, 1])
        for d, want in zip(done, (b"aaaa", b"bbbb")):
            self.assertIn(d.stdout, (b"", want))

    def test_root(self):
        self.create(1)
        self.put(b"a")
        path = self.objects("/manifest/")[-1]
        for how in self.each_damage(path):
            for args in (("status", self.url), ("ls", self.url), ("cat", self.url, 0, 0),
                         ("put", self.url, "p", *self.files(b"x"))):
                with self.subTest(how=how, command=args[0]):
                    self.bad(1, r"\w", *args)
        self.assertEqual(self.good("cat", self.url, 0, 0), b"a")

    def test_stream_json(self):
        self.create(1)
        self.put(b"a")
        path = "stream.json"
        for how in self.each_damage(path):
            done = self.run_bw("cat", self.url, 0, 0)
            # White space does not count, so one damage may leave the same object.
            self.assertIn((done.returncode, done.stdout), ((1, b""), (0, b"a")), how)
            self.assertEqual(done.stderr.count(b"\n"), 1 if done.returncode else 0, how)
        self.damage(path, data=b'{"name": "thesis", "version": 1}')
        self.bad(1, r"\w", "cat", self.url, 0, 0)
        self.bad(1, r"\w", "init", self.url, "--ranks", 1)

    def test_hint_is_only_a_hint(self):
        self.create(1)
        self.put(b"a")
        hint_key = self.objects("/manifest/")[0].split("/")[0] + "/hint"
        for hint in (b"", b"x", b"1", b"999999", b"\xff" * 100, b"18446744073709551615"):
            self.made.write(hint_key, hint)
            self.assertEqual(self.good("cat", self.url, 0, 0), b"a", hint)

    @unittest.skipIf(objects.ON_S3, "only on file://: commits until there is an index node, by a command each")
    def test_node(self):
        """Steps behind a damaged index node are lost to reading, all others are not."""
        self.create(1)
        f = self.files(b"x")
        count = 0
        while not self.objects("/index/"):
            self.good("put", self.url, "p", *f)
            count += 1
            self.assertLess(count, 600, "no index node was ever made")
        self.assertEqual(len(self.good("ls", self.url).splitlines()), count)
        for how in self.each_damage(self.objects("/index/")[0]):
            self.bad(1, "step 0", "cat", self.url, 0, 0)
            self.bad(1, "step 0", "ls", self.url)
            self.assertEqual(self.good("cat", self.url, count - 1, 0), b"x", how)
            self.good("status", self.url)
        self.assertEqual(self.good("cat", self.url, 0, 0), b"x")


class Sealed(Case):
    def test_put_of_a_seq_that_is_committed(self):
        """Who repeats a put hears what has become of it, also when the stream has been sealed since; a new one is refused."""
        self.create(2)
        files = self.files(b"a", b"b")
        self.good("put", self.url, "p", "--seq", 0, *files)
        self.good("seal", self.url)
        self.bad(1, "seq 0 of p is committed already, as step 0; the next seq is 1", "put", self.url, "p", "--seq", 0, *files)
        for seq in ((), ("--seq", 1)):
            self.bad(1, "cannot commit: the stream is sealed", "put", self.url, "p", *seq, *files)


@FILE_ONLY
class MountArguments(Case):
    """S4: mount(8)'s exit codes and one sentence, before anything is mounted."""

    def both(self, code, says, *args):
        self.bad(code, says, *args, program=MOUNT, prefix="mount.batchweave: ")
        self.bad(code, says, "mount", *args)

    def test_usage(self):
        self.create()
        mnt = self.path("mnt")
        os.mkdir(mnt)
        self.both(1, "a URL and a directory are needed")
        self.both(1, "a URL and a directory are needed", self.url)
        self.both(1, "a URL and a directory are needed", self.url, mnt, "x")
        self.both(1, "unknown option --nonsense", self.url, mnt, "--nonsense")
        self.both(1, "-o needs a value", self.url, mnt, "-o")
        self.both(1, "nonsense", self.url, mnt, "-o", "ro,nonsense=1")
        self.both(1, "wait", self.url, mnt, "-o", "wait=x")
        self.both(1, "commit", "-o", "commit=maybe", self.url, mnt)
        for url in ("nonsense", "http://host/x", "file://relative"):
            self.both(1, r"\w", url, mnt)
        self.assertEqual(self.good(self.url, mnt, "-f", program=MOUNT), b"")
        self.both(1, "nonsense", "-f", self.url, mnt, "-o", "nonsense")
        self.both(1, "log", self.url, mnt, "-o", "log=/nonexistent/dir/log")

    def test_what_is_missing(self):
        mnt = self.path("mnt")
        self.both(32, "there is no directory", self.url, mnt)
        self.both(32, "is not a directory", self.url, self.path("file", b"x"))
        os.mkdir(mnt)
        self.both(32, r"\w", self.url, mnt)
        os.mkdir(self.store)
        self.both(32, r"\w", self.url, mnt)
        self.assertFalse(os.path.ismount(mnt))


class Sizes(Case):
    def test_listing_ten_thousand_ranks(self):
        """ls of one step streams, and tells every rank once."""
        self.create(10000)
        path = self.path("slice", b"x" * 10)
        self.good("put", self.url, "p", *[path] * 10000)
        lines = self.good("ls", self.url, 0).decode().splitlines()
        self.assertEqual([int(line.split()[0]) for line in lines], list(range(10000)))
        self.assertEqual({line.split()[1] for line in lines}, {"10"})
        digest = hashlib.sha256(self.good("cat", self.url, 0, 9999)).hexdigest()
        self.assertEqual(digest, hashlib.sha256(b"x" * 10).hexdigest())


if __name__ == "__main__":
    unittest.main()
