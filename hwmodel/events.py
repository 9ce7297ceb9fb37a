"""`Events`: which events of a run are kept, and when (docs/model.md 12.5)."""

from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from hwmodel.config import ConfigError
from hwmodel.config.errors import suggestion
from hwmodel.core.log import KINDS
from hwmodel.core.tables import NEVER

AROUND = (-10_000.0, 10_000.0)
"""The window around a moment unless it is said, in ns."""
SLACK = 1e-6
"""Of a cycle: what a time may miss it by, having been a number of ns, and still be it."""
MOST = 10_000_000
"""The most events that may be asked for: half a gigabyte."""


@dataclass(frozen=True)
class Events:
    """The events that `hwmodel.simulate` keeps in `result.events`: all that a run meets, of some kinds, or near some moments.

    Parameters
    ----------
    kinds : iterable of str, or str, optional
        Of `Events.KINDS`; by default all. "fault": misses of devices that needed software; "phase": their phases, and those of other
        misses; "cpu_fault": page faults of CPUs; "window": invalidation windows, from the call of the start's notice to the return of the
        end's; "notice": calls of mmu notifiers; "flush": TLB flushes; "ipi": interrupts for them, where they are answered; "lock" and
        "wait": locks held and waited for; "operation": munmap, fork ...; "miss": device accesses that no TLB could serve, until their data
        are there; "join": those that joined another one's; "retry": refusals for an invalidation, from the look that is stale; "kill":
        drop-ins cancelled, from the invalidation that did it.
    window_ns : (float, float), optional
        Only events that meet this time, in ns: of the run, or, with `around`, from a moment on (then (-10,000, 10,000) by default).
    around : str, optional
        The name of a counter: only events near the first moments at which it increased. The run is made twice for that.
    moments : int
        How many of these.
    limit : int
        At most so many events, the first to be over; more are counted, by kind, in ``result.events.omitted``.

    Raises
    ------
    ConfigError
        If a value is none of these.
    """

    kinds: Iterable[str] | str | None = None
    window_ns: tuple[float, float] | None = None
    around: str | None = None
    moments: int = 1
    limit: int = 100_000

    KINDS = KINDS

    def __post_init__(self) -> None:
        object.__setattr__(self, "kinds", _kinds(self.kinds))
        object.__setattr__(self, "window_ns", _window(self.window_ns, self.around is not None))
        _check_count("moments", self.moments, 1, 10_000)
        _check_count("limit", self.limit, 1, MOST)
        if self.around is not None and not isinstance(self.around, str):
            raise ConfigError(f"events: around must be the name of a counter, not {self.around!r}")
        if self.around is None and self.moments != 1:
            raise ConfigError("events: moments are those of a counter, and `around` names none")

    def check_counter(self, counters: Iterable[str]) -> None:
        """Refuse an `around` that is none of a machine's counters; raise ConfigError."""
        known = tuple(counters)
        if self.around is not None and self.around not in known:
            raise ConfigError(f"events: around {self.around!r} is no counter of this machine{suggestion(self.around, known)}")

    @property
    def mask(self) -> int:
        """Return a bit for each kind that is kept."""
        return sum(1 << KINDS.index(kind) for kind in self.kinds or ())

    def stretches(self, moments: Iterable[int], ns_per_cycle: float) -> np.ndarray:
        """Return the times to record, int64[n, 2] in cycles, both ends included; some may overlap.

        Parameters
        ----------
        moments : iterable of int
            The cycles at which the counter increased; not used without `around`.
        """
        if self.window_ns is None:
            return np.array([[0, NEVER]], np.int64)
        first, last = (min(ns / ns_per_cycle, float(NEVER)) for ns in self.window_ns)
        begins = list(moments) if self.around is not None else [0]
        found = [[max(0, at + int(np.floor(first + SLACK))), at + int(np.ceil(last - SLACK))] for at in begins]
        return np.array(found, np.int64).reshape(-1, 2)


def _kinds(given: Any) -> tuple[str, ...]:
    kinds = KINDS if given is None else (given,) if isinstance(given, str) else tuple(given) if isinstance(given, Iterable) else (given,)
    for kind in kinds:
        if kind not in KINDS:
            raise ConfigError(f"events: {kind!r} is no kind of event{suggestion(str(kind), KINDS)} (kinds: {', '.join(KINDS)})")
    if not kinds:
        raise ConfigError(f"events: no kind is asked for (kinds: {', '.join(KINDS)})")
    return tuple(kind for kind in KINDS if kind in kinds)


def _window(given: Any, is_around: bool) -> tuple[float, float] | None:
    if given is None:
        return AROUND if is_around else None
    pair = tuple(given) if isinstance(given, Iterable) and not isinstance(given, str) else ()
    if len(pair) != 2 or not all(isinstance(ns, Real) and not isinstance(ns, bool) and np.isfinite(float(ns)) for ns in pair):
        raise ConfigError(f"events: window_ns must be two times in ns, (first, last), not {given!r}")
    first, last = float(pair[0]), float(pair[1])
    if first > last:
        raise ConfigError(f"events: window_ns ends at {last:g} ns, before it begins ({first:g} ns)")
    if first < 0 and not is_around:
        raise ConfigError(f"events: window_ns begins at {first:g} ns; only around a counter's moments a time may be negative")
    return first, last


def _check_count(name: str, value: Any, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not least <= value <= most:
        raise ConfigError(f"events: {name} must be a number from {least} to {most}, not {value!r}")
