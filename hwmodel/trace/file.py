"""The trace file: Parquet, one row group per quarter million records, read and written as a stream."""

import functools
import inspect
import io
import json
import os
import pathlib
import stat
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple, Protocol

import numpy as np

from hwmodel import op as t
from hwmodel.arrow import arrow
from hwmodel.jit import entry, part
from hwmodel.output import whole
from hwmodel.trace.check import Described, Validator

SUFFIX = ".hwtrace"
VERSION = 1
GROUP = 1 << 18
KINDS = {stat.S_IFIFO: "a pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a disk", stat.S_IFSOCK: "a socket"}
KEY = b"hwmodel.trace"
SUM = b"hwmodel.trace.crc32"
"""The key of the checksum of the text under KEY, in decimal: Parquet has checksums of its pages only. Older files lack this key."""


class Whole(Described, Protocol):
    """The properties of a trace that a file stores."""

    @property
    def info(self) -> dict[str, Any]:
        """Return where the trace is from, as values that JSON can hold."""

    def chunks(self, records: int) -> Iterator[np.ndarray]:
        """Iterate over the records, at most `records` at a time."""


class Opened(NamedTuple):
    """A trace as its file describes it: the arguments of `Trace`, in order."""

    agents: tuple[t.Agent, ...]
    source: Callable[[], Iterator[np.ndarray]]
    prelude: np.ndarray
    info: dict[str, Any]
    name: str
    records: int
    references: int


def save(trace: Whole, path: str | os.PathLike[str]) -> None:
    """Write a trace file, completely or not at all.

    Parameters
    ----------
    trace : Whole
        A `Trace`; each record is checked before it is written. Agents, prelude and info are written last, so a source may complete them.
    path : path
        Ends in ``.hwtrace`` by convention. An existing file is replaced at the end; a pipe or a device is written directly.

    Raises
    ------
    TraceError
        If a record is invalid or `info` is not JSON.
    OSError
        If the file cannot be written.
    """
    with whole(path) as file:
        _write(trace, _Counted(file), pathlib.Path(path))


def load(path: str | os.PathLike[str]) -> Opened:
    """Open a trace file; its records are read when iterated over.

    Parameters
    ----------
    path : path
        Written by `save`.

    Returns
    -------
    Opened
        Its `name` is the file's path; the records are not checked yet.

    Raises
    ------
    TraceError
        If it is no trace file, is damaged, or was written by a newer version. Damaged records raise when read.
    FileNotFoundError
        If there is no such file.
    """
    name = os.fspath(path)
    with _open(name) as file:
        text, sums, rows = *_described(file, name), file.metadata.num_rows
    if sums not in (None, _sum(text)):
        raise t.TraceError(f"{name}: damaged: the description of the trace and its checksum differ")
    try:
        meta = json.loads(text)
        if meta["version"] > VERSION:
            raise t.TraceError(f"format version {meta['version']} is newer than {VERSION}, the newest known here")
        return _opened(meta, rows, name)
    except t.TraceError as error:
        raise t.TraceError(f"{name}: {error}") from None
    except KeyError as error:
        raise t.TraceError(f"{name}: damaged: its description lacks {error}") from None
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise t.TraceError(f"{name}: damaged: its description makes no sense ({told(error)})") from None


def check_regular(name: str) -> None:
    """Raise OSError, with the reason, if no file of this name can be read several times, as a trace is."""
    try:
        mode = os.stat(name).st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"{name}: no such file") from None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(f"{name}: a folder, not a trace")
    if not stat.S_ISREG(mode):
        kind = KINDS.get(stat.S_IFMT(mode), "something else")
        raise OSError(f"{name}: is {kind} and not a regular file: a trace is read several times, from its beginning")


def is_trace_file(path: str | os.PathLike[str]) -> bool:
    """Return whether a Parquet file is a trace, or damaged; False: the file is intact and something else."""
    try:
        with _open(os.fspath(path)) as file:
            return KEY in (file.metadata.metadata or {})
    except t.TraceError:
        return True


class _Counted(io.RawIOBase):
    """A file that counts its position, which Parquet needs and a pipe does not give."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._at = file, 0

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: Any) -> int:
        """Write bytes and advance the position."""
        self._at += self._file.write(data)
        return len(data)

    def tell(self) -> int:
        """Return the number of bytes that have been written."""
        return self._at


def _write(trace: Whole, file: Any, path: pathlib.Path) -> None:
    pa = arrow()
    # without nulls: to read that there are none took a quarter of the time to read a record
    schema = pa.schema([pa.field(column, pa.from_numpy_dtype(t.OP[column]), nullable=False) for column in t.COLUMNS])
    options: dict[str, Any] = {
        "compression": "zstd",
        "compression_level": 9,
        "use_dictionary": ["kind"],  # Parquet has no 1-byte integers: a plain kind takes 4 bytes
        "data_page_size": 1 << 24,
        "write_page_checksum": True,
    }
    if "max_rows_per_page" in inspect.signature(pa.parquet.write_table).parameters:
        options["max_rows_per_page"] = GROUP  # newer versions' pages of 20,000 rows compress half as well
    validator, references = Validator(trace), 0
    with pa.parquet.ParquetWriter(file, schema, **options) as writer:
        for chunk in trace.chunks(GROUP):
            validator.check(chunk)
            references += t.count_references(chunk)
            ops = t.copy_records(chunk)
            _difference(ops, _no_last())
            arrays = [pa.array(np.ascontiguousarray(ops[column])) for column in t.COLUMNS]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema), row_group_size=ops.size)
        Validator(trace)  # checks the prelude again: the source may have replaced it
        text = _json(_describe(trace, validator.records, references), path)
        writer.add_key_value_metadata({KEY: text, SUM: _sum(text.encode())})


def _describe(trace: Whole, records: int, references: int) -> dict[str, Any]:
    return {
        "version": VERSION,
        "records": records,
        "references": references,
        "agents": [{"role": agent.role, "space": agent.space, "name": agent.name} for agent in trace.agents],
        "prelude": trace.prelude.tolist(),
        "info": trace.info,
    }


def _json(value: Any, path: pathlib.Path) -> str:
    try:
        return json.dumps(value)
    except (TypeError, ValueError) as error:
        raise t.TraceError(f"{path}: info is not JSON: {error}") from None


def _open(name: str) -> Any:
    check_regular(name)
    try:
        return arrow().parquet.ParquetFile(name, page_checksum_verification=True)
    except Exception as error:  # garbled bytes are reported in many ways, as in _read
        raise t.TraceError(f"{name}: not a trace file, or cut short ({told(error)})") from None


def _described(file: Any, name: str) -> tuple[bytes, str | None]:
    """Return (the JSON text that describes the trace, its checksum or None)."""
    keys = file.metadata.metadata or {}
    if KEY not in keys:
        raise t.TraceError(f"{name}: a Parquet file, but not a trace")
    return keys[KEY], keys[SUM].decode("ascii", "replace") if SUM in keys else None


def _sum(text: bytes) -> str:
    return str(zlib.crc32(text))


def _opened(meta: dict[str, Any], rows: int, name: str) -> Opened:
    """Return the trace of a file's description."""
    agents = [t.Agent(agent["role"], _number(agent, "space"), str(agent["name"])) for agent in meta["agents"]]
    records = _number(meta, "records")
    if records != rows:
        raise t.TraceError(f"damaged: {rows} records, but it should have {records}")
    references = _number(meta, "references", 1 + t.MOST_COUNT * records)
    prelude, info = t.as_records(map(tuple, meta["prelude"])), dict(meta["info"])
    source = functools.partial(_read, name, records, references)
    return Opened(t.as_agents(agents), source, prelude, info, name, records, references)


def _number(table: dict[str, Any], field: str, end: int | None = None) -> int:
    """Return a whole number of a description, which must be at least 0, and below `end` if given."""
    value = table[field]
    if type(value) is not int or value < 0 or (end is not None and value >= end):
        bound = "not negative" if end is None else f"in [0, {end})"
        raise t.TraceError(f"damaged: {field}: must be a whole number, {bound}, not {repr(value)[:40]}")
    return value


def _read(name: str, records: int, references: int) -> Iterator[np.ndarray]:
    left, uncounted = records, references
    with _open(name) as file:
        for group in range(file.num_row_groups):
            try:
                for ops, found in _whole_units(_batches(file, group)):
                    left, uncounted = left - ops.size, uncounted - found
                    yield ops
            except Exception as error:  # the library reports garbled bytes in many ways
                raise t.TraceError(f"{name}: damaged in row group {group} ({told(error)})") from None
    if left:
        raise t.TraceError(f"{name}: damaged: {records - left} records, but it should have {records}")
    if uncounted:
        raise t.TraceError(f"{name}: damaged: references: {references - uncounted}, but it should have {references}")


def _batches(file: Any, group: int) -> Iterator[tuple[np.ndarray, int]]:
    """Yield a row group's records in arrays, each with its number of references; other writers' row groups may be of any size."""
    last = _no_last()
    if file.metadata.row_group(group).num_rows <= 2 * GROUP:  # reading it at once is 5 % faster
        batches = file.read_row_group(group, use_threads=False).to_batches()
    else:
        batches = file.iter_batches(GROUP, row_groups=[group], use_threads=False)
    for batch in batches:
        columns = [batch.column(name).to_numpy(zero_copy_only=True) for name in t.COLUMNS]
        for name, column in zip(t.COLUMNS, columns, strict=True):
            if column.dtype != t.OP[name]:
                raise t.TraceError(f"{name} is {column.dtype}, not {t.OP[name]}")
        ops = np.empty(batch.num_rows, t.OP)
        yield ops, _assemble(ops, *columns, last)


def _whole_units(batches: Iterator[tuple[np.ndarray, int]]) -> Iterator[tuple[np.ndarray, int]]:
    """Yield the same records in whole units: operands that begin the next array are moved to this one. They are no references."""
    held: list[np.ndarray] = []
    references = 0
    for ops, found in batches:
        first = 0 if ops["kind"][0] != t.ARG else int(np.argmax(ops["kind"] != t.ARG))
        if not held or ops["kind"][first] == t.ARG:  # nothing but operands
            held.append(ops)
            references += found
            continue
        yield np.concatenate([*held, ops[:first]]) if first or len(held) > 1 else held[0], references
        held, references = [ops[first:]], found
    if held:
        yield np.concatenate(held) if len(held) > 1 else held[0], references


def told(error: Exception) -> str:
    """Return the message of an error in one line of at most 120 characters."""
    return (str(error).strip("'\"").splitlines() or [type(error).__name__])[0][:120]


def _no_last() -> np.ndarray:
    return np.zeros((t.AGENTS, 3), np.int64)


@part
def _stream(kind):
    """Return the stream of a kind (fetches, data, operations): an address is near the previous one of its stream."""
    kind = kind & ~t.CONTINUES
    return 0 if kind == t.FETCH else 1 if kind <= t.COMPUTE else 2


@entry
def _difference(ops, last):
    """Replace each address by its distance from the stream's previous one."""
    for i in range(ops.size):
        op = ops[i]
        stream = _stream(op.kind)
        address = op.address
        op.address = address - last[op.agent, stream]
        last[op.agent, stream] = address


@entry
def _assemble(ops, address, count, gap, kind, agent, last):
    """Put columns together to records and undo `_difference`; return the number of their references."""
    references = np.int64(0)  # where the JIT is off, a sum of 0 and counts would have the 32 bits of a count
    for i in range(ops.size):
        row, stream = agent[i] & (t.AGENTS - 1), _stream(kind[i])  # a damaged file must not index outside
        last[row, stream] += address[i]
        t.write(ops[i], last[row, stream], count[i], gap[i], kind[i], agent[i])
        if kind[i] & ~t.CONTINUES <= t.FETCH:
            references += count[i]
    return references
