"""Reader of columns, as people exchange them: CSV, NumPy (.npy, .npz) and Parquet; meaning of the columns: `rows.py`.

A CSV begins with a line of names. An .npy is a structured array, or integers that are addresses of reads; an .npz has an
array for each column. CSV and .npy that are cut short give their whole rows; the other formats have their index at the end.
"""

import functools
from collections.abc import Iterator, Sequence

from hwmodel.op import TraceError
from hwmodel.trace import Trace
from workloads.formats import passes
from workloads.formats.columns import arrays, csvfile
from workloads.formats.columns.csvfile import WRITER
from workloads.formats.columns.rows import ADDRESS, COLUMNS, SYNONYMS, Block, RowsPass, Table, columns_of
from workloads.formats.columns.text import BOM, Lines
from workloads.streams import Source

__all__ = ["NAME", "WRITER", "read", "recognises"]
NAME = "columns"


def recognises(head: bytes) -> bool:
    """Return whether `head` begins a NumPy or Parquet file, or a CSV whose first line names a column `address`."""
    return arrays.table_of(head) is not None or csvfile.recognises(head) or _is_csv(head)


def _is_csv(head: bytes) -> bool:
    lines = (line.strip() for line in head.removeprefix(BOM).split(b"\n"))
    first = next((line for line in lines if line and not line.startswith(b"#")), b"")
    return any(SYNONYMS.get(name, name) == COLUMNS[ADDRESS] for name in _fields(first.decode("utf-8", "replace"), lower=True))


def read(source: Source, events: bool = True, ignore: Sequence[str] = ()) -> Trace:
    """Open a CSV, .npy, .npz or Parquet file, as `workloads.formats` says; columns named in `ignore` are ignored.

    Used memory is inferred to exist, as for recordings without a list of it. A column that is missing, unknown, duplicate, of a
    wrong type or at an invalid value is refused by its name, with the line or the row (from 0).
    """
    head = source.head()
    if csvfile.recognises(head):
        return csvfile.read(source)
    format, table = arrays.table_of(head) or ("CSV", CsvTable)
    return passes.two_passes(source, functools.partial(RowsPass, source, functools.partial(table, source, ignore), format, events))


class CsvTable(Table):
    """The rows of a CSV."""

    def blocks(self) -> Iterator[Block]:
        """Yield the rows."""
        with self._source.open() as stream:
            lines = Lines(stream, self._source.name)
            header = lines.next()
            while header is not None and (not header.strip() or header.startswith("#")):
                header = lines.next()
            if header is None:
                raise TraceError(f"{self._source.name}: cut short within line {lines.line + 1}, which names its columns")
            self.columns = _fields(header)
            plan = columns_of(self.columns, self._ignore, self._source.name)
            yield from lines.blocks(self.columns, plan)
            self.cut = lines.cut


def _fields(line: str, lower: bool = False) -> list[str]:
    names = [field.strip().strip('"') for field in line.split(",")]
    return [name.lower() for name in names] if lower else names
