# SPDX-License-Identifier: Apache-2.0
"""The examples of docs/format.md are bytes of tests/golden/v1, and its limits those of limits.h.

A comment before a fenced block says what stands in it:

    <!-- text FILE -->          the file
    <!-- dump FILE [FROM TO] -->  its bytes, as hexdump -C shows them
    <!-- payload FILE -->       what is in its envelope; line breaks and indents of the block are ours,
                                and "..." stands for any part that is left out
"""
import re
import subprocess
import sys

GOLDEN = "tests/golden/v1/"
BLOCK = re.compile(r"^<!-- (text|dump|payload) (\S+)(?: (\d+) (\d+))? -->\n```\w*\n(.*?)^```$",
                   re.MULTILINE | re.DOTALL)
LIMIT = re.compile(r"^\| `(BW_\w+)` \| ([\d,]+)\b", re.MULTILINE)


def dump(data, start):
    lines = []
    for at in range(0, len(data), 16):
        row = data[at : at + 16]
        cells = [f"{b:02x}" for b in row] + ["  "] * (16 - len(row))
        text = "".join(chr(b) if 32 <= b < 127 else "." for b in row)
        lines.append(f"{start + at:08x}  {' '.join(cells[:8])}  {' '.join(cells[8:])}  |{text}|\n")
    return "".join(lines)


def matches(block, payload):
    """Whether payload is the block's text, "..." standing for anything."""
    parts = ["".join(line.strip() for line in part.split("\n")) for part in block.split("...")]
    return re.fullmatch(".*".join(map(re.escape, parts)), payload, re.DOTALL)


def check_block(root, payload_program, what, name, start, end, block):
    path = f"{root}/{GOLDEN}{name}"
    if what == "payload":
        done = subprocess.run([payload_program, path], capture_output=True, check=True)
        return matches(block, done.stdout.decode("ascii"))
    with open(path, "rb") as f:
        data = f.read()
    if what == "text":
        return block == data.decode("ascii")
    start, end = int(start or 0), int(end or len(data))
    return block == dump(data[start:end], start)


def limits(root):
    found = {}
    for name in ("store/base/limits.h", "manifest/stream.h"):
        with open(f"{root}/{name}", encoding="ascii") as f:
            text = f.read()
        for key, value in re.findall(r"^#define (BW_\w+) ([^/\n]+)", text, re.MULTILINE):
            value = re.sub(r"UINT64_C\((\d+)\)|\b(\d+)u\b", r"\1\2", value.strip())
            if re.fullmatch(r"[\d()<\s]+", value):
                found[key] = eval(value)  # digits, parentheses and shifts only
    return found


def main(root, payload_program):
    with open(f"{root}/docs/format.md", encoding="utf-8") as f:
        doc = f.read()
    wrong = []
    blocks = BLOCK.findall(doc)
    for block in blocks:
        if not check_block(root, payload_program, *block):
            wrong.append(f"the {block[0]} of {block[1]} is not what the file holds")
    real = limits(root)
    told = LIMIT.findall(doc)
    for name, value in told:
        if real.get(name) != int(value.replace(",", "")):
            wrong.append(f"{name} is {real.get(name)}, not {value}")
    if len(blocks) < 8 or len(told) < 15:
        wrong.append(f"only {len(blocks)} blocks and {len(told)} limits found: the search is broken")
    print("\n".join(wrong) or f"{len(blocks)} blocks and {len(told)} limits are right")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
