"""Miss curves: what a TLB misses, size by size."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from analysis import batches, onepass
from analysis.batches import Job, Ways
from analysis.replicates import replicas
from hwmodel.arguments import is_shown, machine_of
from hwmodel.machine import ConfigError, Machine

if TYPE_CHECKING:
    import pandas as pd

    from hwmodel.trace import Trace


def miss_curve(
    machine: Machine | str,
    trace: "Trace | str",
    sizes: Iterable[int | tuple[int, int]],
    threads: int = 2,
    share: float = 0.5,
    unit: str = "line",
    bytes: int = 8,
    progress: bool | None = None,
) -> "pd.DataFrame":
    """Count the misses of an engine's TLB for many sizes: in one pass over the trace where that is exact, by a run of each elsewhere.

    Parameters
    ----------
    machine : Machine or str
        The machine with all other settings, or the name of a preset.
    trace : Trace or str
        The trace, or the name of a shipped recording or of a file; offloaded as in `analysis.compare` if it has no device agent.
    sizes : iterable of int or (int, int)
        Entries of the TLB, with the machine's ways; or (entries, ways): ``[(n, n) for n in range(1, 65)]`` are fully associative.
    threads : int
        Runs at the same time, where each size needs one.
    share, unit, bytes
        Of the offload, as `analysis.sweep` takes them.
    progress : bool, optional
        Show a progress bar; by default on a terminal or in a notebook.

    Returns
    -------
    DataFrame
        A row for each size, in their order: ``tlb.entries``, ``tlb.ways``; what a run with them counts, ``device.accesses``,
        ``device.tlb.hits``, ``device.tlb.misses``; and ``miss_rate_percent``. ``attrs["notes"]`` has what was changed, and which way the
        counts were come by, with the reason if each size was simulated.

    Raises
    ------
    ConfigError
        If there is no size, or one that the machine can't have.
    TraceError
        If the trace is invalid.
    """
    import pandas as pd

    machine = machine_of(machine)
    if not machine.has_engines or "tlb.entries" not in machine.flat():
        raise ConfigError(f"miss_curve: {machine.name} has no engine with a TLB (tlb.entries)")
    machines = [machine.with_(**dict(zip(onepass.SIZES, pair, strict=True))) for pair in _pairs(machine, sizes)]
    found = replicas(trace, machines, None, share=share, unit=unit, bytes=bytes)
    counts, reason = onepass.counts(machines, found[0].shared, progress)
    if reason:
        ways = Ways([{}], None, threads, None, is_shown(progress), "miss curve")
        ran = batches.run([Job(m, 0) for m in machines], [found[0].shared], ways, lambda job, result: result.counters)
        counts = [{name: ran[Job(m, 0)][name] for name in onepass.COUNTERS} for m in machines]
    rows = []
    for m, counted in zip(machines, counts, strict=True):
        rate = onepass.figures(counted)["device_miss_rate_percent"]
        rows.append({name: m.get(name) for name in onepass.SIZES} | counted | {"miss_rate_percent": rate})
    frame = pd.DataFrame(rows)
    shown_trace = found[0].plain
    frame.attrs = {
        "machine": machine.name,
        "configuration": machine.flat(),
        "trace": {"name": shown_trace.name, **shown_trace.info},
        "notes": [note for note in (found[0].note, onepass.told(reason)) if note],
    }
    return frame


def _pairs(machine: Machine, sizes: Iterable[Any]) -> list[tuple[Any, Any]]:
    """Return (entries, ways) of each size."""
    if isinstance(sizes, str) or not isinstance(sizes, Iterable):
        raise ConfigError(f"sizes: must be a list of sizes, not {sizes!r}")
    pairs = [size if isinstance(size, tuple) else (size, machine.get("tlb.ways")) for size in sizes]
    if not pairs:
        raise ConfigError("sizes: there is none")
    for pair in pairs:
        if len(pair) != 2:
            raise ConfigError(f"sizes: must be entries, or (entries, ways), not {pair!r}")
    return pairs
