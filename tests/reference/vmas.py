"""VMAs of the oracle (docs/model.md, 5.1)."""

from dataclasses import dataclass, replace
from itertools import count

from tests.reference.memory import X

READ, WRITE, EXEC = 1, 2, 4
ANONYMOUS, SHARED, PRIVATE_FILE, SHARED_FILE, HUGETLB = range(5)
ADVISED, REFUSED = 1, 2
ATTRIBUTES = ("mapping", "file", "advice", "grows", "charged")
"""What neighbours that become one, or share an anon_vma, have in common beside their rights."""
NAMES = count(1)


class AnonVma:
    """An anon_vma; `inherited`: made by a fork, beside those of the parent."""

    def __init__(self, inherited=False):
        self.inherited, self.name = inherited, next(NAMES)


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
    anon: AnonVma | None = None
    charged: bool = False
    copied: bool = True

    @classmethod
    def new(cls, first, last, prot, mapping=ANONYMOUS, file=0, offset=0, grows=False):
        """A mapping that begins to exist: its offset is its own first page if it is of no file."""
        charged = bool(prot & WRITE) and mapping in (ANONYMOUS, PRIVATE_FILE)
        return cls(first, last, prot, mapping, file, offset if file else first, grows=grows, charged=charged)

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
        return replace(self, first=first, last=last, offset=self.offset + first - self.first)

    def moved(self, first, pages, target, size):
        """What an MREMAP of a part makes of it elsewhere; its offset moves along if nothing anonymous was ever in it."""
        part = replace(self.part(first, first + pages), first=target, last=target + size)
        if self.mapping == ANONYMOUS and self.anon is None:
            part.offset = target
        return part

    def inherited(self):
        """What a fork makes of it in the child."""
        return replace(self, anon=self.anon and AnonVma(inherited=True))

    def protect(self, prot):
        """Other rights: what becomes writable is charged; anonymous memory in which nothing ever was, and that no more is, is not."""
        if prot & WRITE and not self.prot & WRITE and self.mapping in (ANONYMOUS, PRIVATE_FILE):
            self.charged = True
        if not prot & WRITE and self.mapping == ANONYMOUS and self.anon is None:
            self.charged = False
        self.prot = prot

    def goes_on_in(self, right):
        """Whether `right` is the same mapping, further up, perhaps with other rights."""
        if self.last != right.first or self.mapping == HUGETLB:
            return False
        same = all(getattr(self, name) == getattr(right, name) for name in ATTRIBUTES)
        return same and right.offset - self.offset == self.last - self.first

    def can_absorb(self, right, extended=False):
        """Whether `right` and this may be one VMA; `extended`: this one was just made longer."""
        if self.prot != right.prot or not self.goes_on_in(right):
            return False
        if self.anon is right.anon:
            return True
        if self.anon is not None and right.anon is not None:
            return False
        return not (self.anon or right.anon).inherited or (extended and right.anon is None)


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

    def insert(self, vma, right=True):
        """Insert, and merge; with the right neighbour only if that is wanted."""
        assert not self.in_range(vma.first, vma.last), "VMAs may not overlap"
        self.items.append(vma)
        self.items.sort(key=lambda vma: vma.first)
        self.merge(vma, right)

    def merge(self, vma, right=True):
        """Merge with the left, then the right neighbour."""
        left, _ = self.neighbours(vma)
        if left and left.can_absorb(vma):
            self._absorb(left, vma)
            vma = left
        if right:
            self._merge_right(vma)

    def extend(self, vma, last):
        """Make one longer; it merges with what begins there."""
        vma.last = last
        self._merge_right(vma, extended=True)

    def _merge_right(self, vma, extended=False):
        _, right = self.neighbours(vma)
        if right and vma.can_absorb(right, extended):
            self._absorb(vma, right)

    def _absorb(self, left, right):
        left.last, left.anon = right.last, left.anon or right.anon
        self.items.remove(right)

    def neighbours(self, vma):
        """The VMAs before and behind one, or None."""
        at = next(i for i, item in enumerate(self.items) if item is vma)
        return (self.items[at - 1] if at else None), (self.items[at + 1] if at + 1 < len(self.items) else None)

    def prepare(self, vma):
        """See that a VMA that gets an anonymous page has an anon_vma: a neighbour's, the right one's first, or a new one."""
        if vma.anon is not None:
            return
        left, right = self.neighbours(vma)
        offered = [right.anon] if right and vma.goes_on_in(right) else []
        offered += [left.anon] if left and left.goes_on_in(vma) else []
        vma.anon = next((anon for anon in offered if anon and not anon.inherited), None) or AnonVma()

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
        if vma.offset < vma.first - vpn:
            return None
        vma.offset -= vma.first - vpn
        vma.first = vpn
        self.prepare(vma)
        return vma
