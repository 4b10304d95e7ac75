#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Slices that torch.save() wrote: zip archives, whose readers begin at the end of the file."""
import torch

import sample


def write(path, tokens):
    torch.save({"tokens": torch.from_numpy(tokens)}, path)


def load(mnt, rank, steps):
    for path in sample.paths(mnt, rank, steps):
        yield torch.load(path)["tokens"]


if __name__ == "__main__":
    sample.main(write, load=load)
