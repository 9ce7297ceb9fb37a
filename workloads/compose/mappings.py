"""The mappings of a trace in program order: its operations are followed as if each succeeded."""

import bisect
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from hwmodel import op

PROT = 7
HEAP = op.PROT_READ | op.PROT_WRITE | op.PRIVATE << 3


@dataclass(frozen=True)
class Mapping:
    """A range of pages with the same properties.

    Parameters
    ----------
    first, end : int
        Pages [first, end).
    flags : int
        Flags of the ARG record of MMAP, without POPULATE.
    offset : int
        Page of the file at `first`; 0 without a file.
    """

    first: int
    end: int
    flags: int
    offset: int = 0

    def part(self, first: int, end: int) -> "Mapping":
        """Return the part within [first, end)."""
        low, high = max(first, self.first), min(end, self.end)
        return Mapping(low, high, self.flags, self.offset + low - self.first if self.flags >> op.FILE_SHIFT else 0)

    def is_like(self, other: "Mapping") -> bool:
        """Return whether two mappings are the same on their common pages."""
        same_place = self.offset - self.first == other.offset - other.first or not self.flags >> op.FILE_SHIFT
        return self.flags == other.flags and same_place

    @property
    def is_huge(self) -> bool:
        """Return whether the mapping has only pages of 2 MiB."""
        return (self.flags >> 3) & 7 == op.HUGETLB

    def unit(self, agent: int) -> list[tuple[int, int, int, int, int]]:
        """Return the MMAP that makes the mapping."""
        return op.paged_unit(op.MMAP, self.first << op.PAGE_SHIFT, self.end - self.first, [(self.offset, self.flags)], agent)


class Memory:
    """The mappings of one address space, in order, and its program break in pages."""

    def __init__(self) -> None:
        self.mappings: list[Mapping] = []
        self.break_: int | None = None
        self.first_break: int | None = None

    def copy(self) -> "Memory":
        """Return a copy, as made by a fork."""
        new = Memory()
        new.mappings, new.break_, new.first_break = list(self.mappings), self.break_, self.first_break
        return new

    def parts(self, first: int, end: int) -> list[Mapping]:
        """Return the mapped parts of [first, end)."""
        low, high = self._touched(first, end)
        return [mapping.part(first, end) for mapping in self.mappings[low:high]]

    def add(self, mapping: Mapping) -> None:
        """Add a mapping, replacing the old ones in its range."""
        if self.remove(mapping.first, mapping.end):
            bisect.insort(self.mappings, mapping, key=_first)

    def remove(self, first: int, end: int) -> bool:
        """Unmap; return False, and do nothing, if that would cut a huge page: the kernel refuses it too."""
        low, high = self._touched(first, end)
        touched = self.mappings[low:high]
        if any(m.is_huge and ((max(first, m.first) | min(end, m.end)) & 511) for m in touched):
            return False
        left = [m.part(m.first, first) for m in touched if m.first < first]
        right = [m.part(end, m.end) for m in touched if m.end > end]
        self.mappings[low:high] = left + right
        return True

    def protect(self, first: int, end: int, prot: int) -> None:
        """Change the protection of mapped pages in [first, end)."""
        parts = self.parts(first, end)
        if self.remove(first, end):
            for mapping in parts:
                self.add(replace(mapping, flags=mapping.flags & ~PROT | prot))

    def move(self, first: int, pages: int, target: int, size: int) -> None:
        """Apply an MREMAP: move or resize; a mapping that grows does so at its end."""
        parts = self.parts(first, first + pages)
        if any(mapping.is_huge for mapping in parts) and (target | size) & 511:
            return
        if not parts or not self.remove(first, first + pages):
            return
        moved = [replace(p, first=p.first - first + target, end=p.end - first + target) for p in parts]
        if size > pages and moved[-1].end == target + pages:
            moved[-1] = replace(moved[-1], end=target + size)
        for mapping in moved:
            if mapping.first < target + size:
                self.add(mapping.part(target, target + size))

    def set_break(self, address: int) -> None:
        """Move the program break; the first call only records it."""
        old, new = self.break_, -(-address // op.PAGE)
        self.break_ = new
        if old is None:
            self.first_break = new
        elif new > old:
            self.add(Mapping(old, new, HEAP))
        elif new < old:
            self.remove(new, old)

    def apply(self, unit: np.ndarray) -> None:
        """Apply an MMAP, BRK, MUNMAP, MPROTECT or MREMAP."""
        kind, first, pages = int(unit["kind"][0]), int(unit["address"][0]) >> op.PAGE_SHIFT, op.pages_of(unit, 0)
        if kind == op.BRK:
            self.set_break(int(unit["address"][0]))
            return
        if kind == op.MUNMAP:
            self.remove(first, first + pages)
            return
        operand, address = int(unit["count"][1]), int(unit["address"][1])
        if kind == op.MMAP:
            flags = operand & ~op.POPULATE
            self.add(Mapping(first, first + pages, flags, address if flags >> op.FILE_SHIFT else 0))
        elif kind == op.MPROTECT:
            self.protect(first, first + pages, operand)
        elif kind == op.MREMAP:
            self.move(first, pages, address >> op.PAGE_SHIFT, operand)

    def _touched(self, first: int, end: int) -> tuple[int, int]:
        """Return the slice of mappings that [first, end) touches."""
        low = bisect.bisect_right(self.mappings, first, key=_first)
        low -= low > 0 and self.mappings[low - 1].end > first
        return low, bisect.bisect_left(self.mappings, end, lo=low, key=_first)


CHANGING = (op.MMAP, op.BRK, op.MUNMAP, op.MPROTECT, op.MREMAP)
"""Operations that `Memory.apply` follows."""


def units(ops: np.ndarray, kinds: tuple[int, ...]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (index, records) of each unit of some kinds, among checked records."""
    for at in np.flatnonzero(np.isin(ops["kind"], kinds)).tolist():
        end = at + 1
        while end < ops.size and ops["kind"][end] == op.ARG:
            end += 1
        yield at, ops[at:end]


def _first(mapping: Mapping) -> int:
    return mapping.first
