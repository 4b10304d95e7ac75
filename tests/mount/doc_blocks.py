# SPDX-License-Identifier: Apache-2.0
"""The fenced blocks of a page, and what the words behind their fence ask for.

    ```sh                  runs in the page's shell; every command must succeed
    ```console             commands behind "$ " (continued behind "> ") and what they print: "..." stands for
                           any part of a line, a line "..." for any lines; a command whose comment
                           says "fails" must fail, any other must succeed
    ```python              runs in the page's Python
    ```KIND file=NAME      is written to NAME
    ```KIND no-run: why    is not run; only sh, console and python need a reason
    ```text                and json, yaml, ini, c ...: only shown

A comment that begins with "run" holds commands that readers do not need, such as those that make the files
that the page takes for granted.  In manual pages the literal displays of EXAMPLES are sh, and comments say
"run: COMMAND" or "no-run: why", the latter of the next display.
"""
import re

RUN = ("sh", "console", "python")
COMMAND = re.compile(r"^[ \t]*(\$ |(sudo )?(batchweave|u?mount|mount\.batchweave|fusermount3|mkdir|systemctl|journalctl|docker|podman|kubectl|sbatch|srun|apt-get|cmake|ctest|tests/run|mount-helpers/\S+) )",
                     re.MULTILINE)
SHOWN = ("text", "json", "yaml", "ini", "c", "diff", "make", "toml", "promql")
FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^`\n]*)\n(?P<body>.*?)^(?P=indent)```[ \t]*$|^<!-- run\n(?P<hidden>.*?)^-->[ \t]*$",
                   re.MULTILINE | re.DOTALL)
MAN = re.compile(r'^\.\\" run: (?P<hidden>.*)$|^\.\\" no-run: (?P<why>.*)$|^\.Bd -literal.*\n(?P<body>(?:.*\n)*?)\.Ed$',
                 re.MULTILINE)


class Block:
    def __init__(self, page, line, kind, body, hidden=False):
        self.page, self.line, self.kind, self.body, self.hidden = page, line, kind, body, hidden
        self.why = None   # it does not run
        self.file = None  # its name
        self.fault = None

    def runs(self):
        return self.kind in RUN and self.why is None and self.file is None and not self.fault

    def where(self):
        return f"{self.page}:{self.line}"


def read_info(block, info):
    words, _, why = info.partition("no-run:")
    block.why = why.strip() if "no-run:" in info else None
    words = words.split()
    block.kind = words[0] if words else ""
    for word in words[1:]:
        if word.startswith("file="):
            block.file = word[5:]
        else:
            block.fault = f"does not understand '{word}'"
    if block.kind not in RUN + SHOWN:
        block.fault = f"says '{block.kind}', not one of " + ", ".join(RUN + SHOWN)
    if block.kind in ("text", "") and COMMAND.search(block.body):
        block.fault = "holds commands and is none of " + ", ".join(RUN)
    if block.why is not None and len(block.why) < 5:
        block.fault = "no-run without a reason"


def of_markdown(page, text):
    found = []
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        if match["hidden"] is not None:
            found.append(Block(page, line, "sh", match["hidden"], hidden=True))
            continue
        indent = len(match["indent"])
        body = "".join(part[indent:] if part[:indent].isspace() else part
                       for part in match["body"].splitlines(keepends=True))
        found.append(Block(page, line, "", body))
        read_info(found[-1], match["info"])
    return found


def hidden_commands(text):
    """Lines of commands outside of fences, where they would be neither run nor counted."""
    outside = FENCE.sub("", text)
    return [line for line in re.findall(r"^(?: {4}|\t)[^\n]*", outside, re.MULTILINE) if COMMAND.match(line)]


def of_man(page, text):
    found, why = [], None
    start = text.find(".Sh EXAMPLES")
    for match in MAN.finditer(text, max(start, 0)) if start >= 0 else ():
        line = text.count("\n", 0, match.start()) + 1
        if match["why"] is not None:
            why = match["why"]
        elif match["hidden"] is not None:
            found.append(Block(page, line, "sh", match["hidden"] + "\n", hidden=True))
        else:
            body = match["body"].replace("\\e", "\\").replace("\\(aq", "'").replace("\\&", "")
            found.append(Block(page, line, "sh", body))
            found[-1].why, why = why, None
    return found


def of_page(page, text):
    return of_markdown(page, text) if page.endswith(".md") else of_man(page, text)


def commands(body):
    """[(command, output, fails)] of a console block."""
    found = []
    for line in body.splitlines():
        if line.startswith("$ "):
            found.append([line[2:] + "\n", ""])
        elif line.startswith("> ") and found and not found[-1][1]:
            found[-1][0] += line[2:] + "\n"
        elif found:
            found[-1][1] += line + "\n"
        else:
            raise ValueError(f"no command before {line!r}")
    return [(command, output, bool(re.search(r"#.*\bfails\b", command))) for command, output in found]


def matches(shown, printed):
    """Whether printed is what the page shows."""
    lines = [line.rstrip() for line in shown.rstrip("\n").split("\n")] if shown.strip() else []
    pattern = "".join(
        r"(?:.*\n)*" if line == "..." else ".*".join(map(re.escape, line.split("..."))) + r"[ \t]*\n"
        for line in lines)
    printed = printed.rstrip("\n")
    return re.fullmatch(pattern, printed + "\n" if printed else "") is not None
