# SPDX-License-Identifier: Apache-2.0
"""What the examples of file formats share: the same small batches in each of them, and a command line.

  EXAMPLE write MNT [--steps N]                       commits N steps: tokens for each rank
  EXAMPLE read MNT [--rank R] [--steps N] [WAY...]    reads them back, in all ways that the example has or in those named;
                                                      a line for each step, with the SHA-256 of its tokens
"""
import argparse
import hashlib
import json
import os
import sys

import numpy as np

import batches


def tokens(step, rank):
    """16 samples of 512 tokens that belong to this step and rank and to no other."""
    noise = np.random.Generator(np.random.PCG64([step, rank]))
    return noise.integers(0, 50257, (16, 512), dtype=np.int32)


def digest(array):
    return hashlib.sha256(np.ascontiguousarray(array, dtype=np.int32).tobytes()).hexdigest()


def paths(mnt, rank, steps):
    return [f"{mnt}/step/{n}/rank/{rank}" for n in range(steps)]


def ranks_of(mnt):
    with open(f"{mnt}/status/status.json", encoding="utf-8") as f:
        return json.load(f)["ranks"]


def produce(mnt, steps, write):
    name = os.path.splitext(os.path.basename(sys.argv[0]))[0]
    ranks = ranks_of(mnt)
    seq, _ = batches.resume(mnt, name)
    for n in range(seq, steps):
        batches.commit(mnt, name, n, [tokens(n, r) for r in range(ranks)], write)


def main(write, **ways):
    """write(path, tokens) makes a slice; each way(mnt, rank, steps) yields the tokens of step 0, 1 ... of a rank."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["write", "read"])
    parser.add_argument("mnt")
    parser.add_argument("ways", nargs="*", metavar="WAY", help=" ".join(ways))
    parser.add_argument("--rank", type=int, default=0)
    parser.add_argument("--steps", type=int, default=8)
    args = parser.parse_intermixed_args()
    if args.what == "write":
        produce(args.mnt, args.steps, write)
        return
    for name in args.ways or ways:
        for n, array in enumerate(ways[name](args.mnt, args.rank, args.steps)):
            print(name, n, args.rank, digest(array), flush=True)
