# SPDX-License-Identifier: Apache-2.0
"""Runs the blocks of one page as somebody at one terminal would, in a world of its own.

test_docs.py starts it as root in new mount and pid namespaces and gives it a description on stdin.  It makes a
root directory out of the machine's programs and an empty /mnt, /srv and /tmp, installs the
programs of the build in it, changes into it and runs the blocks there; one shell and one Python live as
long as the page.  With BW_DOCS_SYSTEM=DIR the programs are those of the system below DIR, where the package is installed.  Whatever a page leaves behind ends with the namespaces.
"""
import glob
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import apart
import doc_blocks

PROGRAMS = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "var", "opt")
KERNEL = ("dev", "proc", "sys", "run")
OWN = ("mnt", "srv", "tmp")
HOME = "/user"
STAND = HOME + "/batchweave"  # where the reader stands: the sources, as far as pages need them
PATIENCE = 90              # seconds for a block; a net

PYTHON = """
import os, sys, traceback
names = {"__name__": "__main__"}
for path in sys.stdin:
    try:
        with open(path.strip()) as f:
            exec(compile(f.read(), path.strip(), "exec"), names)
        code = 0
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush(), sys.stderr.flush()
    os.write(9, b"%d\\n" % code)
"""


def mount(*args):
    subprocess.run(["mount", *args], check=True)


def bind(source, target):
    os.makedirs(target, exist_ok=True)
    mount("--rbind", source, target)


def make_root(root, system, keep):
    """A root directory with the programs of a system, this machine's or that below a folder, and nothing else that is there."""
    mount("-t", "tmpfs", "-o", "mode=755", "batchweave-docs", root)
    for name in PROGRAMS + KERNEL:
        source = os.path.join("/" if name in KERNEL else system, name)
        if os.path.islink(source):
            os.symlink(os.readlink(source), f"{root}/{name}")
        elif os.path.isdir(source):
            bind(source, f"{root}/{name}")
    for name in OWN:
        os.mkdir(f"{root}/{name}")
    os.chmod(root + "/tmp", 0o1777)
    shutil.copytree(os.path.join(system, "etc"), root + "/etc", symlinks=True, ignore_dangling_symlinks=True)
    for path in keep:
        if not os.path.exists(root + path):
            bind(path, root + path)


def install(root, build):
    """batchweave and mount.batchweave beside the programs of /usr/sbin, where mount(8) looks for them."""
    bind("/usr/sbin", root + "/.sbin")
    mount("-t", "tmpfs", "batchweave-docs", root + "/usr/sbin")
    for name in os.listdir("/usr/sbin"):
        os.symlink("/.sbin/" + name, f"{root}/usr/sbin/{name}")
    for name in ("batchweave", "mount.batchweave"):
        path = f"{root}/usr/sbin/{name}"
        if os.path.lexists(path):
            os.unlink(path)
        os.symlink(os.path.join(build, "mount-helpers", name), path)


class Terminal:
    """A program that is told files to run, one after the other, and says how each ended on descriptor 9."""

    def __init__(self, command, env):
        self.told, told = os.pipe()
        self.proc = subprocess.Popen(
            ["bash", "-c", f'exec 9>&{told}; exec {told}>&-; exec "$@"', "-", *command], pass_fds=[told], env=env,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1)
        os.close(told)
        os.set_blocking(self.told, False)
        self.dead = False

    def run(self, line):
        """What descriptor 9 says of line; None when the program ended, or time is up."""
        self.proc.stdin.write(line + "\n")
        answer, end = b"", time.monotonic() + PATIENCE
        while not answer.endswith(b"\n"):
            try:
                part = os.read(self.told, 1000)
            except BlockingIOError:
                if time.monotonic() > end:
                    return None
                time.sleep(0.005)
                continue
            if not part:
                return None
            answer += part
        return answer.decode().strip()


class Page:
    def __init__(self, env):
        self.env, self.pieces, self.shell, self.python = env, 0, None, None
        os.mkdir("/.pieces")

    def piece(self, text):
        self.pieces += 1
        path = f"/.pieces/{self.pieces}"
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        return path

    def in_shell(self, text, strict):
        """(exit status, or words where there is none, and output) of commands in the page's shell."""
        if self.shell is None:
            self.shell = Terminal(["bash", "--noprofile", "--norc"], self.env)
            self.shell.proc.stdin.write("set -o pipefail\n")
        path = self.piece(text)
        flag = "-e" if strict else "+e"
        # Programs that the block leaves in the background do not have our descriptors.
        said = self.shell.run(f"set {flag}; . {path} >{path}.out 2>&1 </dev/null 9>&-; echo $? >&9")
        code = int(said) if said else None
        if code is None:  # the shell has ended, or time is up
            shell, self.shell = self.shell.proc, None
            try:
                code = f"{shell.wait(1)}, and the shell with it"
            except subprocess.TimeoutExpired:
                shell.kill()
                code = "nothing: time is up"
        with open(path + ".out", encoding="utf-8", errors="replace") as f:
            return code, f.read()

    def in_python(self, text):
        if self.python is None:
            self.python = Terminal(["python3", "-u", "-c", PYTHON], self.env)
        said = self.python.run(self.piece(text))
        if said == "0":
            return 0, ""
        python, self.python = self.python, None
        python.proc.kill()
        return 1, python.proc.stdout.read()

    def console(self, body):
        for command, shown, fails in doc_blocks.commands(body):
            code, printed = self.in_shell(command, strict=False)
            if isinstance(code, str) or bool(code) != fails:
                return f"$ {command}ended with {code}\n{printed}"
            if not doc_blocks.matches(shown, printed):
                return f"$ {command}printed\n{printed}---- and the page shows\n{shown}"
        return ""

    def run(self, block):
        """What is wrong with a block, "" when nothing is."""
        if block.file:
            code, printed = self.in_shell(f"cat {self.piece(block.body)} > {block.file}", strict=True)
        elif block.kind == "console":
            return self.console(block.body)
        elif block.kind == "python":
            code, printed = self.in_python(block.body)
        else:
            code, printed = self.in_shell(block.body, strict=True)
        return "" if code == 0 else f"ended with {code}\n{printed}"


def mounts():
    """Where streams are mounted, the newest first."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as f:
        lines = [line.split() for line in f]
    return [line[4] for line in reversed(lines) if line[line.index("-") + 1].startswith("fuse.batchweave")]


def daemons():
    found = []
    for path in glob.glob("/proc/[0-9]*/comm"):
        try:
            with open(path, encoding="utf-8") as f:
                if f.read().strip() == "mount.batchweav":  # 15 bytes is all a name has
                    found.append(int(path.split("/")[2]))
        except OSError:
            pass
    return found


def leave(terminals):
    """Ends what the page has started, daemons in good order; returns what does not want to end."""
    os.chdir("/")
    for terminal in filter(None, terminals):
        terminal.proc.stdin.close()
    own = {1, os.getpid()}
    for path in glob.glob("/proc/[0-9]*"):
        pid = int(path.split("/")[2])
        if pid not in own and pid not in daemons():
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
    for folder in mounts():
        subprocess.run(["umount", folder], check=False, capture_output=True) .returncode and \
            subprocess.run(["umount", "-l", folder], check=False, capture_output=True)
    end = time.monotonic() + PATIENCE
    while daemons() and time.monotonic() < end:
        time.sleep(0.02)
    return daemons()


def main():
    task = json.load(sys.stdin)
    blocks = doc_blocks.of_page(task["page"], task["text"])
    apart.leave_mounts()
    if task["system"]:  # where they are installed
        make_root(task["root"], task["system"], [task["source"]])
    else:
        make_root(task["root"], "/", [task["source"], task["build"]])
        install(task["root"], task["build"])
    os.chroot(task["root"])
    os.makedirs(STAND)
    for name in ("docs", "mount-helpers", "tests", "README.md"):
        os.symlink(os.path.join(task["source"], name), f"{STAND}/{name}")
    if task["engine"]:  # the gateway that runs already, in the place of one that takes seconds and memory
        with open("/.one-node-s3", "w", encoding="utf-8") as f:
            f.write(f"#!/bin/sh\n[ \"$1\" != start ] || echo 'export {task['engine']}'\n")
        os.chmod("/.one-node-s3", 0o755)
        mount("--bind", "/.one-node-s3", os.path.join(task["source"], "mount-helpers", "one-node-s3"))
    os.chdir(STAND)
    page = Page({**os.environ, **task["env"], "HOME": HOME, "PWD": STAND})
    failed = False
    for block in blocks:
        if not (block.runs() or block.file):
            continue
        begin = time.monotonic()
        wrong = page.run(block)
        print(f"{block.where()}: {'wrong' if wrong else 'right'}, {time.monotonic() - begin:.1f} s")
        if wrong:
            failed = True
            print(f"---- {block.where()}\n{block.body}---- {wrong}")
            if not task["go_on"]:
                break
    if failed:
        for log in glob.glob("/tmp/*.log") + glob.glob("*.log"):
            with open(log, encoding="utf-8", errors="replace") as f:
                print(f"---- {log}", *f.read().split("\n")[-20:], sep="\n")
    left = leave([page.shell, page.python])
    if left:
        print(f"daemons that do not end: {left}")
    sys.stdout.flush()
    os._exit(1 if failed or left else 0)


if __name__ == "__main__":
    main()
