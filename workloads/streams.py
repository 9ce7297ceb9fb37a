"""The bytes of recordings: from files, plain or compressed (gzip, xz, bzip2, zstd; recognised by their content), or from memory."""

import bz2
import contextlib
import functools
import gzip
import io
import lzma
import os
import pathlib
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from hwmodel.op import TraceError, TraceWarning
from hwmodel.output import whole
from hwmodel.trace.file import check_regular, told

PIECE = 1 << 18  # most bytes decompressed at once
PART = 1 << 12  # compressed bytes given to zstd at once: it has no limit on the size of its output
DAMAGED = (zlib.error, lzma.LZMAError, OSError, EOFError)
"""Exceptions raised on decompressing damaged bytes, with zstandard's own error."""


class Stream:
    """Uncompressed bytes, from the beginning. If compressed bytes end early, so do these, and `cut` is set.

    Parameters
    ----------
    raw : BinaryIO
        The bytes as they are on disk; closed with the stream.
    name : str
        Name for error messages.
    """

    def __init__(self, raw: BinaryIO, name: str) -> None:
        self.cut = False
        self._raw, self._name = raw, name
        self._left = memoryview(b"")
        self._given = 0
        head = self._checked(raw.read, 8)
        found = [new for magic, new in DECOMPRESSORS.items() if head.startswith(magic)]
        self._pieces = self._decompressed(head, found[0]) if found else iter((head,))
        self._is_plain = not found

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the underlying file."""
        self._raw.close()

    def readinto(self, view: memoryview) -> int:
        """Fill `view` as far as there are bytes; return the number of bytes, 0 at the end.

        Raises
        ------
        TraceError
            If the compressed bytes are damaged.
        """
        at = 0
        while at < len(view):
            if not self._left:
                self._left = memoryview(self._next_piece())
                if not self._left:
                    at += self._plain_into(view[at:])
                    break
            size = min(len(self._left), len(view) - at)
            view[at : at + size] = self._left[:size]
            self._left = self._left[size:]
            at += size
        self._given += at
        return at

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes, fewer at the end; use no more memory than for these bytes and one piece."""
        out = bytearray()
        while len(out) < size:
            piece = bytearray(min(size - len(out), max(PIECE, len(out))))
            with memoryview(piece) as view:
                got = self.readinto(view)
            out += piece[:got] if got < len(piece) else piece
            if got < len(piece):
                break
        return bytes(out)

    def _next_piece(self) -> bytes:
        return self._checked(next, filter(None, self._pieces), b"")

    def _checked(self, get: Callable[..., Any], *args: Any) -> Any:
        try:
            return get(*args)
        except DAMAGED as error:
            raise TraceError(f"{self._name}: damaged after byte {self._given} of what is compressed ({told(error)})") from None

    def _plain_into(self, view: memoryview) -> int:
        """Fill `view` with uncompressed bytes after the first ones, directly from the file."""
        at, got = 0, int(self._is_plain)
        while got and at < len(view):
            got = self._checked(self._raw.readinto, view[at:])  # type: ignore[attr-defined]
            at += got
        return at

    def _decompressed(self, rest: bytes, new: Callable[[], "_Member"]) -> Iterator[bytes]:
        """Yield the contents of one compressed member after the other; zeros may follow a member as padding."""
        while rest:
            member = new()
            while not member.ended:
                data = rest or self._raw.read(PIECE)
                if not data:
                    self.cut = True
                    return
                yield from member.decompress(data)
                rest = member.rest
            while not rest.strip(b"\0"):
                rest = self._raw.read(PIECE)
                if not rest:
                    return
            rest = rest.lstrip(b"\0")


class _Member:
    """One compressed stream of bytes: gzip's by default, from zlib's interface."""

    def __init__(self) -> None:
        self.ended, self.rest = False, b""
        self._inner: Any = self._open()

    def decompress(self, data: bytes) -> Iterator[bytes]:
        """Yield the decompressed `data`, in pieces; afterwards `rest` has the bytes after the member."""
        while data and not self._inner.eof:
            yield self._inner.decompress(data, PIECE)
            data = self._inner.unconsumed_tail
        while not self._inner.eof and (piece := self._inner.decompress(b"", PIECE)):
            yield piece
        self.ended, self.rest = self._inner.eof, self._inner.unused_data

    def _open(self) -> Any:
        return zlib.decompressobj(wbits=31)


class _Xz(_Member):
    def decompress(self, data: bytes) -> Iterator[bytes]:
        yield self._inner.decompress(data, PIECE)
        while not self._inner.eof and not self._inner.needs_input:
            yield self._inner.decompress(b"", PIECE)
        self.ended, self.rest = self._inner.eof, self._inner.unused_data

    def _open(self) -> Any:
        return lzma.LZMADecompressor()


class _Bzip2(_Xz):
    def _open(self) -> Any:
        return bz2.BZ2Decompressor()


class _Zstd(_Member):
    def decompress(self, data: bytes) -> Iterator[bytes]:
        import zstandard

        try:
            while data and not self._inner.eof:
                yield self._inner.decompress(data[:PART])
                data = data[PART:]
        except zstandard.ZstdError as error:
            raise OSError(error) from None
        self.ended, self.rest = self._inner.eof, self._inner.unused_data + data if self._inner.eof else b""

    def _open(self) -> Any:
        import zstandard

        return zstandard.ZstdDecompressor().decompressobj()


DECOMPRESSORS: dict[bytes, Callable[[], _Member]] = {
    b"\x1f\x8b": _Member,
    b"\xfd7zXZ\x00": _Xz,
    b"BZh": _Bzip2,
    b"\x28\xb5\x2f\xfd": _Zstd,
}


@dataclass(frozen=True)
class Source:
    """The origin of a recording's bytes, which can be read any number of times.

    Parameters
    ----------
    name : str
        Name for error messages: the file.
    opener : callable
        Returns the bytes as they are on disk, from the beginning.
    strict : bool
        Refuse a recording that is cut short, instead of warning.
    path : Path, optional
        The file, if there is one: other files of the recording may lie in the same folder.
    """

    name: str
    opener: Callable[[], BinaryIO]
    strict: bool = False
    path: pathlib.Path | None = None

    def open(self) -> Stream:
        """Return the uncompressed bytes, from the beginning."""
        return Stream(self.opener(), self.name)

    def head(self, size: int = 1 << 16) -> bytes:
        """Return the first bytes, uncompressed."""
        with self.open() as stream:
            return stream.read(size)

    def warn_cut(self, where: str) -> None:
        """Warn that the recording ends early, and where; raise TraceError if `strict`."""
        message = f"{self.name}: cut short: {where}"
        if self.strict:
            raise TraceError(message)
        warnings.warn(message, TraceWarning, stacklevel=2)


def file_source(path: str | os.PathLike[str], strict: bool = False) -> Source:
    """Return a file as a source; raise FileNotFoundError, IsADirectoryError or, for a pipe or a device, OSError."""
    name = os.fspath(path)
    check_regular(name)
    opener = cast(Callable[[], BinaryIO], functools.partial(open, name, "rb"))
    return Source(name, opener, strict, pathlib.Path(name))


def bytes_source(data: bytes, name: str = "bytes", strict: bool = False) -> Source:
    """Return bytes in memory as a source."""
    return Source(name, functools.partial(io.BytesIO, data), strict)


COMPRESSED = (".gz", ".xz", ".bz2", ".zst")
"""Endings of names of files that `create` compresses."""


@contextlib.contextmanager
def create(path: str | os.PathLike[str], told: Callable[[str], object] = lambda name: None) -> Iterator[BinaryIO]:
    """Open a file to be written, whole or not at all; its name tells the compression (.gz, .xz, .bz2, .zst, or none).

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    with whole(path, told=told) as raw, _compressor(pathlib.Path(path).suffix, raw) as file:
        yield file


def _compressor(suffix: str, raw: BinaryIO) -> Any:
    if suffix == ".gz":
        return gzip.GzipFile("", "wb", 6, raw, mtime=0)  # without name and time, so that equal content gives equal bytes
    if suffix == ".zst":
        import zstandard

        return zstandard.ZstdCompressor(level=9, write_checksum=True).stream_writer(raw, closefd=False)
    if suffix == ".xz":
        return lzma.LZMAFile(raw, "wb")
    return bz2.BZ2File(raw, "wb") if suffix == ".bz2" else contextlib.nullcontext(raw)
