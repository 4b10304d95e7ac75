# SPDX-License-Identifier: Apache-2.0
"""batchweave destroy: what it refuses, what it leaves, and what mounts that are still there are told."""
import json
import os
import pty
import signal
import subprocess

import bw
import objects

FOREIGN = "notes/readme"


class Destroy(bw.TestCase):
    def stream_of_steps(self, steps=3):
        stream = self.stream(2)
        mount = self.mount(stream)
        for seq in range(steps):
            mount.put("p", seq, state=b"s" * 1000)
        return stream, mount

    def id_of(self, stream):
        return json.loads(bw.batchweave("status", stream.url, "--json").stdout)["stream"]

    def expect(self, code, says, *args):
        done = bw.batchweave("destroy", *args, check=False)
        self.assertEqual((done.returncode, done.stdout), (code, ""), done)
        self.assertRegex(done.stderr, says)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)

    def test_nothing_goes_without_the_id(self):
        stream, mount = self.stream_of_steps()
        mount.umount()
        name = self.id_of(stream)
        before = stream.objects()
        self.expect(2, f"--yes-destroy {name}$", stream.url)
        self.expect(1, f"the stream here is {name}, not {name[:8]}", stream.url, "--yes-destroy", name[:8])
        self.expect(1, "not yes$", stream.url, "--yes-destroy", "yes")
        self.expect(2, "--yes-destroy needs a value", stream.url, "--yes-destroy")
        self.expect(2, "usage: batchweave destroy URL --yes-destroy NAME", "--yes-destroy", name)
        self.assertEqual(stream.objects(), before)
        self.assertEqual(stream.cat(0, 0), bw.payload("p", 0, 0))

    def test_all_of_it_and_nothing_else(self):
        stream, mount = self.stream_of_steps()
        beside, other = self.stream_of_steps(1)
        mount.umount()
        name = self.id_of(stream)
        foreign = f"{name[:8]}/data/p/x"
        for key in (FOREIGN, foreign):
            stream.store.write(key, b"not yours")
        of_the_other = beside.objects()
        done = bw.batchweave("destroy", stream.url, "--yes-destroy", name)
        self.assertEqual(done.stderr, "")
        lines = done.stdout.splitlines()
        self.assertRegex(lines[0], f"^destroyed stream {name} at {stream.url}: [0-9]+ objects and 0 unfinished uploads$")
        self.assertEqual(sorted(lines[1:]), sorted(f"left {key}, which is of something else" for key in (FOREIGN, foreign)))
        self.assertEqual(stream.objects(), sorted([FOREIGN, foreign]))
        self.assertEqual(stream.store.read(FOREIGN), b"not yours")
        self.assertEqual(beside.objects(), of_the_other)
        other.put("p", 1)
        self.assert_step(other, 1, "p", 1)
        self.expect(1, f"there is no stream at {stream.url}$", stream.url, "--yes-destroy", name)
        self.expect(1, "there is no stream at", stream.url)
        for key in (FOREIGN, foreign):
            stream.store.remove(key)
        bw.batchweave("init", stream.url, "--ranks", 2)
        self.assertNotEqual(self.id_of(stream), name)

    def interrupted(self, stream, name):
        """Runs it until it waits for mounts to notice; then Ctrl-C.  What its terminal has shown."""
        ours, theirs = pty.openpty()
        program = subprocess.Popen([bw.BATCHWEAVE, "destroy", stream.url, "--yes-destroy", name],
                                   stdout=subprocess.DEVNULL, stderr=theirs)
        os.close(theirs)
        shown = b""
        while b"deleting: " not in shown:
            shown += os.read(ours, 1000)
        program.send_signal(signal.SIGINT)
        while b"interrupted" not in shown:
            shown += os.read(ours, 1000)
        self.assertEqual(program.wait(bw.PATIENCE), 130)
        os.close(ours)
        return shown.decode()

    def test_interrupted_it_is_no_stream_and_goes_on(self):
        stream, mount = self.stream_of_steps()
        mount.umount()
        name = self.id_of(stream)
        self.assertRegex(self.interrupted(stream, name), r"deleting: +[0-9]+%.*left(.|\n)*interrupted; the same command")
        self.assertEqual([k for k in stream.objects() if "/data/" in k], [])
        self.assertIn("stream.json", stream.objects())
        for command in (("status", stream.url), ("init", stream.url, "--ranks", 2), ("cat", stream.url, 0, 0)):
            done = bw.batchweave(*command, check=False)
            self.assertEqual(done.returncode, 1, done)
            self.assertRegex(done.stderr, "the stream here is being destroyed; batchweave destroy brings")
        self.expect(2, f"--yes-destroy {name}$", stream.url)
        bw.batchweave("destroy", stream.url, "--yes-destroy", name)
        self.assertEqual(stream.objects(), [])

    def test_v6_mounts_that_are_still_there(self):
        """V6: a step is not late but gone, and no close says 0."""
        stream, mount = self.stream_of_steps()
        idle, waits = self.mount(stream), self.mount(stream, "wait=200")
        idle.put("q", 0)
        looks, reads = self.mount(stream, "ro"), self.mount(stream, "ro")
        waiter = self.spawn(self.assert_errno, "ESTALE", os.stat, waits.step(4))
        bw.wait_until(lambda: "step=4" in waits.status("waiting"))
        name = self.id_of(stream)
        bw.batchweave("destroy", stream.url, "--yes-destroy", name)
        self.join(waiter)
        self.assertRegex(waits.status("status"), "THE STREAM IS BEING DESTROYED")
        self.assert_errno("ESTALE", bw.read, waits.step(0, 0), "rb")
        for m in (mount, idle):
            self.assert_errno("ESTALE", m.put, "q" if m is idle else "p", 1 if m is idle else 3)
            self.assertIn(bw.error_of(bw.read, m.step(1, 0), "rb"), ("ESTALE", "EIO"))
        # Who has not asked for anything meanwhile, and finds the name of the next version free.
        self.assert_errno("ESTALE", os.stat, looks.step(9))
        self.assert_errno("ESTALE", bw.read, reads.step(1, 0), "rb")
        self.assertNotIn("object_missing", reads.log())
        for m in (looks, reads):
            self.assertRegex(m.status("status"), "THE STREAM IS BEING DESTROYED")
            self.assert_errno("ESTALE", bw.read, m.step(0, 0), "rb")
        self.assertEqual([k for k in stream.objects() if "/manifest/" in k], [])


if __name__ == "__main__":
    bw.main()
