#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Slices that are tar archives, a sample a member, read by WebDataset: the order of steps is the order of the shards."""
import numpy as np
import webdataset as wds

import sample


def write(path, tokens):
    with wds.TarWriter(path) as out:
        for i, row in enumerate(tokens):
            out.write({"__key__": f"{i:04d}", "npy": row})


def shards(mnt, rank, steps):
    return wds.WebDataset(sample.paths(mnt, rank, steps), shardshuffle=False, nodesplitter=None, empty_check=False).decode()


def stacked(samples):
    """The samples of each shard in one array."""
    rows, shard = [], None
    for s in samples:
        if rows and s["__url__"] != shard:
            yield np.stack(rows)
            rows = []
        shard = s["__url__"]
        rows.append(s["npy"])
    if rows:
        yield np.stack(rows)


def read(mnt, rank, steps):
    yield from stacked(shards(mnt, rank, steps))


def loader(mnt, rank, steps):
    """In worker processes, each with every other step; the samples come in turn from one and from the other."""
    rows = {}
    for s in wds.WebLoader(shards(mnt, rank, steps), batch_size=None, num_workers=2):
        rows.setdefault(s["__url__"], []).append(s["npy"])
    for path in sample.paths(mnt, rank, steps):
        yield np.stack(rows[path])


if __name__ == "__main__":
    sample.main(write, read=read, loader=loader)
