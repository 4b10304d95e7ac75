# SPDX-License-Identifier: Apache-2.0
"""Each header compiles alone, and twice."""
import subprocess
import sys

import tree


def main(root, compiler, flags):
    found = tree.Findings()
    command = [compiler, "-std=gnu11", "-fsyntax-only", "-Wall", "-Wextra", "-Werror",
               "-D_GNU_SOURCE", "-D_FILE_OFFSET_BITS=64", '-DBW_VERSION="lint"', "-I" + root,
               *flags, "-x", "c", "-"]
    for path in tree.files(root, ".h"):
        source = f'#include "{path}"\n#include "{path}"\n'
        done = subprocess.run(command, input=source, text=True, capture_output=True, check=False)
        if done.returncode:
            found.add(path, 1, "does not compile alone:\n" + done.stderr)
    return found


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:]).finish()
