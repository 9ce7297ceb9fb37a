"""Sweep settings of one machine over one trace, or over one for each seed."""

import functools
import itertools
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING, Any

from analysis import runs
from analysis.metrics import headline
from analysis.overhead import FIGURES, bound_of
from analysis.overhead import overhead as overhead_of
from analysis.replicates import Replica, replicas
from hwmodel.arguments import machine_of
from hwmodel.machine import ConfigError, Machine
from hwmodel.regions import WARMUP

if TYPE_CHECKING:
    import pandas as pd

    from hwmodel.measure.result import Result
    from hwmodel.regions import Named
    from hwmodel.trace import Trace

Job = tuple[Machine, int]
"""A machine, and the number of the replica that it runs."""


def sweep(
    machine: Machine | str,
    settings: Mapping[str, Iterable[Any]],
    trace: "Trace | str | Callable[[int], Trace]",
    threads: int = 2,
    share: float = 0.5,
    unit: str = "line",
    bytes: int = 8,
    progress: bool | None = None,
    seeds: Iterable[int] | None = None,
    overhead: bool = False,
    warmup: int | float = 0,
    regions: "Named | None" = None,
) -> "pd.DataFrame":
    """Run a machine with every combination of some settings; its parameters, more than eight, are what a run can be told.

    Parameters
    ----------
    machine : Machine or str
        The machine with all other settings, or the name of a preset.
    settings : mapping of str to iterable
        Values by dotted name: ``{"tlb.entries": [64, 256], "driver.interrupt_ns": [800, 1500]}`` are four points.
    trace : Trace, str or callable
        The trace that every point runs, or the name of a shipped recording or of a file; offloaded as in
        `analysis.compare` if it has no device agent. With `seeds`, also a function that makes a trace of a seed.
    threads : int
        Number of points that run at the same time; they share the trace.
    share : float
        Part of the data accesses that an engine gets if the trace has to be offloaded.
    unit, bytes
        What an access of that engine stands for, as `workloads.offload` says.
    progress : bool, optional
        Show a progress bar; by default on a terminal or in a notebook.
    seeds : iterable of int, optional
        Run every point once for each seed of what is random (`analysis.replicates`); `interval` sums a point's seeds up.
    overhead : bool
        Run, beside each point, the same engines with free translation, and add the figures of `analysis.overhead`.
    warmup : int or float
        Leave the first records out, so many or that share of them, as `hwmodel.simulate` does.
    regions : mapping of str to int, or iterable of (str, int), optional
        The first record of each region by its name, as `hwmodel.simulate` takes them; a row for each.

    Returns
    -------
    DataFrame
        One row for each point, seed and region, in the order of `itertools.product`: a column for each setting, by its dotted name,
        the seed if `seeds` are given, the region if `regions` are, every metric of ``analysis.METRICS``, then those of the overhead.
        ``attrs["configuration"]`` has the machine's settings, ``attrs["swept"]`` the names of the swept settings,
        ``attrs["trace"]`` the trace's info (the first seed's), ``attrs["notes"]`` the changes made to the trace.

    Raises
    ------
    ConfigError
        If any point or seed is invalid. No point has run then.
    TraceError
        If the trace is invalid.
    """
    import pandas as pd

    machine, trace = machine_of(machine), trace if callable(trace) else runs.trace_of(trace)
    points = combinations(settings)
    machines = [machine.with_(**point) for point in points]
    if threads < 1:
        raise ConfigError(f"threads: must be at least 1, not {threads}")
    bounds = [bound_of(m) for m in machines] if overhead and machine.has_engines else []
    found = replicas(trace, [*machines, *bounds], seeds, share=share, unit=unit, bytes=bytes)
    parts = runs.parts({replica.of(m) for replica in found for m in machines}, warmup, regions)
    runner = functools.partial(_run, found, parts=parts, threads=threads, progress=runs.interactive() if progress is None else progress)
    free = runner(bounds, lambda job, result: result)  # points that differ in translation alone have one bound: it runs once
    bound = dict(zip(machines, bounds, strict=False))
    rows = runner(machines, lambda job, result: _rows(result, free.get((bound.get(job[0]), job[1]))))
    frame = pd.DataFrame([
        point | ({} if replica.seed is None else {"seed": replica.seed}) | row
        for point, m in zip(points, machines, strict=True) for k, replica in enumerate(found) for row in rows[m, k]
    ])  # fmt: skip
    shown = found[0].plain
    frame.attrs = {
        "machine": machine.name,
        "configuration": machine.flat(),
        "swept": list(settings),
        "trace": {"name": shown.name, **shown.info},
        "notes": [found[0].note] if found[0].note else [],
    }
    return frame


def combinations(settings: Mapping[str, Iterable[Any]]) -> list[dict[str, Any]]:
    """Return every combination of the values, by dotted name.

    Raises
    ------
    ConfigError
        If there is no setting, or one without values.
    """
    values = {name: _listed(name, given) for name, given in settings.items()}
    if not values:
        raise ConfigError("sweep: there is no setting to sweep")
    return [dict(zip(values, point, strict=True)) for point in itertools.product(*values.values())]


def _listed(name: str, given: Iterable[Any]) -> list[Any]:
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ConfigError(f"{name}: a sweep needs a list of values, not {given!r}")
    values = list(given)
    if not values:
        raise ConfigError(f"{name}: there is no value to sweep")
    return values


def _rows(result: "Result", bound: "Result | None") -> list[dict[str, Any]]:
    """Return the figures of each region of a run, of the run itself if none has been asked for; with its overhead beyond a bound."""
    named = [name for name in result.regions if name != WARMUP]
    pairs = [(result.region(name), bound and bound.region(name)) for name in named] or [(result, bound)]
    return [({"region": part.part} if named else {}) | headline(part) | _overhead(part, free) for part, free in pairs]


def _overhead(result: "Result", bound: "Result | None") -> dict[str, float]:
    """Return the figures of a run's overhead, none if its bound has not run."""
    return {figure.name: figure.value(overhead_of(result, bound)) for figure in FIGURES} if bound else {}


def _run(
    found: list[Replica], machines: list[Machine], keep: "Callable[[Job, Result], Any]", parts: dict[str, Any], threads: int, progress: bool
) -> dict[Any, Any]:
    """Run machines on every replica, once each; return what `keep` takes of each result."""
    from tqdm import tqdm

    jobs = list(dict.fromkeys((machine, k) for machine in machines for k in range(len(found))))
    with (
        ThreadPoolExecutor(threads) as pool,
        tqdm(total=len(jobs), desc="sweep", unit="run", disable=not (progress and jobs)) as bar,
    ):
        futures = {job: pool.submit(_one, job, found[job[1]], keep, parts) for job in jobs}
        try:
            for future in as_completed(futures.values()):
                future.result()
                bar.update()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return {job: future.result() for job, future in futures.items()}


def _one(job: Job, replica: Replica, keep: "Callable[[Job, Result], Any]", parts: dict[str, Any]) -> Any:
    return keep(job, runs.simulate(job[0], replica.of(job[0]), progress=False, **parts))
