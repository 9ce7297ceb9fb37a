"""Frames, page cache and page tables of the oracle (docs/model.md, 5.2 to 5.4)."""

from typing import NamedTuple

from tests.reference.banks import index_of

P, W, D, A, HUGE, ZERO, NONE, LAZY, X = (1 << i for i in range(9))


class OutOfMemoryError(Exception):
    """More frames are asked for than memory.size_mib has left: (who asks, for how many, whether for a block, when, frames free)."""


class Pte(NamedTuple):
    """A leaf of a page table; an absent one is None."""

    pfn: int
    flags: int

    def has(self, bits):
        """Whether all bits are set."""
        return self.flags & bits == bits

    def plus(self, bits):
        """This pte with bits set."""
        return Pte(self.pfn, self.flags | bits)

    def minus(self, bits):
        """This pte with bits cleared."""
        return Pte(self.pfn, self.flags & ~bits)


class Frames:
    """Frame numbers, their references, and the page cache."""

    def __init__(self, limit, pool):
        self.limit, self.pool, self.trees = limit, pool, {}
        self.next = 0
        self.free, self.free_blocks = [], []
        self.refs = {}
        self.cache, self.cached = {}, set()

    def left(self):
        """How many frames are free: rule 5.3."""
        return self.limit - len(self.refs) - self.pool.counted

    def are_there(self, n, block=False):
        """Whether a step may take n frames, a block among them or not."""
        first = -(-self.next // 512) * 512
        return self.left() >= n and (not block or bool(self.free_blocks) or first + 512 <= self.limit)

    def ask(self, who, n, block=False, now=0):
        """Ask for n frames; `who` is None for memory of before the first record."""
        if not self.are_there(n, block):
            raise OutOfMemoryError(*((who, n, bool(block), now) if who else (None, None, None, None)), self.left())

    def take(self):
        """A frame with one reference."""
        if not self.free and self.next == self.limit:
            base = self.free_blocks.pop()
            self.free.extend(range(base, base + 512))
        if self.free:
            pfn = self.free.pop()
        else:
            pfn = self.next
            self.next += 1
        self.refs[pfn] = 1
        return pfn

    def take_block(self):
        """The first of 512 frames with one reference each."""
        if self.free_blocks:
            base = self.free_blocks.pop()
        else:
            base = -(-self.next // 512) * 512
            self.free.extend(range(self.next, base))
            self.next = base + 512
        for pfn in range(base, base + 512):
            self.refs[pfn] = 1
        return base

    def hold(self, pte):
        """One more mapping of what a pte maps."""
        if not pte.has(ZERO):
            for pfn in range(pte.pfn, pte.pfn + (512 if pte.has(HUGE) else 1)):
                self.refs[pfn] += 1

    def drop(self, pte):
        """One mapping less."""
        if pte.has(ZERO):
            return
        freed = []
        for pfn in range(pte.pfn, pte.pfn + (512 if pte.has(HUGE) else 1)):
            self.refs[pfn] -= 1
            if self.refs[pfn] == 0:
                del self.refs[pfn]
                freed.append(pfn)
        if len(freed) == 512:
            self.free_blocks.append(pte.pfn)
        else:
            self.free.extend(freed)

    def page_of_file(self, file, offset, pfn=None):
        """The frame of a page of a file, brought into the cache if need be: as frame pfn, if one was taken for it."""
        if (file, offset) not in self.cache:
            if (file,) not in self.trees:
                self.trees[file,] = self.pool.take()
            if pfn is None:
                pfn = self.take()
            for level in (3, 2, 1):
                if (file, level, offset >> 9 * level) not in self.trees:
                    self.trees[file, level, offset >> 9 * level] = self.pool.take()
            self.cache[file, offset] = pfn
            self.cached.add(pfn)
        return self.cache[file, offset]

    def only_mapping(self, pte):
        """Whether an anonymous page (all 512 of a huge one) has one reference each."""
        pages = range(pte.pfn, pte.pfn + (512 if pte.has(HUGE) else 1))
        return all(self.refs[pfn] == 1 and pfn not in self.cached for pfn in pages)


class Pool:
    """Numbers of page tables, and how many frames tables take (5.3): those hung up, laid by, or in a hand."""

    def __init__(self):
        self.free, self.next, self.counted = [], 0, 0

    def take(self):
        """A number."""
        if self.free:
            return self.free.pop()
        self.next += 1
        return self.next - 1


class Node:
    """A page table; entries are nodes or ptes."""

    def __init__(self, number, level, base):
        self.number, self.level, self.base = number, level, base
        self.entries = {}


class PageTable:
    """A tree of nodes, four levels; the leaves are ptes at level 1 or, with HUGE, at level 2.

    `frame`: frames that each of its tables takes; `by`: tables laid by for each huge leaf.
    """

    def __init__(self, pool, frame=1, by=0):
        self.pool, self.frame, self.by = pool, frame, by
        self.root = self._new(4, 0)

    def _new(self, level, base):
        self.pool.counted += self.frame
        return Node(self.pool.take(), level, base)

    def release(self, node):
        """A table of it is free."""
        self.pool.counted -= self.frame
        self.pool.free.append(node.number)

    def missing(self, vpn, level):
        """How many tables of vpn are missing, down to `level`."""
        return sum(self.node(vpn, each) is None for each in range(level, 4))

    def node(self, vpn, level):
        """The table of `level` on the way to vpn, or None."""
        node = self.root
        while node.level > level:
            node = node.entries.get(index_of(vpn, node.level))
            if not isinstance(node, Node):
                return None
        return node

    def get(self, vpn):
        """The leaf for vpn, or None."""
        node = self.root
        while isinstance(node, Node):
            node = node.entries.get(index_of(vpn, node.level))
        return node

    def make(self, vpn, level):
        """(the table of `level` on the way to vpn, tables made)."""
        node, made = self.root, 0
        while node.level > level:
            index = index_of(vpn, node.level)
            below = node.entries.get(index)
            if below is None:
                reach = 1 << 9 * (node.level - 1)
                below = node.entries[index] = self._new(node.level - 1, vpn // reach * reach)
                made += 1
            assert isinstance(below, Node), "a huge leaf is in the way"
            node = below
        return node, made

    def put(self, vpn, pte):
        """Set a leaf, or replace one; returns the tables made."""
        level = 2 if pte.has(HUGE) else 1
        node, made = self.make(vpn, level)
        assert not isinstance(node.entries.get(index_of(vpn, level)), Node), "a table is in the way"
        if pte.has(HUGE) and index_of(vpn, level) not in node.entries:
            self.pool.counted += self.by
        node.entries[index_of(vpn, level)] = pte
        return made

    def clear(self, vpn):
        """Remove the leaf for vpn."""
        level = 2 if self.get(vpn).has(HUGE) else 1
        if level == 2:
            self.pool.counted -= self.by
        del self.node(vpn, level).entries[index_of(vpn, level)]

    def split(self, vpn):
        """Replace the huge leaf at vpn by a table of small ones."""
        leaf = self.get(vpn)
        self.clear(vpn)
        node, _ = self.make(vpn, 1)
        zero = leaf.has(ZERO)
        for i in range(512):
            node.entries[i] = Pte(leaf.pfn if zero else leaf.pfn + i, leaf.flags & ~HUGE)

    def next_part(self, at, last):
        """(start, end, huge) of the first part of [at, last) with a level-1 table or a huge leaf, or None."""
        while at < last:
            node = self.root
            while node.level > 1:
                below = node.entries.get(index_of(at, node.level))
                if not isinstance(below, Node):
                    break
                node = below
            if node.level == 1 or below is not None:
                return at, min(last, (at | 511) + 1), node.level != 1
            reach = 1 << 9 * (node.level - 1)
            at = (at // reach + 1) * reach
        return None

    def free_table(self, vpn, level):
        """Free the (empty) table of `level` on the way to vpn."""
        node, above = self.node(vpn, level), self.node(vpn, level + 1)
        assert not node.entries, "a freed table must be empty"
        del above.entries[index_of(vpn, level + 1)]
        self.release(node)

    def tables(self, level, first=0, last=1 << 36):
        """First pages of the tables of `level` that reach into [first, last), ascending."""
        found, nodes = [], [self.root]
        while nodes:
            node = nodes.pop()
            if node.level == level:
                found.append(node.base)
                continue
            nodes += [below for below in node.entries.values() if isinstance(below, Node)
                      and below.base < last and below.base + (1 << 9 * below.level) > first]  # fmt: skip
        return sorted(found)

    def leaves(self):
        """{vpn: pte} of all leaves."""
        found, nodes = {}, [self.root]
        while nodes:
            node = nodes.pop()
            for index, below in node.entries.items():
                if isinstance(below, Node):
                    nodes.append(below)
                else:
                    found[node.base + (index << 9 * (node.level - 1))] = below
        return found
