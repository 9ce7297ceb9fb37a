"""Run machines on a trace: choose the trace for each machine, and announce compilation."""

import functools
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from analysis.terminal import tell
from hwmodel.machine import ConfigError, Machine

if TYPE_CHECKING:
    from hwmodel.measure.result import Result
    from hwmodel.regions import Named
    from hwmodel.trace import Trace


def offloaded(
    trace: "Trace", machines: Iterable[Machine], share: float = 0.5, unit: str = "line", bytes: int = 8, seed: int = 0
) -> "tuple[Trace, Trace, str]":
    """Return the trace for machines without engines, the one for machines with engines, and a note on what engines do.

    Parameters
    ----------
    trace : Trace
        The user's trace.
    machines : iterable of Machine
        The machines that will run.
    share : float
        Part of the data accesses that an engine gets if the trace has no device agent.
    unit, bytes, seed
        Of `workloads.offload`, in the same case.

    Returns
    -------
    plain, shared : Trace
        Both are `trace` if it has a device agent, or if no machine has engines.
    note : str
        One line for people; empty if engines only make accesses that are in `trace`, as they are there.

    Raises
    ------
    ConfigError
        If a machine can't have as many engines as its trace has device agents, or if `share` is not in (0, 1].
    TraceError
        If `unit` or `bytes` is out of range.
    """
    from workloads.offload import check_unit, offload

    machines = list(machines)
    check_unit(unit, bytes)
    if not 0 < share <= 1:
        raise ConfigError(f"share: must be in (0, 1], not {share}")
    able = list(dict.fromkeys(machine.name for machine in machines if machine.has_engines))
    if any(agent.role == "device" for agent in trace.agents) or not able:
        shared, notes = trace, []
    else:
        shared = offload(trace, share, seed=seed, unit=unit, bytes=bytes)  # type: ignore[arg-type]  # checked: one of the words
        percent = f"{100 * share:g} %"
        notes = [f"The trace has no device agent: an engine gets {percent} of the data accesses on {', '.join(able)}."]
    plain = trace
    for machine in machines:
        chosen = shared if machine.has_engines else plain
        machine.check_engines(sum(agent.role == "device" for agent in chosen.agents))
    return plain, shared, " ".join([*notes, *unit_notes(shared)])


def unit_notes(trace: "Trace") -> list[str]:
    """Return a sentence that says what an access of an engine stands for, unless it is an access of the program."""
    told = trace.info.get("offload")
    offload = told if isinstance(told, dict) else {}
    if offload.get("unit") == "line" and "bytes" in offload:
        return [f"An engine's access moves a line of 64 bytes; an access of the program moves {offload['bytes']} bytes (E: an estimate)."]
    return ["An engine's access moves what consecutive accesses of the program move of a page."] if offload.get("unit") == "page" else []


def trace_of(given: "Trace | str") -> "Trace":
    """Return a trace: one that is given, or the shipped recording or file of that name."""
    import workloads.named  # noqa: F401  (who knows the names)
    from hwmodel.arguments import trace_of

    return trace_of(given)


def simulate(machine: Machine, trace: "Trace", progress: bool | None = None, **parts: Any) -> "Result":
    """Run one machine with `hwmodel.simulate`, imported only when needed because it loads the kernels; `parts`: its warmup and regions."""
    from hwmodel.simulate import simulate

    announce_compilation(machine.design)
    return simulate(machine, trace, progress=progress, **parts)


def simulate_all(machines: list[Machine], trace: "Trace", **parts: Any) -> "list[Result]":
    """Run several machines on a trace that is read once, with `hwmodel.simulate_all`; `parts`: their warmup and regions."""
    from hwmodel.simulate import simulate_all

    for machine in machines:
        announce_compilation(machine.design)
    return simulate_all(machines, trace, progress=False, **parts)


def parts(traces: "Iterable[Trace]", warmup: int | float, regions: "Named | None") -> dict[str, Any]:
    """Return the parts of runs as `simulate` takes them, empty for runs in one part; refuse bad ones before anything runs."""
    from hwmodel.regions import regions_of

    named = regions if regions is None or isinstance(regions, Mapping) else list(regions)
    for trace in traces:
        regions_of(trace, warmup, named)
    return {name: value for name, value in {"warmup": warmup, "regions": named}.items() if value}


@functools.cache
def announce_compilation(design: str) -> None:
    """Announce, once, that a design's kernels must be compiled: nothing else would be printed for minutes."""
    from hwmodel import jit

    if not jit.JIT_OFF and not jit.STORE.has(f"hwmodel.secondary.{design}.run-"):
        tell(f"compiling the kernels of {design}, once for this version: a few minutes")


def head(trace: "Trace", records: int) -> "Trace":
    """Return the first part of a trace, in memory.

    Parameters
    ----------
    trace : Trace
        The whole trace; it is read up to the cut.
    records : int
        Most records to keep; exceeded only if the first operation is longer.

    Returns
    -------
    Trace
        Has the agents and the initial memory of the whole.

    Raises
    ------
    TraceError
        If `records` is less than 1.
    """
    import numpy as np

    import workloads
    from hwmodel.trace import Trace

    first = workloads.head(trace, records)
    ops = np.concatenate([trace.prelude[:0], *first.chunks()])
    return Trace.from_records(trace.agents, ops, trace.prelude, first.info, trace.name)


def title(result: "Result") -> str:
    """Return a short name for a run's trace."""
    return title_of(result.trace_info)


def title_of(info: Mapping[str, Any], otherwise: str = "trace") -> str:
    """Return a short name for a trace from its info."""
    for key in ("title", "name", "program", "generator"):
        words = str(info.get(key) or "").split()
        if words:
            return os.path.basename(words[0])
    return otherwise
