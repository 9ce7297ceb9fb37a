"""What a machine counts for each operation of a trace: the run stops behind every group of records.

`simulate` counts over a whole run. Here the engine gets a trace in groups, each followed by instructions that do nothing,
as many as it takes until all agents have come to them: what the counters have gained is the group's. The wait changes
the timing, not what a single thread's operations count; interrupts are another matter, for no CPU becomes idle in between.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from hwmodel import engine
from hwmodel.core.ledger import COUNTERS
from hwmodel.machine import Machine
from hwmodel.op import COMPUTE, OP
from hwmodel.run import power_on
from hwmodel.trace import Trace

LOOKAHEAD = 4
"""Records that an agent may be ahead of another: the least there is, so that few do nothing."""
REST = 2


def counts_by_group(machine: Machine, trace: Trace, groups: Iterable[tuple[str, np.ndarray]]) -> dict[str, Counter[str]]:
    """Counters by the name of a group of records.

    Parameters
    ----------
    machine : Machine
        What runs the trace.
    trace : Trace
        Its agents and prelude are used.
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
    stepper = _Stepper(machine.with_(**{"engine.lookahead_records": LOOKAHEAD}), trace)
    found: dict[str, Counter[str]] = {}
    for name, ops, agent in _with_next(groups):
        gained = stepper.run(ops, agent)
        found.setdefault(name, Counter()).update({key: int(n) for key, n in zip(COUNTERS, gained, strict=True) if n})
    return found


def _with_next(groups: Iterable[tuple[str, np.ndarray]]) -> Iterator[tuple[str, np.ndarray, int]]:
    """Each group with the agent of the one behind it: that agent's space is there, and does nothing in between; -1 at the end."""
    before: tuple[str, np.ndarray] | None = None
    for group in groups:
        if before is not None:
            yield (*before, int(group[1]["agent"][0]))
        before = group
    if before is not None:
        yield (*before, -1)


class _Stepper:
    """An engine that has come to a stop."""

    def __init__(self, machine: Machine, trace: Trace) -> None:
        self._checker, (self._run,) = power_on([machine], trace, runahead=False)
        self._fed = 0
        self._before = self._counted()

    def run(self, ops: np.ndarray, agent: int) -> np.ndarray:
        """Run records to their end; what the counters have gained. `agent` does nothing meanwhile; -1: the trace ends."""
        self._feed(ops)
        end = self._fed
        while not self._run.go_on() and (agent < 0 or self._oldest() < end):
            self._feed(None if agent < 0 else _rest(agent))
        gained, self._before = self._counted() - self._before, self._counted()
        return gained

    def _feed(self, ops: np.ndarray | None) -> None:
        self._run.feed(None if ops is None else self._checker.check(ops))
        self._fed += 0 if ops is None else ops.size

    def _oldest(self) -> int:
        """The index of the oldest record that is not complete; requests of engines count."""
        m = self._run.m
        rows, agents = m.rows, int(m.ctl[0].agents)
        heads = [int(m.queue[row.head].index) for row in rows[:agents] if row.head < row.tail]
        outstanding = [int(row.index) for row in rows[agents:] if row.phase != engine.VACANT]
        return min([*heads, *outstanding], default=self._fed)

    def _counted(self) -> Any:
        return self._run.m.counts.sum(axis=0)


def _rest(agent: int) -> np.ndarray:
    ops = np.zeros(REST, OP)
    ops["count"], ops["kind"], ops["agent"] = 1, COMPUTE, agent
    return ops
