#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A mount namespace of one's own holds no mount of others: a copy of a mount keeps its daemon alive when the mount itself
is taken away, and whoever took it away waits for the daemon's end.

    unshare --mount apart.py [--keep FOLDER] COMMAND...

What is mounted below FOLDER stays.
"""
import ctypes
import os
import re
import sys

MNT_DETACH = 2


def leave_mounts(keep=None):
    """For a process whose mounts are private already."""
    libc = ctypes.CDLL(None)
    with open("/proc/self/mounts", "rb") as f:
        lines = [line.split()[1:3] for line in f]
    for where, kind in reversed(lines):
        where = re.sub(rb"\\([0-7]{3})", lambda m: bytes([int(m[1], 8)]), where)
        if (kind == b"fuse" or kind.startswith(b"fuse.")) and not (keep and where.startswith(os.fsencode(keep) + b"/")):
            libc.umount2(where, MNT_DETACH)


if __name__ == "__main__":
    folder, command = (sys.argv[2], sys.argv[3:]) if sys.argv[1] == "--keep" else (None, sys.argv[1:])
    leave_mounts(folder)
    os.execvp(command[0], command)
