# SPDX-License-Identifier: Apache-2.0
"""Links between the pages of the documentation lead somewhere: the file is there, and so is the heading."""
import os
import re
import sys

import tree

LINK = re.compile(r"(?<!!)\[[^\]\n]*(?:\n[^\]\n]*)?\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)


def without_code(text):
    """The text with fenced blocks blanked and what stands in backquotes kept."""
    return re.sub(r"^ *```.*?^ *```[ \t]*$", lambda m: re.sub(r"[^\n]", " ", m.group(0)), text,
                  flags=re.MULTILINE | re.DOTALL)


def anchors(text):
    """The anchors that headings get: lower case, no punctuation, blanks as dashes; repeated ones are numbered."""
    found = set()
    for heading in HEADING.findall(without_code(text)):
        heading = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        anchor = re.sub(r"[^\w\- ]", "", heading).replace(" ", "-")
        number, name = 0, anchor
        while name in found:
            number += 1
            name = f"{anchor}-{number}"
        found.add(name)
    return found


def check(root):
    found = tree.Findings()
    pages = [p for p in tree.files(root, ".md") if not p.startswith(".")]
    texts = {p: tree.read(root, p) for p in pages}
    for page, text in texts.items():
        for match in LINK.finditer(without_code(text)):
            target, _, anchor = match.group(1).partition("#")
            if re.match(r"[a-z]+:", target):
                continue
            line = text.count("\n", 0, match.start()) + 1
            path = os.path.normpath(os.path.join(os.path.dirname(page), target)) if target else page
            if not os.path.exists(os.path.join(root, path)):
                found.add(page, line, f"leads to {target}, which is not there")
            elif anchor and path in texts and anchor not in anchors(texts[path]):
                found.add(page, line, f"leads to #{anchor} of {path}, where no heading is called so")
    return found


if __name__ == "__main__":
    check(sys.argv[1]).finish()
