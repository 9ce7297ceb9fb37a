"""What to say of a file that no reader recognises: what it is, and the next step; or which reader is the closest, and its objection."""

from collections.abc import Sequence
from types import ModuleType

from workloads.formats.columns.lists import example
from workloads.formats.textbuffer import shorten

TAR_MARK = 257
"""Where a tar archive has its mark (POSIX ustar)."""
LINES = 200
"""Lines at the beginning in which a reader looks for one of its own."""
MARKS = {
    b"PERFILE2": "perf's own file: print it with `perf script`",
    b"\x17\x08\x44tracing": "trace-cmd's own file: print it with `trace-cmd report`",
    b"\x7fELF": "a program: record what it does with `hwmodel record`",
    b"\xff\x06\x00\x00sNaPpY": "compressed with snappy: decompress it (python -m snappy -d)",
    b"\x04\x22\x4d\x18": "compressed with lz4: decompress it (lz4 -d)",
    b"\x1f\x9d": "compressed with compress: decompress it (uncompress)",
    b"LZIP": "compressed with lzip: decompress it (lzip -d)",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive: unpack it",
    b"Rar!\x1a\x07": "a RAR archive: unpack it",
    b"\x93NUMPY": "a NumPy file that is cut short",
    b"gem5": "gem5's packets: print them with gem5's util/decode_packet_trace.py",
    b"SQLite format 3\x00": "a database",
    b"%PDF": "a PDF",
    b"\x89PNG": "a picture",
    b"\x89HDF": "an HDF5 file: export a table with the columns address, kind",
}
"""Beginnings of files that are no traces, and what helps."""


def closest(head: bytes, readers: Sequence[ModuleType]) -> str:
    """Return what a file that begins with `head` is, or the closest reader's objection to it; empty if nothing is close."""
    known = next((text for mark, text in MARKS.items() if head.startswith(mark)), "")
    if known or head[TAR_MARK : TAR_MARK + 5] == b"ustar":
        return known or "a tar archive: unpack it"
    if b"\0" in head:
        return ""
    lines = head.splitlines()[:LINES]
    for reader in readers:
        if hasattr(reader, "resembles") and any(map(reader.resembles, lines)):
            strange = (n for n, line in enumerate(lines, 1) if line.strip() and not reader.resembles(line))
            n = next(strange, 0)
            objection = f"where line {n} makes no sense: {shorten(lines[n - 1])}" if n else "without an access"
            return f"the closest is {reader.NAME}, {objection}"
    columns = example(head)
    return f"plain addresses: name the columns, perhaps {columns} (--columns, columns=)" if columns else ""
