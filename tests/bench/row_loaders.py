# SPDX-License-Identifier: Apache-2.0
"""Training loops: a loader inside the training processes against producers and a mount, and a store that is far away."""
import contextlib
import json
import os
import subprocess
import sys

import world
from harness import Goal, Metric, Row
from world import KIB, MIB

LOOP = os.path.join(world.HERE, "loader_loop.py")
RANKS, SAMPLES, SIZE = 2, 4, MIB  # a step of the loops with a transform
COMPUTE_MS = 20
AHEAD = 10  # steps that are committed when training begins, with producers elsewhere


def loop(what, python=sys.executable, **job):
    return json.loads(world.run(python, LOOP, what, json.dumps(job)))


# ---- a transform: in the training processes, or in producers ----------------------------------------


class Transform:
    """What the contestants of a row share."""

    def __init__(self, bench, cost_ms, steps, compute_ms=COMPUTE_MS, s3=None):
        self.bench, self.cost_ms, self.steps, self.compute_ms, self.s3 = bench, cost_ms, steps, compute_ms, s3
        self.raw = bench.folder("raw")
        for i in range(16):
            with open(f"{self.raw}/{i}", "wb") as f:
                f.write(os.urandom(SIZE // SAMPLES))

    def colocated(self, workers=0):
        # A loader that cannot keep up shows that in a few steps.
        per_step_ms = self.compute_ms + self.cost_ms * SAMPLES / max(workers, 1)
        steps = min(self.steps, max(min(10, self.steps), int(self.steps * self.compute_ms / per_step_ms)))
        return loop("train", data="workers" if workers else "colocated", workers=workers, dir=self.raw, ranks=RANKS, size=SIZE,
                    samples=SAMPLES, raw_files=16, steps=steps, cost_ms=self.cost_ms, compute_ms=self.compute_ms)

    def mounted(self, elsewhere):
        """
        Producers write through a mount of their own while the training processes read.  elsewhere: they sleep instead
        of computing, and there are as many as the pace needs, with a quarter to spare; else they burn, two of them.
        """
        bench = self.bench
        need = self.cost_ms * SAMPLES * RANKS / self.compute_ms
        producers = min(64, max(2, int(1.25 * need) + 1)) if elsewhere else 2
        steps = self.steps if elsewhere else max(min(10, self.steps), int(self.steps / max(1, need / 2)))
        ahead = AHEAD if elsewhere else 2
        job = {"name": "p", "producers": producers, "each": (steps + ahead) // producers + 1, "cost_ms": self.cost_ms,
               "burn": not elsewhere, "every_s": producers * self.compute_ms / 1e3 * 0.8, "samples": SAMPLES, "ranks": RANKS,
               "size": SIZE}
        with bench.scratch(RANKS, self.s3) as stream, bench.mount(stream, "rw,pending=8", self.s3) as out, \
                bench.mount(stream, "ro,wait=120", self.s3) as into:
            pool = subprocess.Popen([sys.executable, LOOP, "produce", json.dumps({**job, "dir": out.dir})],
                                    stdout=subprocess.DEVNULL, preexec_fn=world.die_with_parent)
            try:
                while not os.path.exists(f"{into.dir}/step/{min(ahead, steps) - 1}/rank/0"):
                    pass  # waits there
                cpu = into.cpu()
                done = loop("train", data="mount", dir=into.dir, ranks=RANKS, size=SIZE, steps=steps, compute_ms=self.compute_ms)
                done["ahead"] = out.head() - steps
                done["daemon_ms"] = (into.cpu() - cpu) * 1e3 / steps / RANKS
                if pool.wait(world.PATIENCE):
                    raise world.Failed("a producer failed")
            finally:
                pool.kill()
                pool.wait()
        return done


LOOP_METRICS = [Metric("wait_ms", "wait for data, p50 ms", 2, ratio=False), Metric("wait_p99_ms", "p99", 2, ratio=False),
                Metric("daemon_ms", "mount's CPU ms a step and rank", 2, ratio=False)]
NOTE = (f"{RANKS} training processes in lock step, {SIZE // KIB} KiB a step and rank from {SAMPLES} samples, {COMPUTE_MS} ms of compute that "
        "costs no CPU here, as an accelerator's does not. Colocated: each sample is read from a file in the page cache, transformed (CPU of "
        "this machine) and copied into the batch, either in the training process or in a worker process for each of them, two batches "
        "ahead. Producers elsewhere: the transform sleeps, as if other machines' processors did it, in as many producers as it takes; "
        "what they write still goes through a mount of this machine. Producers here: two processes that burn the transform's CPU on "
        "the two cores that train, two steps ahead at the start. CPU is of the training processes and their workers.")


def transform_row(options, cost_ms):
    steps = 5 if options.tiny else 40 if options.quick else 120
    contestants = {
        "colocated": lambda w: w.colocated(),
        "colocated, a worker each": lambda w: w.colocated(1),
        "producers elsewhere, mount": lambda w: w.mounted(True),
        "producers here, mount": lambda w: w.mounted(False),
    }
    mount, goals = "producers elsewhere, mount", cost_ms > 0
    return Row(
        f"loaders.transform{cost_ms}", f"Training loop, transform of {cost_ms} ms a sample", contestants,
        [Metric("steps_s", "steps/s", 1, [Goal(mount, at_least=1.0), Goal(mount, at_least=1.0, reference="colocated, a worker each")]
                if goals else ()),
         Metric("cpu_ms", "data CPU ms a step and rank", 2, [Goal(mount, at_most=0.2)] if goals else ()),
         Metric("stall", "stall share, %", 1, ratio=False), *LOOP_METRICS],
        reference="colocated", prepare=lambda: contextlib.nullcontext(Transform(options.bench, cost_ms, steps)),
        note=NOTE, seconds=(3 if options.quick else 8) + cost_ms / 5)


# ---- a store that is far away ------------------------------------------------------------------------


def latency_row(options, delay_ms):
    bench, compute_ms = options.bench, 50
    steps = 5 if options.tiny else 30 if options.quick else 80
    contestants = {"near, mount": lambda w: w[0].mounted(True), f"{delay_ms} ms away, mount": lambda w: w[1].mounted(True)}

    @contextlib.contextmanager
    def prepare():
        yield [Transform(bench, 5, steps, compute_ms, bench.s3(d)) for d in (0, delay_ms)]

    return Row(
        f"loaders.away{delay_ms}", f"Training loop, S3 store, every request {delay_ms} ms later (lognormal), producers ahead", contestants,
        [Metric("stall", "stall share, %", 2, [Goal(f"{delay_ms} ms away, mount", at_most=2, reference=None)]),
         Metric("ahead", "steps ahead at the end", 0, ratio=False), *LOOP_METRICS],
        prepare=prepare, seconds=12 if options.quick else 25,
        note=f"As the other loops, {compute_ms} ms of compute and a transform of 5 ms a sample elsewhere; {AHEAD} steps are committed when "
             "training begins, and producers and training processes both have the way to the store.")


def rows(options):
    for cost_ms in (5,) if options.quick else (0, 5, 50):
        yield transform_row(options, cost_ms)
    for delay_ms in (10,) if options.quick else (10, 30):
        yield latency_row(options, delay_ms)
