# SPDX-License-Identifier: Apache-2.0
# ctest: once 20-s
"""S4: what a service manager, mount(8) for users, and a process without privileges need of the daemon."""
import ctypes
import os
import re
import shlex
import signal
import socket
import subprocess

import bw

UNIT = os.path.join(bw.HERE, "..", "..", "mount-helpers", "batchweave@.service")
NOBODY = 65534


def unit_lines(name):
    """Values of one setting of the unit, as systemd reads them."""
    return re.findall(rf"^{name}=(.*)$", bw.read(UNIT), re.MULTILINE)


def run_line(line, env):
    """One Exec line of the unit, with systemd's substitutions and the result its prefix asks for."""
    ignores = line.startswith("-")
    words = [re.sub(r"\$\{(\w+)\}", lambda m: env.get(m.group(1), ""), w).replace("$$", "$")
             for w in shlex.split(line.lstrip("-"))]
    done = subprocess.run(words, env={**os.environ, **env}, capture_output=True, text=True,
                          timeout=bw.PATIENCE, check=False)
    if done.returncode and not ignores:
        raise AssertionError(f"{line}: exit {done.returncode}: {done.stderr}")
    return done


class Manager(bw.TestCase):
    """The daemon below something that listens at NOTIFY_SOCKET."""

    def listen(self, name):
        heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        heard.bind(name.replace("@", "\0", 1))
        heard.settimeout(bw.PATIENCE)
        self.addCleanup(heard.close)
        return heard

    def start(self, stream, mnt, name, options="log=stderr"):
        words = unit_lines("ExecStart")[0].replace("${URL}", stream.url).replace("${DIR}", mnt)
        self.assertTrue(words.startswith("mount.batchweave "), words)
        words = [bw.MOUNT, *words.replace("log=stderr,${OPTIONS}", options).split()[1:]]
        daemon = subprocess.Popen(words, env={**os.environ, "NOTIFY_SOCKET": name},
                                  stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                  preexec_fn=bw.die_with_parent)
        self.addCleanup(self.end, daemon, mnt)
        return daemon

    def end(self, daemon, mnt):
        daemon.kill()
        daemon.wait()
        daemon.stderr.close()
        if error_is_dead(mnt):
            subprocess.run(["umount", "-l", mnt], check=False)

    def test_s4_a_manager_hears_of_ready_and_stopping(self):
        """S4: READY comes when the mount answers, whatever form the socket's name has; STOPPING before the end."""
        for name in (self.root + "/notify", f"@batchweave-test-{os.getpid()}"):
            with self.subTest(name=name[0]):
                stream, mnt, heard = self.stream(2), self.folder("mnt"), self.listen(name)
                daemon = self.start(stream, mnt, name)
                self.assertIn("READY=1", heard.recv(4096).decode().split("\n"))
                self.assertEqual(bw.read(mnt + "/status/head"), "0\n")
                daemon.send_signal(signal.SIGTERM)
                words = heard.recv(4096).decode().split("\n")
                self.assertIn("STOPPING=1", words)
                self.assertIn("STATUS=committing what is queued", words, "before the end, not after it")
                self.assertEqual(daemon.wait(bw.PATIENCE), 0)
                self.assertFalse(os.path.ismount(mnt))

    def test_s4_umount_is_told_too(self):
        """S4: a mount that is taken away from outside ends the service with 0, and says so."""
        self.needs_root()
        stream, mnt, heard = self.stream(2), self.folder("mnt"), self.listen(self.root + "/notify")
        daemon = self.start(stream, mnt, self.root + "/notify")
        heard.recv(4096)
        bw.unmount(mnt)
        self.assertIn("STOPPING=1", heard.recv(4096).decode().split("\n"))
        self.assertEqual(daemon.wait(bw.PATIENCE), 0)

    def test_s4_no_ready_without_a_mount(self):
        """S4: a stream that is not there: mount(8)'s exit code, one sentence, and never READY."""
        stream, mnt, heard = self.stream(2), self.folder("mnt"), self.listen(self.root + "/notify")
        stream.url = "file://" + self.root + "/missing"
        daemon = self.start(stream, mnt, self.root + "/notify")
        self.assertEqual(daemon.wait(bw.PATIENCE), 32)
        self.assertIn("missing", daemon.stderr.read())
        heard.setblocking(False)
        self.assertRaises(BlockingIOError, heard.recv, 4096)

    def test_s4_reload_opens_the_log_again(self):
        """S4: SIGHUP, which ends a daemon in a terminal, is for the log below a manager."""
        stream, mnt, heard = self.stream(2), self.folder("mnt"), self.listen(self.root + "/notify")
        log = self.root + "/log"
        daemon = self.start(stream, mnt, self.root + "/notify", f"log={log},loglevel=debug")
        heard.recv(4096)
        os.rename(log, log + ".1")
        for line in unit_lines("ExecReload"):
            run_line(line, {"MAINPID": str(daemon.pid)})
        bw.wait_until(lambda: os.path.exists(log), what="a new log")
        self.assertEqual(bw.read(mnt + "/status/head"), "0\n")

    def test_s4_after_a_crash_the_unit_mounts_again(self):
        """S4: kill -9; what the unit runs then takes the dead mount away, and the next start works."""
        self.needs_root()
        stream, mnt, heard = self.stream(2), self.folder("mnt"), self.listen(self.root + "/notify")
        env = {"URL": stream.url, "DIR": mnt, "OPTIONS": ""}
        for line in unit_lines("ExecStartPre"):
            run_line(line, env)
        daemon = self.start(stream, mnt, self.root + "/notify")
        heard.recv(4096)
        for line in unit_lines("ExecStopPost"):
            run_line(line, env)
        self.assertEqual(bw.read(mnt + "/status/head"), "0\n", "a mount that lives is left alone")
        daemon.kill()
        daemon.wait()
        self.assertTrue(error_is_dead(mnt))
        for line in unit_lines("ExecStopPost"):
            run_line(line, env)
        self.assertFalse(error_is_dead(mnt) or os.path.ismount(mnt))
        os.rmdir(mnt)
        for line in unit_lines("ExecStartPre"):
            run_line(line, env)
        self.assertTrue(os.path.isdir(mnt))
        self.start(stream, mnt, self.root + "/notify")
        self.assertIn("READY=1", heard.recv(4096).decode().split("\n"))
        self.assertEqual(bw.read(mnt + "/status/head"), "0\n")


def error_is_dead(mnt):
    return bw.error_of(os.statvfs, mnt) in ("ENOTCONN", "ECONNABORTED")


class Passed(bw.TestCase):
    """/dev/fd/N: somebody with the privilege opens and mounts /dev/fuse, the daemon has none."""

    def setUp(self):
        super().setUp()
        self.needs_root()
        self.where = self.folder("mnt")
        os.chmod(self.root, 0o755)

    def pass_mount(self):
        fd = os.open("/dev/fuse", os.O_RDWR)
        self.addCleanup(self.close_quietly, fd)
        options = f"fd={fd},rootmode=40000,user_id={NOBODY},group_id={NOBODY},default_permissions,allow_other"
        done = bw.LIBC.mount(b"passed", self.where.encode(), b"fuse.batchweave", 2 | 4, options.encode())
        self.assertEqual(done, 0, os.strerror(ctypes.get_errno()))
        self.addCleanup(subprocess.run, ["umount", "-l", self.where], check=False, capture_output=True)
        return fd

    @staticmethod
    def close_quietly(fd):
        try:
            os.close(fd)
        except OSError:
            pass

    def command(self, stream, fd, options, name=None):
        """The words that start a daemon without privileges; the store becomes its own."""
        for folder, _, names in os.walk(stream.dir):
            os.chown(folder, NOBODY, NOBODY)
            for one in names:
                os.chown(os.path.join(folder, one), NOBODY, NOBODY)
        return ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", "--no-new-privs",
                "--bounding-set", "-all", bw.MOUNT, stream.url, f"/dev/fd/{fd if name is None else name}",
                "-o", f"log={self.root}/log/x" + options]

    def stream_of_nobody(self):
        log = self.folder("log")
        os.chown(log, NOBODY, NOBODY)
        return self.stream(2, folder=self.folder("store"))

    def produce(self):
        """A batch, written by the user of the daemon, who may see no other's processes."""
        script = ('mkdir -p "$0/rank" && printf "slice 0" >"$0/rank/0" && printf "slice 1" >"$0/rank/1"')
        subprocess.run(["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups",
                        "bash", "-euc", script, self.where + "/produce/p/0"], check=True, timeout=bw.PATIENCE)

    def produce_as_root(self):
        """P3k: a writer that the daemon may not judge."""
        os.makedirs(self.where + "/produce/p/1/rank")
        bw.write(self.where + "/produce/p/1/rank/0", b"x")

    def test_s4_a_daemon_without_privileges(self):
        """S4: it commits and reads through a mount that it could not have made, and ends with it."""
        stream, fd = self.stream_of_nobody(), self.pass_mount()
        daemon = subprocess.Popen(self.command(stream, fd, ",foreground"), pass_fds=[fd],
                                  stdin=subprocess.DEVNULL, preexec_fn=bw.die_with_parent)
        os.close(fd)
        try:
            self.assertEqual(bw.read(self.where + "/status/head"), "0\n")
            self.produce()
            self.assertEqual(bw.read(self.where + "/step/0/rank/1"), "slice 1")
            self.assert_errno("ENOTSUP", self.produce_as_root)
            self.assertEqual(os.stat(self.where).st_uid, NOBODY)
            capabilities = re.search(r"CapEff:\s+0+$", bw.read(f"/proc/{daemon.pid}/status"), re.MULTILINE)
            self.assertTrue(capabilities)
            self.assertEqual(bw.read(self.root + "/log/x").count(" info readahead_not_raised "), 1)
            bw.unmount(self.where)
            self.assertEqual(daemon.wait(bw.PATIENCE), 0)
        finally:
            daemon.kill()
            daemon.wait()
        self.assertEqual(stream.cat(0, 0), b"slice 0")

    def test_s4_passed_to_the_background(self):
        """S4: the descriptor reaches the daemon; SIGTERM ends it, and the mount is its maker's to take away."""
        stream, fd = self.stream_of_nobody(), self.pass_mount()
        for number in (fd, 3):
            if number == 3:
                subprocess.run(["umount", "-l", self.where], check=False)
                fd = self.pass_mount()
            script = f'exec "$@" {number}<&{fd} {"" if number == fd else f"{fd}<&-"}'
            words = self.command(stream, fd, "", name=number)
            done = subprocess.run(["bash", "-c", script, "-", *words], pass_fds=[fd], timeout=bw.PATIENCE,
                                  stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
            os.close(fd)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertEqual(bw.read(self.where + "/status/head"), "0\n")
            pid, = map(int, self.daemons())
            os.kill(pid, signal.SIGTERM)
            bw.wait_until(lambda: error_is_dead(self.where), what="the end of the daemon")
            bw.wait_until(lambda: not os.path.exists(f"/proc/{pid}"), what="the end of the process")

    def test_s4_the_helper_of_fuse3_passes_one(self):
        """S4: mount.fuse3 -o drop_privileges, as docs/clusters.md has it."""
        stream = self.stream_of_nobody()
        self.command(stream, 0, "")
        options = f"drop_privileges,setuid=nobody,default_permissions,allow_other,log={self.root}/log/x"
        env = {**os.environ, "PATH": os.path.dirname(bw.MOUNT) + ":" + os.environ["PATH"]}
        done = subprocess.run(["mount.fuse3", "mount.batchweave#" + stream.url, self.where, "-o", options], env=env,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=bw.PATIENCE, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.produce()
        self.assertEqual(bw.read(self.where + "/step/0/rank/1"), "slice 1")
        bw.unmount(self.where)
        bw.wait_until(lambda: not self.daemons(), what="the end of the daemon")

    def daemons(self):
        done = subprocess.run(["pgrep", "-f", re.escape(self.root) + "/log/x"], text=True, capture_output=True,
                              check=False)
        return done.stdout.split()

    def test_s4_nothing_was_passed(self):
        """S4: a number that is no descriptor, or not /dev/fuse, is said in one sentence."""
        stream = self.stream_of_nobody()
        with open(stream.dir + "/stream.json", "rb") as file:
            for fd, words in ((77, "/dev/fd/77 is not open"), (file.fileno(), "is not /dev/fuse")):
                done = subprocess.run(self.command(stream, fd, ",foreground"), timeout=bw.PATIENCE, text=True,
                                      pass_fds=[file.fileno()], capture_output=True, check=False)
                self.assertEqual((done.returncode, len(done.stderr.strip().split("\n"))), (1, 1), done.stderr)
                self.assertIn(words, done.stderr)

    def test_s4_a_descriptor_that_is_not_mounted(self):
        """S4: exit 32 and a sentence, not a daemon that waits for ever."""
        stream, fd = self.stream_of_nobody(), os.open("/dev/fuse", os.O_RDWR)
        self.addCleanup(self.close_quietly, fd)
        done = subprocess.run(self.command(stream, fd, ",foreground"), timeout=bw.PATIENCE, text=True, pass_fds=[fd],
                              capture_output=True, check=False)
        self.assertEqual(done.returncode, 32, done.stderr)
        self.assertIn("does not answer", done.stderr)


if __name__ == "__main__":
    bw.main()
