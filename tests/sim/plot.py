#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tables and plots of docs/dac.md from the CSV of sim_load and sim_history.

  plot.py DIR    reads DIR/*.csv, writes DIR/*.svg and prints the tables as Markdown
"""
import csv
import math
import sys
from pathlib import Path

TITLES = {
    "dac": "DAC", "each-now": "every batch, retry at once", "each-jitter": "every batch, full jitter",
    "drain-now": "group, retry at once", "drain-jitter": "group, full jitter",
    "fixed-5s": "group, every 5 s", "lance": "group, Lance's slots", "iceberg": "group, Iceberg's retries"}
COLOURS = {
    "dac": "#c1121f", "each-now": "#6c757d", "each-jitter": "#adb5bd", "drain-now": "#1d3557",
    "drain-jitter": "#457b9d", "fixed-5s": "#2a9d8f", "lance": "#e9a03b", "iceberg": "#8d5fd3"}
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 420, 70, 210, 40, 50


def read(path):
    with open(path, newline="") as f:
        return list(csv.DictReader(f))


def label(value):
    if value >= 1 and value == int(value):
        return f"{int(value):,}"
    return f"{value:g}"


class Axis:
    """Logarithmic or linear, from data to pixels."""

    def __init__(self, values, log, pixels, least=None):
        values = [v for v in values if not log or v > 0]
        self.log, self.pixels = log, pixels
        low, high = min(values), max(values)
        if least is not None:
            low = least
        if log:
            low, high = 10 ** math.floor(math.log10(low) + 1e-9), 10 ** math.ceil(math.log10(high) - 1e-9)
            high = high if high > low else low * 10
        else:
            step = 10 ** math.floor(math.log10(max(high - low, 1e-9)))
            high = math.ceil(high / step) * step
        self.low, self.high = low, high

    def at(self, v):
        low, high = self.low, self.high
        if self.log:
            v, low, high = math.log10(max(v, low)), math.log10(low), math.log10(high)
        a, b = self.pixels
        return a + (b - a) * (v - low) / (high - low)

    def ticks(self):
        if self.log:
            return [10.0 ** k for k in range(round(math.log10(self.low)), round(math.log10(self.high)) + 1)]
        return [self.low + (self.high - self.low) * k / 5 for k in range(6)]


def plot(path, title, x_title, y_title, lines, y_log=True, x_ticks=None, least=None):
    """lines: [(name, colour, [(x, y)], dashed)]"""
    xs = [x for _, _, points, _ in lines for x, _ in points]
    ys = [y for _, _, points, _ in lines for _, y in points]
    x = Axis(xs, True, (LEFT, WIDTH - RIGHT))
    if x_ticks:
        x.low, x.high = min(xs) * 0.85, max(xs) * 1.15
    y = Axis(ys, y_log, (HEIGHT - BOTTOM, TOP), least)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
           f'font-family="sans-serif" font-size="12">',
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
           f'<text x="{LEFT}" y="22" font-size="15">{title}</text>']
    for t in y.ticks():
        out.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y.at(t):.1f}" y2="{y.at(t):.1f}" '
                   f'stroke="#e5e5e5"/><text x="{LEFT - 6}" y="{y.at(t) + 4:.1f}" '
                   f'text-anchor="end">{label(t)}</text>')
    for t in x_ticks or x.ticks():
        out.append(f'<line x1="{x.at(t):.1f}" x2="{x.at(t):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" '
                   f'stroke="#e5e5e5"/><text x="{x.at(t):.1f}" y="{HEIGHT - BOTTOM + 16}" '
                   f'text-anchor="middle">{label(t)}</text>')
    out.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 12}" '
               f'text-anchor="middle">{x_title}</text>')
    out.append(f'<text transform="translate(16 {HEIGHT / 2}) rotate(-90)" '
               f'text-anchor="middle">{y_title}</text>')
    for i, (name, colour, points, dashed) in enumerate(lines):
        points = [(px, py) for px, py in points if py > 0 or not y_log]
        path_text = " ".join(f"{x.at(px):.1f},{y.at(py):.1f}" for px, py in points)
        style = ' stroke-dasharray="5 4"' if dashed else ""
        wide = 3 if name == TITLES["dac"] else 1.6
        out.append(f'<polyline points="{path_text}" fill="none" stroke="{colour}" '
                   f'stroke-width="{wide}"{style}/>')
        for px, py in points:
            out.append(f'<circle cx="{x.at(px):.1f}" cy="{y.at(py):.1f}" r="3" fill="{colour}"/>')
        at = TOP + 14 + 20 * i
        out.append(f'<line x1="{WIDTH - RIGHT + 12}" x2="{WIDTH - RIGHT + 34}" y1="{at}" y2="{at}" '
                   f'stroke="{colour}" stroke-width="{wide}"{style}/>'
                   f'<text x="{WIDTH - RIGHT + 40}" y="{at + 4}">{name}</text>')
    out.append("</svg>\n")
    path.write_text("\n".join(out))


def by_policy(rows, field):
    lines = []
    for policy, title in TITLES.items():
        points = [(int(r["producers"]), float(r[field])) for r in rows if r["policy"] == policy]
        if points:
            lines.append((title, COLOURS[policy], points, False))
    return lines


def seconds(text, unbounded):
    v = float(text)
    if unbounded:
        return "grows"
    return f"{v * 1000:.0f} ms" if v < 1 else f"{v:.1f} s"


def table(rows):
    counts = sorted({int(r["producers"]) for r in rows})
    print("| producers | rule | committed/s | attempts a commit | requests/s | requests a TGB | 503 | "
          "p50 | p99 | Jain |")
    print("|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    for n in counts:
        for r in (r for r in rows if int(r["producers"]) == n):
            behind = float(r["committed"]) < 0.95 * float(r["offered"])
            name = TITLES[r["policy"]]
            print(f'| {n} | {"**DAC**" if r["policy"] == "dac" else name} | '
                  f'{float(r["committed"]):.1f}{" of " + format(float(r["offered"]), ".0f") if behind else ""} | '
                  f'{float(r["attempts"]):.2f} | {float(r["requests"]):,.0f} | '
                  f'{float(r["requests_tgb"]):.3f} | {100 * float(r["throttled"]):.0f} % | '
                  f'{seconds(r["p50"], behind)} | {seconds(r["p99"], behind)} | {float(r["jain"]):.3f} |')
    print()


def loads(out, name, title, plots=True):
    path = out / f"{name}.csv"
    if not path.exists():
        return
    rows = read(path)
    if plots:
        plot_loads(out, name, title, rows)
    print(f"### {title}\n")
    table(rows)


def plot_loads(out, name, title, rows):
    ticks = sorted({int(r["producers"]) for r in rows})
    for field, what, log in (("committed", "committed TGB/s", False), ("attempts", "attempts a commit", True),
                             ("requests_tgb", "requests a committed TGB", True),
                             ("jain", "Jain's index of throughput", False)):
        plot(out / f"{name}-{field}.svg", f"{title}: {what}", "producers", what, by_policy(rows, field), log,
             ticks, None if log else 0)
    lines = []
    for field, dashed in (("p50", False), ("p99", True)):
        for title_, colour, points, _ in by_policy(
                [r for r in rows if float(r["committed"]) >= 0.95 * float(r["offered"])], field):
            lines.append((f"{title_}, {field}", colour, points, dashed))
    plot(out / f"{name}-visible.svg", f"{title}: queued to visible (rules that keep up)", "producers",
         "seconds", lines, True, ticks)


def history(out):
    rows = read(out / "history.csv")
    base = rows[0]
    lines = []
    for field, what, colour in (("requests", "requests a commit", "#1d3557"), ("commit_p50", "commit, p50", "#c1121f"),
                                ("open_requests", "requests of a cold open", "#2a9d8f"),
                                ("open_s", "seconds of a cold open", "#e9a03b"),
                                ("root_bytes", "bytes of a root", "#8d5fd3")):
        lines.append((what, colour, [(int(r["version"]), float(r[field]) / float(base[field])) for r in rows],
                      False))
    plot(out / "history.svg", "Cost along a history, against 1,000 versions", "versions", "relative", lines,
         False, None, 0)
    for name in ("history", "history-1000"):
        print(f"### {name}\n")
        print("| versions | steps | root bytes, mean (most) | node bytes a commit | requests a commit | commit p50 | p99 | "
              "CPU | cold open: requests | seconds | gets for any step |")
        print("|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
        for r in read(out / f"{name}.csv"):
            print(f'| {int(r["version"]):,} | {int(r["steps"]):,} | {float(r["root_bytes"]):,.0f} '
                  f'({float(r["root_bytes_max"]):,.0f}) | {float(r["node_bytes"]):.0f} | {float(r["requests"]):.3f} | '
                  f'{1000 * float(r["commit_p50"]):.1f} ms | {1000 * float(r["commit_p99"]):.0f} ms | '
                  f'{float(r["build_us"]) / 1000:.1f} ms | {float(r["open_requests"]):.1f} | '
                  f'{float(r["open_s"]):.2f} | {float(r["lookup_gets"]):.2f} |')
        print()


def validation(out):
    rows = read(out / "validation.csv")
    print("### The model against the real txn, apply and codec\n")
    print("| producers | engine | commits/s | attempts | requests/s | p50 | p99 | Jain | root bytes |")
    print("|--:|---|--:|--:|--:|--:|--:|--:|--:|")
    for n in sorted({int(r["producers"]) for r in rows}):
        for r in (r for r in rows if int(r["producers"]) == n):
            print(f'| {n} | {r["engine"]} | {float(r["commits"]):.2f} | {float(r["attempts"]):.2f} | '
                  f'{float(r["requests"]):.1f} | {float(r["p50"]):.2f} s | {float(r["p99"]):.1f} s | '
                  f'{float(r["jain"]):.3f} | {float(r["root_bytes"]):,.0f} |')
    print()


def main():
    out = Path(sys.argv[1])
    loads(out, "load-s3-500", "S3 Standard, 500 TGB/s in all")
    loads(out, "load-s3-half", "S3 Standard, 0.5 TGB/s each")
    loads(out, "load-express-500", "S3 Express, 500 TGB/s in all", False)
    loads(out, "load-rgw-500", "RGW, 500 TGB/s in all", False)
    validation(out)
    history(out)


main()
