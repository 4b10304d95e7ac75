# SPDX-License-Identifier: Apache-2.0
"""What a producer needs, to be copied into yours: where to go on, and how to commit a batch.  Plain files, no package."""
import base64
import json
import os
import shutil


def resume(mnt, producer):
    """The seq to write next, and the state that was committed with the batch before it (bytes; none at the start)."""
    folder = f"{mnt}/produce/{producer}"
    os.makedirs(folder, exist_ok=True)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)  # a predecessor may have been killed in the midst of a commit: now it is known how that ended
    finally:
        os.close(fd)
    with open(f"{folder}/resume", encoding="ascii") as f:
        at = json.load(f)
    return int(at["next"]), base64.b64decode(at["state"] or "")


def commit(mnt, producer, seq, slices, write, state=None):
    """
    Commits one batch, for all ranks or for none: write(path, slice) makes the file of each rank.  Returns when it is
    durable, raises OSError when it is not committed.  A writer that fails half-way has renamed nothing.
    """
    batch = f"{mnt}/produce/{producer}/{seq}"
    shutil.rmtree(batch, ignore_errors=True)  # what a predecessor left half done
    os.makedirs(f"{batch}/rank")
    if state is not None:
        with open(f"{batch}/state", "wb") as f:
            f.write(state)
    for rank, data in enumerate(slices):
        write(f"{batch}/rank/.{rank}.part", data)
        os.rename(f"{batch}/rank/.{rank}.part", f"{batch}/rank/{rank}")  # the last one commits
