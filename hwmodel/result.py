"""`Result`: what one run measured: counters, cycle ledger, latencies; and the check that the books balance."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hwmodel.latency import Latency
from hwmodel.ledger import ACCOUNTS, BUCKETS, COUNTERS, HEAD, LATENCIES

if TYPE_CHECKING:
    import pandas as pd

    from hwmodel.machine import Machine

PERCENTILES = (50, 99)
"""Percentiles of each latency in `Result.frame`."""


class AccountingError(RuntimeError):
    """The books of a run do not balance: a defect of the model, never of its input."""


@dataclass(frozen=True)
class AgentInfo:
    """A row of the ledger: an agent of the trace, or a CPU of the machine without one.

    Parameters
    ----------
    name : str
        The agent's, or for example "cpu3 (no agent)".
    role : "cpu" or "device"
        Which side its cycles count for.
    space : int
        Number of its address space; -1 without an agent.
    """

    name: str
    role: str
    space: int


class Tally(Mapping[str, int]):
    """Whole numbers by agent and name; as a mapping: name to the total over agents.

    Parameters
    ----------
    agents : tuple of AgentInfo
        The rows.
    names : tuple of str
        The columns.
    array : int64[agent, name]
        Kept as a read-only copy, `array`.
    unit : str
        Appended to the column names of `frame`.
    """

    def __init__(
        self, agents: tuple[AgentInfo, ...], names: tuple[str, ...], array: np.ndarray, unit: str = ""
    ) -> None:
        self.agents, self.names, self.unit = agents, names, unit
        self.array = _frozen(array, (len(agents), len(names)))
        self._column = {name: i for i, name in enumerate(names)}

    def __getitem__(self, name: str) -> int:
        return self.total(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def total(self, name: str, role: str | None = None) -> int:
        """One column, added up.

        Parameters
        ----------
        name : str
            The column.
        role : "cpu" or "device", optional
            Only agents of this role.

        Raises
        ------
        KeyError
            If there is no such column.
        """
        column = self._of(name)
        return sum(int(n) for n, agent in zip(column, self.agents, strict=True) if role in (None, agent.role))

    def by_agent(self, name: str) -> dict[str, int]:
        """One column: label of the agent (its name, numbered if several have it) to value."""
        return dict(zip(self.labels, self._of(name).tolist(), strict=True))

    @property
    def labels(self) -> list[str]:
        """The rows' names, made unique."""
        often = Counter(agent.name for agent in self.agents)
        return [f"{a.name} #{i}" if often[a.name] > 1 else a.name for i, a in enumerate(self.agents)]

    def frame(self) -> "pd.DataFrame":
        """A DataFrame, int64[agent, name]; its columns carry the unit, if there is one."""
        import pandas as pd

        columns = [f"{name}_{self.unit}" if self.unit else name for name in self.names]
        return pd.DataFrame(self.array.copy(), pd.Index(self.labels, name="agent"), columns)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({ {name: n for name, n in self.items() if n} })"

    def _of(self, name: str) -> np.ndarray:
        if name not in self._column:
            raise KeyError(f"{name!r} is none of {', '.join(self.names)}")
        return self.array[:, self._column[name]]


class Counters(Tally):
    """Counters by agent; their definitions are in ``hwmodel.ledger.COUNTERS``."""

    def __init__(self, agents: tuple[AgentInfo, ...], array: np.ndarray) -> None:
        super().__init__(agents, tuple(COUNTERS), array)


class Ledger(Tally):
    """Cycles by agent and account; the accounts are defined in ``hwmodel.ledger.ACCOUNTS``.

    An agent's accounts add up to its clock.
    """

    def __init__(self, agents: tuple[AgentInfo, ...], array: np.ndarray) -> None:
        super().__init__(agents, tuple(ACCOUNTS), array, "cycles")


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Result:
    """What one run measured.

    Parameters
    ----------
    machine : Machine
        What ran.
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
        How long the run took.
    records, references : int
        Size of the trace: records, and the reads, writes and fetches they stand for.

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
        agents = tuple(agents)
        values = {
            "machine": machine,
            "trace_info": dict(trace_info),
            "agents": agents,
            "counters": Counters(agents, counters),
            "ledger": Ledger(agents, ledger),
            "clocks": _frozen(clocks, (len(agents),)),
            "histograms": _frozen(histograms, (len(LATENCIES), HEAD + BUCKETS)),
            "wall_seconds": float(wall_seconds),
            "records": int(records),
            "references": int(references),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def cycles(self) -> int:
        """The latest clock: how long the traced program took."""
        return int(self.clocks.max(initial=0))

    @property
    def ns_per_cycle(self) -> float:
        """Nanoseconds of one cycle of the machine's clock."""
        return 1000 / self.machine.get("clock.mhz")

    @property
    def ns(self) -> float:
        """The latest clock in nanoseconds."""
        return self.cycles * self.ns_per_cycle

    def latency(self, kind: str) -> Latency:
        """The distribution of one kind of latency.

        Parameters
        ----------
        kind : str
            A key of ``hwmodel.ledger.LATENCIES``: "fault", "notice", "shootdown", "op.munmap" ...

        Raises
        ------
        KeyError
            If there is no such kind.
        """
        kinds = tuple(LATENCIES)
        if kind not in kinds:
            raise KeyError(f"{kind!r} is none of {', '.join(kinds)}")
        return Latency(kind, self.histograms[kinds.index(kind)], self.ns_per_cycle)

    def frame(self) -> "pd.DataFrame":
        """Everything in one row.

        Returns
        -------
        DataFrame
            Columns: the machine; size of the trace; each counter by its name; each account as ``ledger.NAME_cycles``;
            each latency as ``NAME.count``, ``NAME.mean_ns``, ``NAME.p50_ns``, ``NAME.p99_ns``, ``NAME.max_ns``.
            ``attrs["configuration"]`` has every setting of the machine, ``attrs["trace"]`` what is known of the trace.
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
        for kind in LATENCIES:
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
        from hwmodel.conservation import violations

        found = violations(self)
        if found:
            raise AccountingError(f"{self.machine.name}: the books do not balance: " + "; ".join(found))

    def __repr__(self) -> str:
        what = f"{self.machine.name}, {len(self.agents)} agents, {self.references} references"
        return f"<Result {what}: {self.cycles} cycles, {self.ns:.6g} ns>"


def _latency_columns(latency: Latency) -> dict[str, float]:
    columns: dict[str, float] = {f"{latency.kind}.count": latency.count, f"{latency.kind}.mean_ns": latency.mean}
    columns |= {f"{latency.kind}.p{p}_ns": latency.percentile(p) for p in PERCENTILES}
    return columns | {f"{latency.kind}.max_ns": latency.max}


def _frozen(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    array = np.array(array, np.int64)
    if array.shape != shape:
        raise ValueError(f"a result needs an array of shape {shape}, not {array.shape}")
    array.flags.writeable = False
    return array
