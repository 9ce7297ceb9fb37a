"""The auditor: after every step of a run it asks of every translation that somebody could use whether it is true.

With the JIT off kernels are functions in their modules' globals, and there the auditor stands between the engine and them. Running ahead
is off: it changes no result, and without it nothing happens between two steps.

What may lag behind a page table, and for how long, follows from the order in which docs/model.md lets things happen:

* A translation of a *design* (TLB, nested TLB, EPT) never lags. Whoever takes a right away tells the design first (NOTICE before COW_SET,
  SPLIT_SET, ZAP, CHANGE, MOVE, COPY), and the notice returns only when nothing can use the old translation any more (10.4, 11.4).
* A translation in a *CPU's* TLB may lag from the step that changes the pte (COW_SET, SPLIT_SET, ZAP, AGE, CHANGE, MOVE, COPY) until that
  CPU has answered the flush that follows: while the page is in a gather that is not flushed, while a FLUSH of it is asked for, and while
  the CPU's interrupt is on its way or waits (8.2, 8.3). A fork flushes once, at its end (9.6); until then what it made read-only may lag.
  Of an exit only those hear who can't look any more (9.7): its space's translations lag until they are emptied, but none may be used.
* What lags may be used, and may be copied from one level of a TLB to another; it gains no right, and nothing false comes anew.
* No translation, lagging or not, names a frame that nobody has a reference to: FREE, and the end of a copy on write, come after the
  flush (8.2, 9). A frame that is free may be anybody's at the next step, so this has no exception.
* A paging-structure cache names the table that is there, or any flush of its CPU is owed, since each empties it (8.3). Those of the second
  dimension may name a table that is there no more (deviation 30): walks look.
* Windows: from the return of a start notice to the arrival of its end, the design holds nothing of the range at all (11.4: KVM retries;
  10.3: GRU kills drop-ins in flight), and an end has the range of its start.
"""

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np

from hwmodel import engine
from hwmodel.op import EXIT, FORK, WRITE
from hwmodel.parts import bank
from hwmodel.primary import access, notify
from hwmodel.tables import FLUSH, HUGE, NOTICE_ARRIVES, PFN, TABLE, ZERO, D, P, W
from tests.audit import held
from tests.audit.held import LEAVES, Banks, Cached, Held
from tests.designs import Design

EVERYTHING = (0, 1 << 40)
ZERO_PAGE = 512
"""Frames below this are kept out of use: their numbers then mean the zero page, huge or not, and nothing else."""
MOST_STEPS = 100
"""Steps for each record, on average; a run that takes more will never end."""


class Broken(AssertionError):  # noqa: N818  (a finding, not a failure of the test)
    """A rule of the contract does not hold."""

    def __init__(self, rule: str, what: str) -> None:
        super().__init__(f"{rule}: {what}")
        self.rule = rule


class Audit:
    """Watches the runs of a design.

    Parameters
    ----------
    design : Design
    truth, windows : bool
        Look at each step whether every translation is true; whether windows are empty.

    Attributes
    ----------
    steps, uses, notices : int
        What it has seen: steps of this run; hits, and notices that arrived, of all runs.
    gone : int
        How often a walk cache of a second dimension named a table that is there no more (deviation 30).
    """

    def __init__(self, design: Design, truth: bool = True, windows: bool = True) -> None:
        self.design, self.truth, self.windows = design, truth, windows
        self.steps = self.limit = 0
        self.uses = self.notices = self.gone = 0
        self.dev: Any = None
        self.used: tuple[int, int] | None = None
        self.open: dict[int, list[tuple[int, int, int]]] = {}
        self.ending: set[int] = set()
        self.released: set[int] = set()
        self.known: set[Held] = set()
        self.true: set[Held | Cached] = set()
        self.seen: Any = None

    def begin(self, records: int) -> None:
        """A run of so many records begins."""
        self.steps, self.limit = 0, 500 + MOST_STEPS * records
        self.open, self.ending, self.released, self.known = {}, set(), set(), set()
        self.true, self.seen = set(), None

    @contextlib.contextmanager
    def watching(self) -> Iterator["Audit"]:
        """Stand between the engine and its kernels."""
        module = self.design.module
        hooks = [
            (module, "run", self._run), (engine, "earliest", self._earliest), (bank, "look", self._look),
            (access, "look_up", self._translate), (module, "translate", self._translate), (module, "deliver", self._deliver),
        ]  # fmt: skip
        with contextlib.ExitStack() as stack:
            for owner, name, hook in hooks:
                stack.enter_context(mock.patch.object(owner, name, hook(getattr(owner, name))))
            yield self

    # where it stands

    def _run(self, run: Any) -> Any:
        def hook(m: Any, dev: Any) -> int:
            self.dev = dev
            return run(m, dev)

        return hook

    def _earliest(self, earliest: Any) -> Any:
        def hook(m: Any) -> int:
            self.steps += 1
            if self.steps > self.limit:
                raise Broken("it_ends", f"not after {self.steps} steps")
            if self.truth:
                self.look_at(m)
            if self.windows:
                self.look_into_windows(m)
            return earliest(m)

        return hook

    def _look(self, look: Any) -> Any:
        def hook(m: Any, b: int, index: int, tag: int) -> int:
            k = look(m, b, index, tag)
            if k >= 0:
                self.used = b, k
            return k

        return hook

    def _translate(self, translate: Any) -> Any:
        def hook(m: Any, *arguments: Any) -> int:
            i, kind, vpn = arguments[-4:-1]
            self.used = None
            found = translate(m, *arguments)
            self.uses += found == access.HIT
            if found == access.HIT and self.truth:
                self.look_at_use(m, int(i), kind == WRITE, int(vpn))
            return found

        return hook

    def _deliver(self, deliver: Any) -> Any:
        def hook(m: Any, dev: Any, r: int) -> None:
            row = m.rows[r]
            kind, notice = int(row.note_end), (int(row.space), int(row.note_first), int(row.note_last))
            if kind == notify.STOP and r not in self.ending:  # it may wait for a lock and come again
                self.ending.add(r)
                self._close(r, notice)
            deliver(m, dev, r)
            if row.phase != NOTICE_ARRIVES:
                self.notices += 1
                self.ending.discard(r)
                if kind == notify.START:
                    self.open.setdefault(r, []).append(notice)
                elif kind == notify.RELEASE:
                    self.released.add(notice[0])

        return hook

    def _close(self, r: int, notice: tuple[int, int, int]) -> None:
        mine = self.open.get(r, [])
        if self.windows and (not mine or mine[-1] != notice):
            raise Broken("windows_are_empty", f"row {r} ends a window {notice}, it has open {mine} (space, first, last)")
        if mine:
            mine.pop()

    # what it looks at

    def look_at(self, m: Any) -> None:
        """Is everything that is held true, or does it lag as it may?"""
        banks, tree = Banks(m), Tree(m)
        self._notice_changes(m)
        for one in held.OF_DESIGN[self.design.name].translations(banks, self.dev):
            if one not in self.true:
                self._check_frames(m, one)
                if not tree.maps(one):
                    raise Broken("never_stale", f"{told(one)}; {tree.told(one)}, and a design's translation never lags")
                self.true.add(one)
        dying = {space for space in range(m.spaces.size) if is_dying(m, space)}
        of_cpus = [one for one in held.by_cpus(banks) if one.space not in dying]
        for one in of_cpus:
            if one not in self.true:
                self._check_frames(m, one)
                if tree.maps(one):
                    self.true.add(one)
                else:
                    self._check_lag(m, tree, one)
        self.known = set(of_cpus)
        for table in (*held.tables_by_cpus(banks), *held.OF_DESIGN[self.design.name].tables(banks, self.dev)):
            if table not in self.true:
                self._check_table(m, tree, table)

    def _notice_changes(self, m: Any) -> None:
        """What was found true stays so until a page table or a frame's references change."""
        now = m.nodes[: m.ctl[0].node_top].tobytes(), m.frames["refs"][: m.ctl[0].frame_top].tobytes()
        if now != self.seen:
            self.seen, self.true = now, set()

    def _check_frames(self, m: Any, one: Held) -> None:
        if one.pfn >= ZERO_PAGE and (m.frames["refs"][one.pfn : one.pfn + one.pages] <= 0).any():
            raise Broken("never_stale", f"{told(one)}, a frame that was freed")

    def _check_lag(self, m: Any, tree: "Tree", one: Held) -> None:
        if not may_lag(m, tree, one):
            raise Broken("never_stale", f"{told(one)}; {tree.told(one)}, and no flush of it is on its way")
        if one not in self.known:
            raise Broken("never_stale", f"{told(one)}, since this step; {tree.told(one)}")

    def _check_table(self, m: Any, tree: "Tree", table: Cached) -> None:
        node = tree.table(table.root, table.first, table.level)
        if node == table.node:
            self.true.add(table)
        elif table.cpu < 0 and node < 0:
            self.gone += 1
        elif table.cpu < 0 or not any_flush_owed(m, table.cpu):
            what = f"{table.where} has node {table.node} as the table of level {table.level} of page {table.first:#x}"
            raise Broken("never_stale", f"{what}; it is {node}")

    def look_at_use(self, m: Any, i: int, write: bool, vpn: int) -> None:
        """Row i's access hits: is the page that it goes to the one of the page table at this moment?"""
        if self.used is None:
            raise Broken("never_stale", f"row {i} hits page {vpn:#x} without a look at a TLB")
        b, k = self.used
        tag, pfn = int(m.ways["tag"][k]), int(m.ways["pfn"][k])
        space, is_cpu = int(m.rows["space"][i]), i < m.ctl[0].cpus
        page = pfn + (vpn & LEAVES - 1 if tag & 1 else 0)
        one = Held(f"bank {b}, used by row {i}", space, vpn, 1, page, write, False, i if is_cpu else -1)
        tree = Tree(m)
        self._check_frames(m, one)
        if m.spaces[space].root < 0 or not (tree.maps(one) or (is_cpu and may_lag(m, tree, one))):
            raise Broken("never_stale", f"{told(one)}; {tree.told(one)}")

    def look_into_windows(self, m: Any) -> None:
        """Does the design hold a page of a window that is open, or of a space that was released?"""
        windows = [window for mine in self.open.values() for window in mine] + [(space, *EVERYTHING) for space in self.released]
        if not windows:
            return
        for one in held.OF_DESIGN[self.design.name].translations(Banks(m), self.dev):
            for space, first, last in windows:
                if one.space == space and one.first < last and one.first + one.pages > first:
                    raise Broken("windows_are_empty", f"{told(one)}, and a window [{first:#x}, {last:#x}) is open")


class Tree:
    """The page tables of a machine, read without its kernels."""

    def __init__(self, m: Any) -> None:
        self.m = m

    def leaf(self, space: int, vpn: int) -> int:
        """The pte that maps a page, or 0."""
        node, level = int(self.m.spaces["root"][space]), 4
        while True:
            entry = int(self.m.nodes[node, vpn >> 9 * (level - 1) & LEAVES - 1])
            if not entry & TABLE:
                return entry
            node, level = entry >> PFN, level - 1

    def table(self, root: int, vpn: int, level: int) -> int:
        """The node of the table of `level` that a page falls in, or -1."""
        node = root
        for above in range(4, level, -1):
            entry = int(self.m.nodes[node, vpn >> 9 * (above - 1) & LEAVES - 1])
            if not entry & TABLE:
                return -1
            node = entry >> PFN
        return node

    def maps(self, one: Held) -> bool:
        """Does the page table give this translation, with these rights?"""
        pte = self.leaf(one.space, one.first)
        if one.pages == LEAVES and not pte & HUGE:
            pages = range(LEAVES)
            return all(self.maps(one._replace(first=one.first + k, pages=1, pfn=one.pfn + k)) for k in pages)
        if not pte & P or (one.write and not (pte & W and (pte & D or not one.dirty))):
            return False
        if pte & ZERO:
            return one.pfn < ZERO_PAGE
        return one.pfn == (pte >> PFN) + (one.first & LEAVES - 1 if pte & HUGE else 0)

    def told(self, one: Held) -> str:
        """What the page table says."""
        pte = self.leaf(one.space, one.first)
        return f"the page table has frame {pte >> PFN}, flags {pte & ((1 << PFN) - 1):#x}" if pte else "the page table has nothing"


def told(one: Held) -> str:
    """What a translation says."""
    return f"{one.where}: page {one.first:#x} of space {one.space} is frame {one.pfn}{', writable' if one.write else ''}"


def nothing(m: Any, dev: Any) -> tuple[()]:
    """No table of that kind."""
    return ()


def is_dying(m: Any, space: int) -> bool:
    """Is an exit taking this address space down?"""
    writer = int(m.locks["writer"][space])
    return bool(m.spaces[space].root < 0) or (writer >= 0 and m.rows["op"][writer] == EXIT)


def may_lag(m: Any, tree: Tree, one: Held) -> bool:
    """Is a flush of this page owed to `one.cpu`, or was the page, and no more than that, made read-only by a fork under way?"""
    writer = int(m.locks["writer"][one.space])
    forking = writer >= 0 and m.rows["op"][writer] == FORK
    return is_owed(m, one) or bool(forking and tree.maps(one._replace(write=False)))


def is_owed(m: Any, one: Held) -> bool:
    """Must CPU `one.cpu` yet hear of a flush of this page?"""
    first, last, rows = one.first, one.first + one.pages, m.rows
    here = rows["space"] == one.space
    gathered = here & (rows["gather_min"] < last) & (rows["gather_max"] > first)
    flushed = here & ((rows["flush_full"] == 1) | ((rows["flush_first"] < last) & (rows["flush_last"] > first)))
    under_way = (rows["phase"] == FLUSH) | (m.pending[one.cpu] != 0)
    return bool(gathered.any() or (flushed & under_way).any())


def any_flush_owed(m: Any, cpu: int) -> bool:
    """Must this CPU yet hear of any flush? Each empties the paging-structure caches."""
    space = m.rows[cpu].space
    here = m.rows["space"] == space
    gathered = here & ((m.rows["gather_max"] > m.rows["gather_min"]) | (m.rows["freed"] == 1))
    under_way = here & ((m.rows["phase"] == FLUSH) | (m.pending[cpu] != 0))
    return bool(gathered.any() or under_way.any() or is_dying(m, int(space)))


def frames_apart(m: Any) -> None:
    """Keep the first frames out of use, before anything is mapped: see `ZERO_PAGE`."""
    m.ctl["frame_top"] = ZERO_PAGE
    m.frames["refs"][:ZERO_PAGE] = 1
    m.frames["owner"][:ZERO_PAGE] = -1
    assert np.all(m.frames["refs"][ZERO_PAGE:] == 0)
