#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""
A data-parallel training job: a small recurrent character model, on the processor.

  train.py MNT --ranks 2 --checkpoints DIR --steps 300

starts a process for each rank, and ends them all when one of them fails.  Where RANK is set, as torchrun does, it is one.

Nothing in it belongs to BatchWeave but paths: step n of rank r is the file MNT/step/<n>/rank/<r>.  The only state of its
loader is the number of the step.  Checkpoints are model, optimizer and that number; a marker under MNT/checkpoint/<job>
for each checkpoint that is on the disk keeps the steps that may still be needed.

It computes with one thread and deterministic algorithms, so that two runs over the same steps are equal bit for bit.
"""
import argparse
import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import torch
import torch.distributed as dist
from torch.utils.data import DataLoader, IterableDataset

import text


class Model(torch.nn.Module):
    def __init__(self, size=96):
        super().__init__()
        self.embed = torch.nn.Embedding(len(text.ALPHABET), 32)
        self.cells = torch.nn.GRU(32, size, batch_first=True)
        self.out = torch.nn.Linear(size, len(text.ALPHABET))

    def forward(self, codes):
        return self.out(self.cells(self.embed(codes))[0])


class Steps(IterableDataset):
    """Steps first .. end-1 of one rank, with the number of each and a digest of its bytes, for the log."""

    def __init__(self, mnt, rank, first, end):
        self.mnt, self.rank, self.first, self.end = mnt, rank, first, end

    def __iter__(self):
        for n in range(self.first, self.end):
            windows = np.load(f"{self.mnt}/step/{n}/rank/{self.rank}")
            yield n, hashlib.sha256(windows.tobytes()).hexdigest()[:16], torch.from_numpy(windows.astype(np.int64))


class Checkpoints:
    """step-<n>.pt in a folder: what a job needs to go on with step n.  Only rank 0 writes."""

    def __init__(self, folder, keep, markers):
        self.folder, self.keep, self.markers = folder, keep, markers
        os.makedirs(folder, exist_ok=True)

    def there(self):
        """{step: path} of those that are whole."""
        found = (re.fullmatch(r"step-(\d+)\.pt", name) for name in os.listdir(self.folder))
        return {int(m.group(1)): os.path.join(self.folder, m.group(0)) for m in found if m}

    def newest(self):
        there = self.there()
        return torch.load(there[max(there)]) if there else None

    def save(self, step, model, optimizer):
        path = os.path.join(self.folder, f"step-{step}.pt")
        with open(path + ".tmp", "wb") as f:
            torch.save({"step": step, "model": model.state_dict(), "optimizer": optimizer.state_dict()}, f)
            f.flush()
            os.fsync(f.fileno())
        os.rename(path + ".tmp", path)
        self.mark()
        for old in sorted(self.there())[:-self.keep]:
            os.unlink(os.path.join(self.folder, f"step-{old}.pt"))
        self.mark()

    def mark(self):
        """Makes the markers equal to the checkpoints that are there: those of new ones first, then away with the others."""
        there, marked = self.there(), {int(name) for name in os.listdir(self.markers)}
        if not there:  # a run that begins, or the wrong folder: nothing to be given up for it
            return
        for step in sorted(there.keys() - marked):
            with open(f"{self.markers}/{step}", "w", encoding="utf-8") as f:
                f.write(there[step][-255:])
        for step in sorted(marked - there.keys()):
            os.unlink(f"{self.markers}/{step}")


def average(model, loss):
    """Gradients and loss of all ranks, averaged in one piece; every rank gets the same bits."""
    parts = [p.grad for p in model.parameters()] + [loss.detach().reshape(1)]
    flat = torch.cat([p.reshape(-1) for p in parts])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    at = 0
    for part in parts:
        part.copy_(flat[at:at + part.numel()].reshape(part.shape))
        at += part.numel()
    return float(parts[-1])


def digest(model):
    state = hashlib.sha256()
    for value in model.state_dict().values():
        state.update(value.numpy().tobytes())
    return state.hexdigest()


def train(args, log):
    rank = dist.get_rank()
    markers = f"{args.mnt}/checkpoint/{args.job}"
    os.makedirs(markers, exist_ok=True)  # before the first step is read: from now on what this job may need is kept
    torch.manual_seed(args.seed)
    model = Model()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    checkpoints = Checkpoints(args.checkpoints, args.keep, markers)
    last = checkpoints.newest()
    first = last["step"] if last else 0
    if last:
        model.load_state_dict(last["model"])
        optimizer.load_state_dict(last["optimizer"])
    dist.barrier()  # all have read the same checkpoint
    if rank == 0:
        checkpoints.mark()
        print(f"from step {first} on", flush=True)
    log.write(f"begin {first}\n")
    for n, data, codes in DataLoader(Steps(args.mnt, rank, first, args.steps), batch_size=None, num_workers=args.workers):
        optimizer.zero_grad()
        scores = model(codes[:, :-1])
        loss = torch.nn.functional.cross_entropy(scores.reshape(-1, scores.shape[-1]), codes[:, 1:].reshape(-1))
        loss.backward()
        loss = average(model, loss)
        optimizer.step()
        log.write(f"step {n} {data} {loss.hex()}\n")
        if rank == 0 and n % 50 == 0:
            print(f"step {n} loss {loss:.4f}", flush=True)
        if rank == 0 and (n + 1) % args.every == 0:
            checkpoints.save(n + 1, model, optimizer)
    log.write(f"end {args.steps} {digest(model)}\n")


def start_ranks(count):
    """What torchrun does: the same command for every rank.  Returns the exit code of all of them."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        meet = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(s.getsockname()[1])}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    running = [subprocess.Popen([sys.executable, *sys.argv], env={**os.environ, **meet, "RANK": str(r)}) for r in range(count)]
    try:
        while any(p.poll() is None for p in running) and not any(p.poll() for p in running):
            time.sleep(0.05)
    finally:
        for p in running:
            p.kill()
    return max(abs(p.wait()) for p in running)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mnt")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--checkpoints", required=True, help="folder")
    parser.add_argument("--job", default="charlm")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--every", type=int, default=10, help="steps between two checkpoints")
    parser.add_argument("--keep", type=int, default=2, help="checkpoints")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1, help="processes of the loader")
    parser.add_argument("--log", default="/dev/null", help="a line for each step is added, for each rank in a file LOG.<rank>")
    args = parser.parse_args()
    if "RANK" not in os.environ:
        return start_ranks(args.ranks)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    dist.init_process_group("gloo")  # RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT are in the environment
    with open(args.log if args.log == "/dev/null" else f"{args.log}.{dist.get_rank()}", "a", buffering=1, encoding="ascii") as log:
        train(args, log)
    dist.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main())
