# SPDX-License-Identifier: Apache-2.0
# ctest: once 20-s
"""S4, S5: the recipes of mount-helpers/ for clusters, run in namespaces of this machine with real mounts."""
import contextlib
import ctypes
import os
import shutil
import signal
import subprocess

import apart
import bw

HELPERS = os.path.join(bw.HERE, "..", "..", "mount-helpers")
PATH = os.path.join(bw.BUILD, "mount-helpers") + ":/usr/sbin:/usr/bin:/sbin:/bin"
CLONE_NEWNS = 0x20000


def own_namespace():
    """Mounts of this process and its children are nobody else's; /run says of no service manager."""
    if bw.LIBC.unshare(CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    apart.leave_mounts()
    subprocess.run(["mount", "-t", "tmpfs", "run", "/run"], check=True)


def is_dead(folder):
    return bw.error_of(os.statvfs, folder) in ("ENOTCONN", "ECONNABORTED")


def daemons_of(folder):
    """Ids of the daemons that were started for a folder."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            words = bw.read(f"/proc/{pid}/cmdline", "rb").split(b"\0")
            if words[0].endswith(b"mount.batchweave") and folder.encode() in words:
                found.append(int(pid))
    return found


class Recipe(bw.TestCase):
    def setUp(self):
        super().setUp()
        self.needs_root()

    def commit(self, mnt, seq, ranks=2):
        os.makedirs(f"{mnt}/produce/p/{seq}/rank")
        for rank in range(ranks):
            bw.write(f"{mnt}/produce/p/{seq}/rank/{rank}", bw.payload("p", seq, rank))

    def kill_daemon(self, mnt):
        for pid in daemons_of(mnt):
            os.kill(pid, signal.SIGKILL)
        bw.wait_until(lambda: is_dead(mnt), what="a mount without its daemon")


class Slurm(Recipe):
    """Prolog and epilog of a node, as slurmd runs them."""

    def setUp(self):
        super().setUp()
        self.etc, self.state = self.folder("etc"), os.path.join(self.root, "run")
        self.streams = {name: self.stream(2) for name in ("tokens", "images")}
        for name, stream in self.streams.items():
            bw.write(f"{self.etc}/{name}.conf", f"# {name}\nURL={stream.url}\nDIR=\"{self.at(name)}\"\n"
                     f"OPTIONS=allow_other,log={self.root}/log-{name}\nAWS_REGION=elsewhere; touch {self.root}/run-it\n")

    def tearDown(self):
        for name in self.streams:
            subprocess.run(["umount", "-l", self.at(name)], check=False, capture_output=True)
        super().tearDown()

    def at(self, name):
        return f"{self.root}/mnt-{name}"

    def slurm(self, script, job, comment="", path=PATH):
        env = {"SLURM_JOB_ID": str(job), "SLURM_JOB_COMMENT": comment, "BATCHWEAVE_ETC": self.etc,
               "BATCHWEAVE_RUN": self.state, "BATCHWEAVE_PATH": path}
        env.update({k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")})
        done = subprocess.run([os.path.join(HELPERS, "slurm", script)], env=env, capture_output=True, text=True,
                              timeout=bw.PATIENCE, stdin=subprocess.DEVNULL, check=False)
        self.assertEqual(done.returncode, 0, "any other code drains the node\n" + done.stderr)
        return done.stderr

    def is_gone(self, name):
        bw.wait_until(lambda: not daemons_of(self.at(name)), what="the end of the daemon")
        return not os.path.ismount(self.at(name)) and not is_dead(self.at(name))

    def test_s4_one_mount_on_a_node(self):
        """S4, S5: jobs share the mount of a node; the last one's epilog takes it away, and what was committed stays."""
        self.assertEqual(self.slurm("prolog", 1, "batchweave=tokens"), "")
        self.assertEqual(self.slurm("prolog", 2, "urgent;batchweave=images,tokens"), "")
        self.assertEqual(self.slurm("prolog", 2, "urgent;batchweave=images,tokens"), "", "a second time does no harm")
        self.assertEqual(len(daemons_of(self.at("tokens"))), 1)
        self.commit(self.at("tokens"), 0)
        self.assertEqual(self.slurm("epilog", 1), "")
        self.assertEqual(bw.read(self.at("tokens") + "/step/0/rank/1", "rb"), bw.payload("p", 0, 1))
        self.assertEqual(self.slurm("epilog", 2), "")
        self.assertTrue(self.is_gone("tokens") and self.is_gone("images"))
        self.assertEqual(self.streams["tokens"].cat(0, 0), bw.payload("p", 0, 0))
        self.assertFalse(os.path.exists(self.root + "/run-it"), "a configuration is read, not run")
        self.assertEqual(self.slurm("epilog", 2), "")

    def test_s4_the_daemon_crashed(self):
        """S4: the next prolog takes the dead mount away and mounts anew; an epilog clears one too."""
        self.slurm("prolog", 1, "batchweave=tokens")
        self.kill_daemon(self.at("tokens"))
        self.assertEqual(self.slurm("prolog", 2, "batchweave=tokens"), "")
        self.assertEqual(bw.read(self.at("tokens") + "/status/head"), "0\n")
        self.kill_daemon(self.at("tokens"))
        self.slurm("epilog", 1)
        self.assertEqual(self.slurm("epilog", 2), "")
        self.assertTrue(self.is_gone("tokens"))

    def test_s7_keys_are_no_arguments(self):
        """S7: the lines of a configuration reach the daemon, and no command line."""
        secret = "hush-hush-hush"
        with open(f"{self.etc}/tokens.conf", "a", encoding="utf-8") as f:
            f.write(f"AWS_ACCESS_KEY_ID=key\nAWS_SECRET_ACCESS_KEY=\"{secret}\"\n")
        tools, seen = self.folder("tools"), f"{self.root}/seen"
        for name in ("env", "mount.batchweave"):
            bw.write(f"{tools}/{name}", f"#!/bin/bash\necho \"$0 $*\" >>{seen}\nPATH=${{PATH#*:}} exec {name} \"$@\"\n")
            os.chmod(f"{tools}/{name}", 0o755)
        self.assertEqual(self.slurm("prolog", 1, "batchweave=tokens", f"{tools}:{os.path.abspath(PATH)}"), "")
        self.assertIn(self.at("tokens"), bw.read(seen))
        self.assertNotIn(secret, bw.read(seen))
        (daemon,) = daemons_of(self.at("tokens"))
        self.assertIn(f"AWS_SECRET_ACCESS_KEY={secret}\0", bw.read(f"/proc/{daemon}/environ"))
        self.assertEqual(self.slurm("epilog", 1), "")

    def test_s4_values_are_those_of_systemd(self):
        """S4: quotes of both kinds, blanks around and backslashes mean here what they mean in an EnvironmentFile=."""
        bw.write(f"{self.etc}/tokens.conf",
                 f"  URL=  {self.streams['tokens'].url} \t\r\nDIR='{self.at('tokens')}'  \n; DIR=/no\n# URL=no\nOPTIONS='allow_other'\n"
                 "A='it is \"so\" \\n'\nB=\"a \\\"b\\\" \\\\ \\$c \\d 'e'\"\nC=a\\b c' \nD=\nE=\"\"\nno line\n F=last")
        self.assertEqual(self.slurm("prolog", 1, "batchweave=tokens"), "")
        (daemon,) = daemons_of(self.at("tokens"))
        told = bw.read(f"/proc/{daemon}/environ").split("\0")
        for line in ('A=it is "so" \\n', "B=a \"b\" \\ $c \\d 'e'", "C=ab c'", "D=", "E=", "F=last"):
            self.assertIn(line, told)
        self.assertEqual(self.slurm("epilog", 1), "")
        self.assertTrue(self.is_gone("tokens"))

    def test_s4_a_configuration_that_changes(self):
        """S4: what an epilog takes away is what its prolog mounted."""
        self.assertEqual(self.slurm("prolog", 1, "batchweave=tokens"), "")
        bw.write(f"{self.etc}/tokens.conf", f"URL={self.streams['tokens'].url}\nDIR={self.root}/elsewhere\n")
        self.assertEqual(self.slurm("epilog", 1), "")
        self.assertTrue(self.is_gone("tokens"))

    def test_s4_no_place_for_what_is_mounted(self):
        """S4: nothing is mounted that no epilog would take away, and the reason is said."""
        bw.write(self.state, "")
        self.assertIn("no lock", self.slurm("prolog", 1, "batchweave=tokens"))
        os.unlink(self.state)
        os.mkdir(self.state)
        bw.write(self.state + "/tokens.jobs", "")
        self.assertIn("cannot be written", self.slurm("prolog", 1, "batchweave=tokens"))
        self.assertEqual(self.slurm("epilog", 1), "")
        self.assertFalse(os.path.exists(self.at("tokens")))

    def job(self, url, code=0):
        """job.sh, with an srun that runs what it is given here and a training that ends with code."""
        tools = self.folder("tools")
        bw.write(f"{tools}/srun", "#!/bin/bash\nwhile [[ $1 == --* ]]; do shift; done\nexec \"$@\"\n")
        os.chmod(f"{tools}/srun", 0o755)
        bw.write(f"{self.root}/train.py", "import os, sys\nprint(os.listdir(sys.argv[2] + '/step'))\n"
                 f"sys.exit({code})\n")
        env = {**os.environ, "PATH": f"{tools}:{os.path.abspath(PATH)}", "SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "1", "STREAM_URL": url,
               "TMPDIR": self.root}
        return subprocess.run([os.path.join(HELPERS, "slurm", "job.sh")], env=env, capture_output=True, text=True, cwd=self.root,
                              timeout=bw.PATIENCE, stdin=subprocess.DEVNULL, check=False)

    def test_s4_a_job_without_the_administrator(self):
        """S4: mounts, trains, takes the mount away; a mount that cannot be made ends the job rather than holding its nodes."""
        done = self.job(self.streams["tokens"].url)
        self.assertEqual((done.returncode, done.stdout), (0, "[]\n"), done.stderr)
        self.assertFalse(os.path.exists(f"{self.root}/batchweave-7"))
        self.assertEqual(daemons_of(f"{self.root}/batchweave-7"), [], "Slurm would kill it")
        done = self.job(self.streams["tokens"].url, 3)
        self.assertEqual((done.returncode, done.stdout), (3, "[]\n"), done.stderr)
        self.assertFalse(os.path.exists(f"{self.root}/batchweave-7"))
        done = self.job("file:///nowhere")
        self.assertEqual((done.returncode, done.stdout), (32, ""), done.stderr)
        self.assertIn("there is no stream at file:///nowhere;", done.stderr)

    def test_s4_jobs_that_ask_for_nothing_or_nonsense(self):
        """S4: neither a mount nor a failure, and the reason is said."""
        for comment in ("", "hello", "nobatchweave=tokens", "batchweave=../../etc/passwd"):
            self.assertEqual(self.slurm("prolog", 3, comment), "", comment)
        self.assertIn("missing.conf", self.slurm("prolog", 3, "batchweave=missing"))
        bw.write(self.etc + "/bad.conf", f"URL=file://{self.root}/nowhere\nDIR={self.root}/mnt-bad\n")
        self.assertIn("nowhere", self.slurm("prolog", 3, "batchweave=bad"))
        self.assertEqual(self.slurm("epilog", 3), "")
        self.assertEqual([n for n in self.streams if os.path.exists(self.at(n))], [])


class Container(Recipe):
    """The container's entry script as process 1 of its own namespaces, with Kubernetes' propagation."""

    def setUp(self):
        super().setUp()
        self.node = self.folder("node")  # what hostPath or emptyDir is: shared with containers
        subprocess.run(["mount", "--bind", self.node, self.node], check=True)
        subprocess.run(["mount", "--make-shared", self.node], check=True)
        self.dir = self.node + "/stream"
        self.running = []

    def tearDown(self):
        for container in self.running:
            container.kill()
            container.communicate()
        while subprocess.run(["umount", "-l", self.dir], check=False, capture_output=True).returncode == 0:
            pass
        subprocess.run(["umount", "-l", self.node], check=False)
        super().tearDown()

    def run_container(self, *command, namespaces=("--pid", "--fork", "--mount-proc", "--kill-child"), propagation="unchanged",
                      **env):
        keep = {k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")}
        container = subprocess.Popen(
            ["unshare", "--mount", "--propagation", propagation, *namespaces, *command],
            env={**keep, "PATH": PATH, **env}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, preexec_fn=bw.die_with_parent)
        self.running.append(container)
        return container

    def run_entry(self, stream, *args, options="allow_other", **env):
        return self.run_container(os.path.join(HELPERS, "container", "entry"), *args, URL=stream.url, DIR=self.dir,
                                  OPTIONS=options, **env)

    def is_ready(self):
        """The readiness probe of the manifests."""
        return subprocess.run(["cat", self.dir + "/status/head"], capture_output=True, check=False).returncode == 0

    def process_1(self, container):
        """The entry script's process, seen from here."""
        with open(f"/proc/{container.pid}/task/{container.pid}/children", encoding="ascii") as f:
            return int(f.read().split()[0])

    def test_s4_mounted_for_the_node(self):
        """S4, S5: ready when the node sees the mount; SIGTERM to process 1 unmounts it everywhere, exit 0."""
        stream = self.stream(2)
        container = self.run_entry(stream, options="allow_other,commit=rename")
        bw.wait_until(self.is_ready, what="readiness")
        batch = self.dir + "/produce/p/0"
        os.makedirs(batch + "/rank")
        for rank in range(2):
            bw.write(f"{batch}/rank/.{rank}", bw.payload("p", 0, rank))
            os.rename(f"{batch}/rank/.{rank}", f"{batch}/rank/{rank}")
        self.assertEqual(bw.read(self.dir + "/step/0/rank/0", "rb"), bw.payload("p", 0, 0))
        os.kill(self.process_1(container), signal.SIGTERM)
        self.assertEqual(container.wait(bw.PATIENCE), 0)
        self.assertFalse(os.path.ismount(self.dir))

    def test_p3k_writers_of_other_containers(self):
        """P3k: a writer in another pid namespace cannot be judged: ENOTSUP, and nothing is committed."""
        self.run_entry(self.stream(2))
        bw.wait_until(self.is_ready, what="readiness")
        os.makedirs(self.dir + "/produce/p/0/rank")
        self.assert_errno("ENOTSUP", bw.write, self.dir + "/produce/p/0/rank/0", b"x")
        self.assertEqual(bw.read(self.dir + "/status/head"), "0\n")

    def test_s4_a_container_that_was_killed(self):
        """S4: the next one clears what is left and mounts anew, and a pod that runs sees the new mount."""
        stream = self.stream(2)
        sees = f"cat {self.dir}/status/head >/dev/null 2>&1"
        pod = self.run_container("sh", "-c", f"until {sees}; do sleep 0.05; done; echo there; while {sees}; do sleep 0.05; done; "
                                 f"echo gone; until {sees}; do sleep 0.05; done", namespaces=(), propagation="slave")
        first = self.run_entry(stream)
        self.assertEqual(pod.stdout.readline(), "there\n")
        os.kill(self.process_1(first), signal.SIGKILL)
        first.wait(bw.PATIENCE)
        bw.wait_until(lambda: is_dead(self.dir), what="a mount without its daemon")
        self.assertEqual(pod.stdout.readline(), "gone\n")  # it would not look for that any more once there is a new one
        self.run_entry(stream)
        bw.wait_until(self.is_ready, what="readiness")
        self.assertEqual(pod.wait(bw.PATIENCE), 0)

    def test_s4_entry_creates_and_runs_commands(self):
        """S4: RANKS makes a stream where there is none, once; arguments are commands of batchweave."""
        stream = self.stream(2)
        stream.url = "file://" + self.root + "/new"
        for _ in range(2):
            container = self.run_entry(stream, RANKS="3")
            bw.wait_until(self.is_ready, what="readiness")
            os.kill(self.process_1(container), signal.SIGTERM)
            self.assertEqual(container.wait(bw.PATIENCE), 0)
        out, err = self.run_entry(stream, "status", stream.url).communicate(timeout=bw.PATIENCE)
        self.assertRegex(out, r"ranks +3\n", err)

    def test_s4_entry_without_a_url(self):
        container = self.run_container(os.path.join(HELPERS, "container", "entry"), DIR=self.dir)
        _, err = container.communicate(timeout=bw.PATIENCE)
        self.assertNotEqual(container.returncode, 0)
        self.assertIn("URL=", err)


class Quickstart(bw.TestCase):
    @bw.file_only("what it does before there is a store")
    def test_where_cd_says_where_it_goes(self):
        """With CDPATH, which many have in their shell, it finds itself and the directory it was given; the build is left out here."""
        source = self.folder("source")
        os.mkdir(source + "/mount-helpers")
        for name in ("quickstart", "prepare.sh", "one-node-s3"):
            shutil.copy(os.path.join(HELPERS, name), source + "/mount-helpers")
        bw.write(source + "/cmake", "#!/bin/sh\npwd; exit 1\n")
        os.chmod(source + "/cmake", 0o755)
        done = subprocess.run(["mount-helpers/quickstart", "out"], cwd=source, capture_output=True, text=True, check=False,
                              env={**os.environ, "CDPATH": ".:/", "PATH": source + ":" + os.environ["PATH"]})
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, rf"^{source}\nquickstart: the build failed; all of it is in {source}/build/quickstart.log\n$")
        self.assertEqual(os.listdir(source + "/out"), [])


if __name__ == "__main__":
    if bw.ROOT:
        own_namespace()
    bw.main()
