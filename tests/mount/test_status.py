# SPDX-License-Identifier: Apache-2.0
# ctest: 65-s
"""S9, S7 and /status: what scripts, dashboards and habits rely on."""
import fcntl
import json
import os
import re
import signal
import stat
import subprocess
import time

import bw

STATUS = "head first status status.json metrics waiting errors".split()
METRICS = """head_step first_step commits_total commit_seconds commit_attempts
    store_requests_total store_request_seconds store_bytes_total store_retries_total store_hedged_total
    store_hedges_won_total store_throttled_total store_send_rate read_bytes_total useful_bytes_total
    waiters wait_seconds cache_bytes staging_bytes memory_limit_bytes checksum_failures_total
    build_info""".split()


class Files(bw.TestCase):
    def test_s9_status_files_have_their_real_size(self):
        """S9: st_size is what a read gives, so cat, cp, tar and rsync copy it."""
        m = self.mounted("wait=1000")
        m.put("p", 0)
        m.begin("p", 1)
        self.assertEqual(sorted(os.listdir(m.path("status"))), sorted(STATUS))
        out = self.folder("out")
        self.shell("""set -e
            mkdir $O/cp $O/rsync; cp $M/status/* $O/cp/
            tar c -C $M status | tar x -C $O
            rsync -a $M/status/ $O/rsync/
            cat $M/status/head > $O/head""", M=m.dir, O=out)
        for name in STATUS:
            with open(m.path("status", name), "rb") as f:
                size = os.fstat(f.fileno()).st_size
                self.assertEqual(len(f.read()), size, name)
            for copy in ("cp", "status", "rsync"):
                self.assertEqual(os.path.getsize(f"{out}/{copy}/{name}") > 0,
                                 name != "errors", (copy, name))
        self.assertEqual(bw.read(out + "/head"), "1\n")
        for copy in ("cp", "status", "rsync"):
            self.assertEqual(bw.read(f"{out}/{copy}/head"), "1\n")
            bw.prometheus(bw.read(f"{out}/{copy}/metrics"))
            json.loads(bw.read(f"{out}/{copy}/status.json"))

    def test_s9_made_when_opened(self):
        """S9: an open file stays what it was; the next open and the next stat see news."""
        m = self.mounted()
        with open(m.path("status/head"), encoding="ascii") as f:
            m.put("p", 0)
            self.assertEqual(f.read(), "0\n")
        self.assertEqual(m.status("head"), "1\n")
        for seq in range(1, 11):
            m.put("p", seq)
            self.assertEqual(os.stat(m.path("status/head")).st_size, len(f"{seq + 1}\n"))

    def test_status_texts(self):
        m = self.mounted()
        self.assertEqual([m.status(n) for n in ("head", "first", "waiting", "errors")],
                         ["0\n", "0\n", "", ""])
        m.put("p", 0)
        m.begin("p", 1)
        bw.write(m.slot("p", 1, 2), b"x")
        self.assertEqual([m.status(n) for n in ("head", "first")], ["1\n", "0\n"])
        self.assertLessEqual(len(m.status("status").strip().split("\n")), 12)
        self.assertIn("producer=p", m.status("waiting"))

    def test_status_json(self):
        m = self.mounted()
        for seq in range(3):
            m.put("p", seq)
        m.put("q", 0)
        said = m.said()
        for key in ("stream", "ranks", "head", "first", "sealed", "version", "producers", "jobs", "store",
                    "memory", "since"):
            self.assertIn(key, said)
        self.assertEqual((said["ranks"], int(said["head"]), int(said["first"])), (4, 4, 0))
        self.assertFalse(said["sealed"])
        self.assertEqual(set(said["producers"]), {"p", "q"})
        p = said["producers"]["p"]
        self.assertEqual((int(p["next"]), int(p["last_step"]), int(p["pending"])), (3, 2, 0))
        self.assertLessEqual({"epoch", "last_commit"}, set(p))
        self.assertEqual(said["store"]["url"], m.stream.url)
        self.assertTrue(said["store"]["ok"])
        self.assertLessEqual({"limit", "used"}, set(said["memory"]))

    def test_ctrl_c_in_front_of_a_mount_that_hangs(self):
        """Whoever looks at a mount whose daemon does not take requests can go away again."""
        m = self.mounted()
        m.proc.send_signal(signal.SIGSTOP)
        try:
            for args in (("status", m.dir), ("status", m.dir, "--json"), ("top", m.dir, "--once"), ("bench", m.dir),
                         ("ls", f"file://{m.dir}/step"), ("fsck", f"file://{m.dir}/step"),
                         ("init", f"file://{m.dir}/step/x", "--ranks", "1")):
                with subprocess.Popen([bw.BATCHWEAVE, *args], stderr=subprocess.PIPE, text=True) as child:
                    self.addCleanup(child.kill)
                    bw.wait_until(lambda: "fuse" in bw.read(f"/proc/{child.pid}/wchan") or "request_wait" in
                                  bw.read(f"/proc/{child.pid}/wchan"), what="a request")
                    child.send_signal(signal.SIGINT)
                    try:
                        self.assertEqual(child.wait(20), -signal.SIGINT)
                    finally:
                        child.kill()
        finally:
            m.proc.send_signal(signal.SIGCONT)

    def test_the_command_says_the_same(self):
        m = self.mounted()
        m.put("p", 0)
        for where in (m.stream.url, m.dir):
            said = json.loads(bw.batchweave("status", where, "--json").stdout)
            self.assertEqual((int(said["head"]), int(said["first"])), (1, 0), where)
            self.assertIn("p", said["producers"])
            self.assertIn("head", bw.batchweave("status", where).stdout)

    def test_metrics(self):
        """Prometheus text, each name of the interface, values that follow what was done."""
        m = self.mounted()
        for seq in range(3):
            m.put("p", seq, [os.urandom(100000) for _ in range(4)])
        m.get(0)
        samples = m.metrics()
        names = {re.sub(r"_(bucket|sum|count)$", "", n) for n in samples} | set(samples)
        self.assertEqual([n for n in METRICS if "batchweave_" + n not in names], [])
        self.assertEqual([n for n in samples if not n.startswith("batchweave_")], [])
        counters = re.findall(r"^# TYPE (\S+) counter$", m.status("metrics"), re.MULTILINE)
        self.assertEqual([n for n in counters if not n.endswith("_total")], [])
        self.assertEqual((m.metric("head_step"), m.metric("first_step")), (3, 0))
        self.assertEqual(m.metric("commits_total", result="ok"), 3)
        self.assertGreaterEqual(m.metric("useful_bytes_total"), 400000)
        self.assertGreaterEqual(m.metric("store_bytes_total"), 1200000)
        self.assertGreater(m.metric("store_requests_total", op="put"), 3)

    def test_counters_only_rise(self):
        m = self.mounted()
        before = m.metrics()
        m.put("p", 0)
        m.get(0)
        after = m.metrics()
        for name, series in before.items():
            if name.endswith("_total"):
                for labels, value in series.items():
                    self.assertGreaterEqual(after[name].get(labels, -1), value, name)


class Slices(bw.TestCase):
    def setUp(self):
        super().setUp()
        self.m = self.mounted()
        self.began = time.time()
        self.slices = [bytes([r]) * (100 + 10 ** r) for r in range(4)]
        self.m.put("prod-1", 0, self.slices)
        self.m.put("prod-1", 1, self.slices)

    def test_extended_attributes(self):
        """S9: read-only, listed, shown by getfattr -d."""
        path = self.m.step(1, 2)
        said = {n.rpartition(".")[2]: os.getxattr(path, n).decode() for n in os.listxattr(path)
                if n.startswith("user.batchweave.")}
        self.assertEqual(set(said), {"step", "rank", "producer", "seq", "xxh3", "object"})
        self.assertEqual((said["step"], said["rank"], said["producer"], said["seq"]),
                         ("1", "2", "prod-1", "1"))
        self.assertRegex(said["xxh3"], r"^[0-9a-f]{16}$")
        self.assertEqual(len(self.m.stream.objects(said["object"])), 1)
        self.assertEqual(said["xxh3"], os.getxattr(self.m.step(0, 2), "user.batchweave.xxh3").decode())
        self.assertNotEqual(said["xxh3"], os.getxattr(self.m.step(1, 1),
                                                      "user.batchweave.xxh3").decode())
        self.assert_errno("ENODATA", os.getxattr, path, "user.other")
        self.assert_errno("EROFS EPERM ENOTSUP EACCES", os.setxattr, path, "user.batchweave.step", b"9")
        self.assert_errno("EROFS EPERM ENOTSUP EACCES", os.removexattr, path, "user.batchweave.step")
        if bw.shutil.which("getfattr"):
            shown = subprocess.run(["getfattr", "-d", path], capture_output=True, text=True, check=True)
            self.assertIn('user.batchweave.producer="prod-1"', shown.stdout)
        with self.subTest("a buffer that is too small"):
            size = bw.LIBC.getxattr(path.encode(), b"user.batchweave.object", None, 0)
            self.assertEqual(size, len(said["object"]))

    def test_meta_json(self):
        """Lineage: producer, seq, epoch, commit time and version, object, sizes, checksums."""
        said = self.m.meta(1)
        self.assertEqual((said["producer"], int(said["seq"])), ("prod-1", 1))
        self.assertGreaterEqual(int(said["epoch"]), 1)
        text = bw.read(self.m.path("step/1/meta.json"))
        self.assertEqual(os.stat(self.m.path("step/1/meta.json")).st_size, len(text))
        self.assertEqual(said["object"], os.getxattr(self.m.step(1, 0), "user.batchweave.object").decode())
        for rank in range(4):
            self.assertIn(os.getxattr(self.m.step(1, rank), "user.batchweave.xxh3").decode(), text)
            self.assertRegex(text, rf"\b{len(self.slices[rank])}\b")
        self.assertEqual(self.m.meta(0)["producer"], "prod-1")

    def test_modes_owners_and_blocks(self):
        """S9: 0444 slices, st_blocks of stored bytes, times of the commit, nlink 1 for directories."""
        info = os.stat(self.m.step(0, 3))
        self.assertEqual(stat.S_IMODE(info.st_mode), 0o444)
        self.assertEqual((info.st_uid, info.st_gid), (os.getuid(), os.getgid()))
        self.assertEqual(info.st_size, 1100)
        self.assertGreater(info.st_blocks, 0)
        self.assertLess(abs(info.st_mtime - self.began), 600)
        for path in ("step", "step/0", "step/0/rank"):
            self.assertEqual(os.stat(self.m.path(path)).st_nlink, 1, path)
            self.assertEqual(stat.S_IMODE(os.stat(self.m.path(path)).st_mode) & 0o222, 0, path)

    def test_nothing_can_be_changed_under_step(self):
        """S9: EROFS for every way to write, remove or move."""
        step, slice_ = self.m.step(0), self.m.step(0, 0)
        self.assert_errno("EROFS", os.unlink, slice_)
        self.assert_errno("EROFS", os.unlink, step + "/meta.json")
        self.assert_errno("EROFS", os.rmdir, step)
        self.assert_errno("EROFS", os.rmdir, step + "/rank")
        self.assert_errno("EROFS", os.mkdir, self.m.step(2))
        self.assert_errno("EROFS", os.mkdir, step + "/x")
        self.assert_errno("EROFS", bw.write, step + "/rank/9", b"x")
        self.assert_errno("EROFS", os.rename, slice_, step + "/rank/9")
        self.assert_errno("EROFS", os.rename, step, self.m.step(7))
        self.assert_errno("EROFS", os.symlink, "x", self.m.path("step/x"))
        self.assert_errno("EROFS", os.chmod, slice_, 0o600)
        self.assert_errno("EROFS", os.utime, slice_)
        self.assert_errno("EROFS EPERM EACCES", bw.write, self.m.path("status/head"), b"9")
        self.assert_errno("EROFS EPERM EACCES", os.unlink, self.m.path("status/head"))
        self.assertNotEqual(bw.error_of(os.mkdir, self.m.path("new")), "")
        self.assertNotEqual(bw.error_of(os.rmdir, self.m.path("step")), "")
        for script in ("rm -rf $S", "mv $S $S.x", "echo x > $S/rank/0", "touch $S/rank/0"):
            done = self.shell(script, check=False, S=step)
            self.assertRegex(done.stderr, "(?i)read-only|permission", script)
        self.assertEqual(self.m.get(0), self.slices)

    def test_programs_that_walk(self):
        """S9: find, du, ls, stat and grep over the mount."""
        done = self.shell("""set -e
            find $M -type f | wc -l
            find $M/step -type f -name '[0-9]*' | wc -l
            ls -lR $M > /dev/null; stat $M $M/step/0/rank/0 > /dev/null
            du -b --apparent-size -c $M/step/*/rank/* | tail -1 | cut -f1
            grep -c . $M/step/0/meta.json > /dev/null
            cmp $M/step/0/rank/3 $M/step/1/rank/3""", M=self.m.dir)
        files, slices, size = done.stdout.split()
        self.assertEqual(int(slices), 8)
        self.assertEqual(int(size), 2 * sum(len(s) for s in self.slices))
        self.assertGreater(int(files), 8 + len(STATUS))

    def test_statfs(self):
        """S9: df works; used are the live bytes.  There is no number of inodes that could run out, and none is told: where it is 0 of
        some, or of others, monitors raise an alarm."""
        info = os.statvfs(self.m.dir)
        used = (info.f_blocks - info.f_bfree) * info.f_frsize
        self.assertGreaterEqual(used + info.f_frsize, 2 * sum(len(s) for s in self.slices))
        self.assertLess(used, 10 << 20)
        self.assertEqual(info.f_namemax, 255)
        self.assertGreater(info.f_bavail, 0)
        self.assertEqual((info.f_files, info.f_ffree, info.f_favail), (0, 0, 0))
        done = self.shell("df $M; df -i $M; df --output=ipcent $M", M=self.m.dir)
        self.assertEqual(done.stdout.split()[-1], "-")

    def test_locks(self):
        """S9: flock and fcntl locks, between processes of this mount."""
        with open(self.m.step(0, 0), "rb") as f:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)

            def other():
                with open(self.m.step(0, 0), "rb") as g:
                    self.assert_errno("EAGAIN", fcntl.flock, g, fcntl.LOCK_EX | fcntl.LOCK_NB)

            self.join(self.spawn(other))
            fcntl.flock(f, fcntl.LOCK_UN)
            fcntl.lockf(f, fcntl.LOCK_SH | fcntl.LOCK_NB)


class Listings(bw.TestCase):
    def test_step_lists_in_numeric_order(self):
        """readdir of /step: each committed step once, in order, with its type, however it is read."""
        m = self.mounted(ranks=1)
        for seq in range(1200):
            m.put("p", seq, [b"x"])
        wanted = [str(s) for s in range(1200)]
        self.assertEqual(os.listdir(m.path("step")), wanted)
        with os.scandir(m.path("step")) as entries:
            for entry, name in zip(entries, wanted):
                self.assertEqual((entry.name, entry.is_dir()), (name, True))
                self.assertEqual(entry.inode(), os.stat(entry.path).st_ino)
        listed = self.shell("ls -U $M/step", M=m.dir).stdout.split()
        self.assertEqual(listed, wanted)
        fd = os.open(m.path("step"), os.O_RDONLY | os.O_DIRECTORY)
        try:
            self.assertEqual(os.listdir(fd), wanted)
            self.assertEqual(os.listdir(fd), wanted, "rewound, it is the same")
        finally:
            os.close(fd)
        fresh = self.mount(m.stream)
        for step in (0, 1, 127, 128, 255, 256, 700, 1023, 1199):
            self.assert_step(fresh, step, "p", step, [b"x"])

    def test_step_lists_while_it_grows(self):
        """readdir: entries committed meanwhile may appear; the others exactly once."""
        m = self.mounted(ranks=1)
        for seq in range(300):
            m.put("p", seq, [b"x"])
        writer = self.spawn(lambda: [m.put("p", s, [b"x"]) for s in range(300, 500)])
        while writer.poll() is None:
            before = m.head()
            names = [int(n) for n in os.listdir(m.path("step"))]
            self.assertEqual(names[:before], list(range(before)))
            self.assertEqual(names, sorted(set(names)))
        self.join(writer)

    def test_root_lists_what_it_has(self):
        m = self.mounted()
        self.assertLessEqual({"step", "produce", "status"}, set(os.listdir(m.dir)))
        self.assertEqual(os.listdir(m.path("produce")), [])


class Options(bw.TestCase):
    def test_ro(self):
        """S9: ro has no /produce, reads, and reads what others commit."""
        stream = self.stream()
        rw, ro = self.mount(stream), self.mount(stream, "ro")
        rw.put("p", 0)
        self.assert_step(ro, 0, "p", 0)
        self.assertFalse(os.path.exists(ro.path("produce")))
        self.assertNotIn("produce", os.listdir(ro.dir))
        self.assert_errno("EROFS ENOENT", os.makedirs, ro.path("produce/p/1/rank"))
        self.assert_errno("EROFS EACCES", bw.write, ro.step(0, 0), b"x")
        for name in os.listdir(ro.path("status")):
            self.assertEqual(bw.read(ro.path("status", name), "rb") == b"", name in ("waiting", "errors"), name)
        bw.batchweave("status", ro.dir)
        line = [x for x in bw.mounts() if ro.dir in x][0]
        self.assertRegex(line.split()[5], r"\bro\b")

    @bw.file_only("a read-only disk below the store")
    def test_ro_needs_no_permission_to_write(self):
        """S9: a store on a read-only file system can be mounted ro."""
        disk = self.disk("16m")
        os.mkdir(disk + "/store")
        stream = self.stream(2, folder=disk + "/store")
        rw = self.mount(stream)
        rw.put("p", 0)
        self.assertEqual(rw.umount(), 0)
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        ro = self.mount(stream, "ro")
        self.assert_step(ro, 0, "p", 0)
        self.assert_errno("ENOENT", os.stat, ro.step(1))

    def test_uid_gid_umask(self):
        """S9: owner and mode from the options; others only with allow_other."""
        self.needs_root()
        m = self.mounted("uid=1234,gid=2345,umask=027,allow_other")
        m.put("p", 0)
        m.begin("p", 1)
        bw.write(m.slot("p", 1, 0), b"x")
        for path in (m.step(0, 0), m.step(0), m.path("produce"), m.slot("p", 1, 0), m.slot("p", 1)):
            info = os.stat(path)
            self.assertEqual((info.st_uid, info.st_gid), (1234, 2345), path)
            self.assertEqual(info.st_mode & 0o027, 0, path)
        self.assertEqual(stat.S_IMODE(os.stat(m.step(0, 0)).st_mode), 0o440)

        def become(uid, gid):
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)

        def owner():
            become(1234, 2345)
            self.assert_step(m, 0, "p", 0)
            for rank in range(1, 4):
                bw.write(m.slot("p", 1, rank), b"x")

        def group():
            become(999, 2345)
            self.assert_step(m, 0, "p", 0)
            self.assert_errno("EACCES", os.mkdir, m.path("produce/q"))

        def other():
            become(999, 999)
            self.assert_errno("EACCES", open, m.step(0, 0))

        os.chmod(self.root, 0o755)
        for call in (owner, group, other):
            self.join(self.spawn(call))
        self.assertEqual(m.head(), 2)

    def test_others_are_kept_out(self):
        """S9: without allow_other another user sees nothing."""
        self.needs_root()
        m = self.mounted()
        m.put("p", 0)
        os.chmod(self.root, 0o755)

        def other():
            os.setuid(999)
            self.assert_errno("EACCES", os.stat, m.step(0))
            self.assert_errno("EACCES", os.listdir, m.dir)

        self.join(self.spawn(other))


if __name__ == "__main__":
    bw.main()
