# SPDX-License-Identifier: Apache-2.0
"""MosaicML Streaming and WebDataset beside our mount: the same bytes, hot, and in a given global order."""
import contextlib
import json
import os
import subprocess
import sys
import time

import world
from harness import Goal, Metric, Row
from world import MIB

LOOP = os.path.join(world.HERE, "loader_loop.py")
SIZE, RANKS = 8 * MIB, 8

# What each folder of packages takes: arguments of pip, one call after the other.  MosaicML Streaming asks for several GB
# (PyTorch with CUDA, torchvision, transformers, clients of five clouds); the second call names what its code needs
# to read samples that lie in a folder.
PACKAGES = {
    "webdataset": [["webdataset==1.0.2", "numpy<2.2"]],
    "streaming": [["--no-deps", "mosaicml-streaming==0.13.0"],
                  ["numpy<2.2", "xxhash<4", "zstd<2", "python-snappy<1", "Brotli", "tqdm<5", "catalogue<3", "filelock", "pillow",
                   "typing_extensions"]],
}
NAMES = {"WebDataset": "webdataset", "MosaicML Streaming": "streaming"}


class Peers:
    """A Python with the packages, below the build tree; why[folder] says what is missing, and note how it went."""

    def __init__(self, options):
        self.dir = os.path.join(options.bench.build, "bench-loaders")
        self.python, self.why = os.path.join(self.dir, "bin/python"), {}
        begin, installed = time.monotonic(), False
        for folder, calls in PACKAGES.items():
            if self.has(folder):
                continue
            if options.quick or options.no_install:
                self.why[folder] = "a quick run installs no packages" if options.quick else "--no-install"
                continue
            self.why[folder] = self.try_to([] if os.path.exists(self.python) else [sys.executable, "-m", "venv", self.dir],
                                           *([self.python, "-m", "pip", "install", "-q", *call] for call in calls))
            installed = True
        self.why = {folder: why for folder, why in self.why.items() if why}
        self.note = "".join(f" {name} left out: {self.why[folder]}." for name, folder in NAMES.items() if folder in self.why)
        if installed:
            self.note += f" Packages: {time.monotonic() - begin:.0f} s, {self.megabytes()} MB."

    def has(self, folder):
        return any(folder in folders for _, folders, _ in os.walk(os.path.join(self.dir, "lib")))

    def megabytes(self):
        return sum(os.lstat(os.path.join(d, f)).st_size for d, _, files in os.walk(self.dir) for f in files) // 10**6

    @staticmethod
    def try_to(*commands):
        """"" or why not."""
        try:
            for command in filter(None, commands):
                world.run(*command, timeout=240)
        except (world.Failed, subprocess.TimeoutExpired, OSError) as e:
            return str(e).strip()[-200:]
        return ""

    def loop(self, what, **job):
        python = self.python if job["data"] in ("webdataset", "mosaic") else sys.executable
        return json.loads(world.run(python, LOOP, what, json.dumps(job)))


class Shared:
    """steps x ranks slices as a stream and in the peers' files, in the order of steps and ranks."""

    def __init__(self, options, ranks, steps):
        self.bench, self.ranks, self.steps = options.bench, ranks, steps
        self.size = MIB if options.tiny else SIZE
        self.peers = Peers(options)
        self.stream = self.bench.stream(ranks, self.size, steps)
        self.dirs = {}
        for data, folder in (("webdataset", "webdataset"), ("mosaic", "streaming")):
            if folder not in self.peers.why:
                self.dirs[data] = self.bench.folder(data) + "/files"
                self.peers.loop("write", data=data, dir=self.dirs[data], steps=steps, ranks_stored=ranks, size=self.size)

    def read(self, data, passes, **job):
        """Rank 0; of several passes the first is not measured."""
        if data not in self.dirs and data != "mount":
            return {}
        return self.peers.loop("train", **{
            "data": data, "dir": self.dirs.get(data), "ranks": self.ranks, "only": [0], "ranks_stored": self.ranks, "size": self.size,
            "compute_ms": 0, "passes": passes, "pass": self.steps, "steps": passes * self.steps,
            "warm": (passes - 1) * self.steps, **job})

    def mount(self, passes):
        with self.bench.mount(self.stream) as daemon:
            done = self.read("mount", passes, dir=daemon.dir)
            # The same count as of peers who read files: what came from the store, index and prefetch included.
            done["read_bytes"] = daemon.metric("store_bytes_total", dir="in") / (self.steps * self.size)
            return done

    def mosaic_remote(self):
        """The shards lie elsewhere, as in a bucket; each rank fetches the ones that it needs."""
        if "mosaic" not in self.dirs:
            return {}
        return self.read("mosaic", 1, dir=self.bench.folder("local"), remote=self.dirs["mosaic"])


METRICS = [Metric("wait_p99_ms", "p99", 2, ratio=False), Metric("cpu_ms", "CPU of the training process, ms a step", 2, ratio=False)]


def row(options, name, title, ranks, contestants, metrics, note):
    steps = 3 if options.tiny else 8 if options.quick else 12
    made = Row(name, title, contestants, metrics, reference="mount", seconds=4 if options.quick else 8, note=note)

    @contextlib.contextmanager
    def prepare():
        shared = Shared(options, ranks, steps)
        made.note += shared.peers.note
        yield shared

    made.prepare = prepare
    return made


def rows(options):
    yield row(options, "peers.hot", "A step of 8 MiB that was read before", 1,
              {"mount": lambda w: w.mount(2), "MosaicML Streaming": lambda w: w.read("mosaic", 2),
               "WebDataset": lambda w: w.read("webdataset", 2)},
              [Metric("wait_ms", "step, p50 ms"), *METRICS],
              "One training process in Python, no compute. The mount's bytes are in the page cache, MosaicML's shards in its local "
              "folder, WebDataset's tars in a folder; MosaicML's imports of PyTorch are answered by stand-ins where PyTorch is missing.")
    yield row(options, "peers.order", "Rank 0 of 8 in a given global order", RANKS,
              {"mount": lambda w: w.mount(1), "MosaicML Streaming": lambda w: w.mosaic_remote(),
               "WebDataset": lambda w: w.read("webdataset", 1)},
              [Metric("read_bytes", "bytes read for a useful byte", 3, [Goal("mount", at_most=1.02, reference=None)]),
               Metric("wait_ms", "step, p50 ms", 2, ratio=False), *METRICS],
              "Step n is samples 8n to 8n + 7 for everybody, in files of 64 MiB; slices of 8 MiB, cold mounts, all on local files. WebDataset "
              "reads every tar and keeps each eighth sample; MosaicML (one canonical node) fetches every shard that holds a sample of "
              "its own. Each of them reads about 1 when ranks have files of their own, which fixes their number and gives up the order.")
