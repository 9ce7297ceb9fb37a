"""Tables of a suite for people: workloads as rows; what translation costs each machine, and the verdict on each pair.

A line-up is its comparisons by the name of the workload.
"""

import itertools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from analysis import cautions, tables
from analysis.verdicts import CLOSE, SLIGHT, Verdict, basis
from hwmodel.html import NOTHING
from hwmodel.outside import markdown as shown

if TYPE_CHECKING:
    from analysis.comparison import Comparison

    LineUp = Mapping[str, Comparison]

HEADING = "Translation overhead, ns for each access of the engines"
SLOWDOWN = "Slowdown of the engines, as many times the bound's time"
DEPENDENT = "1 in flight"


def machines(line_up: "LineUp") -> list[str]:
    """Return the machines of a line-up that have an overhead on some workload."""
    return list(dict.fromkeys(point.machine for comparison in line_up.values() for point in comparison.points if point.overheads))


def descriptions(line_up: "LineUp") -> list[str]:
    """Return what each machine of a line-up is, a line each, in the words of its preset or file, which may have none."""
    return list(dict.fromkeys(line for comparison in line_up.values() for line in cautions.descriptions(comparison.results)))


def notes(line_up: "LineUp") -> list[str]:
    """Return the terms of a line-up, and what an access of an engine stands for, a line each."""
    return list(dict.fromkeys(note for comparison in line_up.values() for note in comparison.notes))


def overhead_rows(line_up: "LineUp") -> Iterator[tuple[str, list[str]]]:
    """Yield (workload, cells): each machine's overhead in its own window, then, of those that have another one, with dependent accesses."""
    names = machines(line_up)
    for workload, comparison in line_up.items():
        found = {(point.machine, point.configured): point.per_access for point in comparison.points}
        wanted = [found.get((name, configured)) for configured in (True, False) for name in names]
        yield workload, [NOTHING if one is None else figure(one.median) for one in wanted]


def overhead_columns(line_up: "LineUp") -> list[str]:
    """Return the heads of the cells of `overhead_rows`."""
    names = machines(line_up)
    return [*names, *(f"{name}, {DEPENDENT}" for name in names)]


def slowdown_rows(line_up: "LineUp") -> Iterator[tuple[str, list[str]]]:
    """Yield (workload, cells) as `overhead_rows`: the engines' time, as many times the bound's."""
    names = machines(line_up)
    for workload, comparison in line_up.items():
        found = {(point.machine, point.configured): point.slowdown for point in comparison.points if point.overheads}
        wanted = [found.get((name, configured)) for configured in (True, False) for name in names]
        yield workload, [NOTHING if one is None else f"{one:.3g}" for one in wanted]


def faster(line_up: "LineUp") -> list[str]:
    """Return a line for each pair: on how many workloads the engines of each need less time, whatever the CPUs do for them."""
    lines = []
    for pair in itertools.combinations(machines(line_up), 2):
        each = [{p.machine: p.slowdown for p in comparison.points if p.overheads and p.configured} for comparison in line_up.values()]
        both = [[found[name] for name in pair] for found in each if all(name in found for name in pair)]
        ahead = [sum(one[1 - k] >= CLOSE * one[k] for one in both) for k in range(2)]
        told = " and ".join(f"{name} on {number}" for name, number in zip(pair, ahead, strict=True))
        lines.append(f"By the engines' own time, with the device's window and without what CPUs do for them, {told} of {len(both)}.")
    return lines


def figure(ns: float) -> str:
    """Return an overhead with three digits, a thousandth of a ns being the last one."""
    return f"{ns:,.0f}" if abs(ns) >= 100 else f"{ns:.3g}" if abs(ns) >= 1 else f"{ns:.3f}"


def verdicts(line_up: "LineUp") -> Iterator[tuple[str, Verdict]]:
    """Yield each workload with each of its verdicts."""
    for workload, comparison in line_up.items():
        yield from ((workload, verdict) for verdict in comparison.verdicts)


def verdict_rows(line_up: "LineUp") -> list[tuple[str, str, str]]:
    """Return (pair, workload, verdict), pair by pair."""
    rows = [(f"{verdict.first} or {verdict.second}", workload, str(verdict)) for workload, verdict in verdicts(line_up)]
    pairs = list(dict.fromkeys(pair for pair, *_ in rows))
    return sorted(rows, key=lambda row: pairs.index(row[0]))


def summary(line_up: "LineUp") -> list[str]:
    """Return a line or two for each pair of machines: on which workloads which of them costs less."""
    found: dict[tuple[str, str], dict[str, Verdict]] = {}
    for workload, verdict in verdicts(line_up):
        found.setdefault((verdict.first, verdict.second), {})[workload] = verdict
    return [f"{_summed(pair, won)} {also}" for (pair, won), also in zip(found.items(), faster(line_up), strict=True)]


def basis_of(line_ups: "Mapping[str, LineUp]") -> str:
    """Return the sentence that says what the verdicts rest on."""
    comparisons = [comparison for line_up in line_ups.values() for comparison in line_up.values()]
    draws = max((len(one.draws.drawn) for one in comparisons if one.draws), default=0)
    return basis([point for comparison in comparisons for point in comparison.points], draws)


def markdown(suite: str, exercises: Mapping[str, str], line_ups: "Mapping[str, LineUp]", pictures: bool) -> str:
    """Return line-ups on a suite as a Markdown page: summaries and pictures first, then every figure."""
    parts = [f"# Suite {suite}: {', '.join(map(shown, line_ups))}", basis_of(line_ups)]
    for name, line_up in line_ups.items():
        parts += [f"## {shown(name)}", _list(descriptions(line_up)), _list(summary(line_up)), _list(notes(line_up))]
    if pictures:
        parts += ["![What translation costs](costs.png)", "![How long a miss takes that needs software](latency.png)"]
    for name, line_up in line_ups.items():
        rows = [[workload, *cells] for workload, cells in overhead_rows(line_up)]
        parts += [f"## {HEADING}: {shown(name)}", tables.pipe(["workload", *overhead_columns(line_up)], rows)]
        rows = [[workload, *cells] for workload, cells in slowdown_rows(line_up)]
        parts += [f"## {SLOWDOWN}: {shown(name)}", tables.pipe(["workload", *overhead_columns(line_up)], rows)]
        parts += [f"## Verdicts: {shown(name)}", tables.pipe(["pair", "workload", "verdict"], [list(row) for row in verdict_rows(line_up)])]
    parts += ["## Workloads", _list([f"{name}: {what}" for name, what in exercises.items()])]
    for name, line_up in line_ups.items():
        told = [f"{workload}: {line}" for workload, comparison in line_up.items() for line in comparison.cautions()]
        parts += [f"## What to know of the figures: {shown(name)}", _list(told) or "Nothing."]
    return tables.page([*parts, tables.definitions()])


def _summed(pair: tuple[str, str], won: Mapping[str, Verdict]) -> str:
    def those(winner: str, is_full: bool) -> list[str]:
        return [workload for workload, verdict in won.items() if verdict.winner == winner and (not winner or verdict.is_full is is_full)]

    words = [(f"{name} costs less on", those(name, True)) for name in pair]
    words += [(f"{name} costs less in one window only on", those(name, False)) for name in pair]
    words += [("undecided or equal on", those("", True))]
    told = [f"{what} {_counted(workloads, len(won))}" for what, workloads in words if workloads]
    slight = [workload for workload, verdict in won.items() if verdict.winner and verdict.is_slight]
    less = [f"by less than {SLIGHT}x, which estimates may turn, on {_counted(slight, len(won))}"] if slight else []
    return f"{pair[0]} or {pair[1]}, of {len(won)} workloads: {'; '.join([*told, *less])}."


def _counted(workloads: list[str], number: int) -> str:
    return f"all {number}" if len(workloads) == number else f"{len(workloads)} ({', '.join(workloads)})"


def _list(lines: list[str]) -> str:
    return "\n".join(f"- {shown(line)}" for line in lines)
