"""Readers of traces recorded elsewhere: one module per format, found by the file's content.

A reader module has `NAME`, what its format is called; `recognises(head)`, which tells from the first bytes of the
uncompressed file; and `read(source, events)`, which returns a lazy Trace.
"""

import os
import pathlib
from types import ModuleType

from hwmodel.trace import Trace, TraceError
from workloads.readers import champsim, drmemtrace, ftrace, lackey
from workloads.streams import Source, file_source

READERS: tuple[ModuleType, ...] = (drmemtrace, lackey, ftrace, champsim)
"""In the order in which they are asked: formats that begin with a mark of their own first."""
PARQUET = b"PAR1"


def read(path: str | os.PathLike[str], events: bool = True, strict: bool = False, format: str | None = None) -> Trace:
    """Open a trace of any known format: a trace file, or a valgrind lackey log.

    Parameters
    ----------
    path : path
        The file, plain or compressed with gzip, xz, bzip2 or zstd. Its content decides, not its name. Or the folder of
        a drmemtrace recording.
    events : bool
        False leaves out the recorded operations on memory and system calls; what a program uses is then in memory
        and mapped from the start, so that nothing faults. Of no effect on a trace file.
    strict : bool
        Refuse a file that is cut short, instead of reading all its whole records and warning.

    format : str, optional
        The name of the format, where the content does not tell: a ChampSim trace has no mark, and a piece of fewer than
        four instructions is not recognised.

    Returns
    -------
    Trace
        Its records are read at every iteration, in constant memory.

    Raises
    ------
    TraceError
        If the format is unknown or the file is damaged, in one line that names it; also if it is cut short, where
        its format has an index at the end or `strict` is set.
    FileNotFoundError, IsADirectoryError
        If there is no such file.

    Warns
    -----
    TraceWarning
        If the file is cut short; says where.
    """
    if os.path.isdir(path) and drmemtrace.files_of(pathlib.Path(path)):
        return drmemtrace.read_folder(pathlib.Path(path), events, strict)
    source = file_source(path, strict)
    head = source.head()
    if head.startswith(PARQUET):
        return Trace.load(path)
    return read_source(source, head, events, format)


def read_source(source: Source, head: bytes, events: bool = True, format: str | None = None) -> Trace:
    """The trace of a source that begins with `head`, by the reader of that format, or the first that recognises it."""
    if not head:
        raise TraceError(f"{source.name}: not a trace of a known format: it is empty, or compressed and cut short at once")
    known = ", ".join(reader.NAME for reader in READERS)
    if format is not None and format not in known.split(", "):
        raise TraceError(f"{source.name}: no format {format!r}; there are {known}")
    for reader in READERS:
        if reader.NAME == format or (format is None and reader.recognises(head)):
            return reader.read(source, events)
    raise TraceError(f"{source.name}: not a trace of a known format (a trace file, {known})")
