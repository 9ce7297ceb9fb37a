"""Unmapping in the oracle: gather, ZAP, FREE, FREE_TABLES, and the chain around them (docs/model.md, 9 and 9.1)."""

from tests.reference import vmas as v
from tests.reference.epochs import open_epoch
from tests.reference.faults import split
from tests.reference.flush import flush, notice
from tests.reference.memory import HUGE, ZERO, D
from tests.reference.rows import skip, step


class Gather:
    """What waits to be flushed and freed; a plain flush range too."""

    def __init__(self, limit=0, whole=False):
        self.limit, self.whole = limit, whole
        self.reset()

    def reset(self):
        """Nothing waits."""
        self.entries, self.first, self.last = [], None, None
        self.level, self.freed_tables, self.delayed = None, False, False

    def table_freed(self, base, level):
        """A page table was freed."""
        self.freed_tables = True
        self.extend(base, base + 1)
        self.cleared(level + 1)

    @property
    def due(self):
        """Whether it has to be flushed and freed before the next step."""
        return self.full or self.delayed

    @property
    def full(self):
        """Whether it has to be freed before more can be cleared."""
        return len(self.entries) >= self.limit

    @property
    def stride(self):
        """What one entry of the smallest level maps."""
        return 1 if self.level is None else 512 ** (self.level - 1)

    @property
    def needs_flush(self):
        """Whether anything was cleared."""
        return self.first is not None or self.freed_tables

    def extend(self, first, last):
        """Extend the range."""
        self.first = first if self.first is None else min(self.first, first)
        self.last = last if self.last is None else max(self.last, last)

    def touch(self, vpn, pte):
        """A leaf was changed."""
        huge = pte.has(HUGE)
        self.extend(vpn & ~511 if huge else vpn, (vpn | 511) + 1 if huge else vpn + 1)
        self.cleared(2 if huge else 1)

    def cleared(self, level):
        """An entry of a table of this level was cleared."""
        self.level = level if self.level is None else min(self.level, level)

    def add(self, vpn, pte):
        """A leaf was cleared."""
        self.touch(vpn, pte)
        if not pte.has(ZERO):
            self.entries.append(pte)


def leaf_part(row, at, last, account, then):
    """The next part of [at, last) to work on in this step, (start, end, huge), or None; splits huge leaves it cuts."""
    while True:
        part = row.space.table.next_part(at, last)
        if part is None:
            skip(row)
            return None
        start, end, huge = part
        if not huge or (start & 511 == 0 and end - start == 512):
            return part
        skip(row)
        yield from split(row, start, account, then)
        yield from step(row, then)


def zap(row, gather, first, last, reclaim=False):
    """ZAP: clear a range; flushes and frees whenever the gather is full; tables wholly in the range are freed if asked for."""
    cost, table, at = row.world.cost, row.space.table, first
    while True:
        yield from step(row, "ZAP")
        part = yield from leaf_part(row, at, last, "clear", "ZAP")
        if part is None:
            return
        at, end, huge = part
        leaves = 0
        if huge:
            gather.add(at, table.get(at))
            table.clear(at)
            leaves, at = 1, end
        else:
            while at < end and not gather.full:
                pte = table.get(at)
                if pte is not None:
                    table.clear(at)
                    gather.add(at, pte)
                    gather.delayed |= pte.has(D) and pte.pfn in row.world.frames.cached
                    leaves += 1
                at += 1
        row.spend("clear", cost.clear * leaves + cost.table_scan)
        base = at - 512
        empty = reclaim and not huge and base % 512 == 0 and first <= base and not table.node(base, 1).entries
        if empty:
            table.free_table(base, 1)
            row.spend("free", cost.table)
        if gather.due:
            yield from finish(row, gather)
        if empty:
            gather.table_freed(base, 1)


def free(row, gather):
    """FREE: the frames of the gather lose their references."""
    if gather.entries:
        yield from step(row, "FREE")
        for pte in gather.entries:
            row.world.frames.drop(pte)
        row.spend("free", row.world.cost.free * len(gather.entries))
    gather.reset()


def finish(row, gather):
    """FLUSH if needed, FREE."""
    if gather.needs_flush:
        yield from flush(row, gather.first, gather.last, gather.stride, "FREE", gather.freed_tables, gather.whole)
    yield from free(row, gather)


def free_tables(row, gather, first, last, gone):
    """FREE_TABLES: tables that no VMA can use any more."""
    space, cost = row.space, row.world.cost
    below = max((vma.last for vma in space.vmas.items if vma.last <= first), default=0)
    above = min((vma.first for vma in space.vmas.items if vma.last > first), default=1 << 40)
    for level in (1, 2, 3):
        reach = 1 << 9 * level
        for base in space.table.tables(level, first, last):
            if base >= below and base + reach <= above:
                space.table.free_table(base, level)
                row.spend("free", cost.table)
                gather.table_freed(base, level)
    for base in range(gone[0] >> 27 << 27, gone[1], 1 << 27):
        if base >= below and base + (1 << 27) <= above:
            gather.freed_tables = True
            gather.extend(base, base + 1)


def boundary_splits(row, first, last, changes=lambda vma: True):
    """SPLITS: where a VMA that changes is cut inside 2 MiB that are all its own, a huge page is looked for, and split."""
    space = row.space
    yield from step(row, "SPLITS")
    for page, left in ((first, 0), (last, first)):
        vma, base = space.vmas.find(page), page & ~511
        if base == page or vma is None or not changes(vma) or space.table.node(page, 2) is None:
            continue
        if max(vma.first, left) <= base and base + 512 <= vma.last:
            skip(row)
            yield from split(row, page, "clear", "SPLITS")


def unmap(row, first, last, downgrade=False, replaced=False):
    """MUNMAP from SPLITS to FREE, the lock held; `replaced`: something is mapped there afterwards."""
    yield from boundary_splits(row, first, last)
    yield from unmap_vmas(row, first, last, downgrade, replaced)


def unmap_vmas(row, first, last, downgrade=False, replaced=False):
    """MUNMAP from VMAS to FREE."""
    world, space = row.world, row.space
    yield from step(row, "VMAS")
    inside = space.vmas.in_range(first, last)
    work = space.vmas.cut(first, last)
    if not replaced:
        open_epoch(row)
    if not work:
        skip(row)
        return
    row.spend("vma", world.cost.vma * work)
    if downgrade and world.policy["munmap_downgrades"]:
        space.lock.downgrade(row)
    gather = Gather(world.machine.get("kernel.gather_pages"))
    yield from notice(row, "start", first, last, "ZAP")
    yield from zap(row, gather, first, last)
    yield from notice(row, "end", first, last, "FREE_TABLES")
    yield from step(row, "FREE_TABLES")
    free_tables(row, gather, first, last, (max(first, inside[0].first), min(last, inside[-1].last)))
    yield from finish(row, gather)


def insert(row, vma, right=True):
    """INSERT."""
    yield from step(row, "INSERT")
    row.space.vmas.insert(vma, right)
    row.spend("vma", row.world.cost.vma)


def cuts_hugetlb(space, *pages):
    """Whether one of the boundaries lies inside a huge page of a hugetlb VMA."""
    found = [space.vmas.find(page) for page in pages if page & 511]
    return any(vma is not None and vma.mapping == v.HUGETLB for vma in found)
