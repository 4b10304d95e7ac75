# SPDX-License-Identifier: Apache-2.0
"""What a benchmark row is, and how it is run: contestants side by side, in rounds, judged by ratios.

A row is one contest.  Each contestant is a function that is called with what the row's prepare() made and
returns {metric: value}.  In every round each of them runs once, each round beginning with another one, so that
what disturbs the machine disturbs all; a ratio is taken within a round, and the median of the ratios is what a
goal is held against.
"""
import contextlib
import dataclasses
import os
import statistics
import time
import typing

TICKS = os.sysconf("SC_CLK_TCK")


@dataclasses.dataclass
class Goal:
    """contestant at least or at most so many times the reference; with reference=None, so much by itself."""
    contestant: str
    at_least: typing.Optional[float] = None
    at_most: typing.Optional[float] = None
    reference: typing.Optional[str] = ""  # "": the row's

    def text(self, row):
        sign, limit = (">=", self.at_least) if self.at_most is None else ("<=", self.at_most)
        reference = row.reference if self.reference == "" else self.reference
        return f"{sign} {limit:g}" + (f" x {reference}" if reference else "")


@dataclasses.dataclass
class Metric:
    """key: in what contestants return.  Without ratio= it is a column beside the first metric, and not judged."""
    key: str
    title: str
    digits: int = 2
    goals: typing.Sequence[Goal] = ()
    ratio: bool = True


@dataclasses.dataclass
class Row:
    """
    name      what --only and --list call it, "group.shape"
    contestants   {name: function(world) -> {metric: value}}, in the order of the report
    rounds    where five are too many or too few
    prepare   function() -> context manager whose value is the world that contestants get; it is entered once
    optional  {contestant: command that it needs}; a contestant without its command is left out, and that is said
    seconds   about how long a round takes, for the time that is left
    x         the row's place in the plot of its group (else there is none), which shows the first metric;
              lines=True draws lines
    keeps     what it shares with other rows by Bench.keep(), given up after the last of them
    """
    name: str
    title: str
    contestants: dict
    metrics: typing.Sequence[Metric]
    reference: str = ""
    prepare: typing.Callable = lambda: contextlib.nullcontext()
    rounds: typing.Optional[int] = None
    note: str = ""
    optional: dict = dataclasses.field(default_factory=dict)
    seconds: float = 5
    x: str = ""
    lines: bool = False
    keeps: str = ""

    @property
    def group(self):
        return self.name.split(".")[0]


class Result:
    """Of a row: samples[contestant] is a list of {metric: value}, one a round; failure says why there is none."""

    def __init__(self, row):
        self.row, self.samples, self.failure = row, {}, ""
        self.left_out, self.seconds = [], 0.0

    def values(self, contestant, key):
        return [s[key] for s in self.samples.get(contestant, []) if s.get(key) is not None]

    def median(self, contestant, key):
        values = self.values(contestant, key)
        return statistics.median(values) if values else None

    def ratio(self, contestant, reference, key):
        """Median over the rounds of the ratios within a round."""
        pairs = zip(self.samples.get(contestant, []), self.samples.get(reference, []))
        ratios = [a[key] / b[key] for a, b in pairs if a.get(key) is not None and b.get(key)]
        return statistics.median(ratios) if ratios else None

    def judge(self, metric, goal):
        """(what was reached, whether that is enough); (None, None) where nothing was measured."""
        reference = self.row.reference if goal.reference == "" else goal.reference
        if reference:
            value = self.ratio(goal.contestant, reference, metric.key)
        else:
            value = self.median(goal.contestant, metric.key)
        if value is None:
            return None, None
        return value, value >= goal.at_least if goal.at_most is None else value <= goal.at_most


def run_row(row, rounds, left_out=(), say=lambda text: None):
    """Never raises what a row raises: it is the result's failure."""
    result = Result(row)
    result.left_out = list(left_out)
    begin = time.monotonic()
    try:
        with row.prepare() as world:
            contest(row, world, rounds, result, say)
    except KeyboardInterrupt:
        raise
    except BaseException as e:  # SystemExit too: the other rows run on
        result.failure = f"{type(e).__name__}: {e}".strip()
    result.seconds = time.monotonic() - begin
    return result


def contest(row, world, rounds, result, say):
    names = [n for n in row.contestants if n not in result.left_out]
    result.samples = {n: [] for n in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            say(f"round {number + 1}, {name}")
            result.samples[name].append(row.contestants[name](world))


# ---- what contestants measure with --------------------------------------------------------------


def percentile(values, q):
    """q in 0..100; of a few values the nearest one."""
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * q / 100))]


def children_of(pid):
    found = []
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as f:
                for child in map(int, f.read().split()):
                    found += [child] + children_of(child)
    return found


def cpu_seconds(*pids, children=False):
    """user + system so far, children that were waited for included; with children=True those that live, too."""
    total = 0
    for pid in pids:
        for each in [pid] + (children_of(pid) if children else []):
            with contextlib.suppress(OSError), open(f"/proc/{each}/stat", encoding="ascii", errors="replace") as f:
                fields = f.read().rsplit(")", 1)[1].split()
                total += sum(int(fields[i]) for i in (11, 12, 13, 14)) / TICKS
    return total


class Cpu:
    """with Cpu(pid) as cpu: ...; cpu.seconds"""

    def __init__(self, *pids, children=False):
        self.pids, self.children, self.seconds = pids, children, 0.0

    def __enter__(self):
        self.begin = cpu_seconds(*self.pids, children=self.children)
        return self

    def __exit__(self, *_):
        self.seconds = cpu_seconds(*self.pids, children=self.children) - self.begin
