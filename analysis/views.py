"""The command line's output: tables that fit a terminal of 100 columns."""

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from analysis import studytables, tables
from analysis.overhead import FIGURES
from analysis.terminal import Terminal
from hwmodel.html import cell
from hwmodel.machine import Machine

if TYPE_CHECKING:
    import pandas as pd

    from analysis.comparison import Comparison
    from analysis.conform import Conformance, Difference
    from analysis.inspection import Inspection
    from analysis.replay import Replay
    from analysis.study import Study
    from hwmodel.trace import Trace

SWEEP = ("ns_per_access", "device_ns_per_access", "device_miss_rate_percent", "fault_p50_ns", "fault_p99_ns", "traps")
"""Metrics that a sweep prints; its file has all."""
FIRST = 5
"""Differences that a conformance prints in full, each of another mechanism; its table counts all."""
MOST = 7
"""Columns that a sweep prints beside its settings, at the most: more would be cut."""
TLBS = (16, 64, 256, 1024, 4096)
"""TLB sizes whose misses an inspection prints; its picture has more."""
FACTS = 100
"""Most lines printed of a trace's other info: recordings have at most 20."""


def show_comparison(console: Terminal, comparison: "Comparison") -> None:
    """Print the metrics, where the cycles went, and in which settings the machines differ."""
    sheet = comparison.sheet
    names = sheet.names
    console.print(sheet.subtitle, style="bold")
    for line in tables.verdict_lines(sheet.verdicts):
        console.print(line)
    table = _table("", names)
    for group, metrics in itertools.groupby(tables.metric_rows(sheet), key=lambda row: row[0]):
        table.add_row(group, style="bold")
        for _, title, cells in metrics:
            table.add_row(f"  {title}", *cells)
    console.print(table)
    for side, title in tables.SIDE_TITLES.items():
        rows = list(tables.account_rows(sheet, side))
        if rows:
            _show(console, title, names, rows)
    differences = sheet.differences.itertuples()
    differing = [(str(name), [cell(value) for value in values]) for name, *values in differences]
    if differing:
        _show(console, "Settings that differ", names, differing)
    elif len(names) > 1:
        console.print("Clock, CPUs, memory, kernel and device are the same on all machines.")
    for note in sheet.notes:
        console.print(note)
    for warning in sheet.warnings:
        console.print(warning, style="yellow")


def show_study(console: Terminal, study: "Study") -> None:
    """Print for each line-up what translation costs on every workload, and the verdicts."""
    for name, line_up in study.line_ups.items():
        console.print()
        for note in studytables.notes(line_up):
            console.print(note, style="dim")
        names = studytables.machines(line_up)
        table = _table(f"{name}, ns per access", [*names, *[f"({machine})" for machine in names]])
        for workload, cells in studytables.overhead_rows(line_up):
            table.add_row(f"  {workload}", *cells)
        console.print(table)
        verdicts = Table(box=None, pad_edge=False)
        for column in ("pair", "workload", "verdict"):
            verdicts.add_column(column, style="bold" if column == "pair" else "", overflow="fold")
        last = ""
        for pair, workload, verdict in studytables.verdict_rows(line_up):
            verdicts.add_row(pair if pair != last else "", workload, verdict)
            last = pair
        console.print()
        console.print(verdicts)
        console.print()
        for line in studytables.summary(line_up):
            console.print(line, style="bold")
    console.print()
    console.print(f"In brackets: dependent accesses, {studytables.DEPENDENT}. {studytables.basis_of(study.line_ups)}")


def show_sweep(console: Terminal, frame: "pd.DataFrame") -> None:
    """Print a sweep's settings and main metrics."""
    asked = ("seed", "region", *(figure.name for figure in FIGURES))
    shown = [*(name for name in asked if name in frame), *(name for name in SWEEP if name in frame)]
    columns = [*frame.attrs["swept"], *shown[:MOST]]
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column.replace("_", " "), justify="right")
    for values in frame[columns].itertuples(index=False):
        table.add_row(*[cell(value) for value in values])
    console.print(table)
    for note in frame.attrs["notes"]:
        console.print(note)


def show_trace(console: Terminal, trace: "Trace") -> None:
    """Print a trace's agents, sizes and origin."""
    table = Table(box=None, pad_edge=False)
    for column in ("agent", "role", "space", "name"):
        table.add_column(column)
    for number, agent in enumerate(trace.agents):
        table.add_row(str(number), agent.role, str(agent.space), agent.name)
    console.print(table)
    _show_origin(console, trace)


def show_inspection(console: Terminal, inspection: "Inspection") -> None:
    """Print the memory and operations of a trace's agents, and their misses by size of TLB."""
    table = Table(box=None, pad_edge=False)
    for column in inspection.agents.columns:
        table.add_column(column.replace("_", " "), justify="left" if column in ("role", "name") else "right")
    for values in inspection.agents.itertuples(index=False):
        table.add_row(*[_short(value) for value in values])
    console.print(table)
    rows = [(name, [cell(count), cell(pages)]) for name, count, pages in inspection.operations.itertuples(index=False)]
    if rows:
        _show(console, "Operations", ["count", "pages"], rows)
    reuse = inspection.reuse.set_index("entries")["all"].loc[list(TLBS)]
    rows = [(f"{size:,} entries", [f"{100 * misses:.4g} %"]) for size, misses in reuse.items()]
    _show(console, "Fully associative LRU TLBs of each agent, for data and for fetches", ["misses per reference"], rows)
    console.print()
    _show_origin(console, inspection.footprint.trace)


def _short(value: object) -> str:
    """Return a count in at most seven characters; any other value as in other tables."""
    if not isinstance(value, int) or value < 100_000:
        return cell(value)
    scale, unit = (1e9, "G") if value >= 1e9 else (1e6, "M")
    return f"{value / scale:.3g} {unit}"


def _show_origin(console: Terminal, trace: "Trace") -> None:
    sizes = f"{len(trace):,} records for {trace.references:,} references"
    console.print(f"{sizes}; {len(trace.prelude):,} records of initial memory")
    for key, value in itertools.islice(trace.info.items(), FACTS):
        console.print(f"{key}: {value}", style="dim")
    if len(trace.info) > FACTS:
        console.print(f"... and {len(trace.info) - FACTS:,} more", style="dim")


def show_replay(console: Terminal, replay: "Replay") -> None:
    """Print a replay's table."""
    console.print(replay.subtitle, style="bold")
    table = Table(box=None, pad_edge=False)
    for column in ("", "", "kernel", "model", "difference"):
        table.add_column(column, justify="right" if column else "left")
    table.add_column("cause", overflow="fold")
    last = ""
    for operation, count, kernel, model, difference, cause in replay.frame.itertuples(index=False):
        sign = "+" if difference > 0 else ""
        numbers = [cell(kernel), cell(model), f"{sign}{cell(difference)}"]
        table.add_row(operation if operation != last else "", count, *numbers, cause)
        last = operation
    console.print(table)
    for note in replay.notes:
        console.print(note)


def show_conformance(console: Terminal, found: "Conformance") -> None:
    """Print the first differences, agreement by field, differences by mechanism, and the summary as the last line."""
    from analysis.conform import FIELDS, KNOWN

    firsts: dict[str, Difference] = {}
    counts: Counter[tuple[str, str]] = Counter()
    for each in found.differences:
        firsts.setdefault(each.mechanism, each)
        counts[each.mechanism, each.field] += 1
    for each in list(firsts.values())[:FIRST]:
        console.line(f"{each.where}: {each.operation}", "bold")
        console.line(f"- Linux {each.field}: {each.linux}")
        console.line(f"+ model {each.field}: {each.model}")
    table = Table(box=None, pad_edge=False)
    for column in ("", *FIELDS):
        table.add_column(column, justify="right" if column else "left")
    table.add_row("judged", *(cell(found.judged[name]) for name in FIELDS))
    for mechanism in firsts:
        cells = (cell(n) if (n := counts[mechanism, name]) else "" for name in FIELDS)
        table.add_row(mechanism + (" (known)" if mechanism in KNOWN else ""), *cells)
    console.print(table)
    if found.skipped:
        console.line(f"{found.skipped:,} operations after a refused one are not judged: the state there is unknown.")
    console.line(found.summary)


def show_presets(console: Terminal, machines: Sequence[Machine]) -> None:
    """Print names, designs and descriptions."""
    _list(console, ("preset", "design", "what it is"), [(machine.name, machine.design, machine.description) for machine in machines])


def show_workloads(console: Terminal) -> None:
    """Print a line for each workload of the suites, which have the same ones, each recording and each generator."""
    from workloads import synthetic
    from workloads.recorded import ABOUT
    from workloads.suite import SUITES, suite

    title = f"Suites {' and '.join(SUITES)}"
    _list(console, ("workload", "exercises"), [(workload.name, workload.exercises) for workload in suite(SUITES[0])], title)
    console.print()
    _list(console, ("recording", "program"), list(ABOUT.items()), "Recordings")
    console.print()
    about = ((name, str(getattr(synthetic, name).__doc__).partition("\n")[0]) for name in synthetic.__all__)
    _list(console, ("generator", "trace"), [(name, line.removeprefix("Generate ")) for name, line in about], "Generators")


def _list(console: Terminal, columns: Sequence[str], rows: Sequence[tuple[str, ...]], title: str | None = None) -> None:
    """Print a table of text whose first column is names."""
    table = Table(box=None, pad_edge=False, title=title, title_justify="left")
    for column in columns:
        table.add_column(column, style="bold" if column == columns[0] else "")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def show_machine(console: Terminal, machine: Machine) -> None:
    """Print every setting with its provenance."""
    from hwmodel.config import CONFIDENCE

    table = Table(box=None, pad_edge=False, title=f"{machine.name}: {machine.description}", title_justify="left")
    table.add_column("setting", no_wrap=True, style="bold")
    table.add_column("value", justify="right")
    table.add_column("unit")
    table.add_column("", no_wrap=True)
    table.add_column("source", overflow="fold", style="dim")
    last = ""
    for name, value, unit, confidence, source, _ in machine.rows():
        section = name.partition(".")[0]
        if last and section != last:
            table.add_row()
        last = section
        table.add_row(name, cell(value), unit, confidence, source)
    console.print(table)
    console.print(" · ".join(f"{letter} {meaning}" for letter, meaning in CONFIDENCE.items()), style="dim")


def _show(console: Terminal, title: str, names: Sequence[str], rows: Sequence[tuple[str, list[str]]]) -> None:
    table = _table(title, names)
    for name, cells in rows:
        table.add_row(f"  {name}", *cells)
    console.print()
    console.print(table)


def _table(title: str, names: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(title)
    for name in names:
        table.add_column(name, justify="right")
    return table
