#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# ctest: once trainers waits long 40-s
"""C6: `batchweave watch` beside checkpoints that PyTorch itself writes, rotates and is killed in.

What torch.save() writes runs with Debian's PyTorch.  BW_WATCH_FORMATS="dcp hf lightning" runs the same with those trainers, under
a Python that has PyTorch 2, transformers and accelerate, pytorch_lightning.
"""
import json
import os
import random
import re
import signal
import subprocess
import sys
import time

import torch

import bw
import saver

STEPS = 8
FORMATS = (os.environ.get("BW_WATCH_FORMATS") or "pattern:step-{step}.pt").split()


class WatchTrainers(bw.TestCase):
    limit = 400

    def setUp(self):
        super().setUp()
        seed = os.environ.get("BW_SEED") or random.SystemRandom().randrange(1 << 32)
        print(f"BW_SEED={seed}", file=sys.stderr)
        self.rng = random.Random(int(seed))
        self.url = self.stream(1).url
        bw.write(self.root + "/slice", "x")
        for _ in range(STEPS + 1):
            bw.batchweave("put", self.url, "p", self.root + "/slice")

    def train(self, kind, folder, kill_after=None):
        """In a child; kill -9 a little after so many steps are done."""
        told, tell = os.pipe()
        count = iter(range(1, STEPS + 1))

        def done():
            os.write(tell, b".")
            if next(count) == STEPS and kill_after:
                signal.pause()  # it is killed, however fast it is

        def run():
            torch.set_num_threads(1)
            os.dup2(os.open("/dev/null", os.O_WRONLY), 1)
            kind.train(folder, STEPS, done)

        child = self.spawn(run)
        os.close(tell)
        with os.fdopen(told, "rb", buffering=0) as f:
            steps = 0
            while steps != kill_after and f.read(1):
                steps += 1
            if kill_after:
                time.sleep(self.rng.uniform(0, 0.01))
                child.kill()
            self.assertEqual(child.wait(), -signal.SIGKILL if kill_after else 0)

    def there(self, folder):
        """{step: path}, by the numbers in their names; what is not whole as well."""
        return {int(re.search(r"\d+", name).group()): os.path.join(folder, name) for name in os.listdir(folder)}

    def markers(self):
        return json.loads(bw.batchweave("status", self.url, "--json").stdout)["jobs"]["j"]["markers"]

    def args(self, how, folder):
        return [self.url, "--job", "j", "--dir", folder, "--format", how]

    def check_beside(self, how):
        folder = self.folder("ckpt")
        with open(self.root + "/watch.log", "wb") as log:
            watcher = subprocess.Popen([bw.BATCHWEAVE, "watch", *self.args(how, folder), "--settle", "0.2", "--poll", "1"],
                                       stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=bw.die_with_parent)
        self.addCleanup(watcher.wait)
        self.addCleanup(watcher.kill)
        self.train(saver.KINDS[how], folder)
        wanted = sorted(self.there(folder))
        self.assertEqual(wanted[-1], STEPS)
        self.assertEqual(len(wanted), 2)
        bw.wait_until(lambda: self.markers() == wanted, what=f"markers at {wanted}")
        watcher.send_signal(signal.SIGTERM)
        self.assertEqual(watcher.wait(bw.PATIENCE), 0, bw.read(self.root + "/watch.log"))

    def check_killed(self, how):
        kind = saver.KINDS[how]
        for kill_after in (self.rng.randrange(2, 4), self.rng.randrange(4, STEPS)):
            folder = self.folder("ckpt")
            self.train(kind, folder, kill_after)
            there = self.there(folder)
            bw.batchweave("watch", *self.args(how, folder), "--once", "--settle", "0", "--adopt")
            marked = self.markers()
            print(f"{how}: killed after {kill_after} steps, {sorted(os.listdir(folder))}, marked {marked}", file=sys.stderr)
            for step in set(marked) & set(there):
                child = self.spawn(kind.load, there[step])
                self.assertEqual(child.wait(), 0, f"{there[step]} has a marker, and cannot be resumed from")
            if there:
                self.assertTrue(set(marked) <= set(there), "a marker without a checkpoint")


def add_tests():
    for how in FORMATS:
        name = re.sub(r"\W+", "_", how.partition(":")[0])
        setattr(WatchTrainers, f"test_c6_{name}_beside_the_trainer", lambda self, how=how: self.check_beside(how))
        setattr(WatchTrainers, f"test_c6_{name}_killed_while_it_saves", lambda self, how=how: self.check_killed(how))


add_tests()

if __name__ == "__main__":
    bw.main()
