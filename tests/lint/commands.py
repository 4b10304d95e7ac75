# SPDX-License-Identifier: Apache-2.0
"""Commands and options that the documentation names exist, also where no block runs them: in sentences and tables."""
import os
import re
import sys

import man
import tree

SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)|^ *```(?:sh|console)[^\n]*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
CALL = re.compile(r"(?:(?<![-./\w])batchweave |^)([a-z]+)\b((?:\\\n|[^\n#;|&])*)", re.MULTILINE)
OURS = re.compile(r"^-o |mount -t batchweave |mount\.batchweave |batchweave (mount|bench|doctor) ")
NO_COMMAND = {"mount"}  # of mount(8), whose options are the mount's


def spans(text):
    """(line, code) of each piece of code."""
    for match in SPAN.finditer(text):
        group = 1 if match.group(1) is not None else 2
        yield text.count("\n", 0, match.start(group)) + 1, match.group(group)


def options_of(program):
    """{command: its long options}, as help tells them."""
    listed = re.findall(r"^  ([a-z]+)  ", man.run(program, "help"), re.MULTILINE)
    return {c: set(re.findall(r"--([a-z][a-z-]+)", man.run(program, c, "--help"))) | {"help"} for c in listed}


def check_call(found, path, line, known, match):
    named = match.group(0).startswith("batchweave ")
    command, rest = match.group(1), match.group(2)
    if command not in known:
        if named and rest[:1] not in ("/", ":", "@", "-", "."):
            found.add(path, line, f"there is no 'batchweave {command}'")
        return
    for option in re.findall(r"(?:^|[ \[(])--([a-z][a-z-]+)", rest):
        if command not in NO_COMMAND and option not in known[command]:
            found.add(path, line, f"batchweave {command} has no option --{option}")


def check_mount_options(found, path, line, code, known):
    for command in code.replace("\\\n", " ").split("\n"):
        if not OURS.search(command):
            continue
        for listed in re.findall(r"(?:^|\s)-o '?([\w][\w=,./:{}%@-]*)", command):
            for option in listed.split(","):
                if option.split("=")[0] not in known and option != "OPTIONS":
                    found.add(path, line, f"there is no mount option {option}")


def check(root, programs):
    found = tree.Findings()
    batchweave, mount = (os.path.join(programs, name) for name in ("batchweave", "mount.batchweave"))
    if not (os.path.exists(batchweave) and os.path.exists(mount)):
        found.note(batchweave, 1, "is not built")
        return found
    known = options_of(batchweave)
    of_mount = set(re.findall(r"^  ([a-z_]+)(?:=\S+)?(?:  |$)", man.run(mount, "--help"), re.MULTILINE)) | {"rw"}
    for path in ["README.md"] + ["docs/" + p for p in tree.files(os.path.join(root, "docs"), ".md")]:
        for line, code in spans(tree.read(root, path)):
            for match in CALL.finditer(code):
                check_call(found, path, line + code.count("\n", 0, match.start()), known, match)
            check_mount_options(found, path, line, code, of_mount)
    return found


if __name__ == "__main__":
    check(sys.argv[1], os.path.join(sys.argv[2], "mount-helpers")).finish()
