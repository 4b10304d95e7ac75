# SPDX-License-Identifier: Apache-2.0
"""docs/surface.md: every metric, status file, status field and errno, each with a test that exists and names it.

A row is "| `NAME` | ... | `tests/...::test` ... |".  Metrics must be those that fs/metrics.c prints; errnos at least those
of docs/semantics.md. What a mount really prints is compared with the same tables by tests/mount/test_surface.py.
"""
import re
import sys

import promises
import tree

PAGE = "docs/surface.md"
# What scripts and dashboards were promised: never fewer.
METRICS = """head_step first_step lag_steps commits_total commit_seconds commit_attempts commit_window_seconds
    store_requests_total store_request_seconds store_bytes_total read_bytes_total useful_bytes_total waiters wait_seconds
    cache_bytes staging_bytes memory_limit_bytes reclaimed_bytes_total checksum_failures_total build_info""".split()
FILES = "head first status status.json metrics waiting errors".split()
FIELDS = """stream ranks head first sealed version producers producers.NAME.next producers.NAME.epoch producers.NAME.last_step
    producers.NAME.last_commit producers.NAME.pending jobs jobs.NAME.markers jobs.NAME.holds store.url store.ok store.last_error
    memory.limit memory.used since""".split()
ROW = re.compile(r"^\| `([A-Za-z_.]+)` \|.*\|$")
ERRNO = re.compile(r"\bE[A-Z]{3,15}\b")
EVERY = ("tests/mount/test_metrics.py", "test_every_metric_moves")


def tables(text):
    """{heading: [(line, name, row)]}"""
    found, heading = {}, ""
    for number, line in enumerate(text.split("\n"), 1):
        if line.startswith("## "):
            heading = line[3:].strip()
        row = ROW.match(line)
        if row:
            found.setdefault(heading, []).append((number, row.group(1), line))
    return found


def printed(source):
    """Names that fs/metrics.c prints."""
    return set(re.findall(r'\b(?:one|head)\(out, "([a-z0-9_]+)"', source))


def names_it(source, test, word):
    """Whether the test's own body, or for a file the file, has the word."""
    body = re.search(rf"^( *)def {re.escape(test)}\b.*?(?=^\1(?:def|class|@)|\Z)", source, re.MULTILINE | re.DOTALL) if test else None
    return word in (body.group(0) if body else source)


def check_rows(found, root, rows, word_of):
    for line, name, row in rows:
        tests = promises.REFERENCE.findall(row)
        if not promises.check_references(found, root, PAGE, line, row):
            found.add(PAGE, line, f"{name} has no test")
            continue
        word = word_of(name)
        if EVERY in tests:
            tests.remove(EVERY)  # which names none, and sees all
            word = word if tests else None
        if word and not any(names_it(tree.read(root, path), test, word) for path, test in tests):
            found.add(PAGE, line, f"no test of this row says {word}")


def compare(found, what, told, wanted, only):
    for name in sorted(wanted - told):
        found.add(PAGE, 1, f"{what}: {name} is missing")
    for name in sorted(told - wanted if only else ()):
        found.add(PAGE, 1, f"{what}: there is no {name}")


def check(root):
    found = tree.Findings()
    parts = tables(tree.read(root, PAGE))
    told = {heading: {name for _, name, _ in rows} for heading, rows in parts.items()}
    for heading in ("Metrics", "Files of /status", "Fields of status.json", "Errors"):
        if heading not in parts:
            found.add(PAGE, 1, f"has no table {heading}")
            return found
    compare(found, "metrics", told["Metrics"], printed(tree.read(root, "fs/metrics.c")), True)
    compare(found, "metrics", told["Metrics"], set(METRICS), False)
    compare(found, "files", told["Files of /status"], set(FILES), True)
    compare(found, "fields", told["Fields of status.json"], set(FIELDS), False)
    compare(found, "errors", told["Errors"], set(ERRNO.findall(tree.read(root, "docs/semantics.md"))), False)
    check_rows(found, root, parts["Metrics"], lambda name: name)
    check_rows(found, root, parts["Files of /status"], lambda name: None)
    check_rows(found, root, parts["Fields of status.json"], lambda name: name.split(".")[-1])
    check_rows(found, root, parts["Errors"], lambda name: name)
    return found


if __name__ == "__main__":
    check(sys.argv[1]).finish()
