# SPDX-License-Identifier: Apache-2.0
"""One report of a run: report.md with a table for each row, plots/GROUP.svg, results.json with every sample."""
import json
import os
import platform
import re
import subprocess

import svg


def show(value, digits):
    return "-" if value is None else f"{value:.{digits}f}"


def spread(result, contestant, metric):
    values = result.values(contestant, metric.key)
    if not values:
        return "-"
    median = show(result.median(contestant, metric.key), metric.digits)
    if len(values) == 1:
        return median
    return f"{median} ({show(min(values), metric.digits)}-{show(max(values), metric.digits)})"


def verdict(result, metric, goal):
    value, enough = result.judge(metric, goal)
    if value is None:
        return "-"
    return "reached" if enough else "**not reached**"


def goal_cells(result, metric, contestant):
    """Text of the two columns; several goals stand below each other."""
    goals = [g for g in metric.goals if g.contestant == contestant]
    if not goals:
        return "-", "-"
    return ("<br>".join(g.text(result.row) for g in goals), "<br>".join(verdict(result, metric, g) for g in goals))


def table(result, metric, beside):
    row = result.row
    ratio = f"x {row.reference}" if row.reference else "ratio"
    yield "| | " + " | ".join([f"{metric.title} (min-max)", ratio, "goal", ""] + [m.title for m in beside]) + " |"
    yield "|---|" + "---|" * (4 + len(beside))
    for name in result.samples:
        of = result.ratio(name, row.reference, metric.key) if row.reference else None
        cells = [name, spread(result, name, metric), show(of, 2), *goal_cells(result, metric, name)]
        cells += [show(result.median(name, m.key), m.digits) for m in beside]
        yield "| " + " | ".join(cells) + " |"


def section(result):
    row = result.row
    yield f"### {row.title}"
    yield ""
    rounds = max((len(s) for s in result.samples.values()), default=0)
    yield f"`{row.name}`, {rounds} round{'s' if rounds != 1 else ''}, {result.seconds:.0f} s." + (f" {row.note}" if row.note else "")
    if result.left_out:
        yield f"Left out, because it is not installed: {', '.join(result.left_out)}."
    if result.failure:
        yield ""
        yield f"**failed**: {result.failure}"
    if any(result.samples.values()):
        beside = [m for m in row.metrics if not m.ratio]
        for metric in (m for m in row.metrics if m.ratio):
            yield ""
            yield from table(result, metric, beside)
            beside = []
    yield ""


def goals(results):
    """All that is judged, on one page."""
    yield "## Goals"
    yield ""
    yield "| row | metric | | goal | seen | |"
    yield "|---|---|---|---|---|---|"
    for result in results:
        for metric in result.row.metrics:
            for goal in metric.goals:
                if goal.contestant not in result.samples:
                    continue
                value, _ = result.judge(metric, goal)
                yield (f"| {result.row.name} | {metric.title} | {goal.contestant} | {goal.text(result.row)} | "
                       f"{show(value, 2)} | {'failed' if result.failure else verdict(result, metric, goal)} |")
    yield ""


def read(path):
    try:
        with open(path, encoding="utf-8") as f:
            return f.read().strip()
    except OSError:
        return ""


def first_line(*command):
    try:
        out = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False).stdout
    except OSError:
        return ""
    return out.strip().split("\n")[0]


def machine():
    cpu = re.search(r"model name\s*: (.*)", read("/proc/cpuinfo"))
    memory = re.search(r"MemTotal:\s*(\d+)", read("/proc/meminfo"))
    system = re.search(r'PRETTY_NAME="(.*)"', read("/etc/os-release"))
    return [("processors", f"{os.cpu_count()} x {cpu.group(1) if cpu else platform.machine()}"),
            ("memory", f"{int(memory.group(1)) >> 20} GiB" if memory else "?"),
            ("system", f"{system.group(1) if system else '?'}, Linux {platform.release()}"),
            ("libfuse", first_line("fusermount3", "--version")),
            ("s3fs, rclone", ", ".join(filter(None, (first_line("s3fs", "--version"), first_line("rclone", "--version")))) or "-")]


def plots(results, folder):
    """{group: file}"""
    made, groups = {}, {}
    for result in results:
        if result.row.x and not result.failure:
            groups.setdefault(result.row.group, []).append(result)
    os.makedirs(folder, exist_ok=True)
    for group, mine in groups.items():
        metric = mine[0].row.metrics[0]
        names = list(dict.fromkeys(n for r in mine for n in r.samples))
        series = {}
        for name in names:
            values = [(r, r.values(name, metric.key)) for r in mine]
            series[name] = [(r.median(name, metric.key), min(v), max(v)) if v else None for r, v in values]
        with open(os.path.join(folder, group + ".svg"), "w", encoding="utf-8") as f:
            f.write(svg.plot(group, metric.title, [r.row.x for r in mine], series, mine[0].row.lines))
        made[group] = group + ".svg"
    return made


def write(results, facts, folder):
    """facts: [(name, value)] about the run.  Returns the path of the report."""
    first = {}
    for result in results:  # a group stands together, however its rows were run
        first.setdefault(result.row.group, len(first))
    results = sorted(results, key=lambda r: first[r.row.group])
    os.makedirs(folder, exist_ok=True)
    drawn = plots(results, os.path.join(folder, "plots"))
    lines = ["# Benchmarks, one run", "",
             "Medians over interleaved rounds. A ratio is the median of the ratios within a round; quote those.", "",
             "| | |", "|---|---|"] + [f"| {k} | {v} |" for k, v in facts + machine()] + [""]
    failed = [r for r in results if r.failure]
    if failed:
        lines += [f"**{len(failed)} of {len(results)} rows failed:** " + ", ".join(r.row.name for r in failed), ""]
    lines += goals(results)
    group = None
    for result in results:
        if result.row.group != group:
            group = result.row.group
            lines += [f"## {group}", ""]
            if group in drawn:
                lines += [f"![{group}](plots/{drawn[group]})", ""]
        lines += section(result)
    path = os.path.join(folder, "report.md")
    with open(path, "w", encoding="utf-8") as f:
        f.write("\n".join(lines))
    with open(os.path.join(folder, "results.json"), "w", encoding="utf-8") as f:
        json.dump({"facts": dict(facts), "rows": [
            {"name": r.row.name, "failure": r.failure, "seconds": r.seconds, "samples": r.samples} for r in results]}, f, indent=1)
    return path
