#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""
Trains the character model with producers, checkpoints and reclaiming; once undisturbed, then with kill -9 of trainers, of
producers and of mount daemons at arbitrary moments.  What has died is started again, as a scheduler would, and goes on from
its last checkpoint or its last committed batch.  Ends with a table, and with exit code 0 when every run came to the same
losses and weights, bit for bit, and read and committed every batch of the text exactly once.

  drill.py [--store s3://bucket/prefix] [--kills 3] [--seed N]
"""
import argparse
import contextlib
import ctypes
import glob
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import text

HERE = os.path.dirname(os.path.abspath(__file__))
PATIENCE = 120  # seconds without any progress until the drill is given up
AHEAD = 20  # steps that producers may be past the newest marker
RUNS = {"uninterrupted": (), "trainer killed": ("trainer",), "producer killed": ("producer",), "mount killed": ("mount",),
        "all of them": ("trainer", "producer", "mount")}


def say(words):
    print(words, file=sys.stderr, flush=True)


def with_parent(number):
    """For a child: gets this signal when the drill dies."""
    return lambda: ctypes.CDLL(None).prctl(1, number)  # PR_SET_PDEATHSIG


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def lines(path):
    """Of a log that is being written: whole lines only."""
    try:
        return read(path).rpartition("\n")[0].split("\n")
    except FileNotFoundError:
        return []


class Failed(Exception):
    pass


class Mounted:
    """A mount whose daemon is our child."""

    def __init__(self, program, url, folder, options):
        os.mkdir(folder)
        self.dir, self.log = folder, folder + ".log"
        self.command = [program, url, folder, "-o", f"foreground,log={self.log},{options}"]
        self.start()

    def start(self):
        self.proc = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, preexec_fn=with_parent(signal.SIGTERM))
        end = time.monotonic() + PATIENCE
        while not os.path.exists(self.dir + "/status/head"):
            if self.proc.poll() is not None or time.monotonic() > end:
                raise Failed(f"a mount did not come up, see {self.log}")
            time.sleep(0.01)

    def head(self):
        return int(read(self.dir + "/status/head"))

    def kill(self):
        """kill -9, and the same mount again."""
        self.proc.kill()
        self.proc.wait()
        self.unmount("-l" if os.geteuid() == 0 else "-z")
        self.start()

    def unmount(self, *options):
        tool = ["umount"] if os.geteuid() == 0 else ["fusermount3", "-u"]
        return subprocess.run([*tool, *options, self.dir], check=False, capture_output=True, text=True)

    def stop(self):
        """Unmounted in good order."""
        for _ in range(50):
            done = self.unmount()
            if not done.returncode:
                break
            time.sleep(0.1)  # somebody who was killed may still be leaving
        if done.returncode or self.proc.wait(PATIENCE):
            raise Failed(f"unmounting: {done.stderr.strip()} exit code {self.proc.poll()}, see {self.log}")

    def close(self):
        """Whatever state it is in."""
        if self.proc.poll() is None:
            self.unmount("-l" if os.geteuid() == 0 else "-z")
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.proc.wait(10)
        self.proc.kill()
        self.proc.wait()
        while os.path.ismount(self.dir) and not self.unmount("-l" if os.geteuid() == 0 else "-z").returncode:
            pass


class Group:
    """Processes that live and die together: when one fails all are ended, and started again."""

    def __init__(self, name, commands, log, environment=dict):
        self.name, self.commands, self.log, self.environment = name, commands, log, environment
        self.running, self.starts = [], 0

    def start(self):
        self.starts += 1
        if self.starts > 50:
            raise Failed(f"{self.name} fails again and again")
        common = {**os.environ, **self.environment()}
        with open(self.log, "ab") as log:
            self.running = [subprocess.Popen([sys.executable, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                             env={**common, "RANK": str(i)}, start_new_session=True,
                                             preexec_fn=with_parent(signal.SIGKILL))
                            for i, command in enumerate(self.commands)]

    def is_done(self):
        """Starts again what has failed."""
        codes = [p.poll() for p in self.running]
        if any(codes):
            self.end()
            self.start()
        return all(code == 0 for code in codes)

    def kill(self, rng):
        """One process of those that run."""
        alive = [p for p in self.running if p.poll() is None]
        if alive:
            rng.choice(alive).kill()
        return bool(alive)

    def end(self):
        """With whatever they have started."""
        for p in self.running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(p.pid, signal.SIGKILL)
            p.wait()


def a_free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Run:
    """One training from the first step to the last, on a stream of its own."""

    def __init__(self, args, name, folder):
        self.args, self.name, self.dir = args, name, folder
        self.kinds = RUNS[name]
        self.rng = random.Random(f"{args.seed} {name}")
        self.url = (args.store or f"file://{folder}").rstrip("/") + "/" + name.replace(" ", "-")
        if not args.store:
            os.mkdir(f"{folder}/{name.replace(' ', '-')}")
        self.batchweave("init", self.url, "--ranks", args.ranks, "--max-ahead", AHEAD, "--grace", "1")
        self.batchweave("checkpoint", self.url, "charlm")  # a job: from now on producers wait for it
        self.killed = 0
        self.mounts, self.producers, self.trainers = [], [], None

    def batchweave(self, *words):
        done = subprocess.run([os.path.join(self.args.programs, "batchweave"), *map(str, words)], check=False, capture_output=True,
                              text=True)
        if done.returncode:
            raise Failed(f"batchweave {words[0]}: {done.stdout}{done.stderr}")
        return done.stdout

    def begin(self):
        args, program = self.args, os.path.join(self.args.programs, "mount.batchweave")
        # Producers and trainers on two mounts, as if on two hosts.
        self.mounts = [Mounted(program, self.url, f"{self.dir}/{name}", "wait=60,gc") for name in ("produce", "train")]
        out, into = (m.dir for m in self.mounts)
        self.producers = [
            Group(f"producer {i}", [[f"{HERE}/produce.py", out, "--producer", f"text-{i}", "--turn", f"{i}/{args.producers}",
                                     "--batches", str(args.steps), "--ranks", str(args.ranks), "--text", args.text]],
                  f"{self.dir}/producer-{i}.log") for i in range(args.producers)]
        train = [f"{HERE}/train.py", into, "--checkpoints", f"{self.dir}/checkpoints", "--steps", str(args.steps),
                 "--log", f"{self.dir}/losses"]
        self.trainers = Group("trainer", [train] * args.ranks, f"{self.dir}/trainers.log", lambda: {
            "WORLD_SIZE": str(args.ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(a_free_port()), "GLOO_SOCKET_IFNAME": "lo"})
        for group in self.groups():
            group.start()

    def groups(self):
        return [*self.producers, *filter(None, [self.trainers])]

    def trained(self):
        """The step after the newest one in the log of rank 0."""
        steps = [line.split()[1] for line in lines(f"{self.dir}/losses.0") if line.startswith("step ")]
        return int(steps[-1]) + 1 if steps else 0

    def victims(self):
        """When to kill what: ("trainer", 17) is when step 17 has been trained, ("producer", 17) when it has been committed."""
        moments = [(kind, self.rng.randrange(1, self.args.steps - AHEAD)) for kind in self.kinds for _ in range(self.args.kills)]
        return sorted(moments, key=lambda moment: moment[1])

    def kill(self, kind):
        time.sleep(self.rng.uniform(0, 0.03))
        if kind == "mount":
            self.rng.choice(self.mounts).kill()
            self.killed += 1
        else:
            among = [self.trainers] if kind == "trainer" else [p for p in self.producers if p.running[0].poll() is None]
            self.killed += bool(among) and self.rng.choice(among).kill(self.rng)

    def go(self):
        """Until all steps have been trained."""
        due, last, news = self.victims(), None, time.monotonic()
        self.begin()
        done = False
        while not done or due:
            done = all([group.is_done() for group in self.groups()])
            now = {"trainer": self.trained(), "producer": self.mounts[0].head()}
            now["mount"] = now["trainer"]
            if due and (done or now[due[0][0]] >= due[0][1]):
                self.kill(due.pop(0)[0])
            if (now, done) != last:
                last, news = (now, done), time.monotonic()
            if time.monotonic() > news + PATIENCE:
                raise Failed(f"nothing happens any more: {now}")
            time.sleep(0.005)

    def reclaimed(self):
        """The first step that is left, when the mounts have given up what no checkpoint needs."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            first = int(read(self.mounts[0].dir + "/status/first"))
            if first:
                return first
            time.sleep(0.1)
        raise Failed("nothing has been reclaimed")

    def end(self):
        result = check_logs(self)
        result["first"] = self.reclaimed()
        for m in self.mounts:
            m.stop()
        check_stream(self)
        self.batchweave("fsck", self.url, "--data")
        return result

    def close(self):
        for group in self.groups():
            group.end()
        for m in self.mounts:
            m.close()

    def show_logs(self):
        for path in sorted(glob.glob(f"{self.dir}/*.log")):
            say(f"---- {path}")
            say("\n".join(lines(path)[-20:]))


# ---- what must be true afterwards --------------------------------------------------------------------


def expected(args):
    """[step][rank]: digests of the slices, made from the text once more."""
    parts = [text.load(args.text, i, args.producers) for i in range(args.producers)]
    at, found = [0] * args.producers, []
    for n in range(args.steps):
        who = n % args.producers
        slices, at[who] = text.cut(parts[who], at[who], args.ranks)
        found.append([hashlib.sha256(s.tobytes()).hexdigest()[:16] for s in slices])
    return found


def check_rank(run, rank, wanted):
    """{step: loss} and the digest of the weights, of a log in which every line must fit."""
    losses, weights, position, attempts = {}, None, None, []
    for line in lines(f"{run.dir}/losses.{rank}"):
        word, n, *rest = line.split()
        n = int(n)
        if word == "begin":
            position, weights = n, None
            attempts.append(n)
            continue
        if n != position:
            raise Failed(f"rank {rank}: {word} {n} where {position} was due")
        if word == "end":
            weights = rest[0]
            continue
        data, loss = rest
        if data != wanted[n][rank]:
            raise Failed(f"rank {rank} has read other bytes in step {n} than the text has there")
        if losses.setdefault(n, loss) != loss:
            raise Failed(f"rank {rank}: step {n} had loss {losses[n]}, and {loss} when it was trained again")
        position += 1
    if sorted(losses) != list(range(run.args.steps)) or not weights:
        raise Failed(f"rank {rank} has not trained every step")
    return losses, weights, attempts


def check_logs(run):
    wanted = expected(run.args)
    ranks = [check_rank(run, rank, wanted) for rank in range(run.args.ranks)]
    losses, weights, attempts = ranks[0]
    if any(other[:2] != (losses, weights) for other in ranks):
        raise Failed("the ranks have other losses or weights")
    everything = "\n".join([losses[n] for n in sorted(losses)] + [weights])
    return {"loss": float.fromhex(losses[run.args.steps - 1]), "digest": hashlib.sha256(everything.encode()).hexdigest()[:16],
            "from": attempts[1:]}


def check_stream(run):
    """As many steps as there are batches, and as many of each producer."""
    args, status = run.args, json.loads(run.batchweave("status", run.url, "--json"))
    if int(status["head"]) != args.steps:
        raise Failed(f"{status['head']} steps are committed, {args.steps} were produced")
    for i in range(args.producers):
        got, due = int(status["producers"][f"text-{i}"]["next"]), len(range(i, args.steps, args.producers))
        if got != due:
            raise Failed(f"producer text-{i} has {got} batches in the stream, not {due}")


def drill(args, name, work):
    folder = os.path.join(work, name.replace(" ", "-"))
    os.mkdir(folder)
    run = Run(args, name, folder)
    try:
        run.go()
        result = run.end()
    except Failed:
        run.show_logs()
        raise
    finally:
        run.close()
    return {**result, "killed": run.killed, "starts": sum(g.starts - 1 for g in run.groups())}


HEAD = ("run", "steps", "killed", "restarted", "trainers resumed at", "reclaimed below", "final loss", "digest", "identical")


def row(args, name, result, reference):
    return (name, args.steps, result["killed"], result["starts"], " ".join(map(str, result["from"])) or "-", result["first"],
            f"{result['loss']:.6f}", result["digest"], "yes" if result["digest"] == reference else "NO")


def show(rows):
    widths = [max(len(str(r[i])) for r in rows) for i in range(len(HEAD))]
    for i, r in enumerate(rows):
        print("| " + " | ".join(str(cell).ljust(w) for cell, w in zip(r, widths)) + " |")
        if i == 0:
            print("|" + "|".join("-" * (w + 2) for w in widths) + "|")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", help="where streams are made, file:///DIR or s3://BUCKET/PREFIX (default: a temporary folder)")
    parser.add_argument("--programs", default=os.path.dirname(shutil.which("batchweave") or ""),
                        help="folder of batchweave and mount.batchweave (default: where batchweave is found)")
    parser.add_argument("--text", default="/usr/share/common-licenses/*")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--producers", type=int, default=2)
    parser.add_argument("--kills", type=int, default=3, help="of each kind in a run")
    parser.add_argument("--runs", default=",".join(RUNS), help="with commas between them; the first is what the others are compared with")
    parser.add_argument("--seed", default=str(random.SystemRandom().randrange(1 << 32)), help="of the moments; printed, to repeat them")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # through the clean-up
    say(f"seed {args.seed}")
    rows, reference = [HEAD], None
    with tempfile.TemporaryDirectory(prefix="batchweave-drill-") as work:
        try:
            for name in args.runs.split(","):
                result = drill(args, name, work)
                reference = reference or result["digest"]
                rows.append(row(args, name, result, reference))
                say(f"{name}: final loss {result['loss']:.6f}, digest {result['digest']}")
        except Failed as e:
            say(f"drill.py: {name}: {e}")
            return 1
        finally:
            show(rows)
    return 0 if all(r[-1] == "yes" for r in rows[1:]) else 1


if __name__ == "__main__":
    sys.exit(main())
