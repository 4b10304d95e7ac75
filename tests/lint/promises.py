# SPDX-License-Identifier: Apache-2.0
"""Every promise of docs/semantics.md is proven by a test that exists and that names it.

An item that begins with a promise id ("- **V1** ...", "| V1 | ...", "### V1 ...") runs to the next one
or to the next heading.  It names its tests in backquotes, as `tests/mount/test_x.py`,
`tests/mount/test_x.py::test_name` or `tests/unit/test_x.c::suite.name`; or it says "Not in this
release", when nothing proves it because nothing implements it yet.
"""
import os
import re
import sys

import tree

PROMISES = (
    "V1 V2 V3 V4 V5 V6 V7 P1 P2 P3 P3k P3e P3m P3d P4 P5 P6 P7 P8 "
    "C1 C2 C3 C4 C5 C6 S1 S2 S3 S4 S5 S6 S7 S8 S9"
).split()

ITEM = re.compile(r"^[-*|# ]*\**`?([VPCS]\d[a-z]?)`?\**(?=[ :.|(,—–-]|\*)")
REFERENCE = re.compile(r"`(tests/[A-Za-z0-9_./-]+\.(?:py|c|sh))(?:::([A-Za-z0-9_.]+))?`")
LATER = re.compile(r"not in this release", re.IGNORECASE)


def items(text):
    """{id: (line, text of the item)}"""
    found, current = {}, None
    for number, line in enumerate(text.split("\n"), 1):
        match = ITEM.match(line)
        if match:
            current = match.group(1)
            found.setdefault(current, (number, ""))
        elif line.startswith("#"):
            current = None
        if current:
            first, so_far = found[current]
            found[current] = (first, so_far + line + "\n")
    return found


def has_test(source, path, name):
    """Whether name is a test in the text of path: def for Python, Test(suite, name) for Criterion."""
    last = re.escape(name.split(".")[-1])
    if path.endswith(".py"):
        return re.search(rf"^\s*(def|class) {last}\b", source, re.MULTILINE)
    return re.search(rf"Test\(\s*\w+\s*,\s*{last}\b", source)


def check_references(found, root, path, line, text):
    """The paths of the tests that text names; what does not exist is told."""
    good = []
    for test, name in REFERENCE.findall(text):
        if not os.path.exists(os.path.join(root, test)):
            found.add(path, line, f"names {test}, which does not exist")
        elif name and not has_test(tree.read(root, test), test, name):
            found.add(path, line, f"names {test}::{name}, but there is no such test in it")
        else:
            good.append(test)
    return good


def check(root):
    found = tree.Findings()
    path = "docs/semantics.md"
    if not os.path.exists(os.path.join(root, path)):
        found.note(path, 1, "is missing, so no promise is checked")
        return found
    promises = items(tree.read(root, path))
    for promise in PROMISES:
        if promise not in promises:
            found.add(path, 1, f"does not state {promise}")
            continue
        line, text = promises[promise]
        tests = check_references(found, root, path, line, text)
        if not tests and not LATER.search(text):
            found.add(path, line, f'{promise} names no test, nor says "Not in this release"')
        named = re.compile(rf"\b{promise}\b")
        if tests and not any(named.search(tree.read(root, test)) for test in tests):
            found.add(path, line, f"{promise} is named in none of its tests: {', '.join(tests)}")
    return found


if __name__ == "__main__":
    check(sys.argv[1]).finish()
