# SPDX-License-Identifier: Apache-2.0
"""systemd-analyze verify over the units, with the programs of the build tree in the place of the installed ones."""
import os
import re
import subprocess
import sys
import tempfile

import tree

# What would give the service a file system namespace of its own, in which nobody else sees the mount.
NAMESPACED = re.compile(
    r"^(Private(Tmp|Devices|Mounts)|Protect(System|Home|Proc|KernelTunables|KernelModules|KernelLogs|ControlGroups"
    r"|Hostname)|ProcSubset|(ReadOnly|ReadWrite|Inaccessible|Exec|NoExec)Paths|(Temporary|Bind|BindReadOnly)\w*Paths?"
    r"|TemporaryFileSystem|Root(Directory|Image)|DynamicUser|MountFlags|MountAPIVFS|(Cache|State|Logs)Directory)=(?!no)",
    re.MULTILINE)


def main(root, build):
    found = tree.Findings()
    units = [p for p in tree.files(root, ".service", ".mount", ".automount", ".timer")]
    if not units:
        sys.exit("found no unit: the search is broken")
    for unit in units:
        text = tree.read(root, unit)
        for match in NAMESPACED.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            found.add(unit, line, f"{match.group(0)} hides the mount from everybody else")
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, os.path.basename(unit).replace("@", "@test"))
            programs = os.path.abspath(os.path.join(build, "mount-helpers"))
            text = re.sub(r"^(ExecStart=)mount", rf"\1{programs}/mount", text, flags=re.MULTILINE)
            with open(path, "w", encoding="utf-8") as f:
                f.write(text)
            done = subprocess.run(["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", path],
                                  text=True, capture_output=True, check=False)
            if done.returncode or done.stderr:
                found.add(unit, 1, "systemd-analyze says:\n" + done.stdout + done.stderr)
    return found


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2]).finish()
