# SPDX-License-Identifier: Apache-2.0
"""Every event of the log is in the table of docs/operations.md, with its levels, and nothing else is.

An event is the third argument of bw_log(): a text, a choice of texts, or a call of a function of the same file,
whose texts it is then.  A row of the table is "| `event` | level | ... |", several levels divided by commas.
"""
import re
import sys

import tree

PAGE = "docs/operations.md"
FOLDERS = ("store", "manifest", "fs", "mount-helpers")
LEVELS = ("error", "warn", "info", "debug")
WORD = re.compile(r'"([a-z][a-z0-9_]*)"')
ROW = re.compile(r"^\| `([a-z][a-z0-9_]*)` \| ([a-z, ]+) \| (.*) \|$")


def arguments(text, at, most):
    """The first arguments of a call whose opening parenthesis is at `at`."""
    found, depth, start, i = [], 0, at + 1, at
    while i < len(text):
        if text[i] in "\"'":
            end = tree.TOKEN.match(text, i)
            i = end.end()
            continue
        if text[i] in "([{":
            depth += 1
        elif text[i] in ")]}":
            depth -= 1
        if (text[i] == "," and depth == 1) or depth == 0:
            found.append(text[start:i].strip())
            start = i + 1
            if depth == 0 or len(found) == most:
                return found
        i += 1
    return found


def function_texts(source, name):
    """Words in the body of a function of this file."""
    match = re.search(rf"^static [^;{{}}]*\b{name}\([^;{{}}]*\)\n\{{(.*?)^\}}", source, re.MULTILINE | re.DOTALL)
    return WORD.findall(match.group(1)) if match else []


def logged(root):
    """{event: {level}} and where each stands first; what cannot be told is in the third."""
    events, where, unclear = {}, {}, []
    for path in tree.files(root, ".c"):
        if not path.startswith(FOLDERS) or path == "store/base/log.c":
            continue
        source = tree.read(root, path)
        code = tree.code_only(source)
        for call in re.finditer(r"\bbw_log\(", code):
            line = source.count("\n", 0, call.start()) + 1
            args = arguments(source, call.end() - 1, 3)
            words = WORD.findall(args[2]) if len(args) == 3 else []
            if not words and len(args) == 3:
                called = re.match(r"(\w+)\(", args[2])
                words = function_texts(source, called.group(1)) if called else []
            levels = {name.lower() for name in re.findall(r"BW_LOG_([A-Z]+)", args[1])} if len(args) > 1 else set()
            if not words or not levels:
                unclear.append((path, line))
            for word in words:
                events.setdefault(word, set()).update(levels)
                where.setdefault(word, (path, line))
    return events, where, unclear


def check(root):
    found = tree.Findings()
    events, where, unclear = logged(root)
    for path, line in unclear:
        found.add(path, line, "which event, or which level, is logged here cannot be told")
    rows = {}
    for number, line in enumerate(tree.read(root, PAGE).split("\n"), 1):
        row = ROW.match(line)
        if row and set(re.split(r", ?", row.group(2))) <= set(LEVELS):
            if row.group(1) in rows:
                found.add(PAGE, number, f"tells {row.group(1)} twice")
            rows[row.group(1)] = (number, set(re.split(r", ?", row.group(2))))
    for event in sorted(set(events) - set(rows)):
        found.add(*where[event], f"logs {event}, which is not in {PAGE}")
    for event, (number, levels) in rows.items():
        if event not in events:
            found.add(PAGE, number, f"tells of {event}, which nothing logs")
        elif levels != events[event]:
            found.add(PAGE, number, f"{event} is logged as {', '.join(sorted(events[event]))}")
    return found


if __name__ == "__main__":
    check(sys.argv[1]).finish()
