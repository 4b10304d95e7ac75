# SPDX-License-Identifier: Apache-2.0
"""What a source file looks like: licence line, sizes, characters, and what may not stand in it."""
import re
import sys

import tree

FILE_NOTE, FILE_MAX = 800, 900
FUNCTION_NOTE, FUNCTION_MAX = 70, 100
COLUMNS_NOTE = 110  # the rule is 100; a tail of a comment may hang over

BANNED = {
    "strcpy": "copy with a length",
    "strcat": "append with a length",
    "sprintf": "use snprintf",
    "vsprintf": "use vsnprintf",
    "strtok": "it has a global state",
    "atoi": "use bw_parse_u64()",
    "atol": "use bw_parse_u64()",
    "gets": "it cannot be used safely",
}
CLEANED_UP = re.compile(r"^\s*(?:bw_auto_\w+|auto_fd)\s[^=()]*;")
BANNED_CALL = re.compile(r"\b(%s)\s*\(" % "|".join(BANNED))

# Written in pieces, so that this file does not find itself.
WORDS = re.compile(
    r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b|not yet " r"implemented|\bunimple" r"mented\b"
)
MACHINE = re.compile(
    r"/(?:home|root|Users)/" r"[a-z.]|/work" r"/|/tmp/w" r"t-|\.pye" r"nv|\bwork" r"tree\b"
)

SOURCE = (".c", ".h", ".py", ".sh")
TEXT = SOURCE + (".txt", ".md", ".json", ".1", ".5", ".7", ".8", ".cmake")


def check_licence(found, path, text):
    head = "\n".join(text.split("\n")[:3])
    if "SPDX-License-Identifier: Apache-2.0" not in head:
        found.add(path, 1, "has no SPDX line among its first three lines")


def check_lengths(found, path, lines):
    if len(lines) > FILE_NOTE:
        tell = found.add if len(lines) > FILE_MAX else found.note
        tell(path, len(lines), f"has {len(lines)} lines, more than {FILE_NOTE}")
    start = None
    for number, line in enumerate(lines, 1):
        if line == "{":
            start = number
        elif line == "}" and start:
            length = number - start + 1
            if length > FUNCTION_NOTE:
                tell = found.add if length > FUNCTION_MAX else found.note
                tell(path, start, f"a function of {length} lines, more than {FUNCTION_NOTE}")
            start = None


def check_code(found, path, text):
    for number, line in enumerate(tree.code_only(text).split("\n"), 1):
        for match in BANNED_CALL.finditer(line):
            name = match.group(1)
            found.add(path, number, f"{name}() is banned: {BANNED[name]}")
        if CLEANED_UP.match(line):
            found.add(path, number, "is cleaned up at every return, so it needs a value from the start")


def check_text(found, path, text):
    if not text.endswith("\n") and text:
        found.add(path, text.count("\n") + 1, "does not end in a newline")
    for number, line in enumerate(text.split("\n"), 1):
        if line != line.rstrip():
            found.add(path, number, "blanks or a carriage return at the end of the line")
        if WORDS.search(line):
            found.add(path, number, "says that something is left to be done: do it or open an issue")
        if MACHINE.search(line):
            found.add(path, number, "names a path of somebody's machine")
        if path.endswith((".c", ".h")) and len(line.expandtabs(8)) > COLUMNS_NOTE:
            found.note(path, number, f"wider than {COLUMNS_NOTE} columns")


def check(root):
    found = tree.Findings()
    shell = set(tree.scripts(root))
    for path in tree.files(root):
        source = path.endswith(SOURCE) or path in shell or path.endswith("CMakeLists.txt")
        if not source and not path.endswith(TEXT):
            continue
        if path.startswith("tests/golden/") and not path.endswith(SOURCE):
            continue
        text = tree.read(root, path)
        if source:
            check_licence(found, path, text)
        if path.endswith((".c", ".h")):
            check_code(found, path, text)
        if source:
            check_lengths(found, path, text.split("\n")[:-1])
        check_text(found, path, text)
    return found


if __name__ == "__main__":
    check(sys.argv[1]).finish()
