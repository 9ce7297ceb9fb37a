"""Which accesses have their data in flight: an access is a use of its page until the data are there (docs/model.md 15.1, 10.4).

Whoever takes a page away calls the subscribers first, and a callback returns only when nothing can use the page any more. So no data of its
range are in flight when a start notice returns, and none of a frame when it is freed. Without a subscriber nobody could be asked to wait:
what an engine then uses of a page is the instant of its look-up (14.2), and this auditor looks at none of it. The model's window, interval
and latency are tables of every engine that issues by section 15, whatever its design; another engine (window 0) has nothing in flight.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from hwmodel.core.tables import HUGE, PFN, RELEASE
from tests.audit.stale import LEAVES, Tree
from tests.audit.tables import ZERO_PAGE


class Flight(NamedTuple):
    """What an engine has in flight."""

    engine: int
    space: int
    page: int
    frame: int  # of the page, as the page table had it at the look-up
    until: int  # when the last data of such accesses are there


class Flights:
    """Follows the data of a run."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Another run begins."""
        self.flights: list[Flight] = []
        self.hits: dict[int, tuple[int, int]] = {}
        self.resolved: set[int] = set()

    def hit(self, m: Any, i: int, page: int) -> None:
        """A look-up lets engine i's accesses to a page through: they are issued until its next look-up, or the end of the step."""
        if i >= m.ctl[0].cpus and m.ctl[0].window and m.spaces[m.rows[i].space].subscribers:
            self.hits[i] = page, frame_of(m, int(m.rows["space"][i]), page)

    def issued(self, m: Any, i: int) -> None:
        """The accesses of engine i's latest hit are issued."""
        if i in self.hits:
            page, frame = self.hits.pop(i)
            self.flights.append(Flight(i, int(m.rows["space"][i]), page, frame, int(m.devices["last"][i]) + int(m.ctl[0].latency)))

    def look(self, m: Any) -> Iterator[str]:
        """A step is over: are data in flight of a frame that it has freed?"""
        for i in list(self.hits):
            self.issued(m, i)
        first = int(m.ctl[0].agents)
        waiting = {r + first for r, phase in enumerate(m.rows["phase"][first:].tolist()) if phase == RELEASE}
        for r in waiting - self.resolved:
            space = int(m.rows["space"][r])
            if m.spaces[space].subscribers:
                page = int(m.misses["vpn"][r])
                self.flights.append(Flight(int(m.rows["agent"][r]), space, page, frame_of(m, space, page), int(m.due[r])))
        self.resolved, now = waiting, int(m.ctl[0].now)
        self.flights = [flight for flight in self.flights if flight.until > now]
        for flight in self.flights:
            if flight.frame >= ZERO_PAGE and m.frames["refs"][flight.frame] <= 0:
                yield f"{told(flight)}, and at {now} its frame {flight.frame} was freed"

    def returned(self, space: int, first: int, last: int, time: int) -> Iterator[str]:
        """A start notice has returned: are data of its range still in flight?"""
        for flight in self.flights:
            if flight.space == space and first <= flight.page < last and flight.until > time:
                yield f"{told(flight)}, and the callback for [{first:#x}, {last:#x}) has returned at {time}"


def frame_of(m: Any, space: int, page: int) -> int:
    """The frame of a page at this moment; that of the zero page if it has none."""
    pte = Tree(m).leaf(space, page)
    return (pte >> PFN) + (page & LEAVES - 1 if pte & HUGE else 0)


def told(flight: Flight) -> str:
    """Whose data are when there."""
    return f"engine {flight.engine} has data of page {flight.page:#x} of space {flight.space} in flight until {flight.until}"
