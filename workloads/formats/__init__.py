"""Formats of traces: a folder for each, with its reader, its writer, and what they alone need; beside the folders, what several need.

A format that is read has `NAME`, its name; `recognises(head)`, which decides from the first bytes of the
uncompressed file; and `read(source, events)`, which returns a Trace: coalesced, and read again, in constant memory, at every iteration.
Without `events` the recorded system calls are left out; every used page is then in memory, mapped with every right, from the start, and
nothing faults. What makes no sense raises a TraceError, in one line that names the file and the line, row or entry.
A format that is written has `WRITER`, a `writer.Writer`, found by the name of the file.
"""

import os
import pathlib
from collections.abc import Sequence
from types import ModuleType

from hwmodel.op import TraceError
from hwmodel.trace import Trace
from hwmodel.trace.file import is_trace_file
from workloads.formats import champsim, drmemtrace, execlog, hwtrace, kernel, lackey, threads
from workloads.formats import columns as table
from workloads.formats.columns import arrays, lists
from workloads.formats.hints import closest
from workloads.formats.writer import Path, Writer
from workloads.streams import COMPRESSED, Source, file_source

FORMATS: tuple[ModuleType, ...] = (hwtrace, threads, drmemtrace, execlog, table, lackey, kernel, champsim)
"""Formats in the order in which their readers are asked: those with a mark of their own at the beginning come first."""
READERS = tuple(format for format in FORMATS if hasattr(format, "read"))
WRITERS: dict[str, Writer] = {format.WRITER.name: format.WRITER for format in FORMATS if hasattr(format, "WRITER")}


def read(
    path: Path,
    events: bool = True,
    strict: bool = False,
    format: str | None = None,
    ignore: Sequence[str] = (),
    columns: Sequence[str] = (),
    *,
    guest_base: int | None = None,
    arch: str | None = None,
    processes: Sequence[Sequence[int]] = (),
) -> Trace:
    """Open a trace of any known format: a trace file, columns (CSV, NumPy, Parquet), or another tool's recording.

    Parameters
    ----------
    path : path
        The file, plain or compressed with gzip, xz, bzip2 or zstd. Its content decides, not its name. Or the folder of
        a drmemtrace recording.
    events : bool
        False leaves out the recorded operations on memory and system calls; all memory that a program uses is then present
        and mapped from the start, so that nothing faults. No effect on a trace file.
    strict : bool
        Refuse a file that is cut short, instead of reading all its whole records and warning.
    format : str, optional
        The name of the format, if the content is not enough: a ChampSim trace has no mark, and a piece of fewer than
        four instructions is not recognised.
    ignore : sequence of str
        Names of columns to ignore; other unknown columns are refused.
    columns : sequence of str
        What the fields of a line mean, in a text without a line of names: `address`, `kind` and the other columns of a CSV,
        ``-`` for a field that means nothing; ``address:hex`` has hexadecimal digits without 0x. Fields are separated by commas,
        semicolons, colons or blanks. A `din` file has ``kind,address:hex``, pinatrace's ``-,kind,address``.
    guest_base : int, optional
        Of a recording of the kernel's events, whose file has no evidence of it: the host address of guest address 0, for EPT violations.
    arch : str, optional
        Likewise: the machine whose numbers the system calls have, x86-64, i386, arm, arm64 or riscv64.
    processes : sequence of sequences of int
        Likewise: the threads of each process, by number, as ``[[501, 502]]``; the first is the process's own number.

    Returns
    -------
    Trace
        Its records are read at every iteration, in constant memory.

    Raises
    ------
    TraceError
        If the format is unknown or the file is damaged, in one line that names the file; also if the file is cut short and
        its format has an index at the end, or `strict` is set; if a file of another format is told what is the kernel's.
    FileNotFoundError, IsADirectoryError
        If the file does not exist.

    Warns
    -----
    TraceWarning
        If the file is cut short; says where. If something is lost or not sure; says how much.
    """
    facts = kernel.Facts(guest_base, arch, processes)
    if os.path.isdir(path) and drmemtrace.files_of(pathlib.Path(path)):
        facts.refuse(os.fspath(path), f"of the format {drmemtrace.NAME}")
        return drmemtrace.read_folder(pathlib.Path(path), events, strict)
    drmemtrace.refuse_raw(pathlib.Path(path))
    source = file_source(path, strict)
    head = source.head()
    if head.startswith(arrays.PARQUET) and is_trace_file(path):
        facts.refuse(source.name, "a trace file")
        return Trace.load(path)
    if columns:
        facts.refuse(source.name, "a list of addresses")
        return lists.read(source, events, columns)
    return read_source(source, head, events, format, ignore, facts)


def read_source(
    source: Source,
    head: bytes,
    events: bool = True,
    format: str | None = None,
    ignore: Sequence[str] = (),
    facts: kernel.Facts = kernel.DEFAULT,
) -> Trace:
    """Return the trace of a source that begins with `head`, by the reader of `format`, or the first that recognises `head`."""
    if not head:
        raise TraceError(f"{source.name}: not a trace of a known format: it is empty, or compressed and cut short at once")
    known = ", ".join(reader.NAME for reader in READERS)
    if format is not None and format not in [reader.NAME for reader in READERS]:
        raise TraceError(f"{source.name}: no format {format!r}; there are {known}")
    for reader in READERS:
        if reader.NAME == format or (format is None and reader.recognises(head)):
            if ignore and reader is not table:
                raise TraceError(f"{source.name}: {reader.NAME} has no columns to ignore")
            if reader is kernel:
                return kernel.read(source, events, kernel.Options(facts.guest_base, facts.arch, facts.processes))
            facts.refuse(source.name, f"of the format {reader.NAME}")
            return reader.read(source, events, ignore) if ignore else reader.read(source, events)
    hint = closest(head, READERS)
    raise TraceError(f"{source.name}: not a trace of a known format{f': {hint}' if hint else f' (a trace file, {known})'}")


def write(trace: Trace, path: Path, format: str | None = None, agent: int | None = None, lossy: bool = False) -> dict[str, int]:
    """Write a trace, checked on the way, in the format that the file's name tells.

    Parameters
    ----------
    trace : Trace
        Any trace.
    path : path
        Ends in ``.hwtrace`` (Parquet), ``.csv`` or ``.champsim``; the latter two may be compressed (``.csv.gz``, ``.xz``,
        ``.bz2``, ``.zst``). Written whole or not at all.
    format : str, optional
        The name of one of these formats (hwtrace, csv, champsim), whatever the file's name.
    agent : int, optional
        For formats of one agent (ChampSim): the agent whose records to write.
    lossy : bool
        Leave out records that the format can't hold, instead of refusing the trace.

    Returns
    -------
    dict
        Number of records left out, by kind; empty for formats that hold everything.

    Raises
    ------
    TraceError
        If no format is known by that name, a record is invalid, or the format can't hold it.
    OSError
        If the file can't be written.
    """
    return WRITERS[format_of(path, format)].save(trace, path, agent, lossy)


def format_of(path: Path, format: str | None = None) -> str:
    """Return the format of a file to be written; raise TraceError if its name tells none."""
    name = pathlib.Path(path)
    packed = name.suffix in COMPRESSED
    suffix = name.with_suffix("").suffix if packed else name.suffix
    endings = {ending: writer.name for writer in WRITERS.values() for ending in writer.endings}
    found = format or endings.get(suffix)
    if found not in WRITERS:
        why = f"no format {format!r} ({', '.join(WRITERS)})" if format else f"the name tells no format ({', '.join(endings)})"
        raise TraceError(f"{os.fspath(path)}: {why}")
    if packed and not WRITERS[found].packed:
        raise TraceError(f"{os.fspath(path)}: {found} is compressed in itself: leave out {name.suffix}")
    return found
