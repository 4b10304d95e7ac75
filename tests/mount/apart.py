#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A mount namespace of one's own holds no mount of others: a copy of a mount keeps its daemon alive when the mount itself
is taken away, and whoever took it away waits for the daemon's end.

    unshare --mount apart.py COMMAND...
"""
import ctypes
import os
import re
import sys

MNT_DETACH = 2


def leave_mounts():
    """For a process whose mounts are private already."""
    libc = ctypes.CDLL(None)
    with open("/proc/self/mounts", "rb") as f:
        lines = [line.split()[1:3] for line in f]
    for where, kind in reversed(lines):
        if kind == b"fuse" or kind.startswith(b"fuse."):
            libc.umount2(re.sub(rb"\\([0-7]{3})", lambda m: bytes([int(m[1], 8)]), where), MNT_DETACH)


if __name__ == "__main__":
    leave_mounts()
    os.execvp(sys.argv[1], sys.argv[1:])
