"""The memory of a program, as listed in /proc/PID/maps, as the mappings before a recording."""

import re
from collections.abc import Iterable

from hwmodel import op
from workloads.formats.initial import Layout
from workloads.formats.syscalls import Files, Unit

LINE = re.compile(r"([0-9a-f]+)-([0-9a-f]+) ([-r])([-w])([-x])([ps]) ([0-9a-f]+) \S+ (\d+)\s*(.*)$")
STACK_ROOM = 8 << 20 >> op.PAGE_SHIFT
"""Largest size of a stack, in pages: the usual limit."""


def parse_maps(lines: Iterable[str], present: Iterable[tuple[int, int]], files: Files, agent: int) -> Layout:
    """Return the layout described by the lines.

    Parameters
    ----------
    lines : iterable of str
        Lines of /proc/PID/maps.
    present : iterable of (int, int)
        (first address, pages) of the memory that is present, and mapped, from the beginning.
    files : Files
        Numbers the files.
    agent : int
        The agent whose memory it is.

    Raises
    ------
    ValueError
        With the text of a garbled line.
    """
    layout, runs = Layout(), sorted((first, first + pages * op.PAGE) for first, pages in present)
    for line in lines:
        row = LINE.match(line)
        if row is None:
            raise ValueError(line)
        first, end = int(row[1], 16), int(row[2], 16)
        if end > op.USER_END:  # the vsyscall page
            continue
        if first >= end or (first | end) % op.PAGE or int(row[7], 16) + end >= 1 << 62:
            raise ValueError(line)
        stack = row[9] == "[stack]"
        layout.covered.append(((first >> op.PAGE_SHIFT) - (STACK_ROOM if stack else 0), end >> op.PAGE_SHIFT))
        for piece, populate in _pieces(first, end, runs):
            layout.units.append(_unit(row, *piece, populate, stack, files, agent))
    return layout


def _unit(
    row: re.Match[str], first: int, end: int, populate: bool, stack: bool, files: Files, agent: int
) -> Unit:
    """Return the MMAP of a piece of a line's memory."""
    prot = sum(bit for bit, letter in zip((1, 2, 4), row.group(3, 4, 5), strict=True) if letter != "-")
    mapping, number, offset = op.PRIVATE, 0, 0
    if row[8] != "0" or row[9].startswith(("[vdso", "[vvar")) or row[6] == "s":
        mapping = op.SHARED_FILE if row[6] == "s" else op.PRIVATE_FILE
        number = files.number(row[9] or ("map", row[1]))
        offset = int(row[7], 16) + first - int(row[1], 16) >> op.PAGE_SHIFT
    pages = (end - first) >> op.PAGE_SHIFT
    return op.mmap_unit(first, pages, prot, mapping, number, offset, stack, agent, populate)


def _pieces(first: int, end: int, runs: list[tuple[int, int]]) -> Iterable[tuple[tuple[int, int], bool]]:
    """Yield [first, end), cut into pieces, with whether each piece is in one of the runs."""
    at = first
    for low, high in runs:
        low, high = max(low, first), min(high, end)
        if low < high:
            if at < low:
                yield (at, low), False
            yield (low, high), True
            at = high
    if at < end:
        yield (at, end), False
