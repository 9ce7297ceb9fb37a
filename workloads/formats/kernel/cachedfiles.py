"""Files in memory before a recording begins: another process has them mapped, so they are in the page cache.

The model fills its page cache at first use, and fault-around maps only cached pages. Files that programs map have mostly
been used before; without this process the first fault on a window of a file would map one page where the kernel maps sixteen.
"""

import numpy as np

from hwmodel import op
from workloads.formats.syscalls import Unit

BASE = 1 << 32
"""Address of the first of these mappings in that process."""
MOST = 1 << 18
"""Most pages of files that are declared: 1 GiB."""


class CachedFiles:
    """The mapped ranges of each file in a recording."""

    def __init__(self) -> None:
        self.ranges: dict[int, list[tuple[int, int]]] = {}  # ranges of pages, by file

    def note(self, ops: np.ndarray) -> None:
        """Note the file mappings in an OP array of whole units."""
        for at in np.flatnonzero(ops["kind"] == op.MMAP):
            pages, arg = op.pages_of(ops, int(at)), ops[at + 1]
            if int(arg["count"]) >> 3 & 7 in (op.PRIVATE_FILE, op.SHARED_FILE):
                first = int(arg["address"])
                self.ranges.setdefault(int(arg["count"]) >> op.FILE_SHIFT, []).append((first, first + pages))

    def units(self, agent: int) -> list[Unit]:
        """Return mappings of all noted ranges by an agent of another address space, with all pages in memory."""
        units, at, left = [], BASE, MOST
        for file, ranges in self.ranges.items():
            for first, end in joined(ranges):
                pages = min(end - first, left)
                if pages > 0:
                    units.append(op.mmap_unit(at, pages, op.PROT_READ, op.PRIVATE_FILE, file, first, agent=agent, populate=True))
                at, left = at + (pages + 1) * op.PAGE, left - pages
        return units


def joined(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the union of ranges, in ascending order."""
    joined: list[tuple[int, int]] = []
    for first, end in sorted(ranges):
        if joined and first <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((first, end))
    return joined
