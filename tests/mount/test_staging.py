# SPDX-License-Identifier: Apache-2.0
# ctest: 40-s
"""P2, P3d: the directory of a batch is an ordinary one, until it is committed and a while after."""
import ctypes
import fcntl
import mmap
import os
import platform
import shutil
import stat
import time
import unittest

import bw

RW = os.O_RDWR | os.O_CREAT
# Numbers of io_setup, io_submit and io_getevents; Python has no calls for them.
AIO = {"x86_64": (206, 209, 208), "aarch64": (0, 2, 4)}.get(platform.machine())


class Iocb(ctypes.Structure):
    _fields_ = [("data", ctypes.c_uint64), ("key", ctypes.c_uint32), ("rw_flags", ctypes.c_uint32),
                ("opcode", ctypes.c_uint16), ("prio", ctypes.c_int16), ("fd", ctypes.c_uint32),
                ("buf", ctypes.c_uint64), ("len", ctypes.c_uint64), ("offset", ctypes.c_int64),
                ("reserved", ctypes.c_uint64), ("flags", ctypes.c_uint32), ("eventfd", ctypes.c_uint32)]


def write_asynchronously(fd, data):
    """One request as libaio makes it.  What it was answered."""
    setup, submit, getevents = AIO
    with mmap.mmap(-1, len(data)) as buffer:
        buffer[:] = data
        at = ctypes.c_char.from_buffer(buffer)
        one = Iocb(opcode=1, fd=fd, buf=ctypes.addressof(at), len=len(data))
        context, list_of_one, event = ctypes.c_ulong(0), ctypes.pointer(one), (ctypes.c_int64 * 4)()
        for call in ((setup, 1, ctypes.byref(context)), (submit, context, ctypes.c_long(1), ctypes.byref(list_of_one)),
                     (getevents, context, ctypes.c_long(1), ctypes.c_long(1), event, None)):
            if bw.LIBC.syscall(*call) < 0:
                raise OSError(ctypes.get_errno(), "asynchronous I/O")
        del at
        return event[2]


class Bytes(bw.TestCase):
    """What a staged file holds is what was written to it, however it was written."""

    def setUp(self):
        super().setUp()
        self.m = self.mounted(ranks=2)
        self.m.begin("p", 0)
        self.path = self.m.slot("p", 0, 0)

    def commits_as(self, data):
        bw.write(self.m.slot("p", 0, 1), b"last")
        self.assertEqual(self.m.head(), 1)
        got = self.m.get(0)
        self.assertTrue(got == [data, b"last"], [(len(g), g[:50]) for g in got])

    def test_p2_seek_and_overwrite(self):
        with open(self.path, "wb+") as f:
            f.write(b"0123456789" * 1000)
            f.seek(5)
            f.write(b"FIVE")
            f.seek(-3, os.SEEK_END)
            f.write(b"END and more")
            f.seek(0)
            self.assertEqual(f.read(12), b"01234FIVE901")
        self.commits_as(b"01234FIVE9" + b"0123456789" * 998 + b"0123456END and more")

    def test_p2_truncate(self):
        with open(self.path, "wb") as f:
            f.write(b"abcdefghij" * 300000)
            f.flush()
            os.ftruncate(f.fileno(), 2500001)
            self.assertEqual(os.stat(self.path).st_size, 2500001)
            os.truncate(self.path, 5)
            os.ftruncate(f.fileno(), 8)
            self.assertEqual(os.fstat(f.fileno()).st_size, 8)
        self.commits_as(b"abcde\0\0\0")

    def test_p2_append(self):
        for word in (b"one ", b"two ", b"three"):
            with open(self.path, "ab") as f:
                f.write(word)
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        os.lseek(fd, 0, os.SEEK_SET)
        os.write(fd, b"!")
        os.close(fd)
        self.commits_as(b"one two three!")

    @unittest.skipUnless(AIO, "numbers of its calls are not known for this processor")
    def test_p2_append_asynchronously(self):
        """P2: the pieces of a large request are on their way at once, and each has its place."""
        data = [os.urandom(8 << 20) for _ in range(2)]
        fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_DIRECT)
        for part in data:
            self.assertEqual(write_asynchronously(fd, part), len(part))
        os.close(fd)
        self.commits_as(b"".join(data))

    def test_p2_append_by_several(self):
        """P2: whatever the order, each write comes behind all that were there, and none is lost."""
        size = 3 << 20

        def append(word):
            fd = os.open(self.path, os.O_WRONLY | os.O_APPEND)
            for _ in range(10):
                self.assertEqual(os.write(fd, word * size), size)
                os.stat(self.path)
            os.close(fd)

        keeps_open = os.open(self.path, RW)
        self.join(*[self.spawn(append, word) for word in (b"a", b"b", b"c")])
        got = bw.read(self.path, "rb")
        self.assertEqual(len(got), 30 * size)
        parts = [got[at:at + size] for at in range(0, len(got), size)]
        self.assertEqual(sorted(part[:1] for part in parts), [b"a"] * 10 + [b"b"] * 10 + [b"c"] * 10)
        self.assertTrue(all(part == part[:1] * size for part in parts))
        os.close(keeps_open)
        self.commits_as(got)

    def test_p2_append_after_a_cut(self):
        """P2: behind what a truncate of somebody else has left."""
        fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(fd, b"0123456789")
        os.truncate(self.path, 4)
        os.write(fd, b"x")
        other = os.open(self.path, os.O_WRONLY | os.O_TRUNC)
        os.write(fd, b"y")
        os.pwrite(other, b"zz", 3)
        os.posix_fallocate(other, 0, 6)
        os.write(fd, b"end")
        os.close(other)
        os.close(fd)
        self.commits_as(b"y\0\0zz\0end")

    def test_p2_holes_read_as_zeros(self):
        with open(self.path, "wb+") as f:
            f.seek(3 << 20)
            f.write(b"x")
            f.seek(100)
            f.write(b"y")
            f.seek(0)
            self.assertEqual(f.read(102), b"\0" * 100 + b"y\0")
        self.commits_as(b"\0" * 100 + b"y" + b"\0" * ((3 << 20) - 101) + b"x")

    def test_p2_truncated_bytes_do_not_come_back(self):
        """P2, S7: shrinking and growing again gives zeros, not what was there."""
        with open(self.path, "wb") as f:
            f.write(b"secret" * 500000)
            f.flush()
            os.ftruncate(f.fileno(), 3)
            os.ftruncate(f.fileno(), 2000000)
        self.commits_as(b"sec" + b"\0" * 1999997)

    def test_p2_fallocate(self):
        fd = os.open(self.path, RW)
        os.posix_fallocate(fd, 0, 5000)
        self.assertEqual(os.fstat(fd).st_size, 5000)
        os.pwrite(fd, b"abc", 4998)
        os.close(fd)
        self.commits_as(b"\0" * 4998 + b"abc")

    def test_p2_a_slice_of_many_mebibytes(self):
        data = os.urandom(1 << 20) * 40 + b"tail"
        bw.write(self.path, data)
        self.commits_as(data)

    def test_p2_many_small_writes(self):
        fd = os.open(self.path, RW)
        for i in range(5000):
            os.pwrite(fd, b"%04d" % i, 4 * i)
        os.close(fd)
        self.commits_as(b"".join(b"%04d" % i for i in range(5000)))

    def test_p2_rewritten_before_the_batch_is_whole(self):
        """P2: a slice may be opened, shortened and written anew as often as wanted."""
        bw.write(self.path, b"first and longer")
        bw.write(self.path, b"second")
        self.assertEqual(bw.read(self.path), "second")
        self.commits_as(b"second")

    def test_p2_read_back_while_staged(self):
        data = os.urandom(3 << 20)
        bw.write(self.path, data)
        self.assertTrue(bw.read(self.path, "rb") == data)
        self.assertEqual(os.stat(self.path).st_size, len(data))
        self.assertGreater(os.stat(self.path).st_blocks, 0)
        self.commits_as(data)


class ManySlices(bw.TestCase):
    """More slices than the daemon may have files open, and no memory for them."""
    RANKS = 500

    def test_p7_staging_takes_some_of_the_open_files(self):
        """P7, P3k: ENOSPC and the reason; all else goes on, and when there is room so does the batch."""
        few = ("sh", "-c", 'ulimit -n 400; exec "$@"', "sh")
        m = self.mount(self.stream(self.RANKS), "memory=64M", prefix=few)
        m.begin("p", 0)
        slices = [bytes(32 << 20)] + [b"slice %d" % r for r in range(1, self.RANKS)]
        bw.write(m.slot("p", 0, 0), slices[0])  # all the memory there is for it
        done = 1
        while bw.error_of(bw.write, m.slot("p", 0, done), slices[done]) != "ENOSPC":
            done += 1
        self.assertEqual(done, 301)  # three quarters
        self.assertIn(f'file={done} errno=28 reason="staged slices have all the open files of the daemon: ', m.status("errors"))
        os.truncate(m.slot("p", 0, 0), 0)
        slices[0] = b"short"
        bw.write(m.slot("p", 0, 0), slices[0])
        for rank in range(done, self.RANKS):
            bw.write(m.slot("p", 0, rank), slices[rank])
        self.assertEqual(m.head(), 1)
        self.assertEqual(m.get(0), slices)


class Names(bw.TestCase):
    def setUp(self):
        super().setUp()
        self.m = self.mounted()
        self.m.begin("p", 0)
        self.rank = self.m.slot("p", 0) + "/rank"

    def at(self, name):
        return os.path.join(self.rank, name)

    def test_p2_nothing_appears_by_itself(self):
        """P2: a new batch is empty, so that cp -r makes rank/ itself."""
        os.mkdir(self.m.slot("p", 1))
        self.assertEqual(os.listdir(self.m.slot("p", 1)), [])
        self.assertEqual(os.listdir(self.rank), [])

    def test_p2_every_known_extension_is_a_rank(self):
        """P2: <r>.EXT counts as rank r for each EXT of the list."""
        names = "npy npz pt bin tar safetensors arrow parquet msgpack json jsonl txt".split()
        mount = self.mounted(ranks=len(names) + 1)
        mount.begin("p", 0)
        for rank, ending in enumerate(names):
            bw.write(mount.slot("p", 0, f"{rank}.{ending}"), ending)
        self.assert_nothing_committed(mount)
        bw.write(mount.slot("p", 0, len(names)), "none")
        self.assertEqual(mount.get(0), [n.encode() for n in names + ["none"]])

    def test_p2_two_names_of_one_rank(self):
        """P2: EEXIST by create, by rename and by a second extension."""
        bw.write(self.at("0.npy"), b"x")
        self.assert_errno("EEXIST", bw.write, self.at("0"), b"y")
        self.assert_errno("EEXIST", bw.write, self.at("0.pt"), b"y")
        bw.write(self.at("temporary"), b"z")
        self.assert_errno("EEXIST", os.rename, self.at("temporary"), self.at("0"))
        os.rename(self.at("temporary"), self.at("0.npy"))
        os.rename(self.at("0.npy"), self.at("0"))
        self.assertEqual(bw.read(self.at("0")), "z")
        self.assertEqual(os.listdir(self.rank), ["0"])

    def test_p2_digits_that_are_no_rank(self):
        """P2: digits at or above W and other spellings are EINVAL, with and without extension."""
        for name in ("4", "4.npy", "17", "99999999999999999999", "01", "00.bin", "-1", "+1"):
            self.assert_errno("EINVAL", bw.write, self.at(name), b"x")
            bw.write(self.at("stray"), b"x")
            self.assert_errno("EINVAL", os.rename, self.at("stray"), self.at(name))
        self.assertEqual(os.listdir(self.rank), ["stray"])

    def test_p2_other_names_are_stray(self):
        """P2: kept while staged, told in /status/waiting, dropped at commit."""
        for name in ("x", ".0.swp", "0~", "0.tmp", "0.npy.part", "README", "rank0", "\u00e9"):
            bw.write(self.at(name), b"stray")
        os.mkdir(self.at("folder"))
        bw.write(self.at("folder/deep"), b"x")
        bw.write(self.m.slot("p", 0) + "/note", b"x")
        for rank in range(3):
            bw.write(self.at(str(rank)), b"slice")
        told = self.m.status("waiting")
        self.assertIn("producer=p", told)
        self.assertIn("seq=0", told)
        self.assertIn("README", told)
        self.assertIn("README", os.listdir(self.rank))
        self.assert_nothing_committed(self.m)
        bw.write(self.at("3"), b"slice")
        self.assertEqual(self.m.get(0), [b"slice"] * 4)
        self.assertEqual(sorted(os.listdir(self.m.step(0) + "/rank")), list("0123"))
        self.assertNotIn("README", self.m.status("waiting"))

    def test_p2_stray_names_forge_no_lines(self):
        """P2: what a name looks like in /status/waiting."""
        bw.write(self.at("x\nproducer=q seq=9 state=whole\x7f"), b"stray")
        lines = self.m.status("waiting").splitlines()
        self.assertEqual(len(lines), 1, lines)
        self.assertTrue(lines[0].endswith(" stray=rank/x?producer=q?seq=9?state=whole?"), lines)

    def test_p2_waiting_names_the_ranks_that_are_missing(self):
        bw.write(self.at("1"), b"x")
        line = [x for x in self.m.status("waiting").split("\n") if "producer=p" in x][0]
        self.assertEqual(line, "producer=p seq=0 state=staging missing=3/4 ranks=0,2-3")
        self.assertIn(", batches not yet committed here 1\n", self.m.status("status"))
        self.m.begin("p", 1)
        self.assertIn(", batches not yet committed here 2\n", self.m.status("status"))

    def test_p2_unlink_and_rmdir(self):
        for name in ("0", "1", "other"):
            bw.write(self.at(name), b"x")
        self.assert_errno("ENOTEMPTY", os.rmdir, self.rank)
        self.assert_errno("ENOTEMPTY", os.rmdir, self.m.slot("p", 0))
        os.unlink(self.at("0"))
        self.assert_errno("ENOENT", os.stat, self.at("0"))
        shutil.rmtree(self.m.slot("p", 0))
        self.assert_errno("ENOENT", os.stat, self.m.slot("p", 0))
        self.assert_nothing_committed(self.m)
        self.m.put("p", 0)
        self.assert_step(self.m, 0, "p", 0)

    def test_p2_unlinked_while_open(self):
        """P2: the file lives on for who has it open, and is no slice any more."""
        with open(self.at("0"), "wb+") as f:
            f.write(b"gone")
            f.flush()
            os.unlink(self.at("0"))
            f.write(b" but here")
            f.seek(0)
            self.assertEqual(f.read(), b"gone but here")
            for rank in range(1, 4):
                bw.write(self.at(str(rank)), b"x")
        self.assert_nothing_committed(self.m)
        bw.write(self.at("0"), b"new")
        self.assertEqual(self.m.get(0), [b"new", b"x", b"x", b"x"])

    def test_p2_a_working_directory_that_is_removed(self):
        """P2: who works in it finds nothing there, and the way out."""
        def work():
            os.chdir(self.rank)
            shutil.rmtree(self.m.slot("p", 0))
            time.sleep(1.5)  # the kernel asks again
            self.assert_errno("ENOENT", os.stat, "0")
            self.assert_errno("ENOENT", bw.write, "0", b"x")
            self.assertTrue(stat.S_ISDIR(os.stat(".").st_mode))
            self.assertEqual(bw.error_of(os.stat, "../.."), "")
            os.chdir("../..")
            self.assertIn("next", os.listdir("."))

        self.join(self.spawn(work))

    def test_p2_rename_inside_the_batch(self):
        bw.write(self.at("a"), b"A")
        bw.write(self.at("b"), b"B")
        os.rename(self.at("a"), self.at("b"))
        self.assertEqual(os.listdir(self.rank), ["b"])
        self.assertEqual(bw.read(self.at("b")), "A")
        os.mkdir(self.at("folder"))
        self.assert_errno("EISDIR", os.rename, self.at("b"), self.at("folder"))
        self.assert_errno("ENOTDIR", os.rename, self.at("folder"), self.at("b"))
        os.rename(self.at("folder"), self.at("other"))
        self.assertEqual(sorted(os.listdir(self.rank)), ["b", "other"])

    def test_p2_only_rename_inside_rank_enters_it(self):
        """P2: EXDEV from anywhere else, so that mv copies."""
        outside = os.path.join(self.root, "file")
        bw.write(outside, b"x")
        self.assert_errno("EXDEV", os.rename, outside, self.at("0"))
        beside = self.m.slot("p", 0) + "/beside"
        bw.write(beside, b"x")
        self.assert_errno("EXDEV", os.rename, beside, self.at("0"))
        os.makedirs(self.m.slot("p", 1) + "/rank")
        bw.write(self.m.slot("p", 1, 0), b"x")
        self.assert_errno("EXDEV", os.rename, self.m.slot("p", 1, 0), self.at("0"))
        self.assertEqual(os.listdir(self.rank), [])

    def test_p2_no_directory_becomes_rank(self):
        """P2: EXDEV, whether rank/ is there or not, so that mv copies what is in it, and the copies commit."""
        made = self.m.slot("p", 0) + "/made"
        for rank_is_there in (True, False):
            if not rank_is_there:
                os.rmdir(self.rank)
            os.mkdir(made)
            self.assert_errno("EXDEV", os.rename, made, self.rank)
            os.rmdir(made)
        os.mkdir(made)
        for rank in range(self.m.stream.ranks):
            bw.write(f"{made}/{rank}", bw.payload("p", 0, rank))
        self.shell("mv $MADE $RANK", MADE=made, RANK=self.rank)
        self.assert_step(self.m, 0, "p", 0)

    def test_p2_directories_of_a_producer_do_not_move(self):
        """P2, P4: a batch cannot be renamed to another seq, nor out of the mount."""
        self.assertNotEqual(bw.error_of(os.rename, self.m.slot("p", 0), self.m.slot("p", 1)), "")
        self.assertNotEqual(bw.error_of(os.rename, self.m.path("produce/p"),
                                        self.m.path("produce/q")), "")
        self.assertEqual(os.listdir(self.rank), [])

    def test_p2_what_no_batch_can_hold(self):
        """P2: symbolic and hard links, devices, pipes and sockets are EPERM."""
        bw.write(self.at("0"), b"x")
        self.assert_errno("EPERM", os.symlink, "0", self.at("s"))
        self.assert_errno("EPERM", os.link, self.at("0"), self.at("l"))
        self.assert_errno("EPERM", os.mkfifo, self.at("f"))
        self.assert_errno("EPERM", os.mknod, self.at("d"), stat.S_IFCHR | 0o600, os.makedev(1, 3))

    def test_p2_modes_owners_times_are_accepted(self):
        """P2: chmod, chown and times succeed and change nothing that matters."""
        bw.write(self.at("0"), b"x")
        for path in (self.at("0"), self.rank, self.m.slot("p", 0)):
            os.chmod(path, 0o600)
            os.chown(path, os.getuid(), os.getgid())
            os.utime(path, (1, 2))
        bw.write(self.at("0"), b"still writable")

    def test_p2_shared_writable_mmap_is_refused(self):
        """P2, P3m: stores could come after the close, so ENODEV; private mappings work."""
        fd = os.open(self.at("0"), RW)
        self.addCleanup(os.close, fd)
        os.write(fd, b"a" * 5000)
        self.assert_errno("ENODEV", mmap.mmap, fd, 5000, flags=mmap.MAP_SHARED)

    def test_p2_locks(self):
        """S9: flock and fcntl locks work on staged files."""
        with open(self.at("0"), "wb") as f, open(self.at("0"), "rb") as g:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.assert_errno("EAGAIN", fcntl.flock, g, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(f, fcntl.LOCK_UN)
            fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def test_p2_names_of_producers(self):
        """P2: [A-Za-z0-9][A-Za-z0-9._-]{0,63}, and nothing else, not even to register."""
        produce = self.m.path("produce")
        for name in (b"-x", b".x", b"_x", b"a b", b"a\n", b"a\x01", b"\xc3\xa9", b"\xff", b"a:b",
                     b"n" * 65):
            path = os.path.join(produce.encode(), name)
            self.assert_errno("EINVAL", os.mkdir, path)
            self.assert_errno("ENOENT EINVAL", os.stat, path)
        for name in ("a", "Z9", "0", "a.b-c_d", "n" * 64):
            os.mkdir(os.path.join(produce, name))
        self.assertIn("n" * 64, os.listdir(produce))
        self.assertEqual(self.m.status("head"), "0\n")

    def test_p2_names_of_seqs(self):
        """P2: a seq is canonical decimal."""
        for name in ("00", "007", "-1", "+1", "x", "1x", " 1", str(1 << 63), str(1 << 64)):
            self.assert_errno("EINVAL", os.mkdir, self.m.path("produce/p", name))
        for name in ("file", "1"):
            self.assertNotEqual(bw.error_of(bw.write, self.m.path("produce/p", name), b"x"), "")
        self.assertNotEqual(bw.error_of(bw.write, self.m.path("produce", "file"), b"x"), "")

    def test_p2_a_very_long_name(self):
        """P2: 255 bytes, as statfs says; the kernel would let more through."""
        bw.write(self.at("n" * 255), b"x")
        self.assertEqual(os.listdir(self.rank), ["n" * 255])
        os.rename(self.at("n" * 255), self.at("m" * 255))
        for size in (256, 1000):
            self.assert_errno("ENAMETOOLONG", bw.write, self.at("n" * size), b"x")
            self.assert_errno("ENAMETOOLONG", os.mkdir, self.at("d" * size))
            self.assert_errno("ENAMETOOLONG", os.rename, self.at("m" * 255), self.at("r" * size))
            self.assert_errno("ENAMETOOLONG", os.mkdir, self.m.path("produce", "p" * size))
            self.assert_errno("ENAMETOOLONG", os.mkdir, self.m.path("produce/p", "1" * size))
            self.assert_errno("ENAMETOOLONG", os.mkdir, self.m.path("checkpoint", "j" * size))
            self.assert_errno("ENAMETOOLONG", os.stat, self.at("n" * size))
        os.mkdir(self.at("d" * 255))
        self.assertEqual(sorted(os.listdir(self.rank)), ["d" * 255, "m" * 255])


class AfterTheCommit(bw.TestCase):
    """P3d"""

    def setUp(self):
        super().setUp()
        self.m = self.mounted(ranks=2)
        self.m.begin("p", 0)
        self.batch = self.m.slot("p", 0)
        self.before = os.stat(self.batch), os.stat(self.batch + "/rank")
        for rank in range(2):
            bw.write(self.m.slot("p", 0, rank), b"x")
        self.assertEqual(self.m.head(), 1)

    def test_p3d_the_batch_stays_resolvable(self):
        """P3d: empty, 0555, with the inode number it had."""
        after = os.stat(self.batch)
        self.assertEqual(after.st_ino, self.before[0].st_ino)
        self.assertEqual(stat.S_IMODE(after.st_mode), 0o555)
        self.assertTrue(stat.S_ISDIR(after.st_mode))
        self.assertEqual(os.listdir(self.batch), [])

    def test_p3d_read_only_when_nobody_waited_for_the_commit(self):
        """P3d, P8: with pending, directories that were looked at a moment before are 0555 once all is committed."""
        m = self.mounted("pending=4", ranks=2)
        for seq in range(8):
            m.begin("p", seq)
            for rank in range(2):
                bw.write(m.slot("p", seq, rank), b"x")
            fd = os.open(m.path("produce/p"), os.O_RDONLY)
            os.fsync(fd)
            os.close(fd)
            for path in (m.slot("p", seq), m.slot("p", seq) + "/rank"):
                self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o555)

    def test_p3d_late_attributes_are_accepted(self):
        """P3d: times, chmod and chown on it, and on what was in it, are no-ops."""
        for path in (self.batch, self.batch + "/rank", self.m.slot("p", 0, 0), self.m.slot("p", 0, 1)):
            os.utime(path, (5, 6))
            os.chmod(path, 0o755)
            os.chown(path, os.getuid(), os.getgid())
        self.assertEqual(stat.S_IMODE(os.stat(self.batch).st_mode), 0o555)
        self.assertEqual(self.m.get(0), [b"x", b"x"])

    def test_p3d_nothing_can_be_made_in_it(self):
        """P3d: EROFS for what would be new; EEXIST for the seq itself."""
        self.assert_errno("EROFS", bw.write, self.batch + "/new", b"x")
        self.assert_errno("EROFS", os.mkdir, self.batch + "/folder")
        self.assert_errno("EROFS", bw.write, self.batch + "/rank/1.npy", b"x")
        self.assert_errno("EEXIST", os.mkdir, self.batch)
        self.assertEqual(self.m.get(0), [b"x", b"x"])
        self.assertEqual(self.m.head(), 1)

    def test_p3d_a_seq_committed_long_ago(self):
        """P3d, P4: on a mount that never staged it, mkdir of a committed seq is EEXIST."""
        other = self.mount(self.m.stream)
        self.assert_errno("EEXIST", os.mkdir, other.slot("p", 0))
        self.assert_errno("EEXIST", os.makedirs, other.slot("p", 0))

    def test_p3d_the_next_batch_goes_on(self):
        self.m.put("p", 1)
        self.assert_step(self.m, 1, "p", 1)
        self.assertEqual(bw.read(self.m.path("produce/p/next")), "2\n")

    def test_p3d_a_descriptor_kept_open_for_reading(self):
        """P3d, P1: a reader does not hold the commit, and reads on."""
        self.m.begin("p", 1)
        bw.write(self.m.slot("p", 1, 0), b"abc")
        with open(self.m.slot("p", 1, 0), "rb", buffering=0) as f:
            self.assertEqual(f.read(1), b"a")
            bw.write(self.m.slot("p", 1, 1), b"x")
            self.assertEqual(self.m.head(), 2)
            self.assertIn(bw.error_of(f.read, 1), ("", "ESTALE", "EIO"))
        self.assertEqual(self.m.get(1), [b"abc", b"x"])


if __name__ == "__main__":
    bw.main()
