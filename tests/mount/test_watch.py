#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# ctest: once waits 60-s
"""C6: `batchweave watch`, the program: its options, its life, and what happens to it and around it.

What each trainer writes in which order is tested call by call in tests/unit/test_watch_layouts.c.
"""
import contextlib
import io
import json
import os
import pickle
import random
import re
import shutil
import signal
import subprocess
import time
import unittest
import zipfile

import bw

CHANGE = os.path.join(bw.BUILD, "tests", "mount", "change")
MARKS = re.compile(r" info (marked|withdrawn) job=\S+ step=(\d+) ")


class Watcher:
    """A watcher that runs, and what it says."""

    def __init__(self, test, *args):
        self.path = os.path.join(test.root, f"watch{len(test.watchers)}.log")
        with open(self.path, "wb") as log:
            self.proc = subprocess.Popen([bw.BATCHWEAVE, "watch", *map(str, args)], stdout=log, stderr=log,
                                         stdin=subprocess.DEVNULL, preexec_fn=bw.die_with_parent)
        test.watchers.append(self)
        test.addCleanup(self.kill)

    def said(self):
        return bw.read(self.path)

    def says(self, word):
        bw.wait_until(lambda: self.proc.poll() is not None or re.search(word, self.said()), what=word)
        assert re.search(word, self.said()), f"ended with {self.proc.returncode}: {self.said()}"

    def stop(self, number=signal.SIGTERM):
        self.proc.send_signal(number)
        return self.proc.wait(bw.PATIENCE)

    def kill(self):
        self.proc.kill()
        self.proc.wait(bw.PATIENCE)


class Watch(bw.TestCase):
    def setUp(self):
        super().setUp()
        self.watchers = []
        self.stream_ = self.stream(1)
        self.url = self.stream_.url
        self.dir = self.folder("ckpt")
        self.grow(10)

    def grow(self, n):
        slice_ = os.path.join(self.root, "slice")
        bw.write(slice_, "x")
        for _ in range(n):
            bw.batchweave("put", self.url, "p", slice_)

    def change(self, *args):
        subprocess.run([CHANGE, self.url, *map(str, args)], check=True, timeout=bw.PATIENCE)

    def status(self):
        return json.loads(bw.batchweave("status", self.url, "--json").stdout)

    def markers(self, job="j"):
        return self.status()["jobs"].get(job, {"markers": None})["markers"]

    def save(self, step, folder=None):
        """A checkpoint of torchtitan, whole from one moment to the next."""
        made = os.path.join(self.root, "made")
        os.mkdir(made)
        bw.write(made + "/__0_0.distcp", "weights")
        bw.write(made + "/.metadata", pickle.dumps(["__0_0.distcp"], protocol=2))
        shutil.move(made, os.path.join(folder or self.dir, f"step-{step}"))

    def drop(self, step):
        shutil.rmtree(os.path.join(self.dir, f"step-{step}"))

    def args(self, *more):
        return [self.url, "--job", "j", "--dir", self.dir, "--format", "dcp", *more]

    def once(self, *more, check=True):
        return bw.batchweave("watch", *self.args("--once", "--settle", "0", *more), check=check)

    def run_on(self, *more):
        """A watcher that looks again when something happens, and on its own only once in an hour."""
        watcher = Watcher(self, *self.args("--poll", "1h", "--settle", "0.2", *more))
        watcher.says("watching")
        return watcher

    def becomes(self, *wanted):
        bw.wait_until(lambda: self.markers() == list(wanted), what=f"markers at {wanted}")

    # ---- once ----

    def test_c6_once_marks_what_is_whole_and_withdraws_what_is_gone(self):
        self.save(2)
        self.save(4)
        os.mkdir(self.dir + "/step-6")
        bw.write(self.dir + "/step-6/__0_0.distcp", "weights")
        said = self.once().stderr
        self.assertEqual(self.markers(), [2, 4])
        self.assertEqual(MARKS.findall(said), [("marked", "2"), ("marked", "4")])
        self.assertIn(f'path="{self.dir}/step-4"', said)
        self.assertEqual(self.once().stderr, "")
        self.drop(2)
        self.assertEqual(MARKS.findall(self.once().stderr), [("withdrawn", "2")])
        self.assertEqual(self.markers(), [4])
        self.drop(4)
        self.drop(6)
        self.once()
        self.assertEqual(self.markers(), [4])

    def test_c6_the_job_is_registered_before_anything_else(self):
        os.rmdir(self.dir)
        done = self.once(check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("its markers stay", done.stderr)
        self.assertEqual(self.markers(), [])  # registered, so nothing is reclaimed

    def test_c6_scale_and_offset(self):
        self.save(2)
        self.save(3)
        self.once("--scale", "2", "--offset", "-1")
        self.assertEqual(self.markers(), [3, 5])

    def test_c6_wrong_arguments(self):
        for args, word in (
                (["--job", "j", "--dir", "d"], "--format"), (["--job", "j", "--format", "dcp"], "--dir"),
                (["--dir", "d", "--format", "dcp"], "--job"),
                (["--job", "a b", "--dir", "d", "--format", "dcp"], "name"),
                (["--job", "j", "--dir", "d", "--format", "keras"], "pattern"),
                (["--job", "j", "--dir", "d", "--format", "dcp:x"], "pattern"),
                (["--job", "j", "--dir", "d", "--format", "pattern:step"], "{step}"),
                (["--job", "j", "--dir", "d", "--format", "pattern:{step}/../x"], "{step}"),
                (["--job", "j", "--dir", "d", "--format", "pattern:{step}-{step}"], "{step}"),
                (["--job", "j", "--dir", "", "--format", "hf"], "--dir"),
                (["--job", "j", "--dir", "d", "--format", "hf", "--scale", "0"], "--scale"),
                (["--job", "j", "--dir", "d", "--format", "hf", "--offset", "1.5"], "--offset"),
                (["--job", "j", "--dir", "d", "--format", "hf", "--settle", "-1"], "--settle"),
                (["--job", "j", "--dir", "d", "--format", "hf", "--poll", "0"], "--poll")):
            done = bw.batchweave("watch", self.url, *args, check=False)
            self.assertEqual(done.returncode, 2, args)
            self.assertIn(word, done.stderr)
            self.assertEqual(done.stderr.count("\n"), 1)

    def test_c6_a_relative_directory_and_a_long_one(self):
        deep = os.path.join(self.dir, "d" * 200, "e" * 100)
        os.makedirs(deep)
        self.save(3, deep)
        done = bw.batchweave("watch", self.url, "--job", "j", "--dir", "./" + os.path.basename(self.dir)
                             + "/" + "d" * 200 + "/" + "e" * 100 + "//", "--format", "dcp", "--once",
                             "--settle", "0", cwd=self.root)
        text = re.search(r'path="([^"]*)"', done.stderr).group(1)
        self.assertEqual(len(text), 255)
        self.assertTrue((deep + "/step-3").endswith(text))

    def test_c6_the_directory_one_is_in(self):
        watch = os.path.abspath(bw.BATCHWEAVE)
        for step, here in enumerate((".", "./", ".//"), 3):
            self.save(step)
            done = subprocess.run([watch, "watch", self.url, "--job", "j", "--dir", here, "--format", "dcp", "--once", "--settle", "0"],
                                  capture_output=True, text=True, cwd=self.dir, timeout=bw.PATIENCE, check=False)
            self.assertIn(f'path="{os.path.realpath(self.dir)}/step-{step}"', done.stderr)

    def test_c6_names_stay_between_their_quotes(self):
        """Blanks and quotes in names make no keys and values of their own."""
        self.dir += ' a "b" step=9'
        os.mkdir(self.dir)
        watcher = Watcher(self, self.url, "--job", "j", "--dir", self.dir, "--format", 'pattern:my "run" {step}', "--settle", "0.2", "--poll", "0.2")
        watcher.says("watching")
        for step in (2, 4, 20):
            bw.write(f'{self.dir}/my "run" {step}', "weights")
        self.becomes(2, 4)
        os.unlink(self.dir + '/my "run" 2')
        self.becomes(4)
        watcher.says("refused")
        shutil.rmtree(self.dir)
        watcher.says("away")
        self.assertEqual(watcher.stop(), 0)
        for line in watcher.said().splitlines():
            self.assertRegex(line, r'^\S+Z (info|warn) [a-z]+( [a-z_]+=("[^"]*"|[^" ]+))*$')

    def test_c6_however_the_directory_is_written(self):
        """A marker that was set under one spelling is withdrawn under another."""
        spellings = (self.dir, self.dir.replace("/", "//"), self.dir + "/", os.path.relpath(self.dir, "/"))
        self.save(0)
        for step, (before, now) in enumerate(zip(spellings, spellings[1:] + spellings[:1]), 1):
            self.save(step)
            for here in (before, now):
                done = subprocess.run([os.path.abspath(bw.BATCHWEAVE), "watch", self.url, "--job", "j", "--dir", here, "--format", "dcp", "--once",
                                       "--settle", "0"], capture_output=True, text=True, cwd="/", timeout=bw.PATIENCE, check=True)
                if here is before:
                    self.assertIn(f'marked job=j step={step} path="{self.dir}/step-{step}"', done.stderr)
                    self.drop(step)
            self.assertEqual(MARKS.findall(done.stderr), [("withdrawn", str(step))], (before, now))
            self.assertEqual(self.markers(), [0])

    def test_c6_markers_set_by_hand_stay_unless_adopted(self):
        self.change("job", "j")
        self.change("mark", "j", 1)
        self.save(4)
        self.assertIn("unexplained", self.once().stderr)
        self.assertEqual(self.markers(), [1, 4])
        self.once("--adopt")
        self.assertEqual(self.markers(), [4])

    def test_c6_reclaimed_and_future_steps_do_not_stop_the_others(self):
        self.change("job", "other")
        for step in (5, 6):
            self.change("mark", "other", step)
        self.change("trim")
        for step in (3, 7, 12):
            self.save(step)
        said = self.once().stderr
        self.assertEqual(said.count(" refused "), 2)
        self.assertEqual(self.markers(), [7])
        self.grow(2)
        self.once()
        self.assertEqual(self.markers(), [7, 12])

    def test_c6_a_link_that_leads_nowhere_holds_what_it_may_need(self):
        os.symlink("/nowhere/at/all", self.dir + "/step-2")
        self.save(4)
        self.assertIn(" held ", self.once().stderr)
        self.assertEqual(self.markers(), [])

    def test_c6_an_unmounted_directory_keeps_its_markers(self):
        self.needs_root()
        self.dir = self.disk("1m")
        self.save(2)
        self.save(4)
        self.once()
        watcher = self.run_on("--poll", "0.2")
        # The watcher may be looking just then.
        bw.wait_until(lambda: subprocess.run(["umount", self.dir], capture_output=True, check=False).returncode == 0)
        watcher.says("empty")
        self.once()
        self.save(3)  # somebody started the trainer without the mount
        watcher.says("stranger")
        self.assertIn("stranger", self.once().stderr)
        self.assertEqual(self.markers(), [2, 4])
        self.assertEqual(watcher.stop(), 0)
        self.assertEqual(MARKS.findall(watcher.said()), [])

    def test_c6_a_mount_whose_daemon_died_keeps_its_markers(self):
        mount = self.mount(self.stream(1))
        mount.begin("q", 0)
        self.dir = mount.slot("q", 0)
        for step in (2, 4):
            bw.write(f"{self.dir}/step-{step}.bin", "weights")
        self.args = lambda *more: [self.url, "--job", "j", "--dir", self.dir, "--format",
                                   "pattern:step-{step}.bin", *more]
        watcher = self.run_on("--poll", "0.2")
        self.assertIn("by=polling", watcher.said())  # a FUSE file system
        self.becomes(2, 4)
        os.kill(mount.proc.pid, signal.SIGKILL)
        watcher.says("away.*kept")
        self.assertEqual(self.once(check=False).returncode, 1)
        self.assertEqual(self.markers(), [2, 4])
        self.assertEqual(watcher.stop(), 0)
        mount.kill()
        mount.complaints.clear()
        self.mounts.remove(mount)

    # ---- a watcher that runs ----

    def test_c6_changes_are_seen_without_polling(self):
        watcher = self.run_on()
        self.assertIn("by=inotify", watcher.said())
        self.save(2)
        self.becomes(2)
        os.mkdir(self.dir + "/step-4")
        bw.write(self.dir + "/step-4/__0_0.distcp", "weights")
        bw.write(self.dir + "/step-4/.metadata.tmp", pickle.dumps(["__0_0.distcp"], protocol=2))
        os.rename(self.dir + "/step-4/.metadata.tmp", self.dir + "/step-4/.metadata")
        self.becomes(2, 4)
        self.drop(2)
        self.becomes(4)
        self.assertEqual(watcher.stop(), 0)
        self.assertEqual(MARKS.findall(watcher.said()),
                         [("marked", "2"), ("marked", "4"), ("withdrawn", "2")])

    def test_c6_the_directory_may_come_later(self):
        os.rmdir(self.dir)
        watcher = self.run_on("--poll", "0.2")
        watcher.says("away")
        self.becomes()
        os.mkdir(self.dir)
        self.save(3)
        self.becomes(3)
        self.assertEqual(watcher.stop(signal.SIGINT), 0)

    def test_c6_a_copy_that_stands_still_is_not_marked(self):
        """cp -r, the mark of the checkpoint first, and a pause after each file, and in the midst of one."""
        self.save(2)
        watcher = self.run_on("--poll", "0.1", "--settle", "0.1")
        self.becomes(2)
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as made:
            made.writestr("archive/data.pkl", b"state" * 100)
        files = (("/.metadata", pickle.dumps(["__0_0.distcp", "__1_0.distcp"], protocol=2)),
                 ("/__1_0.distcp", b"weights"), ("/optimizer.pt", archive.getvalue()[:300]),
                 ("/__0_0.distcp", b"weights"))
        target = self.dir + "/step-4"
        os.mkdir(target)
        for name, data in files:
            bw.write(target + name, data)
            time.sleep(0.5)  # several looks, unless the machine is busy
            self.assertEqual(self.markers(), [2], name)
        bw.write(target + "/optimizer.pt", archive.getvalue())
        self.becomes(2, 4)
        self.assertEqual(watcher.stop(), 0)

    def test_c6_a_killed_watcher_is_taken_up_by_the_next(self):
        rng = random.Random(7)
        live = set()
        for round_ in range(6):
            watcher = Watcher(self, *self.args("--poll", "0.1", "--settle", "0.05"))
            for step in rng.sample(range(11), 3):
                if step in live and len(live) > 1:
                    self.drop(step)
                    live.discard(step)
                elif step not in live:
                    self.save(step)
                    live.add(step)
            time.sleep(rng.random() * 0.3)
            watcher.kill()
        self.once("--adopt")  # it may be that none of them has been seen
        self.assertEqual(self.markers(), sorted(live))

    def test_c6_a_store_that_is_away_is_waited_for(self):
        self.save(2)
        watcher = self.run_on("--poll", "0.3")
        self.becomes(2)
        with self.stream_.away():
            self.save(4)
            self.drop(2)
            watcher.says("store url=.* again=later")
        self.becomes(4)
        watcher.says("answers=again")
        self.assertEqual(watcher.stop(), 0)

    def test_c6_it_ends_although_the_store_is_away(self):
        watcher = self.run_on("--poll", "0.3")
        with self.stream_.away():
            self.save(4)
            watcher.says("store url=.* again=later|watching")
            self.assertEqual(watcher.stop(), 0)
        self.once()
        self.assertEqual(self.markers(), [4])

    def test_c6_what_others_take_away_is_put_back(self):
        watcher = self.run_on("--poll", "0.3")
        self.becomes()
        bw.batchweave("checkpoint", self.url, "j", "--remove")
        self.save(2)
        self.becomes(2)
        bw.batchweave("checkpoint", self.url, "j", 2, "--remove")
        self.becomes(2)
        self.assertEqual(watcher.stop(), 0)
        self.assertEqual(watcher.said().count(" registered "), 2)

    def test_c6_nothing_is_left_behind_by_many_looks(self):
        self.save(2)
        self.save(4)
        watcher = self.run_on("--poll", "0.02", "--settle", "0")
        self.becomes(2, 4)
        before = len(os.listdir(f"/proc/{watcher.proc.pid}/fd"))
        for step in range(20):
            with contextlib.suppress(FileExistsError):
                os.mkdir(f"{self.dir}/step-9")
            os.rmdir(f"{self.dir}/step-9")
            time.sleep(0.02)
        # A look that is under way has some open.
        bw.wait_until(lambda: len(os.listdir(f"/proc/{watcher.proc.pid}/fd")) <= before + 2, what="as few descriptors as before")
        self.assertEqual(watcher.stop(), 0)  # LeakSanitizer looks at the rest


if __name__ == "__main__":
    bw.main()
