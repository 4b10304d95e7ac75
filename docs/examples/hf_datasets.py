#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Steps as a Hugging Face dataset: Parquet slices through load_dataset(), copied into its cache or streamed.

A slice never changes, and neither do its size and its modification time, so the cache of the package knows what it has seen.
"""
import os
import tempfile

import numpy as np
import pyarrow.parquet

import arrow_slices
import sample

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # files only; read by the package when it is imported
import datasets  # noqa: E402  pylint: disable=wrong-import-position


def write(path, tokens):
    pyarrow.parquet.write_table(arrow_slices.table(tokens), path, row_group_size=4)


def arrays(rows, steps):
    """Of a dataset with the rows of all steps: one array for each."""
    each = None
    for row in rows:
        each = (each or []) + [row["tokens"]]
        if len(each) == sample.tokens(0, 0).shape[0]:
            yield np.array(each)
            each, steps = None, steps - 1
    if each or steps:
        raise SystemExit("rows are missing")


def cached(mnt, rank, steps):
    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as cache:
        rows = datasets.load_dataset("parquet", data_files=sample.paths(mnt, rank, steps), split="train", cache_dir=cache)
        yield from arrays(rows, steps)


def streamed(mnt, rank, steps):
    rows = datasets.load_dataset("parquet", data_files=sample.paths(mnt, rank, steps), split="train", streaming=True)
    yield from arrays(rows, steps)


if __name__ == "__main__":
    sample.main(write, cached=cached, streamed=streamed)
