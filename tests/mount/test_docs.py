# SPDX-License-Identifier: Apache-2.0
# ctest: 60-s
"""Every command that the documentation shows works, and prints what is shown.

Each page is run from its first block to its last in a world of its own (doc_world.py); what the fences
mean is told in doc_blocks.py.  Pages that use a bucket run where streams are on S3, all others on file://.
"""
import json
import os
import re
import subprocess
import sys
import unittest

import bw
import doc_blocks
import objects
import s3

SOURCE = os.path.realpath(os.path.join(bw.HERE, "..", ".."))
WORLD = os.path.join(bw.HERE, "doc_world.py")


def pages():
    found = ["README.md"]
    for folder, _, names in os.walk(os.path.join(SOURCE, "docs")):
        found += [os.path.relpath(os.path.join(folder, n), SOURCE) for n in names
                  if re.search(r"\.(md|[1578])$", n)]
    return sorted(found)


def blocks_of(page):
    return doc_blocks.of_page(page, bw.read(os.path.join(SOURCE, page)))


def needs_s3(blocks):
    return any(re.search(r"s3://|one-node-s3", b.body) for b in blocks if b.runs())


def buckets(blocks):
    """{bucket: prefixes below it that the blocks name}"""
    found = {}
    for block in blocks:
        for name, prefix in re.findall(r"s3://([a-z0-9.-]+)/([A-Za-z0-9_.-]+)", block.body if block.runs() else ""):
            found.setdefault(name, set()).add(prefix)
    return found


def empty(bucket_name, prefixes):
    bucket = s3.Bucket(bucket_name)
    try:
        bucket.request("PUT")
        for prefix in prefixes:
            for key in bucket.list(prefix + "/"):
                bucket.delete(key)
    finally:
        bucket.close()


class Docs(bw.TestCase):
    limit = 400

    def test_fences_say_what_they_are(self):
        for page in pages():
            if page.endswith(".md"):
                self.assertEqual(doc_blocks.hidden_commands(bw.read(os.path.join(SOURCE, page))), [], page)
            for block in blocks_of(page):
                self.assertFalse(block.fault, f"{block.where()}: the block {block.fault} (tests/mount/doc_blocks.py)")
                if block.kind == "json":
                    json.loads(block.body)

    def run_page(self, page):
        blocks = blocks_of(page)
        engine = ""
        if objects.ON_S3:
            engine = " ".join(f"{k}={v}" for k, v in os.environ.items() if k.startswith("AWS_"))
            for name, prefixes in buckets(blocks).items():
                empty(name, prefixes)
                self.addCleanup(empty, name, prefixes)
        done = self.run_text(page, bw.read(os.path.join(SOURCE, page)), engine)
        print(done.stdout, file=sys.stderr)
        self.assertEqual(done.returncode, 0, f"{page}\n{done.stdout}\n{done.stderr}")

    def run_text(self, page, text, engine="", go_on=bool(os.environ.get("BW_DOCS_GO_ON"))):
        self.needs_root()
        task = {"page": page, "text": text, "source": SOURCE, "build": os.path.realpath(bw.BUILD), "root": self.folder("root"),
                "system": os.environ.get("BW_DOCS_SYSTEM"), "engine": engine, "go_on": go_on, "env": {"LC_ALL": "C.UTF-8", "TERM": "dumb", "TZ": "UTC"}}
        # The shell reaps what is left without a parent.
        done = subprocess.run(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private",
             "bash", "-c", '"$0" "$1"; exit $?', sys.executable, WORLD],
            input=json.dumps(task), text=True, capture_output=True, check=False, timeout=self.limit - 20)
        return done

    def test_what_is_wrong_is_found(self):
        right = ["```sh\ntrue; cd /tmp; x=1\n```\n", "```console\n$ pwd; echo $x\n/tmp\n1\n```\n", "```python\ny = 1\n```\n",
                 "```python\nassert y\n```\n", "```console\n$ false # fails\n```\n", "```ini file=z\nz\n```\n",
                 "```console\n$ cat z\nz\n```\n"]
        wrong = ["```sh\nfalse\ntrue\n```\n", "```sh\nfalse | true\n```\n", "```sh\nexit 0\n```\n",
                 "```console\n$ echo a\nb\n```\n", "```console\n$ echo a\n```\n", "```console\n$ false\n```\n",
                 "```console\n$ true # fails\n```\n", "```python\nassert False\n```\n", "<!-- run\nfalse\n-->\n"]
        done = self.run_text("p.md", "".join(right + wrong), go_on=True)
        said = re.findall(r"^p.md:\d+: (right|wrong),", done.stdout, re.MULTILINE)
        self.assertEqual(said, ["right"] * len(right) + ["wrong"] * len(wrong), done.stdout + done.stderr)
        self.assertEqual(done.returncode, 1)


def add_tests():
    for page in pages():
        blocks = blocks_of(page)
        if any(b.runs() for b in blocks) and needs_s3(blocks) == objects.ON_S3:
            name = "test_" + re.sub(r"\W", "_", page)
            setattr(Docs, name, lambda self, page=page: self.run_page(page))


class Blocks(unittest.TestCase):
    """The parser finds what it should, so that nothing is left out in silence."""

    def test_markdown(self):
        text = ("x\n```sh\na\nb\n```\n<!-- run\nc\n-->\n```python no-run: needs a cluster\nd\n```\n"
                "```ini file=/etc/x\ne\n```\n1. y\n   ```text\n   f\n   ```\n```\ng\n```\n```sh no-run:\nh\n```\n")
        found = doc_blocks.of_markdown("p.md", text)
        self.assertEqual([(b.kind, b.body, b.line) for b in found],
                         [("sh", "a\nb\n", 2), ("sh", "c\n", 6), ("python", "d\n", 9), ("ini", "e\n", 12),
                          ("text", "f\n", 16), ("", "g\n", 19), ("sh", "h\n", 22)])
        self.assertEqual([b.runs() for b in found], [True, True, False, False, False, False, False])
        self.assertEqual([bool(b.fault) for b in found], [False] * 5 + [True, True])
        self.assertEqual((found[2].why, found[3].file), ("needs a cluster", "/etc/x"))

    def test_commands_are_not_hidden(self):
        for body in ("batchweave init x\n", "$ ls\n", "a\n  mount -t batchweave x y\n"):
            self.assertTrue(doc_blocks.of_markdown("p.md", f"```text\n{body}```\n")[0].fault, body)
        self.assertFalse(doc_blocks.of_markdown("p.md", "```text\nmounts of streams\nbatchweave: x\n```\n")[0].fault)
        self.assertEqual(doc_blocks.hidden_commands("    batchweave gc x\n\tmkdir x\n    words\n"),
                         ["    batchweave gc x", "\tmkdir x"])

    def test_man(self):
        text = (".Sh A\n.Bd -literal\nno\n.Ed\n.Sh EXAMPLES\n.\\\" run: a\n.Bd -literal -offset indent\nb\nc\n.Ed\n"
                ".\\\" no-run: not here\n.Bd -literal\nd\n.Ed\n.Bd -literal\ne \\e\n.Ed\n")
        self.assertEqual([(b.body, b.why) for b in doc_blocks.of_man("p.1", text)],
                         [("a\n", None), ("b\nc\n", None), ("d\n", "not here"), ("e \\\n", None)])

    def test_console(self):
        self.assertEqual(doc_blocks.commands("$ a\nx\n$ b \\\n> c  # fails: no\n"),
                         [("a\n", "x\n", False), ("b \\\nc  # fails: no\n", "", True)])
        self.assertTrue(doc_blocks.matches("a ... c\n...\nd\n", "a b c\n1\n2\nd\n"))
        self.assertTrue(doc_blocks.matches("", ""))
        self.assertTrue(doc_blocks.matches("a\n", "a\n\n"))
        for shown, printed in (("a\n", "b\n"), ("", "a\n"), ("a\n", ""), ("a\n...\nb\n", "a\n"), ("a.c\n", "abc\n")):
            self.assertFalse(doc_blocks.matches(shown, printed), (shown, printed))


def left_out():
    return [f"{b.where()}: {b.why}" for page in pages() for b in blocks_of(page) if b.why is not None]


add_tests()

if __name__ == "__main__":
    print(f"{len(left_out())} blocks are not run:", *left_out(), sep="\n  ", flush=True)
    bw.main()
