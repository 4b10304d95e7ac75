# SPDX-License-Identifier: Apache-2.0
# ctest: 55-s
"""S4, S5, S7, S8: how a mount comes, how it goes, and what it leaves."""
import contextlib
import json
import os
import re
import signal
import subprocess
import time

import bw
import objects


class Command(bw.TestCase):
    """mount.batchweave as mount(8) runs it: it returns, the daemon goes on."""

    def run_mount(self, *args, **kwargs):
        kwargs.setdefault("timeout", bw.PATIENCE)
        return subprocess.run([bw.MOUNT, *args], capture_output=True, text=True, check=False,
                              stdin=subprocess.DEVNULL, **kwargs)

    def daemons(self, mnt):
        """Ids of the processes whose command line names mnt."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                line = bw.read(f"/proc/{pid}/cmdline", "rb")
            except OSError:
                continue
            if mnt.encode() in line.split(b"\0"):
                found.append(int(pid))
        return found

    def umount(self, mnt):
        bw.unmount(mnt)
        bw.wait_until(lambda: not self.daemons(mnt), what="the end of the daemon")

    def test_s4_returns_when_the_mount_is_usable(self):
        """S4: exit 0, nothing said, and the very next command works; umount ends the daemon."""
        stream, mnt = self.stream(2), self.folder("mnt")
        for turn in range(5):
            done = self.run_mount(stream.url, mnt, "-o", f"log={self.root}/log")
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
            self.assertEqual(bw.read(mnt + "/status/head"), f"{turn}\n")
            self.assertEqual(len(self.daemons(mnt)), 1)
            os.makedirs(f"{mnt}/produce/p/{turn}/rank")
            for rank in range(2):
                bw.write(f"{mnt}/produce/p/{turn}/rank/{rank}", b"x")
            self.umount(mnt)
            self.assertEqual(os.listdir(mnt), [])

    def descriptors(self, pid):
        """What any thread has open above standard error, and whether an exec closes it."""
        found = set()
        for task in os.listdir(f"/proc/{pid}/task"):
            for fd in os.listdir(f"/proc/{pid}/task/{task}/fd"):
                with contextlib.suppress(FileNotFoundError):  # closed, or the thread has ended, meanwhile
                    link = os.readlink(f"/proc/{pid}/task/{task}/fd/{fd}")
                    flags = re.search(r"(?m)^flags:\s*(\d+)", bw.read(f"/proc/{pid}/task/{task}/fdinfo/{fd}"))
                    if int(fd) > 2:
                        found.add((link, bool(int(flags.group(1), 8) & os.O_CLOEXEC)))
        return found

    def test_s4_the_daemon_is_on_its_own(self):
        """S4: another session, no terminal, no descriptor of ours, / as its directory."""
        stream, mnt = self.stream(), self.folder("mnt")
        with open(self.root + "/held", "w", encoding="ascii") as held:
            done = self.run_mount(stream.url, mnt, "-o", f"cache={self.folder('c')}/c", pass_fds=[held.fileno()], cwd=self.root)
        self.assertEqual(done.returncode, 0, done.stderr)
        try:
            pid = self.daemons(mnt)[0]
            self.assertNotEqual(os.getsid(pid), os.getsid(0))
            self.assertEqual(os.readlink(f"/proc/{pid}/cwd"), "/")
            links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in (0, 1, 2)]
            self.assertEqual([x for x in links if "pipe" in x or "tty" in x or "pts" in x], [])
            os.makedirs(f"{mnt}/produce/p/0/rank")
            bw.write(f"{mnt}/produce/p/0/rank/0", b"x")
            ours = self.descriptors(pid)
            self.assertNotIn(self.root + "/held", [link for link, _ in ours])
            self.assertGreater(len(ours), 3)
            # A pair of sockets by which libcurl wakes itself is not closed: who starts the programs of users closes all.
            kept = [link for link, is_closed in ours if not is_closed and not link.startswith("socket:")]
            self.assertEqual(kept, [], "inherited by what the daemon starts")
        finally:
            self.umount(mnt)

    def test_s4_relative_mount_points_and_options(self):
        """S4: what mount(8) passes: a relative path, -f -s -n -v, fstab's words."""
        stream = self.stream()
        mnt = self.folder("mnt")
        fstab = "rw,_netdev,nofail,noauto,user,users,x-systemd.automount,defaults,relatime,nodev,nosuid"
        done = self.run_mount(stream.url, "mnt", "-n", "-v", "-o", fstab, cwd=self.root)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.umount(mnt)
        done = self.run_mount("-o", "ro", "-o", "wait=1", stream.url, mnt)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.umount(mnt)
        done = self.run_mount("-f", stream.url, mnt)  # fake: all but the mount
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertFalse(os.path.ismount(mnt))
        self.assertEqual(self.daemons(mnt), [])

    def test_s4_where_staged_bytes_go(self):
        """S4, P7: a relative staging= is below where mount was called, as TMPDIR is; a mount with ro needs none."""
        stream, mnt = self.stream(1), self.folder("mnt")
        self.folder("stage")
        slices = [os.urandom(1 << 20) * 20]
        for step, (options, env) in enumerate((("staging=stage", {}), ("memory=16M", {"TMPDIR": "stage"}))):
            done = self.run_mount(stream.url, mnt, "-o", "memory=16M," + options, cwd=self.root, env={**os.environ, **env})
            self.assertEqual(done.returncode, 0, done.stderr)
            try:
                os.makedirs(f"{mnt}/produce/p/{step}/rank")
                bw.write(f"{mnt}/produce/p/{step}/rank/0", slices[0])
                self.assertTrue(bw.read(f"{mnt}/step/{step}/rank/0", "rb") == slices[0])
            finally:
                self.umount(mnt)
        done = self.run_mount(stream.url, mnt, env={**os.environ, "TMPDIR": "/nowhere"})
        self.assertEqual(done.returncode, 1)
        self.assertIn("/nowhere", done.stderr)
        done = self.run_mount(stream.url, mnt, "-o", "ro,staging=/nowhere")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.umount(mnt)

    def test_s4_without_a_tmp(self):
        """S4: where nobody named a place for staged bytes and /tmp is none, what fits into memory is written all the same."""
        self.needs_root()
        stream, mnt, log = self.stream(1), self.folder("mnt"), self.root + "/log"
        env = {name: value for name, value in os.environ.items() if name != "TMPDIR"}
        done = subprocess.run(["unshare", "-m", "sh", "-ec", f"""
            mount --make-rprivate /
            mount --bind /tmp /tmp
            mount --bind {self.root} {self.root}  # is below it where /dev/shm is small
            mount -o remount,bind,ro /tmp
            {os.path.abspath(bw.MOUNT)} {stream.url} {mnt} -o log={log}
            mkdir -p {mnt}/produce/p/0/rank
            echo small > {mnt}/produce/p/0/rank/0
            cat {mnt}/step/0/rank/0
            umount {mnt}"""], env=env, capture_output=True, text=True, timeout=bw.PATIENCE, check=False)
        self.assertEqual((done.returncode, done.stdout), (0, "small\n"), done.stderr)
        self.assertIn(' warn staging_refused dir="/tmp" ', bw.read(log))

    def test_s4_batchweave_mount_is_the_same_code(self):
        stream, mnt = self.stream(), self.folder("mnt")
        done = bw.batchweave("mount", stream.url, mnt, "-o", "wait=2", stdin=subprocess.DEVNULL)
        self.assertEqual(done.stderr, "")
        self.assertEqual(bw.read(mnt + "/status/head"), "0\n")
        self.umount(mnt)

    def refuses(self, code, words, *args):
        done = self.run_mount(*args)
        self.assertEqual(done.returncode, code, done.stderr)
        lines = [x for x in done.stderr.split("\n") if x]
        self.assertEqual(len(lines), 1, done.stderr)
        self.assertRegex(done.stderr, words)
        self.assertEqual(done.stdout, "")

    def test_s4_usage(self):
        """S4: exit 1 and one sentence that names what is wrong."""
        stream, mnt = self.stream(), self.folder("mnt")
        for words, args in (
                ("colour", [stream.url, mnt, "-o", "colour=red"]),
                ("wait", [stream.url, mnt, "-o", "wait=soon"]),
                ("memory", [stream.url, mnt, "-o", "memory=12X"]),
                ("commit", [stream.url, mnt, "-o", "commit=never"]),
                ("/nowhere.*staging", [stream.url, mnt, "-o", "staging=/nowhere"]),
                ("bin/false.*staging", [stream.url, mnt, "-o", "staging=/bin/false"]),
                ("view", [stream.url, mnt, "-o", "view=x/{step}"]),
                ("ftp", ["ftp://host/dir", mnt]),
                ("(?i)url|file://", ["nonsense", mnt]),
                ("(?i)url|absolute|path", ["file://relative", mnt])):
            with self.subTest(args=args[-1]):
                self.refuses(1, words, *args)
        self.assertEqual(self.run_mount().returncode, 1)
        self.assertEqual(self.run_mount(stream.url).returncode, 1)
        self.assertFalse(os.path.ismount(mnt))

    def test_s4_no_stream(self):
        """S4: exit 32 for a store that is not there, is empty, or is something else."""
        mnt, empty = self.folder("mnt"), self.folder("empty")
        for url in (f"file://{self.root}/missing", f"file://{empty}"):
            self.refuses(32, f"there is no stream at {url}; check the URL, or create one with batchweave init {url} --ranks W\n", url, mnt)
        bw.write(empty + "/stream.json", "{}")
        self.refuses(32, ".", "file://" + empty, mnt)
        bw.write(empty + "/stream.json", os.urandom(1000))
        self.refuses(32, ".", "file://" + empty, mnt)
        self.assertEqual(sorted(os.listdir(empty)), ["stream.json"])
        self.assertFalse(os.path.ismount(mnt))

    def test_s4_bad_mount_points(self):
        """S4: missing, a file; a second mount over the first is refused or hides it, as umount shows."""
        stream, file = self.stream(), os.path.join(self.root, "file")
        self.refuses(32, "nowhere", stream.url, self.root + "/nowhere")
        bw.write(file, b"x")
        self.refuses(32, "file", stream.url, file)

    @bw.file_only("what the machine allows is the same for any store")
    def test_s4_what_a_user_may_not(self):
        """S4: permissions are exit 1, a machine without FUSE is 2; the sentence says what to do, and that helps."""
        self.needs_root()
        stream, mnt, roots, hidden = self.stream(), self.folder("mnt"), self.folder("roots"), self.root + "/private/mnt"
        os.makedirs(hidden)
        os.chmod(self.root, 0o755)
        os.chmod(os.path.dirname(hidden), 0o700)
        subprocess.run(["chown", "-R", "65534:65534", mnt, stream.dir], check=True)
        mount = f"{os.path.abspath(bw.MOUNT)} {stream.url}"
        user = "setpriv --reuid=65534 --regid=65534 --clear-groups"
        for code, device, words, command in (
                (1, 600, "as root, chmod 666 /dev/fuse; in a container, .*--device /dev/fuse", f"{user} {mount} {mnt}"),
                (0, 666, "^$", f"{user} {mount} {mnt} -o log=/dev/null && {user} fusermount3 -u {mnt}"),
                (2, None, "modprobe fuse; in a container, .*--device /dev/fuse", f"{mount} {mnt}"),
                (1, 666, "echo user_allow_other >> /etc/fuse.conf", f"{user} {mount} {mnt} -o allow_other"),
                (1, 666, "mount on a directory that belongs to this user", f"{user} {mount} {roots}"),
                (1, 666, "may not enter a directory on the way", f"{user} {mount} {hidden}"),
                (1, 666, "cap-add SYS_ADMIN", f"setpriv --bounding-set=-sys_admin {mount} {mnt}")):
            dev = self.folder("dev")
            done = subprocess.run(["unshare", "-m", "--propagation=private", "sh", "-c", f"""
                mount -t tmpfs -o mode=755 dev {dev} && cd {dev} || exit 99
                mknod -m 666 null c 1 3; mkdir shm; mount --rbind /dev/shm shm
                [ {device} = None ] || mknod -m {device} fuse c 10 229
                echo > conf; mount --bind conf /etc/fuse.conf
                mount --move . /dev && cd / || exit 99
                {command}"""], capture_output=True, text=True, timeout=bw.PATIENCE, check=False, stdin=subprocess.DEVNULL)
            self.assertEqual(done.returncode, code, (command, done.stderr))
            self.assertRegex(done.stderr.rstrip("\n"), words, command)
            self.assertLessEqual(done.stderr.count("\n"), 1, done.stderr)

    def test_s4_a_mount_point_with_files(self):
        """S4: what is below a mount point is hidden, and there again afterwards."""
        stream, mnt = self.stream(), self.folder("mnt")
        bw.write(mnt + "/note", b"below")
        done = self.run_mount(stream.url, mnt)
        if done.returncode == 0:
            self.assertNotIn("note", os.listdir(mnt))
            self.umount(mnt)
        else:
            self.assertEqual(done.returncode, 32)
            self.assertIn("empty", done.stderr)
        self.assertEqual(bw.read(mnt + "/note"), "below")

    def test_s4_a_stale_mount_is_named(self):
        """S4: a mount point whose daemon died: exit 32 with the remedy, or a new mount that works."""
        mount = self.mounted()
        mount.proc.kill()
        mount.proc.wait(bw.PATIENCE)
        done = self.run_mount(mount.stream.url, mount.dir)
        if done.returncode == 0:
            self.assertEqual(bw.read(mount.path("status/head")), "0\n")
            self.umount(mount.dir)
        else:
            self.assertEqual(done.returncode, 32, done.stderr)
            self.assertRegex(done.stderr, "umount|fusermount3")
        while os.path.ismount(mount.dir) or mount.is_dead():
            subprocess.run(["umount", "-l", mount.dir], check=True)

    def test_s8_a_newer_format_is_refused(self):
        """S8: exit 32 and a sentence that says what to do."""
        stream, mnt = self.stream(), self.folder("mnt")
        path = stream.objects("stream.json")[0]
        said = json.loads(stream.store.read(path))
        keys = [k for k, v in said.items() if "format" in k and isinstance(v, (int, str))]
        self.assertTrue(keys, "stream.json carries no format version")
        said[keys[0]] = type(said[keys[0]])(99)
        stream.store.write(path, json.dumps(said, indent=1).encode())
        self.refuses(32, "(?i)newer|upgrade", stream.url, mnt)

    def test_s7_nothing_secret_in_the_open(self):
        """S7: variables that hold credentials reach no log, status file or command line."""
        secret = "wJalrXUtnFEMI-K7MDENG-EXAMPLEKEY"
        env = {"AWS_SECRET_ACCESS_KEY": secret, "AWS_SESSION_TOKEN": secret, "AWS_ACCESS_KEY_ID": secret}
        if objects.ON_S3:  # what opens the store, or nothing could be mounted
            secret, env = os.environ["AWS_SECRET_ACCESS_KEY"], {}
        mount = self.mount(self.stream(), "loglevel=debug", env=env)
        mount.put("p", 0)
        texts = [mount.log(), mount.stderr(), *[mount.status(n) for n in os.listdir(mount.path("status"))],
                 bw.read(f"/proc/{mount.proc.pid}/cmdline")]
        texts += [mount.stream.store.read(p).decode("latin-1") for p in mount.stream.objects()]
        self.assertEqual([t for t in texts if secret in t], [])


class End(bw.TestCase):
    def test_s5_umount_and_signals(self):
        """S5: umount, SIGTERM and Ctrl-C unmount, and the daemon leaves with 0."""
        mount = self.mounted()
        self.assertEqual(mount.umount(), 0)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            mount.restart()
            self.assertEqual(mount.stop(number), 0, number.name)
            self.assertFalse(os.path.ismount(mount.dir), number.name)
            self.assertEqual(os.listdir(mount.dir), [])

    def test_s5_a_signal_that_means_somebody_else(self):
        """S5: SIGUSR1, which batch systems send to whole jobs, changes nothing: what ends a mount ends it afterwards."""
        mount = self.mounted()
        for turn, number in enumerate((signal.SIGTERM, signal.SIGINT, signal.SIGHUP)):
            for _ in range(2):
                mount.proc.send_signal(signal.SIGUSR1)
            mount.put("p", turn)
            self.assertEqual(mount.stop(number), 0)
            self.assertEqual(mount.log().count(" stopping reason="), turn + 1)
            mount.restart()
        self.assertEqual(mount.head(), 3)

    def test_s5_a_hangup_under_nohup(self):
        """S5: a daemon in the foreground outlives the terminal that it was told not to mind; the log is opened again."""
        mount = self.mounted()
        self.assertEqual(mount.umount(), 0)
        mount.prefix = ("bash", "-c", 'trap "" HUP; exec "$@"', "-")
        mount.restart()
        mount.proc.send_signal(signal.SIGHUP)
        bw.wait_until(lambda: "log_reopened reason=SIGHUP" in mount.log() or mount.proc.poll() is not None, what="what SIGHUP does")
        mount.put("p", 0)
        self.assertEqual(mount.stop(), 0)

    def test_s5_staged_batches_are_abandoned(self):
        """S5, P6: SIGTERM with staged slices and a writer that has one open."""
        mount = self.mounted()
        mount.put("p", 0)
        mount.begin("p", 1)
        for rank in range(3):
            bw.write(mount.slot("p", 1, rank), b"x" * 100000)
        fd = os.open(mount.slot("p", 1, 3), os.O_WRONLY | os.O_CREAT)
        os.write(fd, b"part")
        self.assertEqual(mount.stop(signal.SIGTERM), 0)
        self.assertNotEqual(bw.error_of(os.close, fd), "EINTR")
        mount.restart()
        self.assert_nothing_committed(mount, 1)
        mount.put("p", 1)
        self.assert_step(mount, 1, "p", 1)

    def test_s5_what_is_abandoned_is_named(self):
        """S5: each batch that holds files, once, with what it lacked; directories alone are a producer's next batch."""
        for end in ("umount", "stop"):
            m = self.mounted(ranks=2)
            m.put("p", 0)
            m.begin("p", 1)
            bw.write(m.slot("p", 1, 0), b"whole")
            bw.write(m.slot("p", 1, "note"), b"stray")
            m.begin("p", 2)
            m.begin("q", 0)
            bw.write(m.path("produce/q/0/state"), b"state")
            getattr(m, end)()
            bw.wait_until(lambda said=m.log: " info unmounted " in said(), what="the daemon's last line")
            self.assertEqual(sorted(re.findall(r"(?m) warn batch_dropped (.*)$", m.log())),
                             ["producer=p seq=1 missing=1/2 ranks=1 stray=rank/note", "producer=q seq=0 missing=2/2 ranks=0-1"], end)
            self.assertNotIn("commit_failed", m.log())

    def test_s5_queued_batches_are_drained(self):
        """S5, P8: SIGTERM with a queue, none of which is committed yet: all of it is."""
        stream, gate = self.stream(2), self.gate()
        mount = self.mount(stream, "pending=50", gate=gate)
        for seq in range(50):
            mount.begin("p", seq)
        gate.hold()
        for seq in range(50):
            for rank in range(2):
                bw.write(mount.slot("p", seq, rank), bw.payload("p", seq, rank))
        mount.proc.send_signal(signal.SIGTERM)
        bw.wait_until(lambda: " info stopping reason=SIGTERM" in mount.log(), what="the end")
        self.assertEqual(mount.head(), 0)
        gate.open()
        self.assertEqual(mount.reap(), 0)
        mount.restart()
        self.assertEqual(mount.head(), 50)
        for step in (0, 25, 49):
            self.assert_step(mount, step, "p", step)

    def test_s5_under_load(self):
        """S5: SIGTERM while producers and readers work; they get errors, the daemon leaves with 0."""
        stream = self.stream(2)
        mount = self.mount(stream, "wait=1000")

        def produce(name):
            for seq in range(100000):
                try:
                    mount.put(name, seq)
                except OSError:
                    return

        def consume():
            for step in range(100000):
                try:
                    bw.read(mount.step(step, 0), "rb")
                except OSError:
                    return

        children = [self.spawn(produce, "p"), self.spawn(produce, "q"), self.spawn(consume),
                    self.spawn(consume)]
        bw.wait_until(lambda: mount.head() > 20, what="some commits")
        self.assertEqual(mount.stop(signal.SIGTERM), 0)
        self.join(*children)
        mount.restart()
        for step in range(mount.head()):
            meta = mount.meta(step)
            self.assert_step(mount, step, meta["producer"], int(meta["seq"]))
        self.assertEqual(sum(int(mount.resume(p)["next"]) for p in "pq"), mount.head())

    def test_s5_a_lazy_unmount(self):
        """S5: umount -l with a file open: reads go on, the daemon leaves with the last close."""
        mount = self.mounted()
        mount.put("p", 0, [os.urandom(3 << 20)] * 4)
        with open(mount.step(0, 0), "rb", buffering=0) as f:
            f.read(10)
            subprocess.run(["umount", "-l", mount.dir], check=True)
            self.assertEqual(len(f.read(1 << 20)), 1 << 20)
            self.assertIsNone(mount.proc.poll())
        self.assertEqual(mount.reap(), 0)


class Leaks(bw.TestCase):
    def files(self, mount):
        """What is open, and apart the tables of files of threads that close slices, which are kept open for a moment."""
        names = []
        for fd in os.listdir(f"/proc/{mount.proc.pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                names.append(os.readlink(f"/proc/{mount.proc.pid}/fd/{fd}"))
        kept = [n for n in names if n.startswith("/proc/")]
        return len(names) - len(kept), len(kept)

    def facts(self, mount):
        return self.files(mount)[0], len(os.listdir(f"/proc/{mount.proc.pid}/task"))

    def settled(self, mount):
        """Descriptors and threads, once releases that are under way have been seen to."""
        last = None
        for _ in range(100):
            now = self.facts(mount)
            if now == last:
                return now
            last = now
            time.sleep(0.05)
        return last

    def test_s5_no_descriptor_or_thread_is_left(self):
        """S5, S6: flat over 10,000 opens and 300 batches; no child process, no zombie."""
        mount = self.mounted(ranks=2)

        def use(opens, batches, seq):
            for i in range(batches):
                mount.put("p", seq + i)
                if i % 10 == 0:
                    mount.begin("gone", 0)
                    bw.write(mount.slot("gone", 0, 0), b"x")
                    bw.shutil.rmtree(mount.slot("gone", 0))
            for i in range(opens):
                with open(mount.step(i % batches, i % 2), "rb") as f:
                    f.read()
                if i % 100 == 0:
                    os.path.exists(mount.step(1 << 30 | i))
                    mount.status("metrics")
                    os.listdir(mount.path("step"))

        use(500, 100, 0)
        before = self.settled(mount)
        use(10000, 300, 100)
        after = self.settled(mount)
        self.assertLessEqual(after[0], before[0] + 4)
        self.assertLessEqual(after[1], before[1] + 10)
        self.assertEqual(bw.read(f"/proc/{mount.proc.pid}/task/{mount.proc.pid}/children"), "")
        self.assertLess(after[1], 80)

    def test_s5_parallel_use_leaves_nothing(self):
        mount = self.mounted(ranks=1)

        def use(name):
            for seq in range(20):
                mount.put(name, seq)
                bw.read(mount.step(seq, 0))
                mount.status("status.json")

        self.join(*[self.spawn(use, f"p{i}") for i in range(10)])
        before = self.settled(mount)
        self.join(*[self.spawn(use, f"q{i}") for i in range(10)])
        after = self.settled(mount)
        self.assertLessEqual(after[0], before[0] + 4)
        self.assertLessEqual(after[1], before[1] + 10)
        bw.wait_until(lambda: self.files(mount)[1] == 0, what="the end of what was kept of threads that have gone")


class Roots(bw.TestCase):
    """Damaged or foreign objects where a root or an index node should be."""

    def newest_root(self, stream):
        roots = stream.objects("/manifest/")
        return max(roots, key=lambda p: int(re.sub(r"\D", "", os.path.basename(p)) or 0))

    def test_v5_a_damaged_root(self):
        """V5, S8: exit 32 and a sentence for who mounts; EIO for who is mounted; never a crash."""
        stream = self.stream(2)
        writer = self.mount(stream)
        writer.put("p", 0)
        path = self.newest_root(stream)
        good = stream.store.read(path)
        mnt = self.folder("mnt")
        for bad in (b"", b"x", good[:-1], good[:20], good + b"x", os.urandom(len(good)),
                    good[:60] + bytes([good[60] ^ 1]) + good[61:]):
            stream.store.write(path, bad)
            done = subprocess.run([bw.MOUNT, stream.url, mnt], capture_output=True, text=True,
                                  check=False, timeout=bw.PATIENCE)
            self.assertEqual(done.returncode, 32, f"{bad[:30]} {done.stderr}")
            self.assertEqual(len(done.stderr.strip().split("\n")), 1, done.stderr)
        stream.store.write(path, good)
        self.assert_step(self.mount(stream), 0, "p", 0)

    def test_v5_a_foreign_root_above_the_newest(self):
        """V5: garbage under the next name: look-ups past the head are EIO, what is known reads on."""
        stream = self.stream(2)
        mount = self.mount(stream, "io_timeout=5,commit_timeout=5")
        mount.put("p", 0)
        path = self.newest_root(stream)
        name = os.path.basename(path)
        version = int(name)
        following = os.path.join(os.path.dirname(path), str(version + 1).zfill(len(name))
                                 if name != str(version) else str(version + 1))
        self.assertNotIn(following, stream.objects())
        stream.store.write(following, os.urandom(700))
        self.assert_errno("EIO", os.stat, mount.step(1))
        self.assertNotEqual(bw.error_of(mount.put, "p", 1), "")
        self.assert_step(mount, 0, "p", 0)
        self.assertEqual(mount.head(), 1)
        self.assertTrue([x for x in mount.log().split("\n") if str(version + 1) in x])
        mount.kill()  # an umount would wait for the commit that cannot end


if __name__ == "__main__":
    bw.main()
