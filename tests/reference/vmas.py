"""VMAs of the oracle (docs/model.md, 5.1)."""

from dataclasses import dataclass, replace

from tests.reference.memory import X

READ, WRITE, EXEC = 1, 2, 4
ANONYMOUS, SHARED, PRIVATE_FILE, SHARED_FILE, HUGETLB = range(5)
ADVISED, REFUSED = 1, 2


@dataclass
class Vma:
    """A mapping of [first, last)."""

    first: int
    last: int
    prot: int
    mapping: int = ANONYMOUS
    file: int = 0
    offset: int = 0
    advice: int = 0
    grows: bool = False
    anon: bool = False

    @property
    def shared(self):
        """Whether writes are seen by others."""
        return self.mapping in (SHARED, SHARED_FILE)

    @property
    def private(self):
        """Not shared."""
        return not self.shared

    @property
    def execute(self):
        """What ptes of it have for being fetched from."""
        return X if self.prot & EXEC else 0

    def page(self, vpn):
        """(file, offset) of a page."""
        return self.file, self.offset + vpn - self.first

    def part(self, first, last):
        """A copy of a part, or beyond."""
        offset = self.offset + first - self.first if self.file else 0
        return replace(self, first=first, last=last, offset=offset)

    def continues_in(self, right):
        """Whether `right` is the same mapping, further up."""
        compared = ("prot", "mapping", "file", "advice", "grows")
        same = all(getattr(self, name) == getattr(right, name) for name in compared)
        runs = not self.file or self.offset + self.last - self.first == right.offset
        return same and runs and self.last == right.first


class VmaList:
    """The VMAs of one space, ascending."""

    def __init__(self):
        self.items = []

    def find(self, vpn):
        """The VMA that holds vpn, or None."""
        vma = self.next(vpn)
        return vma if vma is not None and vma.first <= vpn else None

    def next(self, at):
        """The first VMA with last > at, or None."""
        for vma in self.items:
            if vma.last > at:
                return vma
        return None

    def in_range(self, first, last):
        """The VMAs that intersect a range."""
        return [vma for vma in self.items if vma.first < last and vma.last > first]

    def insert(self, vma):
        """Insert, and merge."""
        assert not self.in_range(vma.first, vma.last), "VMAs may not overlap"
        self.items.append(vma)
        self.items.sort(key=lambda vma: vma.first)
        self.merge(vma)

    def merge(self, vma):
        """Merge with the left, then the right neighbour."""
        at = self.items.index(vma)
        if at > 0 and self.items[at - 1].continues_in(vma):
            left = self.items[at - 1]
            left.last, left.anon = vma.last, left.anon or vma.anon
            del self.items[at]
            at -= 1
            vma = left
        if at + 1 < len(self.items) and vma.continues_in(self.items[at + 1]):
            right = self.items[at + 1]
            vma.last, vma.anon = right.last, vma.anon or right.anon
            del self.items[at + 1]

    def cut(self, first, last):
        """Remove a range; returns how many VMAs were removed or cut."""
        found = self.in_range(first, last)
        for vma in found:
            self.items.remove(vma)
            if vma.first < first:
                self.items.append(vma.part(vma.first, first))
            if vma.last > last:
                self.items.append(vma.part(last, vma.last))
        self.items.sort(key=lambda vma: vma.first)
        return len(found)

    def isolate(self, first, last):
        """Cut [first, last) out of its VMA, so that it is one of its own; returns it."""
        vma = self.find(first)
        self.items.remove(vma)
        piece = vma.part(first, last)
        self.items.append(piece)
        if vma.first < first:
            self.items.append(vma.part(vma.first, first))
        if vma.last > last:
            self.items.append(vma.part(last, vma.last))
        self.items.sort(key=lambda vma: vma.first)
        return piece

    def extend_stack(self, vpn, limit=2048, guard=256):
        """Let a stack grow down to vpn, which no VMA holds, if one may; returns the VMA or None."""
        vma = self.next(vpn)
        if vma is None or not vma.grows or vma.last - vpn > limit:
            return None
        below = [other for other in self.items if other.last <= vpn and other.prot and not other.grows]
        if below and below[-1] is self.items[self.items.index(vma) - 1] and vpn < below[-1].last + guard:
            return None
        vma.first = vpn
        return vma
