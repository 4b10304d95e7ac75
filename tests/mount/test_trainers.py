#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# ctest: once trainers long 60-s
"""The examples of docs/examples: loaders of PyTorch, NumPy, WebDataset and others read slices as the plain files they are."""
import os
import subprocess
import sys

import bw

EXAMPLES = os.path.join(bw.HERE, "..", "..", "docs", "examples")
PYTHON = os.environ.get("BW_TRAINERS") or os.path.join(bw.HERE, "..", "..", "build", "trainers", "bin", "python")
RANKS, STEPS = 2, 5

sys.path.insert(0, EXAMPLES)
import sample  # noqa: E402  pylint: disable=wrong-import-position


def run(*args):
    if not os.path.exists(PYTHON):
        raise AssertionError(f"{PYTHON} is missing: tests/run makes it, tests/run --no-trainers does without")
    done = subprocess.run([PYTHON, *map(str, args)], capture_output=True, text=True, timeout=bw.PATIENCE, check=False)
    if done.returncode:
        raise AssertionError(f"{args}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


class Examples(bw.TestCase):
    """Each writes through one mount and reads through another one, which is read-only, as on another host."""

    def check(self, script, *ways):
        stream = self.stream(RANKS)
        out = self.mount(stream)
        script = os.path.join(EXAMPLES, script)
        run(script, "write", out.dir, "--steps", STEPS)
        self.assertEqual(out.head(), STEPS)
        bw.batchweave("seal", stream.url)
        into = self.mount(stream, "ro,wait=60")
        rank = RANKS - 1
        said = run(script, "read", into.dir, "--rank", rank, "--steps", STEPS)
        wanted = [f"{way} {n} {rank} {sample.digest(sample.tokens(n, rank))}" for way in ways for n in range(STEPS)]
        self.assertEqual(said.split("\n")[:-1], wanted)
        self.assertEqual([m.status("errors") for m in (out, into)], ["", ""])
        return out, into

    def test_v4_numpy(self):
        self.check("numpy_slices.py", "load", "mmap")

    def test_v4_torch_data_loader(self):
        self.check("torch_loader.py", "map", "map-fork", "map-spawn", "iterable", "iterable-fork", "iterable-spawn")

    def test_v4_torch_save(self):
        self.check("torch_files.py", "load")

    def test_v4_safetensors(self):
        self.check("safetensors_slices.py", "load", "torch", "rows")

    def test_v4_webdataset(self):
        self.check("webdataset_slices.py", "read", "loader")

    def test_v4_arrow(self):
        self.check("arrow_slices.py", "mmap", "backwards")

    def test_v4_hugging_face_parquet(self):
        self.check("hf_datasets.py", "cached", "streamed")

    def test_v4_hugging_face_arrow(self):
        self.check("hf_arrow.py", "mmap")

    def test_p4_a_writer_that_fails_half_way_commits_nothing(self):
        """What batches.py promises to those who copy it."""
        import batches
        mount = self.mounted(ranks=RANKS)
        self.assertEqual(batches.resume(mount.dir, "p"), (0, b""))

        def write(path, data):
            with open(path, "wb") as f:
                f.write(data)
                if not data.endswith(b"."):
                    raise ValueError("the last sample was bad")

        with self.assertRaises(ValueError):
            batches.commit(mount.dir, "p", 0, [b"good.", b"bad"], write, b"at 1")
        self.assertEqual(mount.head(), 0)
        self.assertEqual(batches.resume(mount.dir, "p"), (0, b""))
        batches.commit(mount.dir, "p", 0, [b"good.", b"good too."], write, b"at 1")
        self.assert_step(mount, 0, "p", 0, [b"good.", b"good too."])
        self.assertEqual(batches.resume(mount.dir, "p"), (1, b"at 1"))


if __name__ == "__main__":
    bw.main()
