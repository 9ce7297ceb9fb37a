"""The entries of a thread recording (`workloads.readers.threads`): accesses parsed by a kernel, other entries handed out."""

from collections.abc import Iterator

import numpy as np

from hwmodel import op as t
from hwmodel.jit import entry, part
from workloads.readers.assembly import Batch
from workloads.readers.lackeylog import ROOM as LINE_ROOM
from workloads.readers.lackeylog import split_access
from workloads.streams import Stream

READ, WRITE, FETCH, THREAD, THREAD_END, CALL, ARGUMENT, MAPPED_FILE, PROGRAM, BEGIN, EXEC, END = range(12)
SAME, INITIAL, FORKED = 1, 2, 4
ARGUMENTS = 6
ENTRY = np.dtype((np.record, [("address", "<i8"), ("number", "<i4"), ("thread", "<u2"), ("kind", "u1"), ("marks", "u1")]))
CHUNK = 1 << 18  # entries parsed at once
ROOM = LINE_ROOM  # records an entry may need
LONGEST = (ROOM - 1) * t.PAGE
WORD, VECTOR = 8, 64  # bytes: of the pieces an access may come in; of the longest such access
OUT, FULL, OTHER = 0, 1, 2

CURSOR = np.dtype((np.record, [
    ("at", "i8"),      # next entry
    ("end", "i8"),     # end of the entries
    ("filled", "i8"),  # records in the batch
]))  # fmt: skip


class Log:
    """A recording being parsed; its accesses become READ, WRITE and FETCH records at the end of `batch`.

    Parameters
    ----------
    stream : Stream
        The recording, behind its header.
    name : str
        Its file, for errors.
    batch : Batch
        Where records go.
    """

    def __init__(self, stream: Stream, name: str, batch: Batch) -> None:
        self.cut = ""
        self.agents = np.full(1 << 16, -1, np.int64)  # of each thread
        self._stream, self._name, self._batch = stream, name, batch
        self._bytes = bytearray(CHUNK * ENTRY.itemsize)
        self._entries = np.frombuffer(self._bytes, ENTRY)
        self._size = 0  # bytes that are there
        self._behind = 0  # entries before the first of these
        self._cursor = np.zeros(1, CURSOR)
        self._row = self._cursor[0]

    @property
    def entries(self) -> int:
        """Entries parsed or handed out so far."""
        return self._behind + int(self._row["at"])

    def agent(self, thread: int) -> int:
        """The agent of a thread."""
        if self.agents[thread] < 0:
            raise self.refusal()
        return int(self.agents[thread])

    def refusal(self) -> t.TraceError:
        """The error that the entry handed out last makes no sense."""
        return t.TraceError(f"{self._name}: entry {self.entries} makes no sense")

    def stops(self) -> Iterator[np.ndarray | None]:
        """Each entry that is no access, a CALL with its arguments; None where the batch is full (then clear it) and at the end.

        Where the recording ends, `cut` says.

        Raises
        ------
        TraceError
            If an entry makes no sense, or the bytes are damaged.
        """
        more = True
        while more:
            self._row["filled"] = self._batch.filled
            reason = _parse(self._entries, self._batch.ops, self._cursor, self.agents, False)
            self._batch.filled = int(self._row["filled"])
            stop = self._next() if reason == OTHER else None
            if stop is not None or reason == FULL:
                yield stop
            else:
                more = self._refill()
        yield from self._rest()

    def _rest(self) -> Iterator[np.ndarray | None]:
        """Accesses at the end that might have gone on, and what is left."""
        reason = FULL
        while reason == FULL:
            yield None
            self._row["filled"] = self._batch.filled
            reason = _parse(self._entries, self._batch.ops, self._cursor, self.agents, True)
            self._batch.filled = int(self._row["filled"])
        if reason == OTHER:
            self._next()  # a call whose arguments are not all there, or refused
        left = self._size - int(self._row["at"]) * ENTRY.itemsize
        self.cut = f"ends within entry {self.entries + 1}" if left else f"ends behind entry {self.entries}"
        yield None

    def _next(self) -> np.ndarray | None:
        """The entry at the cursor with those that belong to it, which moves behind them; None if not all are there yet."""
        at, end = int(self._row["at"]), int(self._row["end"])
        kind = int(self._entries[at]["kind"])
        size = 1 + ARGUMENTS if kind == CALL else 1
        if at + size > end:
            return None
        self._row["at"] = at + size
        found = self._entries[at : at + size]
        numbers = found["number"][1:].tolist()
        if not FETCH < kind <= END or kind == ARGUMENT or numbers != list(range(len(numbers))):
            raise self.refusal()
        if (found["kind"][1:] != ARGUMENT).any() or (found["thread"] != found["thread"][0]).any():
            raise self.refusal()
        return found

    def _refill(self) -> bool:
        """Read more entries behind what is left; whether there were any."""
        at = int(self._row["at"])
        left = self._size - at * ENTRY.itemsize
        self._bytes[:left] = self._bytes[at * ENTRY.itemsize : self._size]
        with memoryview(self._bytes) as view:
            got = self._stream.readinto(view[left:])
        self._behind += at
        self._size = left + got
        self._row["at"], self._row["end"] = 0, self._size // ENTRY.itemsize
        return bool(got)


@entry
def _parse(entries, ops, cursor, agents, is_last):
    """Parse accesses; OUT: no more are there, FULL: no room for another, OTHER: at an entry that is none."""
    row = cursor[0]
    at, end, filled = row.at, row.end, row.filled
    reason = OUT
    while at < end:
        first = entries[at]
        kind, address, size = first.kind, first.address, np.int64(first.number)
        agent = agents[first.thread]
        if filled + ROOM > ops.size:
            reason = FULL
            break
        if kind > FETCH or agent < 0:
            reason = OTHER
            break
        after, count = at + 1, np.int64(1)
        if kind == FETCH:
            size, count = size & 0xFFFF, size >> 16
        else:
            after, size = _grown(entries, at, end, size)
            if after == end and not is_last:
                break
            if kind == READ and _is_written(entries, after, end, first, size):
                kind = np.uint8(WRITE)
                after += 1
        crosses = (address ^ (address + size - 1)) >> t.PAGE_SHIFT != 0
        if size < 1 or size > LONGEST or address < 0 or address > t.USER_END - size or count < 1 or (count > 1 and crosses):
            reason = OTHER
            break
        if kind == FETCH and not crosses:
            t.write(ops[filled], address, count, 0, t.FETCH, agent)
            filled += 1
        else:
            to = t.FETCH if kind == FETCH else (t.READ if kind == READ else t.WRITE)
            filled = split_access(ops, filled, address, size, to, agent)
        at = after
    row.at = at
    row.filled = filled
    return reason


@part
def _grown(entries, at, end, size):
    """(entry behind, bytes) of an access that came in pieces."""
    first = entries[at]
    after = at + 1
    while after < end and size % WORD == 0 and size < VECTOR and _is_same(entries[after], first):
        piece = entries[after]
        if piece.kind != first.kind or piece.address != first.address + size or not 1 <= piece.number <= WORD:
            break
        size += piece.number
        after += 1
    return after, size


@part
def _is_written(entries, after, end, first, size):
    """Whether the same instruction then writes what it has read."""
    if after >= end or not _is_same(entries[after], first):
        return False
    return entries[after].kind == WRITE and entries[after].address == first.address and entries[after].number == size


@part
def _is_same(piece, first):
    """Whether an entry is an access of the same instruction as the access before it."""
    return piece.marks & SAME != 0 and piece.thread == first.thread and piece.kind <= WRITE
