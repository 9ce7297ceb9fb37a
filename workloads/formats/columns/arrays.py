"""Tables of typed columns: NumPy's .npy and .npz, and Parquet."""

import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from hwmodel import op
from hwmodel.arrow import arrow
from hwmodel.trace.file import told
from workloads.formats.columns import rows as r
from workloads.formats.columns.rows import COLUMNS, UNKNOWN, WORDS, Block, Table, columns_of, empty_values

NPY, ZIP, PARQUET = b"\x93NUMPY", b"PK\x03\x04", b"PAR1"
WIDEST = 1 << 16  # most bytes of a row
LONGEST_HEADER = 1 << 16  # bytes; NumPy reads those of at most 10,000
AT_ONCE = 1 << 24  # bytes of rows


def is_npz(head: bytes) -> bool:
    """Return whether a zip archive begins with an array: its first member is an .npy."""
    length = int.from_bytes(head[26:28], "little")
    return head.startswith(ZIP) and head[30 : 30 + length].endswith(b".npy")


def table_of(head: bytes) -> tuple[str, type[Table]] | None:
    """Return the name and the reader of the kind of table that begins with `head`; None if it is none of these."""
    if head.startswith(NPY):
        return "NumPy", NpyTable
    if is_npz(head):
        return "NumPy", NpzTable
    return ("Parquet", ParquetTable) if head.startswith(PARQUET) else None


class ArrayTable(Table):
    """Common part of the three kinds of table."""

    def _refuse(self, why: str) -> op.TraceError:
        return op.TraceError(f"{self._source.name}: {why}")

    def _check_type(self, name: str, column: int, dtype: Any) -> None:
        """Refuse a column that is not of integers; kind and role may be words."""
        if column == UNKNOWN or (dtype.shape == () and (dtype.kind in "iu" or (dtype.kind in "SU" and column in WORDS))):
            return
        raise self._refuse(f"column {name!r} is {str(dtype)[:80]}: it must be of integers{' or words' if column in WORDS else ''}")


def _fill(to: np.ndarray, column: int, values: np.ndarray) -> None:
    """Fill `to` with values as int64; words are replaced by their numbers."""
    if values.dtype.kind in "iu":
        np.copyto(to, values, casting="unsafe")
        return
    words, places = np.unique(values, return_inverse=True)
    texts = [word.decode("latin-1") if isinstance(word, bytes) else str(word) for word in words.tolist()]
    to[:] = word_numbers(texts, WORDS[column])[places.reshape(-1)]


def word_numbers(texts: Sequence[str | None], table: Mapping[str, int]) -> np.ndarray:
    """Return int64[n]: the numbers that the words stand for."""
    return np.array([table.get((text or "").strip().lower(), UNKNOWN) for text in texts], np.int64)


class _Array:
    """An .npy, read in pieces; raises ValueError if the bytes are not an .npy."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read, self._header = read, LONGEST_HEADER
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                version = np.lib.format.read_magic(self)  # type: ignore[arg-type]
                header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
                self.shape, _, self.dtype = header(self)  # type: ignore[arg-type]
            except Exception as error:  # NumPy reports garbled bytes by many types of exception
                raise ValueError(f"its header makes no sense ({told(error)})") from None
        if self.dtype.hasobject or not 0 < self.dtype.itemsize <= WIDEST:
            raise ValueError(f"it has elements of {str(self.dtype)[:80]}")
        if len(self.shape) != 1 or self.shape[0] < 0:
            raise ValueError(f"it has shape {str(self.shape)[:80]}, but rows are wanted")
        self.rows, self._header = self.shape[0], None
        self.left, self.rest = self.rows, 0
        self.block = max(1, min(r.BLOCK, AT_ONCE // self.dtype.itemsize))

    def read(self, size: int) -> bytes:
        """Return the next bytes; refuse a header longer than LONGEST_HEADER."""
        if self._header is not None:
            if size > self._header:
                raise ValueError(f"more than {LONGEST_HEADER} bytes")
            self._header -= size
        return self._read(size)

    def take(self, rows: int) -> np.ndarray:
        """Return the next rows; fewer at the end, where `rest` is the number of bytes of an incomplete row."""
        wanted = min(rows, self.left) * self.dtype.itemsize
        data = self.read(wanted)
        whole, self.rest = divmod(len(data), self.dtype.itemsize)
        self.left -= whole
        return np.frombuffer(data, self.dtype, whole)


class NpyTable(ArrayTable):
    """A structured array, or an array of integers that are addresses."""

    def blocks(self) -> Iterator[Block]:
        """Yield the rows."""
        with self._source.open() as stream:
            try:
                array = _Array(stream.read)
            except ValueError as error:
                raise self._refuse(f"damaged, or no table: {error}") from None
            self.columns = list(array.dtype.names or ("address",))
            plan = columns_of(self.columns, self._ignore, self._source.name)
            for name, column in zip(self.columns, plan, strict=True):
                self._check_type(name, column, array.dtype[name] if array.dtype.names else array.dtype)
            values, before = empty_values(), 0
            while (rows := array.take(array.block)).size:
                for name, column in zip(self.columns, plan, strict=True):
                    if column != UNKNOWN:
                        _fill(values[column, : rows.size], column, rows[name] if array.dtype.names else rows)
                yield Block(values, rows.size, before)
                before += rows.size
            if array.left:
                self.cut = f"ends {'within' if array.rest else 'before'} row {before} of {array.rows}"
            elif stream.read(1):
                raise self._refuse(f"row {before - 1} is its last, but more bytes follow: several arrays are no table")


class _Indexed(ArrayTable):
    """A table read by a library, which needs the index at the file's end."""

    damaged: str

    def blocks(self) -> Iterator[Block]:
        """Yield the rows."""
        with self._source.opener() as raw:
            try:
                yield from self._blocks(raw)
            except op.TraceError:
                raise
            except Exception as error:  # as in _Array
                raise self._refuse(f"{self.damaged} ({told(error)})") from None

    def _blocks(self, raw: Any) -> Iterator[Block]:
        raise NotImplementedError


class NpzTable(_Indexed):
    """Named arrays of one length."""

    damaged = "damaged, cut short, or compressed once more"

    def _blocks(self, raw: Any) -> Iterator[Block]:
        with zipfile.ZipFile(raw) as archive:
            members = archive.namelist()
            self.columns = [name.removesuffix(".npy") for name in members]
            plan = columns_of(self.columns, self._ignore, self._source.name)
            arrays = {
                column: _Array(archive.open(member).read)
                for member, column in zip(members, plan, strict=True) if column != UNKNOWN
            }  # fmt: skip
            for name, column in zip(self.columns, plan, strict=True):
                if column != UNKNOWN:
                    self._check_type(name, column, arrays[column].dtype)
            lengths = {COLUMNS[column]: array.rows for column, array in arrays.items()}
            if len(set(lengths.values())) > 1:
                raise self._refuse(f"damaged: its columns are not of one length: {lengths}")
            values, rows = empty_values(), next(iter(lengths.values()))
            block = min(array.block for array in arrays.values())
            for before in range(0, rows, block):
                size = min(block, rows - before)
                for column, array in arrays.items():
                    piece = array.take(block)
                    if piece.size != size:
                        raise self._refuse(f"column {COLUMNS[column]!r} ends at row {before + piece.size} of {rows}")
                    _fill(values[column, :size], column, piece)
                yield Block(values, size, before)
            for column, array in arrays.items():
                if array.read(1):
                    raise self._refuse(f"column {COLUMNS[column]!r} has more bytes than its {rows} rows")


class ParquetTable(_Indexed):
    """A Parquet file."""

    damaged = "damaged, or cut short"

    def _blocks(self, raw: Any) -> Iterator[Block]:
        with arrow().parquet.ParquetFile(raw, page_checksum_verification=True) as file:
            self.columns = list(file.schema_arrow.names)
            plan = columns_of(self.columns, self._ignore, self._source.name)
            wanted = [(name, column) for name, column in zip(self.columns, plan, strict=True) if column != UNKNOWN]
            for name, column in wanted:
                self._check_arrow_type(name, column, file.schema_arrow.field(name).type)
            values, before = empty_values(), 0
            for batch in file.iter_batches(r.BLOCK, columns=[name for name, _ in wanted]):
                for name, column in wanted:
                    self._fill_arrow(values[column, : batch.num_rows], column, name, batch.column(name), before)
                yield Block(values, batch.num_rows, before)
                before += batch.num_rows
            if before != file.metadata.num_rows:
                raise self._refuse(f"damaged: {before} rows, but it should have {file.metadata.num_rows}")

    def _check_arrow_type(self, name: str, column: int, kind: Any) -> None:
        pa = arrow()
        plain = kind.value_type if pa.types.is_dictionary(kind) else kind
        text = pa.types.is_string(plain) or pa.types.is_large_string(plain)
        if not pa.types.is_integer(kind) and not (text and column in WORDS):
            raise self._refuse(f"column {name!r} is {str(kind)[:80]}: it must be of integers{' or words' if column in WORDS else ''}")

    def _fill_arrow(self, to: np.ndarray, column: int, name: str, values: Any, before: int) -> None:
        pa = arrow()
        if values.null_count:
            row = next(i for i, empty in enumerate(values.is_null().to_pylist()) if empty)
            raise self._refuse(f"row {before + row}, column {name!r}: it is empty")
        if pa.types.is_integer(values.type):
            np.copyto(to, values.to_numpy(zero_copy_only=True), casting="unsafe")
            return
        encoded = values if pa.types.is_dictionary(values.type) else values.dictionary_encode()
        numbers = word_numbers(encoded.dictionary.to_pylist(), WORDS[column])
        to[:] = numbers[encoded.indices.to_numpy(zero_copy_only=False)]
