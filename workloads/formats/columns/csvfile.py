"""Complete traces as CSV: reading a file of `save_csv` gives the same trace.

The file begins with lines ``# {JSON}``: the first describes the trace (its agents, its numbers of records), the next ones
list the prelude. Then come the names of the columns and a line for each record; a second half is "read+", an operand "arg".
"""

import functools
import json
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from hwmodel import op
from hwmodel.arrow import arrow
from hwmodel.trace import Trace
from hwmodel.trace.check import Validator
from workloads import streams
from workloads.compose.numbering import joined
from workloads.formats import passes
from workloads.formats.columns.text import BUFFER, Lines
from workloads.formats.writer import Writer, whole
from workloads.streams import Source

MARK = "hwmodel.csv"
VERSION = 1
KINDS = {name: kind for kind, name in op.NAMES.items()} | {
    f"{op.NAMES[kind]}+": kind | op.CONTINUES for kind in (op.READ, op.WRITE, op.FETCH)
}
COLUMNS = ("kind", "address", "count", "gap", "agent")
LIMITS = {"count": (-(1 << 31), (1 << 31) - 1), "gap": (-(1 << 15), (1 << 15) - 1), "agent": (0, op.AGENTS - 1)}
BLOCK = 1 << 15
LONGEST_UNIT = 3
PRELUDE = 256  # records of the prelude in a line


def recognises(head: bytes) -> bool:
    """Return whether a file that begins with `head` was written by `save_csv`."""
    return head.startswith(f'# {{"{MARK}"'.encode())


def save_csv(trace: Trace, path: str | os.PathLike[str]) -> None:
    """Write a trace as CSV, with its agents, initial memory and info; whole or not at all.

    Parameters
    ----------
    trace : Trace
        Any trace; checked record by record while it is written. It is read twice if its size is not known.
    path : path
        By custom ``.csv``; ``.csv.gz``, ``.csv.xz``, ``.csv.bz2`` and ``.csv.zst`` are compressed.

    Raises
    ------
    TraceError
        If a record is invalid or `info` is not JSON.
    OSError
        If the file cannot be written.
    """
    records = len(trace)
    with streams.create(path) as file:
        validator = Validator(trace)
        for line in _heading(trace, records, os.fspath(path)):
            file.write(line)
        for chunk in trace.chunks(BLOCK):
            validator.check(chunk)
            _write(file, chunk)


WRITER = Writer("csv", (".csv",), whole(save_csv))


def _heading(trace: Trace, records: int, name: str) -> Iterator[bytes]:
    about = {
        MARK: VERSION, "records": records, "prelude": trace.prelude.size,
        "agents": [{"role": agent.role, "space": agent.space, "name": agent.name} for agent in trace.agents],
        "info": trace.info,
    }  # fmt: skip
    lines = [about, *({"prelude": trace.prelude[at : at + PRELUDE].tolist()} for at in range(0, trace.prelude.size, PRELUDE))]
    for line in lines:
        try:
            text = f"# {json.dumps(line)}\n".encode()
        except (TypeError, ValueError) as error:
            raise op.TraceError(f"{name}: info is not JSON: {error}") from None
        if len(text) >= BUFFER:
            raise op.TraceError(f"{name}: the trace's info has {len(text)} bytes, more than a line of CSV may have here")
        yield text
    yield f"{','.join(COLUMNS)}\n".encode()


def _write(file: Any, ops: np.ndarray) -> None:
    pa = arrow()
    numbers = np.full(2 * op.CONTINUES, -1, np.int8)
    numbers[list(KINDS.values())] = np.arange(len(KINDS))
    names = pa.DictionaryArray.from_arrays(pa.array(numbers[ops["kind"]]), pa.array(list(KINDS))).cast(pa.string())
    columns = [names, *(pa.array(np.ascontiguousarray(ops[column])) for column in COLUMNS[1:])]
    options = pa.csv.WriteOptions(include_header=False, quoting_style="none")
    pa.csv.write_csv(pa.Table.from_arrays(columns, names=list(COLUMNS)), pa.PythonFile(file, "w"), options)


def read(source: Source) -> Trace:
    """Open a file written by `save_csv`, read again, in constant memory, at every iteration; its records are not validated yet.

    Raises TraceError, which names the line and the column, if the file is damaged, or cut short in its first lines. If it is cut short
    later, a TraceWarning says where, or the error if `source` is strict; all whole units of the file are used.
    """
    return passes.two_passes(source, functools.partial(_Reading, source))


class _Reading:
    """One pass over the file."""

    def __init__(self, source: Source, watch: bool) -> None:
        self.agents: list[op.Agent] = []
        self.cut: list[str] = []
        self._prelude: list[tuple[int, ...]] = []
        self._info: dict[str, Any] = {}
        self._source, self._records = source, 0

    def chunks(self) -> Iterator[np.ndarray]:
        """Yield the records, in whole units."""
        with self._source.open() as stream:
            lines = Lines(stream, self._source.name)
            self._describe(lines)
            values, numbers = np.zeros((len(COLUMNS), BLOCK), np.int64), np.zeros(BLOCK, np.int64)
            held, rows = np.empty(0, op.OP), 0
            plan = range(len(COLUMNS))
            for size in lines.rows(COLUMNS, plan, {0: KINDS}, values, numbers):
                ops = joined([held, self._records_of(values[:, :size], numbers)])
                rows += size
                whole = _last_head(ops)
                held = ops[whole:]
                if whole:
                    yield ops[:whole]
            yield from self._end(lines, held, rows)

    def finish(self) -> tuple[np.ndarray, dict[str, Any]]:
        """Return (prelude, info), after a complete pass."""
        return op.as_records(self._prelude), self._info

    def _end(self, lines: Lines, held: np.ndarray, rows: int) -> Iterator[np.ndarray]:
        """Yield the last unit, if it is complete or the file is not cut short."""
        cut = lines.cut
        if rows > self._records:
            raise op.TraceError(f"{self._source.name}: damaged: {rows} records, but it should have {self._records}")
        if rows < self._records:
            cut = f"{cut or f'ends behind line {lines.line}'} ({rows} of {self._records} records)"
        self.cut += [cut] if cut else []
        if held.size and (rows == self._records or held.size >= _wanted(held)):
            yield held

    def _describe(self, lines: Lines) -> None:
        """Read the lines before the first record."""
        try:
            about = self._line(lines)
            if about[MARK] > VERSION:
                raise op.TraceError(f"format version {about[MARK]} is newer than {VERSION}, the newest known here")
            self.agents = [op.Agent(agent["role"], int(agent["space"]), str(agent["name"])) for agent in about["agents"]]
            if not 0 < len(self.agents) <= op.AGENTS:
                raise op.TraceError(f"a trace has 1 to {op.AGENTS} agents, not {len(self.agents)}")
            self._info, self._records, prelude = dict(about["info"]), int(about["records"]), int(about["prelude"])
            while len(self._prelude) < prelude:
                self._prelude += [tuple(map(int, record)) for record in self._line(lines)["prelude"]]
            op.as_records(self._prelude)
        except op.TraceError as error:
            raise op.TraceError(f"{self._source.name}: line {lines.line}: {error}") from None
        except KeyError as error:
            raise op.TraceError(f"{self._source.name}: line {lines.line}: damaged: it lacks {error}") from None
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise op.TraceError(f"{self._source.name}: line {lines.line}: damaged: it makes no sense ({str(error)[:120]})") from None
        header = lines.next()
        if header != ",".join(COLUMNS):
            cut, other = "cut short behind it, before its first record", f"it is not {','.join(COLUMNS)}"
            raise op.TraceError(f"{self._source.name}: line {lines.line}: {cut if header is None else other}")

    def _line(self, lines: Lines) -> dict[str, Any]:
        line = lines.next()
        if line is None:
            raise op.TraceError("cut short behind it, before its first record")
        if not line.startswith("# "):
            raise ValueError("no '# ' before JSON")
        return dict(json.loads(line[2:]))

    def _records_of(self, values: np.ndarray, lines: np.ndarray) -> np.ndarray:
        ops = np.empty(values.shape[1], op.OP)
        bad = ~np.isin(values[0], list(KINDS.values()))
        for row, name in enumerate(COLUMNS):
            low, high = LIMITS.get(name, (None, None))
            if name != "kind":
                bad = np.zeros(ops.size, bool) if low is None else (values[row] < low) | (values[row] > high)
            if bad.any():
                at = int(np.flatnonzero(bad)[0])
                where = f"{self._source.name}: line {lines[at]}, column {name!r}"
                raise op.TraceError(f"{where}: {values[row, at]} is {'no kind' if name == 'kind' else f'not in [{low}, {high}]'}")
            ops[name] = values[row]
        return ops


def _last_head(ops: np.ndarray) -> int:
    """Return the index of the last unit; the end if there are too many operands for one unit."""
    heads = np.flatnonzero(ops["kind"][-LONGEST_UNIT:] != op.ARG)
    return max(ops.size - LONGEST_UNIT, 0) + int(heads[-1]) if heads.size else ops.size


def _wanted(unit: np.ndarray) -> int:
    """Return the number of records that a unit should have."""
    kind = int(unit["kind"][0])
    large = kind >= op.MMAP and kind != op.BRK and int(unit["count"][0]) == -1
    return 1 + op.ARGS.get(kind, 0) + large
