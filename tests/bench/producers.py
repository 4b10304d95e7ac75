#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Producers that compete for one stream, one mount each: what they commit, what it costs, and what the simulator says.

  producers.py --store file [--counts 1,4,16,32] [--offered 100] [--seconds 20]
  producers.py --store s3://BUCKET        (AWS_ENDPOINT_URL_S3 and the keys in the environment; the bucket exists)

Every producer offers its share of --offered batches a second (one rank, 100 bytes) to a mount of its own with pending=256.
The first third is not measured.  Then sim_load runs with the latencies that the mounts have measured meanwhile (median and
spread of gets and puts, from their histograms), the same number of producers and the same load, and prints what it would
have been.
"""
import argparse
import csv
import json
import math
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

SAMPLE = re.compile(r'^batchweave_(\w+)(\{[^}]*\})? (\S+)$', re.MULTILINE)
BUCKET = re.compile(r'le="([^"]+)"')


def read(path):
    with open(path) as f:
        return f.read()


class Mounted:
    def __init__(self, helper, url, where):
        os.mkdir(where)
        self.dir = where
        self.process = subprocess.Popen([helper, url, where, "-o",
                                         "foreground,pending=256,memory=64M,log=stderr,loglevel=error"])
        end = time.monotonic() + 60
        while not os.path.exists(os.path.join(where, "status")):
            if self.process.poll() is not None or time.monotonic() > end:
                sys.exit("a mount did not come up")
            time.sleep(0.05)

    def metrics(self):
        """{name or name{labels}: value}"""
        text = read(os.path.join(self.dir, "status/metrics"))
        return {name + (labels or ""): float(value) for name, labels, value in SAMPLE.findall(text)}

    def close(self):
        subprocess.run(["umount", self.dir], check=False)
        try:
            self.process.wait(120)
        except subprocess.TimeoutExpired:
            self.process.kill()


def produce(where, name, interval, until, late):
    """Offers a batch every interval, and as fast as it can while it is behind."""
    due = time.monotonic() + interval * (hash(name) % 97) / 97
    seq = 0
    os.makedirs(f"{where}/produce/{name}", exist_ok=True)
    while time.monotonic() < until:
        if due > time.monotonic():
            time.sleep(due - time.monotonic())
        due += interval
        os.makedirs(f"{where}/produce/{name}/{seq}/rank")
        with open(f"{where}/produce/{name}/{seq}/rank/0", "wb") as f:
            f.write(b"x" * 100)
        seq += 1
    late.value = max(0.0, time.monotonic() - due)


def snapshot(mounts):
    """Sums over the mounts, and what each producer has committed."""
    total = {}
    for mount in mounts:
        for name, value in mount.metrics().items():
            total[name] = total.get(name, 0) + value
    os.path.exists(f"{mounts[0].dir}/step/{1 << 40}")  # asks for news
    producers = json.loads(read(f"{mounts[0].dir}/status/status.json"))["producers"]
    return time.monotonic(), total, {name: int(p["next"]) for name, p in producers.items()}


def jain(values):
    return sum(values) ** 2 / (len(values) * sum(v * v for v in values)) if any(values) else 0


def family(total, name, label=""):
    return sum(v for k, v in total.items() if k.startswith(name) and label in k)


def measure(bench, count):
    url = bench.new_stream()
    mounts = []
    try:
        for i in range(count):
            mounts.append(Mounted(bench.helper, url, os.path.join(bench.work, f"m{count}-{i}")))
        until = time.monotonic() + bench.seconds
        late = [multiprocessing.Value("d", 0) for _ in mounts]
        producers = [multiprocessing.Process(target=produce, args=(m.dir, f"p{i}", count / bench.offered, until, late[i]))
                     for i, m in enumerate(mounts)]
        for p in producers:
            p.start()
        time.sleep(bench.seconds / 3)
        before = snapshot(mounts)
        time.sleep(max(0, until - time.monotonic() - 0.5))
        after = snapshot(mounts)
        for p in producers:
            p.join()
    finally:
        for m in mounts:
            m.close()
    return figures(before, after, count, max(v.value for v in late))


def figures(before, after, count, late):
    seconds = after[0] - before[0]

    def delta(name, label=""):
        return family(after[1], name, label) - family(before[1], name, label)

    def histogram(op):
        buckets = {}
        for which, total in ((1, after[1]), (-1, before[1])):
            for key, value in total.items():
                if key.startswith("store_request_seconds_bucket") and f'op="{op}"' in key:
                    bound = float(BUCKET.search(key).group(1))
                    buckets[bound] = buckets.get(bound, 0) + which * value
        return sorted(buckets.items())

    done = [after[2].get(f"p{i}", 0) - before[2].get(f"p{i}", 0) for i in range(count)]
    versions = delta("commit_attempts_count")
    return {"committed": sum(done) / seconds, "commits": versions / seconds,
            "attempts": delta("commit_attempts_sum") / versions if versions else 0,
            "requests_tgb": (delta("store_requests_total") - sum(done)) / max(1, sum(done)),
            "jain": jain(done), "late": late,
            **{f"{op}{q}": quantile(histogram(op), q / 100) for op in ("get", "put") for q in (50, 84)}}


def quantile(buckets, q):
    """Of a histogram whose counts are sums from below; between two bounds as if logarithms were spread evenly."""
    wanted, low, below = q * buckets[-1][1] if buckets else 0, 0.0003, 0
    for bound, count in buckets:
        if count >= wanted > 0 and count > below:
            high = min(bound, 60)
            return low * (high / low) ** ((wanted - below) / (count - below))
        low, below = bound, count
    return low


def predict(bench, count, real):
    """What the simulator makes of the same load with these latencies; a data object is a put as well."""
    get, put = real["get50"], real["put50"]
    sigma = math.log(max(real["put84"] / put, 1.05))
    out = subprocess.run([bench.sim, "--policy", "dac", "--producers", str(count), "--offered", str(bench.offered),
                          "--latency", f"{get * 1e3},{get * 1e3},{put * 1e3},{sigma}"],
                         check=True, stdout=subprocess.PIPE, text=True).stdout
    return {k: float(v) for k, v in next(csv.DictReader(out.splitlines())).items()
            if k in ("committed", "commits", "attempts", "requests_tgb", "jain")}


class Bench:
    def __init__(self, args, work):
        self.helper = os.path.join(args.build, "mount-helpers/mount.batchweave")
        self.tool = os.path.join(args.build, "mount-helpers/batchweave")
        self.sim = os.path.join(args.build, "tests/sim/sim_load")
        self.store, self.work, self.streams = args.store, work, 0
        self.offered, self.seconds = args.offered, args.seconds

    def new_stream(self):
        self.streams += 1
        name = f"producers-{os.getpid()}-{self.streams}"
        if self.store == "file":
            url = f"file://{self.work}/{name}"
            os.mkdir(f"{self.work}/{name}")
        else:
            url = f"{self.store.rstrip('/')}/{name}"
        subprocess.run([self.tool, "init", url, "--ranks", "1"], check=True, stdout=subprocess.DEVNULL)
        return url


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build/release")
    parser.add_argument("--store", default="file")
    parser.add_argument("--dir", help="where a stream of files is made")
    parser.add_argument("--counts", default="1,4,16,32")
    parser.add_argument("--offered", type=float, default=100)
    parser.add_argument("--seconds", type=float, default=20)
    args = parser.parse_args()
    work = tempfile.mkdtemp(prefix="batchweave-producers-", dir=args.dir)
    print("| producers | | committed/s | versions/s | attempts a commit | requests a TGB | Jain | put p50, p84 | get |")
    print("|--:|---|--:|--:|--:|--:|--:|--:|--:|")
    try:
        bench = Bench(args, work)
        for count in map(int, args.counts.split(",")):
            real = measure(bench, count)
            for what, r in (("real", real), ("simulated", predict(bench, count, real))):
                latency = " | " if r is not real else " | ".join(
                    f"{real[op + '50'] * 1e3:.1f}, {real[op + '84'] * 1e3:.1f} ms" for op in ("put", "get"))
                print(f"| {count} | {what} | {r['committed']:.1f} | {r['commits']:.2f} | {r['attempts']:.2f} | "
                      f"{r['requests_tgb']:.3f} | {r['jain']:.3f} | {latency} |", flush=True)
            if real["late"] > 1:
                print(f"({count}: the slowest producer was {real['late']:.1f} s behind at the end)", file=sys.stderr)
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
