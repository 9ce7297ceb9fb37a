"""What one operation on memory costs, and whom: the calling CPU, the CPUs that it interrupts, the engines, the CPU that serves them.

Every point is a run of `workloads.operation`, with what comes before the operation as its warm-up; nothing is computed by a formula.
"""

import contextlib
import os
from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from analysis import batches, payers
from analysis.batches import Job, Ways
from analysis.payers import NO_COSTS, PAYERS, Step
from analysis.pointstore import PointStore
from hwmodel import html
from hwmodel.arguments import is_shown, machines_of
from hwmodel.machine import ConfigError, Machine

if TYPE_CHECKING:
    import pandas as pd

    from hwmodel.measure.result import Result
    from hwmodel.trace import Trace

POINT = ["machine", "kind", "pages", "threads"]
"""The columns that say which point a row is of."""


STEPS = (
    ("kernel.flush_ceiling_pages", 1, "flushes.full", "above {} pages a flush drops all translations"),
    ("kernel.gather_pages", 0, "flushes", "from {} pages on a gather is full: it is flushed, and begins anew"),
)
"""Settings at whose value a cost has a step: by how many pages the step is beyond the value, what changes there, and how that is told."""


class _Point(NamedTuple):
    """A run: of which machine, by its name, of how many pages and threads, with how many devices."""

    machine: str
    pages: int
    threads: int
    devices: int


@dataclass(frozen=True, eq=False, repr=False)
class OperationCost:
    """What an operation has cost.

    Attributes
    ----------
    frame : DataFrame
        Who paid for what: a row for each machine, kind, pages, threads, payer (`analysis.payers.PAYERS`) and account that has cycles,
        with the account's family and cause, cycles and ns. The rows of a point add up to the clocks of all agents from the operation
        on; those of the families "work" and "waiting" are no cost of it.
    counts : DataFrame
        What was counted from the operation on: machine, kind, pages, threads, counter, count; without the counters that are 0.
    durations : DataFrame
        How long the caller was in the operation, and in the faults of its own that followed: machine, kind, pages, threads, duration_ns.
    machines : dict of str to Machine
        By the names in the frame.
    notes : tuple of str
        What a reader must know: points at which nobody was interrupted.
    """

    frame: "pd.DataFrame"
    counts: "pd.DataFrame"
    durations: "pd.DataFrame"
    machines: dict[str, Machine]
    notes: tuple[str, ...]

    @property
    def costs(self) -> "pd.DataFrame":
        """Return the rows of `frame` that are costs of the operation."""
        return self.frame[~self.frame["family"].isin(NO_COSTS)]

    @property
    def total(self) -> "pd.DataFrame":
        """Return a row for each point.

        Returns
        -------
        DataFrame
            machine, kind, pages, threads; ``duration_ns`` of the calls (and of the faults of a "cow"), as the caller sees it;
            ``cost_ns`` of all payers; of this ``calling_cpu_ns`` and so on, a column for each payer; ``cost_ns_per_page``.
        """
        by_payer = self.costs.pivot_table(index=POINT, columns="payer", values="ns", aggfunc="sum", fill_value=0.0)
        by_payer = by_payer.reindex(columns=list(PAYERS), fill_value=0.0)
        found = self.durations.set_index(POINT).join(by_payer).fillna(0.0)
        found.insert(1, "cost_ns", found[list(PAYERS)].sum(axis=1))
        found = found.rename(columns={payer: _column(payer) for payer in PAYERS})
        found["cost_ns_per_page"] = found["cost_ns"] / found.index.get_level_values("pages")
        return found.reset_index()

    def steps(self, machine: str) -> list[Step]:
        """Return the steps that a machine's runs show.

        Parameters
        ----------
        machine : str
            Its name in the frame.

        Returns
        -------
        list of Step
            The ceiling of ranged flushes, if up to it no flush is full, or always as many, and above it more are; the gather's size, if
            there are always as many flushes below it, and more from it on.
        """
        settings, counted = self.machines[machine].provenance(), self._flushes(machine)
        found = []
        for name, beyond, column, says in STEPS:
            about = settings[name]
            first = int(about.value) + beyond
            below, above = (counted.loc[chosen, column] for chosen in (counted["pages"] < first, counted["pages"] >= first))
            if len(below) and len(above) and below.nunique() == 1 and above.min() > below.max():
                found.append(Step(int(about.value), name, about.source, says.format(f"{about.value:,}")))
        return found

    def plot(self, by: str = "cause", pages: int | None = None, threads: int | None = None, figure: Any = None) -> Any:
        """Draw the cost over pages, and over CPUs: a panel for each machine, a line for each cause or payer.

        Parameters
        ----------
        by : "cause" or "payer"
            What the lines are.
        pages : int, optional
            Of the panels over CPUs; by default the one in the middle of those that were run.
        threads : int, optional
            Of the panels over pages; by default the most that were run.
        figure : Figure or SubFigure, optional
            Where to draw.

        Returns
        -------
        Figure or SubFigure

        Raises
        ------
        ConfigError
            If there is no such way to draw it, or no such point has been run.
        """
        from analysis.plots.operations import draw_operation

        if by not in ("cause", "payer"):
            raise ConfigError(f"by: must be cause or payer, not {by!r}")
        found: dict[str, int] = {}
        for name, asked, usual in (("pages", pages, lambda known: known[len(known) // 2]), ("threads", threads, max)):
            known = sorted(self.frame[name].unique())
            if asked is not None and asked not in known:
                raise ConfigError(f"{name}: {asked} has not been run; it is one of {', '.join(map(str, known))}")
            found[name] = int(usual(known) if asked is None else asked)
        steps = {name: self.steps(name) for name in self.machines}
        measured = payers.Costs(self.frame["kind"].iloc[0], self.costs, self.total, steps, self.notes)
        return draw_operation(measured, by, found["pages"], found["threads"], figure)

    def __repr__(self) -> str:
        sizes = {name: self.frame[name].nunique() for name in ("pages", "threads")}
        return (
            f"<OperationCost of {self.frame['kind'].iloc[0]} on {', '.join(self.machines)}: "
            f"{sizes['pages']} numbers of pages, {sizes['threads']} of threads>"
        )

    def _repr_html_(self) -> str:
        total = self.total.drop(columns="kind")
        total = total.loc[:, (total != 0).any()]
        people = {_column(payer): f"{payer}, ns" for payer in PAYERS}
        people |= {"duration_ns": "the caller waits, ns", "cost_ns": "cost, ns", "cost_ns_per_page": "cost, ns per page"}
        named = [people.get(name, name) for name in total]
        table = html.table(named, total.itertuples(index=False), "points")
        return html.block(f"What one {self.frame['kind'].iloc[0]} costs", table, html.lines(*self.notes))

    def _flushes(self, machine: str) -> "pd.DataFrame":
        """Return pages, full flushes and all flushes of each point of a machine."""
        names = ["flushes.full", "flushes.ranged"]
        here = self.counts[self.counts["machine"] == machine]
        table = here.pivot_table(index=["pages", "threads"], columns="counter", values="count", fill_value=0)
        table = table.reindex(columns=names, fill_value=0)
        return table.assign(flushes=table.sum(axis=1)).reset_index()


def operation_cost(
    machines: Any,
    kind: str,
    pages: int | Iterable[int] | None = None,
    threads: int | Iterable[int] = 4,
    devices: int | None = None,
    touched: float = 1.0,
    busy: bool = True,
    *,
    store: str | os.PathLike[str] | None = None,
    executor: Executor | None = None,
    workers: int = 2,
    progress: bool | None = None,
) -> OperationCost:
    """Measure what one operation on memory costs, by who pays and for what.

    Parameters
    ----------
    machines : mapping of str to Machine, iterable, or one
        Machines or names of presets, by the names they have in the frame.
    kind : str
        As `workloads.operation` takes it: "munmap", "mprotect", "mremap", "fork", "cow", "dontneed" ...
    pages : int or iterable of int, optional
        Pages of 4 KiB of its range. By default the powers of 4 up to 65,536, and 100,000, with the machines' steps (the ceiling of
        ranged flushes, the size of the gather) and one page to either side of each.
    threads : int or iterable of int
        CPUs that share the memory, the calling one included. Each number of pages runs with each number of threads.
    devices : int, optional
        Engines that have used the pages; by default one on machines that have engines, else none.
    touched, busy
        As `workloads.operation` takes them: the part of the pages that is in memory; whether the others are at work meanwhile.
    store, executor, progress
        As `analysis.experiment` takes them.
    workers : int
        Points that run at the same time if there is no executor.

    Returns
    -------
    OperationCost

    Raises
    ------
    ConfigError
        If a number is none, or a machine without engines shall have devices; before anything runs.
    TraceError
        If `workloads.operation` refuses an argument; names it.
    """
    if workers < 1:
        raise ConfigError(f"workers: must be at least 1, not {workers}")
    chosen = machines_of(machines)
    sizes = _default_pages(chosen) if pages is None else whole_numbers("pages", pages)
    points = [
        _Point(name, size, cpus, _engines(name, machine, devices))
        for name, machine in chosen.items() for size in sizes for cpus in whole_numbers("threads", threads)
    ]  # fmt: skip
    traces = _traces(kind, points, touched, busy)
    numbers = {key: number for number, key in enumerate(traces)}
    jobs = {point: Job(chosen[point.machine], numbers[point[1:]]) for point in points}
    parts = [{"warmup": trace.info["record"]} for trace in traces.values()]
    shown = is_shown(progress)
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(PointStore(store)) if store is not None else None
        ways = Ways(parts, executor, workers, opened, shown, kind)
        results = batches.run(jobs.values(), list(traces.values()), ways, lambda job, result: result)
    return _told(kind, {point: results[job] for point, job in jobs.items()}, chosen)


def whole_numbers(name: str, given: int | Iterable[int]) -> list[int]:
    """Return one or several whole numbers as a list, each once, in order.

    Raises
    ------
    ConfigError
        If there is none, one is no whole number, or one comes twice.
    """
    alone = isinstance(given, str | int | float | np.number) or not isinstance(given, Iterable)
    listed: list[Any] = [given] if alone else list(given)  # type: ignore[arg-type]  # it is iterable
    if not listed or any(isinstance(one, bool) or not isinstance(one, int | np.integer) for one in listed):
        raise ConfigError(f"{name}: must be whole numbers, at least one, not {given!r}")
    if len(set(listed)) < len(listed):
        raise ConfigError(f"{name}: one of {listed} comes twice")
    return sorted(int(one) for one in listed)


def _column(payer: str) -> str:
    """Return the name of a payer's column in `OperationCost.total`."""
    return f"{payer.lower().replace(' ', '_')}_ns"


def _default_pages(machines: dict[str, Machine]) -> list[int]:
    steps = {machine.get(name) for machine in machines.values() for name, *_ in STEPS}
    return sorted({4**k for k in range(9)} | {100_000} | {step + aside for step in steps for aside in (-1, 0, 1)})


def _engines(name: str, machine: Machine, devices: int | None) -> int:
    """Return the devices that a machine has at its points."""
    if devices is None:
        return int(machine.has_engines)
    if devices and not machine.has_engines:
        raise ConfigError(f"devices: {name} has no engines, so it can't have {devices}; leave devices out, or give 0")
    machine.check_engines(devices)
    return devices


def _traces(kind: str, points: list[_Point], touched: float, busy: bool) -> "dict[tuple[int, int, int], Trace]":
    """Return the traces of points by pages, threads and devices."""
    from workloads import operation

    return {key: operation(kind, *key, touched, busy) for key in dict.fromkeys(point[1:] for point in points)}  # type: ignore[arg-type]


def _told(kind: str, results: "dict[_Point, Result]", machines: dict[str, Machine]) -> OperationCost:
    import pandas as pd

    rows: list[dict[str, Any]] = []
    counts, durations, alone = [], [], []
    for point, result in results.items():
        about = dict(zip(POINT, (point.machine, kind, point.pages, point.threads), strict=True))
        rows += [about | row for row in payers.rows(result)]
        counts += [about | {"counter": name, "count": count} for name, count in result.counters.items() if count]
        durations.append(about | {"duration_ns": _duration(result)})
        if point.threads > 1 and not _answered(result):
            alone.append(point)
    notes = [_alone(kind, [point for point in alone if point.machine == name]) for name in dict.fromkeys(p.machine for p in alone)]
    frame = pd.DataFrame(rows, columns=[*POINT, "payer", "account", "family", "cause", "cycles", "ns"])
    tables = pd.DataFrame(counts, columns=[*POINT, "counter", "count"]), pd.DataFrame(durations)
    return OperationCost(frame, *tables, machines, tuple(notes))


def _duration(result: "Result") -> float:
    """Return how long the caller was in the operation, and in the faults of its own that followed, in ns."""
    kinds = [kind for kind in result.book.latencies if kind.startswith("op.")] + ["cpu_fault"]
    return sum(int(result.latency(kind).row[1]) for kind in kinds) * result.ns_per_cycle


def _answered(result: "Result") -> bool:
    """Return whether a CPU besides the caller's answered an interrupt."""
    cycles = result.ledger.column("ipi_respond")
    return any(int(n) for n, agent in zip(cycles[1:], result.agents[1:], strict=True) if agent.role == "cpu")


def _alone(kind: str, points: list[_Point]) -> str:
    sizes = sorted({point.pages for point in points})
    told = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
    return (
        f"{points[0].machine}: {kind} of {told} pages interrupted no other CPU, though up to {max(p.threads for p in points)} threads "
        "share the memory: they are done with their work (busy=False), or there was nothing to flush."
    )
