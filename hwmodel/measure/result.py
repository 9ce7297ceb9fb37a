"""`Result`: the measurements of one run: counters, cycle ledger, latencies; and the check that the books balance."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hwmodel import secondary
from hwmodel.core.ledger import BUCKETS, HEAD, Book
from hwmodel.measure.conservation import violations
from hwmodel.measure.latency import Latency
from hwmodel.measure.tally import AgentInfo, Counters, Ledger, frozen

if TYPE_CHECKING:
    import pandas as pd

    from hwmodel.machine import Machine

PERCENTILES = (50, 99)
"""Percentiles of each latency in `Result.frame`."""


class AccountingError(RuntimeError):
    """The books of a run do not balance: a defect of the model, never of its input."""


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Result:
    """The measurements of one run; its parameters, more than eight, are what a run leaves.

    Parameters
    ----------
    machine : Machine
        The machine that ran.
    trace_info : dict
        Where the trace is from.
    agents : sequence of AgentInfo
        The rows of `counters` and `ledger`.
    counters : int64[agent, counter]
        Becomes a `Counters`.
    ledger : int64[agent, account]
        In cycles; becomes a `Ledger`.
    clocks : int64[agent]
        In cycles.
    histograms : int64[latency, HEAD + BUCKETS]
        In cycles; read through `latency`.
    wall_seconds : float
        The duration of the run on the host.
    records, references : int
        Size of the trace: records, and the reads, writes and fetches that the records stand for.

    Raises
    ------
    ValueError
        If an array has another shape.
    """

    machine: "Machine"
    trace_info: dict[str, Any]
    agents: tuple[AgentInfo, ...]
    counters: Counters
    ledger: Ledger
    clocks: np.ndarray
    histograms: np.ndarray
    wall_seconds: float
    records: int
    references: int

    def __init__(
        self,
        machine: "Machine",
        trace_info: Mapping[str, Any],
        agents: "tuple[AgentInfo, ...] | list[AgentInfo]",
        counters: np.ndarray,
        ledger: np.ndarray,
        clocks: np.ndarray,
        histograms: np.ndarray,
        wall_seconds: float = 0.0,
        records: int = 0,
        references: int = 0,
    ) -> None:
        agents, book = tuple(agents), secondary.book(machine.design)
        values = {
            "machine": machine,
            "trace_info": dict(trace_info),
            "agents": agents,
            "counters": Counters(agents, counters, book),
            "ledger": Ledger(agents, ledger, book),
            "clocks": frozen(clocks, (len(agents),)),
            "histograms": frozen(histograms, (len(book.latencies), HEAD + BUCKETS)),
            "wall_seconds": float(wall_seconds),
            "records": int(records),
            "references": int(references),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def book(self) -> Book:
        """Return the definitions of the accounts, counters and latencies."""
        return secondary.book(self.machine.design)

    @property
    def cycles(self) -> int:
        """Return the latest clock, in cycles: the duration of the traced program."""
        return int(self.clocks.max(initial=0))

    @property
    def ns_per_cycle(self) -> float:
        """Return the nanoseconds of one cycle of the machine's clock."""
        return 1000 / self.machine.get("clock.mhz")

    @property
    def ns(self) -> float:
        """Return the latest clock in nanoseconds."""
        return self.cycles * self.ns_per_cycle

    def latency(self, kind: str) -> Latency:
        """Return the distribution of one kind of latency.

        Parameters
        ----------
        kind : str
            A key of ``book.latencies``: "fault", "notice", "shootdown", "op.munmap" ...

        Raises
        ------
        KeyError
            If there is no such kind.
        """
        kinds = tuple(self.book.latencies)
        if kind not in kinds:
            raise KeyError(f"{kind!r} is none of {', '.join(kinds)}")
        return Latency(kind, self.histograms[kinds.index(kind)], self.ns_per_cycle)

    def frame(self) -> "pd.DataFrame":
        """Return the whole result in one row.

        Returns
        -------
        DataFrame
            Columns: the machine; size of the trace; each counter by its name; each account as ``ledger.NAME_cycles``;
            each latency as ``NAME.count``, ``NAME.mean_ns``, ``NAME.p50_ns``, ``NAME.p99_ns``, ``NAME.max_ns``.
            ``attrs["configuration"]`` has every setting of the machine, ``attrs["trace"]`` the trace's info.
        """
        import pandas as pd

        row: dict[str, Any] = {
            "machine": self.machine.name,
            "design": self.machine.design,
            "records": self.records,
            "references": self.references,
            "time_cycles": self.cycles,
            "time_ns": self.ns,
            "wall_seconds": self.wall_seconds,
        }
        row |= self.counters
        row |= {f"ledger.{name}_cycles": cycles for name, cycles in self.ledger.items()}
        for kind in self.book.latencies:
            row |= _latency_columns(self.latency(kind).ns)
        frame = pd.DataFrame([row])
        frame.attrs = {"configuration": self.machine.flat(), "trace": self.trace_info}
        return frame

    def check(self) -> None:
        """Check that the books balance: accounts, counters, histograms.

        Raises
        ------
        AccountingError
            Names every identity that does not hold, and the agent.
        """
        found = violations(self.counters, self.ledger, self.clocks, dict(zip(self.book.latencies, self.histograms, strict=True)))
        if found:
            raise AccountingError(f"{self.machine.name}: the books do not balance: " + "; ".join(found))

    def __repr__(self) -> str:
        what = f"{self.machine.name}, {len(self.agents)} agents, {self.references} references"
        return f"<Result {what}: {self.cycles} cycles, {self.ns:.6g} ns>"


def _latency_columns(latency: Latency) -> dict[str, float]:
    columns: dict[str, float] = {f"{latency.kind}.count": latency.count, f"{latency.kind}.mean_ns": latency.mean}
    columns |= {f"{latency.kind}.p{p}_ns": latency.percentile(p) for p in PERCENTILES}
    return columns | {f"{latency.kind}.max_ns": latency.max}
