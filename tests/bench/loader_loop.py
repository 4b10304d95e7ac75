#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The loops that the rows of training time: run as a program of its own, under the Python that has the peers.

  loader_loop.py train '{"data": ..., ...}'      RANKS training processes in lock step; one JSON object
  loader_loop.py produce '{...}'                 a pool of producers that writes batches into a mount
  loader_loop.py write '{"data": ..., ...}'      the same slices in a peer's format

data: mount      /step/<n>/rank/<r> below dir
      colocated  raw samples below dir; read, transformed and collated in the training process
      workers    the same in `workers` processes of each training process, which hand over whole batches in shared
                 memory, two ahead each, as the loaders of the frameworks do
      webdataset, mosaic      below dir, by their own packages

A step is: get the batch (this is the wait), compute, meet the other ranks.  Compute is a sleep: the accelerator
works and the processor of the host does not.  A transform either burns so much processor time of its thread
(burn) or sleeps so long, which stands for processors of other machines.
"""
import importlib.abc
import importlib.machinery
import json
import mmap
import multiprocessing
import os
import resource
import sys
import threading
import time
import types
import zlib


def transform(sample, ms, burn):
    if not burn:
        time.sleep(ms / 1e3)
        return sample
    piece, end = sample[:65536], time.thread_time() + ms / 1e3
    while time.thread_time() < end:
        zlib.crc32(piece)
    return sample


def read_into(path, view):
    """Reads a whole file; its length."""
    fd = os.open(path, os.O_RDONLY)
    at = 0
    while True:
        n = os.readv(fd, [view[at:]]) if at < len(view) else 0
        if not n:
            break
        at += n
    os.close(fd)
    return at


# ---- where the batches come from: each a generator over the steps of one rank, of their lengths ---------


def mount(job, rank):
    view = memoryview(bytearray(job["size"]))
    for n in range(job["steps"]):
        yield read_into(f"{job['dir']}/step/{n % job.get('pass', job['steps'])}/rank/{rank}", view)


def make_batch(job, rank, n, view):
    """What colocated loaders do for a step: sample after sample into its place."""
    piece = job["size"] // job["samples"]
    for i in range(job["samples"]):
        raw = bytearray(piece)
        # The raw samples are used over and over: they are in the page cache, as the store's files are.
        which = ((n * job["ranks"] + rank) * job["samples"] + i) % job["raw_files"]
        read_into(f"{job['dir']}/{which}", memoryview(raw))
        view[i * piece:(i + 1) * piece] = transform(raw, job["cost_ms"], True)
    return job["samples"] * piece


def colocated(job, rank):
    view = memoryview(bytearray(job["size"]))
    for n in range(job["steps"]):
        yield make_batch(job, rank, n, view)


def loader_worker(job, rank, which, slots, free, full):
    for n in range(which, job["steps"], job["workers"]):
        free.acquire()
        make_batch(job, rank, n, memoryview(slots[n // job["workers"] % 2]))
        full.release()


def workers(job, rank):
    pool = []
    for k in range(job["workers"]):
        slots = [mmap.mmap(-1, job["size"]) for _ in range(2)]
        free, full = multiprocessing.Semaphore(2), multiprocessing.Semaphore(0)
        p = multiprocessing.Process(target=loader_worker, args=(job, rank, k, slots, free, full))
        p.start()
        pool.append((p, free, full))
    for n in range(job["steps"]):
        _, free, full = pool[n % job["workers"]]
        full.acquire()
        yield job["size"]
        free.release()
    for p, _, _ in pool:
        p.join()


def webdataset(job, rank):
    """Tars in the global order: every rank reads all of it and keeps its own, which is how one shares a given order."""
    import webdataset as wds
    urls = [f"{job['dir']}/{name}" for name in sorted(os.listdir(job["dir"]))]
    samples = wds.WebDataset(urls, shardshuffle=False, nodesplitter=None, empty_check=False)
    if job["ranks_stored"] > 1:
        samples = samples.slice(rank, None, job["ranks_stored"])
    for _ in range(job["passes"]):
        for sample in samples:
            yield len(sample["bin"])


class Anything(types.ModuleType):
    """A module that has whatever is asked for."""
    __path__ = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        thing = type(name, (), {"__class_getitem__": classmethod(lambda c, _: c)})
        setattr(self, name, thing)
        return thing


class StandIn(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """
    MosaicML Streaming imports PyTorch, torchvision and transformers, several GB, for base classes and for a process
    group, which one process does not have.  Where they are missing these names stand for them; what reads, checks
    and decodes samples is the package's own.
    """

    def find_spec(self, name, _path, _target=None):
        if name.split(".")[0] in ("torch", "torchvision", "transformers"):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        return Anything(spec.name)

    def exec_module(self, module):
        if module.__name__ == "torch.distributed":
            module.is_available = module.is_initialized = lambda: False
        if module.__name__ == "torch.utils.data":
            module.get_worker_info = lambda: None


def import_streaming():
    sys.meta_path.append(StandIn())  # last: real ones are found before
    import torch.distributed
    import torch.utils.data  # noqa: F401
    import streaming
    return streaming


def mosaic(job, rank):
    # Each rank a node of its own; one canonical node: samples n * ranks + rank, the given order.
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(job["ranks_stored"]), LOCAL_RANK="0", LOCAL_WORLD_SIZE="1")
    streaming = import_streaming()
    remote = job.get("remote")
    local = f"{job['dir']}-local-{os.getpid()}" if remote else job["dir"]
    samples = streaming.StreamingDataset(local=local, remote=remote, shuffle=False, batch_size=1,
                                         num_canonical_nodes=1, keep_zip=False)
    for _ in range(job["passes"]):
        for sample in samples:
            yield len(sample["x"])


SOURCES = {"mount": mount, "colocated": colocated, "workers": workers, "webdataset": webdataset, "mosaic": mosaic}

# ---- the training processes ---------------------------------------------------------------------


def cpu(who):
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def read_chars():
    with open("/proc/self/io", encoding="ascii") as f:
        return int(f.readline().split()[1])


def one_rank(job, rank, meet, results):
    waits, total = [], 0
    warm, batches = job.get("warm", 2), SOURCES[job["data"]](job, rank)
    begin = cpu_begin = chars = 0
    for n in range(job["steps"]):
        if n == warm:
            meet.wait()
            begin, cpu_begin, chars = time.monotonic(), cpu(resource.RUSAGE_SELF), read_chars()
        asked = time.monotonic()
        got = next(batches, None)
        if got is None:
            break
        waits.append(time.monotonic() - asked)
        if n >= warm:
            total += got
        if job["compute_ms"]:
            time.sleep(job["compute_ms"] / 1e3)
        meet.wait()
    seconds = time.monotonic() - begin
    own = cpu(resource.RUSAGE_SELF) - cpu_begin
    chars = read_chars() - chars
    for _ in batches:
        pass
    batches.close()  # waits for workers, whose time counts from their first step on
    steps = len(waits) - warm
    own += cpu(resource.RUSAGE_CHILDREN) * steps / len(waits)
    results.put({"steps": steps, "seconds": seconds, "waits": waits[warm:], "cpu": own, "bytes": total, "chars": chars})


def train(job):
    ranks = job.get("only", list(range(job["ranks"])))
    meet, results = multiprocessing.Barrier(len(ranks)), multiprocessing.Queue()
    running = [multiprocessing.Process(target=one_rank, args=(job, r, meet, results)) for r in ranks]
    for p in running:
        p.start()
    got = []
    while len(got) < len(ranks):
        if any(p.exitcode for p in running):
            meet.abort()
            sys.exit("a training process failed")
        try:
            got.append(results.get(timeout=1))
        except Exception:  # queue.Empty
            pass
    for p in running:
        p.join()
    waits = sorted(w for g in got for w in g["waits"])
    steps, seconds = got[0]["steps"], max(g["seconds"] for g in got)
    if not all(g["bytes"] == steps * job["size"] for g in got):
        sys.exit(f"read {[g['bytes'] for g in got]} bytes, expected {steps * job['size']}")
    return {"steps_s": steps / seconds, "stall": 100 * sum(waits) / sum(g["seconds"] for g in got),
            "cpu_ms": 1e3 * sum(g["cpu"] for g in got) / steps / len(ranks),
            "wait_ms": 1e3 * waits[len(waits) // 2], "wait_p99_ms": 1e3 * waits[min(len(waits) - 1, len(waits) * 99 // 100)],
            "read_bytes": sum(g["chars"] for g in got) / sum(g["bytes"] for g in got)}


# ---- the pool of producers ---------------------------------------------------------------------


def put_batch(job, producer, seq, body):
    """All ranks of one step; waits where seqs before it are under way."""
    root = f"{job['dir']}/produce/{producer}/{seq}/rank"
    os.makedirs(root)
    for rank in range(job["ranks"]):
        fd = os.open(f"{root}/{rank}", os.O_WRONLY | os.O_CREAT, 0o644)
        at = 0
        while at < len(body):
            at += os.write(fd, body[at:])
        os.close(fd)


def producer(job, which):
    body, due = memoryview(os.urandom(job["size"])), time.monotonic()
    with open(f"{job['dir']}/produce/{which}/next", encoding="ascii") as f:
        seq = int(f.read())
    for i in range(job["each"]):
        ms = job["cost_ms"] * job["samples"] * job["ranks"]
        transform(body, ms, job["burn"])
        due = max(due + job["every_s"], time.monotonic() - job["every_s"])
        time.sleep(max(0, due - time.monotonic()))
        put_batch(job, which, seq + i, body)


def produce(job):
    """`producers` of them, who make a batch every `every_s` at most: processes where they burn, threads where they sleep."""
    kind = multiprocessing.Process if job["burn"] else threading.Thread
    names = [f"{job['name']}-{i}" for i in range(job["producers"])]
    for name in names:
        os.makedirs(f"{job['dir']}/produce/{name}", exist_ok=True)
    pool = [kind(target=producer, args=(job, name)) for name in names]
    begin = time.monotonic()
    for p in pool:
        p.start()
    for p in pool:
        p.join()
    if any(getattr(p, "exitcode", 0) for p in pool):
        sys.exit("a producer failed")
    return {"seconds": time.monotonic() - begin}


# ---- the peers' formats ------------------------------------------------------------------------


def write(job):
    """steps x ranks_stored slices in the global order, in files of at most 64 MiB."""
    n, size = job["steps"] * job["ranks_stored"], job["size"]
    if job["data"] == "mosaic":
        with import_streaming().MDSWriter(out=job["dir"], columns={"x": "bytes"}, size_limit=64 << 20) as out:
            for _ in range(n):
                out.write({"x": os.urandom(size)})
        return {}
    import webdataset as wds
    each = max(1, (64 << 20) // size)
    os.makedirs(job["dir"])
    for shard in range(0, n, each):
        with wds.TarWriter(f"{job['dir']}/{shard:08d}.tar") as out:
            for i in range(shard, min(n, shard + each)):
                out.write({"__key__": f"{i:08d}", "bin": os.urandom(size)})
    return {}


if __name__ == "__main__":
    print(json.dumps({"train": train, "produce": produce, "write": write}[sys.argv[1]](json.loads(sys.argv[2]))))
