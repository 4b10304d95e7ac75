#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Slices in safetensors: loaded by NumPy or PyTorch, or opened, so that only the rows that are asked for are fetched."""
import numpy as np
import safetensors
import safetensors.numpy

import sample


def write(path, tokens):
    safetensors.numpy.save_file({"tokens": tokens}, path)


def load(mnt, rank, steps):
    for path in sample.paths(mnt, rank, steps):
        yield safetensors.numpy.load_file(path)["tokens"]


def torch_load(mnt, rank, steps):
    import safetensors.torch
    for path in sample.paths(mnt, rank, steps):
        yield safetensors.torch.load_file(path)["tokens"]


def rows(mnt, rank, steps):
    for path in sample.paths(mnt, rank, steps):
        with safetensors.safe_open(path, framework="numpy") as f:
            part = f.get_slice("tokens")
            last, first = part[8:], part[:8]
            yield np.concatenate([first, last])


if __name__ == "__main__":
    sample.main(write, load=load, torch=torch_load, rows=rows)
