#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Slices in Arrow's IPC file format, mapped: columns are used where the page cache has them, nothing is copied."""
import numpy as np
import pyarrow as pa

import sample


def table(tokens):
    return pa.table({"tokens": pa.FixedSizeListArray.from_arrays(pa.array(tokens.reshape(-1)), tokens.shape[1])})


def write(path, tokens):
    data = table(tokens)
    with pa.OSFile(path, "wb") as f, pa.ipc.new_file(f, data.schema) as out:
        out.write_table(data, max_chunksize=4)


def array(column):
    return np.stack([row.values.to_numpy() for row in column])


def mapped(mnt, rank, steps):
    for path in sample.paths(mnt, rank, steps):
        with pa.memory_map(path) as f:
            yield array(pa.ipc.open_file(f).read_all()["tokens"])


def backwards(mnt, rank, steps):
    """Record batches in any order: the file's footer says where each of them is."""
    for path in sample.paths(mnt, rank, steps):
        with pa.memory_map(path) as f:
            batches = pa.ipc.open_file(f)
            parts = [batches.get_batch(i) for i in reversed(range(batches.num_record_batches))]
            yield array(pa.Table.from_batches(reversed(parts))["tokens"])


if __name__ == "__main__":
    sample.main(write, mmap=mapped, backwards=backwards)
