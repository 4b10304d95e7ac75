# SPDX-License-Identifier: Apache-2.0
# ctest: long 30-s
"""C1-C5, I9, I13: jobs keep what they need and nothing more, while collectors and daemons are killed.

Four producers on two mounts that also collect; two jobs that read every step, byte for byte, set a marker every
50 steps and withdraw old ones; daemons are killed and mounted again.  Whoever of a job begins again does so at any of
its markers, so all that a job may need is read.  At each pause the stream is checked: fsck finds nothing, and what is
kept is bounded.  At the end nothing is left that no step names.

BW_STEPS=20000 makes the long run of it.
"""
import contextlib
import json
import os
import random
import re
import shutil
import signal
import sys
import time

import bw
import objects

RANKS = 2
PRODUCERS = ("p0", "p1", "p2", "p3")  # two on each mount
KEEP = 2
INTERVAL = 50
AHEAD = 2 * INTERVAL
GRACE = 1
STEPS = int(os.environ.get("BW_STEPS") or (400 if objects.ON_S3 else 800))
PAUSES = max(4, STEPS // 1000)
GONE = ("ENOTCONN", "ECONNABORTED", "ENODEV")


def slices(producer, seq):
    sizes = random.Random(f"{producer} {seq}").choices((1, 700, 9000), k=RANKS)
    return [bw.payload(producer, seq, rank, size) for rank, size in enumerate(sizes)]


def is_end(mount, error):
    """The daemon was killed, and that is all that happened."""
    return bw.errno_name(error.errno) in GONE or (bw.errno_name(error.errno) in ("EIO", "EEXIST") and bw.is_dead(mount))


def note(path, value):
    bw.write(path + ".new", str(value))
    os.rename(path + ".new", path)


def produce(mount, name, folder):
    """Continues where the last commit was, until told to stop or until the daemon is gone."""
    try:
        os.makedirs(mount.path("produce", name), exist_ok=True)
        seq = int(mount.resume(name)["next"])
        if os.path.exists(mount.slot(name, seq)):  # begun by one that was killed
            shutil.rmtree(mount.slot(name, seq))
        while not os.path.exists(folder + "/stop"):
            mount.put(name, seq, slices(name, seq))
            seq += 1
            note(f"{folder}/{name}.acked", seq)
    except OSError as e:
        if not is_end(mount, e):
            raise


def check_step(mount, step):
    meta = mount.meta(step)
    if mount.get(step) != slices(meta["producer"], int(meta["seq"])):
        raise AssertionError(f"step {step} has other bytes than its producer wrote")


def markers(mount, job):
    return sorted(map(int, os.listdir(mount.path("checkpoint", job))))


def train(mount, job, folder, seed):
    """Begins at one of its markers, reads on from there and sets new ones."""
    try:
        rng = random.Random(seed)
        with contextlib.suppress(FileExistsError):
            os.mkdir(mount.path("checkpoint", job))
        step = rng.choice(markers(mount, job) or [0])
        while not os.path.exists(folder + "/stop"):
            if bw.error_of(os.stat, mount.step(step)) == "ENOENT":
                time.sleep(0.01)
                continue
            check_step(mount, step)
            step += 1
            if step % INTERVAL == 0:
                bw.write(mount.path("checkpoint", job, step), f"checkpoint of {job} at {step}")
                for old in markers(mount, job)[:-KEEP]:
                    os.unlink(mount.path("checkpoint", job, old))
    except OSError as e:
        if not is_end(mount, e):
            raise


class Retention(bw.TestCase):
    limit = 280 + STEPS // 8

    def test_what_jobs_need_is_kept_and_all_else_goes(self):
        """C1, C2, C3, C4, C5, P7, S2, I9, I13."""
        seed = int(os.environ.get("BW_SEED") or random.SystemRandom().randrange(1 << 32))
        print(f"seed {seed} (repeat with BW_SEED={seed})", file=sys.stderr, flush=True)
        self.rng = random.Random(seed)
        stream = self.stream(RANKS, "--keep", KEEP, "--grace", f"{GRACE}s", "--max-ahead", AHEAD)
        self.said = self.folder("said")
        # Registered before anything is produced, or the producers might run ahead without a limit.
        for job in "ab":
            bw.batchweave("checkpoint", stream.url, job)
        mounts = [self.mount(stream, "gc"), self.mount(stream, "gc")]
        most = 0
        for pause in range(PAUSES):
            self.run_until(mounts, (pause + 1) * STEPS // PAUSES)
            most = max(most, self.check_pause(stream, mounts))
        self.go_on(mounts)
        self.check_end(stream, mounts)
        print(f"{mounts[0].head()} steps, {self.kills} daemons killed; at most {most} steps were kept, "
              f"{(KEEP + 2) * INTERVAL + AHEAD} allowed", file=sys.stderr)

    kills = 0

    def start(self, mounts):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.said + "/stop")
        return [self.start_one(mounts, i) for i in range(len(mounts))]

    def run_until(self, mounts, steps):
        """At least one daemon is killed on the way."""
        groups, kills = self.start(mounts), self.kills
        while self.head(mounts) < steps or self.kills == kills:
            wanted = min(steps, self.head(mounts) + 1 + self.rng.randrange(STEPS // PAUSES))
            bw.wait_until(lambda: self.head(mounts) >= wanted or self.anybody_failed(groups),
                          timeout=bw.PATIENCE + STEPS // 10, what=f"{wanted} steps")
            self.assertFalse(self.anybody_failed(groups), "a producer or a job has failed")
            if self.head(mounts) < steps or self.kills == kills:
                self.kill(mounts, groups, self.rng.randrange(2))
        self.stop(mounts, groups)

    def stop(self, mounts, groups):
        note(self.said + "/stop", "")
        children = [c for g in groups for c in g]
        bw.wait_until(lambda: all(c.poll() is not None for c in children) or not self.end_waiting(mounts),
                      what="the end of the load")
        self.assertLessEqual({c.wait() for c in children}, {0, -signal.SIGKILL})

    def go_on(self, mounts):
        """Until a producer comes back, what a killed daemon uploaded for it may still be committed, so it is kept."""
        before, groups = self.acked(), self.start(mounts)
        bw.wait_until(lambda: all(n > before[name] for name, n in self.acked().items()) or self.anybody_failed(groups),
                      what="a batch of each producer")
        self.assertFalse(self.anybody_failed(groups), "a producer or a job has failed")
        self.stop(mounts, groups)

    def acked(self):
        """{producer: the seq after the last that close has acknowledged}"""
        paths = {name: f"{self.said}/{name}.acked" for name in PRODUCERS}
        return {name: int(bw.read(path)) if os.path.exists(path) else 0 for name, path in paths.items()}

    @staticmethod
    def anybody_failed(groups):
        return any(c.poll() for g in groups for c in g)

    @staticmethod
    def head(mounts):
        return max(int(m.status("head")) for m in mounts)

    def kill(self, mounts, groups, i):
        mounts[i].proc.kill()
        mounts[i].proc.wait(bw.PATIENCE)
        self.join(*groups[i])
        mounts[i].kill()
        mounts[i].restart()
        self.kills += 1
        groups[i] = self.start_one(mounts, i)

    def start_one(self, mounts, i):
        return [self.spawn(produce, mounts[i], name, self.said) for name in PRODUCERS[2 * i:2 * i + 2]] + \
            [self.spawn(train, mounts[i], "ab"[i], self.said, self.rng.random())]

    @staticmethod
    def end_waiting(mounts):
        """Producers that wait for a job (max_ahead) would not see that they are to stop: any signal ends that wait."""
        for mount in mounts:
            for line in mount.status("waiting").splitlines():
                pid = re.match(r"pid=(\d+) ", line)
                with contextlib.suppress(ProcessLookupError):
                    if pid:
                        os.kill(int(pid[1]), signal.SIGKILL)
        return True

    def check_pause(self, stream, mounts):
        """Nobody writes: fsck finds nothing, every step is whole, and what is kept is bounded."""
        done = bw.batchweave("fsck", stream.url, "--json", check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.check_promises(stream)
        # Jobs that have just begun again at an old marker, and producers, may be behind and ahead by that much.
        bw.wait_until(lambda: len(self.kept(stream)) <= (KEEP + 2) * INTERVAL + AHEAD, what="a trim")
        for step in self.needed(stream)[::7]:
            check_step(mounts[step % 2], step)
        return len(self.kept(stream))

    def check_promises(self, stream):
        """What close has acknowledged is committed (S2), and nobody ran ahead of the jobs (P7)."""
        newest = self.newest(stream)
        acked = self.acked()
        for name, producer in newest["producers"].items():
            self.assertGreaterEqual(int(producer["next"]), acked[name])
        slowest = min(max(j["markers"], default=0) for j in newest["jobs"].values())
        # Each looks at the same moment: one step more for each producer that began then.
        self.assertLessEqual(int(newest["head"]), slowest + AHEAD + len(newest["producers"]) - 1)

    @staticmethod
    def newest(stream):
        return json.loads(bw.batchweave("status", stream.url, "--json").stdout)

    def kept(self, stream):
        """The steps that may be read, by the newest root."""
        newest = self.newest(stream)
        return range(int(newest["first"]), int(newest["head"]))

    def needed(self, stream):
        """Those of them that no trim may take: what a job may come back to."""
        newest = self.newest(stream)
        return range(min((j["markers"] + [0])[0] for j in newest["jobs"].values()), int(newest["head"]))

    def check_end(self, stream, mounts):
        """I13: after the faults all garbage goes, and what is needed stays."""
        def collected():
            bw.batchweave("gc", stream.url, "--force")
            return len(stream.objects("/data/")) == len(self.kept(stream))
        bw.wait_until(collected, what="a stream without garbage")
        done = bw.batchweave("fsck", stream.url, "--data", "--json", check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(self.kept(stream), self.needed(stream))
        for mount in mounts:
            for step in self.needed(stream):
                check_step(mount, step)
            self.assert_errno("ESTALE", open, mount.step(self.kept(stream)[0] - 1, 0))


if __name__ == "__main__":
    bw.main()
