"""Tables of a comparison for people: metrics as rows, machines as columns."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from analysis.metrics import METRICS, SIDES
from analysis.overhead import FIGURES
from hwmodel.html import cell
from hwmodel.outside import markdown as shown

if TYPE_CHECKING:
    import pandas as pd

    from analysis.verdicts import Verdict

SIDE_TITLES = {"engine": "Engine, ns per device access", "cpu": "CPUs, ns per CPU access"}
OVERHEAD = "What translation costs"
DEPENDENT_TITLE = "the same with dependent accesses, ns"


class Sheet(NamedTuple):
    """The contents of a comparison's tables; `Comparison.sheet` makes one.

    Parameters
    ----------
    names : list of str
        The machines, in the order of the columns.
    subtitle : str
        One line about the run.
    notes, warnings : sequence of str
        Changes made to machines or trace; warnings for readers of the figures. A line each.
    table, accounts, differences : DataFrame
        As `Comparison` describes them.
    verdicts : sequence of Verdict
        One for each pair of machines that have an overhead.
    """

    names: list[str]
    subtitle: str
    notes: Sequence[str]
    warnings: Sequence[str]
    table: "pd.DataFrame"
    accounts: "pd.DataFrame"
    differences: "pd.DataFrame"
    verdicts: "Sequence[Verdict]" = ()


def metric_rows(sheet: Sheet) -> Iterator[tuple[str, str, list[str]]]:
    """Yield (group, title, cells) of every metric, in order."""
    table = sheet.table
    yield "Machine", "design", [str(value) for value in table["design"]]
    yield "Machine", "kernel", [f"{policy} rules" for policy in table["kernel"]]
    yield "Machine", "clock, MHz", [cell(value) for value in table["clock_mhz"].tolist()]
    if table["seeds"].any():
        for figure in FIGURES:
            yield OVERHEAD, figure.title, [cell(value) for value in table[figure.name].tolist()]
        if table["seeds"].max() > 1:
            ends = zip(table["overhead_low"].tolist(), table["overhead_high"].tolist(), strict=True)
            yield OVERHEAD, f"over {table['seeds'].max()} seeds, ns", [f"{cell(low)} to {cell(high)}" for low, high in ends]
        yield OVERHEAD, DEPENDENT_TITLE, [cell(value) for value in table["dependent_overhead_ns_per_access"].tolist()]
    for metric in METRICS:
        yield metric.group, metric.title, [cell(value) for value in table[metric.name].tolist()]


def account_rows(sheet: Sheet, side: str) -> Iterator[tuple[str, list[str]]]:
    """Yield (account, cells) of one side in ns per access, the largest first, waiting last; idle time is left out."""
    own = sheet.accounts[(sheet.accounts["side"] == side) & (sheet.accounts["account"] != "idle")]
    wide = own.pivot(index="account", columns="machine", values="ns_per_access")
    wide = wide.reindex(columns=sheet.names)
    order = wide.sum(axis=1).sort_values(ascending=False, kind="stable").index
    waits = set(own.loc[own["waiting"], "account"])
    for account in sorted(order, key=lambda name: name in waits):
        cells = [cell(value) for value in wide.loc[account].tolist()]
        yield f"{account} (waiting)" if account in waits else account, cells


def markdown(sheet: Sheet, pictures: bool = False) -> str:
    """Return the whole comparison as a Markdown page; `pictures` adds links to costs.png and latency.png in the same folder."""
    names = sheet.names
    parts = [f"# {' against '.join(map(shown, names))}", shown(sheet.subtitle)]
    parts.append("\n".join(f"- {shown(line)}" for line in verdict_lines(sheet.verdicts)))
    parts.append("\n".join(f"- {shown(note)}" for note in (*sheet.notes, *sheet.warnings)))
    parts.append(_grouped(sheet, names))
    if pictures:
        parts.append("![What translation costs, and where](costs.png)")
        parts.append("![How long a miss takes that needs software](latency.png)")
    parts.append("## Where the cycles went")
    for side in SIDES:
        rows = list(account_rows(sheet, side))
        if rows:
            parts += [f"### {SIDE_TITLES[side]}", pipe(["account", *names], [[name, *cells] for name, cells in rows])]
    parts += ["## Settings of clock, CPUs, memory, kernel and device that differ", _differences(sheet.differences)]
    parts.append(definitions())
    return page(parts)


def definitions() -> str:
    """Return the definitions of overheads and metrics as Markdown."""
    return "## What is measured\n\n" + "\n".join(f"- **{one.title}**: {one.definition}" for one in (*FIGURES, *METRICS))


def page(parts: Iterable[str]) -> str:
    """Return parts of a Markdown page as one text; empty ones are left out."""
    return "\n\n".join(part for part in parts if part) + "\n"


def verdict_lines(verdicts: "Iterable[Verdict]") -> list[str]:
    """Return a line for each verdict: the pair, what is to be said of it."""
    return [f"{verdict.first} or {verdict.second}: {verdict}." for verdict in verdicts]


def _grouped(sheet: Sheet, names: list[str]) -> str:
    rows, last = [], ""
    for group, title, cells in metric_rows(sheet):
        if group != last:
            rows.append([group, *[""] * len(names)])
            last = group
        rows.append([title, *cells])
    return pipe(["", *names], rows, bold={row[0] for row in metric_rows(sheet)})


def _differences(frame: "pd.DataFrame") -> str:
    if frame.empty:
        return "None."
    rows = [[setting, *map(cell, values)] for setting, *values in frame.itertuples()]
    return pipe(["setting", *frame.columns], rows)


def pipe(header: list[str], rows: list[list[str]], bold: Collection[str] = ()) -> str:
    """Return a Markdown table; first cells that are in `bold` are in bold."""
    from tabulate import tabulate

    align = ["left", *["right"] * (len(header) - 1)]
    cells = [[f"**{shown(first)}**" if first in bold else shown(first), *map(shown, others)] for first, *others in rows]
    return tabulate(cells, [shown(name) for name in header], tablefmt="pipe", disable_numparse=True, colalign=align)


def replay_markdown(frame: "pd.DataFrame") -> str:
    """Return a replay's rows as a Markdown table."""
    rows = frame.assign(operation=frame["operation"].where(~frame["operation"].duplicated(), ""))
    lines = ["| operation | count | kernel | model | difference | cause |", "|---|---|---:|---:|---:|---|"]
    for operation, count, kernel, model, difference, cause in rows.itertuples(index=False):
        numbers = f"{kernel:,} | {model:,} | {difference:+,}".replace("+0", "0")
        lines.append(f"| {shown(operation)} | {count} | {numbers} | {shown(cause)} |")
    return "\n".join(lines)
