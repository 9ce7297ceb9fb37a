"""Experiments: machines by workloads by axes by seeds; `experiment`, and the `Experiment` it returns. `sweep` is its simple form."""

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analysis import batches, drawable, onepass, runs
from analysis.axes import Axes, axes_of
from analysis.batches import Job, Ways
from analysis.metrics import METRICS, Metric, account_columns, families_frame, phase_columns
from analysis.overhead import FIGURES, Figure, bound_of, overhead
from analysis.plans import Plan, part_of, planned
from analysis.pointstore import opened_store
from analysis.replicates import checked_seeds
from analysis.terms import EQUAL, Terms, on_equal_terms
from analysis.traces import sources_of
from hwmodel.arguments import is_shown, machines_of
from hwmodel.config.errors import suggestion
from hwmodel.machine import ConfigError, Machine
from hwmodel.regions import WARMUP
from hwmodel.version import model_version

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from hwmodel.measure.result import Result
    from hwmodel.regions import Named

Columns = Callable[["Result"], dict[str, float]]
"""A function that makes columns of a run besides its figures."""
Figures = tuple[Metric | Figure, ...]


@dataclass(frozen=True, eq=False, repr=False)
class Experiment:
    """What an experiment has measured.

    Attributes
    ----------
    frame : DataFrame
        A row for each machine, workload, point, seed and region: machine, design, workload, seed, version of the model, every axis by its
        name, the region if there are any, every metric with its unit in its name, and accounts if they were asked for.
    axes : Axes
        What has been varied.
    metrics : tuple
        The figures, with titles and definitions.
    notes : tuple of str
        What engines do of each workload, and which machine lacks an axis.
    """

    frame: "pd.DataFrame"
    axes: Axes
    metrics: tuple[Metric | Figure, ...]
    notes: tuple[str, ...]

    def to_xarray(self) -> "xr.Dataset":
        """Return every figure as an array: dimensions machine, workload, each axis, seed, and region if there are any.

        Points that are no product of axes are one dimension, "point", with the axes beside it. A figure's title and definition are the
        attributes long_name and description of its array. Needs xarray.
        """
        try:
            import xarray  # noqa: F401  (pandas uses it)
        except ImportError:
            raise ConfigError("to_xarray needs xarray: pip install 'hwmodel[study]'") from None
        frame, axes = self.frame.drop(columns=["design", "version"]), list(self.axes.names)
        if not self.axes.product:
            numbers = {tuple(point.values()): number for number, point in enumerate(self.axes.points)}
            frame = frame.assign(point=[numbers[tuple(values)] for values in frame[axes].to_numpy(object)]).drop(columns=axes)
        inner = axes if self.axes.product else ["point"]
        found = frame.set_index(["machine", "workload", *inner, "seed", *(["region"] if "region" in frame else [])]).to_xarray()
        if not self.axes.product:
            at = [self.axes.points[number] for number in found["point"].to_numpy()]
            found = found.assign_coords({name: ("point", [point[name] for point in at]) for name in axes})
        for metric in self.metrics:
            found[metric.name].attrs = {"long_name": metric.title, "description": metric.definition}
        return found.assign_attrs(version=model_version())

    def plot(self, x: str, y: str, hue: str | None = None, axes: Any = None) -> Any:
        """Draw a figure over an axis, a line for each value of a column; a band from the least to the most over seeds.

        Parameters
        ----------
        x : str
            An axis, or another column.
        y : str
            A figure.
        hue : str, optional
            A column, a colour for each of its values; by default the machine if there are several.
        axes : matplotlib Axes, optional
            Where to draw; by default in a picture of its own.

        Returns
        -------
        Axes
            Of the picture ``.figure``.

        Raises
        ------
        ConfigError
            If there is no such column, or another one that differs between rows would be mixed into a line.
        """
        from analysis.plots import draw_lines

        drawable.check_columns(self.frame, x, y, *([hue] if hue else []))
        hue = hue or ("machine" if self.frame["machine"].nunique() > 1 else None)
        drawable.check_alike(self.frame, self.axes.names, {x, hue}, hue, "a line")
        return draw_lines(self.frame, (x, y, hue), self._title(y), axes)

    def heatmap(self, x: str, y: str, z: str, axes: Any = None) -> Any:
        """Draw a figure over two axes: a cell for each pair of values, its colour the median of the seeds, written in it if there is room.

        Parameters
        ----------
        x, y : str
            Axes, or other columns ("workload").
        z : str
            A figure.
        axes : matplotlib Axes, optional
            Where to draw; by default in a picture of its own.

        Returns
        -------
        Axes

        Raises
        ------
        ConfigError
            If there is no such column, or another one that differs between rows would be mixed into a cell.
        """
        from analysis.plots import draw_heatmap

        return draw_heatmap(drawable.grid(self.frame, self.axes.names, x, y, z), self._title(z), axes)

    def contour(self, x: str, y: str, z: str, axes: Any = None) -> Any:
        """Draw a figure over two axes with numbers: lines of equal value, the median of the seeds; arguments and errors are `heatmap`'s.

        Raises
        ------
        ConfigError
            Also if an axis is no number, has one value only, or a pair of values has not been run.
        """
        from analysis.plots import draw_contour

        return draw_contour(drawable.grid(self.frame, self.axes.names, x, y, z), self._title(z), axes)

    def plot_families(self, figure: Any = None) -> Any:
        """Draw what the time of all agents went into: a bar for each workload and machine, of the accounts' families; needs accounts=True.

        Returns
        -------
        Figure or SubFigure

        Raises
        ------
        ConfigError
            If there are no accounts, or points or regions would be mixed into a bar.
        """
        from analysis.plots import draw_families

        drawable.check_alike(self.frame, self.axes.names, {"machine", "workload"}, "machine", "a bar")
        return draw_families(families_frame(self.frame), figure)

    def _title(self, name: str) -> str:
        return next((metric.title for metric in self.metrics if metric.name == name), name)

    def where(self, **values: Any) -> "Experiment":
        """Return the part of the rows in which columns have some values: ``where(workload="sort", **{"tlb.entries": 64})``."""
        frame = self.frame
        for name, value in values.items():
            if name not in frame:
                raise ConfigError(f"{name}: the frame has no such column{suggestion(name, list(frame))}")
            frame = frame[frame[name] == value]
        points = tuple(point for point in self.axes.points if all(point[name] == values[name] for name in point.keys() & values.keys()))
        return Experiment(frame.reset_index(drop=True), Axes(self.axes.names, points, self.axes.product), self.metrics, self.notes)

    def _repr_html_(self) -> str:
        return str(self.frame._repr_html_())

    def __repr__(self) -> str:
        named = {name: self.frame[name].nunique() for name in ("machine", "workload", "seed")}
        counted = ", ".join(f"{number} {name}{'s' * (number != 1)}" for name, number in named.items())
        points = f"{len(self.axes.points)} points of {', '.join(self.axes.names) or 'no axis'}"
        return f"<Experiment {counted}, {points}: {len(self.frame)} rows>"


def experiment(
    machines: Any,
    workloads: Any,
    over: Any = None,
    *,
    seeds: Iterable[int] = (0,),
    warmup: int | float = 0,
    regions: "Named | None" = None,
    metrics: Iterable[str | Metric] | None = None,
    accounts: bool = False,
    phases: bool = False,
    terms: Terms | None = EQUAL,
    store: Any = None,
    executor: Any = None,
    threads: int = 2,
    shard: tuple[int, int] = (0, 1),
    progress: bool | None = None,
    share: float = 0.5,
    unit: str = "line",
    bytes: int = 8,
    title: str = "experiment",
) -> Experiment:
    """Run machines on workloads at every point of some axes, for every seed.

    Parameters
    ----------
    machines : mapping of str to Machine, iterable, or one
        Machines or names of presets, by the names they have in the frame.
    workloads : mapping of str to Trace, str or callable, iterable, or one
        Traces, names of recordings or files, or functions that make a trace of parameters, ``workloads.zipf``; a function with a parameter
        ``seed`` is given the seed. What has no device agent is offloaded, with the seed, as in `analysis.compare`.
    over : mapping, iterable of mappings or DataFrame, optional
        The axes, by name: ``"tlb.entries"`` a setting of every machine that has it, ``"GRU:tlb.entries"`` of one machine,
        ``"workload.pages"`` a parameter of the workloads that have it. ``{"a": [1, 2], "b": [3, 4]}`` is a product of four points,
        ``{("a", "b"): [(1, 3), (2, 4)]}`` a zip of two; dicts or the rows of a frame are a point each (`latin_hypercube` and `sobol`
        draw some).
    seeds : iterable of int
        Of what is random: each a run.
    warmup, regions
        As `hwmodel.simulate` takes them; each region is a row.
    metrics : iterable of str or Metric, optional
        Columns: names of `METRICS`, of the overhead (``"overhead_ns_per_access"``, which runs the bound beside each machine), or your own.
        By default all of `METRICS`, and of several machines the overhead, by which they are compared.
    accounts : bool
        Add a column for each account and side, ``"engine.fault_ns"``.
    phases : bool
        Add two columns for each path and phase of misses that need software (`Result.phases`): ``"phase.fault.driver_mean_ns"``, per
        miss of the path, and ``"phase.fault.driver_share_percent"`` of the path's latency.
    terms : Terms, optional
        On which several machines are compared; those of `analysis.compare` by default: the first machine's primary, and the device
        "coprocessor". None leaves them as they are, and so does one machine alone, by default. Axes come after the terms.
    store : path or list of paths, optional
        A file that keeps each finished point: the same experiment continues where it was ended, and a larger one computes what is new.
        Of a list, the points of the other files are copied to the first.
    executor : concurrent.futures.Executor or distributed.Client, optional
        Runs batches of points; by default `threads` threads, which share the traces. To a Dask cluster each trace travels once.
    threads : int
        Points that run at the same time if there is no executor.
    shard : (int, int)
        Run only the k-th of n parts of the runs, k from 0: every n-th run. The parts' rows are those of the whole.
    progress : bool, optional
        Show a progress bar; by default on a terminal or in a notebook.
    share, unit, bytes
        What an engine gets of a trace without device agents, as `workloads.offload` says.
    title : str
        What the progress bar says.

    Raises
    ------
    ConfigError
        If a point, a name or a seed is invalid, before anything runs; or the store can't be used.
    TraceError
        If a trace is invalid.
    """
    if threads < 1:
        raise ConfigError(f"threads: must be at least 1, not {threads}")
    chosen, notes = _on_terms(machines_of(machines), terms)
    sources, axes, figures = sources_of(workloads), axes_of(over), _figures(metrics, len(chosen) > 1)
    plan = planned(chosen, sources, axes, checked_seeds(seeds), {"share": share, "unit": unit, "bytes": bytes})
    plan = part_of(plan._replace(notes=notes + plan.notes), shard)
    parts = runs.parts(plan.traces, warmup, regions)
    shown = is_shown(progress)
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(opened_store(store)) if store is not None else None
        ways = Ways([parts] * len(plan.traces), executor, threads, opened, shown, title)
        found = _figures_of(plan, figures, (account_columns,) * accounts + (phase_columns,) * phases, ways)
    return Experiment(_frame(plan, found, axes), axes, figures, tuple(plan.notes))


def _on_terms(machines: dict[str, Machine], terms: Terms | None) -> tuple[dict[str, Machine], list[str]]:
    """Return several machines on equal terms, and how; one alone as it is, unless terms are given."""
    if terms is None or (terms == EQUAL and len(machines) == 1):
        return machines, []
    return on_equal_terms(machines, terms)


def _figures(asked: Iterable[str | Metric] | None, several: bool) -> tuple[Metric | Figure, ...]:
    """Return the figures that are asked for, by name or as they are; all metrics by default, after the overhead of several machines."""
    if asked is None:
        return (*FIGURES, *METRICS) if several else METRICS
    known: dict[str, Metric | Figure] = {figure.name: figure for figure in (*METRICS, *FIGURES)}
    found = []
    for one in [asked] if isinstance(asked, str) else asked:
        if isinstance(one, str) and one not in known:
            raise ConfigError(f"metrics: there is no {one}{suggestion(one, known)}")
        found.append(known[one] if isinstance(one, str) else one)
    return tuple(found)


def _figures_of(plan: Plan, figures: Figures, more: tuple[Columns, ...], ways: Ways) -> dict[Job, list[dict[str, Any]]]:
    """Return the rows' figures by job, a dict for each region; the bounds run first, if the figures need them."""
    jobs = [row.job for row in plan.rows]
    bounds: dict[Job, Job] = {}
    if any(isinstance(figure, Figure) for figure in figures):
        free = {machine: bound_of(machine) for machine in dict.fromkeys(job.machine for job in jobs) if machine.has_engines}
        bounds = {job: Job(free[job.machine], job.trace) for job in jobs if job.machine in free}
    passed = _told_by_a_pass(plan, figures, more, ways)
    of_bounds = batches.run(bounds.values(), plan.traces, ways, lambda job, result: result)
    free_of = {job: of_bounds[bound] for job, bound in bounds.items()}
    left = [job for job in jobs if job not in passed]
    return passed | batches.run(left, plan.traces, ways, lambda job, result: _rows(result, free_of.get(job), figures, more))


def _told_by_a_pass(plan: Plan, figures: Figures, more: tuple[Columns, ...], ways: Ways) -> dict[Job, list[dict[str, Any]]]:
    """Return the rows of points whose sizes alone differ, if one pass over the trace tells all that is asked for; note which way it was."""
    if set(METRICS) <= set(figures):  # nobody asked for less than a run tells
        return {}
    stored = ways.store is not None
    needs = {"accounts and phases": more, "warm-ups and regions": any(ways.parts), "stores, which keep whole results,": stored}
    needed = next((f"{what} need runs" for what, asked in needs.items() if asked), "")
    told, notes = onepass.tell((row.job for row in plan.rows), plan.traces, [figure.name for figure in figures], needed, ways.progress)
    plan.notes.extend(notes)
    return {job: [row] for job, row in told.items()}


def _rows(result: "Result", bound: "Result | None", figures: Iterable[Metric | Figure], more: tuple[Columns, ...]) -> list[dict[str, Any]]:
    """Return the figures of each region of a run, of the run itself if none has been asked for."""
    named = [name for name in result.regions if name != WARMUP]
    pairs = [(result.region(name), bound and bound.region(name)) for name in named] or [(result, bound)]
    rows = []
    for part, free in pairs:
        cost = overhead(part, free) if free else None
        row: dict[str, Any] = {"region": part.part} if named else {}
        for figure in figures:
            if isinstance(figure, Metric):
                row[figure.name] = figure.value(part)
            elif cost is not None:
                row[figure.name] = figure.value(cost)
        for columns in more:
            row |= columns(part)
        rows.append(row)
    return rows


def _frame(plan: Plan, found: Mapping[Job, list[dict[str, Any]]], axes: Axes) -> "pd.DataFrame":
    import pandas as pd

    frame = pd.DataFrame([row.about | figures for row in plan.rows for figures in found[row.job]])
    frame.attrs = {"axes": list(axes.names), "notes": list(plan.notes), "version": model_version(), "traces": plan.workloads}
    return frame


