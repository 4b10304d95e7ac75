#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Slices in NumPy's format: read whole, or mapped, so that only the pages that are looked at are fetched."""
import numpy as np

import sample


def write(path, tokens):
    with open(path, "wb") as f:  # with a name, np.save would append .npy
        np.save(f, tokens)


def load(mnt, rank, steps):
    for path in sample.paths(mnt, rank, steps):
        yield np.load(path)


def mapped(mnt, rank, steps):
    for path in sample.paths(mnt, rank, steps):
        yield np.load(path, mmap_mode="r")


if __name__ == "__main__":
    sample.main(write, load=load, mmap=mapped)
