"""The bytes of recordings: from files, plain or compressed (gzip, xz, bzip2, zstd; told apart by their content), or from memory."""

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

PIECE = 1 << 18  # bytes decompressed at once, at most
PART = 1 << 12  # compressed bytes given to zstd at once: it has no limit on what they become
DAMAGED = (zlib.error, lzma.LZMAError, OSError, EOFError)
"""What decompressing damaged bytes raises, with zstandard's own error."""


class Stream:
    """Uncompressed bytes, from the beginning. Compressed ones that end early end early here too, and `cut` is set.

    Parameters
    ----------
    raw : BinaryIO
        As they are on disk; closed with the stream.
    name : str
        For errors.
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
        """Close what the bytes come from."""
        self._raw.close()

    def readinto(self, view: memoryview) -> int:
        """Fill `view` as far as there are bytes; the number of bytes, 0 at the end.

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
        """The next `size` bytes, fewer at the end: never more memory than there are bytes, and a piece."""
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
        """Behind the first bytes of what is not compressed: straight from where it is."""
        at, got = 0, int(self._is_plain)
        while got and at < len(view):
            got = self._checked(self._raw.readinto, view[at:])  # type: ignore[attr-defined]
            at += got
        return at

    def _decompressed(self, rest: bytes, new: Callable[[], "_Member"]) -> Iterator[bytes]:
        """The contents of one compressed member after the other; zeros may fill up behind one."""
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
        """What `data` holds, in pieces; then `rest` is what follows the member."""
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
    """Where a recording's bytes are, to be read as often as one likes.

    Parameters
    ----------
    name : str
        For errors: the file.
    opener : callable
        Returns the bytes as they are on disk, from the beginning.
    strict : bool
        Refuse what is cut short instead of warning of it.
    path : Path, optional
        The file, if it is one: other files of the recording may lie beside it.
    """

    name: str
    opener: Callable[[], BinaryIO]
    strict: bool = False
    path: pathlib.Path | None = None

    def open(self) -> Stream:
        """The uncompressed bytes."""
        return Stream(self.opener(), self.name)

    def head(self, size: int = 1 << 16) -> bytes:
        """The first bytes, uncompressed."""
        with self.open() as stream:
            return stream.read(size)

    def warn_cut(self, where: str) -> None:
        """Say that the recording ends early, and where; raises TraceError if that is not to be accepted."""
        message = f"{self.name}: cut short: {where}"
        if self.strict:
            raise TraceError(message)
        warnings.warn(message, TraceWarning, stacklevel=2)


def file_source(path: str | os.PathLike[str], strict: bool = False) -> Source:
    """A file as a source; raises FileNotFoundError, IsADirectoryError or, for a pipe or a device, OSError."""
    name = os.fspath(path)
    check_regular(name)
    opener = cast(Callable[[], BinaryIO], functools.partial(open, name, "rb"))
    return Source(name, opener, strict, pathlib.Path(name))


def bytes_source(data: bytes, name: str = "bytes", strict: bool = False) -> Source:
    """Bytes in memory as a source."""
    return Source(name, functools.partial(io.BytesIO, data), strict)


@contextlib.contextmanager
def create(path: str | os.PathLike[str], told: Callable[[str], object] = lambda name: None) -> Iterator[BinaryIO]:
    """Open a file to be written, whole or not at all; its name says how it is compressed (.gz, .xz, .bz2, .zst, or not).

    Raises
    ------
    OSError
        If it cannot be written.
    """
    with whole(path, told=told) as raw, _compressor(pathlib.Path(path).suffix, raw) as file:
        yield file


def _compressor(suffix: str, raw: BinaryIO) -> Any:
    if suffix == ".gz":
        return gzip.GzipFile("", "wb", 6, raw, mtime=0)  # without name and time: the same content, the same bytes
    if suffix == ".zst":
        import zstandard

        return zstandard.ZstdCompressor(level=9, write_checksum=True).stream_writer(raw, closefd=False)
    if suffix == ".xz":
        return lzma.LZMAFile(raw, "wb")
    return bz2.BZ2File(raw, "wb") if suffix == ".bz2" else contextlib.nullcontext(raw)
