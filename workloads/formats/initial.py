"""The memory that existed before a recording's first record: as its list has it, or inferred from use."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from hwmodel import op as t
from hwmodel.jit import entry, part
from workloads.formats.syscalls import Files, Unit
from workloads.pagetable import EMPTY, find_page

JOIN = 64  # most untouched pages between touched ones that are assumed to belong to one mapping
READ_USE, WRITE_USE, FETCH_USE = 1, 2, 4

USED = np.dtype((np.record, [("page", "i8"), ("uses", "i8")]))
"""A slot of the hash table of pages that no known mapping covers."""
SEEN = np.dtype((np.record, [
    ("used", "i8"),        # filled slots
    ("fetch_page", "i8"),  # page of the latest fetch
    ("data_page", "i8"),
    ("data_uses", "i8"),   # uses of that page already noted
]))  # fmt: skip


@dataclass
class Layout:
    """A program's memory before it runs, as a recording lists it."""

    units: list[Unit] = field(default_factory=list)
    covered: list[tuple[int, int]] = field(default_factory=list)  # ranges of pages, with the room that a stack may grow into
    break_: int | None = None


class Coverage:
    """Pages of one process covered by known mappings; notes used pages that are not covered.

    Parameters
    ----------
    watch : bool
        False: do nothing.
    uses : Uses, optional
        Shared with the process this one was forked from.
    """

    def __init__(self, watch: bool = True, uses: "Uses | None" = None) -> None:
        self.uses = uses or Uses()
        self._watch = watch
        self._mine = np.zeros(t.AGENTS, np.bool_)
        self._ranges = np.empty((0, 2), np.int64)
        self._break: int | None = None
        self._noted = 0

    def admit(self, agent: int) -> None:
        """Add an agent of this process."""
        self._mine[agent] = True

    def start(self, covered: Iterable[tuple[int, int]], break_: int | None) -> None:
        """Set the page ranges [first, end) mapped at the start, and the program break if known."""
        self._ranges = np.array(sorted(covered), np.int64).reshape(-1, 2)
        self._break = break_

    def fork(self, noted: int) -> "Coverage":
        """Return the coverage of a process forked after `noted` records of the batch."""
        child = Coverage(self._watch, self.uses)
        child._ranges, child._break, child._noted = self._ranges, self._break, noted
        return child

    def follow(self, batch: np.ndarray, unit: Unit | None = None, break_: int | None = None) -> None:
        """Note the pages used by the process's new records in a growing batch, then apply an operation of the process after them.

        `break_` is the initial program break if only the first call showed it.
        """
        if not self._watch or (unit and unit[0][3] not in (t.MMAP, t.MUNMAP, t.MREMAP, t.BRK)):
            return
        self.uses.note(batch[self._noted :], self._ranges, self._mine)
        self._noted = batch.size
        if unit:
            self._break = break_ if self._break is None else self._break
            self._apply(unit)

    def rewind(self) -> None:
        """Start again at the beginning of the batch, after it has been emptied."""
        self._noted = 0

    def _apply(self, unit: Unit) -> None:
        address, pages, _, kind, _ = unit[0]
        page = address >> t.PAGE_SHIFT
        if kind == t.BRK:
            self._move_break(address)
            return
        pages = unit[-1][0] if pages == -1 else pages
        self._remove(page, page + pages)
        if kind == t.MMAP:
            self._add(page, page + pages)
        elif kind == t.MREMAP:
            first = unit[1][0] >> t.PAGE_SHIFT
            self._remove(first, first + unit[1][1])
            self._add(first, first + unit[1][1])

    def _move_break(self, address: int) -> None:
        before, self._break = address if self._break is None else self._break, address
        old, new = -(-before // t.PAGE), -(-address // t.PAGE)
        self._remove(min(old, new), max(old, new))
        if new > old:
            self._add(old, new)

    def _add(self, first: int, end: int) -> None:
        at = np.searchsorted(self._ranges[:, 0], first)
        self._ranges = np.insert(self._ranges, at, (first, end), axis=0)

    def _remove(self, first: int, end: int) -> None:
        low, high = self._ranges[:, 0], self._ranges[:, 1]
        keep = self._ranges[(high <= first) | (low >= end)]
        left = self._ranges[(low < first) & (high > first)].copy()
        right = self._ranges[(low < end) & (high > end)].copy()
        left[:, 1], right[:, 0] = first, end
        ranges = np.concatenate([keep, left, right])
        self._ranges = ranges[np.argsort(ranges[:, 0])]


class Uses:
    """Used pages that no known mapping covered, with the kinds of use."""

    def __init__(self) -> None:
        self._table = np.zeros(1 << 10, USED)
        self._table["page"] = EMPTY
        self._seen = np.zeros(1, SEEN)
        self.first_write = -1  # the first page written is the stack's: the program calls its loader

    def note(self, ops: np.ndarray, ranges: np.ndarray, mine: np.ndarray) -> None:
        """Note the uncovered pages of `ops` whose agent is `mine`."""
        if self.first_write < 0:
            writes = np.flatnonzero((ops["kind"] == t.WRITE) & mine[ops["agent"]])[:1]
            self.first_write = int(ops["address"][writes[0]]) >> t.PAGE_SHIFT if writes.size else -1
        self._seen["fetch_page"] = self._seen["data_page"] = EMPTY
        at = _note(ops, 0, ranges, mine, self._table, self._seen)
        while at < ops.size:
            self._grow()
            at = _note(ops, at, ranges, mine, self._table, self._seen)

    def pages(self) -> tuple[np.ndarray, np.ndarray]:
        """Return (int64[n] pages in ascending order, int64[n] their uses)."""
        rows = np.sort(self._table[self._table["page"] != EMPTY], order="page")
        return rows["page"], rows["uses"]

    def _grow(self) -> None:
        old = self._table
        self._table = np.zeros(2 * old.size, USED)
        self._table["page"] = EMPTY
        self._seen["used"] = 0
        _rehash(old, self._table, self._seen)


def inferred_units(uses: Uses, files: Files, agent: int) -> list[Unit]:
    """Return mappings that hold the noted pages: neighbours with the same use are one mapping.

    Written pages are anonymous memory, pages only fetched from or read are a file's; everything is readable.
    The mapping of the first page written is the stack.
    """
    pages, bits = uses.pages()
    prot = 1 | np.where(bits & WRITE_USE, t.PROT_WRITE, 0) | np.where(bits & FETCH_USE, t.PROT_EXEC, 0)
    breaks = np.flatnonzero((np.diff(pages) > JOIN) | (np.diff(prot) != 0)) + 1
    units = []
    for group in np.split(np.arange(pages.size), breaks) if pages.size else []:
        first, last, rights = int(pages[group[0]]), int(pages[group[-1]]), int(prot[group[0]])
        written = bool(rights & t.PROT_WRITE)
        mapping, file = (t.PRIVATE, 0) if written else (t.PRIVATE_FILE, files.new())
        stack = written and first <= uses.first_write <= last
        units.append(t.mmap_unit(first << t.PAGE_SHIFT, last + 1 - first, rights, mapping, file, grows_down=stack, agent=agent))
    return units


def populated_units(uses: Uses, agent: int) -> list[Unit]:
    """Return mappings that hold the noted pages, all in memory and with every right: accesses to them never fault."""
    pages, _ = uses.pages()
    rights = t.PROT_READ | t.PROT_WRITE | t.PROT_EXEC
    units = []
    for group in np.split(pages, np.flatnonzero(np.diff(pages) > JOIN) + 1) if pages.size else []:
        first, count = int(group[0]), int(group[-1] - group[0]) + 1
        units.append(t.mmap_unit(first << t.PAGE_SHIFT, count, rights, agent=agent, populate=True))
    return units


@entry
def _note(ops, at, ranges, mine, table, seen):
    """Note uncovered pages from ops[at] on; return the index where the table had no room left, or ops.size."""
    s = seen[0]
    for i in range(at, ops.size):
        op = ops[i]
        kind = op.kind & ~t.CONTINUES
        if kind > t.FETCH or not mine[op.agent]:
            continue
        page = op.address >> t.PAGE_SHIFT
        use = 1 << kind
        if kind == t.FETCH:
            if page == s.fetch_page:
                continue
        elif page == s.data_page and s.data_uses & use:
            continue
        if not _is_covered(page, ranges):
            if 2 * s.used >= table.size:
                return i
            _mark(page, use, table, s)
        if kind == t.FETCH:
            s.fetch_page = page
        else:
            s.data_uses = use if page != s.data_page else s.data_uses | use
            s.data_page = page
    return ops.size


@part
def _is_covered(page, ranges):
    """Return whether one of the sorted, disjoint ranges holds `page`."""
    low, high = 0, ranges.shape[0]
    while low < high:
        middle = (low + high) >> 1
        if ranges[middle, 0] <= page:
            low = middle + 1
        else:
            high = middle
    return low > 0 and page < ranges[low - 1, 1]


@part
def _mark(page, use, table, s):
    """Note a use of a page in the hash table."""
    slot = find_page(table, page)
    if table[slot].page == EMPTY:
        table[slot].page = page
        s.used += 1
    table[slot].uses |= use


@entry
def _rehash(old, table, seen):
    """Copy the filled slots of a smaller table."""
    for i in range(old.size):
        if old[i].page != EMPTY:
            _mark(old[i].page, old[i].uses, table, seen[0])
