# SPDX-License-Identifier: Apache-2.0
"""shellcheck over every shell script."""
import subprocess
import sys

import tree


def main(root):
    scripts = tree.scripts(root)
    if not scripts:
        sys.exit("found no script: the search is broken")
    print("\n".join(scripts))
    sys.exit(subprocess.run(["shellcheck", "-x", *scripts], cwd=root, check=False).returncode)


if __name__ == "__main__":
    main(sys.argv[1])
