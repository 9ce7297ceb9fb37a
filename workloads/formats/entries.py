"""Files of entries of one size: read one buffer at a time, aligned to entries."""

import numpy as np

from workloads.streams import Stream

BUFFER = 1 << 20  # bytes, at least one entry: fits a core's second-level cache


class Entries:
    """The entries of a stream, one buffer at a time.

    Parameters
    ----------
    stream : Stream
        The bytes.
    dtype : dtype
        Type of an entry.
    columns : int
        If more than 1, an entry is a row of this many elements of `dtype`.
    """

    def __init__(self, stream: Stream, dtype: np.dtype, columns: int = 1) -> None:
        self.at = 0  # the next entry of `rows` to be parsed; the parser advances it
        self.before = 0  # entries in earlier buffers
        self._stream, self._size = stream, dtype.itemsize * columns
        self._bytes = bytearray(max(BUFFER // self._size, 1) * self._size)
        self._all = np.frombuffer(self._bytes, dtype)
        if columns > 1:
            self._all = self._all.reshape(-1, columns)
        self.rows = self._all[:0]
        self._rest = 0  # bytes of an incomplete entry

    def refill(self) -> bool:
        """Read the next buffer's entries, after those not parsed yet; return whether there are any new ones."""
        self.before += self.at
        start, left = self.at * self._size, self.rows.shape[0] - self.at
        held = left * self._size + self._rest
        self._bytes[:held] = self._bytes[start : start + held]
        with memoryview(self._bytes) as view:
            got = held + self._stream.readinto(view[held:])
        self.rows, self._rest, self.at = self._all[: got // self._size], got % self._size, 0
        return self.rows.shape[0] > left

    def byte(self) -> int:
        """Return the position in the stream of the next entry to be parsed."""
        return (self.before + self.at) * self._size

    def where_cut(self) -> str:
        """Return how the stream ends early; empty if it does not. Call at its end."""
        if self._rest:
            return f"ends within the entry at byte {self.byte()}"
        return f"ends at byte {self.byte()}" if self._stream.cut else ""
