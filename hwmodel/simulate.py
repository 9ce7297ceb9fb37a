"""`simulate`: run a trace on a machine; `simulate_all`: on several, which read it once."""

import time
import warnings
from collections.abc import Iterable
from typing import Any

from hwmodel.arguments import is_shown, machine_of, trace_of
from hwmodel.config import ConfigError
from hwmodel.core.tables import NEVER
from hwmodel.events import Events
from hwmodel.machine import Machine
from hwmodel.measure.result import Result
from hwmodel.op import TraceError
from hwmodel.recorder import Recorder, Search, Watcher, interval_of
from hwmodel.regions import Named, Regions, regions_of
from hwmodel.run import NOBODY, DeadlockError, Run, drive, engines_of, power_on
from hwmodel.secondary import book
from hwmodel.trace import Trace

CHUNK = 1 << 18
ALONE = "found every other thread of its address space done"
"""In the warning of operations that interrupted nobody, for those who expect that."""


def simulate(
    machine: Machine | str,
    trace: Trace | str,
    *,
    progress: bool | None = None,
    strict: bool = False,
    runahead: bool = True,
    chunk: int = CHUNK,
    capacity: int | None = None,
    warmup: int | float = 0,
    regions: Named | None = None,
    events: Events | None = None,
    sample_ns: float | None = None,
) -> Result:
    """Run a trace on a machine.

    Parameters
    ----------
    machine : hwmodel.machine.Machine or str
        From `hwmodel.preset`; or the name of a preset, or of a file (.toml).
    trace : Trace or str
        Or, once `workloads` is imported, the name of a shipped recording or of a file. Its device agents are the machine's
        engines; each CPU agent runs on a CPU of its own.
    progress : bool, optional
        Show a progress bar; by default on a terminal or in a notebook, for runs of a second or more.
    strict : bool
        Refuse a trace with an access that it has no right to make, instead of counting it as `segv` and warning.
    runahead : bool
        Let agents take private steps ahead of the others: faster, with the same result.
    chunk : int
        Records read at a time; never changes a result.
    capacity : int, optional
        Rows of every growing table at the start; never changes a result.
    warmup : int or float
        Leave the first records out of the result, so many or (a float) that share of them: `Result.region("warmup")` has them. Its
        end is a SYNC of all address spaces: what comes before it is complete, and the clocks have come to it, before the rest begins.
    regions : mapping of str to int, or iterable of (str, int), optional
        The first record of each region by its name; it reaches to the next one, and begins with a SYNC likewise. `Result.region`
        has each. A record, an operation with its operands and an access of two halves are never cut: what would begin within one
        begins behind it.
    events : Events, optional
        Keep events of the run, or of some of its moments, in `Result.events`; changes nothing else. Times are those of the whole run, the
        warm-up included.
    sample_ns : float, optional
        Keep the counters and accounts of each interval of so many ns, rounded to whole cycles, in `Result.samples`; changes nothing else.

    Raises
    ------
    TraceError
        The trace is invalid, uses an operation that is not modelled, or (strict) makes an access without a right.
    ConfigError
        The machine lacks engines, CPUs or memory for the trace, or its costs take a clock past the latest time there is; or the
        warm-up or a region begins nowhere in the trace; or the counter of `events` is none, or there are too many samples.

    Warns
    -----
    UserWarning
        The trace is empty, makes an access without a right, or has no device agent for a machine with a secondary MMU; or the counter that
        `events` names never increased.
    """
    told: dict[str, Any] = {"progress": progress, "strict": strict, "runahead": runahead, "chunk": chunk, "capacity": capacity}
    machine, trace = machine_of(machine), trace_of(trace)
    parts = regions_of(trace, warmup, regions)
    return _simulated([machine], trace, parts, watcher=watcher_of(machine, trace, parts, events, sample_ns, told), **told)[0]


def simulate_all(
    machines: Iterable[Machine | str],
    trace: Trace | str,
    *,
    progress: bool | None = None,
    warmup: int | float = 0,
    regions: Named | None = None,
) -> list[Result]:
    """Run a trace on several machines at the cost of decoding, checking and making it once; each result is that of `simulate`.

    All take a chunk of records before the next is read, so the machines are in memory together: some tens of megabytes each.

    Parameters
    ----------
    machines : iterable of Machine or str
        Their results come in the same order.
    trace, progress, warmup, regions
        As `simulate` takes them.
    """
    trace = trace_of(trace)
    return _simulated([machine_of(machine) for machine in machines], trace, regions_of(trace, warmup, regions), progress=progress)


def _simulated(
    machines: list[Machine], trace: Trace, parts: Regions, progress: bool | None, strict: bool = False, chunk: int = CHUNK, **options: Any
) -> list[Result]:
    begun = time.perf_counter()
    checker, runs = power_on(machines, trace, parts, **options)
    with bar(progress, trace.known_size) as shown:
        for fed in drive(runs, checker.chunks(chunk)):
            shown.update(fed - shown.n)
    seconds = (time.perf_counter() - begun) / max(len(runs), 1)
    results = [run.finish(seconds) for run in runs]
    for run, machine in zip(runs, machines, strict=True):
        report_segv(run, trace, strict)
        report_idle(run, machine, trace)
        report_alone(run, trace)
    return results


def watcher_of(
    machine: Machine, trace: Trace, parts: Regions, events: Events | None, sample_ns: float | None, told: dict[str, Any]
) -> Watcher:
    """Return what records a run; moments of a counter are looked for by another run, which ends at the last of them."""
    interval, moments = interval_of(machine, sample_ns), []
    if events is None and not interval:
        return NOBODY
    if events is not None and not isinstance(events, Events):
        raise ConfigError(f"events: must be hwmodel.Events(...), not {type(events).__name__}")
    if events is not None and events.around is not None:
        counters = tuple(book(machine.design).counters)
        events.check_counter(counters)
        search = Search(counters.index(events.around), events.moments)
        options = {name: told[name] for name in ("runahead", "capacity")}
        checker, (run,) = power_on([machine], trace, parts, watcher=search, **options)
        for _ in drive([run], checker.chunks(told["chunk"])):
            pass
        moments = search.found(run.m)
        if not moments:
            warnings.warn(f"events: {events.around} never increased, so nothing is recorded", stacklevel=3)
    return Recorder(machine, events, moments, interval)


def bar(progress: bool | None, size: tuple[int, int] | None) -> Any:
    """Return a progress bar over the records; by default shown only on a terminal or in a notebook, and after a second."""
    from tqdm import tqdm

    records = size[0] if size else None
    shown = is_shown(progress)
    return tqdm(total=records, unit=" records", unit_scale=True, disable=not shown, leave=False, delay=0 if progress else 1)


def report_segv(run: Run, trace: Trace, strict: bool) -> None:
    """Warn of accesses without a right, or, if `strict`, raise TraceError."""
    first = int(run.m.ctl[0].first_segv)
    if first < NEVER:
        message = f"{trace.prefix}record {run.record_of(first)}: the first access without a right to it (counted as segv, not retried)"
        if strict:
            raise TraceError(message)
        warnings.warn(message, stacklevel=4)


def report_idle(run: Run, machine: Machine, trace: Trace) -> None:
    """Warn of a run of an empty trace, and of one whose machine has a secondary MMU that nobody used."""
    if run.m.ctl[0].fed == 0:
        warnings.warn(f"{trace.prefix}the trace has no records", stacklevel=4)
    elif engines_of(trace) == 0 and machine.has_engines:
        warnings.warn(
            f"{trace.prefix}the trace has no device agent, so nothing of {machine.name} is used but CPUs and kernel (workloads.offload)",
            stacklevel=4,
        )


def report_alone(run: Run, trace: Trace) -> None:
    """Warn of an operation whose flush interrupted nobody since the other threads of its address space had nothing left to do."""
    first = int(run.m.ctl[0].first_alone)
    if first < NEVER:
        found = f"{trace.prefix}record {run.record_of(first)}: the first operation that {ALONE}"
        warnings.warn(f"{found}: its flush interrupts nobody (a thread is at work while it has records behind the operation)", stacklevel=4)


__all__ = ["DeadlockError", "simulate", "simulate_all"]
