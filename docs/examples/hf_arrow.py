#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Slices that are Arrow streams, as Hugging Face datasets keep them: each is a dataset where it lies, mapped, without a cache."""
import os

import numpy as np
import pyarrow as pa

import arrow_slices
import sample

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import datasets  # noqa: E402  pylint: disable=wrong-import-position


def write(path, tokens):
    data = arrow_slices.table(tokens)
    with pa.OSFile(path, "wb") as f, pa.ipc.new_stream(f, data.schema) as out:
        out.write_table(data)


def mapped(mnt, rank, steps):
    parts = [datasets.Dataset.from_file(path) for path in sample.paths(mnt, rank, steps)]
    rows = datasets.concatenate_datasets(parts).with_format("numpy")
    each = len(parts[0])
    for n in range(steps):
        yield np.stack(rows[n * each:(n + 1) * each]["tokens"])


if __name__ == "__main__":
    sample.main(write, mmap=mapped)
