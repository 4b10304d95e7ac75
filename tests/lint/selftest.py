# SPDX-License-Identifier: Apache-2.0
"""The checks find what they look for, and let pass what is right."""
import os
import tempfile
import unittest

import commands
import events
import headers
import installed
import layers
import links
import promises
import source
import surface
import tree

SPDX = "/* SPDX-License-Identifier: Apache-2.0 */\n"


class Lint(unittest.TestCase):
    def wrong(self, check, files):
        with tempfile.TemporaryDirectory() as root:
            for path, text in files.items():
                os.makedirs(os.path.join(root, os.path.dirname(path)), exist_ok=True)
                with open(os.path.join(root, path), "w", encoding="utf-8") as f:
                    f.write(text)
            return check(root).wrong

    def test_layers(self):
        headers = {"store/a.h": "", "fs/b.h": "", "fs/fuse_c.h": "", "store/base/d.h": ""}
        good = {
            "fs/x.c": '#include "store/a.h"\n/* #include "fs/nothing.h" */\n#include <errno.h>\n',
            "fs/fuse_x.c": '#include "fs/fuse_c.h"\n#include <fuse_lowlevel.h>\n',
            "store/base/hash.c": "#include <xxhash.h>\n",
            "manifest/x.c": "#include <zstd.h>\n",
        }
        self.assertEqual(self.wrong(layers.check, {**headers, **good}), [])
        bad = {
            "store/x.c": '#include "fs/b.h"\n',
            "store/base/x.c": '#include "store/a.h"\n',
            "fs/y.c": '#include "fs/fuse_c.h"\n',
            "fs/z.c": "#include <fuse3/fuse.h>\n",
            "manifest/y.c": "#include <xxhash.h>\n",
            "mount-helpers/x.c": "#include <zstd.h>\n",
            "mount-helpers/y.c": '#include "b.h"\n',
            "mount-helpers/z.c": '#include "fs/missing.h"\n',
            "elsewhere/x.c": "",
        }
        for path, text in bad.items():
            wrong = self.wrong(layers.check, {**headers, path: text})
            self.assertEqual(len(wrong), 1, (path, wrong))

    def test_source(self):
        good = SPDX + '/* strcpy(a, b) in words */\nint x;\nconst char *t = "gets(";\n'
        self.assertEqual(self.wrong(source.check, {"store/x.c": good}), [])
        body = "int f(void)\n{\n" + "\tf();\n" * 100 + "}\n"
        bad = [
            "int x;\n",
            SPDX + "\tstrcpy(a, b);\n",
            SPDX + "\tn = atoi (text);\n",
            SPDX + "/* TO" + "DO: later */\n",
            SPDX + "/* see /ho" + "me/me/notes */\n",
            SPDX + "\tbw_auto_buf struct bw_buf b;\n",
            SPDX + "int x; \n",
            SPDX + "int x;\r\n",
            SPDX + "int x;",
            SPDX + body,
            SPDX + "int x;\n" * 900,
        ]
        for text in bad:
            wrong = self.wrong(source.check, {"store/x.c": text})
            self.assertTrue(wrong, text[:80])

    def test_headers(self):
        def check(root):
            return headers.main(root, "cc", [])

        good = {"store/a.h": "#ifndef A\n#define A\n#include <stdint.h>\nuint8_t f(void);\n#endif\n"}
        self.assertEqual(self.wrong(check, good), [])
        self.assertEqual(len(self.wrong(check, {"store/a.h": "uint8_t f(void);\n"})), 1)
        self.assertEqual(len(self.wrong(check, {"store/a.h": "enum a { B };\n"})), 1)

    def test_promises(self):
        text = "".join(f"- **{p}** Not in this release.\n" for p in promises.PROMISES)
        test = {"tests/unit/test_a.c": "/* V1 */\nTest(a, proves)\n",
                "tests/mount/test_b.py": "    def test_v2(self):  # V2\n"}

        def wrong(replace, by):
            self.assertIn(replace, text)
            files = {**test, "docs/semantics.md": text.replace(replace, by)}
            return self.wrong(promises.check, files)

        v1, v2 = "**V1** Not in this release.", "**V2** Not in this release."
        self.assertEqual(wrong(v1, "**V1** all\n  (`tests/unit/test_a.c::a.proves`)"), [])
        self.assertEqual(wrong(v2, "**V2** dense `tests/mount/test_b.py::B.test_v2`"), [])
        self.assertEqual(wrong(v2, "**V2** dense `tests/mount/test_b.py`"), [])
        for by in ("**V1** says nothing", "**V1** `tests/unit/test_none.c`", "gone",
                   "**V1** `tests/unit/test_a.c::a.other`", "**V1** `tests/mount/test_b.py`"):
            self.assertTrue(wrong(v1, by), by)

    def test_links(self):
        good = {"docs/a.md": "# One two's `x`\n[b](b.md#a) [here](#one-twos-x) [out](https://x.org/#y)\n```sh\n[c](c.md)\n```\n",
                "docs/b.md": "## A\n"}
        self.assertEqual(self.wrong(links.check, good), [])
        for text in ("[b](c.md)\n", "[b](b.md#none)\n", "[b](#none)\n", "[two\nlines](c.md)\n"):
            self.assertEqual(len(self.wrong(links.check, {**good, "docs/d.md": text})), 1, text)

    def test_installed(self):
        good = {"doc/README.md": "[a](a.md#b) [out](https://x.org/) ![p](plots/p.svg)\n```sh\n[c](c.md)\n```\n", "doc/a.md": "", "doc/plots/p.svg": ""}
        self.assertEqual(self.wrong(installed.check, good), [])
        for text in ("[b](docs/a.md)\n", "![p](p.svg)\n"):
            self.assertEqual(len(self.wrong(installed.check, {**good, "doc/d.md": text})), 1, text)
        self.assertTrue(self.wrong(installed.check, {"doc/a.md": ""}))

    def test_commands(self):
        help_of = {"batchweave": 'if [ "$1" = help ]; then echo "  init  x"; else echo "  --ranks W"; fi\n',
                   "mount.batchweave": 'echo "  wait=TIME  x"\n'}
        good = "`batchweave init URL --ranks 1`, `mount -t batchweave a b -o wait=1,rw`\n```sh\nbatchweave init x\n```\n"

        def check(root):
            for name, text in help_of.items():
                path = os.path.join(root, name)
                with open(path, "w", encoding="utf-8") as f:
                    f.write("#!/bin/sh\n" + text)
                os.chmod(path, 0o755)
            return commands.check(root, root)

        self.assertEqual(self.wrong(check, {"README.md": good, "docs/a.md": ""}), [])
        for text in ("`batchweave unit`\n", "`init --rank`\n", "```sh\nx; batchweave init \\\n  --rank 2\n```\n",
                     "`-o wait=1,weight=2`\n"):
            self.assertEqual(len(self.wrong(check, {"README.md": good, "docs/a.md": text})), 1, text)

    def test_events(self):
        page = "| event | level | what |\n|---|---|---|\n| `one` | info | x |\n| `two` | info | x |\n| `three` | debug, warn | x |\n"
        code = (SPDX + 'static const char *verb(int x)\n{\n\treturn x ? "one" : "two";\n}\n'
                'void f(void)\n{\n\tbw_log(l, BW_LOG_INFO, verb(1), "%s(,", "a");\n'
                '\tbw_log(l, x ? BW_LOG_WARN : BW_LOG_DEBUG, "three", "");\n}\n')
        files = {events.PAGE: page, "fs/x.c": code}
        self.assertEqual(self.wrong(events.check, files), [])
        for path, old, new in ((events.PAGE, "| `one` | info | x |\n", ""), (events.PAGE, "`two`", "`four`"),
                               (events.PAGE, "debug, warn", "warn"), ("fs/x.c", "verb(1)", "word"),
                               ("fs/x.c", '"three"', '"five"'), ("fs/x.c", "BW_LOG_DEBUG", "BW_LOG_ERROR")):
            self.assertIn(old, files[path])
            self.assertTrue(self.wrong(events.check, {**files, path: files[path].replace(old, new)}), (old, new))

    def test_surface(self):
        test = "tests/mount/test_a.py::test_all"
        rows = {"Files of /status": surface.FILES, "Fields of status.json": surface.FIELDS, "Metrics": surface.METRICS,
                "Errors": ["EIO", "ESTALE"]}
        page = "".join(f"## {heading}\n" + "".join(f"| `{name}` | x | `{test}` |\n" for name in names)
                       for heading, names in rows.items())
        words = " ".join(sum(rows.values(), [])).replace(".", " ")
        files = {surface.PAGE: page, "docs/semantics.md": "EIO or ESTALE, no `TEMPLATE`",
                 "fs/metrics.c": "".join(f'\tone(out, "{name}", 1);\n' for name in surface.METRICS),
                 "tests/mount/test_a.py": f"    def test_all(self):\n        '{words}'\n    def test_b(self):\n        pass\n"}
        self.assertEqual(self.wrong(surface.check, files), [])
        for path, old, new in ((surface.PAGE, "| `EIO` | x", "| `EBUSY` | x"), (surface.PAGE, "| `head_step` | x", "| `head` | x"),
                               (surface.PAGE, f"| `first_step` | x | `{test}` |", "| `first_step` | x | none |"),
                               (surface.PAGE, f"| `ESTALE` | x | `{test}`", f"| `ESTALE` | x | `{test[:-8]}test_b`"),
                               (surface.PAGE, f"| `since` | x | `{test}`", "| `since` | x | `tests/mount/test_z.py`"),
                               ("docs/semantics.md", "EIO", "EXDEV"), ("fs/metrics.c", '"waiters"', '"sleepers"')):
            self.assertIn(old, files[path])
            self.assertTrue(self.wrong(surface.check, {**files, path: files[path].replace(old, new)}), (old, new))

    def test_scripts_are_found_by_their_first_line(self):
        with tempfile.TemporaryDirectory() as root:
            for name, first in {"a": "#!/usr/bin/env bash\n", "b": "#!/bin/sh\n", "c": "x\n"}.items():
                with open(os.path.join(root, name), "w", encoding="utf-8") as f:
                    f.write(first)
            self.assertEqual(tree.scripts(root), ["a", "b"])


if __name__ == "__main__":
    unittest.main()
