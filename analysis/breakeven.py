"""Where one machine becomes cheaper than another: a grid of settings, and every crossing found exactly; `breakeven`, `BreakEven`."""

import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.axes import WORKLOAD, Axes, axes_of, check_axes
from analysis.brackets import Bracket, found_in, narrowed, written
from analysis.experiments import experiment
from analysis.metrics import Metric
from analysis.overhead import Figure
from analysis.replicates import interval
from analysis.terms import EQUAL, Terms, on_equal_terms
from analysis.uncertainty import OVERHEAD, have_the_figure, single
from hwmodel import html
from hwmodel.arguments import machines_of
from hwmodel.machine import ConfigError, Machine

if TYPE_CHECKING:
    import pandas as pd

    from hwmodel.trace import Trace

MOST_AXES = 3


@dataclass(frozen=True, eq=False, repr=False)
class BreakEven:
    """Which of two machines costs less at the points of a grid, and where that changes.

    Attributes
    ----------
    frame : DataFrame
        A row for each point of the grid: the axes; the figure of each machine by its name (the median of the seeds); difference, first
        less second, with its interval low and high over the seeds; cheaper: the machine, "equal", or "undecided" if the interval has 0.
    crossings : DataFrame
        A row for each change along the first axis: the other axes' values; below and above, two neighbouring settings; cheaper_below and
        cheaper_above; at, the middle of the two; note: why the two are no closer. Without any row there is none in range.
    visited : DataFrame
        The rows of `frame`, and those of the points at which crossings were narrowed down.
    axes : tuple of str
        The axes, the first one first.
    machines : tuple of str
        The two machines.
    figure : Metric or Figure
        The figure; less of it is better.
    notes : tuple of str
        The terms, what engines do of the workload, what is undecided.
    """

    frame: "pd.DataFrame"
    crossings: "pd.DataFrame"
    visited: "pd.DataFrame"
    axes: tuple[str, ...]
    machines: tuple[str, str]
    figure: Metric | Figure
    notes: tuple[str, ...]

    def plot(self, axes: Any = None) -> Any:
        """Draw both figures over one axis, with the crossings; a map over two; maps for each value of a third one.

        Parameters
        ----------
        axes : matplotlib Axes, optional
            Where to draw if there are one or two axes; by default in a picture of its own.

        Returns
        -------
        Axes or Figure
            The axes, of the picture ``.figure``; of three axes the figure.
        """
        from analysis.plots.breakeven import draw_lines_with_crossings, draw_map, draw_maps

        if len(self.axes) == 1:
            between = [(row["at"], f"{written(row['below'])} to {written(row['above'])}") for row in self.crossings.to_dict("records")]
            return draw_lines_with_crossings(self.visited, self.axes[0], self.machines, between, self.figure.title, axes)
        if len(self.axes) == 2:
            return draw_map(self.frame, self.axes, self.machines, self.crossings, axes)
        if axes is not None:
            raise ConfigError("axes: three axes are several maps, which take a picture of their own")
        return draw_maps(self.frame, self.axes, self.machines, self.crossings)

    def __str__(self) -> str:
        first, *others = self.axes
        groups = self.frame.groupby(others, sort=False) if others else [((), self.frame)]
        told = []
        for values, rows in groups:
            at = dict(zip(others, values, strict=True))
            where = ", ".join(f"{name} {written(value)}" for name, value in at.items())
            told.append(f"{where + ': ' if where else ''}{self._sentence(first, rows, self._crossings(at))}")
        return "\n".join(told)

    def _crossings(self, at: Mapping[str, Any]) -> "pd.DataFrame":
        found = self.crossings
        for name, value in at.items():
            found = found[found[name] == value]
        return found

    def _sentence(self, axis: str, rows: "pd.DataFrame", crossings: "pd.DataFrame") -> str:
        low, high = written(rows[axis].iloc[0]), written(rows[axis].iloc[-1])
        if crossings.empty:
            winners = set(rows["cheaper"]) - {"equal", "undecided"}
            open_ = rows["cheaper"].isin(["equal", "undecided"]).sum()
            some = f" at {len(rows) - open_} of {len(rows)} points, equal or undecided at the rest" if open_ else " throughout"
            told = f"{winners.pop()} is cheaper{some}" if winners else "equal or undecided throughout"
            return f"no crossing of {axis} in the range {low} to {high}: {told}."
        steps = [
            f"{row['cheaper_above']} from {written(row['above'])} on ({row['cheaper_below']} up to {written(row['below'])}"
            f"{'; ' + row['note'] if row['note'] else ''})"
            for row in crossings.to_dict("records")
        ]
        return f"{axis} from {low} to {high}: cheaper is {', then '.join(steps)}."

    def __repr__(self) -> str:
        return f"<BreakEven of {' and '.join(self.machines)} over {', '.join(self.axes)}: {len(self.crossings)} crossings>\n{self}"

    def _repr_html_(self) -> str:
        return html.lines(*str(self).splitlines()) + html.of_frame(self.frame, "points")


def breakeven(
    a: Any,
    b: Any,
    over: Mapping[str, Iterable[Any]],
    workload: "Trace | str | Callable[..., Trace]",
    *,
    figure: str | Metric = OVERHEAD,
    seeds: Iterable[int] = (0,),
    tolerance: float = 1e-3,
    terms: Terms = EQUAL,
    warmup: int | float = 0,
    share: float = 0.5,
    unit: str = "line",
    bytes: int = 8,
    store: str | os.PathLike[str] | None = None,
    executor: Executor | None = None,
    threads: int = 2,
    progress: bool | None = None,
) -> BreakEven:
    """Say at which points of a grid machine `a` costs less than machine `b`, and find every change along the first axis.

    A change between two neighbouring points is narrowed down by bisection: of whole numbers to two neighbours that both machines accept
    (powers of two, say), of others to a relative distance. An even number of changes between two points of the grid is not seen.

    Parameters
    ----------
    a, b : Machine, str, or mapping of one name to one
        The machines, or names of presets, by the names to show.
    over : mapping of str to iterable
        One to three axes, as `analysis.experiment` takes them; the first one, of numbers, is the one along which changes are found.
    workload : Trace, str or callable
        One workload, as `analysis.experiment` takes it; a function if an axis is a parameter of it.
    figure : str or Metric
        What is compared, less being better: a name as for `analysis.experiment`.
    seeds : iterable of int
        Of what is random. With several, a point whose interval of the differences has 0 is undecided.
    tolerance : float
        Relative distance of the ends of a bracket of floats.
    terms : Terms
        On which machines are compared; those of `analysis.compare` by default. The axes change what they have given.
    warmup, share, unit, bytes, store, executor, threads, progress
        As `analysis.experiment` takes them.

    Raises
    ------
    ConfigError
        If a name or value is invalid, there are more axes than three, the first one is not of numbers, or a machine lacks the figure.
    TraceError
        If the trace is invalid.
    """
    if not 0 < tolerance < 1:
        raise ConfigError(f"tolerance: must be in (0, 1), not {tolerance}")
    machines, notes = on_equal_terms(_pair(a, b), terms)
    axes, given, listed = _checked(over, machines), single(workload), list(seeds)
    options: dict[str, Any] = {"warmup": warmup, "share": share, "unit": unit, "bytes": bytes, "title": "breakeven", "terms": None}
    options |= {"progress": progress, "store": store, "executor": executor, "threads": threads}
    told: dict[str, None] = dict.fromkeys(notes)
    found: list[Metric | Figure] = []
    visited: list[dict[str, Any]] = []

    def run(points: list[dict[str, Any]]) -> "list[dict[str, Any]]":
        asked = experiment(machines, given, points, seeds=listed, metrics=[figure], **options)
        told.update(dict.fromkeys(asked.notes))
        found[:] = asked.metrics
        rows = _compared(asked.frame, asked.metrics[0].name, list(machines), points, len(listed))
        visited.extend(rows)
        return rows

    rows = run(list(axes.points))
    brackets = narrowed(found_in(rows, axes), axes, machines, tolerance, run)
    return _result((rows, visited), brackets, axes, list(machines), found[0], list(told))


def _pair(a: Any, b: Any) -> dict[str, Machine]:
    """Return the two machines by their names; two of one name are told apart."""
    pair: list[tuple[str, Machine]] = []
    for given in (a, b):
        named = machines_of(given)
        if len(named) > 1:
            raise ConfigError(f"breakeven: compares one machine with one, not {len(named)} ({', '.join(named)})")
        pair += named.items()
    (first, mine), (second, theirs) = pair
    return {first: mine, second: theirs} if first != second else {f"{first} (a)": mine, f"{second} (b)": theirs}


def _checked(over: Any, machines: Mapping[str, Machine]) -> Axes:
    """Return the axes, the points in ascending order along the first one."""
    if not isinstance(over, Mapping):
        raise ConfigError(f"over: must be lists of values by axis, not {over!r}")
    given = {name: values if isinstance(values, str) or not isinstance(values, Iterable) else list(values) for name, values in over.items()}
    axes = axes_of(given)
    if not axes.product or len(axes.names) > MOST_AXES:
        raise ConfigError(f"over: takes one to {MOST_AXES} axes, all their combinations, each value once; not {', '.join(map(str, given))}")
    first = axes.names[0]
    if not all(isinstance(point[first], int | float) and not isinstance(point[first], bool) for point in axes.points):
        raise ConfigError(f"{first}: the first axis must be of numbers, for changes are found along it")
    check_axes(Axes(tuple(name for name in axes.names if not name.startswith(WORKLOAD)), (), True), machines, (), ())
    ordered = {name: sorted(given[name]) if name == first else given[name] for name in given}
    return axes_of(ordered)


def _compared(frame: "pd.DataFrame", name: str, machines: list[str], points: list[dict[str, Any]], seeds: int) -> list[dict[str, Any]]:
    """Return a row for each point: its axes, both figures, the difference, its interval, who is cheaper."""
    have_the_figure(frame.reindex(columns=["machine", name]), name)
    values = {label: frame.loc[frame["machine"] == label, name].to_numpy().reshape(len(points), seeds) for label in machines}
    a, b = machines
    rows = []
    for number, point in enumerate(points):
        mine, theirs = values[a][number], values[b][number]
        band = interval(mine - theirs)
        winner = a if band.high < 0 else b if band.low > 0 else "equal" if band.low == band.high else "undecided"
        rows.append({
            **point, a: float(np.median(mine)), b: float(np.median(theirs)), "difference": band.median, "low": band.low, "high": band.high,
            "cheaper": winner,
        })  # fmt: skip
    return rows


def _result(
    found: tuple[list[dict[str, Any]], list[dict[str, Any]]], brackets: list[Bracket], axes: Axes, machines: list[str],
    figure: Metric | Figure, notes: list[str],
) -> BreakEven:  # fmt: skip
    """Return the outcome; `found` are the rows of the grid, and those of all points that were visited."""
    import pandas as pd

    first, *others = axes.names
    columns = [*others, "below", "above", "cheaper_below", "cheaper_above", "at", "note"]
    crossings = [
        {
            **dict(zip(others, one.others, strict=True)), "below": one.below, "above": one.above,
            "cheaper_below": machines[one.sign > 0], "cheaper_above": machines[one.sign < 0], "at": (one.below + one.above) / 2,
            "note": one.reason,
        }
        for one in brackets
    ]  # fmt: skip
    frame, visited = (pd.DataFrame(rows) for rows in found)
    visited = visited.sort_values([first, *others], kind="stable", ignore_index=True)
    open_ = (frame["cheaper"] == "undecided").sum()
    if open_:
        notes.append(f"Undecided at {open_} of {len(frame)} points: the sign changes with the seed.")
    table = pd.DataFrame(crossings, columns=columns)
    return BreakEven(frame, table, visited, axes.names, (machines[0], machines[1]), figure, tuple(notes))
