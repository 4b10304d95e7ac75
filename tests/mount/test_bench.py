#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# ctest: waits 80-s
"""`batchweave bench`: what it counts is what it did, and whatever ends it, it leaves nothing behind."""
import json
import os
import signal
import subprocess

import bw
import objects
from broken_s3 import BrokenS3

SIZE = 65536
RANKS = 4
ROWS = ["ingest", "tail", "seek", "catchup", "hot", "loop"]


class Bench(bw.TestCase):
    def setUp(self):
        super().setUp()
        self.tmp = self.folder("tmp")
        self.env = {**os.environ, "TMPDIR": self.tmp}

    def store(self):
        """Where a stream may be made; nothing is there."""
        store = objects.new(lambda: self.folder("store"))
        self.addCleanup(store.close)
        return store

    def bench(self, *args, check=True):
        """The object of --json."""
        done = bw.batchweave("bench", *args, "--json", check=False, env=self.env, timeout=bw.PATIENCE)
        if check:
            self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout) if check else done

    def assert_nothing_left(self, store):
        self.assertEqual(os.listdir(self.tmp), [])
        self.assertNotIn(self.tmp, "".join(bw.mounts()))
        self.assertEqual(store.keys(), [])

    def assert_row(self, row, steps, slices, size=SIZE):
        """Counts and bytes agree with each other, whatever the figures are."""
        self.assertEqual((row["steps"], row["slices"], row["bytes"]), (steps, slices, slices * size), row)
        if row["row"] != "ingest":
            self.assertEqual(row["verified_slices"], slices)
        self.assertAlmostEqual(row["mb_per_s"], row["bytes"] / row["seconds"] / 1e6, delta=0.01 * row["mb_per_s"])
        self.assertAlmostEqual(row["steps_per_s"], steps / row["seconds"], delta=0.01 * row["steps_per_s"])
        for times in row["times"].values():
            self.assertEqual(len(times["samples_ms"]), times["n"])
            ordered = sorted(times["samples_ms"])
            self.assertEqual((ordered[0], ordered[-1]), (times["min_ms"], times["max_ms"]))
            self.assertEqual(ordered[(times["n"] + 1) // 2 - 1], times["p50_ms"])
            self.assertEqual(times["p99_ms"] is None, times["n"] < 100)
        requests = sum(sum(m["requests"].values()) for m in row["mounts"].values())
        self.assertAlmostEqual(row["requests_per_step"], requests / steps, delta=0.001)


class Url(Bench):
    def test_all_rows(self):
        store = self.store()
        said = self.bench(store.url, "--ranks", RANKS, "--size", "64K", "--batches", 6, "--producers", 2, "--writers", 2,
                          "--readers", 3, "--compute", 1, "--samples")
        rows = {row["row"]: row for row in said["rows"]}
        self.assertEqual(list(rows), ROWS)
        self.assertTrue(said["complete"])
        self.assertTrue(said["stream"].startswith(store.url + "/bench-"))
        self.assert_row(rows["ingest"], 6, 6 * RANKS)
        self.assertEqual(rows["ingest"]["times"]["close"]["n"], 6)
        self.assert_row(rows["tail"], 6, 6 * 3)
        self.assertEqual(rows["tail"]["times"]["delivery"]["n"], 6 * 3)
        self.assert_row(rows["seek"], 6, 6)
        self.assert_row(rows["catchup"], 12, 12 * 3)
        self.assert_row(rows["hot"], 12, 12 * 3)
        self.assert_row(rows["loop"], 6, 6 * 3)
        self.assertGreater(rows["loop"]["stall_share"], 0)
        self.assertLess(rows["loop"]["stall_share"], 1)
        # Everything went through the store once, and the second time through the page cache.
        out = rows["ingest"]["mounts"]["producers"]["store_bytes_out"]
        self.assertGreaterEqual(out, rows["ingest"]["bytes"])
        self.assertGreaterEqual(rows["catchup"]["mounts"]["readers"]["store_bytes_in"], rows["catchup"]["bytes"])
        hot, cold = (rows[r]["mounts"]["readers"]["store_bytes_in"] for r in ("hot", "catchup"))
        self.assertLess(hot, cold)  # none, but for pages that the kernel took back
        self.assert_nothing_left(store)

    def test_rows_alone(self):
        """A row that reads gets a stream that was filled; hot gets the pass before it.  Neither is told."""
        store = self.store()
        for row in ("hot", "seek"):
            said = self.bench(store.url, "--rows", row, "--ranks", 2, "--size", 1000, "--batches", 3, "--io", 300)
            self.assertEqual([r["row"] for r in said["rows"]], [row])
            self.assertEqual(said["rows"][0]["steps"], 3)
        self.assert_nothing_left(store)

    def test_what_is_there_stays(self):
        """A stream below whose URL the bench runs is the same as before."""
        stream = self.stream(2)
        mount = self.mount(stream)
        mount.put("p", 0)
        before = stream.objects()
        self.bench(stream.url, "--rows", "ingest", "--ranks", 2, "--size", 100, "--batches", 2)
        self.assertEqual(stream.objects(), before)
        self.assert_step(mount, 0, "p", 0)

    @bw.file_only("directories")
    def test_directories_that_were_made_are_removed(self):
        store = self.store()
        self.bench(store.url + "/a/b/", "--rows", "ingest", "--ranks", 1, "--size", 64, "--batches", 1)
        self.assertEqual(os.listdir(store.dir), [])

    def test_report(self):
        store = self.store()
        done = bw.batchweave("bench", store.url, "--rows", "ingest,hot,loop", "--ranks", 1, "--size", "1K",
                             "--batches", 100, "--compute", 0, env=self.env)
        self.assertEqual(done.stderr, "")
        self.assertRegex(done.stdout, r"writes at most 102 kB in 100 steps to \S+/bench-\w{8}, and deletes them")
        for row in ("ingest", "hot", "loop"):
            self.assertRegex(done.stdout, rf"(?m)^{row} +100 ")
        self.assertNotRegex(done.stdout, r" - ")  # 100 samples: each p99 is told
        self.assertRegex(done.stdout, r"stalled \d+\.\d %")
        done = bw.batchweave("bench", store.url, "--rows", "ingest", "--ranks", 1, "--size", 64, "--batches", 99,
                             env=self.env)
        self.assertRegex(done.stdout, r"(?m)^ingest .* - .*$")
        self.assertIn("p99 is told from 100 samples on", done.stdout)
        self.assert_nothing_left(store)

    def test_kept(self):
        store = self.store()
        done = bw.batchweave("bench", store.url, "--rows", "ingest", "--ranks", 2, "--size", "64", "--batches", 3,
                             "--keep", env=self.env)
        command = done.stdout.split("is kept; batchweave ")[1].split()
        status = json.loads(bw.batchweave("status", command[1], "--json").stdout)
        self.assertEqual(command[2:], ["--yes-destroy", status["stream"]])
        self.assertEqual(status["head"], 3)
        self.assertEqual(os.listdir(self.tmp), [])

    def test_pending(self):
        """Closes return early, and the row ends when all is committed all the same."""
        store = self.store()
        said = self.bench(store.url, "--rows", "ingest,tail", "--ranks", 2, "--size", "64K", "--batches", 5,
                          "--producer-options", "pending=4", "--samples")
        self.assert_row(said["rows"][0], 5, 10)
        self.assert_row(said["rows"][1], 5, 10)

    def test_time_is_over(self):
        store = self.store()
        said = self.bench(store.url, "--rows", "ingest,tail,loop", "--ranks", 2, "--size", "1K", "--seconds", "0.5",
                          "--samples", "--compute", 20)
        self.assertIsNone(said["shape"]["batches"])
        for row in said["rows"]:
            slices = row["steps"] * 2 if row["row"] != "loop" else row["slices"]
            self.assertGreater(row["steps"], 0)
            self.assert_row(row, row["steps"], slices, 1024)
        self.assert_nothing_left(store)


class Ends(Bench):
    """It is stopped, or what it needs is taken away, while it runs."""

    def start(self, store, *args):
        """The process, once it has committed a few batches."""
        self.out = os.path.join(self.root, "out")
        with open(self.out, "wb") as out:
            proc = subprocess.Popen([bw.BATCHWEAVE, "bench", store.url, "--seconds", "100", "--ranks", "2", "--size",
                                     "4K", *args], stdout=out, stderr=subprocess.PIPE, text=True, env=self.env,
                                    stdin=subprocess.DEVNULL, preexec_fn=bw.die_with_parent)
        self.addCleanup(proc.stderr.close)
        self.addCleanup(proc.wait)
        self.addCleanup(proc.kill)
        bw.wait_until(lambda: len(store.keys("/data/")) > 3 or proc.poll() is not None, what="commits")
        self.assertIsNone(proc.poll())
        return proc

    def daemons(self, proc):
        return [int(p) for p in bw.read(f"/proc/{proc.pid}/task/{proc.pid}/children").split()]

    def end(self, proc, code):
        """What it said."""
        stderr = proc.communicate(timeout=bw.PATIENCE)[1]
        self.assertEqual(proc.returncode, code, stderr)
        return stderr

    def scratch(self, store):
        return store.url + "/" + store.keys("/data/")[0].split("/")[0]

    def test_signals(self):
        for number, rows in ((signal.SIGINT, "ingest"), (signal.SIGTERM, "tail"), (signal.SIGHUP, "tail")):
            store = self.store()
            proc = self.start(store, "--rows", rows, "--json")
            daemons = self.daemons(proc)
            self.assertEqual(len(daemons), 1 if rows == "ingest" else 2)
            proc.send_signal(number)
            self.assertEqual(self.end(proc, 130), "batchweave bench: interrupted\n")
            said = json.loads(bw.read(self.out))
            self.assertEqual((said["complete"], said["error"], said["rows"]), (False, "interrupted", []))
            self.assertEqual([d for d in daemons if os.path.exists(f"/proc/{d}")], [])
            self.assert_nothing_left(store)

    def test_daemon_hangs(self):
        """A daemon that hangs does not keep the first signal waiting for ever."""
        store = self.store()
        proc = self.start(store, "--rows", "ingest")
        os.kill(self.daemons(proc)[0], signal.SIGSTOP)
        proc.send_signal(signal.SIGINT)
        self.end(proc, 130)
        self.assert_nothing_left(store)

    def test_killed(self):
        """Nobody takes the stream away then; the mounts go by themselves."""
        store = self.store()
        proc = self.start(store, "--rows", "tail")
        daemons = self.daemons(proc)
        proc.kill()
        proc.wait()
        bw.wait_until(lambda: not any(os.path.exists(f"/proc/{d}") for d in daemons), what="the daemons' end")
        self.assertNotIn(self.tmp, "".join(bw.mounts()))

    def test_daemon_is_killed(self):
        for side in (0, 1):
            store = self.store()
            proc = self.start(store, "--rows", "tail")
            os.kill(self.daemons(proc)[side], signal.SIGKILL)
            self.assertIn("the daemon of the mount has ended", self.end(proc, 1))
            self.assert_nothing_left(store)

    def test_sealed(self):
        store = self.store()
        proc = self.start(store, "--rows", "ingest,tail")
        bw.batchweave("seal", self.scratch(store))
        self.assertIn("the stream is sealed", self.end(proc, 1))
        self.assert_nothing_left(store)

    @bw.file_only("a disk")
    def test_disk_full(self):
        disk = self.disk("20m")
        self.addCleanup(subprocess.run, ["umount", "-l", disk], check=True)
        store = objects.Folder(disk)
        done = self.bench(store.url, "--rows", "ingest", "--size", "1M", check=False)
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertIn("No space left on device", done.stderr)
        self.assertIn("No space left on device", json.loads(done.stdout)["error"])
        self.assert_nothing_left(store)

    @bw.file_only("a disk")
    def test_cannot_be_written(self):
        disk = self.disk("1m")
        self.addCleanup(subprocess.run, ["umount", "-l", disk], check=True)
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        store = objects.Folder(disk)
        done = self.bench(store.url, check=False)
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertRegex(done.stderr, r"^batchweave bench: .*Read-only file system\n$")
        self.assertFalse(json.loads(done.stdout)["complete"])
        self.assert_nothing_left(store)

    @bw.file_only("a folder that goes away")
    def test_store_goes_away(self):
        """The sentence tells how to remove what is left, once the store is back."""
        store = self.store()
        proc = self.start(store, "--rows", "ingest", "-o", "commit_timeout=2,io_timeout=2")
        os.rename(store.dir, store.dir + ".away")
        said = self.end(proc, 3)
        os.rename(store.dir + ".away", store.dir)
        self.assertEqual((os.listdir(self.tmp), self.tmp in "".join(bw.mounts())), ([], False))
        bw.batchweave(*said.split("remove it with batchweave ")[1].split())
        self.assertEqual(store.keys(), [])

    @bw.file_only("no store is asked")
    def test_not_reached(self):
        done = bw.batchweave("bench", "s3://bucket", "--endpoint", "http://127.0.0.1:1", check=False,
                             env={**self.env, "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"})
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertEqual(os.listdir(self.tmp), [])

    @bw.file_only("a store of our own")
    def test_signals_while_the_store_does_not_answer(self):
        """A first one waits for the answer, so that nothing is left there; a second one does not."""
        with BrokenS3("silent") as s3:
            env = {**self.env, "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}
            with subprocess.Popen([bw.BATCHWEAVE, "bench", "s3://bucket", "--endpoint", s3.endpoint], env=env, stderr=subprocess.PIPE,
                                  text=True) as bench:
                bw.wait_until(lambda: s3.requests, what="the first request")
                bench.send_signal(signal.SIGINT)
                self.assertIn("or at once with a second signal", bench.stderr.readline())
                bench.send_signal(signal.SIGINT)
                self.assertEqual(bench.wait(bw.PATIENCE), 130)
                self.assertEqual(bench.stderr.read(), "", "it heard the signal, rather than that the store did not answer")
        self.assertEqual(os.listdir(self.tmp), [])

    @bw.file_only("no store is asked")
    def test_usage(self):
        url = "file://" + self.tmp
        for args in ((), (url, url), (self.tmp,), (self.tmp + "/none",), ("file://x",), (url, "--rows", "tail,x"),
                     (url, "--ranks", 0), (url, "--ranks", 4097), (url, "--readers", 9), (url, "--writers", 9),
                     (url, "--size", 63), (url, "--size", "5G"), (url, "--size", "x"), (url, "--batches", 0),
                     (url, "--seconds", 0), (url, "--compute", "x"), (url, "--from", 1), (url, "--pid", 1),
                     (url, "-o", "bogus"), (url, "-o", "region=x"), (url, "--endpoint", "http://x"),
                     (url, "--producers", 1025), (url, "-o")):
            done = bw.batchweave("bench", *args, check=False, env=self.env)
            self.assertEqual(done.returncode, 2, f"{args}: {done.stdout}{done.stderr}")
            self.assertRegex(done.stderr, r"^batchweave bench: .+\n$")
        self.assertEqual(os.listdir(self.tmp), [])


class Dir(Bench):
    """A mount of somebody's."""

    def test_reads_only(self):
        mount = self.mounted(ranks=2)
        for seq in range(5):
            mount.put("p", seq)
        said = self.bench(mount.dir, "--from", 1, "--to", 4, "--compute", 0, "--samples", "--pid", mount.proc.pid)
        self.assertEqual([r["row"] for r in said["rows"]], ["seek", "catchup", "hot", "loop"])
        self.assertIsNone(said["stream"])
        for row in said["rows"]:
            readers = 1 if row["row"] == "seek" else 2
            self.assertEqual((row["steps"], row["slices"], row["bytes"]), (3, 3 * readers, 3 * readers * 1000))
            self.assertEqual((row["cold"], row["verified_slices"]), (False, 0))
            self.assertEqual(list(row["mounts"]), ["mount"])
            self.assertGreater(row["mounts"]["mount"]["cpu_s"], 0)
        self.assertEqual((mount.head(), os.listdir(mount.path("produce"))), (5, ["p"]))
        said = self.bench(mount.dir, "--to", 4, "--batches", 2, "--rows", "catchup")
        self.assertEqual(said["rows"][0]["steps"], 2, "the newest of those below 4")

    def test_writes_when_told(self):
        mount = self.mounted("wait=1", ranks=2)
        mount.put("p", 0)
        said = self.bench(mount.dir, "--rows", "ingest,tail,catchup", "--size", 1000, "--batches", 4)
        self.assertEqual([r["steps"] for r in said["rows"]], [4, 4, 4])
        self.assertEqual(said["rows"][2]["verified_slices"], 8)  # the newest
        self.assertEqual(mount.head(), 9)
        self.assert_step(mount, 0, "p", 0)
        new = [p for p in os.listdir(mount.path("produce")) if p != "p"]
        self.assertRegex(" ".join(new), r"^bench-\w{8}$")

    def test_interrupted(self):
        """Ctrl-C in the middle of a batch, however long it takes: it ends, and nothing of the batch is left in the mount."""
        mount = self.mounted("wait=60", ranks=4)
        for turn, rows in enumerate(("ingest", "tail")):
            with subprocess.Popen([bw.BATCHWEAVE, "bench", mount.dir, "--rows", rows, "--size", "64K", "--io", "1"], env=self.env,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=bw.die_with_parent) as bench:
                self.addCleanup(bench.kill)
                bw.wait_until(lambda: "producer=bench-" in mount.status("waiting") or bench.poll() is not None, what="a batch")
                bench.send_signal(signal.SIGINT)
                said = bench.communicate(timeout=bw.PATIENCE)[1]
                self.assertEqual((bench.returncode, said), (130, "batchweave bench: interrupted\n"))
            self.assertEqual(mount.status("waiting"), "")
            self.assertEqual(len(os.listdir(mount.path("produce"))), turn + 1)
        self.assertEqual(mount.head(), 0, "no part of a slice was taken for a whole one")

    def test_wrong_bytes(self):
        """What the mount gives is looked at: the slice of another rank, and one that was changed."""
        mount = self.mounted(ranks=2)
        self.bench(mount.dir, "--rows", "ingest", "--size", 200000, "--batches", 1)
        good = mount.get(0)
        for slices, why in ((good[::-1], "holds the slice of rank"),
                            ([good[0], good[1][:65536] + bytes(8) + good[1][65544:]], "holds other bytes"),
                            ([good[0][:-1], good[1]], "holds other bytes")):
            mount.put("p", mount.head() - 1, slices)
            done = self.bench(mount.dir, "--rows", "catchup", "--from", mount.head() - 1, check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn(why, done.stderr)

    def test_nothing_to_read(self):
        mount = self.mounted(ranks=2)
        done = self.bench(mount.dir, check=False)
        self.assertEqual((done.returncode, done.stderr),
                         (1, "batchweave bench: there are no such steps to read\n"))


if __name__ == "__main__":
    bw.main()
