#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reads and uploads on an S3 store: bare libcurl, the store layer, the mount, s3fs and rclone, side by side.

The store is what AWS_ENDPOINT_URL and the AWS_ keys name (a bucket is made when it is missing); RGW_ASOK, the admin
socket of a radosgw, adds requests and bytes as the server counted them.  Every contestant has the same number of readers
(connections) and starts cold: mounted afresh, page cache dropped for what it can drop.  Rounds are interleaved.  Prints
medians and ratios to bare libcurl; quote the ratios.
"""
import argparse
import concurrent.futures
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

MIB = 1 << 20
READERS = 4


def run(*command, **kwargs):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, **kwargs).stdout


class Server:
    """What the gateway counted."""

    def __init__(self):
        self.socket = os.environ.get("RGW_ASOK")

    def counts(self):
        if not self.socket:
            return None
        dump = json.loads(run("ceph", "--admin-daemon", self.socket, "perf", "dump", "rgw", stderr=subprocess.DEVNULL))
        return dump["rgw"]["req"], dump["rgw"]["get_b"]


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def read_file(path, offset, length, buffer):
    """Seconds from open to the last byte."""
    view = memoryview(buffer)
    begin = time.monotonic()
    fd = os.open(path, os.O_RDONLY)
    done = 0
    while done < length:
        n = os.preadv(fd, [view[:min(len(view), length - done)]], offset + done)
        if n == 0:
            break
        done += n
    os.close(fd)
    if done != length:
        sys.exit(f"{path}: {done} bytes at {offset}, expected {length}")
    return time.monotonic() - begin


def read_all(pieces):
    """pieces: for each reader its own list of (path, offset, length).  Seconds in all, and of each piece."""
    def one(mine):
        buffer = bytearray(MIB)
        return [read_file(*piece, buffer) for piece in mine]

    begin = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(len(pieces)) as pool:
        times = [t for part in pool.map(one, pieces) for t in part]
    return time.monotonic() - begin, times


def deal(items, readers, piece):
    """Every reader keeps to ranks of its own, as a trainer does."""
    hands = [[] for _ in range(readers)]
    for item in items:
        hands[item[1] % readers].append(piece(item))
    return hands


class Shape:
    """One stream of equal slices, and where each lies in its object."""

    def __init__(self, bench, slice_bytes, ranks, steps):
        self.slice, self.ranks, self.steps = slice_bytes, ranks, steps
        self.prefix = f"b{slice_bytes >> 10}k-{os.getpid()}"
        self.url = f"s3://{bench.bucket}/{self.prefix}"
        run(bench.tool, "init", self.url, "--ranks", str(ranks))
        files = []
        for rank in range(ranks):
            files.append(os.path.join(bench.work, f"slice{rank}"))
            with open(files[-1], "wb") as f:
                f.write(os.urandom(slice_bytes))
        for _ in range(steps):
            run(bench.tool, "put", self.url, "bench", *files)
        with bench.mount(self) as mount:
            self.items = []
            for step in range(steps):
                with open(f"{mount.dir}/step/{step}/meta.json") as f:
                    meta = json.load(f)
                for r in meta["ranks"]:
                    self.items.append((step, r["rank"], meta["object"], r["offset"], r["stored"]))


class Mounted:
    def __init__(self, command, where, ready):
        self.dir = where
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        end = time.monotonic() + 30
        while not os.path.exists(os.path.join(where, ready)):
            if self.process.poll() is not None or time.monotonic() > end:
                sys.exit(f"{command[0]} did not mount")
            time.sleep(0.05)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        subprocess.run(["umount", self.dir], check=True)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()


class Bench:
    def __init__(self, build, bucket, work):
        self.tool = os.path.join(build, "mount-helpers/batchweave")
        self.helper = os.path.join(build, "mount-helpers/mount.batchweave")
        self.load = os.path.join(build, "tests/bench/s3_load")
        self.bucket, self.work, self.server = bucket, work, Server()
        self.dir = os.path.join(work, "mnt")
        os.mkdir(self.dir)
        self.endpoint = os.environ["AWS_ENDPOINT_URL"]

    def mount(self, shape):
        return Mounted([self.helper, shape.url, self.dir, "-o",
                        "foreground,ro,memory=512M,log=stderr,loglevel=error"], self.dir, "step/0")

    def s3fs(self, shape):
        passwd = os.path.join(self.work, "passwd")
        with open(passwd, "w") as f:
            f.write(f"{os.environ['AWS_ACCESS_KEY_ID']}:{os.environ['AWS_SECRET_ACCESS_KEY']}\n")
        os.chmod(passwd, 0o600)
        return Mounted(["s3fs", f"{self.bucket}:/{shape.prefix}", self.dir, "-f", "-o",
                        f"passwd_file={passwd},url={self.endpoint},use_path_request_style,ro"],
                       self.dir, shape.items[0][2])

    def rclone(self, shape):
        os.environ.update(RCLONE_CONFIG_BENCH_TYPE="s3", RCLONE_CONFIG_BENCH_PROVIDER="Ceph",
                          RCLONE_CONFIG_BENCH_ENDPOINT=self.endpoint, RCLONE_CONFIG_BENCH_ENV_AUTH="true")
        return Mounted(["rclone", "mount", f"BENCH:{self.bucket}/{shape.prefix}", self.dir, "--read-only",
                        "--config", "/dev/null"], self.dir, shape.items[0][2])

    def measured(self, call, useful, slices, cpu=None):
        before = self.server.counts()
        cpu_before = cpu() if cpu else 0
        seconds, times, own_cpu = call()
        cpu_used = cpu() - cpu_before if cpu else own_cpu
        after = self.server.counts()
        times = sorted(times)
        return {
            "rate": useful / seconds / 1e6,
            "p50": statistics.median(times) * 1e3,
            "p99": times[(len(times) - 1) * 99 // 100] * 1e3,
            # the counters include the asking itself
            "requests": (after[0] - before[0]) / slices if after else None,
            "bytes": (after[1] - before[1]) / useful if after else None,
            "cpu": cpu_used / useful * 1e9,
        }

    def by_load(self, who, shape, items, readers):
        lines = "".join(f"{key} {offset} {length}\n" for _, _, key, offset, length in items)

        def call():
            out = json.loads(run(self.load, who, "get", shape.url, str(readers), input=lines.encode()))
            self.last = out
            return out["seconds"], [out["p50_ms"] / 1e3, out["p99_ms"] / 1e3], out["cpu_s"]

        result = self.measured(call, sum(i[4] for i in items), len(items))
        result["p50"], result["p99"] = self.last["p50_ms"], self.last["p99_ms"]
        return result

    def by_mount(self, shape, items, readers):
        with self.mount(shape) as m:
            pieces = deal(items, readers, lambda i: (f"{m.dir}/step/{i[0]}/rank/{i[1]}", 0, shape.slice))
            return self.measured(lambda: (*read_all(pieces), 0), len(items) * shape.slice, len(items),
                                 lambda: cpu_seconds(m.process.pid))

    def by_peer(self, peer, shape, items, readers):
        with getattr(self, peer)(shape) as m:
            pieces = deal(items, readers, lambda i: (f"{m.dir}/{i[2]}", i[3], i[4]))
            return self.measured(lambda: (*read_all(pieces), 0), sum(i[4] for i in items), len(items),
                                 lambda: cpu_seconds(m.process.pid))

    def whole(self, shape):
        """The objects, whole: what peers are best at."""
        sizes = {}
        for _, _, key, _, length in shape.items:
            sizes[key] = sizes.get(key, 0) + length
        return [(0, at, key, 0, size) for at, (key, size) in enumerate(sizes.items())]


def median_of(results, key):
    values = [r[key] for r in results if r[key] is not None]
    return statistics.median(values) if values else None


def show(value, digits):
    return "-" if value is None else f"{value:.{digits}f}"


def report(title, order, results):
    print(f"\n### {title}\n")
    print("| | MB/s (min-max) | of raw | p50 ms | p99 ms | requests a slice | bytes a useful byte | CPU s/GB |")
    print("|---|---|---|---|---|---|---|---|")
    for who in order:
        mine = results[who]
        rates = [r["rate"] for r in mine]
        of_raw = statistics.median(r["rate"] / raw["rate"] for r, raw in zip(mine, results["raw"]))
        print(f"| {who} | {statistics.median(rates):.0f} ({min(rates):.0f}-{max(rates):.0f}) | {of_raw:.2f} | "
              f"{show(median_of(mine, 'p50'), 2)} | {show(median_of(mine, 'p99'), 2)} | "
              f"{show(median_of(mine, 'requests'), 2)} | {show(median_of(mine, 'bytes'), 3)} | "
              f"{show(median_of(mine, 'cpu'), 2)} |", flush=True)


def reads(bench, shape, rounds, peers):
    everything = shape.items
    jumps = [i for i in everything if i[1] < READERS]
    random.Random(1).shuffle(jumps)
    whole = bench.whole(shape)
    contests = [
        ("all slices, step after step, 4 readers", everything, READERS, ["raw", "layer", "mount"]),
        (f"{len(jumps)} slices, steps in random order, 4 readers", jumps, READERS, ["raw", "layer", "mount"] + peers),
        (f"{len(jumps) // 2} slices, steps in random order, 1 reader", jumps[::2], 1, ["raw", "mount"] + peers),
        ("all bytes, 4 readers; s3fs and rclone read whole objects", everything, READERS, ["raw", "mount"] + peers),
    ]
    for title, items, readers, who in contests:
        results = {w: [] for w in who}
        for _ in range(rounds):
            for w in who:
                if w in ("raw", "layer"):
                    results[w].append(bench.by_load(w, shape, items, readers))
                elif w == "mount":
                    results[w].append(bench.by_mount(shape, items, readers))
                else:
                    results[w].append(bench.by_peer(w, shape, whole if items is everything else items, readers))
        report(f"{shape.ranks} slices of {shape.slice >> 10} KiB: {title}", who, results)


def uploads(bench, rounds):
    print("\n### One object of 64 MiB, in parts of 8 MiB over 4 connections\n")
    print("| | MB/s (min-max) | of raw | CPU s/GB |\n|---|---|---|---|")
    results = {"raw": [], "layer": []}
    for _ in range(rounds):
        for who in results:
            results[who].append(json.loads(run(bench.load, who, "put", f"s3://{bench.bucket}/up-{os.getpid()}", "4",
                                               str(64 * MIB), "4")))
    for who, mine in results.items():
        rates = [r["bytes"] / r["seconds"] / 1e6 for r in mine]
        ratio = statistics.median(a["bytes"] / a["seconds"] * b["seconds"] / b["bytes"]
                                  for a, b in zip(mine, results["raw"]))
        cpu = statistics.median(r["cpu_s"] / r["bytes"] * 1e9 for r in mine)
        print(f"| {who} | {statistics.median(rates):.0f} ({min(rates):.0f}-{max(rates):.0f}) | {ratio:.2f} | {cpu:.2f} |",
              flush=True)


def make_bucket(bucket):
    endpoint = os.environ["AWS_ENDPOINT_URL"]
    run("curl", "-s", "-X", "PUT", "--aws-sigv4", f"aws:amz:{os.environ.get('AWS_REGION', 'us-east-1')}:s3",
        "-K", "-", "-H", f"Host: {endpoint.split('://')[1]}", "-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD",
        f"{endpoint}/{bucket}",
        input=f"user = {os.environ['AWS_ACCESS_KEY_ID']}:{os.environ['AWS_SECRET_ACCESS_KEY']}\n".encode())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build/release", help="build directory (a release build)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bucket", default="batchweave-bench")
    parser.add_argument("--quick", action="store_true", help="3 rounds, the 1 MiB shape only, without peers")
    args = parser.parse_args()
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        if not os.environ.get(name):
            sys.exit(f"set {name} (and perhaps RGW_ASOK); mount-helpers/one-node-s3 starts an engine")
    peers = [] if args.quick else [p for p in ("s3fs", "rclone") if shutil.which(p)]
    missing = {"s3fs", "rclone"} - set(peers)
    if missing and not args.quick:
        print(f"not installed, left out: {', '.join(sorted(missing))}", file=sys.stderr)
    shapes = [(MIB, 64, 8)] if args.quick else [(64 << 10, 64, 24), (MIB, 64, 8), (8 * MIB, 8, 8)]
    work = tempfile.mkdtemp(prefix="batchweave-bench-")
    try:
        make_bucket(args.bucket)
        bench = Bench(os.path.abspath(args.build), args.bucket, work)
        for slice_bytes, ranks, steps in shapes:
            reads(bench, Shape(bench, slice_bytes, ranks, steps), 3 if args.quick else args.rounds, peers)
        uploads(bench, 3 if args.quick else args.rounds)
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
