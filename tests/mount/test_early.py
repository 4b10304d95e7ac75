# SPDX-License-Identifier: Apache-2.0
# ctest: 60-s
"""Slices are on their way into the store before the batch is whole; P2, P3k, P6 hold as if they were not."""
import contextlib
import os
import signal
import types

import bw
from broken_s3 import BrokenS3

MIB = 1 << 20


def body(rank, size):
    return bw.payload("early", 7, rank, size)


class Early(bw.TestCase):
    def setUp(self):
        super().setUp()
        self.s = self.stream(4)
        self.m = self.mount(self.s)
        self.m.begin("p", 0)

    def write(self, rank, data):
        bw.write(self.m.slot("p", 0, rank), data)

    def commits_as(self, slices):
        self.assertEqual(self.m.head(), 1)
        got = self.m.get(0)
        self.assertTrue(got == slices, [(len(g), g[:40]) for g in got])


@bw.file_only("parts of an upload are seen as one temporary file there")
class Files(Early):
    def uploads(self):
        """{name: bytes} of what is on its way into the store."""
        folder, found = os.path.join(self.s.dir, ".tmp"), {}
        if not os.path.isdir(folder):
            return {}
        for name in os.listdir(folder):
            with contextlib.suppress(FileNotFoundError):  # gone since it was listed
                found[name] = os.stat(os.path.join(folder, name)).st_size
        return found

    def uploaded(self, size):
        bw.wait_until(lambda: sorted(self.uploads().values()) == [size], what=f"{size} bytes in the store")

    def test_bytes_are_stored_before_the_last_close(self):
        slices = [body(r, 2 * MIB + (5 if r == 3 else 0)) for r in range(4)]
        self.write(0, slices[0])
        self.uploaded(2 * MIB)
        self.write(1, slices[1])
        self.uploaded(4 * MIB)
        fd = os.open(self.m.slot("p", 0, 2), os.O_WRONLY | os.O_CREAT)
        os.write(fd, slices[2][:MIB])
        self.uploaded(5 * MIB)      # one that is not whole: what was written of it one after the other
        name = list(self.uploads())
        self.write(3, slices[3])
        self.assertEqual(list(self.uploads()), name)
        os.write(fd, slices[2][MIB:])
        os.close(fd)
        self.commits_as(slices)
        bw.wait_until(lambda: not self.uploads(), what="no temporary file")
        self.assertIn(name[0].split("%")[-1], " ".join(self.s.objects("data")))

    def test_slices_that_come_late_wait_for_their_turn(self):
        slices = [body(r, 2 * MIB) for r in range(4)]
        for rank in (3, 2, 1):
            self.write(rank, slices[rank])
        self.assertEqual(self.uploads(), {})
        self.write(0, slices[0])
        self.commits_as(slices)

    def test_p6_an_abandoned_batch_leaves_no_upload(self):
        self.write(0, body(0, 3 * MIB))
        self.uploaded(3 * MIB)
        os.unlink(self.m.slot("p", 0, 0))
        bw.wait_until(lambda: not self.uploads(), what="no temporary file")
        self.write(0, body(1, 3 * MIB))
        os.unlink(self.m.slot("p", 0, 0))
        os.rmdir(self.m.path("produce", "p", "0", "rank"))
        os.rmdir(self.m.path("produce", "p", "0"))
        self.m.begin("p", 0)
        self.write(0, body(2, 3 * MIB))
        self.uploaded(3 * MIB)
        self.m.umount()
        self.assertEqual(self.uploads(), {})


class Changes(Early):
    """Whatever was sent already, what is committed is what the files held when the batch became whole."""

    def finish(self, first):
        rest = [body(r, MIB) for r in (1, 2, 3)]
        for rank in (1, 2, 3):
            self.write(rank, rest[rank - 1])
        self.commits_as([first] + rest)

    def test_p2_overwritten(self):
        path = self.m.slot("p", 0, 0)
        fd = os.open(path, os.O_RDWR | os.O_CREAT)
        os.write(fd, body(0, 3 * MIB))
        os.pwrite(fd, b"header", 10)
        os.close(fd)
        whole = bytearray(body(0, 3 * MIB))
        whole[10:16] = b"header"
        self.finish(bytes(whole))

    def test_p2_truncated_and_written_anew(self):
        self.write(0, body(0, 5 * MIB))
        self.write(0, body(9, 4 * MIB + 3))
        self.finish(body(9, 4 * MIB + 3))

    def test_p2_grown_after_it_was_whole(self):
        self.write(0, body(0, 2 * MIB))
        with open(self.m.slot("p", 0, 0), "ab") as f:
            f.write(b"more")
        self.finish(body(0, 2 * MIB) + b"more")

    def test_p2_cut(self):
        self.write(0, body(0, 5 * MIB))
        os.truncate(self.m.slot("p", 0, 0), MIB + 1)
        self.finish(body(0, 5 * MIB)[:MIB + 1])

    def test_p2_made_larger_first_and_filled_backwards(self):
        fd = os.open(self.m.slot("p", 0, 0), os.O_RDWR | os.O_CREAT)
        os.ftruncate(fd, 4 * MIB)
        data = body(0, 4 * MIB)
        for at in (3 * MIB, 2 * MIB, MIB, 0):
            os.pwrite(fd, data[at:at + MIB], at)
        os.close(fd)
        self.finish(data)

    def test_p2_another_in_its_place(self):
        self.write(0, body(0, 3 * MIB))
        bw.write(self.m.slot("p", 0, "new"), body(5, 3 * MIB))
        os.rename(self.m.slot("p", 0, "new"), self.m.slot("p", 0, 0))
        self.finish(body(5, 3 * MIB))

    def test_p2_of_another_rank_after_all(self):
        self.write(0, body(0, 3 * MIB))
        os.rename(self.m.slot("p", 0, 0), self.m.slot("p", 0, 2))
        slices = [body(4, 2 * MIB), body(1, 2 * MIB), body(0, 3 * MIB), body(3, 2 * MIB)]
        for rank in (0, 1, 3):
            self.write(rank, slices[rank])
        self.commits_as(slices)

    def test_p3k_a_writer_is_killed_halfway(self):
        path = self.m.slot("p", 0, 0)

        def killed():
            fd = os.open(path, os.O_WRONLY | os.O_CREAT)
            os.write(fd, body(0, 3 * MIB))
            os.kill(os.getpid(), signal.SIGKILL)

        self.spawn(killed).wait()
        for rank in (1, 2, 3):
            self.write(rank, body(rank, MIB))
        self.assert_nothing_committed(self.m)
        self.write(0, body(8, 2 * MIB))
        self.commits_as([body(8, 2 * MIB)] + [body(r, MIB) for r in (1, 2, 3)])

    def test_p4_batches_side_by_side(self):
        self.m.begin("p", 1)
        for rank in range(4):
            for seq in (0, 1):
                bw.write(self.m.slot("p", seq, rank), body(rank + 4 * seq, 2 * MIB))
        self.assertEqual(self.m.head(), 2)
        for seq in (0, 1):
            self.assertTrue(self.m.get(seq) == [body(r + 4 * seq, 2 * MIB) for r in range(4)])


class Packed(bw.TestCase):
    def test_slices_are_packed_as_they_come(self):
        m = self.mount(self.stream(3, "--compress", "zstd:1"))
        m.begin("p", 0)
        slices = [body(0, 3 * MIB), os.urandom(2 * MIB + 1), body(2, 100)]
        for rank, data in enumerate(slices):
            bw.write(m.slot("p", 0, rank), data)
        self.assertTrue(m.get(0) == slices)


@bw.file_only("it has an S3 server of its own")
class Parts(bw.TestCase):
    """How much is to come decides how large the parts are, of which there may be 10,000."""
    RANKS = 18_900

    def setUp(self):
        super().setUp()
        self.s3 = BrokenS3()
        self.s3.__enter__()
        self.addCleanup(self.s3.__exit__)
        keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1", "AWS_CA_BUNDLE": ""}
        url = "s3://bucket/run"
        bw.batchweave("init", url, "--ranks", self.RANKS, "--endpoint", self.s3.endpoint, env={**os.environ, **keys})
        self.m = self.mount(types.SimpleNamespace(url=url, ranks=self.RANKS), "endpoint=" + self.s3.endpoint, env=keys)
        self.m.begin("p", 0)

    def parts(self):
        return [len(part) for upload in list(self.s3.uploads.values()) for part in list(upload.values())]

    def test_18_900_slices_of_8_mib(self):
        """147 GiB, and a quarter more, in 10,000 parts: of 19 MiB."""
        for rank in range(5):
            bw.write(self.m.slot("p", 0, rank), body(rank, 8 * MIB))
        bw.wait_until(lambda: len(self.parts()) == 2, what="two parts")
        self.assertEqual(self.parts(), [19 * MIB, 19 * MIB])
        bw.shutil.rmtree(self.m.slot("p", 0))
        bw.wait_until(lambda: not self.s3.uploads, what="an abort")


class Huge(bw.TestCase):
    """Slices that take long to sum: holes of a TiB cost their writer nothing."""

    @staticmethod
    def hole(path, size=1 << 40):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT)
        os.truncate(fd, size)
        os.close(fd)

    def test_p2_fed_in_pieces(self):
        """P2, V5: slices that are fed in several pieces, before the last close and by it, arrive whole."""
        for options in ((), ("--compress", "zstd")):
            m = self.mount(self.stream(2, *options))
            m.begin("p", 0)
            size, word = 150 * MIB, b"word"
            for rank in (0, 1):
                fd = os.open(m.slot("p", 0, rank), os.O_WRONLY | os.O_CREAT)
                for at in (0, 64 * MIB - 2, 128 * MIB, size + rank):
                    os.pwrite(fd, word, at)
                os.close(fd)
            self.assertEqual(m.head(), 1)
            for rank in (0, 1):
                with open(m.step(0, rank), "rb") as f:
                    self.assertEqual(os.fstat(f.fileno()).st_size, size + rank + 4)
                    for at in (0, 64 * MIB - 2, 128 * MIB, size + rank):
                        self.assertEqual(os.pread(f.fileno(), 8, at).rstrip(b"\0"), word)
                    self.assertEqual(os.pread(f.fileno(), MIB, 100 * MIB), bytes(MIB))
            self.assertEqual(m.umount(), 0)
            self.assertEqual(bw.batchweave("fsck", "--data", m.stream.url).returncode, 0)

    def test_p6_huge_slices_that_wait_for_other_ranks(self):
        """P6, S5: they hold nobody else, go with rm, and do not keep a daemon that ends."""
        m = self.mounted(ranks=2)
        for producer in "pq":
            m.begin(producer, 0)
            self.hole(m.slot(producer, 0, 0))
        m.put("r", 0)
        self.assert_step(m, 0, "r", 0)
        bw.shutil.rmtree(m.slot("p", 0))
        m.put("r", 1)
        self.assertEqual(m.stop(), 0)

    def test_p3m_huge_slices_that_are_committed(self):
        """P3m: their commits have a deadline like all others; meanwhile they hold nobody else, and afterwards they can be removed."""
        m = self.mounted("commit_timeout=20", ranks=1)
        children = []
        for producer in "pq":
            m.begin(producer, 0)
            children.append(self.spawn(self.is_late, m.slot(producer, 0, 0)))
        bw.wait_until(lambda: m.status("waiting").count("reason=commit") == 2, what="two closes that wait")
        m.put("r", 0)
        self.assert_step(m, 0, "r", 0)
        self.join(*children)
        for producer in "pq":
            bw.wait_until(lambda p=producer: bw.error_of(bw.shutil.rmtree, m.slot(p, 0)) != "EBUSY", what="the end of the attempt")
        self.assertEqual(m.head(), 1)

    def is_late(self, path):
        self.assert_errno("ETIMEDOUT", self.hole, path)

    def test_s5_a_daemon_that_ends_waits_for_no_huge_slice(self):
        """S5: nor where it is being committed."""
        m = self.mounted("commit_timeout=1000", ranks=1)
        children = []
        for producer in "pq":
            m.begin(producer, 0)
            children.append(self.spawn(bw.error_of, self.hole, m.slot(producer, 0, 0)))
        bw.wait_until(lambda: m.status("waiting").count("reason=commit") == 2, what="two closes that wait")
        self.assertEqual(m.stop(), 0)
        self.join(*children)


if __name__ == "__main__":
    bw.main()
