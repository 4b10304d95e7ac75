# SPDX-License-Identifier: Apache-2.0
"""Includes never go up, and each third-party library stays behind its fence.

store/base <- store <- manifest <- fs <- mount-helpers; tests may include anything.
"""
import os
import re
import sys

import tree

LAYERS = ["store/base", "store", "manifest", "fs", "mount-helpers", "tests"]

# header -> the files that may include it
FENCES = [
    (r"curl/", r"store/s3_(http|cred)[a-z_]*\.c|tests/.*", "curl belongs to store/s3_http*.c and the credential sources"),
    (r"openssl/", r"store/s3_sign\.c|tests/.*", "libcrypto is reached through store/s3_sign.h"),
    (r"expat", r"store/s3_xml\.c|tests/.*", "expat belongs to store/s3_xml.c"),
    (r"zstd|zdict\.h", r"manifest/[^/]+\.c|tests/.*", "zstd belongs to manifest/"),
    (r"xxhash|xxh3", r"store/base/hash\.c", "xxHash is reached through store/base/hash.h"),
    (r"fuse", r"fs/fuse_[^/]+\.[ch]|tests/.*", "FUSE belongs to fs/fuse_*.c"),
    (r"criterion", r"tests/.*", "Criterion belongs to the tests"),
]

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.MULTILINE)


def layer_of(path):
    """Index into LAYERS of the folder a file is in, or None."""
    folder = os.path.dirname(path)
    for name in sorted(LAYERS, key=len, reverse=True):
        if folder == name or folder.startswith(name + "/"):
            return LAYERS.index(name)
    return None


def check_include(found, path, line, style, target, exists):
    if style == "<":
        for header, allowed, why in FENCES:
            if re.match(header, target) and not re.fullmatch(allowed, path):
                found.add(path, line, f"includes <{target}>: {why}")
        return
    mine, theirs = layer_of(path), layer_of(target)
    if theirs is None or not exists(target):
        found.add(path, line, f'includes "{target}", which is no header written from the root')
    elif mine is not None and theirs > mine:
        found.add(path, line, f'includes "{target}", which is above {LAYERS[mine]}/')
    elif re.match(r"fs/fuse_", target) and not re.match(r"fs/fuse_|tests/", path):
        found.add(path, line, f'includes "{target}": only fs/fuse_*.c may')


def check(root):
    found = tree.Findings()
    for path in tree.files(root, ".c", ".h"):
        if layer_of(path) is None:
            found.add(path, 1, "is in no layer")
            continue
        # Strings are blanked by code_only(), so includes are looked for in the text itself, and
        # those inside comments are told apart by looking at the same place of the blanked text.
        text = tree.read(root, path)
        code = tree.code_only(text)
        for match in INCLUDE.finditer(text):
            if code[match.start() : match.end()].strip().startswith("#"):
                line = text.count("\n", 0, match.start()) + 1
                check_include(found, path, line, match.group(1), match.group(2),
                              lambda t: os.path.exists(os.path.join(root, t)))
    return found


if __name__ == "__main__":
    check(sys.argv[1]).finish()
