"""Sweep settings of one machine over one trace."""

import itertools
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING, Any

from analysis import runs
from analysis.metrics import headline
from hwmodel.arguments import machine_of
from hwmodel.machine import ConfigError, Machine

if TYPE_CHECKING:
    import pandas as pd

    from hwmodel.trace import Trace


def sweep(
    machine: Machine | str,
    settings: Mapping[str, Iterable[Any]],
    trace: "Trace | str",
    threads: int = 2,
    share: float = 0.5,
    unit: str = "line",
    bytes: int = 8,
    progress: bool | None = None,
) -> "pd.DataFrame":
    """Run a machine with every combination of some settings.

    Parameters
    ----------
    machine : Machine or str
        The machine with all other settings, or the name of a preset.
    settings : mapping of str to iterable
        Values by dotted name: ``{"tlb.entries": [64, 256], "driver.interrupt_ns": [800, 1500]}`` are four points.
    trace : Trace or str
        The trace that every point runs, or the name of a shipped recording or of a file; offloaded as in
        `analysis.compare` if it has no device agent.
    threads : int
        Number of points that run at the same time; they share the trace.
    share : float
        Part of the data accesses that an engine gets if the trace has to be offloaded.
    unit, bytes
        What an access of that engine stands for, as `workloads.offload` says.
    progress : bool, optional
        Show a progress bar; by default on a terminal or in a notebook.

    Returns
    -------
    DataFrame
        One row for each point, in the order of `itertools.product`: a column for each setting, by its dotted name, then
        every metric of ``analysis.METRICS``. ``attrs["configuration"]`` has the machine's settings, ``attrs["swept"]``
        the names of the swept settings, ``attrs["trace"]`` the trace's info, ``attrs["notes"]`` the changes made to the trace.

    Raises
    ------
    ConfigError
        If any point is invalid. No point has run then.
    TraceError
        If the trace is invalid.
    """
    import pandas as pd

    machine, trace = machine_of(machine), runs.trace_of(trace)
    points = combinations(settings)
    machines = [machine.with_(**point) for point in points]
    if threads < 1:
        raise ConfigError(f"threads: must be at least 1, not {threads}")
    plain, shared, note = runs.offloaded(trace, machines, share, unit, bytes)
    chosen = [shared if point.has_engines else plain for point in machines]
    rows = _run(list(zip(machines, chosen, strict=True)), threads, runs.interactive() if progress is None else progress)
    frame = pd.DataFrame([{**point, **row} for point, row in zip(points, rows, strict=True)])
    frame.attrs = {
        "machine": machine.name,
        "configuration": machine.flat(),
        "swept": list(settings),
        "trace": {"name": trace.name, **trace.info},
        "notes": [note] if note else [],
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


def _run(points: "list[tuple[Machine, Trace]]", threads: int, progress: bool) -> list[dict[str, float]]:
    from tqdm import tqdm

    with (
        ThreadPoolExecutor(threads) as pool,
        tqdm(total=len(points), desc="sweep", unit="run", disable=not progress) as bar,
    ):
        futures = [pool.submit(_headline, machine, trace) for machine, trace in points]
        try:
            for future in as_completed(futures):
                future.result()
                bar.update()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [future.result() for future in futures]


def _headline(machine: Machine, trace: "Trace") -> dict[str, float]:
    return headline(runs.simulate(machine, trace, progress=False))
