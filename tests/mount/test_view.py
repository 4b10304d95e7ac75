# SPDX-License-Identifier: Apache-2.0
# ctest: once waits 30-s
"""Name templates: option view=.  V1 to V7 and S9 hold under a loader's own paths as they do under /step."""
import os
import pathlib
import signal
import subprocess
import sys
import time

import bw

CHANGE = os.path.join(bw.BUILD, "tests", "mount", "change")
TEMPLATES = ("rollouts/step_{step}/rank_{rank}.bin", "{step:08d}/{rank:05d}.tar", "all/{step}_{rank}.npy",
             "hive/step={step}/parts/rank={rank}/0.parquet")
VIEWS = ",".join("view=" + t for t in TEMPLATES)


def path(mount, template, step, rank):
    """Templates mean what they mean in Python."""
    return mount.path(template.format(step=step, rank=rank))


def paths(mount, step, rank):
    return [path(mount, t, step, rank) for t in TEMPLATES]


class Same(bw.TestCase):
    def test_v1_v4_the_very_slices_of_step(self):
        """V1, V4, S9: bytes, attributes and inode number are those of /step, on each mount, for ever."""
        stream = self.stream()
        a, b = self.mount(stream, VIEWS), self.mount(stream, VIEWS)
        for seq in range(2):
            a.put("p", seq)

        def check(mount):
            for step in range(2):
                for rank in range(4):
                    plain = mount.step(step, rank)
                    for view in paths(mount, step, rank):
                        self.assertEqual(bw.read(view, "rb"), bw.payload("p", step, rank))
                        self.assertEqual(os.stat(view), os.stat(plain))
                        self.assertEqual(os.stat(view).st_ino, os.stat(a.step(step, rank)).st_ino)
                        self.assertEqual({n: os.getxattr(view, n) for n in os.listxattr(view)},
                                         {n: os.getxattr(plain, n) for n in os.listxattr(plain)})

        check(b)
        check(a)
        self.assertEqual(a.umount(), 0)
        a.restart()
        check(a)

    def test_what_is_listed(self):
        """S9: names, types and numbers of each directory; every one has an inode number of its own."""
        mount = self.mounted(VIEWS, ranks=2)
        self.assertEqual(os.listdir(mount.path("rollouts")), [])
        for seq in range(11):
            mount.put("p", seq)
        tops = ["step", "produce", "checkpoint", "status"]
        self.assertEqual(os.listdir(mount.dir),
                         tops + ["rollouts"] + [f"{n:08d}" for n in range(11)] + ["all", "hive"])
        self.assertEqual(os.listdir(mount.path("rollouts")), [f"step_{n}" for n in range(11)])
        self.assertEqual(os.listdir(mount.path("rollouts/step_10")), ["rank_0.bin", "rank_1.bin"])
        self.assertEqual(os.listdir(mount.path("00000007")), ["00000.tar", "00001.tar"])
        self.assertEqual(os.listdir(mount.path("all")), [f"{n}_{r}.npy" for n in range(11) for r in range(2)])
        self.assertEqual(os.listdir(mount.path("hive/step=3")), ["parts"])
        self.assertEqual(os.listdir(mount.path("hive/step=3/parts")), ["rank=0", "rank=1"])
        self.assertEqual(os.listdir(mount.path("hive/step=3/parts/rank=1")), ["0.parquet"])
        directories = {}
        for folder, names, files in os.walk(mount.dir):
            if os.path.basename(folder) in tops[1:]:
                names.clear()
                continue
            st = os.stat(folder)
            self.assertNotIn(st.st_ino, directories, f"{folder} and {directories.get(st.st_ino)}")
            directories[st.st_ino] = folder
            self.assertEqual((st.st_mode, st.st_nlink), (0o40555, 1))
            with os.scandir(folder) as entries:
                for entry in entries:
                    self.assertEqual(entry.inode(), entry.stat().st_ino, entry.path)
                    self.assertEqual(entry.is_dir(), entry.name in names)
        self.assertEqual(len(directories), 1 + 23 + 12 + 11 + 1 + 1 + 11 * 4)

    def test_v4_one_page_cache(self):
        """V4: what was read under one path reaches neither daemon nor store under another."""
        mount = self.mounted(VIEWS, ranks=2)
        slices = [os.urandom(2 << 20) for _ in range(2)]
        mount.put("p", 0, slices)
        for rank, data in enumerate(slices):
            ways = [mount.step(0, rank), *paths(mount, 0, rank)]
            if rank:
                ways.reverse()
            before = mount.metric("useful_bytes_total")
            self.assertTrue(bw.read(ways[0], "rb") == data)
            self.lock_pages(ways[0], len(data))
            read = mount.metric("useful_bytes_total")
            self.assertGreaterEqual(read - before, len(data))
            for way in ways[1:]:
                self.assertTrue(bw.read(way, "rb") == data)
            self.assertEqual(mount.metric("useful_bytes_total"), read)

    def test_s9_ro(self):
        """S9: a mount that only reads has views as well."""
        stream = self.stream(2)
        a, b = self.mount(stream), self.mount(stream, "ro," + VIEWS)
        a.put("p", 0)
        for view in paths(b, 0, 1):
            self.assertEqual(bw.read(view, "rb"), bw.payload("p", 0, 1))
            self.assert_errno("EROFS", os.unlink, view)

    def test_s9_nothing_is_written(self):
        """S9: EROFS for whatever would change a view."""
        mount = self.mounted(VIEWS, ranks=2)
        mount.put("p", 0)
        for view in paths(mount, 0, 0):
            folder = os.path.dirname(view)
            if bw.ROOT:  # for others the mode comes first
                self.assert_errno("EROFS", os.open, view, os.O_WRONLY)
                self.assert_errno("EROFS", os.open, view, os.O_RDONLY | os.O_TRUNC)
                self.assert_errno("EROFS", os.truncate, view, 0)
            for call, args in ((os.unlink, (view,)), (os.mkdir, (folder + "/x",)), (os.rmdir, (folder,)),
                               (os.rename, (view, view + "x")), (os.symlink, ("x", folder + "/x")),
                               (os.open, (folder + "/x", os.O_CREAT | os.O_WRONLY)),
                               (os.link, (view, folder + "/x")), (os.chmod, (view, 0o644)),
                               (os.mkdir, (path(mount, TEMPLATES[0], 1, 0),))):
                self.assert_errno("EROFS EACCES ENOENT" if not bw.ROOT else "EROFS ENOENT", call, *args)
            self.assertEqual(bw.read(view, "rb"), bw.payload("p", 0, 0))
        self.assert_errno("ENOENT", os.stat, mount.path("rollouts/step_0/meta.json"))
        self.assertEqual(mount.meta(0)["step"], 0)

    def test_s9_programs_that_copy(self):
        """S9, V4: find, du, tar, rsync and cp take a view as they take /step."""
        mount = self.mounted(VIEWS)
        for seq in range(3):
            mount.put("p", seq)
        out = self.folder("out")
        self.shell("""
            set -e -o pipefail
            test $(find $M/rollouts -type f | wc -l) = 12
            test $(find $M/rollouts -mindepth 1 -type d | wc -l) = 3
            test $(find $M/all $M/hive $M/0000000? -samefile $M/step/2/rank/3 | wc -l) = 3
            test $(du -s --apparent-size -B1 $M/rollouts | cut -f1) = \\
                 $(find $M/step -path '*/rank/*' -printf '%s\\n' | awk '{ n += $1 } END { print n }')
            tar c -C $M rollouts hive | tar x -C $O
            mkdir $O/rsync $O/cp
            rsync -a $M/all $M/00000001 $O/rsync/
            rsync -a --checksum --itemize-changes $M/all $O/rsync/ > $O/again
            test ! -s $O/again
            cp -a $M/rollouts/step_1 $O/cp/
            for r in 0 1 2 3; do
                for n in 0 1 2; do
                    cmp $M/step/$n/rank/$r $O/rollouts/step_$n/rank_$r.bin
                    cmp $M/step/$n/rank/$r $O/hive/step=$n/parts/rank=$r/0.parquet
                    cmp $M/step/$n/rank/$r $O/rsync/all/${n}_$r.npy
                done
                cmp $M/step/1/rank/$r $O/rsync/00000001/0000$r.tar
                cmp $M/step/1/rank/$r $O/cp/step_1/rank_$r.bin
            done
        """, M=mount.dir, O=out)
        self.assertEqual(os.stat(out + "/cp/step_1/rank_0.bin").st_mtime_ns, os.stat(mount.step(1, 0)).st_mtime_ns)


class Promises(bw.TestCase):
    def test_v1_a_step_appears_with_its_last_slice_only(self):
        """V1, P6: after every write but the last, nothing is there in any view."""
        stream = self.stream()
        a, b = self.mount(stream, VIEWS), self.mount(stream, VIEWS)
        a.begin("p", 0)
        for rank in (2, 0, 3):
            bw.write(a.slot("p", 0, rank), b"x")
            for mount in (a, b):
                for view in paths(mount, 0, rank):
                    self.assert_errno("ENOENT", os.stat, view)
                self.assert_errno("ENOENT", os.listdir, mount.path("rollouts/step_0"))
                self.assertEqual([os.listdir(mount.path(d)) for d in ("rollouts", "all", "hive")], [[], [], []])
        bw.write(a.slot("p", 0, 1), b"x")
        for mount in (a, b):
            self.assertEqual([bw.read(v, "rb") for r in range(4) for v in paths(mount, 0, r)], [b"x"] * 16)

    def test_v1_v2_while_steps_are_committed(self):
        """V1, V2: readers that poll find all ranks at once, and listings are dense and never fall."""
        steps, stream = 60, self.stream()
        a, b = self.mount(stream), self.mount(stream, VIEWS)

        def poll(template, rank):
            for step in range(steps):
                bw.wait_until(lambda: os.path.exists(path(b, template, step, rank)), what=f"step {step}")
                for other in range(4):
                    self.assertEqual(bw.read(path(b, template, step, other), "rb"), bw.payload("p", step, other))

        readers = [self.spawn(poll, t, r) for r, t in enumerate(TEMPLATES)]
        writer = self.spawn(lambda: [a.put("p", s) for s in range(steps)])
        seen = 0
        while seen < steps:
            names = os.listdir(b.path("rollouts"))
            self.assertEqual(names, [f"step_{n}" for n in range(len(names))])
            self.assertGreaterEqual(len(names), seen)
            seen = len(names)
            self.assertIn(writer.poll(), (None, 0))
        self.join(writer, *readers)

    def test_v3_no_refusal_is_remembered(self):
        """V3: a path that B has just said no to opens once A has committed the step."""
        stream = self.stream()
        a, b = self.mount(stream), self.mount(stream, VIEWS)
        for step in range(8):
            for view in paths(b, step, 1):
                self.assert_errno("ENOENT", os.stat, view)
                self.assert_errno("ENOENT", open, view)
            a.put("p", step)
            self.assertEqual(bw.read(paths(b, step, 1)[step % 4], "rb"), bw.payload("p", step, 1))
            for view in paths(b, step, 1):
                os.stat(view)

    def test_v3_listings_are_fresh(self):
        """V3: a mount that does nothing but list shows what another has just committed."""
        stream = self.stream(2)
        a, b = self.mount(stream), self.mount(stream, VIEWS)
        for step in range(0, 12, 3):
            a.put("p", step)
            self.assertEqual(os.listdir(b.path("rollouts")), [f"step_{n}" for n in range(step + 1)])
            a.put("p", step + 1)
            self.assertEqual(len(os.listdir(b.path("all"))), 2 * (step + 2))
            a.put("p", step + 2)
            self.assertIn(f"{step + 2:08d}", os.listdir(b.dir))

    @bw.file_only("it looks into the store's objects")
    def test_v5_a_flipped_byte_is_never_served(self):
        """V5: EIO in every view."""
        stream = self.stream(2)
        writer = self.mount(stream)
        writer.put("p", 0, [b"x" * 5000, b"y" * 5000])
        key = writer.meta(0)["object"]
        data = bytearray(stream.store.read(key))
        data[data.find(b"x" * 100) + 50] ^= 1
        stream.store.write(key, bytes(data))
        mount = self.mount(stream, VIEWS)
        for rank, said in ((0, "EIO"), (1, "")):
            for view in paths(mount, 0, rank):
                self.assert_errno(said, lambda p: bool(bw.read(p, "rb")), view)

    def test_v6_names_that_cannot_be(self):
        """V6: ENOENT for steps to come, for ranks the stream has not, and for other spellings."""
        mount = self.mounted(VIEWS)
        mount.put("p", 0)
        for name in ("rollouts/step_1", "rollouts/step_00", "rollouts/step_-0", "rollouts/step_", "rollouts/0",
                     "rollouts/step_0/rank_4.bin", "rollouts/step_0/rank_00.bin", "rollouts/step_0/rank_0",
                     "rollouts/step_0/rank_0.bin.tmp", "0", "0000000", "000000000", "00000000/0.tar", "00000000/00004.tar",
                     "00000001", "all/0", "all/0_4.npy", "all/0_0.NPY", "all/1_0.npy", "hive/step=0/parts/rank=4",
                     "hive/step=0/parts/rank=0/1.parquet", "hive/step=0/rank=0", "hive/rank=0", "Rollouts", "nothing"):
            self.assert_errno("ENOENT", os.stat, mount.path(name))
            self.assert_errno("ENOENT", open, mount.path(name))

    def test_v6_both_ends(self):
        """V6: ESTALE for what is reclaimed, ENODATA past the end of a sealed stream."""
        stream = self.stream(2)
        a, b = self.mount(stream, VIEWS), self.mount(stream, VIEWS)
        for seq in range(6):
            a.put("p", seq)
        kept = open(paths(b, 1, 0)[0], "rb")
        self.addCleanup(kept.close)
        for words in (("job", "train"), ("mark", "train", 3), ("mark", "train", 4), ("trim",), ("seal",)):
            subprocess.run([CHANGE, stream.url, *map(str, words)], check=True)
        for mount in (a, b):
            self.assertEqual(mount.status("first"), "3\n")
            for view in paths(mount, 0, 0) + paths(mount, 2, 1):
                self.assert_errno("ESTALE", os.stat, view)
                self.assert_errno("ESTALE", open, view)
            self.assertEqual(os.listdir(mount.path("rollouts")), ["step_3", "step_4", "step_5"])
            self.assertEqual(os.listdir(mount.path("all")), [f"{n}_{r}.npy" for n in (3, 4, 5) for r in (0, 1)])
            for view in paths(mount, 6, 0):
                self.assert_errno("ENODATA", os.stat, view)
                self.assertFalse(os.path.exists(view))
            for view in paths(mount, 5, 1):
                self.assertEqual(bw.read(view, "rb"), bw.payload("p", 5, 1))
        self.assertEqual(kept.read(), bw.payload("p", 1, 0))


class Waits(bw.TestCase):
    def waiters(self, mount, n):
        return bw.wait_until(lambda: len(mount.status("waiting").split("reason=step")) > n, what=f"{n} waiters")

    def test_v7_each_way_to_ask_waits(self):
        """V7: in every view stat, open, exists and list block until another mount commits."""
        stream = self.stream()
        a, b = self.mount(stream), self.mount(stream, "wait=1000," + VIEWS)
        size = len(bw.payload("p", 0, 1))

        def holds(call, *args):
            self.assertTrue(call(*args))

        asked = [self.spawn(holds, call, view) for view in paths(b, 0, 1) for call in (
            lambda p: os.stat(p).st_size == size, lambda p: bw.read(p, "rb") == bw.payload("p", 0, 1), os.path.exists)]
        asked += [self.spawn(holds, os.listdir, b.path(d)) for d in ("rollouts/step_0", "00000000", "hive/step=0/parts/rank=1")]
        self.waiters(b, len(asked))
        self.assertEqual([c.poll() for c in asked], [None] * len(asked))
        a.put("p", 0)
        self.join(*asked)
        self.assertEqual(b.metric("waiters"), 0)

    def test_v7_waiting_holds_nobody_else(self):
        """V7: a LOOKUP never blocks: while readers wait, listings and other steps answer; signals end the wait."""
        mount = self.mounted("wait=1000," + VIEWS, ranks=2)
        mount.put("p", 0)
        code = "import sys; open(sys.argv[1], 'rb').read()"
        children = [subprocess.Popen([sys.executable, "-c", code, p], stderr=subprocess.DEVNULL)
                    for p in paths(mount, 1, 0)]
        for child in children:
            self.addCleanup(child.wait)
            self.addCleanup(child.kill)
        self.waiters(mount, 4)
        for folder in ("rollouts", "all", "hive", ""):  # a new name needs the directory to itself
            self.assert_errno("EROFS", os.mkdir, mount.path(folder, "new"))
        self.assertEqual(os.listdir(mount.path("rollouts")), ["step_0"])
        self.assertEqual(os.listdir(mount.path("all")), ["0_0.npy", "0_1.npy"])
        for view in paths(mount, 0, 1):
            self.assertEqual(bw.read(view, "rb"), bw.payload("p", 0, 1))
        for name in ("rollouts/step_01", "rollouts/x", "all/1_2.npy", "hive/rank=1", "0000001"):
            self.assert_errno("ENOENT", os.stat, mount.path(name))
        lines = mount.status("waiting")
        for child in children:
            self.assertIn(f"pid={child.pid} ", lines)
        children[0].kill()
        children[1].send_signal(signal.SIGTERM)
        self.assertEqual([children[0].wait(bw.PATIENCE), children[1].wait(bw.PATIENCE)],
                         [-signal.SIGKILL, -signal.SIGTERM])
        self.assertEqual([c.poll() for c in children[2:]], [None, None])
        mount.put("p", 1)
        self.assertEqual([c.wait(bw.PATIENCE) for c in children[2:]], [0, 0])

    def test_v7_the_wait_ends(self):
        """V7: ETIMEDOUT, and nothing of it is remembered."""
        mount = self.mounted("wait=1," + VIEWS, ranks=2)
        views = paths(mount, 0, 0)
        for view, call in zip(views, (os.stat, open, os.stat, open)):
            self.assert_errno("ETIMEDOUT", call, view)
        mount.put("p", 0)
        for view in views:
            self.assertEqual(bw.read(view, "rb"), bw.payload("p", 0, 0))


class Receiver:
    """How trainers take rollouts from a directory: wait until the file of the step exists, then read it."""

    def __init__(self, folder, rank):
        self.folder, self.rank, self.step = pathlib.Path(folder), rank, 0

    def file(self, rank=None):
        return self.folder / f"step_{self.step}" / f"rank_{self.rank if rank is None else rank}.bin"

    def wait(self):
        while not self.file().exists():
            time.sleep(0.005)

    def receive(self):
        with open(self.file(), "rb") as f:
            data = f.read()
        self.step += 1
        return data


class Rollouts(bw.TestCase):
    def trainer(self, folder, rank, steps):
        receiver = Receiver(folder, rank)
        for step in range(steps):
            receiver.wait()
            # A plain directory may show one rank's file before another's.
            for other in range(4):
                self.assertTrue(receiver.file(other).exists())
            self.assertEqual(receiver.receive(), bw.payload("orchestrator", step, rank))

    def test_a_trainer_that_polls(self):
        """V1, V3, V6: four ranks on two mounts poll for step_N/rank_R.bin; nothing is early, torn or skipped."""
        steps, stream = 40, self.stream()
        a = self.mount(stream)
        one = self.mount(stream, "view=step_{step}/rank_{rank}.bin")  # mounted where the trainer looks
        two = self.mount(stream, "view=rollouts/step_{step}/rank_{rank}.bin")
        folders = (one.dir, one.dir, two.path("rollouts"), two.path("rollouts"))
        trainers = [self.spawn(self.trainer, folder, rank, steps) for rank, folder in enumerate(folders)]
        for seq in range(steps):
            a.put("orchestrator", seq)
        self.join(*trainers)
        # Another job that starts in the middle of the stream, as after a restart.
        late = Receiver(one.dir, 2)
        late.step = steps - 1
        self.assertEqual(late.receive(), bw.payload("orchestrator", steps - 1, 2))
        self.assertFalse(late.file().exists())

    def test_the_same_loop_with_wait(self):
        """V7: with wait= exists() itself waits, and the loop asks once a step."""
        stream = self.stream()
        a, b = self.mount(stream), self.mount(stream, "wait=1000,view=step_{step}/rank_{rank}.bin")
        trainers = [self.spawn(self.trainer, b.dir, rank, 5) for rank in range(4)]
        for seq in range(5):
            bw.wait_until(lambda: b.status("waiting").count("reason=step") == 4, what="four trainers that wait")
            a.put("orchestrator", seq)
        self.join(*trainers)


class Options(bw.TestCase):
    def test_s4_what_is_no_template_is_one_sentence(self):
        """S4: exit 1 and what is wrong; nothing is mounted."""
        stream, folder = self.stream(2), self.folder("mnt")
        for options, reason in (
                ("view=", "takes a path"), ("view=a/{step}", "has no {rank}"), ("view={rank}/{step}", "above that of {step}"),
                ("view=step/{step}/{rank}", "the mount's own"), ("view={step}{rank}", "two ways"),
                ("view=a/{step}/{rank},view=a/7/{step}/{rank}", "of another view"), ("view=/{step}/{rank}", "slash"),
                (",".join(f"view=v{i}_/{{step}}/{{rank}}" for i in range(9)), "up to 8 views")):
            done = subprocess.run([bw.MOUNT, stream.url, folder, "-o", options], capture_output=True, text=True,
                                  timeout=bw.PATIENCE)
            self.assertEqual(done.returncode, 1, options)
            self.assertIn(reason, done.stderr)
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
            self.assertFalse(os.path.ismount(folder))

    def test_the_log_shows_what_paths_look_like(self):
        mount = self.mounted(VIEWS)
        for template in TEMPLATES:
            self.assertIn('path="' + template.format(step=0, rank=0) + '"', mount.log())


if __name__ == "__main__":
    bw.main()
