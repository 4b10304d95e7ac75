# SPDX-License-Identifier: Apache-2.0
"""Streams and real mounts for tests: made in temporary folders, and taken away whatever happens.

A test is a method of bw.TestCase.  What it makes through self.stream(), self.mount() and self.spawn()
is checked and removed when it ends: each daemon must leave with exit code 0 and without a sanitizer
report.  A test that hangs is ended by a watchdog that kills the daemons, so that every request to them
fails; the timeouts here are nets, no test measures time.
"""
import base64
import contextlib
import ctypes
import errno
import faulthandler
import glob
import json
import mmap
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import unittest

import objects
import way

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.environ.get("BW_BUILD_DIR") or os.path.join(HERE, "..", "..", "build", "dev")
BATCHWEAVE = os.path.join(BUILD, "mount-helpers", "batchweave")
MOUNT = os.path.join(BUILD, "mount-helpers", "mount.batchweave")
GATE = os.path.join(BUILD, "tests", "mount", "libgate.so")
SANITIZED = bool(os.environ.get("BW_SANITIZE"))
# AddressSanitizer keeps what was freed for a while, 256 MiB unless it is told otherwise.
FRUGAL = {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=1"}
PATIENCE = 120 if SANITIZED else 60  # seconds until a wait is given up
ROOT = os.geteuid() == 0
LIBC = ctypes.CDLL(None, use_errno=True)


def base_folder():
    """Where streams are made: memory when there is plenty, else the usual temporary folder."""
    shm = "/dev/shm"
    if os.access(shm, os.W_OK) and shutil.disk_usage(shm).free > 4 << 30:
        return shm
    return None


def read(path, mode="r"):
    with open(path, mode) as f:
        return f.read()


def mounts():
    """The lines of /proc/self/mountinfo; a test beside this one may have mounted on a name of any bytes."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as f:
        return f.readlines()


def write(path, data):
    """One open, one write loop, one close; raises what any of them says."""
    if isinstance(data, str):
        data = data.encode()
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view):]
    except BaseException:
        with contextlib.suppress(OSError):
            os.close(fd)
        raise
    os.close(fd)


def payload(producer, seq, rank, size=1000):
    """The bytes a slice is expected to have: they name where they belong."""
    word = f"{producer}/{seq}/{rank};".encode()
    return (word * (size // len(word) + 1))[:size]


def wait_until(condition, timeout=None, what="what the test waits for"):
    """Returns the first true value of condition()."""
    end = time.monotonic() + (timeout or PATIENCE)
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not seen in {timeout or PATIENCE} s")
        time.sleep(0.01)


def unmount(folder, inside=()):
    """umount, again while somebody looks into the mount: a collector of metrics goes through all there are, the daemon itself may
    look at a file of its own.  inside: a command that runs it where the mount is."""
    command = [*inside, *(["umount"] if ROOT else ["fusermount3", "-u"]), folder]

    def goes():
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
        if done.returncode and "busy" not in done.stderr:
            raise AssertionError(f"umount: {done.stderr}")
        return done.returncode == 0

    wait_until(goes, 60, f"an umount of {folder}, which is busy,")


def errno_name(number):
    if number == errno.ENOTSUP:  # has two names
        return "ENOTSUP"
    return errno.errorcode.get(number, str(number))


def is_dead(mount):
    """The daemon has gone, or goes within the test's patience."""
    try:
        # statvfs always asks the daemon; what stat says may be remembered.
        wait_until(lambda: error_of(os.statvfs, mount.dir) == "ENOTCONN")
    except AssertionError:
        return False
    return True


def error_of(call, *args, **kwargs):
    """Name of the errno a call fails with; "" when it succeeds (what it opened is closed)."""
    try:
        result = call(*args, **kwargs)
    except OSError as e:
        return errno_name(e.errno)
    if hasattr(result, "close"):
        result.close()
    return ""


def file_only(why):
    """Leaves a test or a class out where streams are on S3; the run counts and names them."""
    return unittest.skipIf(objects.ON_S3, "only on file://: " + why)


def batchweave(*args, check=True, **kwargs):
    kwargs.setdefault("timeout", PATIENCE)
    kwargs.setdefault("text", True)
    done = subprocess.run([BATCHWEAVE, *map(str, args)], capture_output=True, check=False, **kwargs)
    if check and done.returncode:
        raise AssertionError(f"batchweave {args}: exit {done.returncode}: {done.stderr}")
    return done


SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(.*)\})? (\S+)')
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)')


def prometheus(text):
    """{name: {labels as sorted tuple: value}} of a text exposition; ValueError on any fault of form."""
    if not text.endswith("\n"):
        raise ValueError("does not end in a newline")
    types, helps, samples, family = {}, set(), {}, None
    for line in text.split("\n")[:-1]:
        comment = re.fullmatch(r"# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)", line)
        if comment:
            what, name, rest = comment.groups()
            if what == "HELP":
                if name in helps:
                    raise ValueError(f"two HELP lines of {name}")
                helps.add(name)
                continue
            if name in types or rest not in ("counter", "gauge", "histogram", "summary", "untyped"):
                raise ValueError(f"bad TYPE line: {line}")
            types[name] = rest
            family = name
            continue
        sample = SAMPLE.fullmatch(line)
        if not sample:
            raise ValueError(f"not a sample: {line!r}")
        name, _, labels, value = sample.groups()
        stem = re.sub(r"_(bucket|sum|count)$", "", name)
        owner = name if name in types else stem
        if owner not in types or owner != family:
            raise ValueError(f"{name} does not stand below its TYPE line")
        pairs = LABEL.findall(labels or "")
        if ",".join(f'{k}="{v}"' for k, v in pairs) != (labels or ""):
            raise ValueError(f"bad labels: {line!r}")
        series = samples.setdefault(name, {})
        key = tuple(sorted(pairs))
        if key in series:
            raise ValueError(f"told twice: {line!r}")
        series[key] = float(value)
    if set(types) != helps:
        raise ValueError(f"HELP and TYPE differ for {set(types) ^ helps}")
    return samples


class Stream:
    """A stream and its objects; made by init unless ranks is all that is told."""

    def __init__(self, store, ranks, options=None):
        self.store, self.url, self.ranks = store, store.url, ranks
        self.dir = store.dir  # of a file store
        self.objects = store.keys
        self.way = None  # to the engine; None: straight
        if options is not None:
            batchweave("init", self.url, "--ranks", ranks, *options)

    def cat(self, step, rank):
        """A slice as the store has it, without a mount."""
        return batchweave("cat", self.url, step, rank, text=False).stdout

    @contextlib.contextmanager
    def away(self):
        """The store is gone for a while: the directory, or the way there (see TestCase.stream)."""
        if self.way:
            with self.way.away():
                yield
            return
        os.rename(self.dir, self.dir + ".away")
        try:
            yield
        finally:
            self.back()

    def back(self):
        if self.dir and os.path.exists(self.dir + ".away"):
            with contextlib.suppress(FileNotFoundError):
                os.rmdir(self.dir)
            os.rename(self.dir + ".away", self.dir)


class Gate:
    """Holds or fails the link(2) that commits a root, in daemons mounted with gate=."""

    def __init__(self, path):
        self.path = path

    def say(self, words):
        write(self.path + ".new", words)
        os.rename(self.path + ".new", self.path)

    def hold(self):
        self.say("hold")

    def fail(self, number, applied=False):
        self.say(f"{'after' if applied else 'before'} {number}")

    def open(self):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)

    def env(self):
        asan = os.environ.get("ASAN_OPTIONS", "")
        return {"LD_PRELOAD": GATE, "BW_GATE": self.path,
                "ASAN_OPTIONS": asan + ":verify_asan_link_order=0"}


def die_with_parent():
    LIBC.prctl(1, signal.SIGTERM, 0, 0, 0)  # PR_SET_PDEATHSIG


class Mount:
    """A mount whose daemon is our child."""

    def __init__(self, stream, folder, log, options="", env=None, prefix=(), seen=None, inside=()):
        self.stream, self.log_path, self.options = stream, log, options
        self.there, self.dir = folder, seen or folder  # where it is for its daemon, and for the test
        self.env = {**os.environ, **(env or {})}
        self.prefix = prefix  # a program that runs the daemon
        self.inside = inside  # one that runs a command where the mount is
        self.proc = None
        self.complaints = []  # what a daemon that has ended did wrong
        self.start()

    # ---- life ----

    def start(self):
        options = ["foreground", "log=" + self.log_path, self.options]
        with open(self.log_path + ".stderr", "ab") as err:
            self.proc = subprocess.Popen(
                [*self.prefix, MOUNT, self.stream.url, self.there, "-o", ",".join(filter(None, options))],
                stdin=subprocess.DEVNULL, stdout=err, stderr=err, env=self.env,
                preexec_fn=die_with_parent)
        wait_until(self.is_usable, what="a usable mount")

    def is_usable(self):
        if self.proc.poll() is not None:
            raise AssertionError(f"the daemon ended with {self.proc.returncode}:\n{self.stderr()}"
                                 f"\n{self.log()}")
        return self.is_mounted() and read(self.path("status", "head")).strip().isdigit()

    def is_mounted(self):
        try:
            return os.stat(self.dir).st_dev != os.stat(os.path.dirname(self.dir)).st_dev
        except OSError:
            return os.path.ismount(self.dir) or self.is_dead()

    def is_dead(self):
        """Mounted, but without a daemon."""
        return error_of(os.stat, self.dir) == "ENOTCONN"

    def kill(self):
        """kill -9, and the dead mount is taken away."""
        self.proc.kill()
        self.proc.wait(PATIENCE)
        self.detach(check=True)

    def detach(self, check=False):
        """umount -l"""
        return subprocess.run([*self.inside, "umount", "-l", self.there], check=check, capture_output=True)

    def stop(self, number=signal.SIGTERM):
        """Ends the daemon by a signal.  Returns its exit code."""
        self.proc.send_signal(number)
        return self.reap()

    def umount(self):
        """Unmounts and returns the daemon's exit code."""
        unmount(self.there, self.inside)
        return self.reap()

    def restart(self):
        """After kill(), umount() or stop(): the same mount again."""
        self.start()

    def reap(self):
        try:
            code = self.proc.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.complaints.append("the daemon did not end")
            self.proc.kill()
            code = self.proc.wait(PATIENCE)
        if code:
            self.complaints.append(f"the daemon ended with {code}")
        return code

    def close(self):
        """For clean-up: whatever state it is in, it is gone afterwards; faults are in complaints."""
        if self.proc.poll() is None:
            try:
                self.umount()
            except (AssertionError, subprocess.TimeoutExpired) as e:
                self.complaints.append(str(e))
                self.detach()
                self.proc.kill()
                self.proc.wait(PATIENCE)
        while os.path.ismount(self.dir) or self.is_dead():
            if self.detach().returncode:
                break
        self.complaints += self.sanitizer_reports()

    def sanitizer_reports(self):
        found = [self.stderr()] if re.search(r"Sanitizer|runtime error", self.stderr()) else []
        where = re.search(r"log_path=([^:]+)", os.environ.get("ASAN_OPTIONS", ""))
        if where:
            folder = os.path.dirname(where.group(1))
            for report in glob.glob(os.path.join(folder, f"*.{self.proc.pid}")):
                found.append(read(report))
        return found

    # ---- paths ----

    def path(self, *parts):
        return os.path.join(self.dir, *map(str, parts))

    def step(self, step, rank=None):
        """The slice of a rank, or the directory of the step."""
        return self.path("step", step) if rank is None else self.path("step", step, "rank", rank)

    def slot(self, producer, seq, rank=None):
        """The staged file of a rank, or the directory of the batch."""
        if rank is None:
            return self.path("produce", producer, seq)
        return self.path("produce", producer, seq, "rank", rank)

    # ---- words ----

    def begin(self, producer, seq):
        """mkdir -p of rank/, but never of what is not there when the mount is gone."""
        with contextlib.suppress(FileExistsError):
            os.mkdir(self.path("produce", producer))
        os.mkdir(self.slot(producer, seq))
        os.mkdir(self.slot(producer, seq) + "/rank")

    def put(self, producer, seq, slices=None, state=None):
        """Writes a batch as a program would.  Returns when the last close has."""
        self.begin(producer, seq)
        if state is not None:
            write(self.path("produce", producer, seq, "state"), state)
        for rank in range(self.stream.ranks):
            data = slices[rank] if slices else payload(producer, seq, rank)
            write(self.slot(producer, seq, rank), data)

    def get(self, step):
        """The slices of a step."""
        return [read(self.step(step, r), "rb") for r in range(self.stream.ranks)]

    def drain(self, producer):
        """fsync of the producer's directory (P8): everything of it is committed, or this fails."""
        fd = os.open(self.path("produce", producer), os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def status(self, name):
        return read(self.path("status", name))

    def said(self):
        """What status.json says."""
        return json.loads(self.status("status.json"))

    def head(self):
        return int(self.status("head"))

    def resume(self, producer):
        return json.loads(read(self.path("produce", producer, "resume")))

    def state(self, producer):
        """The state in resume; nothing, where there is none."""
        return base64.b64decode(self.resume(producer)["state"] or "")

    def meta(self, step):
        return json.loads(read(self.path("step", step, "meta.json")))

    def metrics(self):
        return prometheus(self.status("metrics"))

    def metric(self, name, **labels):
        """Sum of the samples of batchweave_NAME that carry these labels."""
        samples = self.metrics().get("batchweave_" + name, {})
        wanted = set(labels.items())
        return sum(v for key, v in samples.items() if wanted <= set(key))

    def log(self):
        return read(self.log_path) if os.path.exists(self.log_path) else ""

    def stderr(self):
        with open(self.log_path + ".stderr", encoding="utf-8", errors="replace") as f:
            return f.read()

    def rss(self):
        """Resident bytes of the daemon."""
        return int(re.search(r"VmRSS:\s+(\d+)", read(f"/proc/{self.proc.pid}/status")).group(1)) << 10


class Child:
    """A forked child that runs a function of the test."""

    def __init__(self, pid):
        self.pid = pid
        self.code = None

    def poll(self):
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code

    def wait(self):
        """A child may have much to do: one that hangs is ended by the watchdog, which knows how long the test may take."""
        wait_until(lambda: self.poll() is not None, 10 * PATIENCE, f"the end of process {self.pid}")
        return self.code

    def kill(self, number=signal.SIGKILL):
        if self.poll() is None:
            os.kill(self.pid, number)


class TestCase(unittest.TestCase):
    limit = 200 if SANITIZED else 120  # seconds until the watchdog ends a test

    def setUp(self):
        self.root = tempfile.mkdtemp(prefix="batchweave-", dir=base_folder())
        self.addCleanup(self.remove_root)
        self.mounts, self.children, self.disks = [], [], 0
        watchdog = threading.Timer(self.limit, self.end_hanging)
        watchdog.daemon = True
        watchdog.start()
        self.addCleanup(watchdog.cancel)

    def end_hanging(self):
        print(f"{self.id()}: the watchdog ends a test that hangs", file=sys.stderr)
        faulthandler.dump_traceback()
        for child in self.children:
            with contextlib.suppress(OSError):
                os.kill(child.pid, signal.SIGKILL)
        for mount in self.mounts:
            mount.complaints.append("the watchdog killed the daemon")
            mount.proc.kill()

    def remove_root(self):
        left = [line.split()[4] for line in mounts() if self.root in line]
        for folder in reversed(left):
            subprocess.run(["umount", "-l", folder], check=False)
        shutil.rmtree(self.root, ignore_errors=bool(left))

    def has_failed(self):
        result = self._outcome.result
        return any(self in (test, getattr(test, "test_case", None))
                   for test, _ in result.failures + result.errors)

    # ---- what tests are made of ----

    def folder(self, name):
        """A new empty folder."""
        for i in range(1000):
            path = os.path.join(self.root, f"{name}{i or ''}")
            try:
                os.mkdir(path)
                return path
            except FileExistsError:
                continue
        raise AssertionError("too many folders")

    def stream(self, ranks=4, *options, folder=None, breakable=False):
        """A new stream; away() needs one that is breakable."""
        store = objects.Folder(folder) if folder else objects.new(lambda: self.folder("store"))
        self.addCleanup(store.close)
        stream = Stream(store, ranks, options)
        self.addCleanup(stream.back)
        if breakable and objects.ON_S3:
            stream.way = self.new_way()
        return stream

    def mount(self, stream, options="", gate=None, env=None, prefix=()):
        folder = self.folder("mnt")
        for on_the_way in filter(None, (getattr(stream, "way", None), gate)):
            env = {**(env or {}), **on_the_way.env()}
        log = os.path.join(self.root, os.path.basename(folder) + ".log")
        mount = Mount(stream, folder, log, options, env, prefix)
        self.mounts.append(mount)
        self.addCleanup(self.close_mount, mount)
        return mount

    def close_mount(self, mount):
        mount.close()
        if self.has_failed() or mount.complaints:
            lines = mount.log().split("\n")
            print(f"---- {self.id()}: log of {os.path.basename(mount.dir)}", *lines[-30:],
                  mount.stderr()[-4000:], sep="\n", file=sys.stderr)
        self.assertEqual(mount.complaints, [])

    def mounted(self, options="", ranks=4):
        """A new stream, mounted."""
        return self.mount(self.stream(ranks), options)

    def new_way(self):
        new = way.Way()
        self.addCleanup(new.close)
        return new

    def gate(self):
        if objects.ON_S3:
            return self.new_way()
        gate = Gate(os.path.join(self.root, "gate"))
        self.addCleanup(gate.open)
        return gate

    def disk(self, size):
        """A small file system of its own, in memory."""
        self.needs_root()
        folder = self.folder("disk")
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "batchweave-test", folder],
                       check=True)
        return folder

    def needs_root(self):
        if not ROOT:
            self.skipTest("needs root")

    def spawn(self, call, *args):
        """Runs call in a forked child; its exit code is 0 when call returned."""
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                die_with_parent()
                signal.signal(signal.SIGINT, signal.SIG_DFL)
                call(*args)
                code = 0
            except BaseException:  # a child must not run what is the parent's
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        child = Child(pid)
        self.children.append(child)
        self.addCleanup(self.end_child, child)
        return child

    def end_child(self, child):
        child.kill()
        child.wait()

    def join(self, *children):
        self.assertEqual([c.wait() for c in children], [0] * len(children))

    def shell(self, script, check=True, **names):
        """Runs a bash script with names in its environment."""
        env = {**os.environ, **{k: str(v) for k, v in names.items()}}
        done = subprocess.run(["bash", "-c", script], env=env, text=True, timeout=PATIENCE,
                              capture_output=True, check=False)
        if check:
            self.assertEqual(done.returncode, 0, f"{script}\n{done.stdout}{done.stderr}")
        return done

    def lock_pages(self, path, size):
        """The kernel may drop what it has read whenever it likes, but not what somebody has locked."""
        shared_and_locked = 0x2001
        call = LIBC.mmap  # lets go of the interpreter, which the way to the engine may need
        call.restype, call.argtypes = ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int,
                                                        ctypes.c_int, ctypes.c_int, ctypes.c_long)
        with open(path, "rb") as f:
            at = call(None, size, mmap.PROT_READ, shared_and_locked, f.fileno(), 0)
        self.assertNotEqual(at, ctypes.c_void_p(-1).value, "the pages cannot be locked")
        self.addCleanup(LIBC.munmap, ctypes.c_void_p(at), ctypes.c_size_t(size))

    def assert_errno(self, names, call, *args, **kwargs):
        """names: one or several, divided by blanks; "" for success."""
        got = error_of(call, *args, **kwargs)
        self.assertIn(got, names.split() or [""], f"{getattr(call, '__name__', call)}{args}")

    def assert_step(self, mount, step, producer, seq, slices=None):
        """All ranks of a step are there and hold what the producer wrote."""
        wanted = slices or [payload(producer, seq, r) for r in range(mount.stream.ranks)]
        got = mount.get(step)
        if got != wanted:  # the bytes themselves would fill the screen
            self.fail(f"step {step} is not batch {seq} of {producer}: "
                      + repr([(len(g), g[:40]) for g in got]))

    def assert_nothing_committed(self, mount, head=0):
        self.assertEqual(mount.head(), head)
        self.assertEqual(os.listdir(mount.path("step")), [str(s) for s in range(head)])


def main():
    faulthandler.enable()
    unittest.main()
