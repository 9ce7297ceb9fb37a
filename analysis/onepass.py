"""What TLBs of many sizes miss, from one pass over the trace and one run, where that is exact; why not, elsewhere.

With one access in flight an engine finishes each before it issues the next, so its entries come in the order of the trace, whatever a miss
costs. What is left to check are the settings (`why_not`), the order of invalidations (`analysis.fences`), and that the engine has a right
to each access (from the run, whose counts must be those of the pass).
"""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from analysis import runs
from analysis.batches import Job
from analysis.fences import Fences, UnorderedError
from hwmodel.machine import Machine

if TYPE_CHECKING:
    from hwmodel.trace import Trace

SIZES = ("tlb.entries", "tlb.ways")
"""The settings that the pass covers."""
COUNTERS = ("device.accesses", "device.tlb.hits", "device.tlb.misses")
"""What the pass counts, as runs do."""
FIGURES = ("device_accesses", "device_miss_rate_percent", "software_faults")
"""The metrics that follow from these counts alone: with one access in flight each miss is one fault."""
CHUNK = 1 << 18


def why_not(machine: Machine, trace: "Trace") -> str:
    """Return why a machine's misses do not follow from the order of its accesses alone, as far as settings say; empty if they do."""
    engines = sum(agent.role == "device" for agent in trace.agents)
    if machine.design != "gru":
        return f"the design {machine.design} has no TLB whose only contents are an engine's translations"
    if engines != 1:
        return f"the trace has {engines or 'no'} engines, not one"
    if machine.get("device.window") != 1:
        return f"device.window is {machine.get('device.window')}, so misses overlap with accesses behind them"
    if machine.get("tgh.purges") != "pages":
        return 'tgh.purges is "sets", so an invalidation drops other pages too'
    if machine.get("kernel.thp") == "always":
        return 'kernel.thp is "always", so faults split and replace huge pages'
    return ""


def counts(machines: Sequence[Machine], trace: "Trace", progress: bool | None = None) -> tuple[list[dict[str, int]], str]:
    """Return what each machine counts on a trace, from one pass and a run of the first; or nothing, and why a pass does not tell.

    Parameters
    ----------
    machines : sequence of Machine
        One machine with several sizes of its TLB (`SIZES`).
    trace : Trace
        The trace that each of them would run.
    progress : bool, optional
        As `hwmodel.simulate` takes it.

    Raises
    ------
    TraceError, ConfigError
        As a run does.
    RuntimeError
        If pass and run differ: a defect of the pass.
    """
    reason = why_not(machines[0], trace)
    if reason:
        return [], reason
    try:
        found = walked(machines, trace)
    except UnorderedError as problem:
        return [], str(problem)
    run = runs.simulate(machines[0], trace, progress).counters
    if run["segv"]:
        return [], f"the trace makes {run['segv']} accesses without a right"
    if {name: run[name] for name in COUNTERS} != found[0]:
        raise RuntimeError(f"{machines[0].name}: one pass for all sizes counts {found[0]}, a run {[run[name] for name in COUNTERS]}")
    return found, ""


def tell(
    jobs: Iterable[Job], traces: "Sequence[Trace]", names: Sequence[str], needed: str, progress: bool | None
) -> tuple[dict[Job, dict[str, Any]], list[str]]:
    """Return the figures of those jobs that a pass over their trace tells, and how jobs that differ in sizes alone were come by.

    Parameters
    ----------
    jobs : iterable of Job
        The runs of an experiment.
    traces : sequence of Trace
        By number.
    names : sequence of str
        The metrics that are asked for.
    needed : str
        Why each size has to be simulated, whatever its misses; empty if nothing but metrics is asked for.
    progress : bool, optional
        As `hwmodel.simulate` takes it.
    """
    found: dict[Job, dict[str, Any]] = {}
    notes: dict[str, str] = {}
    others = [name for name in names if name not in FIGURES]
    if others and not needed:
        needed = f"{others[0] if len(others) == 1 else f'{others[0]} and {len(others) - 1} other metrics'} can't be told from misses"
    for same in _families(jobs):
        machines = [job.machine for job in same]
        counted, reason = ([], needed) if needed else counts(machines, traces[same[0].trace], progress)
        notes.setdefault(told(reason), machines[0].name)
        rows = map(figures, counted)
        found |= {job: {name: row[name] for name in names} for job, row in zip(same, rows, strict=False)}
    return found, [note if len(notes) == 1 else f"{name}: {note}" for note, name in notes.items()]


def _families(jobs: Iterable[Job]) -> list[list[Job]]:
    """Return jobs that differ in sizes of the TLB alone, those that have such together."""
    families: dict[tuple[Any, ...], list[Job]] = {}
    for job in dict.fromkeys(jobs):
        settings = job.machine.flat()
        if settings.keys() >= set(SIZES):
            rest = tuple((name, value) for name, value in settings.items() if name not in SIZES)
            families.setdefault((job.machine.design, job.trace, rest), []).append(job)
    return [family for family in families.values() if len(family) > 1]


def walked(machines: Sequence[Machine], trace: "Trace") -> list[dict[str, int]]:
    """Return what each machine counts, if the engine has a right to each access; raise UnorderedError where the order is not fixed."""
    from hwmodel.modelled import Checker
    from workloads.stacks import Stacks

    sizes = [[machine.get(name) for name in SIZES] for machine in machines]
    shapes = [(entries // ways, ways) for entries, ways in sizes]
    stacks = Stacks([agent.role for agent in trace.agents].index("device"), shapes)
    walk = Fences(machines[0], trace, stacks)
    for chunk in Checker(trace).chunks(CHUNK):
        walk.take(chunk.ops)
    hits = [stacks.hits(*shape) for shape in shapes]
    return [dict(zip(COUNTERS, (stacks.accesses, n, stacks.accesses - n), strict=True)) for n in hits]


def figures(counted: dict[str, int]) -> dict[str, Any]:
    """Return the metrics that follow from a machine's counts (`FIGURES`)."""
    accesses, _, misses = (counted[name] for name in COUNTERS)
    return dict(zip(FIGURES, (accesses, 100 * (misses / accesses if accesses else math.nan), misses), strict=True))


def told(reason: str) -> str:
    """Return a note that says which path was taken; `reason`: why not the pass."""
    return f"Each size was simulated: {reason}." if reason else "All sizes come from one pass over the trace, by stack distances."
