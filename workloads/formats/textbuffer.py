"""Text read one buffer at a time: a kernel parses its lines, other lines are handed out."""

import numpy as np

from hwmodel.op import TraceError
from workloads.streams import Stream

MOST_SHOWN = 120
"""Characters of a line in a message, at the most: bytes that are no text take four each."""
SLACK = 64  # zero bytes after the text, so that a kernel need not check for its end


class TextBuffer:
    """The lines of a stream, of which some are in memory.

    Parameters
    ----------
    stream : Stream
        The text.
    name : str
        Name of its file, for error messages.
    cursor : dtype
        The kernel's place: `at`, index of the next byte; `end`, that of the text's end; `line`, number of lines before `at`; and more.
    size : int
        Bytes of text parsed at once; no line is longer.
    """

    def __init__(self, stream: Stream, name: str, cursor: np.dtype, size: int) -> None:
        self.cut = ""
        self._stream, self._name, self._size = stream, name, size
        self._bytes = bytearray(size + SLACK)
        self._codes = np.frombuffer(self._bytes, np.uint8)  # as an index it needs no check of its sign
        self._cursor = np.zeros(1, cursor)
        self._row = self._cursor[0]

    @property
    def line(self) -> int:
        """Return the number of lines parsed or handed out so far."""
        return int(self._row["line"])

    def _next_line(self) -> bytes | None:
        """Return the line at the cursor, and move the cursor after it; None if its end has not been read yet."""
        at = int(self._row["at"])
        newline = self._bytes.find(b"\n", at, int(self._row["end"]))
        if newline < 0:
            return None
        self._row["at"], self._row["line"] = newline + 1, self.line + 1
        return bytes(self._bytes[at:newline])

    def _rest(self) -> bytes:
        """Return the text that has been read and not parsed."""
        return bytes(self._bytes[int(self._row["at"]) : int(self._row["end"])])

    def _refill(self) -> bool:
        """Read more text after the remaining text; return whether there was any."""
        rest = self._rest()
        left = len(rest)
        if left == self._size:
            raise TraceError(f"{self._name}: line {self.line + 1} is longer than {self._size} bytes")
        self._bytes[:left] = rest
        with memoryview(self._bytes) as view:
            got = self._stream.readinto(view[left : self._size])
        self._row["at"], self._row["end"] = 0, left + got
        self._bytes[left + got : left + got + SLACK] = bytes(SLACK)
        return bool(got)


def shorten(line: bytes | str) -> str:
    """Return a line as shown in an error message."""
    text = line if isinstance(line, str) else line.decode("utf-8", "replace")
    shown = repr(text if len(text) <= 60 else f"{text[:57]}...")
    return shown if len(shown) <= MOST_SHOWN else f"{shown[:MOST_SHOWN - 4]}...{shown[-1]}"
