"""The figures by which machines are compared, each with a unit and a written definition."""

import itertools
import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hwmodel import secondary
from hwmodel.core import ledger
from hwmodel.machine import ConfigError

if TYPE_CHECKING:
    import pandas as pd

    from analysis.points import Point
    from hwmodel.measure.result import Result

SIDES = {"engine": ("device", "device.accesses"), "cpu": ("cpu", "cpu.accesses")}
"""Agent role and access counter of each side."""


@dataclass(frozen=True)
class Metric:
    """One figure of a run.

    Parameters
    ----------
    name : str
        Column name; it contains the unit, if the figure has one.
    title : str
        Name in tables for people.
    group : str
        Heading in these tables.
    definition : str
        Definition of the measured quantity.
    value : callable
        Function of a `Result`; NaN if there is nothing to measure.
    """

    name: str
    title: str
    group: str
    definition: str
    value: Callable[["Result"], float]


def busy_cycles(result: "Result", side: str) -> int:
    """Return the cycles of one side's agents, without waiting for the trace's other agents."""
    return _total(result, side, *(family for family in ledger.FAMILIES if family != ledger.WAITING))


def accesses(result: "Result", side: str | None = None) -> int:
    """Return the number of accesses of one side, or of both."""
    return sum(result.counters[SIDES[s][1]] for s in ([side] if side else SIDES))


def _total(result: "Result", side: str, *families: str) -> int:
    return sum(result.ledger.total(name, SIDES[side][0]) for name in result.book.of_family(*families))


def _count(name: str) -> Callable[["Result"], float]:
    return lambda result: result.counters[name]


def _counted(role: str) -> Callable[["Result"], float]:
    return lambda result: sum(result.counters[name] for name in result.book.counters_of(role))


def _cycles(role: str) -> Callable[["Result"], float]:
    return lambda result: sum(result.ledger[name] for name in result.book.accounts_of(role))


def _percent(part: str, whole: str) -> Callable[["Result"], float]:
    return lambda result: 100 * _ratio(result.counters[part], result.counters[whole])


def _per_access(side: str, unit: str) -> Callable[["Result"], float]:
    def value(result: "Result") -> float:
        return _ratio(busy_cycles(result, side), accesses(result, side)) * _scale(result, unit)

    return value


def _beyond(side: str) -> Callable[["Result"], float]:
    def value(result: "Result") -> float:
        beyond = busy_cycles(result, side) - _total(result, side, ledger.WORK)
        return _ratio(beyond, accesses(result, side)) * result.ns_per_cycle

    return value


def _elapsed(unit: str) -> Callable[["Result"], float]:
    return lambda result: _ratio(result.cycles, accesses(result)) * _scale(result, unit)


def _serving(result: "Result") -> float:
    return 100 * max((part.serving_share for part in result.shares.values() if part.role == "cpu"), default=0.0)


def _fault(percent: float) -> Callable[["Result"], float]:
    return lambda result: result.latency("fault").ns.percentile(percent)


def _scale(result: "Result", unit: str) -> float:
    return result.ns_per_cycle if unit == "ns" else 1


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


_TIME, _MISS, _SOFTWARE = "Time", "Translation", "Misses resolved in software"
_COHERENCE, _FAULTS = "Invalidation", "Faults and failures"
_BOTH = "from the first access to the last, divided by the accesses of both sides"
_ENGINE = "time of the engines, waiting for the program order or the gate left out, per access of theirs"
_CPU = "time of all CPUs, the service for engines included, waiting and idling left out, per access of theirs"

METRICS = (
    Metric("time_ms", "time, end to end, ms", _TIME, "the latest clock", lambda r: r.ns / 1e6),
    Metric("ns_per_access", "ns per access, end to end", _TIME, _BOTH, _elapsed("ns")),
    Metric("cycles_per_access", "cycles per access, end to end", _TIME, _BOTH, _elapsed("cycles")),
    Metric("device_ns_per_access", "ns per device access", _TIME, _ENGINE, _per_access("engine", "ns")),
    Metric("device_cycles_per_access", "cycles per device access", _TIME, _ENGINE, _per_access("engine", "cycles")),
    Metric(
        "device_overhead_ns_per_access", "of these beyond its work, ns", _TIME,
        "the same without the account access: translation, its misses and what invalidations do to it",
        _beyond("engine"),
    ),
    Metric("cpu_ns_per_access", "ns per CPU access", _TIME, _CPU, _per_access("cpu", "ns")),
    Metric("cpu_cycles_per_access", "cycles per CPU access", _TIME, _CPU, _per_access("cpu", "cycles")),
    Metric(
        "cpu_overhead_ns_per_access", "of these beyond its work, ns", _TIME,
        "the same without the accounts instruction and access: translation, the kernel, service for engines",
        _beyond("cpu"),
    ),
    Metric("device_accesses", "device accesses", _MISS, "accesses of engines", _count("device.accesses")),
    Metric(
        "device_miss_rate_percent", "device TLB miss rate, %", _MISS,
        "accesses of engines that missed the first-level TLB", _percent("device.tlb.misses", "device.accesses"),
    ),
    Metric("device_walks", "device walks by hardware", _MISS, "two-dimensional walks", _counted(ledger.WALK)),
    Metric("cpu_accesses", "CPU accesses", _MISS, "data accesses and fetches of CPUs", _count("cpu.accesses")),
    Metric(
        "cpu_miss_rate_percent", "CPU TLB miss rate, %", _MISS,
        "accesses of CPUs that missed every TLB level", _percent("cpu.stlb.misses", "cpu.accesses"),
    ),
    Metric(
        "software_faults", "software-resolved misses", _SOFTWARE,
        "misses of engines that needed software, from the first miss to the access", lambda r: r.latency("fault").count,
    ),
    Metric(
        "traps", "interrupts or VM exits", _SOFTWARE, "GRU interrupts, EPT violations", _counted(ledger.TRAP)
    ),
    Metric(
        "serving_percent", "busiest server's time for engines, %", _SOFTWARE,
        "time that a CPU works for engines' requests, as a share of the run; of the CPU with the most of it", _serving,
    ),
    Metric("fault_p50_ns", "resolution p50, ns", _SOFTWARE, "median latency of such a miss", _fault(50)),
    Metric("fault_p99_ns", "resolution p99, ns", _SOFTWARE, "99th percentile of the same", _fault(99)),
    Metric("fault_max_ns", "resolution max, ns", _SOFTWARE, "the longest", lambda r: r.latency("fault").ns.max),
    Metric(
        "retries", "retries", _SOFTWARE,
        "resolutions begun again because of an invalidation", _counted(ledger.RETRY),
    ),
    Metric("kills", "kills", _SOFTWARE, "GRU drop-ins cancelled by the kill bit", _counted(ledger.KILL)),
    Metric("notices", "notices", _COHERENCE, "invalidate_range_start calls", _count("notices.start")),
    Metric(
        "invalidation_cycles", "invalidation, cycles", _COHERENCE,
        "cycles of CPUs in mmu-notifier callbacks (accounts notify, invalidate)", _cycles(ledger.NOTIFICATION),
    ),
    Metric("ipis", "IPIs", _COHERENCE, "interrupts sent for TLB flushes and kicks", _count("ipis.sent")),
    Metric(
        "shootdown_cycles", "TLB shootdown, cycles of all sides", _COHERENCE,
        "time of initiators, their waiting included, and of those whom they interrupt: the same interval counts on both sides, so it "
        "is no elapsed time (accounts flush, ipi_send, ipi_wait, ipi_respond, kick)", _cycles(ledger.SHOOTDOWN),
    ),
    Metric(
        "page_faults", "page faults of CPUs", _FAULTS, "faults of CPU agents", lambda r: r.latency("cpu_fault").count
    ),
    Metric("segv", "segv", _FAULTS, "accesses without a right", _count("segv")),
    Metric(
        "unsupported_ops", "unsupported operations", _FAULTS,
        "operations that failed, or that the chosen kernel lacks", _count("unsupported_ops"),
    ),
)  # fmt: skip
"""All metrics, in the order in which they are shown."""


def headline(result: "Result", names: Collection[str] | None = None) -> dict[str, float]:
    """Return every metric of a run, or those of some names, by column name."""
    return {metric.name: metric.value(result) for metric in METRICS if names is None or metric.name in names}


def account_rows(machine: str, result: "Result") -> Iterable[dict[str, Any]]:
    """Yield where one machine's cycles went: a row for each side and account that is not 0."""
    for side, (role, _) in SIDES.items():
        number = accesses(result, side)
        for account, about in result.book.accounts.items():
            cycles = result.ledger.total(account, role)
            if cycles:
                yield {
                    "machine": machine,
                    "side": side,
                    "account": account,
                    "family": about.family,
                    "waiting": about.family == ledger.WAITING,
                    "cycles": cycles,
                    "ns": cycles * result.ns_per_cycle,
                    "ns_per_access": _ratio(cycles, number) * result.ns_per_cycle,
                }


def account_columns(result: "Result") -> dict[str, float]:
    """Return where a run's time went, in one row: ns by side and account, "engine.fault_ns", each account of the design."""
    return {
        f"{side}.{account}_ns": result.ledger.total(account, role) * result.ns_per_cycle
        for side, (role, _) in SIDES.items() for account in result.book.accounts
    }  # fmt: skip


def phase_columns(result: "Result") -> dict[str, float]:
    """Return where misses spent their time, in one row, by path and phase: the mean in ns of all misses of the path, which add up to the
    path's, and the share of its latency; of a path without a miss NaN, of a design without phases nothing."""
    found = {}
    for path, sums in zip(result.book.paths, result.phase_shares.sum(axis=1), strict=True) if result.book.phases else ():
        count, total = result.latency(path).count, int(sums.sum())
        for phase, cycles in zip(result.book.phases, sums.tolist(), strict=True):
            found[f"phase.{path}.{phase}_mean_ns"] = _ratio(cycles, count) * result.ns_per_cycle
            found[f"phase.{path}.{phase}_share_percent"] = 100 * _ratio(cycles, total)
    return found


def families_frame(frame: "pd.DataFrame") -> "pd.DataFrame":
    """Return what the agents' time went into, by family, from the columns of `account_columns`.

    Parameters
    ----------
    frame : DataFrame
        Columns machine, design, workload, seed and those of the accounts.

    Returns
    -------
    DataFrame
        Columns workload, machine, family, ns: of all agents, the mean of the seeds; without the family of waiting.

    Raises
    ------
    ConfigError
        If the frame has no accounts.
    """
    import pandas as pd

    rows = []
    for (workload, machine, design), here in frame.groupby(["workload", "machine", "design"], sort=False):
        for name, account in secondary.book(design).accounts.items():
            columns = [f"{side}.{name}_ns" for side in SIDES]
            if columns[0] not in frame:
                raise ConfigError("plot_families: the frame has no accounts; call experiment(..., accounts=True)")
            if account.family != ledger.WAITING:
                rows.append((workload, machine, account.family, here[columns].sum(axis=1).mean()))
    found = pd.DataFrame(rows, columns=["workload", "machine", "family", "ns"])
    return found.groupby(["workload", "machine", "family"], sort=False, as_index=False)["ns"].sum()


def accounts_frame(results: dict[str, "Result"]) -> "pd.DataFrame":
    """Return where the cycles went, as a tidy table.

    Parameters
    ----------
    results : dict of str to Result
        Results by the name each machine is shown under.

    Returns
    -------
    DataFrame
        Columns machine, side ("engine", "cpu"), account, family, waiting, cycles, ns, ns_per_access (of that side).
    """
    import pandas as pd

    columns = ["machine", "side", "account", "family", "waiting", "cycles", "ns", "ns_per_access"]
    rows = [row for name, result in results.items() for row in account_rows(name, result)]
    return pd.DataFrame(rows, columns=columns)


def overheads_frame(points: "Iterable[Point]") -> "pd.DataFrame":
    """Return what overheads consist of, as `Comparison.overheads` says: accounts of runs, less those of their bounds."""
    import pandas as pd

    columns = ["machine", "window", "configured", "side", "account", "family", "cycles", "ns_per_access"]
    rows = [row for point in points if point.bound is not None for row in _overhead_rows(point, point.bound)]
    return pd.DataFrame(rows, columns=columns)


def _overhead_rows(point: "Point", bound: "Result") -> Iterable[dict[str, Any]]:
    result, number = point.result, accesses(point.result, "engine")
    families = {name: about.family for book in (result.book, bound.book) for name, about in book.accounts.items()}
    for side, account in itertools.product(SIDES, families):
        mine, free = (_on_side(run, account, side) for run in (result, bound))
        if families[account] != ledger.WAITING and mine != free:
            yield {
                "machine": point.machine,
                "window": point.window,
                "configured": point.configured,
                "side": side,
                "account": account,
                "family": families[account],
                "cycles": mine - free,
                "ns_per_access": _ratio(mine - free, number) * result.ns_per_cycle,
            }


def _on_side(result: "Result", account: str, side: str) -> int:
    """Return the cycles of an account, of the engines or of all others, threads of the kernel included; 0 without that account."""
    if account not in result.book.accounts:
        return 0
    engines = result.ledger.total(account, "device")
    return engines if side == "engine" else result.ledger[account] - engines
