"""An oracle: LRU set-associative instruction and data TLBs over a unified second level that their misses feed."""

from hwmodel import op


class Tlb:
    """A set is a list of pages, the least recently used first."""

    def __init__(self, sets, ways):
        self.sets, self.ways, self.misses = [[] for _ in range(sets)], ways, 0

    def hit(self, page):
        row = self.sets[page % len(self.sets)]
        hit = page in row
        if hit:
            row.remove(page)
        elif len(row) == self.ways:
            row.pop(0)
        row.append(page)
        self.misses += not hit
        return hit

    def flush(self):
        for row in self.sets:
            row.clear()


def misses(records, first=(2, 2), second=(4, 2)):
    """Misses of each level; an operation on memory flushes its address space, here everything."""
    fetches, data, unified = Tlb(*first), Tlb(*first), Tlb(*second)
    for address, count, _, kind, _ in records:
        if kind & ~op.CONTINUES <= op.FETCH:
            for _ in range(count):
                upper = fetches if kind & ~op.CONTINUES == op.FETCH else data
                upper.hit(address >> 12) or unified.hit(address >> 12)
        elif kind >= op.MMAP and kind != op.ARG:
            for tlb in (fetches, data, unified):
                tlb.flush()
    return fetches.misses, data.misses, unified.misses
