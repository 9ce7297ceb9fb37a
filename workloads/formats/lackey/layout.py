"""The memory of a program before it runs, as valgrind -d lists it."""

import re
from collections.abc import Iterable

from hwmodel import op
from workloads.formats.initial import Layout
from workloads.formats.syscalls import Files

SEGMENT = re.compile(
    r"--\d+:\d+:\s*aspacem\s+\d+: (\S+) ([0-9a-f]+)-([0-9a-f]+)\s+\S+ ([-r])([-w])([-x])\S*"
    r"(?: Sm(\w+)|.* o=(\d+)\s+\((\d+),)?"
)
SEGMENT_NAME = re.compile(r"--\d+:\d+:\s*aspacem \((\d+),\d+,\d+\) (.*)")


def parse_layout(lines: Iterable[str], files: Files) -> Layout:
    """Return the layout at client startup in debug output of valgrind -d; empty if there is none.

    Raises ValueError with the text of a garbled line.
    """
    layout, names, rows = Layout(), dict[str, str](), list[re.Match[str]]()
    inside = False
    for line in lines:
        inside = inside or "Memory layout at client startup" in line
        if not inside:
            continue
        if "aspacem >>>" in line:
            break
        name, segment = SEGMENT_NAME.match(line), SEGMENT.match(line)
        if name:
            names[name[1]] = name[2].strip()
        elif segment:
            rows.append(segment)
    for before, row, after in zip([None, *rows], rows, [*rows[1:], None], strict=False):
        if row[1] in ("file", "anon"):
            _add_segment(layout, names, files, before, row, after)
    return layout


def _add_segment(
    layout: Layout, names: dict[str, str], files: Files, before: re.Match[str] | None, row: re.Match[str], after: re.Match[str] | None
) -> None:
    """Add a segment of the client (lower-case in the list); a reservation next to it shows where it may grow."""
    start, end = int(row[2], 16), int(row[3], 16) + 1
    if end > op.USER_END:
        return
    pages = (end - start) >> op.PAGE_SHIFT
    if pages < 1:
        raise ValueError(row.string.strip())
    prot = sum(bit for bit, letter in zip((1, 2, 4), row.group(4, 5, 6), strict=True) if letter != "-")
    if after is not None and after[7] == "Lower":  # the heap: valgrind maps its first page before the first brk
        layout.break_ = start
        return
    below = before if before is not None and before[7] == "Upper" else None
    room = start if below is None else int(below[2], 16)
    offset = int(row[8] or -1) if row[1] == "file" else 0
    if room > start or not 0 <= offset < 1 << 63:
        raise ValueError(row.string.strip())
    layout.covered.append((room >> op.PAGE_SHIFT, end >> op.PAGE_SHIFT))
    if row[1] == "file":
        number = files.number(names.get(row[9], ("segment", row[9])))
        layout.units.append(op.mmap_unit(start, pages, prot, op.PRIVATE_FILE, number, offset >> op.PAGE_SHIFT))
    else:
        layout.units.append(op.mmap_unit(start, pages, prot, grows_down=below is not None))
