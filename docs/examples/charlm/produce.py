#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""
A producer of the character model: encodes text and commits it, batch after batch, with its cursor in the text.

Killed at any moment it goes on where its last committed batch ended.  Several producers share the text.  They commit in
turns here (--turn 0/2, --turn 1/2), so that the order of the steps is the same in every run and runs can be compared;
without --turn the order is that of their commits, which is as good for training.
"""
import argparse
import errno
import json
import os
import sys
import time

import numpy as np

import text

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import batches  # noqa: E402


def write(path, windows):
    with open(path, "wb") as f:
        np.save(f, windows)


def wait_for(mnt, step):
    """Until the step has been committed, by whomever.  On a mount with wait=TIME it is stat that waits."""
    while step >= 0:
        try:
            os.stat(f"{mnt}/step/{step}")
            return
        except OSError as e:
            if e.errno == errno.ESTALE:  # it was, and has been reclaimed
                return
            if e.errno not in (errno.ENOENT, errno.ETIMEDOUT):
                raise
        time.sleep(0.02)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mnt")
    parser.add_argument("--producer", default="text")
    parser.add_argument("--text", default="/usr/share/common-licenses/*")
    parser.add_argument("--turn", default="0/1", help="which of how many producers, counted from 0")
    parser.add_argument("--batches", type=int, default=300, help="of all producers together")
    parser.add_argument("--ranks", type=int, default=2)
    args = parser.parse_args()
    turn, turns = map(int, args.turn.split("/"))
    codes = text.load(args.text, turn, turns)
    seq, state = batches.resume(args.mnt, args.producer)
    at = json.loads(state or '{"at": 0}')["at"]
    print(f"{args.producer}: batch {seq}, from character {at} on", flush=True)
    while seq * turns + turn < args.batches:
        slices, at = text.cut(codes, at, args.ranks)
        wait_for(args.mnt, seq * turns + turn - 1)
        batches.commit(args.mnt, args.producer, seq, slices, write, json.dumps({"at": at}).encode())
        seq += 1


if __name__ == "__main__":
    main()
