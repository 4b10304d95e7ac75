#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A stream under torch.utils.data.DataLoader: as a map of the steps that are there, and as a stream that may grow.

With workers, forked or spawned: a step is opened by the worker that reads it, so nothing is shared and nothing is to be
set up.  The position of a loader is the number of the step, whatever the number of workers.
"""
import errno
import itertools

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

import sample


class Steps(Dataset):
    """Map style: item i is step first + i."""

    def __init__(self, mnt, rank, steps, first=0):
        self.mnt, self.rank, self.steps, self.first = mnt, rank, steps, first

    def __len__(self):
        return self.steps

    def __getitem__(self, i):
        if i >= self.steps:
            raise IndexError(i)
        return torch.from_numpy(np.load(f"{self.mnt}/step/{self.first + i}/rank/{self.rank}"))


class Stream(IterableDataset):
    """
    Iterable style, from step first on until the stream is sealed.  Of w workers the k-th reads steps first + k, first + k + w
    and so on; DataLoader takes from them in turn, which is the order of the steps again.  Mounted with wait=TIME, a worker
    waits for a step that is not committed yet.
    """

    def __init__(self, mnt, rank, first=0):
        self.mnt, self.rank, self.first = mnt, rank, first

    def __iter__(self):
        worker = get_worker_info()
        k, w = (worker.id, worker.num_workers) if worker else (0, 1)
        for n in itertools.count(self.first + k, w):
            try:
                yield torch.from_numpy(np.load(f"{self.mnt}/step/{n}/rank/{self.rank}"))
            except OSError as e:
                if e.errno != errno.ENODATA:  # the end of a sealed stream: the same step on every rank
                    raise
                return


def write(path, tokens):
    with open(path, "wb") as f:
        np.save(f, tokens)


def map_style(start):
    def read(mnt, rank, steps):
        for two in DataLoader(Steps(mnt, rank, steps), batch_size=2, num_workers=2 if start else 0,
                              multiprocessing_context=start):
            yield from two
    return read


def iterable_style(start):
    def read(mnt, rank, _steps):
        yield from DataLoader(Stream(mnt, rank), batch_size=None, num_workers=2 if start else 0,
                              multiprocessing_context=start)
    return read


if __name__ == "__main__":
    sample.main(write, **{"map": map_style(None), "map-fork": map_style("fork"), "map-spawn": map_style("spawn"),
                          "iterable": iterable_style(None), "iterable-fork": iterable_style("fork"),
                          "iterable-spawn": iterable_style("spawn")})
