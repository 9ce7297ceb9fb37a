"""A comparison as one self-contained HTML file, which a colleague opens from an e-mail: verdicts, pictures, every setting, the command."""

import base64
import importlib.metadata
import io
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from analysis import cautions, files, plots, tables, verdicts
from analysis.explanation import explain
from analysis.metrics import METRICS, SIDES
from analysis.overhead import FIGURES
from hwmodel.html import NOTHING
from hwmodel.outside import visible
from hwmodel.version import model_version

if TYPE_CHECKING:
    from analysis.points import Point
    from analysis.uncertainty import Uncertainty
    from hwmodel.machine import Provenance
    from hwmodel.measure.result import Result

PACKAGES = ("numba", "numpy", "matplotlib")
"""Packages whose versions a report names beside Python's and the model's."""


@dataclass(frozen=True)
class Table:
    """A table of a section.

    Parameters
    ----------
    title : str
        Its heading.
    columns : sequence of str
        The heads; the first is of text.
    rows : sequence of sequence of str
        The cells; a row of one is the heading of those that follow.
    texts : tuple of int
        Columns of text besides, numbered from 0.
    hidden : bool
        Whether it is folded up until a reader opens it.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    texts: tuple[int, ...] = ()
    hidden: bool = False


@dataclass(frozen=True)
class Section:
    """A section of a report: sentences, a list, a picture with its description, tables."""

    title: str
    lines: Sequence[str] = ()
    listed: Sequence[str] = ()
    picture: str = ""
    alt: str = ""
    tables: Sequence[Table] = field(default_factory=tuple)


@dataclass(frozen=True)
class Report:
    """The contents of a report; `Comparison.report` makes one.

    Parameters
    ----------
    sheet : tables.Sheet
        The contents of its tables.
    points : sequence of Point
        Every machine in every window.
    results : dict of str to Result
        The runs, by the name of the machine.
    draws : Uncertainty, optional
        What draws of the uncertain costs say.
    title : str
        Its heading.
    command : str
        The command that makes it again, if there is one.
    """

    sheet: tables.Sheet
    points: "Sequence[Point]"
    results: "dict[str, Result]"
    draws: "Uncertainty | None"
    title: str
    command: str

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write it, complete or not at all; OSError if it can't be written."""
        text = self.page()
        files.write_all({path: lambda target: files.text(target, text)})

    def page(self) -> str:
        """Return it as HTML; the same runs give the same text."""
        import jinja2

        environment = jinja2.Environment(
            loader=jinja2.PackageLoader("analysis"), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
            finalize=lambda value: visible(value) if isinstance(value, str) and not value.startswith("data:") else value,
        )  # fmt: skip
        sheet, draws = self.sheet, len(self.draws.drawn) if self.draws else 0
        return environment.get_template("report.html").render(
            title=self.title, subtitle=sheet.subtitle, command=self.command, versions=_versions(), sections=list(self._sections()),
            verdicts=tables.verdict_lines(sheet.verdicts), basis=[verdicts.basis(self.points, draws)] if sheet.verdicts else [],
            terms=[*cautions.descriptions(self.results), *sheet.notes],
        )  # fmt: skip

    def _sections(self) -> Iterator[Section]:
        sheet = self.sheet
        yield Section(
            "What translation costs", [line for name, result in self.results.items() for line in cautions.of(name, result)],
            picture=_svg(lambda: plots.draw_overheads({"": self.points}, sheet.subtitle)),
            alt="Translation overhead of each machine, and what it consists of on either side, in ns for each access of the engines",
            tables=[Table("In figures", ["", *sheet.names], _metrics(sheet))],
        )  # fmt: skip
        yield from self._reasons()
        if self.draws:
            draws = self.draws
            yield Section(
                "How sure is that?", [f"{one.first} or {one.second}: {draws.verdict(one.first, one.second)}." for one in sheet.verdicts],
                picture=_svg(lambda: draws.plot().figure),
                alt="Share of the draws of all uncertain costs below each ratio of the overheads",
            )  # fmt: skip
        yield Section(
            "How long a miss takes that needs software", picture=_svg(lambda: plots.draw_latencies(self.results, sheet.subtitle)),
            alt="Distribution of the latencies of misses that need software, for each machine",
        )  # fmt: skip
        if any(result.book.phases for result in self.results.values()):
            yield Section(
                "Where a miss's time goes", picture=_svg(lambda: plots.draw_phases(self.results, sheet.subtitle)),
                alt="Phases of misses that need software, by percentile of their latency",
            )  # fmt: skip
        sides = {tables.SIDE_TITLES[side]: _accounts(sheet, side) for side in SIDES}
        accounts = [Table(title, ["account", *sheet.names], rows, hidden=True) for title, rows in sides.items() if rows]
        yield Section("Where the cycles went", ["Accounts of all agents, in ns for each access."], tables=accounts)
        yield _settings(self.results, sheet)
        yield Section("What is measured", listed=[f"{one.title}: {one.definition}" for one in (*FIGURES, *METRICS)])


    def _reasons(self) -> Iterator[Section]:
        """Yield why the machines of each pair differ."""
        for one in self.sheet.verdicts:
            why = explain(self.points, one.first, one.second)
            first, *others = str(why).splitlines()
            yield Section(
                f"Why {one.first} and {one.second} differ", [first], [line.removeprefix("- ") for line in others],
                picture=_svg(lambda why=why: why.plot().figure),
                alt=f"From the overhead of {one.second}, cause by cause, to that of {one.first}",
            )  # fmt: skip


def _metrics(sheet: tables.Sheet) -> list[list[str]]:
    """Return the rows of every metric that some machine has, each group below its heading."""
    rows: list[list[str]] = []
    last = ""
    for group, title, cells in tables.metric_rows(sheet):
        if all(cell in (NOTHING, "0") for cell in cells):
            continue
        if group != last:
            rows.append([group])
            last = group
        rows.append([title, *cells])
    return rows


def _accounts(sheet: tables.Sheet, side: str) -> list[list[str]]:
    return [[account, *cells] for account, cells in tables.account_rows(sheet, side)]


def _settings(results: "dict[str, Result]", sheet: tables.Sheet) -> Section:
    """Return every setting of every machine with its source and letter, and those in which the machines differ."""
    differing = [[name, *map(tables.cell, values)] for name, *values in sheet.differences.itertuples()]
    title = "Clock, CPUs, memory, kernel and device: where the machines differ"
    shown = [Table(title, ["setting", *sheet.names], differing)] if differing else []
    for name, result in results.items():
        rows = [[setting, *_told(about)] for setting, about in result.machine.provenance().items()]
        columns = ["setting", "value", "unit", "letter", "range", "source"]
        shown.append(Table(f"{name}: {len(rows)} settings", columns, rows, texts=(2, 3, 5), hidden=True))
    letters = ", ".join(f"{letter}: {meaning}" for letter, meaning in _letters().items())
    return Section("Settings", [f"A letter says how well a value is known ({letters})."], tables=shown)


def _told(about: "Provenance") -> list[str]:
    """Return what there is to say of a setting."""
    ends = "" if about.low is None and about.high is None else f"{tables.cell(about.low)} to {tables.cell(about.high)}"
    return [tables.cell(about.value), about.unit, about.confidence, ends, about.source]


def _letters() -> dict[str, str]:
    from hwmodel.config.section import CONFIDENCE

    return dict(CONFIDENCE)


def _svg(draw: Callable[[], Any]) -> str:
    """Return a picture as an address that holds it: SVG, the same bytes for the same picture."""
    from matplotlib import rc_context

    target = io.BytesIO()
    with rc_context({**plots.STYLE, "svg.hashsalt": "hwmodel"}):
        draw().savefig(target, format="svg", metadata={"Date": None, "Creator": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(target.getvalue()).decode()}"


def _versions() -> str:
    packages = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    return f"hwmodel {model_version()}; Python {platform.python_version()}, {packages}."
