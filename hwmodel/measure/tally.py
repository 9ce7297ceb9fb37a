"""`Tally`: whole numbers by agent and name; a run's counters and its cycle ledger are such tables."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hwmodel import html
from hwmodel.config.errors import suggestion
from hwmodel.core.ledger import Book

if TYPE_CHECKING:
    import pandas as pd


FEW = 6
"""Most agents of which each has a column where people read a table."""
ROLES = {"cpu": "CPUs", "device": "engines", "kernel": "kernel threads"}
"""The roles of agents, for people."""


@dataclass(frozen=True)
class AgentInfo:
    """A row of the ledger: an agent of the trace, or a CPU of the machine without one.

    Parameters
    ----------
    name : str
        The agent's name, or for example "cpu3 (no agent)".
    role : "cpu", "device" or "kernel"
        The side for which its cycles count.
    space : int
        Number of its address space; -1 without an agent.
    """

    name: str
    role: str
    space: int


@dataclass(frozen=True)
class Shares:
    """What an agent's time went into, in cycles; they add up to its clock.

    Attributes
    ----------
    role : "cpu", "device" or "kernel"
        The agent's.
    own, serving, waiting : int
        Work of its own; what it did for engines' requests; accounts of the family `waiting`.
    """

    role: str
    own: int
    serving: int
    waiting: int

    @property
    def serving_share(self) -> float:
        """Return the part of the time that went into serving engines; 0 of no time."""
        return self.serving / max(1, self.own + self.serving + self.waiting)

    def cycles(self) -> dict[str, int]:
        """Return the three, by column name."""
        return {"own_cycles": self.own, "serving_cycles": self.serving, "waiting_cycles": self.waiting}

    def percents(self) -> dict[str, float]:
        """Return the three as a share of the time, by column name; NaN of no time."""
        clock = self.own + self.serving + self.waiting
        return {name.replace("cycles", "percent"): 100 * n / clock if clock else math.nan for name, n in self.cycles().items()}


class Tally(Mapping[str, int]):
    """Whole numbers by agent and name; as a mapping: name to the total over agents.

    Parameters
    ----------
    agents : tuple of AgentInfo
        The rows.
    names : tuple of str
        The columns.
    array : int64[agent, name]
        The numbers, kept as a read-only copy, `array`.
    unit : str
        Appended to the column names of `frame`.
    """

    def __init__(
        self, agents: tuple[AgentInfo, ...], names: tuple[str, ...], array: np.ndarray, unit: str = ""
    ) -> None:
        self.agents, self.names, self.unit = agents, names, unit
        self.array = frozen(array, (len(agents), len(names)))
        self._column = {name: i for i, name in enumerate(names)}

    def __getitem__(self, name: str) -> int:
        return self.total(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def total(self, name: str, role: str | None = None) -> int:
        """Return the sum of one column.

        Parameters
        ----------
        name : str
            The column.
        role : "cpu", "device" or "kernel", optional
            Only agents of this role.

        Raises
        ------
        KeyError
            If there is no such column.
        """
        column = self._of(name)
        return sum(int(n) for n, agent in zip(column, self.agents, strict=True) if role in (None, agent.role))

    def by_agent(self, name: str) -> dict[str, int]:
        """Return one column: label of the agent (its name, numbered if several agents have it) to value."""
        return dict(zip(self.labels, self._of(name).tolist(), strict=True))

    @property
    def labels(self) -> list[str]:
        """Return the rows' names, made unique."""
        often = Counter(agent.name for agent in self.agents)
        return [f"{a.name} #{i}" if often[a.name] > 1 else a.name for i, a in enumerate(self.agents)]

    def frame(self) -> "pd.DataFrame":
        """Return a DataFrame, int64[agent, name]; its column names end in the unit, if there is one."""
        import pandas as pd

        columns = [f"{name}_{self.unit}" if self.unit else name for name in self.names]
        return pd.DataFrame(self.array.copy(), pd.Index(self.labels, name="agent"), columns)

    def column(self, name: str) -> np.ndarray:
        """Return one column, int64[agent]."""
        return self._of(name)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({ {name: n for name, n in self.items() if n} })"

    def _repr_html_(self) -> str:
        """Return a table, a row for each name that is not 0: each agent, or, of more than `FEW`, each role; and all together."""
        if len(self.agents) <= FEW:
            parts = {label: self.array[i] for i, label in enumerate(self.labels)}
        else:
            roles = np.array([agent.role for agent in self.agents])
            parts = {f"{ROLES[role]} ({(roles == role).sum()})": self.array[roles == role].sum(axis=0) for role in dict.fromkeys(roles)}
        parts = {"all": self.array.sum(axis=0)} | (parts if len(parts) > 1 else {})
        rows = [(name, *(int(part[i]) for part in parts.values())) for i, name in enumerate(self.names)]
        columns = ["", *(f"{label}, {self.unit or 'counted'}" for label in parts)]
        return html.block(type(self).__name__, html.nonzero(columns, rows, "accounts" if self.unit else "counters"))

    def _of(self, name: str) -> np.ndarray:
        if name not in self._column:
            raise KeyError(f"{name!r} is none of {', '.join(self.names)}{suggestion(name, self.names)}")
        return self.array[:, self._column[name]]


class Counters(Tally):
    """Counters by agent; their definitions are in ``result.book.counters``."""

    def __init__(self, agents: tuple[AgentInfo, ...], array: np.ndarray, book: Book) -> None:
        super().__init__(agents, tuple(book.counters), array)


class Ledger(Tally):
    """Cycles by agent and account; the accounts are defined, with their families, in ``result.book.accounts``.

    An agent's accounts add up to its clock.
    """

    def __init__(self, agents: tuple[AgentInfo, ...], array: np.ndarray, book: Book) -> None:
        super().__init__(agents, tuple(book.accounts), array, "cycles")


def frozen(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return a read-only int64 copy; raise ValueError if the array has another shape."""
    array = np.array(array, np.int64)
    if array.shape != shape:
        raise ValueError(f"a result needs an array of shape {shape}, not {array.shape}")
    array.flags.writeable = False
    return array
