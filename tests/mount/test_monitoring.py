# SPDX-License-Identifier: Apache-2.0
# ctest: once waits 15-s
"""Alerts, dashboard and the script for the textfile collector: all of it is about metrics that a mount has."""
import contextlib
import ctypes
import json
import os
import re
import signal
import struct
import stat
import subprocess
import sys

import apart
import bw
import prom

FOLDER = os.path.join(bw.HERE, "..", "..", "mount-helpers", "monitoring")
RULES = os.path.join(FOLDER, "batchweave.rules.yml")
DASHBOARD = os.path.join(FOLDER, "grafana.json")
TEXTFILE = os.path.join(FOLDER, "batchweave-textfile")
TESTS = os.path.join(bw.HERE, "alerts.yml")
NAME = re.compile(r"\b(batchweave_[a-z0-9_]+)(?:\{([^}]*)\})?")

CLONE_NEWNS = 0x20000


def never_answers(folder):
    """Mounts what says hello to the kernel, takes its requests, and is silent from then on."""
    fd = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={fd},rootmode=40000,user_id=0,group_id=0".encode()
    if bw.LIBC.mount(b"silent", folder.encode(), b"fuse.batchweave", 0, options):
        raise OSError(ctypes.get_errno(), "mount")
    unique = struct.unpack_from("=IIQ", os.read(fd, 1 << 20))[2]
    hello = struct.pack("=IIIIHHII", 7, 31, 1 << 17, 0, 12, 9, 1 << 17, 1).ljust(64, b"\0")
    os.write(fd, struct.pack("=IiQ", 16 + len(hello), 0, unique) + hello)
    while True:
        os.read(fd, 1 << 20)


class Monitoring(bw.TestCase):
    def promtool(self, *args):
        done = subprocess.run(["promtool", *args], text=True, capture_output=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_rules(self):
        """promtool takes the rules, and each alert has been seen to fire and to be quiet."""
        self.promtool("check", "rules", RULES)
        self.promtool("test", "rules", TESTS)
        alerts = re.findall(r"- alert: (\w+)", bw.read(RULES))
        self.assertEqual(len(alerts), len(set(alerts)))
        tests = re.findall(r"alertname: (\w+)\n +exp_alerts:( \[\])?\n", bw.read(TESTS))
        for quiet in ("", " []"):
            self.assertEqual([name for name, said in tests if said == quiet], alerts)

    def has(self, families, text, what):
        """Every metric that text names is one of a mount, with the labels that it is asked for."""
        samples = {}
        for family in families.values():
            for name, labels in family.samples:
                samples.setdefault(name, []).append(dict(labels))
        found = NAME.findall(text)
        self.assertTrue(found, what)
        for name, labels in found:
            self.assertIn(name, samples, what)
            for label, how, value in re.findall(r'(\w+)(=~|!~|!=|=)"([^"]*)"', labels):
                if label in ("instance", "mount"):
                    continue
                match = (lambda x, v=value: re.fullmatch(v, x)) if "~" in how else (lambda x, v=value: x == v)
                self.assertTrue(any(match(s.get(label, "")) for s in samples[name]), (what, name, labels))

    def test_all_that_is_asked_for_is_there(self):
        m = self.mount(self.stream(), f"cache={self.root}/cache")
        os.mkdir(m.path("checkpoint/train"))
        families = prom.parse(m.status("metrics"))
        for alert, expr in re.findall(r"- alert: (\w+)\n +expr: (.*)\n", bw.read(RULES)):
            if "node_textfile" not in expr:
                self.has(families, expr, alert)
        board = json.loads(bw.read(DASHBOARD))
        panels = [p for p in board["panels"] if p["type"] != "row"]
        self.assertGreater(len(panels), 10)
        for panel in panels:
            for target in panel["targets"]:
                self.has(families, target["expr"].replace("$__rate_interval", "5m"), panel["title"])
                for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                    self.assertIn(label, {"instance", "mount", "exported_job"} |
                                  set().union(*(f.label_names() for f in families.values())), panel["title"])
        for variable in board["templating"]["list"][1:]:
            self.has(families, variable["query"], variable["name"])

    def test_dashboard_is_laid_out(self):
        """No two panels on one place, all in the grid, each number once."""
        board = json.loads(bw.read(DASHBOARD))
        taken = {}
        for panel in board["panels"]:
            at = panel["gridPos"]
            self.assertLessEqual(at["x"] + at["w"], 24)
            for x in range(at["x"], at["x"] + at["w"]):
                for y in range(at["y"], at["y"] + at["h"]):
                    self.assertNotIn((x, y), taken, (panel["title"], taken.get((x, y))))
                    taken[x, y] = panel["title"]
        ids = [p["id"] for p in board["panels"]]
        self.assertEqual(len(ids), len(set(ids)))

    def looks(self, *args):
        """The script, past mounts of other tests: some do not answer, and some count what is open in them."""
        apart_from_others = ["unshare", "--mount", "--propagation=private", sys.executable, apart.__file__, "--keep", self.root]
        return [*(apart_from_others if bw.ROOT else ()), TEXTFILE, *args]

    def textfile(self, *args, code=0):
        done = subprocess.run(self.looks(*args), text=True, capture_output=True, check=False, timeout=bw.PATIENCE)
        self.assertEqual(done.returncode, code, done.stderr)
        return done.stdout

    def test_textfile(self):
        """All mounts of the host on one page that Prometheus takes, each sample with its mount."""
        stream = self.stream()
        a, b = self.mount(stream), self.mount(stream, "ro")
        a.put("p", 0)

        def shows(text, *mounts):
            """On a busy machine a mount may not answer in time once."""
            return text if all(f'mount="{m.dir}"' in text for m in mounts) else ""

        page = bw.wait_until(lambda: shows(self.textfile(), a, b), what="both mounts")
        families = prom.parse(page)
        heads = {dict(labels)["mount"]: v for (_, labels), v in families["batchweave_head_step"].samples.items()}
        self.assertEqual(heads[a.dir], 1)
        self.assertIn(b.dir, heads)
        self.assertLessEqual(set(prom.parse(a.status("metrics"))), set(families))
        done = subprocess.run(["promtool", "check", "metrics"], input=page, text=True, capture_output=True, check=False)
        self.assertEqual((done.returncode, done.stdout + done.stderr), (0, ""))
        target = os.path.join(self.root, "x.prom")
        bw.write(target, "old")
        page = bw.wait_until(lambda: shows(self.textfile(target) + bw.read(target), a), what="the mount in the file")
        self.assertIn(f'batchweave_head_step{{mount="{a.dir}"}} 1\n', page)
        self.assertTrue(page.startswith("# HELP "), "what is written to a file is not printed")
        self.assertEqual([n for n in os.listdir(self.root) if n.startswith("x.prom")], ["x.prom"])
        b.proc.send_signal(signal.SIGSTOP)
        try:
            page = self.textfile()
        finally:
            b.proc.send_signal(signal.SIGCONT)
        self.assertNotIn(f'mount="{b.dir}"', page)
        self.assertIn("usage", self.textfile("--help"))
        for args in (["--what"], [target, "--what"], ["--every"], ["--every", "x"], ["--every", "0"], ["--every", "", target],
                     [target, "--every", "-1"], [target, target]):
            self.textfile(*args, code=2)

    def test_textfile_replaces_plain_files_only(self):
        """The page takes the place of FILE; that of a device, or of a directory, is not to be taken."""
        pipe = self.root + "/pipe"
        os.mkfifo(pipe)
        for other in (pipe, self.root):
            self.textfile(other, code=2)
        self.assertTrue(stat.S_ISFIFO(os.stat(pipe).st_mode))
        self.assertEqual(os.listdir(self.root), ["pipe"])
        self.textfile("/dev/fd/1")

    def test_textfile_of_odd_places(self):
        """A name that cannot stand in a label does not spoil the page for the other mounts."""
        stream = self.stream()
        for name, label in (("a\nb\n", "a\\nb"), (os.fsdecode(b"\xff\xc3\xa9"), "???"), ("\u00e9 \"\\", "\u00e9 \\\"\\\\")):
            m = bw.Mount(stream, self.folder(name), self.root + "/odd.log")
            try:
                wanted = f'batchweave_head_step{{mount="{self.root}/{label}"}} 0\n'
                page = bw.wait_until(lambda w=wanted: (page := self.textfile()) and w in page and page, what=wanted)
                prom.parse(page)
                done = subprocess.run(["promtool", "check", "metrics"], input=page, text=True, capture_output=True, check=False)
                self.assertEqual((done.returncode, done.stdout + done.stderr), (0, ""))
            finally:
                self.assertEqual(m.stop(), 0)

    def test_textfile_again_and_again(self):
        m = self.mounted()
        target = os.path.join(self.root, "x.prom")
        with subprocess.Popen(self.looks(target, "--every", "0.2"), preexec_fn=os.setsid) as child:
            try:
                bw.wait_until(lambda: os.path.exists(target))
                m.put("p", 0)
                bw.wait_until(lambda: f'batchweave_head_step{{mount="{m.dir}"}} 1\n' in bw.read(target))
            finally:
                os.killpg(child.pid, signal.SIGTERM)

    def test_textfile_past_a_full_disk(self):
        """It says that the page was not written, keeps the one before, and writes the next when there is room."""
        m, disk = self.mounted(), self.disk("1m")
        target, rest = os.path.join(disk, "x.prom"), os.path.join(disk, "rest")
        with subprocess.Popen(self.looks("--every", "0.2", target), stderr=subprocess.PIPE, text=True, preexec_fn=os.setsid) as child:
            try:
                bw.wait_until(lambda: os.path.exists(target))
                with contextlib.suppress(OSError), open(rest, "wb", buffering=0) as f:
                    while True:
                        f.write(bytes(4096))
                line = "none yet"
                while "is not written" not in line:
                    line = child.stderr.readline()
                    self.assertTrue(line, "it has ended")
                self.assertTrue(bw.read(target).startswith("# HELP "))
                os.unlink(rest)
                m.put("p", 0)
                bw.wait_until(lambda: f'batchweave_head_step{{mount="{m.dir}"}} 1\n' in bw.read(target), what="the next page")
                self.assertLessEqual({n for n in os.listdir(disk) if "." in n}, {"x.prom", f"x.prom.{child.pid}"})
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGTERM)

    def test_textfile_past_a_mount_that_never_answers(self):
        """A reader whose request has been taken cannot be killed: one is left behind, and the other mounts have their page."""
        self.needs_root()
        self.join(self.spawn(self.past_a_mount_that_never_answers, self.stream()))

    def past_a_mount_that_never_answers(self, stream):
        bw.LIBC.unshare(CLONE_NEWNS)
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        apart.leave_mounts()
        silent, target = self.folder("silent"), os.path.join(self.root, "x.prom")
        server = self.spawn(never_answers, silent)
        bw.wait_until(lambda: silent in "".join(bw.mounts()), what="the mount that never answers")
        m = bw.Mount(stream, self.folder("mnt"), self.root + "/log")
        with subprocess.Popen([TEXTFILE, "--every", "0.2", target], preexec_fn=os.setsid) as child:
            try:
                for seq in range(3):
                    m.put("p", seq)
                    bw.wait_until(lambda n=seq + 1: os.path.exists(target) and
                                  f'batchweave_head_step{{mount="{m.dir}"}} {n}\n' in bw.read(target), what="the other mount")
                self.assertNotIn(silent, bw.read(target))
                readers = subprocess.run(["pgrep", "-xf", f"cat {silent}/status/metrics"], capture_output=True, check=True)
                self.assertEqual(len(readers.stdout.split()), 1)
                bw.LIBC.umount2(silent.encode(), apart.MNT_DETACH)
                n = bw.Mount(stream, silent, self.root + "/log2")
                bw.wait_until(lambda: f'batchweave_head_step{{mount="{n.dir}"}} 3\n' in bw.read(target), what="what is there now")
                self.assertEqual(n.stop(), 0)
            finally:
                os.killpg(child.pid, signal.SIGTERM)
                server.kill()
        subprocess.run(["mount", "--bind", m.dir, m.dir], check=True)
        self.assertEqual(self.textfile().count(f'batchweave_head_step{{mount="{m.dir}"}}'), 1, "two mounts in one place")
        bw.LIBC.umount2(m.dir.encode(), 0)
        self.assertEqual(m.stop(), 0)


if __name__ == "__main__":
    bw.main()
