"""A machine's counters for each operation of a trace: the run stops after every group of records.

`simulate` counts over a whole run. Here the engine gets a trace in groups, each followed by instructions that do nothing,
as many as needed until all agents have reached the end of the group: the counters' increase belongs to the group. The wait changes
the timing, but not the counts of a single thread's operations. Interrupts do change, since no CPU becomes idle in between.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from hwmodel import engine, secondary
from hwmodel.machine import Machine
from hwmodel.op import COMPUTE, OP
from hwmodel.recorder import Watcher
from hwmodel.run import NOBODY, power_on
from hwmodel.trace import Trace

LOOKAHEAD = 4
"""Records that an agent may be ahead of another: the smallest possible value, so that few instructions do nothing."""
REST = 2


def counts_by_group(machine: Machine, trace: Trace, groups: Iterable[tuple[str, np.ndarray]]) -> dict[str, Counter[str]]:
    """Return the counters of each named group of records.

    Parameters
    ----------
    machine : Machine
        The machine to run.
    trace : Trace
        The trace whose agents and prelude are used.
    groups : iterable of (str, OP[n])
        The trace's records in order, in whole units; several groups may have the same name.

    Returns
    -------
    dict of Counter
        By name of the group, then of the counter.

    Raises
    ------
    TraceError, ConfigError
        As `simulate`.
    """
    stepper = Stepper(machine, trace)
    found: dict[str, Counter[str]] = {}
    for name, ops, agent in _with_next(groups):
        gained = stepper.run(ops, agent)
        found.setdefault(name, Counter()).update({key: n for key, n in gained.items() if n})
    return found


def _with_next(groups: Iterable[tuple[str, np.ndarray]]) -> Iterator[tuple[str, np.ndarray, int]]:
    """Yield each group with the agent of the next one, -1 at the end: that agent's space exists, so it can do nothing meanwhile."""
    before: tuple[str, np.ndarray] | None = None
    for group in groups:
        if before is not None:
            yield (*before, int(group[1]["agent"][0]))
        before = group
    if before is not None:
        yield (*before, -1)


class Stepper:
    """An engine that stops after each group.

    Parameters
    ----------
    machine : Machine
        The machine to run.
    trace : Trace
        The trace whose agents and prelude are used.
    watcher : Watcher
        Records the run; by default nothing.
    """

    def __init__(self, machine: Machine, trace: Trace, watcher: Watcher = NOBODY) -> None:
        machine = machine.with_(**{"engine.lookahead_records": LOOKAHEAD})
        self._checker, (self._run,) = power_on([machine], trace, runahead=False, watcher=watcher)
        self._counters = tuple(secondary.book(machine.design).counters)
        self._fed = 0
        self._before = self._counted()

    @property
    def m(self) -> Any:
        """Return the machine's tables as they are now."""
        return self._run.m

    def row(self, agent: int) -> int:
        """Return the number of an agent's row."""
        return int(self._run._row_of[agent])

    def run(self, ops: np.ndarray, agent: int) -> dict[str, int]:
        """Run records to their end; return each counter's increase. `agent` does nothing meanwhile; -1: the trace ends."""
        self._feed(ops)
        end = self._fed
        while not self._run.go_on() and (agent < 0 or self._oldest() < end):
            self._feed(None if agent < 0 else _rest(agent))
        gained, self._before = self._counted() - self._before, self._counted()
        return dict(zip(self._counters, gained.tolist(), strict=True))

    def _feed(self, ops: np.ndarray | None) -> None:
        self._run.feed(None if ops is None else self._checker.check(ops))
        self._fed += 0 if ops is None else ops.size

    def _oldest(self) -> int:
        """Return the index of the oldest record that is not complete; engines' outstanding requests count."""
        m = self.m
        rows, agents = m.rows, int(m.ctl[0].agents)
        heads = [int(m.queue[row.head].index) for row in rows[:agents] if row.head < row.tail]
        outstanding = [int(row.index) for row in rows[agents:] if row.phase != engine.VACANT]
        return min([*heads, *outstanding], default=self._fed)

    def _counted(self) -> Any:
        return self.m.counts.sum(axis=0)


def _rest(agent: int) -> np.ndarray:
    ops = np.zeros(REST, OP)
    ops["count"], ops["kind"], ops["agent"] = 1, COMPUTE, agent
    return ops
