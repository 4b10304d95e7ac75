# SPDX-License-Identifier: Apache-2.0
"""The Prometheus text format, read strictly: what a page of metrics may not do is an error, not a value."""
import math
import re

SAMPLE = re.compile(r'([a-z_][a-z0-9_]*)(?:\{([^{}]*)\})? (-?[0-9][0-9.e+-]*|\+Inf|NaN)')
LABEL = re.compile(r'([a-z_][a-z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)')
TYPES = ("counter", "gauge", "histogram", "summary")
ENDS = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("_sum", "_count"), "counter": ("",), "gauge": ("",)}


class Family:
    def __init__(self, name, text):
        self.name, self.help, self.type = name, text, None
        self.samples = {}  # (name, labels as a sorted tuple): value

    def values(self):
        return list(self.samples.values())

    def label_names(self):
        return {k for _, labels in self.samples for k, _ in labels}

    def check(self):
        """What promises a type makes beyond its form."""
        if self.type is None:
            raise ValueError(f"{self.name} has no TYPE")
        if (self.type == "counter") != self.name.endswith("_total"):
            raise ValueError(f"{self.name} is a {self.type}")
        for (name, labels), value in self.samples.items():
            if math.isnan(value) or math.isinf(value):
                raise ValueError(f"{name}{labels} is {value}")
            if value < 0 and self.type != "gauge":
                raise ValueError(f"{name}{labels} is below zero")
        if self.type == "histogram":
            self.check_histogram()

    def check_histogram(self):
        series = {}
        for (name, labels), value in self.samples.items():
            if name.endswith("_bucket"):
                le = dict(labels)["le"]
                rest = tuple(x for x in labels if x[0] != "le")
                series.setdefault(rest, []).append((float(le), value))
        for rest, buckets in series.items():
            bounds, counts = zip(*buckets)
            if list(bounds) != sorted(set(bounds)) or bounds[-1] != math.inf or list(counts) != sorted(counts):
                raise ValueError(f"buckets of {self.name}{rest}: {buckets}")
            if counts[-1] != self.samples[self.name + "_count", rest]:
                raise ValueError(f"{self.name}{rest}: count is not the last bucket")
            if (self.name + "_sum", rest) not in self.samples:
                raise ValueError(f"{self.name}{rest} has no sum")
        if len(series) != sum(name.endswith("_count") for name, _ in self.samples):
            raise ValueError(f"{self.name}: a count without buckets")


def parse(text):
    """{name: Family}; ValueError on any fault of form, of order, or of what a type promises."""
    if not text.endswith("\n") or "\r" in text:
        raise ValueError("no text of lines")
    families, family = {}, None
    for line in text.split("\n")[:-1]:
        comment = re.fullmatch(r"# (HELP|TYPE) ([a-z_][a-z0-9_]*) (\S.*)", line)
        if comment:
            what, name, rest = comment.groups()
            if what == "HELP":
                if name in families or rest[-1] not in ".:" and not rest[-1].isalnum() and rest[-1] != ")":
                    raise ValueError(f"two HELP lines, or a bad one: {line}")
                family = families[name] = Family(name, rest)
            elif not family or family.name != name or family.type or rest not in TYPES:
                raise ValueError(f"bad TYPE line: {line}")
            else:
                family.type = rest
            continue
        sample = SAMPLE.fullmatch(line)
        if not sample or not family or not family.type:
            raise ValueError(f"not a sample of a family: {line!r}")
        name, labels, value = sample.groups()
        if name not in [family.name + end for end in ENDS[family.type]]:
            raise ValueError(f"{name} does not stand below its TYPE line")
        pairs = LABEL.findall(labels or "")
        if ",".join(f'{k}="{v}"' for k, v in pairs) != (labels or "") or labels == "" or \
                len({k for k, _ in pairs}) != len(pairs):
            raise ValueError(f"bad labels: {line!r}")
        key = name, tuple(sorted(pairs))
        if key in family.samples:
            raise ValueError(f"told twice: {line!r}")
        family.samples[key] = float(value)
    for family in families.values():
        family.check()
    return families
