# SPDX-License-Identifier: Apache-2.0
"""What of a file is in the page cache."""
import ctypes
import mmap
import os

LIBC = ctypes.CDLL(None, use_errno=True)


def of(size):
    """How many pages so many bytes take."""
    return (size + mmap.PAGESIZE - 1) // mmap.PAGESIZE


def resident(fd, size):
    """How many pages of a file are in memory; nothing is read."""
    call = LIBC.mmap
    call.restype, call.argtypes = ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int,
                                                    ctypes.c_long)
    seen = (ctypes.c_ubyte * of(size))()
    at = ctypes.c_void_p(call(None, size, mmap.PROT_READ, mmap.MAP_SHARED, fd, 0))
    try:
        if LIBC.mincore(at, ctypes.c_size_t(size), seen):
            raise OSError(ctypes.get_errno(), "mincore")
    finally:
        LIBC.munmap(at, ctypes.c_size_t(size))
    return sum(x & 1 for x in seen)
