# SPDX-License-Identifier: Apache-2.0
# ctest: 15-s
"""batchweave fsck: clean beside live mounts, and what it says of a damaged stream (I1 to I9)."""
import json
import os
import re
import signal
import socket
import subprocess
import threading

import bw


class Fsck(bw.TestCase):
    def fsck(self, stream, *options, code=0):
        done = bw.batchweave("fsck", stream.url, *options, check=False)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done

    def report(self, stream, *options, code=0):
        return json.loads(self.fsck(stream, "--json", *options, code=code).stdout)

    def filled(self, steps=6):
        m = self.mounted()
        for seq in range(steps):
            m.put("tok", seq, state=b"s" * 2000)
        return m

    def only(self, stream, check, first, last, text, *options):
        report = self.report(stream, *options, code=1)
        self.assertEqual([f["check"] for f in report["findings"]], [check], report["findings"])
        found = report["findings"][0]
        self.assertEqual((found["first"], found["last"]), (first, last))
        self.assertEqual(found["text"], text.replace("@", found["object"]))
        self.assertFalse(report["clean"])
        self.assertIn(f"wrong [{check}] {found['text']}\n", self.fsck(stream, *options, code=1).stdout)

    def test_the_report_is_what_the_page_says(self):
        """What scripts may look for: the members of the object, in docs/fsck.md."""
        page = bw.read(os.path.join(bw.HERE, "..", "..", "docs", "fsck.md"))
        told = page.split("## As JSON")[1].split("\n## ")[0]
        columns = "".join(line.split(" | ")[0] for line in told.splitlines() if line.startswith("| `"))
        m = self.filled()
        m.stream.store.write("thesis.tex", b"x")
        report = self.report(m.stream, "--data", code=1)
        self.assertEqual(set(re.findall(r"`(\w+)`", columns)), set(report))
        said = set(re.findall(r"`(\w+)`", told))
        for part in (report["checked"], report["objects"], report["uploads"], report["findings"][0]):
            self.assertLessEqual(set(part), said)
        classes = page.split("## Objects that no step needs")[1]
        self.assertEqual(set(report["objects"]["data"]), set(re.findall(r"(?m)^\| `(\w+)` \|", classes)))

    def key(self, stream, part):
        keys = stream.objects(part)
        self.assertEqual(len(keys), 1, keys)
        return keys[0]

    def test_i9_clean(self):
        """A stream that is mounted and was written to is clean, with all that was counted."""
        m = self.filled()
        stream = m.stream
        report = self.report(stream, "--data")
        self.assertTrue(report["clean"] and report["finished"])
        self.assertEqual(report["findings"], [])
        self.assertEqual((report["first"], report["head"]), (0, 6))
        self.assertEqual(report["checked"]["steps"], 6)
        self.assertEqual(report["checked"]["blocks"], 24)
        self.assertEqual(report["objects"]["data"]["live"]["objects"], 6)
        self.assertEqual(report["objects"]["data"]["live"]["bytes"], report["checked"]["bytes"])
        self.assertEqual(report["objects"]["state"]["live"], {"objects": 1, "bytes": 2000})
        self.assertEqual(report["objects"]["foreign"]["other"]["objects"], 0)
        before = {k: stream.store.read(k) for k in stream.objects()}
        text = self.fsck(stream).stdout
        self.assertIn("result     clean, 0 warnings\n", text)
        self.assertEqual({k: stream.store.read(k) for k in stream.objects()}, before)

    def test_i9_missing_and_wrong_size(self):
        """An object that is not there or not whole, with its step."""
        m = self.filled()
        stream = m.stream
        key = self.key(stream, "/data/tok/1/3-")
        whole = stream.store.read(key)
        stream.store.remove(key)
        self.only(stream, "data-missing", 3, 3, "step 3: the data object @ is missing")
        stream.store.write(key, whole[:-5])
        self.only(stream, "data-size", 3, 3,
                  f"step 3: @ has {len(whole) - 5} bytes, not {len(whole)}")
        stream.store.write(key, whole)
        self.fsck(stream, "--data")

    def test_i9_flipped_bits(self):
        """A flipped bit of a block and of a footer is found with --data, of a root and a state always."""
        m = self.filled()
        stream = m.stream
        key = self.key(stream, "/data/tok/1/5-")
        whole = stream.store.read(key)
        stream.store.write(key, whole[:1500] + bytes([whole[1500] ^ 1]) + whole[1501:])
        self.fsck(stream)
        report = self.report(stream, "--data", code=1)
        self.assertEqual(report["counts"], {"data-block": 1})
        self.assertIn("step 5: " + key + " is damaged: block 1 (rank 1, 1000 bytes at 1000)",
                      report["findings"][0]["text"])
        stream.store.write(key, whole)
        key = self.key(stream, "/manifest/00000000000000000003")
        root = stream.store.read(key)
        stream.store.write(key, root[:50] + bytes([root[50] ^ 1]) + root[51:])
        self.only(stream, "root", None, None, "@ is damaged")
        stream.store.write(key, root)
        key = self.key(stream, "/state/tok/1/5-")
        stream.store.write(key, b"S" + b"s" * 1999)
        self.only(stream, "state-damaged", None, None,
                  "the state object @ of tok is damaged: it cannot resume behind its seq 5")

    def test_i2_freed_name(self):
        """A version that was deleted, by a lifecycle rule say."""
        m = self.filled()
        stream = m.stream
        stream.store.remove(self.key(stream, "/manifest/00000000000000000002"))
        self.only(stream, "versions", None, None, "version 2 is gone: a name that is free again (@)")

    def test_foreign_object(self):
        m = self.filled(1)
        stream = m.stream
        stream.store.write("backup/old.tar", b"12345")
        self.only(stream, "foreign", None, None, "@ (5 bytes) is no object of this stream")
        self.assertEqual(self.report(stream, code=1)["objects"]["foreign"]["other"],
                         {"objects": 1, "bytes": 5})

    def test_c4_after_gc(self):
        """What gc has deleted is not missed; what it may delete is what fsck says (C4, C5)."""
        stream = self.stream(4, "--grace", "0", "--keep", "1")
        m = self.mount(stream)
        for seq in range(300):
            m.put("tok", seq, state=b"s" * 600)
        bw.batchweave("checkpoint", stream.url, "train")
        bw.batchweave("checkpoint", stream.url, "train", 290)
        report = self.report(stream)
        self.assertEqual(report["objects"]["data"]["live"]["objects"], 300)
        self.assertEqual(report["objects"]["state"]["reclaimed"]["objects"], 299)
        for _ in range(3):
            bw.batchweave("gc", stream.url, "--force")
        report = self.report(stream, "--data")
        self.assertTrue(report["clean"], report)
        self.assertEqual((report["first"], report["head"]), (290, 300))
        data = {c: n["objects"] for c, n in report["objects"]["data"].items() if n["objects"]}
        self.assertEqual(data, {"live": 10})
        states = {c: n["objects"] for c, n in report["objects"]["state"].items() if n["objects"]}
        self.assertEqual(states, {"live": 1})

    def test_beside_a_writer(self):
        """No false alarm while steps are committed."""
        m = self.filled(1)
        done = threading.Event()

        def write():
            seq = 1
            while not done.is_set():
                m.put("tok", seq, state=b"s" * (seq % 3 * 400))
                seq += 1

        writer = threading.Thread(target=write)
        writer.start()
        try:
            heads = [self.report(m.stream, *(["--data"] if i % 3 == 0 else []))["head"] for i in range(12)]
        finally:
            done.set()
            writer.join()
        self.assertEqual(heads, sorted(heads))
        self.assertGreater(self.report(m.stream)["head"], heads[0])

    def test_interrupted(self):
        """SIGINT ends it at once, and it says that it has not finished.  So does a store that is away."""
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen(16)
            env = {**os.environ, "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}
            command = [bw.BATCHWEAVE, "fsck", "s3://nowhere/stream", "--json", "--endpoint",
                       f"http://127.0.0.1:{silent.getsockname()[1]}"]
            proc = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                    text=True)
            silent.settimeout(bw.PATIENCE)
            taken, _ = silent.accept()
            proc.send_signal(signal.SIGINT)
            out, _ = proc.communicate(timeout=bw.PATIENCE)
            taken.close()
            self.assertEqual(proc.returncode, 130)
            self.assertFalse(json.loads(out)["finished"])
            self.assertFalse(json.loads(out)["clean"])
        # Nobody listens there any more.
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=bw.PATIENCE,
                              check=False)
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertIn("could not be finished", done.stderr)
        self.assertFalse(json.loads(done.stdout)["clean"])

    def test_usage_and_no_stream(self):
        self.assertEqual(bw.batchweave("fsck", check=False).returncode, 2)
        self.assertEqual(bw.batchweave("fsck", "file:///tmp", "--all", check=False).returncode, 2)
        done = bw.batchweave("fsck", "file://" + self.folder("empty"), check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("there is no stream", done.stderr)


if __name__ == "__main__":
    bw.main()
