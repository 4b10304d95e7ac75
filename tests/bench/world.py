# SPDX-License-Identifier: Apache-2.0
"""What rows are played with: streams, our mounts, peers' mounts, the null filesystem, an S3 store near or far away.

One Bench for a run (bench.close() takes everything away).  Whatever it starts is its child and ended by its pid.
"""
import collections
import contextlib
import ctypes
import json
import mmap
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.parse

import harness

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.append(os.path.join(ROOT, "tests", "mount"))
import s3 as s3_client  # noqa: E402

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
PATIENCE = 300  # seconds until a program that hangs is ended; no figure depends on it
LIBC = ctypes.CDLL(None, use_errno=True)
STREAMS_BYTES = 1280 * MIB  # what streams in an S3 store may take together; the store may keep it in memory


class Failed(Exception):
    pass


def environment(changes):
    """Ours with these changes; None takes a name away."""
    return {k: v for k, v in {**os.environ, **(changes or {})}.items() if v is not None}


def run(*command, env=None, text=None, timeout=PATIENCE):
    """stdout; Failed with the last line of stderr."""
    done = subprocess.run([str(c) for c in command], input=text, capture_output=True, text=True, timeout=timeout,
                          env=environment(env), check=False)
    if done.returncode:
        raise Failed(f"{os.path.basename(command[0])} {' '.join(map(str, command[1:3]))}: exit {done.returncode}: "
                     f"{done.stderr.strip()[-300:]}")
    return done.stdout


def spread(folder):
    """
    Asks ext4 to put folders that are made in this one far from each other.  Without a journal it gives the inode of a deleted file to nobody
    for a minute or more, and who makes files beside many such looks at each: streams that earlier rows have left would be paid for by the next ones.
    """
    if shutil.which("chattr"):
        subprocess.run(["chattr", "+T", folder], capture_output=True, check=False)  # other file systems have no such flag


def size_text(n):
    return f"{n // MIB} MiB" if n >= MIB else f"{n // KIB} KiB"


def touch_memory(n):
    """A page that the hypervisor took back costs seconds per GB to get again: that is paid here, by nobody's row."""
    if n <= 0:
        return
    memory = mmap.mmap(-1, n, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    try:
        memory.madvise(23)  # MADV_POPULATE_WRITE
    except OSError:
        for at in range(0, n, mmap.PAGESIZE):
            memory[at] = 1
    memory.close()


def memory_available():
    with open("/proc/meminfo", encoding="ascii") as f:
        return next(int(line.split()[1]) << 10 for line in f if line.startswith("MemAvailable:"))


def die_with_parent():
    LIBC.prctl(1, signal.SIGTERM, 0, 0, 0)  # PR_SET_PDEATHSIG


class Daemon:
    """Any FUSE filesystem that stays in the foreground, mounted on dir; unmounted by close() or at the end of a with."""

    def __init__(self, command, where, ready, env=None, stderr=None):
        self.dir = where
        self.stderr = stderr or os.path.join(os.path.dirname(where), "daemon.stderr")
        with open(self.stderr, "w", encoding="utf-8") as err:
            self.process = subprocess.Popen([str(c) for c in command], stdout=subprocess.DEVNULL, stderr=err,
                                            stdin=subprocess.DEVNULL, env=environment(env),
                                            preexec_fn=die_with_parent)
        self.pid = self.process.pid
        self.wait_until_ready(os.path.basename(str(command[0])), os.path.join(where, ready))

    def wait_until_ready(self, name, path):
        end = time.monotonic() + 60
        here = os.stat(os.path.dirname(self.dir)).st_dev
        while True:
            with contextlib.suppress(OSError):
                if os.stat(self.dir).st_dev != here and os.path.exists(path):
                    return
            if self.process.poll() is not None or time.monotonic() > end:
                with open(self.stderr, encoding="utf-8", errors="replace") as f:
                    why = f.read().strip()[-300:]
                Daemon.close(self)
                raise Failed(f"{name} did not mount: {why}")
            time.sleep(0.01)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def cpu(self):
        return harness.cpu_seconds(self.pid)

    def raise_readahead(self, kib=1024):
        """Our mount does this for itself."""
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as f:
            device = next(line.split()[2] for line in f if line.split()[4] == self.dir)
        with contextlib.suppress(OSError), open(f"/sys/class/bdi/{device}/read_ahead_kb", "w", encoding="ascii") as f:
            f.write(f"{kib}\n")

    def close(self):
        for _ in range(100):  # a file that was closed a moment ago may still be released
            done = subprocess.run(["umount", self.dir] if os.geteuid() == 0 else ["fusermount3", "-u", self.dir],
                                  capture_output=True, text=True, check=False)
            if "busy" not in done.stderr:
                break
            time.sleep(0.05)
        try:
            self.process.wait(60 if done.returncode == 0 else 1)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(60)
        subprocess.run(["umount", "-l", self.dir], capture_output=True, check=False)


class Mount(Daemon):
    """Ours, which must leave in good order."""

    def close(self):
        super().close()
        if self.process.returncode:
            with open(self.stderr, encoding="utf-8", errors="replace") as f:
                raise Failed(f"the daemon ended with {self.process.returncode}: {f.read().strip()[-300:]}")

    def head(self):
        with open(os.path.join(self.dir, "status/head"), encoding="ascii") as f:
            return int(f.read())

    def drain(self, producers):
        """Seconds until everything is committed that they have closed."""
        begin = time.monotonic()
        for p in range(producers):
            fd = os.open(f"{self.dir}/produce/bench-{p}", os.O_RDONLY | os.O_DIRECTORY)
            os.fsync(fd)
            os.close(fd)
        return time.monotonic() - begin

    def metric(self, name, **labels):
        """Sum of the samples of batchweave_NAME with these labels."""
        total = 0.0
        with open(os.path.join(self.dir, "status/metrics"), encoding="ascii") as f:
            for line in f:
                if line.startswith(f"batchweave_{name}") and line[len(name) + 11] in "{ " and all(
                        f'{k}="{v}"' in line for k, v in labels.items()):
                    total += float(line.rsplit(" ", 1)[1])
        return total

    def meta(self, step):
        with open(os.path.join(self.dir, f"step/{step}/meta.json"), encoding="utf-8") as f:
            return json.load(f)


class Stream:
    """Equal slices of a benchmark's own making.  pieces: [(step, rank, object, offset, length)] as they lie in the store."""

    def __init__(self, url, ranks, size, steps, env):
        self.url, self.ranks, self.size, self.steps, self.env = url, ranks, size, steps, env
        self.pieces = []

    @property
    def prefix(self):
        return self.url.split("://", 1)[1].split("/", 1)[1]

    def objects(self):
        """[(step, object, bytes)]"""
        sizes = collections.OrderedDict()
        for step, _, key, offset, length in self.pieces:
            sizes[key] = (step, max(sizes.get(key, (0, 0))[1], offset + length))
        return [(step, key, n) for key, (step, n) in sizes.items()]


class Server:
    """What the engine counted: of a radosgw whose admin socket is known, else nothing."""

    def __init__(self, socket_path):
        self.path = socket_path

    def counts(self):
        """(requests, bytes read by clients), or None."""
        if not self.path:
            return None
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
            s.settimeout(20)
            s.connect(self.path)
            s.sendall(b'{"prefix": "perf dump", "logger": "rgw"}\0')
            data = b""
            while chunk := s.recv(1 << 16):
                data += chunk
        rgw = json.loads(data[4:4 + struct.unpack(">I", data[:4])[0]])["rgw"]
        return rgw["req"], rgw["get_b"]


class S3:
    """A bucket and the way to it; of a Way, requests and bytes are counted on the way."""

    def __init__(self, bench, endpoint, key, secret, bucket, server=None, pids=(), way=None):
        self.bench, self.endpoint, self.key, self.secret, self.bucket = bench, endpoint, key, secret, bucket
        self.server, self.pids, self.way = server or Server(None), list(pids), way
        self.env = {"AWS_ENDPOINT_URL": endpoint, "AWS_ENDPOINT_URL_S3": endpoint, "AWS_ACCESS_KEY_ID": key,
                    "AWS_SECRET_ACCESS_KEY": secret, "AWS_REGION": os.environ.get("AWS_REGION", "us-east-1")}

    def counts(self):
        """(requests, bytes towards clients) so far, or None."""
        return self.way.counts() if self.way else self.server.counts()

    def cpu(self):
        """Of the engine, where it is ours."""
        return harness.cpu_seconds(*self.pids)

    def client(self):
        """For single requests: get, list, delete ..."""
        return s3_client.Bucket(self.bucket, self.endpoint, self.key, self.secret)

    def make_bucket(self):
        client = self.client()
        status, _, body = client.request("PUT")
        client.close()
        if status not in (200, 409):
            raise Failed(f"PUT of bucket {self.bucket}: {status} {body[:200]!r}")


class Way:
    """delay_proxy: every request waits a lognormal time with this median; 0 only counts."""

    def __init__(self, bench, endpoint, median_ms, sigma=0.3):
        self.path = os.path.join(bench.work, f"way-{len(bench.ways)}.counts")
        at = urllib.parse.urlsplit(endpoint)
        host = socket.gethostbyname(at.hostname)
        self.process = subprocess.Popen([bench.program("tests/bench/delay_proxy"), host, str(at.port or 80), self.path,
                                         str(median_ms), str(sigma)], stdout=subprocess.PIPE, text=True,
                                        preexec_fn=die_with_parent)
        self.port = int(self.process.stdout.readline())
        self.endpoint = f"http://127.0.0.1:{self.port}"

    def counts(self):
        with open(self.path, "rb") as f:
            requests, _, down = struct.unpack("QQQ", f.read(24))
        return requests, down

    def close(self):
        self.process.terminate()
        self.process.wait()


class Bench:
    """
    options: quick, tiny, rounds, build, s3 (the environment's store rather than one of our own), bucket.
    Rows find their sizes by options.quick and options.tiny: quick is for a first look, tiny for tests only.
    """

    def __init__(self, options):
        self.options, self.build = options, os.path.abspath(options.build)
        shm = "/dev/shm"
        self.work = tempfile.mkdtemp(prefix="batchweave-bench-", dir=options.dir)
        spread(self.work)
        self.memory_dir = tempfile.mkdtemp(prefix="batchweave-bench-", dir=shm if os.access(shm, os.W_OK) else self.work)
        self.ways, self.engines, self.stores, self.streams = [], [], {}, collections.OrderedDict()
        self.made, self.dirs = 0, 0
        self.kept = {}  # what rows keep running for each other

    def keep(self, name, make):
        """What make() has made for the first row that needed it; ends with give_up(name), or with the run."""
        if name not in self.kept:
            self.kept[name] = make()
        return self.kept[name]

    def give_up(self, name):
        if name in self.kept:
            self.kept.pop(name).close()

    def program(self, path):
        return os.path.join(self.build, path)

    @property
    def tool(self):
        return self.program("mount-helpers/batchweave")

    def folder(self, name):
        """A new folder on the disk that holds streams of files."""
        self.dirs += 1
        path = os.path.join(self.work, f"{self.dirs}-{name}")
        os.mkdir(path)
        return path

    # ---- load programs; what they print ----

    def load(self, *args, lines=None):
        """mount_load; its object."""
        return json.loads(run(self.program("tests/bench/mount_load"), *args, text=lines))

    def raw(self, who, what, s3, url, *args, lines=None):
        """s3_load; who is "raw" or "layer"."""
        return json.loads(run(self.program("tests/bench/s3_load"), who, what, url, *args, env=s3.env, text=lines))

    # ---- streams ----

    def new_url(self, s3=None):
        self.made += 1
        if s3:
            return f"s3://{s3.bucket}/b{os.getpid()}-{self.made}"
        return "file://" + os.path.join(self.folder("stream"), "store")

    def init(self, ranks, s3=None, *options):
        """An empty stream."""
        url = self.new_url(s3)
        run(self.tool, "init", url, "--ranks", ranks, *options, env=s3.env if s3 else None)
        return Stream(url, ranks, 0, 0, s3.env if s3 else {})

    def remove(self, url):
        """All below it, at once: batchweave destroy waits for mounts, and there are none."""
        if url.startswith("file://"):
            shutil.rmtree(os.path.dirname(url[len("file://"):]), ignore_errors=True)
            return
        client = self.s3().client()
        for key in client.list(url.split("/", 3)[3] + "/"):
            client.delete(key)
        client.close()
        for where in self.engines:  # a radosgw of ours gives the memory back now, not when it next looks
            subprocess.run(["radosgw-admin", "-n", "client.admin", "gc", "process", "--include-all"], check=False,
                           env={**os.environ, "CEPH_CONF": os.path.join(where, "ceph.conf")}, capture_output=True)

    @contextlib.contextmanager
    def scratch(self, ranks, s3=None, *options):
        """An empty stream that is gone afterwards."""
        stream = self.init(ranks, s3, *options)
        try:
            yield stream
        finally:
            self.remove(stream.url)

    def stream(self, ranks, size, steps, s3=None):
        """A stream of steps whole batches; kept for later rows while there is room."""
        key = (s3.bucket if s3 else "", ranks, size, steps)
        if key in self.streams:
            self.streams.move_to_end(key)
            return self.streams[key]
        self.make_room(ranks * size * steps)
        direct = self.s3() if s3 else None
        stream = self.init(ranks, direct)
        stream.size, stream.steps = size, steps
        with self.mount(stream, "rw") as m:
            self.load("batch", m.dir, 1, 0, steps, ranks, size)
            for step in range(steps):
                meta = m.meta(step)
                stream.pieces += [(step, r["rank"], meta["object"], r["offset"], r["stored"]) for r in meta["ranks"]]
        self.streams[key] = stream
        return stream

    def make_room(self, more):
        def held():
            return sum(s.ranks * s.size * s.steps for s in self.streams.values())
        while self.streams and held() + more > STREAMS_BYTES:
            _, oldest = self.streams.popitem(last=False)
            self.remove(oldest.url)

    # ---- mounts ----

    def mount(self, stream, options="ro", s3=None, memory="512M"):
        """Ours; s3: the way to take, else the stream's."""
        where = self.folder("mnt") + "/mnt"
        os.mkdir(where)
        return Mount([self.program("mount-helpers/mount.batchweave"), stream.url, where, "-o",
                      f"foreground,{options},memory={memory},log=stderr,loglevel=error"], where, "status/head",
                     env=s3.env if s3 else stream.env)

    def nullfs(self, steps, ranks, size, direct=False):
        where = self.folder("null") + "/mnt"
        os.mkdir(where)
        null = Daemon([self.program("tests/bench/bench_nullfs"), where, steps, ranks, size] + (["direct"] if direct else []),
                      where, "step/0/rank")
        null.raise_readahead()
        return null

    def s3fs(self, s3, prefix="", options="ro"):
        where = self.folder("s3fs") + "/mnt"
        os.mkdir(where)
        passwd = where + ".passwd"
        with open(os.open(passwd, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="ascii") as f:
            f.write(f"{s3.key}:{s3.secret}\n")
        what = f"{s3.bucket}:/{prefix}" if prefix else s3.bucket
        return Daemon(["s3fs", what, where, "-f", "-o",
                       f"passwd_file={passwd},url={s3.endpoint},use_path_request_style,{options}"], where, ".")

    def rclone(self, s3, prefix="", options=("--read-only",)):
        where = self.folder("rclone") + "/mnt"
        os.mkdir(where)
        env = {**s3.env, "RCLONE_CONFIG_BENCH_TYPE": "s3", "RCLONE_CONFIG_BENCH_PROVIDER": "Ceph",
               "RCLONE_CONFIG_BENCH_ENDPOINT": s3.endpoint, "RCLONE_CONFIG_BENCH_ENV_AUTH": "true",
               **({} if s3.endpoint.startswith("https") else {"AWS_CA_BUNDLE": None})}  # it cannot begin with one
        return Daemon(["rclone", "mount", f"BENCH:{s3.bucket}/{prefix}", where, *options, "--config", "/dev/null"], where, ".", env)

    # ---- S3 ----

    def s3(self, delay_ms=0, counted=False):
        """The store; delay_ms: behind a Way of that median, which counted asks for even without a delay."""
        near = self.stores.get((0, False)) or self.find_store()
        self.stores[0, False] = near
        key = (delay_ms, counted or delay_ms > 0)
        if key not in self.stores:
            way = Way(self, near.endpoint, delay_ms)
            self.ways.append(way)
            self.stores[key] = S3(self, way.endpoint, near.key, near.secret, near.bucket, pids=near.pids, way=way)
        return self.stores[key]

    def store_text(self):
        """What the rows on S3 had, for the report."""
        if (0, False) not in self.stores:
            return "none was needed"
        if not self.engines:
            return "not of this run: " + self.stores[0, False].endpoint
        version = subprocess.run(["radosgw", "--version"], capture_output=True, text=True, check=False).stdout.split(" (")[0].strip()
        with open(os.path.join(self.engines[-1], "ceph.conf"), encoding="utf-8") as f:
            where = "memory" if "objectstore = memstore" in f.read() else "bluestore"
        return f"RADOS gateway on loopback, {version}, objects in {where}"

    def find_store(self):
        told = os.environ.get("BW_TEST_RGW")
        if self.options.s3:
            env = os.environ
            endpoint = env.get("AWS_ENDPOINT_URL_S3") or env.get("AWS_ENDPOINT_URL")
            if not endpoint or not env.get("AWS_ACCESS_KEY_ID") or not env.get("AWS_SECRET_ACCESS_KEY"):
                raise Failed("--s3 needs AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
            store = S3(self, endpoint, env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"], self.options.bucket,
                       Server(env.get("RGW_ASOK")))
        elif told:
            endpoint, key, secret = told.split()
            store = S3(self, endpoint, key, secret, self.options.bucket)
        else:
            store = self.start_engine()
        store.make_bucket()
        return store

    def start_engine(self):
        where = os.path.join(self.folder("s3"), "rgw")
        one_node = os.path.join(ROOT, "mount-helpers/one-node-s3")
        run(one_node, "start", where)
        self.engines.append(where)
        env = {}
        with open(os.path.join(where, "env"), encoding="ascii") as f:
            env = dict(word.split("=", 1) for word in f.read().split()[1:])
        pids = []
        for name in ("radosgw", "ceph-osd"):
            with open(os.path.join(where, name + ".pid"), encoding="ascii") as f:
                pids.append(int(f.read()))
        asok = os.path.join(where, "rgw.asok")
        return S3(self, env["AWS_ENDPOINT_URL_S3"], env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"],
                  self.options.bucket, Server(asok if os.path.exists(asok) else None), pids)

    def close(self):
        for name in list(self.kept):
            self.give_up(name)
        if not self.engines:  # somebody else's store keeps nothing of ours
            for stream in self.streams.values():
                if stream.env:
                    with contextlib.suppress(Exception):
                        self.remove(stream.url)
        for way in self.ways:
            way.close()
        for where in self.engines:
            subprocess.run([os.path.join(ROOT, "mount-helpers/one-node-s3"), "stop", where], check=False)
        for folder in (self.work, self.memory_dir):
            self.unmount_below(folder)
            shutil.rmtree(folder, ignore_errors=True)

    @staticmethod
    def unmount_below(folder):
        with open("/proc/mounts", encoding="utf-8", errors="surrogateescape") as f:
            left = [line.split()[1] for line in f if line.split()[1].startswith(folder + "/")]
        for where in reversed(left):
            subprocess.run(["umount", "-l", where], capture_output=True, check=False)
