# SPDX-License-Identifier: Apache-2.0
"""Man pages are clean, lead to each other, list the options that --help lists, and state every promise."""
import os
import re
import shutil
import subprocess
import sys

import promises
import tree


def run(*command):
    done = subprocess.run(command, text=True, capture_output=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: exit {done.returncode}\n{done.stderr}")
    return done.stdout


def check_mandoc(found, root, pages):
    for page in pages:
        done = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", os.path.join(root, page)],
                              text=True, capture_output=True, check=False)
        if done.returncode or done.stdout:
            found.add(page, 1, "mandoc says:\n" + done.stdout + done.stderr)


def check_groff(found, root, pages):
    """What man(1) itself says while it formats a page; mandoc is another program."""
    if not shutil.which("man"):
        found.note("docs/man", 1, "man is not installed, so its warnings are not seen")
        return
    env = {**os.environ, "LC_ALL": "C.UTF-8", "MANROFFSEQ": "", "MANWIDTH": "80"}
    for page in pages:
        done = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", os.path.join(root, page)],
                              env=env, capture_output=True, check=False)
        if done.returncode or done.stderr:
            found.add(page, 1, "man says:\n" + done.stderr.decode(errors="replace"))


def check_links(found, root, pages):
    """Each page leads to all the others, and to none that is not there."""
    names = {os.path.basename(p).rpartition(".")[::2] for p in pages}
    for page in pages:
        own = os.path.basename(page).rpartition(".")[::2]
        text = tree.read(root, page)
        linked = set(re.findall(r"^\.Xr (\S*batchweave\S*) (\d)", text, re.MULTILINE))
        see_also = set(re.findall(r"^\.Xr (\S*batchweave\S*) (\d)", text.partition(".Sh SEE ALSO")[2], re.MULTILINE))
        for name, section in sorted(linked - names):
            found.add(page, 1, f"{name}({section}) is no page")
        for name, section in sorted(names - see_also - {own}):
            found.add(page, 1, f"SEE ALSO does not name {name}({section})")


def check_promises(found, root):
    page = "docs/man/batchweave-semantics.7"
    stated = re.findall(r"^\.It Sy (\w+)", tree.read(root, page), re.MULTILINE)
    stated = [name for name in stated if re.fullmatch(r"[VPCS]\d[a-z]?", name)]
    if stated != promises.PROMISES:
        found.add(page, 1, "states other promises, or in another order, than tests/lint/promises.py: "
                  + " ".join(sorted(set(stated) ^ set(promises.PROMISES))))


def sections(text, macro):
    """{title: lines} of a page, cut at macro (.Sh or .Ss)."""
    parts = re.split(rf"^\.{macro} (.*)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2]))


def compare(found, page, what, in_help, in_page):
    for name in sorted(in_help - in_page):
        found.add(page, 1, f"{what}: {name} is in --help and not in the man page")
    for name in sorted(in_page - in_help):
        found.add(page, 1, f"{what}: {name} is in the man page and not in --help")


def options_of(text):
    return set(re.findall(r"^\.It Fl -([a-z-]+)", text, re.MULTILINE))


def check_commands(found, root, program):
    page = "docs/man/batchweave.1"
    parts = sections(tree.read(root, page), "Sh")
    commands = sections(parts["COMMANDS"], "Ss")
    of_store = options_of(parts["STORE OPTIONS"])
    with_store = set(re.findall(r"^\.Cm (\w+)", parts["STORE OPTIONS"], re.MULTILINE))
    listed = set(re.findall(r"^  ([a-z]+)  ", run(program, "help"), re.MULTILINE))
    compare(found, page, "commands", listed, set(commands))
    for command in sorted(listed & set(commands)):
        help_text = run(program, command, "--help")
        in_help = set(re.findall(r"^ +(?:-\w, )?--([a-z-]+)", help_text, re.MULTILINE)) - {"help"}
        in_page = options_of(commands[command]) | (of_store if command in with_store else set())
        compare(found, page, command, in_help, in_page)


def check_mount_options(found, root, program):
    page = "docs/man/mount.batchweave.8"
    in_help = set(re.findall(r"^  ([a-z_]+)(?:=\S+)?(?:  |$)", run(program, "--help"), re.MULTILINE))
    in_page = set(re.findall(r"^\.It Cm ([a-z_]+)", tree.read(root, page), re.MULTILINE))
    compare(found, page, "mount options", in_help, in_page)


def main(root, build):
    found = tree.Findings()
    pages = tree.files(os.path.join(root, "docs"), ".1", ".5", ".7", ".8")
    pages = ["docs/" + page for page in pages]
    check_mandoc(found, root, pages)
    check_groff(found, root, pages)
    check_links(found, root, pages)
    check_promises(found, root)
    for program, check in (("batchweave", check_commands), ("mount.batchweave", check_mount_options)):
        path = os.path.join(build, "mount-helpers", program)
        if os.path.exists(path):
            check(found, root, path)
        else:
            found.note(path, 1, "is not built")
    return found


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2]).finish()
