"""Files of entries of one size: read a buffer at a time, aligned to entries."""

import numpy as np

from workloads.streams import Stream

BUFFER = 1 << 20  # bytes, at least one entry: what fits a core's second-level cache


class Entries:
    """The entries of a stream, those of one buffer at a time.

    Parameters
    ----------
    stream : Stream
        The bytes.
    dtype : dtype
        Of an entry.
    columns : int
        If more than 1, an entry is a row of so many of them.
    """

    def __init__(self, stream: Stream, dtype: np.dtype, columns: int = 1) -> None:
        self.at = 0  # the next entry of `rows` to be parsed: the parser moves it
        self.before = 0  # entries in earlier buffers
        self._stream, self._size = stream, dtype.itemsize * columns
        self._bytes = bytearray(max(BUFFER // self._size, 1) * self._size)
        self._all = np.frombuffer(self._bytes, dtype)
        if columns > 1:
            self._all = self._all.reshape(-1, columns)
        self.rows = self._all[:0]
        self._rest = 0  # bytes of an entry that is not whole

    def refill(self) -> bool:
        """The next buffer's entries, when all of this one's are parsed; whether there are any."""
        self.before += self.at
        whole = self.rows.shape[0] * self._size
        self._bytes[: self._rest] = self._bytes[whole : whole + self._rest]
        with memoryview(self._bytes) as view:
            got = self._rest + self._stream.readinto(view[self._rest :])
        self.rows, self._rest, self.at = self._all[: got // self._size], got % self._size, 0
        return self.rows.shape[0] > 0

    def byte(self) -> int:
        """Where the next entry to be parsed begins in the stream."""
        return (self.before + self.at) * self._size

    def where_cut(self) -> str:
        """At the end: how it ends early, if it does."""
        if self._rest:
            return f"ends within the entry at byte {self.byte()}"
        return f"ends at byte {self.byte()}" if self._stream.cut else ""
