"""LRU stacks with holes: what TLBs of every size miss, from one pass over an engine's accesses.

The pages that a set of n ways holds are the first n places of one list, whatever n is (Mattson, Gecsei, Slutz and Traiger, 1970), so an
access whose page is at place d hits every TLB of more than d ways. So it stays with invalidations, if an entry that is dropped leaves a
hole in its place: a miss of n ways fills a hole if there is one in the first n places, so a push moves pages back only as far as the
first hole. An entry that may not be written misses a write too. Its *far* place is the largest at which its page has been found since its
last write: a TLB of more ways has held the entry, with the right to write, all along (Thompson and Smith, 1989).
"""

from collections.abc import Iterable

import numpy as np

from hwmodel import op as t
from hwmodel.jit import entry, part

HOLE, UNUSED = -1, -2
"""Places without a page: one that has been dropped, and all behind the last that was ever used."""
NOTHING = -1

GEOMETRY = np.dtype((np.record, [
    ("mask", "i8"),    # sets - 1
    ("depth", "i8"),   # places of a set that are kept: the most ways asked for
    ("offset", "i8"),  # where its places begin
    ("first", "i8"),   # where its histogram begins
]))  # fmt: skip


class Stacks:
    """The stacks of an engine's accesses, for TLBs of 4 KiB pages.

    Parameters
    ----------
    agent : int
        The engine's number in the trace.
    shapes : iterable of (int, int)
        The (sets, ways) that will be asked for; sets are a power of two. A number of sets is one stack for all its ways.

    Attributes
    ----------
    accesses : int
        Accesses so far.
    """

    def __init__(self, agent: int, shapes: Iterable[tuple[int, int]]) -> None:
        depths: dict[int, int] = {}
        for sets, ways in shapes:
            depths[sets] = max(ways, depths.get(sets, 0))
        self._agent, self.accesses = agent, 0
        self._place = {sets: k for k, sets in enumerate(depths)}
        self._shapes = np.zeros(len(depths), GEOMETRY)
        places = bins = 0
        for k, (sets, depth) in enumerate(depths.items()):
            self._shapes[k] = (sets - 1, depth, places, bins)
            places, bins = places + sets * depth, bins + depth + 1
        self._pages, self._far = np.full(places, UNUSED, np.int64), np.zeros(places, np.int64)
        self._found = np.zeros(bins, np.int64)

    def add(self, ops: np.ndarray) -> None:
        """Take the engine's accesses of an OP array."""
        self.accesses += int(_add(ops, self._agent, self._shapes, self._pages, self._far, self._found))

    def drop(self, first: int, last: int) -> None:
        """Drop the entries of pages [first, last), as an invalidation does."""
        self._pages[(self._pages >= first) & (self._pages < last)] = HOLE

    def hits(self, sets: int, ways: int) -> int:
        """Return the accesses that hit a TLB of so many sets, each of so many ways."""
        first = int(self._shapes["first"][self._place[sets]])
        return int(self._found[first : first + ways].sum())


@entry
def _add(ops, agent, shapes, pages, far, found):
    """Take the accesses of an agent; return their number."""
    accesses, latest, may_write = 0, NOTHING, False
    for i in range(ops.size):
        op = ops[i]
        kind = op.kind & ~t.CONTINUES
        if op.agent != agent or op.kind < 0 or kind > t.WRITE:
            continue
        accesses += op.count
        page, again = op.address >> t.PAGE_SHIFT, op.count
        if page != latest or (kind == t.WRITE and not may_write):
            may_write = kind == t.WRITE or (page == latest and may_write)
            latest, again = page, op.count - 1
            for g in range(shapes.size):
                found[shapes[g].first + touch(shapes[g], pages, far, page, kind == t.WRITE)] += 1
        for g in range(shapes.size if again > 0 else 0):
            found[shapes[g].first] += again
    return accesses


@part
def touch(shape, pages, far, page, write):
    """Move a page to the front of its set; return the most ways with which its access misses."""
    at = shape.offset + (page & shape.mask) * shape.depth
    place = furthest = shape.depth
    moved, its = page, 0
    for k in range(at, at + shape.depth):
        here, farther = pages[k], far[k]
        pages[k], far[k] = moved, its
        if here == page:
            place, furthest = k - at, farther
            break
        if here == UNUSED:
            break
        if here == HOLE:
            for j in range(k + 1, at + shape.depth):
                if pages[j] == page:
                    place, furthest = j - at, far[j]
                    pages[j] = HOLE
                    break
                if pages[j] == UNUSED:
                    break
            break
        moved, its = here, farther
    furthest = max(furthest, place)
    far[at] = 0 if write else furthest
    return furthest if write else place
