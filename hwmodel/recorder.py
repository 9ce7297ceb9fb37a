"""What watches a run: it prepares the machine's log, is asked when the loop pauses, and hands over what was recorded.

The loop pauses where a sample is due, or at the last moment that is looked for; neither changes what it does.
"""

from collections.abc import Iterable
from numbers import Real
from typing import Any

import numpy as np

from hwmodel.config import ConfigError
from hwmodel.core import log
from hwmodel.core.tables import I64, NEVER, Machine
from hwmodel.events import Events
from hwmodel.measure.details import Naming
from hwmodel.measure.result import Result
from hwmodel.measure.samples import Samples
from hwmodel.measure.timeline import Timeline
from hwmodel.regions import Books
from hwmodel.secondary import design as design_of

MOST = 100_000
"""The most samples that a run takes: each has all accounts and counters of all agents."""


class Watcher:
    """Watches a run, and wants nothing of it; the others add to it."""

    def prepare(self, m: Machine) -> Machine:
        """Return the machine, before time 0, with the tables that the watcher needs."""
        return m

    def is_content(self, m: Machine) -> bool:
        """Return whether the run, which pauses, need not go on."""
        return False

    def end_part(self, books: Books) -> None:
        """Take notice of the books of a part of the run that is over; new ones have begun."""

    def attach(self, result: Result, m: Machine) -> Result:
        """Return the result of a run that is over with what was recorded of it."""
        return result


class Search(Watcher):
    """Finds the first moments at which a counter increased, and lets the run end there.

    Parameters
    ----------
    column : int
        Of the counter.
    moments : int
        How many are looked for.
    """

    def __init__(self, column: int, moments: int) -> None:
        self._column, self._moments = column, moments

    def prepare(self, m: Machine) -> Machine:
        """Let the loop look at the counter after every step."""
        m.ctl["watched"], m.ctl["pause"] = self._column, 0
        return m._replace(moments=np.zeros(self._moments, I64))

    def is_content(self, m: Machine) -> bool:
        """Return True: the loop pauses at the last moment only."""
        return True

    def found(self, m: Machine) -> list[int]:
        """Return the moments, in cycles."""
        if m.ctl[0].watched >= 0:  # the run is over, and its last step has not been looked at
            look = getattr(log.must_pause, "py_func", log.must_pause)
            look(m, 0)
        return m.moments[: m.ctl[0].found].tolist()


class Recorder(Watcher):
    """Keeps a run's events, or its samples, or both.

    Parameters
    ----------
    machine : hwmodel.machine.Machine
        The machine that runs.
    events : Events, optional
        Which events are kept.
    moments : iterable of int
        When the counter that `events` names increased, in cycles.
    interval : int
        The cycles between two samples; 0: none are taken.
    """

    def __init__(self, machine: Any, events: Events | None = None, moments: Iterable[int] = (), interval: int = 0) -> None:
        self._machine, self._events, self._moments = machine, events, list(moments)
        self._ns = 1000 / machine.get("clock.mhz")
        self._interval = interval
        self._deltas: list[tuple[int, np.ndarray, np.ndarray]] = []
        self._index = 0
        self._past = self._before = np.zeros(1, I64)

    def prepare(self, m: Machine) -> Machine:
        """Make room for the events, and set when the first sample is due."""
        ctl = m.ctl[0]
        ctl.pause = ctl.sampled = self._interval or NEVER
        if self._events is None:
            return m
        ctl.events = self._events.mask
        rows = m.rows.size
        return m._replace(
            log=np.zeros(self._events.limit, log.EVENT), stretches=merged(self._events.stretches(self._moments, self._ns)),
            opened=np.zeros((rows, 1 + log.DEEPEST), I64), holds=np.zeros((rows, m.locks.size), I64),
        )  # fmt: skip

    def is_content(self, m: Machine) -> bool:
        """Take a sample, now that the loop has come to one; return False, as there may be more."""
        ctl = m.ctl[0]
        self._take(m)
        self._index = int(m.due.min()) // self._interval
        if self._index >= MOST:
            passed = self._index * self._interval * self._ns
            raise ConfigError(f"sample_ns: the run is longer than {MOST:,} samples ({passed:,.0f} ns so far): take fewer, further apart")
        ctl.pause = ctl.sampled = (self._index + 1) * self._interval
        return False

    def _shown(self, m: Machine) -> tuple[float, float] | None:
        """Return the time from the first stretch that is recorded to the last one, in ns; None if that is the whole run, or nothing."""
        first, last = (int(m.stretches[0, 0]), int(m.stretches[-1, 1])) if m.stretches.size else (0, NEVER)
        return None if last >= NEVER else (first * self._ns, last * self._ns)

    def _take(self, m: Machine) -> None:
        """Add what has been booked since the last sample to the interval that was under way."""
        now = self._past + np.concatenate([m.counts, m.ledger], axis=1)
        delta = now - self._before
        used = np.flatnonzero(delta)
        if used.size:
            self._deltas.append((self._index, used, delta.ravel()[used]))
        self._before = now

    def end_part(self, books: Books) -> None:
        """Keep the sums of a part that is over: the tables count from 0 again."""
        self._past = self._past + np.concatenate([books.counters, books.ledger], axis=1)

    def attach(self, result: Result, m: Machine) -> Result:
        """Return the result with `events`, or `samples`, or both."""
        timeline = samples = None
        if self._events is not None:
            ctl = m.ctl[0]
            rows = [(int(row.agent), 1 + (r - ctl.agents) % ctl.outstanding if r >= ctl.agents else 0) for r, row in enumerate(m.rows)]
            names = design_of(self._machine.design).lock_names(int(ctl.spaces), int(ctl.engines - ctl.cpus))
            naming = Naming(result.book, [*(f"mmap lock of space {s}" for s in range(ctl.spaces)), *names], result.ledger.labels)
            timeline = Timeline(
                result.agents, rows, m.log[: ctl.logged], m.omitted, self._ns, naming, self._events.around or "", self._moments,
                self._shown(m),
            )  # fmt: skip
        if self._interval:
            self._take(m)
            samples = Samples(result.agents, result.book, self._deltas, self._interval, self._ns)
        return result.with_recorded(timeline, samples)


def merged(stretches: np.ndarray) -> np.ndarray:
    """Return stretches of time in order, those that meet made one: int64[n, 2], both ends included."""
    found: list[list[int]] = []
    for first, last in sorted(stretches.tolist()):
        if found and first <= found[-1][1]:
            found[-1][1] = max(found[-1][1], last)
        else:
            found.append([first, last])
    return np.array(found, np.int64).reshape(-1, 2)


def interval_of(machine: Any, sample_ns: Any) -> int:
    """Return the cycles between two samples that are so many ns apart; raise ConfigError if that is no time of a cycle or more."""
    if sample_ns is None:
        return 0
    if isinstance(sample_ns, bool) or not isinstance(sample_ns, Real) or not 0 < float(sample_ns) < 1e18:
        raise ConfigError(f"sample_ns: must be a time in ns, not {sample_ns!r}")
    cycles = round(float(sample_ns) * machine.get("clock.mhz") / 1000)
    if cycles < 1:
        raise ConfigError(f"sample_ns: {sample_ns} ns are less than a cycle ({1000 / machine.get('clock.mhz'):.3g} ns)")
    return cycles
