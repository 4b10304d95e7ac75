# SPDX-License-Identifier: Apache-2.0
"""P1, P2, P3d: the programs people copy with commit whole batches, and end with 0."""
import io
import os
import shutil
import tarfile

import numpy

import bw

# Each writes the four files of folder $SRC into the batch $DST, which is not there yet.
BATCH_SCRIPTS = {
    "cp": 'mkdir -p $DST/rank; cp $SRC/rank/* $DST/rank/',
    "cp one by one": 'mkdir -p $DST/rank; for r in 3 0 2 1; do cp $SRC/rank/$r $DST/rank/$r; done',
    "cp -r": 'mkdir -p ${DST%/*}; cp -r $SRC $DST',
    "cp -rp": 'mkdir -p ${DST%/*}; cp -rp $SRC $DST',
    "cp -a": 'mkdir -p ${DST%/*}; cp -a $SRC $DST',
    "cp --sparse": 'mkdir -p $DST/rank; cp --sparse=always $SRC/rank/* $DST/rank/',
    "mv": 'mkdir -p $DST/rank; cp -r $SRC $TMP/mv; mv $TMP/mv/rank/* $DST/rank/',
    "mv of a directory": 'mkdir -p ${DST%/*}; cp -r $SRC $TMP/mvd; mv $TMP/mvd $DST',
    "install": 'mkdir -p $DST/rank; install -m 644 $SRC/rank/* $DST/rank/',
    "tee": 'mkdir -p $DST/rank; for r in 0 1 2 3; do tee $DST/rank/$r < $SRC/rank/$r >/dev/null; done',
    "dd": 'mkdir -p $DST/rank; for r in 0 1 2 3; do dd if=$SRC/rank/$r of=$DST/rank/$r bs=64k '
          'status=none; done',
    "dd with fsync": 'mkdir -p $DST/rank; for r in 0 1 2 3; do dd if=$SRC/rank/$r of=$DST/rank/$r '
                     'bs=1000 conv=fsync status=none; done',
    "tar x": 'mkdir -p $DST; tar c -C $SRC . | tar x -C $DST',
    "tar x as root would": 'mkdir -p ${DST%/*}; tar c -C $SRC --transform "s,^\\.,${DST##*/}," . '
                           '| tar xp --same-owner -C ${DST%/*}',
    "rsync -a": 'mkdir -p $DST; rsync -a $SRC/ $DST/',
    "rsync to a new directory": 'mkdir -p ${DST%/*}; rsync -a $SRC/ $DST',
    "rsync --inplace": 'mkdir -p $DST; rsync -a --inplace $SRC/ $DST/',
    "rsync --whole-file -t": 'mkdir -p $DST/rank; rsync -tW $SRC/rank/* $DST/rank/',
    "redirection": 'mkdir -p $DST/rank; for r in 0 1 2 3; do cat $SRC/rank/$r > $DST/rank/$r; done',
    "temporary name, then mv": 'mkdir -p $DST/rank; for r in 0 1 2 3; do cp $SRC/rank/$r $DST/rank/.$r'
                               '.new; mv $DST/rank/.$r.new $DST/rank/$r; done',
    "in parallel": 'mkdir -p $DST/rank; for r in 0 1 2 3; do cp $SRC/rank/$r $DST/rank/$r & done; '
                   'for j in $(jobs -p); do wait $j; done',
    "split": 'mkdir -p $DST/rank; cat $SRC/rank/? > $TMP/all; '
             'split -n 4 -d -a 1 $TMP/all $DST/rank/',
    "python shutil": 'python3 -c "import os, shutil; shutil.copytree(os.environ[\'SRC\'], '
                     'os.environ[\'DST\'])"',
}


# Each copies the batch $SRC, which has a state, to $DST.
STATE_SCRIPTS = {
    "cp": "mkdir -p $DST; cp $SRC/state $DST/; cp -r $SRC/rank $DST/",
    "cp -rp of both": "mkdir -p $DST; cp -rp $SRC/state $SRC/rank $DST/",
    "tar": "mkdir -p $DST; tar c -C $SRC state rank | tar x -C $DST",
    "rsync": "mkdir -p $DST; rsync -a $SRC/ $DST/",
    "python shutil": 'python3 -c "import shutil, sys; s, d = sys.argv[1:]; shutil.os.makedirs(d); '
                     'shutil.copy(s + \'/state\', d); shutil.copytree(s + \'/rank\', d + \'/rank\')" $SRC $DST',
}


class Programs(bw.TestCase):
    def setUp(self):
        super().setUp()
        self.m = self.mounted()
        self.src = self.folder("src")
        os.mkdir(self.src + "/rank")
        self.slices = [os.urandom(200000) for _ in range(4)]
        for rank, data in enumerate(self.slices):
            bw.write(f"{self.src}/rank/{rank}", data)
        os.utime(self.src + "/rank", (1000000000, 1000000000))

    def test_p2_programs_that_copy(self):
        """P1, P2, P3, P3d: each program commits the batch once, whole, and ends with 0; then again."""
        step = 0
        for producer, (name, script) in enumerate(BATCH_SCRIPTS.items()):
            for seq in (0, 1):
                with self.subTest(program=name, seq=seq):
                    tmp = self.folder("tmp")
                    done = self.shell("set -eo pipefail; " + script, check=False, SRC=self.src,
                                      DST=self.m.slot(f"p{producer}", seq), TMP=tmp)
                    self.assertEqual((done.returncode, done.stderr), (0, ""))
                    self.assertEqual(self.m.head(), step + 1)
                    self.assertTrue(self.m.get(step) == self.slices)
                    meta = self.m.meta(step)
                    self.assertEqual((meta["producer"], int(meta["seq"])), (f"p{producer}", seq))
                step = self.m.head()
        self.assertEqual(self.m.status("waiting"), "")
        self.assertEqual(self.m.status("errors"), "")

    def test_p4_the_state_is_copied_first(self):
        """P4: however it is copied before the last slice, it is committed with the batch; afterwards it is too late."""
        for seq, (name, script) in enumerate(STATE_SCRIPTS.items()):
            with self.subTest(program=name):
                source, state = self.folder("source"), f"cursor {seq}"
                bw.write(source + "/state", state)
                self.shell("set -eo pipefail; cp -r $FROM/rank $SRC/; " + script, FROM=self.src, SRC=source,
                           DST=self.m.slot("p", seq))
                self.assertEqual(self.m.head(), seq + 1)
                self.assertTrue(self.m.get(seq) == self.slices)
                self.assertEqual(self.m.state("p"), state.encode())
        seq = self.m.head()
        self.m.put("p", seq, self.slices)
        self.assert_errno("EROFS", bw.write, self.m.slot("p", seq) + "/state", b"late")
        self.assertEqual(self.m.state("p"), state.encode())

    def test_p2_a_tar_of_a_whole_producer(self):
        """P2, P3d, P4: tar x and cp -rp of three batches at once, in order."""
        with io.BytesIO() as raw:
            with tarfile.open(fileobj=raw, mode="w") as tar:
                for seq in range(3):
                    tar.add(self.src, f"p/{seq}")
            archive = os.path.join(self.root, "all.tar")
            bw.write(archive, raw.getvalue())
        self.shell("tar xpf $T -C $M/produce", T=archive, M=self.m.dir)
        self.assertEqual(self.m.head(), 3)
        for step in range(3):
            self.assertTrue(self.m.get(step) == self.slices)

    def test_p2_copies_out_of_the_mount(self):
        """S9, V4: cp -r, tar, rsync and cmp read what was committed."""
        self.m.put("p", 0, self.slices)
        self.m.put("p", 1, self.slices[::-1])
        out = self.folder("out")
        self.shell("""set -e
            cp -r $M/step $O/cp; cp -a $M/step/0 $O/cpa
            tar c -C $M step | tar x -C $O
            rsync -a $M/step/ $O/rsync/
            for r in 0 1 2 3; do
                cmp $M/step/0/rank/$r $SRC/rank/$r
                cmp $O/cp/0/rank/$r $SRC/rank/$r; cmp $O/step/0/rank/$r $SRC/rank/$r
                cmp $O/rsync/0/rank/$r $SRC/rank/$r; cmp $O/cpa/rank/$r $SRC/rank/$r
                cmp $O/rsync/1/rank/$r $SRC/rank/$((3 - r))
            done
            diff -r $M/step $O/cp""", M=self.m.dir, O=out, SRC=self.src)

    def test_p2_from_mount_to_mount(self):
        """P2, V4: a step of one stream is a batch of another: cp -r --no-preserve=mode."""
        self.m.put("p", 0, self.slices)
        other = self.mounted()
        self.shell("mkdir -p $B/produce/q/0/rank && cp $A/step/0/rank/* $B/produce/q/0/rank/",
                   A=self.m.dir, B=other.dir)
        self.assertTrue(other.get(0) == self.slices)


class Python(bw.TestCase):
    def test_p2_numpy_save(self):
        """P2: np.save adds .npy; np.load gives the arrays back, also memory-mapped."""
        mount = self.mounted()
        mount.begin("p", 0)
        arrays = [numpy.arange(100000, dtype="u4") * (r + 1) for r in range(4)]
        for rank, array in enumerate(arrays):
            numpy.save(mount.slot("p", 0, rank), array)
        for rank, array in enumerate(arrays):
            self.assertTrue((numpy.load(mount.step(0, rank)) == array).all())
            mapped = numpy.load(mount.step(0, rank), mmap_mode="r")
            self.assertTrue((mapped == array).all())

    def test_p2_numpy_savez(self):
        """P2: zip files are written with seeks back; .npz is an extension of a rank."""
        mount = self.mounted()
        mount.begin("p", 0)
        for rank in range(4):
            numpy.savez(mount.slot("p", 0, rank), a=numpy.full(50000, rank), b=numpy.eye(3))
            self.assertEqual(mount.head(), rank == 3)
        for rank in range(4):
            with numpy.load(mount.step(0, rank)) as z:
                self.assertTrue((z["a"] == rank).all())
                self.assertTrue((z["b"] == numpy.eye(3)).all())

    def test_p2_numpy_savez_compressed_and_tofile(self):
        mount = self.mounted(ranks=2)
        mount.begin("p", 0)
        numpy.savez_compressed(mount.slot("p", 0, "0.npz"), x=numpy.zeros(1 << 20))
        numpy.arange(1 << 18, dtype="u8").tofile(mount.slot("p", 0, 1))
        with numpy.load(mount.step(0, 0)) as z:
            self.assertEqual(z["x"].shape, (1 << 20,))
        got = numpy.fromfile(mount.step(0, 1), dtype="u8")
        self.assertTrue((got == numpy.arange(1 << 18)).all())

    def test_p2_numpy_open_memmap_is_refused(self):
        """P2, P3m: a shared writable mapping says ENODEV; the slice can be written in another way."""
        mount = self.mounted(ranks=2)
        mount.begin("p", 0)
        self.assert_errno("ENODEV", numpy.lib.format.open_memmap, mount.slot("p", 0, "0.npy"), "w+",
                          "u1", shape=(5000,))
        numpy.save(mount.slot("p", 0, "0.npy"), numpy.ones(7))
        bw.write(mount.slot("p", 0, 1), b"x")
        self.assertTrue((numpy.load(mount.step(0, 0)) == 1).all())

    def test_p2_python_open(self):
        """P2, P3: with open(), buffered, text, and tarfile in place."""
        mount = self.mounted(ranks=3)
        mount.begin("p", 0)
        with open(mount.slot("p", 0, 0), "wb") as f:
            for i in range(100000):
                f.write(b"%d\n" % i)
        with open(mount.slot("p", 0, "1.txt"), "w", encoding="utf-8") as f:
            print("words", file=f)
        with tarfile.open(mount.slot("p", 0, "2.tar"), "w") as tar:
            info = tarfile.TarInfo("inside")
            info.size = 5
            tar.addfile(info, io.BytesIO(b"12345"))
        self.assertEqual(bw.read(mount.step(0, 0)), "".join(f"{i}\n" for i in range(100000)))
        self.assertEqual(bw.read(mount.step(0, 1)), "words\n")
        with tarfile.open(mount.step(0, 2)) as tar:
            self.assertEqual(tar.extractfile("inside").read(), b"12345")

    def test_p2_temporary_file_then_rename(self):
        """P1, P2: the rename that completes the batch commits it, and returns when it has."""
        stream = self.stream()
        mount, other = self.mount(stream), self.mount(stream)
        mount.begin("p", 0)
        for rank in range(4):
            temporary = mount.slot("p", 0, f"tmp{rank}.part")
            with open(temporary, "wb") as f:
                f.write(bw.payload("p", 0, rank))
                f.flush()
                os.fsync(f.fileno())
            self.assert_nothing_committed(mount)
            os.replace(temporary, mount.slot("p", 0, rank))
        self.assert_step(other, 0, "p", 0)

    def test_p2_shutil(self):
        """P2, P3d: copy, copy2, copyfile and move, which set times and modes by path afterwards."""
        mount = self.mounted()
        source = os.path.join(self.root, "source")
        bw.write(source, b"bytes")
        os.utime(source, (1, 1))
        for seq, call in enumerate((shutil.copy, shutil.copy2, shutil.copyfile)):
            mount.begin("p", seq)
            for rank in range(4):
                call(source, mount.slot("p", seq, rank))
            self.assertEqual(mount.get(seq), [b"bytes"] * 4)
        mount.begin("p", 3)
        for rank in range(4):
            shutil.copy(source, source + "2")
            shutil.move(source + "2", mount.slot("p", 3, rank))
        self.assertEqual(mount.get(3), [b"bytes"] * 4)


if __name__ == "__main__":
    bw.main()
