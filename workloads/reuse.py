"""Reuse distances: the number of other pages that an agent used since its last use of this page, exact, in one pass.

An access at distance d hits a fully associative LRU TLB of more than d entries and misses all smaller ones (Mattson, Gecsei,
Slutz and Traiger, 1970), so their histogram is the miss ratio of every size. Distances are counted with a binary indexed tree
over the times of last use (Bennett and Kruskal, 1975), renumbered whenever they reach its end: memory goes with the pages used.
"""

import numpy as np

from hwmodel import op as t
from hwmodel.jit import entry, part
from workloads.pagetable import EMPTY, find_page

EXACT = 1 << 16
"""Distances below this are counted individually, others by their power of two."""
BINS = EXACT + 48
DONE, FULL_TABLE, FULL_TIMES = 0, 1, 2

SLOT = np.dtype((np.record, [("page", "i8"), ("last", "i8"), ("uses", "i8")]))
"""A slot of the hash table of pages: the time of last use, and the kinds of use (a bit for each kind)."""
STATE = np.dtype((np.record, [
    ("at", "i8"),    # index of the next record of the chunk
    ("now", "i8"),   # the next time of use
    ("pages", "i8"),
    ("cold", "i8"),  # number of first uses
]))  # fmt: skip


DATA, FETCHES = 1 << t.READ | 1 << t.WRITE, 1 << t.FETCH
"""Kinds of accesses, as bits. A trace keeps the order within each stream, and not between the two: runs of fetches are coalesced
apart from data. So distances are exact for a TLB of data and a TLB of fetches, and not for one that holds both."""


class Reuse:
    """The reuse distances of one agent's accesses.

    Parameters
    ----------
    agent : int
        The agent's number.
    kinds : int
        Bits of the kinds that count: DATA, FETCHES, or both.

    Attributes
    ----------
    histogram : int64[BINS]
        Number of accesses at each distance below EXACT, then at each power of two; first uses are in neither.
    """

    def __init__(self, agent: int, kinds: int = DATA | FETCHES) -> None:
        self.histogram = np.zeros(BINS, np.int64)
        self._agent, self._kinds = agent, kinds
        self._table = np.zeros(1 << 10, SLOT)
        self._table["page"] = EMPTY
        self._tree = np.zeros((1 << 11) + 1, np.int64)
        self._state = np.zeros(1, STATE)

    @property
    def references(self) -> int:
        """Return the number of accesses."""
        return self.cold + int(self.histogram.sum())

    @property
    def cold(self) -> int:
        """Return the number of first uses of a page."""
        return int(self._state["cold"][0])

    def pages(self) -> tuple[np.ndarray, np.ndarray]:
        """Return (int64[n] pages used, in ascending order; int64[n] kinds of use: bits 1 << READ, WRITE, FETCH)."""
        rows = self._table[self._table["page"] != EMPTY]
        rows = rows[np.argsort(rows["page"])]
        return rows["page"], rows["uses"]

    def misses(self, entries: np.ndarray) -> np.ndarray:
        """Return the misses of fully associative LRU TLBs of `entries` entries (at most EXACT), first uses included."""
        below = np.concatenate([[0], np.cumsum(self.histogram[:EXACT])])
        return self.references - below[np.minimum(entries, EXACT)]

    def add(self, ops: np.ndarray) -> None:
        """Count the accesses of an OP array."""
        self._state["at"] = 0
        while (reason := _add(ops, self._agent, self._kinds, self._table, self._tree, self._state, self.histogram)) != DONE:
            if reason == FULL_TABLE:
                self._grow()
            self._renumber()

    def _grow(self) -> None:
        old, self._table = self._table, np.zeros(4 * self._table.size, SLOT)
        self._table["page"] = EMPTY
        _rehash(old, self._table)

    def _renumber(self) -> None:
        """Replace the pages' times of last use by 0, 1, 2 ..., in the same order."""
        live = np.flatnonzero(self._table["page"] != EMPTY)
        order = live[np.argsort(self._table["last"][live])]
        self._table["last"][order] = np.arange(order.size)
        self._state["now"] = order.size
        self._tree = np.zeros(2 * self._table.size + 1, np.int64)
        self._tree[1 : order.size + 1] = 1
        _build(self._tree)


@entry
def _add(ops, agent, kinds, table, tree, state, histogram):
    """Count accesses from ops[state.at] on; return DONE, or the reason for stopping: FULL_TABLE or FULL_TIMES."""
    s = state[0]
    for i in range(s.at, ops.size):
        op = ops[i]
        kind = op.kind & ~t.CONTINUES
        if op.agent != agent or op.kind < 0 or kind > t.FETCH or not kinds >> kind & 1:
            continue
        if 2 * s.pages >= table.size or s.now + 1 >= tree.size:
            s.at = i
            return FULL_TABLE if 2 * s.pages >= table.size else FULL_TIMES
        slot = find_page(table, op.address >> t.PAGE_SHIFT)
        row = table[slot]
        if row.page == EMPTY:
            row.page = op.address >> t.PAGE_SHIFT
            s.pages += 1
            s.cold += 1
            _move(tree, row, s)
        elif row.last == s.now - 1:
            histogram[0] += 1
        else:
            distance = s.pages - _sum(tree, row.last + 1)
            histogram[_bin(distance)] += 1
            _change(tree, row.last + 1, -1)
            _move(tree, row, s)
        row.uses |= 1 << kind
        histogram[0] += op.count - 1
    return DONE


@part
def _move(tree, row, s):
    """Make a page the most recently used one."""
    row.last = s.now
    s.now += 1
    _change(tree, row.last + 1, 1)


@part
def _bin(distance):
    """Return the bin of a distance."""
    if distance < EXACT:
        return distance
    at = EXACT
    while distance >> (at - EXACT + 17):
        at += 1
    return at


@part
def _change(tree, at, by):
    """Add to the element at `at`; indices begin at 1."""
    while at < tree.size:
        tree[at] += by
        at += at & -at


@part
def _sum(tree, at):
    """Return the sum of the elements up to `at`; indices begin at 1."""
    total = 0
    while at > 0:
        total += tree[at]
        at -= at & -at
    return total


@entry
def _build(tree):
    """Turn an array of elements into a tree, in place."""
    for at in range(1, tree.size):
        above = at + (at & -at)
        if above < tree.size:
            tree[above] += tree[at]


@entry
def _rehash(old, table):
    """Copy the filled slots of a smaller table."""
    for i in range(old.size):
        if old[i].page != EMPTY:
            slot = find_page(table, old[i].page)
            table[slot].page = old[i].page
            table[slot].last = old[i].last
            table[slot].uses = old[i].uses
