"""Sweep settings of one machine over one trace, or over one for each seed: the simple form of `analysis.experiment`."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from analysis import runs
from analysis.experiments import experiment
from analysis.metrics import METRICS
from analysis.overhead import FIGURES
from hwmodel.arguments import machine_of
from hwmodel.config.errors import suggestion
from hwmodel.machine import ConfigError, Machine

if TYPE_CHECKING:
    import pandas as pd

    from hwmodel.regions import Named
    from hwmodel.trace import Trace

TRACE = "trace"
"""The name of a sweep's only workload, which its frame does not show."""


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
    metrics: Iterable[str] | None = None,
) -> "pd.DataFrame":
    """Run a machine with every combination of some settings.

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
    metrics : iterable of str, optional
        The names of those of ``analysis.METRICS`` that are asked for; all by default. If sizes of the TLB are swept, and the metrics
        follow from its misses alone, one pass over the trace tells all points where that is exact (`analysis.miss_curve`).

    Returns
    -------
    DataFrame
        One row for each point, seed and region, in the order of `itertools.product`: a column for each setting, by its dotted name,
        the seed if `seeds` are given, the region if `regions` are, every metric of ``analysis.METRICS`` (or those of `metrics`), then
        those of the overhead.
        ``attrs["configuration"]`` has the machine's settings, ``attrs["swept"]`` the names of the swept settings,
        ``attrs["trace"]`` the trace's info (the first seed's), ``attrs["notes"]`` the changes made to the trace, and, where sizes of the
        TLB are swept for some metrics, whether one pass told them or why each was simulated.

    Raises
    ------
    ConfigError
        If any point or seed is invalid. No point has run then.
    TraceError
        If the trace is invalid.
    """
    machine = machine_of(machine)
    if not callable(trace) or seeds is None:
        trace = runs.trace_of(trace)  # type: ignore[arg-type]  # refuses a function
    if not settings:
        raise ConfigError("sweep: there is no setting to sweep")
    wanted = _wanted(metrics) + [figure.name for figure in FIGURES if overhead and machine.has_engines]
    found = experiment(
        {machine.name: machine}, {TRACE: _seeded(trace)}, dict(settings), seeds=(0,) if seeds is None else seeds, warmup=warmup,
        regions=regions, metrics=None if metrics is None and not overhead else wanted, threads=threads, progress=progress, share=share,
        unit=unit, bytes=bytes, title="sweep",
    )  # fmt: skip
    about = [*settings, *(["seed"] if seeds is not None else []), *(["region"] if "region" in found.frame else [])]
    frame = found.frame[[*about, *wanted]]
    frame.attrs = {
        "machine": machine.name,
        "configuration": machine.flat(),
        "swept": list(settings),
        "trace": found.frame.attrs["traces"][TRACE],
        "notes": list(found.notes),
    }
    return frame


def _wanted(metrics: Iterable[str] | None) -> list[str]:
    """Return the names of the metrics asked for, in their order in `METRICS`; of all if none are."""
    known = [metric.name for metric in METRICS]
    if metrics is None:
        return known
    if isinstance(metrics, str):
        raise ConfigError(f"metrics: must be names of metrics, not {metrics!r}")
    asked = list(metrics)
    for name in asked:
        if name not in known:
            raise ConfigError(f"metrics: there is no metric {name!r}{suggestion(str(name), known)}")
    return [name for name in known if name in asked]


def _seeded(trace: "Trace | Callable[[int], Trace]") -> "Trace | Callable[..., Trace]":
    """Return a function of a seed, whatever its parameter is called, as one that `experiment` gives the seed; a trace as it is."""
    return (lambda seed: trace(seed)) if callable(trace) else trace
