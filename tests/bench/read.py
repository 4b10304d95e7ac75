#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Cold and hot sequential reads through a mount, beside a memory-backed null filesystem.

Both filesystems have the same tree, file sizes and readahead.  Rounds are interleaved and each round
mounts afresh, so that "cold" means: nothing in the kernel's page cache for the mount, nothing in the
daemon's.  The store's files themselves are in the host's page cache: what is measured is this program,
not a disk.  Prints medians and ratios; quote the ratios.
"""
import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

MIB = 1 << 20


def wait_for(path, process):
    for _ in range(600):
        if os.path.isdir(path):
            return
        if process.poll() is not None:
            sys.exit(f"a filesystem ended early with {process.returncode}")
        time.sleep(0.05)
    sys.exit(f"{path} did not appear")


def raise_readahead(mountpoint):
    """The mount does this for itself; the null filesystem gets the same."""
    with open("/proc/self/mountinfo") as table:
        for line in table:
            fields = line.split()
            if fields[4] == mountpoint:
                with open(f"/sys/class/bdi/{fields[2]}/read_ahead_kb", "w") as f:
                    f.write("1024\n")


class Mounted:
    def __init__(self, command, mountpoint):
        self.mountpoint = mountpoint
        self.process = subprocess.Popen(command)
        wait_for(os.path.join(mountpoint, "step", "0", "rank"), self.process)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        subprocess.run(["umount", self.mountpoint], check=True)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()


def read_all(root, steps, ranks, size, buffer):
    """Seconds to read every slice once, in order."""
    view = memoryview(buffer)
    begin = time.monotonic()
    total = 0
    for step in range(steps):
        for rank in range(ranks):
            fd = os.open(f"{root}/step/{step}/rank/{rank}", os.O_RDONLY)
            while True:
                n = os.readv(fd, [view])
                if n == 0:
                    break
                total += n
            os.close(fd)
    seconds = time.monotonic() - begin
    if total != steps * ranks * size:
        sys.exit(f"read {total} bytes, expected {steps * ranks * size}")
    return seconds


def make_stream(tools, work, steps, ranks, size):
    url = "file://" + os.path.join(work, "store")
    tool = os.path.join(tools, "batchweave")
    subprocess.run([tool, "init", url, "--ranks", str(ranks)], check=True, stdout=subprocess.DEVNULL)
    files = []
    for rank in range(ranks):
        path = os.path.join(work, f"slice{rank}")
        with open(path, "wb") as f:
            f.write(os.urandom(size))
        files.append(path)
    for _ in range(steps):
        subprocess.run([tool, "put", url, "bench"] + files, check=True, stdout=subprocess.DEVNULL)
    return url


def spread(values):
    return f"{statistics.median(values):.0f} ({min(values):.0f}-{max(values):.0f})"


def run_shape(build, work, steps, ranks, size, rounds, buffer):
    tools = os.path.join(build, "mount-helpers")
    url = make_stream(tools, work, steps, ranks, size)
    mnt, nul = os.path.join(work, "mnt"), os.path.join(work, "null")
    os.mkdir(mnt)
    os.mkdir(nul)
    rates = {key: [] for key in ("mount cold", "mount hot", "null cold", "null hot")}
    commands = {
        "mount": ([os.path.join(tools, "mount.batchweave"), url, mnt, "-o",
                   "foreground,ro,memory=512M,log=stderr,loglevel=error"], mnt),
        "null": ([os.path.join(build, "tests/bench/bench_nullfs"), nul, str(steps), str(ranks),
                  str(size)], nul),
    }
    for _ in range(rounds):
        for name, (command, where) in commands.items():
            with Mounted(command, where):
                raise_readahead(where)
                for heat in ("cold", "hot"):
                    seconds = read_all(where, steps, ranks, size, buffer)
                    rates[f"{name} {heat}"].append(steps * ranks * size / seconds / 1e6)
    return [(heat, rates[f"mount {heat}"], rates[f"null {heat}"]) for heat in ("cold", "hot")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build/release", help="build directory (a release build)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="3 rounds over less data")
    args = parser.parse_args()
    build = os.path.abspath(args.build)
    rounds = 3 if args.quick else args.rounds
    shapes = [(8, 4, 8 * MIB)] if args.quick else [(64, 4, 64 << 10), (32, 4, MIB), (16, 4, 8 * MIB)]
    buffer = bytearray(MIB)
    print("| slice | what | mount MB/s (min-max) | null MB/s (min-max) | mount / null |")
    print("|---|---|---|---|---|")
    for steps, ranks, size in shapes:
        work = tempfile.mkdtemp(prefix="batchweave-bench-")
        try:
            rows = run_shape(build, work, steps, ranks, size, rounds, buffer)
        finally:
            shutil.rmtree(work)
        for what, mount, null in rows:
            ratio = statistics.median(m / n for m, n in zip(mount, null))
            print(f"| {size >> 10} KiB | {what} | {spread(mount)} | {spread(null)} | {ratio:.2f} |",
                  flush=True)


if __name__ == "__main__":
    main()
