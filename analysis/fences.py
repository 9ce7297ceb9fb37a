"""Whether the order of a trace fixes what an engine finds in its TLB, whatever the time of a miss (docs/reading.md, "Every size at once").

A *segment* is what lies between two openers of the engine's address space (docs/model.md 3.6): within one, agents race; all of it is over
when the next one begins. So the order of an invalidation and an access is fixed if they lie in different segments. What may drop entries:
operations, and copies on write. A copy that an engine's own write brings drops that page alone, which the write then puts in again: it
is as if nothing had been dropped. A copy for a CPU's write needs a page that nobody has written to and that the engine may hold.

What can't be told is refused, also where a closer look might find that it does no harm.
"""

import numpy as np

from hwmodel import op as t
from hwmodel.jit import entry, part
from hwmodel.machine import Machine
from hwmodel.trace import Trace
from workloads.pagetable import EMPTY, find_page
from workloads.stacks import Stacks

LARGE = 1024
"""Pages of an invalidation from which on a chiplet drops every entry of the address space (docs/model.md 10.4)."""
BLOCK = 512
"""Pages whose entry in the page table is split where a mapping is cut (docs/model.md 9.0, SPLITS)."""
FIRST = 2
"""The first segment; what the initial memory has of written pages was written in the one before."""
MOST_QUIET = 200
"""Ranges, each of an operation in the same segment, that an engine's accesses are compared with; a trace with more is refused."""
OTHER, CPU, ENGINE = range(3)
"""What an agent is for the engine: of another address space, a CPU of its own, the engine itself."""
DONE, OPERATION, FULL, RACE, BARRED, QUIET = range(6)

PAGE = np.dtype((np.record, [
    ("page", "i8"),
    ("touched", "i8"),  # the latest segment in which the engine used it, since it was dropped; 0: none
    ("wrote", "i8"),    # the segment of the first write by anybody, since it is mapped; 0: none
    ("by_cpu", "i8"),   # whether that write is a CPU's
]))  # fmt: skip
WALK = np.dtype((np.record, [
    ("at", "i8"),        # the record of the chunk that comes next
    ("pages", "i8"),     # pages in the table
    ("segment", "i8"),
    ("accessed", "i8"),  # whether the engine has made an access in it
    ("barred", "i8"),    # whether it may make one
    ("found", "i8"),     # the page or the range of a refusal
]))  # fmt: skip


class UnorderedError(Exception):
    """What an engine finds in its TLB depends on time; the message says where, and why."""


class Ranges:
    """Ranges of pages, none of which overlap."""

    def __init__(self) -> None:
        self.array = np.zeros((0, 2), np.int64)

    def remove(self, first: int, last: int) -> None:
        """Take the pages [first, last) out."""
        low, high = self.array[:, 0], self.array[:, 1]
        left = np.stack([low, np.minimum(high, first)], 1)
        right = np.stack([np.maximum(low, last), high], 1)
        both = np.concatenate([left, right])
        self.array = np.unique(both[both[:, 0] < both[:, 1]], axis=0)

    def add(self, first: int, last: int) -> None:
        """Put the pages [first, last) in."""
        self.remove(first, last)
        self.array = np.concatenate([self.array, [[first, last]]])

    def count(self, first: int, last: int) -> int:
        """Return how many pages of [first, last) are in."""
        low, high = np.maximum(self.array[:, 0], first), np.minimum(self.array[:, 1], last)
        return int(np.maximum(high - low, 0).sum())


class Fences:
    """The walk over a trace with one engine: it feeds the engine's stacks while the order is fixed.

    Parameters
    ----------
    machine : Machine
        Its limit of stacks and its huge pages count.
    trace : Trace
        Has one device agent.
    stacks : Stacks
        Of that agent.
    """

    def __init__(self, machine: Machine, trace: Trace, stacks: Stacks) -> None:
        (engine,) = [agent for agent in trace.agents if agent.role == "device"]
        self._stacks, self._space, self._before = stacks, engine.space, 0
        self._roles = np.array([OTHER if a.space != engine.space else CPU if a.role == "cpu" else ENGINE for a in trace.agents])
        self._is_huge = machine.get("kernel.thp") != "never"
        self._limit = machine.get("kernel.stack_limit_mib") * 256
        self._mapped, self._may_be, self._written = Ranges(), Ranges(), Ranges()  # may be: what a stack may have grown to, too
        self._break = 0
        self._table = np.zeros(1 << 10, PAGE)
        self._table["page"] = EMPTY
        self._state = np.zeros(1, WALK)
        self._state["segment"] = FIRST
        self._why, self._forever = "", False
        self._quiet: list[tuple[int, int, str]] = []
        self._drops: list[tuple[int, int]] = []
        self._again: list[tuple[int, int]] = []
        self._declare(trace.prelude)

    def take(self, ops: np.ndarray) -> None:
        """Take the next records, whole units.

        Raises
        ------
        UnorderedError
            At the first record from which on the order does not fix what the engine finds.
        """
        s, begun = self._state[0], 0
        s.at = 0
        while True:
            quiet = np.array([span[:2] for span in self._quiet], np.int64).reshape(-1, 2)
            found = _walk(ops, self._roles, self._table, self._state, quiet, np.ascontiguousarray(self._written.array))
            if found == FULL:
                self._grow()
                continue
            if found in (RACE, BARRED, QUIET):
                raise UnorderedError(self._refusal(found))
            self._stacks.add(ops[begun : s.at])
            begun = int(s.at)
            if found == DONE:
                self._before += ops.size
                return
            self._operate(ops, begun)
            s.at += 1
            if len(self._quiet) > MOST_QUIET:
                raise UnorderedError(f"{self._quiet[0][2]}, and {MOST_QUIET} more operations follow without an order")

    def _refusal(self, found: int) -> str:
        """Return why the walk has stopped for good."""
        s = self._state[0]
        if found == RACE:
            return (
                f"record {self._before + s.at}: a CPU's first write of page {s.found:#x} and the engine's uses of it have no fixed order, "
                "so a copy on write may drop its entry at any time"
            )
        why = self._why if found == BARRED else self._quiet[int(s.found)][2]
        return f"{why} (the engine goes on at record {self._before + s.at})"

    def _operate(self, ops: np.ndarray, at: int) -> None:
        """Do what an operation does to the engine's entries, now, until the segment ends, or at its end."""
        kind, count = int(ops["kind"][at]), int(ops["count"][at])
        own = self._roles[ops["agent"][at]] != OTHER
        if kind == t.FORK and count == self._space:
            raise UnorderedError(f"record {self._before + at}: the engine's address space is forked from another one")
        if kind == t.SYNC or (own and kind in t.VMA_CHANGING):
            self._close()
        if not own or kind == t.SYNC:
            return
        told, first = f"record {self._before + at}: nothing orders {t.NAMES[kind]} and the engine", int(ops["address"][at]) >> 12
        if kind == t.MMAP:
            self._map(ops, at, told)
        elif kind == t.MUNMAP:
            self._unmap(first, first + t.pages_of(ops, at), told)
        elif kind == t.BRK:
            self._move_break(int(ops["address"][at]) + 4095 >> 12, told)
        elif kind == t.MADVISE:
            self._advise(first, first + t.pages_of(ops, at), int(ops["count"][at + 1]), told)
        elif kind == t.MPROTECT:
            self._disturb(first, first + t.pages_of(ops, at), told)
        elif kind == t.MREMAP:
            new, pages = int(ops["address"][at + 1]) >> 12, (t.pages_of(ops, at), int(ops["count"][at + 1]))
            if min(pages) < 0:
                raise UnorderedError(f"record {self._before + at}: an mremap of so many pages is not followed")
            self._disturb(first, first + pages[0], told)
            self._disturb(new, new + pages[1], told)
            self._mapped.remove(first, first + pages[0])
            self._may_be.add(new, new + pages[1])
        else:  # fork, exit, and what is not modelled: all of memory
            self._disturb(0, t.MOST_USER_END >> 12, told)

    def _close(self) -> None:
        """End the segment: all that has been begun in it is done."""
        for first, last in self._drops:
            self._drop(first, last)
        for first, last in self._again:
            self._forget(first, last)
        self._drops, self._again, self._quiet = [], [], []
        s = self._state[0]
        s.segment += 1
        s.accessed = 0
        s.barred = self._forever

    def _declare(self, ops: np.ndarray) -> None:
        """Take the memory that exists before the first record."""
        for at in np.flatnonzero(ops["kind"] != t.ARG):
            if self._roles[ops["agent"][at]] == OTHER:
                continue
            if ops["kind"][at] == t.BRK:
                self._move_break(int(ops["address"][at]) + 4095 >> 12, "")
            else:
                self._map(ops, int(at), "")
                first, how = int(ops["address"][at]) >> 12, int(ops["count"][at + 1])
                if how & t.POPULATE and how & t.PROT_WRITE:
                    self._written.add(first, first + t.pages_of(ops, int(at)))

    def _map(self, ops: np.ndarray, at: int, told: str) -> None:
        """Map pages; what is there (not in the initial memory) is unmapped before any later access begins."""
        first, how = int(ops["address"][at]) >> 12, int(ops["count"][at + 1])
        last = first + t.pages_of(ops, at)
        if how >> 3 & 7 == t.HUGETLB:
            raise UnorderedError("the engine's address space has pages of 2 MiB (hugetlb)")
        if told and self._may_be.count(first, last):
            self._cut(first, last, told, False)
            is_large = last - first >= LARGE
            if is_large and not self._mapped.count(first, last):
                self._disturb(first, last, told)
            else:
                self._drop(*((0, t.MOST_USER_END >> 12) if is_large else (first, last)))
        self._forget(first, last)
        self._mapped.add(first, last)
        self._may_be.add(first - self._limit if how & t.GROWS_DOWN else first, last)

    def _unmap(self, first: int, last: int, told: str) -> None:
        """Unmap pages, from now on until the end of the segment."""
        self._cut(first, last, told, True)
        self._again.append((first, last))
        is_large = last - first >= LARGE
        if is_large and self._uses() and not self._mapped.count(first, last):
            self._disturb(first, last, told)
        elif self._uses(first, last) or is_large:
            self._bar(told, False)
            self._drops.append((0, t.MOST_USER_END >> 12) if is_large else (first, last))
        self._forget(first, last)
        self._mapped.remove(first, last)
        self._may_be.remove(first, last)

    def _move_break(self, new: int, told: str) -> None:
        old, self._break = self._break, new
        if new < old:
            self._unmap(new, old, told)
        elif 0 < old < new:
            if self._may_be.count(old, new):
                raise UnorderedError(f"{told}: it may fail, for the break would grow over a mapping")
            self._mapped.add(old, new)
            self._may_be.add(old, new)

    def _advise(self, first: int, last: int, advice: int, told: str) -> None:
        if advice == t.HUGEPAGE and self._is_huge:
            raise UnorderedError(f"{told}: pages become huge ones")
        if advice == t.DONTNEED and last - first < LARGE:
            if self._uses(first, last):
                self._bar(told, False)
                self._drops.append((first, last))
            else:
                self._quiet.append((first, last, told))
            self._forget(first, last)
            self._again.append((first, last))
        elif advice != t.COLD:
            self._disturb(first, last, told)

    def _disturb(self, first: int, last: int, told: str) -> None:
        """Allow for an operation that may drop any entries of [first, last), or of all if that is large, and make any of its pages new."""
        is_large, low, high = last - first >= LARGE, first & -BLOCK, last + BLOCK - 1 & -BLOCK
        if self._uses(low, high) or (is_large and self._uses()):
            self._bar(told, True)
        elif is_large:
            self._bar(told, False)
        else:
            self._quiet.append((low, high, told))
        self._forget(first, last)
        self._again.append((first, last))

    def _cut(self, first: int, last: int, told: str, goes_on: bool) -> None:
        """Allow for the splits of the page table where a mapping is cut; `goes_on`: the engine's later accesses do not wait for them."""
        for low in {end & -BLOCK for end in (first, last) if end % BLOCK}:
            if self._may_be.count(low, low + BLOCK) == BLOCK:
                if self._uses(low, min(first, low + BLOCK)) or self._uses(max(last, low), low + BLOCK):
                    self._bar(told, True)
                elif goes_on:
                    self._quiet.append((low, low + BLOCK, told))

    def _bar(self, told: str, forever: bool) -> None:
        """Refuse any access of the engine until the segment ends, or for good; those before in the segment too."""
        s = self._state[0]
        if s.accessed:
            raise UnorderedError(told)
        if not self._forever:
            self._why, self._forever = told, forever
        s.barred = 1

    def _in(self, first: int, last: int) -> np.ndarray:
        return (self._table["page"] >= first) & (self._table["page"] < last)

    def _uses(self, first: int = 0, last: int = t.MOST_USER_END) -> bool:
        """Return whether the engine may have an entry of a page of [first, last)."""
        return bool((self._table["touched"][self._in(first, last)] > 0).any())

    def _drop(self, first: int, last: int) -> None:
        self._stacks.drop(first, last)
        self._table["touched"][self._in(first, last)] = 0

    def _forget(self, first: int, last: int) -> None:
        """Forget who has written pages of [first, last)."""
        self._written.remove(first, last)
        self._table["wrote"][self._in(first, last)] = 0

    def _grow(self) -> None:
        old, self._table = self._table, np.zeros(4 * self._table.size, PAGE)
        self._table["page"] = EMPTY
        _rehash(old, self._table)


@entry
def _walk(ops, roles, table, state, quiet, written):
    """Look at records from state.at on, until one must be looked at more closely; return why, or DONE."""
    s = state[0]
    for i in range(s.at, ops.size):
        op, s.at = ops[i], i
        kind, role = op.kind & ~t.CONTINUES, roles[op.agent]
        if kind > t.COMPUTE and kind != t.ARG and kind != t.SYSCALL and (role != OTHER or kind == t.SYNC or kind == t.FORK):
            return OPERATION
        if role == OTHER or kind > t.WRITE or (role == CPU and kind != t.WRITE):
            continue
        if 2 * s.pages >= table.size:
            return FULL
        page = op.address >> t.PAGE_SHIFT
        s.found = page
        if role == ENGINE:
            if s.barred:
                return BARRED
            at = range_of(quiet, page)
            if at >= 0:
                s.found = at
                return QUIET
            s.accessed = 1
        row = table[find_page(table, page)]
        if row.page == EMPTY:
            row.page = page
            row.wrote = FIRST - 1 if range_of(written, page) >= 0 else 0
            s.pages += 1
        if is_race(row, s.segment, role, kind == t.WRITE):
            return RACE
    s.at = ops.size
    return DONE


@part
def range_of(ranges, page):
    """Return the row of the range that has a page, or -1."""
    for k in range(ranges.shape[0]):
        if ranges[k, 0] <= page < ranges[k, 1]:
            return k
    return -1


@part
def is_race(row, segment, role, write):
    """Note a use of a page; return whether it may race with its first write, so that the write's copy may drop the engine's entry."""
    if role == ENGINE:
        if row.wrote == segment and row.by_cpu:
            return True
        row.touched = segment
    elif row.touched > 0 and (row.wrote == 0 or (row.wrote == segment and not row.by_cpu)):
        return True
    if write and row.wrote == 0:
        row.wrote, row.by_cpu = segment, 1 if role == CPU else 0
    return False


@entry
def _rehash(old, table):
    """Copy the filled slots of a smaller table."""
    for i in range(old.size):
        if old[i].page != EMPTY:
            row = table[find_page(table, old[i].page)]
            row.page, row.touched, row.wrote, row.by_cpu = old[i].page, old[i].touched, old[i].wrote, old[i].by_cpu
