"""The trace file: Parquet, one row group per quarter million records, read and written as a stream."""

import functools
import inspect
import io
import json
import os
import pathlib
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from hwmodel import trace as t
from hwmodel.jit import entry, part
from hwmodel.op import copy_records, write
from hwmodel.output import whole
from hwmodel.tracecheck import Validator

SUFFIX = ".hwtrace"
VERSION = 1
GROUP = 1 << 18
KEY = b"hwmodel.trace"
SUM = b"hwmodel.trace.crc32"
"""The checksum of what is under KEY, in decimal: Parquet has checksums of its pages only. Older files lack it."""


def save(trace: t.Trace, path: str | os.PathLike[str]) -> None:
    """Write a trace file; it is complete or not there.

    Parameters
    ----------
    trace : Trace
        Checked record by record on the way. Agents, prelude and info are written last, so a source may complete them.
    path : path
        By custom ends in ``.hwtrace``. An existing file is replaced at the end; a pipe or a device is written as it comes.

    Raises
    ------
    TraceError
        If a record is invalid or `info` is not JSON.
    OSError
        If the file cannot be written.
    """
    with whole(path) as file:
        _write(trace, _Counted(file), pathlib.Path(path))


def load(path: str | os.PathLike[str]) -> t.Trace:
    """Open a trace file; its records are read when iterated over.

    Parameters
    ----------
    path : path
        Written by `save`.

    Returns
    -------
    Trace
        With `name` the file's path; its records are not checked yet.

    Raises
    ------
    TraceError
        If it is no trace file, is damaged, or was written by a newer version. Damaged records raise when read.
    FileNotFoundError
        If there is none.
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
        return _trace(meta, rows, name)
    except t.TraceError as error:
        raise t.TraceError(f"{name}: {error}") from None
    except KeyError as error:
        raise t.TraceError(f"{name}: damaged: its description lacks {error}") from None
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise t.TraceError(f"{name}: damaged: its description makes no sense ({told(error)})") from None


def is_trace_file(path: str | os.PathLike[str]) -> bool:
    """Whether a Parquet file is a trace, or damaged; False: it is in order and something else."""
    try:
        with _open(os.fspath(path)) as file:
            return KEY in (file.metadata.metadata or {})
    except t.TraceError:
        return True


class _Counted(io.RawIOBase):
    """A file that knows its position, which Parquet asks for and a pipe does not tell."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._at = file, 0

    def writable(self) -> bool:
        """Say yes."""
        return True

    def write(self, data: Any) -> int:
        """Write bytes."""
        self._at += self._file.write(data)
        return len(data)

    def tell(self) -> int:
        """Return the number of bytes that have been written."""
        return self._at


def _write(trace: t.Trace, file: Any, path: pathlib.Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    schema = pa.schema([(column, pa.from_numpy_dtype(t.OP[column])) for column in t.COLUMNS])
    options: dict[str, Any] = {
        "compression": "zstd",
        "compression_level": 9,
        "use_dictionary": ["kind"],  # Parquet has no bytes: a plain kind takes four
        "data_page_size": 1 << 24,
        "write_page_checksum": True,
    }
    if "max_rows_per_page" in inspect.signature(parquet.write_table).parameters:
        options["max_rows_per_page"] = GROUP  # newer versions' pages of 20,000 rows compress half as well
    validator, references = Validator(trace), 0
    with parquet.ParquetWriter(file, schema, **options) as writer:
        for chunk in trace.chunks(GROUP):
            validator.check(chunk)
            references += t.count_references(chunk)
            ops = copy_records(chunk)
            _difference(ops, _no_last())
            arrays = [pa.array(np.ascontiguousarray(ops[column])) for column in t.COLUMNS]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema), row_group_size=ops.size)
        Validator(trace)  # the prelude may be new
        text = _json(_describe(trace, validator.records, references), path)
        writer.add_key_value_metadata({KEY: text, SUM: _sum(text.encode())})


def _describe(trace: t.Trace, records: int, references: int) -> dict[str, Any]:
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
    from pyarrow import parquet

    if not os.path.isfile(name):
        raise FileNotFoundError(f"{name}: no such file")
    try:
        return parquet.ParquetFile(name, page_checksum_verification=True)
    except Exception as error:  # as in _read
        raise t.TraceError(f"{name}: not a trace file, or cut short ({told(error)})") from None


def _described(file: Any, name: str) -> tuple[bytes, str | None]:
    """(the JSON text that describes the trace, its checksum or None)."""
    keys = file.metadata.metadata or {}
    if KEY not in keys:
        raise t.TraceError(f"{name}: a Parquet file, but not a trace")
    return keys[KEY], keys[SUM].decode("ascii", "replace") if SUM in keys else None


def _sum(text: bytes) -> str:
    return str(zlib.crc32(text))


def _trace(meta: dict[str, Any], rows: int, name: str) -> t.Trace:
    """The trace that a description describes."""
    agents = [t.Agent(agent["role"], int(agent["space"]), str(agent["name"])) for agent in meta["agents"]]
    records, references = int(meta["records"]), int(meta["references"])
    if records != rows:
        raise t.TraceError(f"damaged: {rows} records, but it should have {records}")
    prelude, info = t.as_records(map(tuple, meta["prelude"])), dict(meta["info"])
    return t.Trace(agents, functools.partial(_read, name, records), prelude, info, name, records, references)


def _read(name: str, records: int) -> Iterator[np.ndarray]:
    left = records
    with _open(name) as file:
        for group in range(file.num_row_groups):
            try:
                ops = _records(file.read_row_group(group, use_threads=False))
            except Exception as error:  # what garbled bytes may make of a file, its library reports in many ways
                raise t.TraceError(f"{name}: damaged in row group {group} ({told(error)})") from None
            left -= ops.size
            yield ops
    if left:
        raise t.TraceError(f"{name}: damaged: {records - left} records, but it should have {records}")


def _records(table: Any) -> np.ndarray:
    """The records of a row group."""
    ops, last, at = np.empty(table.num_rows, t.OP), _no_last(), 0
    for batch in table.to_batches():
        columns = [batch.column(name).to_numpy(zero_copy_only=True) for name in t.COLUMNS]
        for name, column in zip(t.COLUMNS, columns, strict=True):
            if column.dtype != t.OP[name]:
                raise t.TraceError(f"{name} is {column.dtype}, not {t.OP[name]}")
        _assemble(ops[at : at + batch.num_rows], *columns, last)
        at += batch.num_rows
    return ops


def told(error: Exception) -> str:
    """What an error says, in one short line."""
    return (str(error).strip("'\"").splitlines() or [type(error).__name__])[0][:120]


def _no_last() -> np.ndarray:
    return np.zeros((t.AGENTS, 3), np.int64)


@part
def _stream(kind):
    """Addresses are near the previous one of the same stream: fetches, data, operations."""
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
    """Put columns together to records, and undo `_difference`."""
    for i in range(ops.size):
        row, stream = agent[i] & (t.AGENTS - 1), _stream(kind[i])  # a damaged file must not index outside
        last[row, stream] += address[i]
        write(ops[i], last[row, stream], count[i], gap[i], kind[i], agent[i])
