"""Files of recordings: plain, or compressed with gzip or xz, told apart by their content."""

import gzip
import lzma
import os
import zlib
from typing import BinaryIO, cast

from hwmodel.op import TraceError

GZIP, XZ = b"\x1f\x8b", b"\xfd7zXZ\x00"
DAMAGED = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)
"""What reading a damaged compressed file raises."""


def open_stream(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file for reading its uncompressed bytes."""
    with open(path, "rb") as file:
        head = file.read(len(XZ))
    if head.startswith(GZIP):
        return cast(BinaryIO, gzip.open(path, "rb"))
    if head.startswith(XZ):
        return cast(BinaryIO, lzma.open(path, "rb"))
    return open(path, "rb")


def read_head(path: str | os.PathLike[str], size: int = 1 << 16) -> bytes:
    """The first bytes of a file, uncompressed."""
    try:
        with open_stream(path) as stream:
            return stream.read(size)
    except DAMAGED as error:
        raise TraceError(f"{os.fspath(path)}: damaged ({error})") from None
