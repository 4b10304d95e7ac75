# SPDX-License-Identifier: Apache-2.0
"""The data of the character model: text, its alphabet, and how it is cut into the slices of steps."""
import glob

import numpy as np

ALPHABET = "\n" + "".join(map(chr, range(32, 127)))  # other bytes count as the newline
CODES = np.zeros(256, dtype=np.uint8)
for code, char in enumerate(ALPHABET):
    CODES[ord(char)] = code

BATCH, WIDTH = 8, 64  # windows of a slice, characters of a window


def load(pattern, part, parts):
    """The part-th of `parts` equal pieces of the text in the files that match, as codes."""
    text = b"".join(open(path, "rb").read() for path in sorted(glob.glob(pattern)))
    size = len(text) // parts
    codes = CODES[np.frombuffer(text[part * size:(part + 1) * size], dtype=np.uint8)]
    if len(codes) <= WIDTH:
        raise SystemExit(f"{pattern}: {len(text)} bytes of text are too few")
    return codes


def cut(codes, at, ranks):
    """The slices of one step, from position `at` of the text on, and the position after them.  At the end it begins anew."""
    starts = at + WIDTH * np.arange(ranks * BATCH)
    windows = codes[(starts[:, None] + np.arange(WIDTH + 1)) % len(codes)]  # a window and the character after it
    return np.split(windows, ranks), int(starts[-1] + WIDTH) % len(codes)
