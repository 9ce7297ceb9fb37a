"""`Result`: the measurements of one run: counters, cycle ledger, latencies; and the check that the books balance."""

import copy
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hwmodel import html, output, secondary
from hwmodel.config.errors import suggestion
from hwmodel.core.ledger import BUCKETS, HEAD, WAITING, Book
from hwmodel.measure import phases, saved
from hwmodel.measure.conservation import phase_violations, violations
from hwmodel.measure.latency import Latency, columns
from hwmodel.measure.samples import Samples
from hwmodel.measure.tally import ROLES, AgentInfo, Counters, Ledger, Shares, frozen
from hwmodel.measure.timeline import Timeline

if TYPE_CHECKING:
    import pandas as pd

    from hwmodel.machine import Machine

PERCENTILES = (50, 99)
"""Percentiles of each latency in `Result.frame`."""


class AccountingError(RuntimeError):
    """The books of a run do not balance: a defect of the model, never of its input."""


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Result:
    """The measurements of one run.

    Its parameters are more than eight, since a run leaves them all.

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
    phase_histograms : int64[path, phase, HEAD + BUCKETS]
        In cycles, for each path by which misses are resolved and each phase of them; read through `phases`.
    phase_shares : int64[path, BUCKETS, phase]
        In cycles: the phases' sums of the misses whose latency is in the bucket; read through `phase_bars`.
    wall_seconds : float
        The duration of the run on the host.
    records, references : int
        Size of the trace: records, and the reads, writes and fetches that the records stand for.
    serving : int64[agent, account], optional
        In cycles: of `ledger`, what was done for engines' requests; becomes a `Ledger`. Nothing by default.
    part : str
        The name of the part of a run that this is; "" for a whole run.
    regions : mapping of str to Result, optional
        The parts of the run that have names; read through `region`.

    Attributes
    ----------
    events : Timeline or None
        The events of the whole run, if `simulate` was told to keep some.
    samples : Samples or None
        The counters and accounts of the whole run interval by interval, if `simulate` was told to take samples.

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
    phase_histograms: np.ndarray
    phase_shares: np.ndarray
    wall_seconds: float
    records: int
    references: int
    serving: Ledger
    part: str
    regions: "Mapping[str, Result]"
    events: Timeline | None = None
    samples: Samples | None = None

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
        serving: np.ndarray | None = None,
        part: str = "",
        regions: "Mapping[str, Result] | None" = None,
        *,
        phase_histograms: np.ndarray,
        phase_shares: np.ndarray,
    ) -> None:
        agents, book = tuple(agents), secondary.book(machine.design)
        planes = len(book.paths), len(book.phases)
        values = {
            "machine": machine,
            "trace_info": dict(trace_info),
            "agents": agents,
            "counters": Counters(agents, counters, book),
            "ledger": Ledger(agents, ledger, book),
            "clocks": frozen(clocks, (len(agents),)),
            "histograms": frozen(histograms, (len(book.latencies), HEAD + BUCKETS)),
            "phase_histograms": frozen(phase_histograms, (*planes, HEAD + BUCKETS)),
            "phase_shares": frozen(phase_shares, (planes[0], BUCKETS, planes[1])),
            "wall_seconds": float(wall_seconds),
            "records": int(records),
            "references": int(references),
            "serving": Ledger(agents, np.zeros_like(ledger) if serving is None else serving, book),
            "part": part,
            "regions": dict(regions or {}),
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

    def region(self, name: str) -> "Result":
        """Return the result of a region, or of the warm-up ("warmup").

        Raises
        ------
        KeyError
            If the run has no such part.
        """
        if name not in self.regions:
            known = ", ".join(self.regions) or "it has none"
            raise KeyError(f"{name!r} is none of the run's regions ({known}){suggestion(name, self.regions)}")
        return self.regions[name]

    def with_regions(self, regions: "Mapping[str, Result]") -> "Result":
        """Return the same result with the parts that have names."""
        other = copy.copy(self)
        object.__setattr__(other, "regions", dict(regions))
        return other

    def with_recorded(self, events: Timeline | None, samples: Samples | None) -> "Result":
        """Return the same result with what a recorder has kept."""
        other = copy.copy(self)
        object.__setattr__(other, "events", events)
        object.__setattr__(other, "samples", samples)
        return other

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
            raise KeyError(f"{kind!r} is none of {', '.join(kinds)}{suggestion(kind, kinds)}")
        return Latency(kind, self.histograms[kinds.index(kind)], self.ns_per_cycle)

    @property
    def shares(self) -> dict[str, Shares]:
        """Return what each agent's time went into, by its label in the ledger: work of its own, serving engines, waiting."""
        waiting = np.sum([self.ledger.column(name) for name in self.book.of_family(WAITING)], axis=0)
        served = self.serving.array.sum(axis=1)
        rows = zip(self.agents, self.clocks, served, waiting, strict=True)
        return {label: Shares(a.role, int(t - s - w), int(s), int(w)) for label, (a, t, s, w) in zip(self.ledger.labels, rows, strict=True)}

    def utilisation(self) -> "pd.DataFrame":
        """Return what each agent's time went into.

        Returns
        -------
        DataFrame
            A row for each agent. Columns: role; own_cycles (its program and the kernel on its behalf, waits for locks and for answers
            included), serving_cycles (for engines' requests), waiting_cycles (for the trace's other agents, or for nothing), which
            add up to its clock; and each as a share of it, own_percent, serving_percent, waiting_percent.
        """
        import pandas as pd

        parts = self.shares
        rows = [{"role": part.role, **part.cycles(), **part.percents()} for part in parts.values()]
        return pd.DataFrame(rows, pd.Index(list(parts), name="agent"))

    def phases(self, kind: str = "fault") -> "pd.DataFrame":
        """Return where the latency of misses went that needed software.

        Parameters
        ----------
        kind : str
            "fault", or the latency of one path: a key of ``book.latencies``.

        Returns
        -------
        DataFrame
            A row for each path and phase that took time, the phases defined in ``book.phases``: how many misses it took time of
            (``count``), ``mean_ns``, ``p50_ns``, ``p99_ns`` and ``max_ns`` of these, ``share_percent`` of the path's whole latency.

        Raises
        ------
        KeyError
            If the latency has no phases.
        """
        return phases.table(self, kind)

    def phase_bars(self, kind: str = "fault", percentiles: Sequence[float] = (50, 90, 99)) -> "pd.DataFrame":
        """Return the phases of misses as slow as some percentiles: float64[percentile, phase], in ns.

        A row is the phases' mean over the misses in the percentile's bucket (known to 3.2 %), so it adds up to their mean latency.

        Parameters
        ----------
        kind : str
            As for `phases`.
        percentiles : sequence of float
            In [0, 100].

        Raises
        ------
        KeyError
            If the latency has no phases.
        """
        return phases.bars(self, kind, percentiles)

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
        """Check that the books balance: accounts, counters, histograms, phases.

        Raises
        ------
        AccountingError
            Names every identity that does not hold, and the agent.
        """
        histograms = dict(zip(self.book.latencies, self.histograms, strict=True))
        found = violations(self.counters, self.ledger, self.serving, self.clocks, histograms, whole=not self.part)
        if self.book.phases:
            of_paths = [histograms[path] for path in self.book.paths]
            found += phase_violations(self.book, of_paths, self.phase_histograms, self.phase_shares)
        if found:
            raise AccountingError(f"{self.machine.name}: the books do not balance: " + "; ".join(found))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the result to a file (`.npz`), completely or not at all: its machine with all sources, its regions, its version.

        Events and samples are not in it: `events.frame()` and `samples.frame()` go into any file of pandas.
        """
        with output.whole(path) as file:
            file.write(saved.to_bytes(self))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Result":
        """Read a result that `save` has written.

        Raises
        ------
        ConfigError
            If it is none, or of a version of the model that counted other things.

        Warns
        -----
        UserWarning
            It is of another version of the model.
        """
        with open(path, "rb") as file:
            return saved.from_bytes(cls, file.read(), os.fspath(path))

    def _repr_html_(self) -> str:
        """Return tables: the size of the run, latencies, where the time of each role went; the largest account first."""
        sizes = [("time, end to end", self.ns, "ns"), ("", self.cycles, "cycles"), ("on this computer", self.wall_seconds, "s")]
        sizes += [("records", self.records, ""), ("references", self.references, ""), ("agents", len(self.agents), "")]
        latencies = [(kind, *self.latency(kind).ns.row_of_table) for kind in self.book.latencies]
        roles = [role for role in ROLES if any(agent.role == role for agent in self.agents)]
        accounts = [
            (name, self.book.accounts[name].says, *(self.ledger.total(name, role) * self.ns_per_cycle for role in roles))
            for name in sorted(self.book.accounts, key=lambda name: -self.ledger[name])
        ]  # fmt: skip
        tables = (
            html.table(("", "", "unit"), sizes),
            html.nonzero(("latency", *columns("ns")), latencies, "latencies"),
            html.nonzero(("account", "", *(f"{ROLES[role]}, ns" for role in roles)), accounts, "accounts"),
        )
        named = f"regions: {', '.join(self.regions)}" if self.regions else ""
        return html.block(f"Result of {self.machine.name}{', ' + self.part if self.part else ''}", *tables, html.lines(named))

    def __repr__(self) -> str:
        part = f", {self.part}" if self.part else ""
        what = f"{self.machine.name}{part}, {len(self.agents)} agents, {self.references} references"
        return f"<Result {what}: {self.cycles} cycles, {self.ns:.6g} ns>"


def _latency_columns(latency: Latency) -> dict[str, float]:
    columns: dict[str, float] = {f"{latency.kind}.count": latency.count, f"{latency.kind}.mean_ns": latency.mean}
    columns |= {f"{latency.kind}.p{p}_ns": latency.percentile(p) for p in PERCENTILES}
    return columns | {f"{latency.kind}.max_ns": latency.max}
