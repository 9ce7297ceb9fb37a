"""The auditor of translations: is each that somebody could use the page table's, or does it lag as it may?

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
"""

from collections.abc import Iterator
from typing import Any

from hwmodel.core.tables import FLUSH, HUGE, MOVE, PFN, TABLE, ZERO, D, P, W, X
from hwmodel.op import EXIT, FETCH, FORK, HUGETLB, WRITE
from tests.audit import held
from tests.audit.held import LEAVES, Banks, Cached, Held
from tests.audit.tables import ZERO_PAGE


class Tree:
    """The page tables of a machine, read without its kernels."""

    def __init__(self, m: Any) -> None:
        self.m = m

    def leaf(self, space: int, vpn: int) -> int:
        """The pte that maps a page, or 0."""
        return self.entry(int(self.m.spaces["root"][space]), vpn)

    def entry(self, root: int, vpn: int) -> int:
        """The leaf of a page in the radix table of this root, or 0."""
        node, level = root, 4
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

    def allows(self, space: int, vpn: int, write: bool, dirty: bool, fetch: bool = False) -> bool:
        """May a page be read, fetched from, or written, which `dirty` would have noted, at this moment?"""
        if int(self.m.spaces["root"][space]) < 0:
            return False
        pte = self.leaf(space, vpn)
        return bool(pte & P and (not write or (pte & W and (pte & D or not dirty))) and (not fetch or pte & X))

    def maps(self, one: Held) -> bool:
        """Does the page table give this translation, with these rights?"""
        if not self.allows(one.space, one.first, one.write, one.dirty, one.fetch):
            return False
        pte = self.leaf(one.space, one.first)
        if one.pages == LEAVES and not pte & HUGE:
            return False
        if pte & ZERO:
            return one.pfn < ZERO_PAGE
        return one.pfn == (pte >> PFN) + (one.first & LEAVES - 1 if pte & HUGE else 0)

    def told(self, space: int, vpn: int) -> str:
        """What the page table says of a page."""
        pte = self.leaf(space, vpn) if int(self.m.spaces["root"][space]) >= 0 else 0
        return f"the page table has frame {pte >> PFN}, flags {pte & ((1 << PFN) - 1):#x}" if pte else "the page table has nothing"


class Stale:
    """Judges all translations of a machine at one moment after another; what was true stays so until a page table changes.

    Parameters
    ----------
    design : str
        Whose tables they are.

    Attributes
    ----------
    gone : int
        How often a walk cache of a second dimension named a table that is there no more (deviation 30).
    """

    def __init__(self, design: str) -> None:
        self.holder = held.OF_DESIGN[design]
        self.gone = 0
        self.begin()

    def begin(self) -> None:
        """Another run begins."""
        self.known: set[Held] | None = None
        self.true: set[Held | Cached] = set()
        self.seen: Any = None

    def findings(self, m: Any, dev: Any) -> Iterator[str]:
        """Everything that is held, is not true, and does not lag as it may."""
        banks, tree = Banks(m), Tree(m)
        self._notice_changes(m)
        of_cpus = [one for one in held.by_cpus(banks) if not is_dying(m, one.space)]
        for one in (*self.holder.translations(banks, dev), *of_cpus):
            if one not in self.true:
                yield from self._of_translation(m, tree, one)
        self.known = set(of_cpus)
        for table in (*held.tables_by_cpus(banks), *self.holder.tables(banks, dev)):
            if table not in self.true:
                yield from self._of_table(m, tree, table)

    def _of_translation(self, m: Any, tree: Tree, one: Held) -> Iterator[str]:
        if is_freed(m, one):
            yield f"{told(one)}, a frame that was freed"
        elif tree.maps(one):
            self.true.add(one)
        elif one.cpu < 0:
            yield f"{told(one)}; {tree.told(one.space, one.first)}, and a design's translation never lags"
        elif not may_lag(m, tree, one):
            yield f"{told(one)}; {tree.told(one.space, one.first)}, and no flush of it is on its way"
        elif self.known is not None and one not in self.known:
            yield f"{told(one)}, since this step; {tree.told(one.space, one.first)}"

    def of_use(self, m: Any, i: int, b: int, k: int, kind: int, vpn: int) -> Iterator[str]:
        """Row i's access hits way k of bank b: is the page that it goes to the one of the page table at this moment?"""
        tag, pfn = int(m.ways["tag"][k]), int(m.ways["pfn"][k])
        space, is_cpu = int(m.rows["space"][i]), i < m.ctl[0].cpus
        page = pfn + (vpn & LEAVES - 1 if tag & 1 else 0)
        name, cpu, tree = f"bank {b}, used by row {i}", i if is_cpu else -1, Tree(m)
        one = Held(name, space, vpn, 1, page, kind == WRITE, False, cpu, kind == FETCH)
        if is_freed(m, one):
            yield f"{told(one)}, a frame that was freed"
        if not (tree.maps(one) or (is_cpu and m.spaces[space].root >= 0 and may_lag(m, tree, one))):
            yield f"{told(one)}; {tree.told(space, vpn)}"

    def _notice_changes(self, m: Any) -> None:
        """What was found true stays so until a page table or a frame's references change."""
        now = m.nodes[: m.ctl[0].node_top].tobytes(), m.frames["refs"][: m.ctl[0].frame_top].tobytes()
        if now != self.seen:
            self.seen, self.true = now, set()

    def _of_table(self, m: Any, tree: Tree, table: Cached) -> Iterator[str]:
        node = tree.table(table.root, table.first, table.level)
        if node == table.node:
            self.true.add(table)
        elif table.cpu < 0 and node < 0:
            self.gone += 1
        elif table.cpu < 0 or not any_flush_owed(m, table.cpu):
            what = f"{table.where} has node {table.node} as the table of level {table.level} of page {table.first:#x}"
            yield f"{what}; it is {node}"


def told(one: Held) -> str:
    """What a translation says."""
    return f"{one.where}: page {one.first:#x} of space {one.space} is frame {one.pfn}{', writable' * one.write}{', executable' * one.fetch}"


def is_freed(m: Any, one: Held) -> bool:
    """Does it name a frame to which nobody has a reference? The numbers of the zero page are no frames."""
    return bool(one.pfn >= ZERO_PAGE and (m.frames["refs"][one.pfn : one.pfn + one.pages] <= 0).any())


def is_dying(m: Any, space: int) -> bool:
    """Is an exit taking this address space down?"""
    writer = int(m.locks["writer"][space])
    return bool(m.spaces["root"][space] < 0) or (writer >= 0 and m.calls["op"][writer] == EXIT)


def may_lag(m: Any, tree: Tree, one: Held) -> bool:
    """Is a flush of this page owed to `one.cpu`, or was the page, and no more than that, made read-only by a fork under way?"""
    writer = int(m.locks["writer"][one.space])
    forking = writer >= 0 and m.calls["op"][writer] == FORK
    return is_owed(m, one) or bool(forking and tree.maps(one._replace(write=False)))


def is_owed(m: Any, one: Held) -> bool:
    """Must CPU `one.cpu` yet hear of a flush of this page?

    Pages of hugetlb that move are flushed once, after the last of them (9.5).
    """
    first, last, rows, gathers, flushes = one.first, one.first + one.pages, m.rows, m.gathers, m.flushes
    here = rows["space"] == one.space
    gathered = here & (gathers["first"] < last) & (gathers["last"] > first)
    flushed = here & ((flushes["full"] == 1) | ((flushes["first"] < last) & (flushes["last"] > first)))
    under_way = (rows["phase"] == FLUSH) | (m.pending[one.cpu] != 0)
    moved = here & (rows["phase"] == MOVE) & (m.calls["first"] < last) & (m.spans["at"] > first)
    v = m.vmas[: m.ctl[0].vma_count]
    huge = v[(v["space"] == one.space) & (v["mapping"] == HUGETLB) & (v["first"] < last) & (v["last"] > first)]
    return bool(gathered.any() or (flushed & under_way).any() or (moved.any() and huge.size))


def any_flush_owed(m: Any, cpu: int) -> bool:
    """Must this CPU yet hear of any flush? Each empties the paging-structure caches."""
    space = m.rows[cpu].space
    here = m.rows["space"] == space
    gathered = here & ((m.gathers["last"] > m.gathers["first"]) | (m.gathers["freed"] == 1))
    under_way = here & ((m.rows["phase"] == FLUSH) | (m.pending[cpu] != 0))
    return bool(gathered.any() or under_way.any() or is_dying(m, int(space)))
