# SPDX-License-Identifier: Apache-2.0
"""What the lint checks share: the files of the tree, C without comments, and how findings are told."""
import os
import re
import sys

SKIP = {".git", "build", "__pycache__"}


def files(root, *endings):
    """Paths below root, relative, sorted; build output and version control left out."""
    found = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [s for s in subfolders if s not in SKIP]
        for name in names:
            if not endings or name.endswith(endings):
                found.append(os.path.relpath(os.path.join(folder, name), root))
    return sorted(found)


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8", errors="surrogateescape",
              newline="") as f:
        return f.read()


TOKEN = re.compile(
    r"""//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""", re.DOTALL
)


def code_only(text):
    """C with comments and the insides of strings blanked, line numbers kept."""

    def blank(match):
        token = match.group(0)
        if token.startswith("/"):
            return re.sub(r"[^\n]", " ", token)
        return token[0] + " " * (len(token) - 2) + token[0]

    return TOKEN.sub(blank, text)


def scripts(root):
    """Shell scripts: by their ending or by their first line."""
    found = []
    for path in files(root):
        if path.endswith((".sh", ".bash")):
            found.append(path)
        elif "." not in os.path.basename(path):
            with open(os.path.join(root, path), "rb") as f:
                first = f.readline(80)
            if re.match(rb"#!.*\b(ba|da)?sh\b", first):
                found.append(path)
    return found


class Findings:
    """Collects what is wrong (fails the check) and what deserves a look (does not)."""

    def __init__(self):
        self.wrong = []
        self.notes = []

    def add(self, path, line, what):
        self.wrong.append(f"{path}:{line}: {what}")

    def note(self, path, line, what):
        self.notes.append(f"{path}:{line}: {what}")

    def finish(self):
        for line in self.notes:
            print("note: " + line)
        for line in self.wrong:
            print(line)
        print(f"{len(self.wrong)} wrong, {len(self.notes)} noted")
        sys.exit(1 if self.wrong else 0)
