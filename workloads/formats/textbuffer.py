"""Text read one buffer at a time: a kernel parses its lines, other lines are handed out."""

from collections.abc import Callable, Iterator

import numpy as np

from hwmodel.op import TraceError
from workloads.formats.assembly import Batch
from workloads.formats.digits import DIGITS
from workloads.streams import Stream

BUFFER = 1 << 23  # bytes of a log parsed at once
MOST_SHOWN = 120
"""Characters of a line in a message, at the most: bytes that are no text take four each."""
SLACK = 64  # zero bytes after the text, so that a kernel need not check for its end
END, FULL, OTHER = 0, 1, 2

CURSOR = np.dtype((np.record, [
    ("at", "i8"),      # index of the next byte
    ("end", "i8"),     # index after the last newline
    ("line", "i8"),    # number of lines before `at`
    ("filled", "i8"),  # records in the batch
]))  # fmt: skip


class TextBuffer:
    """The lines of a stream, of which some are in memory.

    Parameters
    ----------
    stream : Stream
        The text.
    name : str
        Name of its file, for error messages.
    cursor : array of one record
        The kernel's place: `at`, index of the next byte; `end`, that after the last newline: no byte from there on is parsed, so a
        newline ends every loop; `line`, number of lines before `at`; and more.
    size : int
        Bytes in memory, at the most; no line is longer.
    block : int, optional
        Bytes read at once, at the most.
    """

    def __init__(self, stream: Stream, name: str, cursor: np.ndarray, size: int, block: int | None = None) -> None:
        self.cut = ""
        self._stream, self._name, self._size, self._block = stream, name, size, block or size
        self._bytes, self._filled = bytearray(size + SLACK), 0
        self.codes = np.frombuffer(self._bytes, np.uint8)  # as an index it needs no check of its sign
        self._cursor, self._row = cursor, cursor[0]

    @property
    def line(self) -> int:
        """Return the number of lines parsed or handed out so far."""
        return int(self._row["line"])

    def next_line(self) -> bytes | None:
        """Return the line at the cursor, and move the cursor after it; None if its end has not been read yet."""
        at = int(self._row["at"])
        newline = self._bytes.find(b"\n", at, int(self._row["end"]))
        if newline < 0:
            return None
        self._row["at"], self._row["line"] = newline + 1, self.line + 1
        return bytes(self._bytes[at:newline])

    def text(self) -> str:
        """Return the whole lines in memory, a character for each byte."""
        return str(memoryview(self._bytes)[: int(self._row["end"])], "latin-1")

    def rest(self) -> bytes:
        """Return the text that has been read and not parsed."""
        return bytes(self._bytes[int(self._row["at"]) : self._filled])

    def refill(self) -> bool:
        """Read more text after the remaining text; return whether there was any."""
        rest = self.rest()
        left = len(rest)
        if left == self._size:
            raise TraceError(f"{self._name}: line {self.line + 1} is longer than {self._size} bytes")
        self._bytes[:left] = rest
        with memoryview(self._bytes) as view:
            got = self._stream.readinto(view[left : min(left + self._block, self._size)])
        self._filled = left + got
        self._bytes[self._filled : self._filled + SLACK] = bytes(SLACK)
        self._row["at"], self._row["end"] = 0, self._bytes.rfind(b"\n", 0, self._filled) + 1
        return bool(got)


class Log(TextBuffer):
    """A log of accesses, being parsed into records at the end of `batch`.

    Parameters
    ----------
    text, name :
        As of `TextBuffer`.
    batch : Batch
        The batch to append to.
    scan : callable
        Parses accesses, given the text, DIGITS, the batch's records and the cursor; returns END: no whole line is left, FULL: no room for
        another, OTHER: at a line that is no access.
    is_whole : callable, optional
        Returns whether a last line without its newline is a line all the same.
    """

    def __init__(
        self, text: Stream, name: str, batch: Batch, scan: Callable[..., int], is_whole: Callable[[bytes], bool] = lambda rest: False
    ) -> None:
        super().__init__(text, name, np.zeros(1, CURSOR), BUFFER)
        self._batch, self._scan, self._is_whole = batch, scan, is_whole

    def stops(self) -> Iterator[bytes | None]:
        """Yield each line that is no access, and None when the batch is full (then clear it) and at the end.

        A log that ends within a line ends before it, and `cut` tells where.

        Raises
        ------
        TraceError
            If the log's bytes are damaged.
        """
        more = True
        while more:
            self._row["filled"] = self._batch.filled
            reason = self._scan(self.codes, DIGITS, self._batch.ops, self._cursor)
            self._batch.filled = int(self._row["filled"])
            if reason == END:
                more = self.refill()
            else:
                yield self.next_line() if reason == OTHER else None
        rest = self.rest()
        if rest and self._is_whole(rest):
            self._row["line"] += 1
            yield rest
        elif rest or self._stream.cut:
            self.cut = f"ends within line {self.line + 1}: {shorten(rest)}" if rest else f"ends behind line {self.line}"
        yield None

    def unread(self, line: bytes) -> None:
        """Push back the line handed out last, to be parsed after all."""
        self._row["at"], self._row["line"] = int(self._row["at"]) - len(line) - 1, self.line - 1


def shorten(line: bytes | str) -> str:
    """Return a line as shown in an error message."""
    text = line if isinstance(line, str) else line.decode("utf-8", "replace")
    shown = repr(text if len(text) <= 60 else f"{text[:57]}...")
    return shown if len(shown) <= MOST_SHOWN else f"{shown[:MOST_SHOWN - 4]}...{shown[-1]}"
