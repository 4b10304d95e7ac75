# SPDX-License-Identifier: Apache-2.0
"""
Links of the pages that are installed lead to what is installed with them, pictures as well; and the pages go where
the others go, whether CMAKE_INSTALL_DOCDIR is below the prefix or not.
"""
import os
import re
import subprocess
import sys
import tempfile

import links
import tree

LINK = re.compile(r"\[[^\]\n]*(?:\n[^\]\n]*)?\]\(([^)\s]+)\)")


def check(folder):
    found, pages = tree.Findings(), []
    for where, _, names in os.walk(folder):
        pages += [os.path.join(where, name) for name in names if name.endswith(".md")]
    if not any(os.path.basename(page) == "README.md" for page in pages):
        found.add(folder, 1, "no README.md is installed")
    for page in sorted(pages):
        with open(page, encoding="utf-8") as f:
            text = f.read()
        for match in LINK.finditer(links.without_code(text)):
            target = match.group(1).partition("#")[0]
            if target and not re.match(r"[a-z]+:", target) and not os.path.exists(os.path.join(os.path.dirname(page), target)):
                found.add(os.path.relpath(page, folder), text.count("\n", 0, match.start()) + 1, f"leads to {target}, which is not installed")
    return found


def place(found, doc):
    """Whether the pages go to doc, with the prefix /usr."""
    source = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    with tempfile.TemporaryDirectory() as root:
        subprocess.run(["cmake", f"-Dsource={source}", f"-Dwork={root}/work", f"-Ddoc={doc}", "-DCMAKE_INSTALL_PREFIX=/usr", "-P",
                        f"{source}/mount-helpers/documents.cmake"], check=True, stdout=subprocess.DEVNULL, env={**os.environ, "DESTDIR": root})
        if not os.path.exists(root + os.path.join("/usr", doc, "README.md")):
            found.add("mount-helpers/documents.cmake", 1, f"README.md does not go to {doc}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as prefix:
        subprocess.run(["cmake", "--install", sys.argv[1], "--prefix", prefix], check=True, stdout=subprocess.DEVNULL,
                       env={name: value for name, value in os.environ.items() if name != "DESTDIR"})
        all_found = check(prefix)
    for folder in "share/doc/batchweave", "/opt/doc":
        place(all_found, folder)
    all_found.finish()
