# SPDX-License-Identifier: Apache-2.0
# ctest: once 15-s
"""A daemon that dies below programs: what they see, what the log says, and how the mount comes back.  S2, S4, P6."""
import contextlib
import ctypes
import os
import re
import signal
import subprocess

import bw

SYS_TGKILL = 234  # x86-64
# A sanitizer would make a report of each signal, which a test run counts as a fault.
UNWATCHED = {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") +
             ":handle_segv=0:handle_sigbus=0:handle_sigfpe=0:handle_sigill=0:handle_abort=0"}


class Case(bw.TestCase):
    def die(self, mount, number):
        """Sends the signal; the daemon ends by it, and not by another way out."""
        mount.proc.send_signal(number)
        self.assertEqual(mount.proc.wait(bw.PATIENCE), -number)

    def last_words(self, mount):
        return [line for line in mount.log().split("\n") if " fatal_signal " in line]

    def mount_again(self, url, folder, *options, code=0, cwd=None):
        """As somebody types it, or systemd does it: in the background."""
        done = subprocess.run([bw.MOUNT, url, folder, "-o", ",".join([f"log={self.root}/again.log", *options])],
                              capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, cwd=cwd,
                              timeout=bw.PATIENCE)
        self.assertEqual(done.returncode, code, done.stderr)
        return done.stderr

    def unmount(self, folder):
        """Returns when the daemon of mount_again() has gone, which writes a last line then."""
        bw.unmount(folder)
        self.assertFalse(os.path.ismount(folder), "there was one mount over another")
        pid = int(re.findall(r" mounted .*\bpid=(\d+)", bw.read(self.root + "/again.log"))[-1])
        bw.wait_until(lambda: not os.path.exists(f"/proc/{pid}"), what="the end of the daemon")


class LastWords(Case):
    def test_the_log_names_the_signal(self):
        """One line, then the signal does what it does without us."""
        mount = self.mount(self.stream(1), env=UNWATCHED)
        for number in (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSYS):
            self.die(mount, number)
            self.assertRegex(self.last_words(mount)[-1],
                             rf"^\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\dZ error fatal_signal signal={number.name} "
                             rf'from={os.getpid()} thread=\S+ version=\S+ dir="{mount.dir}" note=".*ENOTCONN.*"$')
            mount.detach()
            mount.restart()
        self.assertEqual(len(self.last_words(mount)), 6)

    def test_in_every_thread(self):
        """A fault comes to the thread that is at fault: none of them hides it."""
        mount = self.mount(self.stream(1), env=UNWATCHED)
        names = set()
        for _ in range(40):
            pid = mount.proc.pid
            threads = {}
            for tid in os.listdir(f"/proc/{pid}/task"):
                with contextlib.suppress(OSError):  # one that has just ended
                    threads[bw.read(f"/proc/{pid}/task/{tid}/comm").strip()] = int(tid)
            left = sorted(n for n in threads if n not in names and n.startswith("bw-"))
            if not left:
                break
            self.assertEqual(bw.LIBC.syscall(SYS_TGKILL, pid, threads[left[0]], int(signal.SIGSEGV)), 0)
            self.assertEqual(mount.proc.wait(bw.PATIENCE), -signal.SIGSEGV, left[0])
            self.assertIn(f" thread={left[0]} ", self.last_words(mount)[-1])
            names.add(left[0])
            mount.detach()
            mount.restart()
        self.assertGreater(len(names), 4, names)

    def test_a_core_is_still_made(self):
        """Where the system makes them: the handler is no end of its own."""
        if bw.SANITIZED or bw.read("/proc/sys/kernel/core_pattern").strip() != "core":
            self.skipTest("cores are not made here, or by a program")
        folder = self.folder("core")
        mount = self.mount(self.stream(1), prefix=["sh", "-c", f'ulimit -c unlimited; cd {folder}; exec "$0" "$@"'])
        self.die(mount, signal.SIGSEGV)
        self.assertEqual([n[:4] for n in os.listdir(folder)], ["core"])
        self.assertEqual(len(self.last_words(mount)), 1)

    def test_why_it_ended(self):
        """Of ends that are none of a fault: which signal, or an umount."""
        mount = self.mounted(ranks=1)
        self.assertEqual(mount.stop(signal.SIGTERM), 0)
        self.assertRegex(mount.log(), r"info stopping reason=SIGTERM\n(.*\n)*.* info unmounted reason=SIGTERM ")
        mount.restart()
        self.assertEqual(mount.umount(), 0)
        self.assertRegex(mount.log(), r" info unmounted reason=umount ")
        self.assertEqual(mount.log().count(" info mounted url="), 2)


class Programs(Case):
    def test_what_programs_see(self):
        """ENOTCONN from every call, for who waits as well; what was staged is gone, what was acknowledged is there."""
        mount = self.mount(self.stream(2), "wait=100,prefetch=0")
        for seq in range(2):
            mount.put("p", seq)
        mount.begin("p", 2)
        staged = os.open(mount.slot("p", 2, 0), os.O_WRONLY | os.O_CREAT)
        os.write(staged, b"part")
        opened = os.open(mount.step(1, 0), os.O_RDONLY)
        folder = os.open(mount.path("step"), os.O_RDONLY | os.O_DIRECTORY)
        waiter = self.spawn(lambda: self.assert_errno("ENOTCONN ECONNABORTED", open, mount.step(2, 0)))
        bw.wait_until(lambda: "step=2" in mount.status("waiting"), what="the waiter")
        self.die(mount, signal.SIGKILL)
        self.join(waiter)
        for call, *args in ((os.stat, mount.step(0)), (os.listdir, mount.path("step")), (open, mount.step(0, 0)),
                            (os.mkdir, mount.path("produce", "q")), (os.statvfs, mount.dir), (os.read, opened, 10),
                            (os.write, staged, b"more"), (os.fsync, staged), (os.listdir, folder)):
            self.assert_errno("ENOTCONN", call, *args)
        self.assertEqual(bw.error_of(os.close, staged), "ENOTCONN")
        self.mount_again(mount.stream.url, mount.dir)
        bw.wait_until(lambda: " warn dead_mount_removed " in bw.read(self.root + "/again.log"), what="the line of the log")
        self.assert_errno("ENOTCONN", os.read, opened, 10)
        self.assertEqual(int(mount.resume("p")["next"]), 2)
        self.assertEqual(os.listdir(mount.path("produce", "p")), ["next", "state", "resume"])
        mount.put("p", 2)
        self.assert_step(mount, 1, "p", 1)
        self.assert_step(mount, 2, "p", 2)
        os.close(opened)
        os.close(folder)
        self.unmount(mount.dir)


class Again(Case):
    """S4: a mount where a daemon has died."""

    def test_s4_however_the_directory_is_written(self):
        mount = self.mounted(ranks=1)
        name = os.path.basename(mount.dir)
        os.symlink(mount.dir, self.root + "/link")
        os.symlink(name, self.root + "/near")
        for spelling, cwd in ((mount.dir, None), (mount.dir + "//", None), (name, self.root), (f"./{name}/", self.root),
                              (f"{self.root}/store/../{name}", None), (self.root + "/link", None), ("link/", self.root),
                              (self.root + "/near", None)):
            self.die(mount, signal.SIGKILL)
            self.mount_again(mount.stream.url, spelling, cwd=cwd)
            self.assertEqual(mount.head(), 0)
            self.unmount(mount.dir)
            mount.restart()

    def test_s4_of_an_ordinary_user(self):
        """Through fusermount3, which lets a user take away what is his."""
        self.needs_root()
        if os.stat("/dev/fuse").st_mode & 0o6 != 0o6:
            self.skipTest("/dev/fuse is not for everybody here")
        stream, folder = self.stream(1), self.folder("mnt")
        os.chmod(self.root, 0o777)
        self.shell("chown -R 65534:65534 $D $S", D=folder, S=stream.dir)
        as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        for turn in range(3):
            log = f"{self.root}/{turn}.log"
            done = subprocess.run([*as_nobody, bw.MOUNT, stream.url, folder, "-o", "log=" + log], capture_output=True,
                                  text=True, check=False, stdin=subprocess.DEVNULL, timeout=bw.PATIENCE)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertEqual(bw.read(f"/proc/{self.pid_in(log)}/status").count("Uid:\t65534\t65534"), 1)
            if turn < 2:
                self.kill(self.pid_in(log))
        self.shell("setpriv --reuid=65534 --regid=65534 --clear-groups fusermount3 -u $D", D=folder)
        self.assertFalse(os.path.ismount(folder), "there was one mount over another")
        bw.wait_until(lambda: not os.path.exists(f"/proc/{self.pid_in(log)}"), what="the end of the daemon")

    def pid_in(self, log):
        """Of the daemon that began this log."""
        said = bw.wait_until(lambda: os.path.exists(log) and re.search(r" mounted .*\bpid=(\d+)", bw.read(log)),
                             what="its first line")
        return int(said.group(1))

    def kill(self, pid):
        os.kill(pid, signal.SIGKILL)
        bw.wait_until(lambda: not os.path.exists(f"/proc/{pid}"), what="its end")

    def test_s4_several_of_them(self):
        """One dead mount over the other, and names with blanks."""
        stream, folder = self.stream(1), self.folder("a b\\c")
        for turn in range(2):
            self.mount_again(stream.url, folder, f"log={self.root}/{turn}.log")
            self.mount_again(stream.url, folder, f"log={self.root}/{turn}b.log")  # over one that lives
            for log in (f"{turn}.log", f"{turn}b.log"):
                self.kill(self.pid_in(f"{self.root}/{log}"))
        self.assertEqual(self.mount_again(stream.url, folder), "")
        self.assertEqual(bw.read(folder + "/status/head"), "0\n")
        self.unmount(folder)

    def mounts_at(self, folder):
        return [line for line in bw.mounts() if line.split()[4] == folder]

    def test_s4_two_that_come_back_at_once(self):
        """Whoever is about to take the dead mount away finds another's new one in its place, which stays."""
        self.needs_root()
        mount, gate = self.mounted(ranks=1), bw.Gate(self.root + "/gate")
        self.addCleanup(gate.open)
        self.die(mount, signal.SIGKILL)
        gate.say("detach")
        logs = [f"{self.root}/{name}.log" for name in ("slow", "fast")]
        slow = subprocess.Popen([bw.MOUNT, mount.stream.url, mount.dir, "-o", "log=" + logs[0]],
                                env={**os.environ, **gate.env()}, stdin=subprocess.DEVNULL)
        bw.wait_until(lambda: os.path.exists(gate.path + ".held"), what="one that is about to")
        self.mount_again(mount.stream.url, mount.dir, "log=" + logs[1])
        gate.open()
        self.assertEqual(slow.wait(bw.PATIENCE), 0)
        self.assertEqual(len(self.mounts_at(mount.dir)), 2)
        for log in logs:
            bw.unmount(mount.dir)
            bw.wait_until(lambda log=log: not os.path.exists(f"/proc/{self.pid_in(log)}"), what="the end of the daemon")

    def test_s4_somebody_elses_is_left_alone(self):
        """A dead mount of another program: one sentence with the remedy, exit code 32."""
        self.needs_root()
        folder = self.folder("mnt")
        fd = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={fd},rootmode=40000,user_id=0,group_id=0".encode()
        self.assertEqual(bw.LIBC.mount(b"other", folder.encode(), b"fuse.other", 0, ctypes.c_char_p(options)), 0)
        self.addCleanup(subprocess.run, ["umount", "-l", folder], check=False, capture_output=True)
        os.close(fd)
        said = self.mount_again(self.stream(1).url, folder, code=32)
        self.assertRegex(said, f"^[^\n]*{folder} has lost its daemon; run umount -l {folder} first\n$")
        self.assert_errno("ENOTCONN", os.statvfs, folder)

    def test_s4_checking_arguments_unmounts_nothing(self):
        mount = self.mounted(ranks=1)
        self.die(mount, signal.SIGKILL)
        done = subprocess.run([bw.MOUNT, "-f", mount.stream.url, mount.dir], capture_output=True, text=True, check=False)
        self.assertIn(done.returncode, (0, 32))
        self.assertTrue(bw.is_dead(mount))


if __name__ == "__main__":
    bw.main()
