# SPDX-License-Identifier: Apache-2.0
"""Plots without a library: grouped bars and lines, with axes, ticks and labels, as SVG text."""
import html
import math

WIDTH, HEIGHT = 760, 360
LEFT, RIGHT, TOP, BOTTOM = 70, 150, 40, 70
COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb", "#000000")


def ticks_to(top):
    """Round numbers from 0 up to at least top."""
    if top <= 0:
        return [0, 1]
    unit = 10 ** math.floor(math.log10(top))
    step = next(s * unit for s in (0.2, 0.5, 1, 2, 5, 10) if top / (s * unit) <= 6)
    return [i * step for i in range(math.ceil(top / step - 1e-9) + 1)]


def text(x, y, words, anchor="middle", size=12, turn=0):
    turned = f' transform="rotate({turn} {x:.1f} {y:.1f})"' if turn else ""
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}"{turned}>'
            f"{html.escape(words)}</text>")


def line(x1, y1, x2, y2, colour="#444", width=1):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}"/>'


def frame(title, y_label, labels, series, top):
    """(elements, x of the middle of each label, y of a value)"""
    ticks = ticks_to(top)
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def y_of(value):
        return TOP + height * (1 - value / ticks[-1])

    xs = [LEFT + width * (i + 0.5) / len(labels) for i in range(len(labels))]
    out = [text(LEFT + width / 2, 22, title, size=15), text(18, TOP + height / 2, y_label, turn=-90)]
    for tick in ticks:
        out += [line(LEFT, y_of(tick), LEFT + width, y_of(tick), "#ddd"), text(LEFT - 6, y_of(tick) + 4, f"{tick:g}", "end")]
    out += [line(LEFT, TOP, LEFT, TOP + height), line(LEFT, TOP + height, LEFT + width, TOP + height)]
    out += [text(x, TOP + height + 18 + 14 * (i % 2 if len(labels) > 5 else 0), label, size=11)
            for i, (x, label) in enumerate(zip(xs, labels))]
    for i, name in enumerate(series):
        y = TOP + 10 + 18 * i
        out += [f'<rect x="{WIDTH - RIGHT + 14}" y="{y - 9}" width="11" height="11" fill="{COLOURS[i % len(COLOURS)]}"/>',
                text(WIDTH - RIGHT + 30, y, name, "start")]
    return out, xs, y_of, width / len(labels)


def document(elements):
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">\n'
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>\n' + "\n".join(elements) + "\n</svg>\n")


def plot(title, y_label, labels, series, lines=False):
    """series: {name: [(median, min, max) or None for each label]}"""
    highest = max((v[2] for values in series.values() for v in values if v), default=1)
    out, xs, y_of, room = frame(title, y_label, labels, series, highest)
    for at, (_, values) in enumerate(series.items()):
        colour = COLOURS[at % len(COLOURS)]
        bar = room * 0.8 / len(series)
        points = []
        for x, value in zip(xs, values):
            if not value:
                continue
            middle = x if lines else x - room * 0.4 + bar * (at + 0.5)
            points.append((middle, y_of(value[0])))
            if lines:
                out.append(f'<circle cx="{middle:.1f}" cy="{y_of(value[0]):.1f}" r="3" fill="{colour}"/>')
            else:
                out.append(f'<rect x="{middle - bar * 0.45:.1f}" y="{y_of(value[0]):.1f}" width="{bar * 0.9:.1f}" '
                           f'height="{y_of(0) - y_of(value[0]):.1f}" fill="{colour}"/>')
            out.append(line(middle, y_of(value[1]), middle, y_of(value[2]), "#222"))
        if lines:
            out += [line(*a, *b, colour, 2) for a, b in zip(points, points[1:])]
    return document(out)
