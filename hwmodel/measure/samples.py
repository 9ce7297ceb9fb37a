"""`Samples`: the counters and accounts of a run, interval by interval, which add up to those of the whole."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from hwmodel.core.ledger import Book
from hwmodel.measure.tally import AgentInfo, Counters

if TYPE_CHECKING:
    import pandas as pd


class Samples:
    """What each interval of a run counted and booked.

    A step belongs to the interval in which it begins, with all that it counts and books, also where it lasts longer; a wait is booked when
    it ends. So counters are exact to the cycle, accounts to the length of a step; both add up to the totals of the whole run, the warm-up
    and all regions included. What is added after the last step, idle time, belongs to the last interval with a step.

    Parameters
    ----------
    agents : tuple of AgentInfo
        As in the result.
    book : Book
        The names of counters and accounts.
    deltas : sequence of (int, int64[n], int64[n])
        Of an interval: its number, the places that changed in [agent, counters then accounts], and by how much.
    interval : int
        The length of an interval, in cycles.
    ns_per_cycle : float
        1000 / the machine's clock in MHz.
    """

    def __init__(
        self, agents: tuple[AgentInfo, ...], book: Book, deltas: Sequence[tuple[int, np.ndarray, np.ndarray]], interval: int,
        ns_per_cycle: float,
    ) -> None:  # fmt: skip
        self.agents, self.interval, self.ns_per_cycle = agents, interval, ns_per_cycle
        self._deltas, self._counters, self._accounts = list(deltas), tuple(book.counters), tuple(book.accounts)
        self._size = 1 + self._deltas[-1][0] if self._deltas else 0
        self._labels = Counters(agents, np.zeros((len(agents), len(self._counters)), np.int64), book).labels

    def __len__(self) -> int:
        return self._size

    @property
    def counters(self) -> np.ndarray:
        """Return the counters, int64[interval, agent, counter]; sums over intervals are the run's."""
        return self._dense()[:, :, : len(self._counters)]

    @property
    def ledger(self) -> np.ndarray:
        """Return the accounts, int64[interval, agent, account], in cycles; sums over intervals are the run's."""
        return self._dense()[:, :, len(self._counters) :]

    def frame(self, by_agent: bool = False) -> "pd.DataFrame":
        """Return a row for each interval.

        Parameters
        ----------
        by_agent : bool
            A row for each interval and agent instead.

        Returns
        -------
        DataFrame
            Columns: begin_ns and end_ns of the interval; with `by_agent`, agent and role; each counter by its name; each account as
            ``ledger.NAME_cycles``.
        """
        import pandas as pd

        names = [*self._counters, *(f"ledger.{name}_cycles" for name in self._accounts)]
        dense = self._dense()
        begin = np.arange(self._size) * self.interval
        times = {"begin_ns": begin * self.ns_per_cycle, "end_ns": (begin + self.interval) * self.ns_per_cycle}
        if not by_agent:
            return pd.DataFrame({**times, **dict(zip(names, dense.sum(axis=1).T, strict=True))})
        repeated = {name: np.repeat(values, len(self.agents)) for name, values in times.items()}
        who = {"agent": self._labels * self._size, "role": [agent.role for agent in self.agents] * self._size}
        return pd.DataFrame({**repeated, **who, **dict(zip(names, dense.reshape(-1, len(names)).T, strict=True))})

    def __repr__(self) -> str:
        return f"<Samples: {self._size} intervals of {self.interval * self.ns_per_cycle:.6g} ns ({self.interval} cycles)>"

    def _dense(self) -> np.ndarray:
        width = len(self._counters) + len(self._accounts)
        found = np.zeros((self._size, len(self.agents) * width), np.int64)
        for index, places, values in self._deltas:
            found[index, places] += values
        return found.reshape(self._size, len(self.agents), width)
