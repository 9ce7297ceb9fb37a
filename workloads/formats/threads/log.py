"""The entries of a thread recording (`workloads.formats.threads`): a kernel parses the accesses, other entries are handed out."""

from collections.abc import Iterator

import numpy as np

from hwmodel import op
from hwmodel.jit import entry, part
from workloads.formats.assembly import LONGEST, SPANS, Batch
from workloads.formats.entries import Entries
from workloads.streams import Stream

READ, WRITE, FETCH, THREAD, THREAD_END, CALL, ARGUMENT, MAPPED_FILE, PROGRAM, BEGIN, EXEC, END = range(12)
SAME, INITIAL, FORKED = 1, 2, 4
ARGUMENTS = 6
ENTRY = np.dtype((np.record, [("address", "<i8"), ("number", "<i4"), ("thread", "<u2"), ("kind", "u1"), ("marks", "u1")]))
ROOM = SPANS  # most records of an entry
WORD, VECTOR = 8, 64  # bytes: of the pieces in which an access may come; of the longest such access
NO_MORE, FULL, OTHER = 0, 1, 2

CURSOR = np.dtype((np.record, [
    ("at", "i8"),      # index of the next entry
    ("filled", "i8"),  # number of records in the batch
]))  # fmt: skip


class Log:
    """A recording being parsed; its accesses become READ, WRITE and FETCH records at the end of `batch`.

    Parameters
    ----------
    stream : Stream
        The recording; its header is an entry as long as the others.
    name : str
        Name of the recording's file, for error messages.
    batch : Batch
        The batch to append to.
    """

    def __init__(self, stream: Stream, name: str, batch: Batch) -> None:
        self.cut = ""
        self.agents = np.full(1 << 16, -1, np.int64)  # by thread
        self._name, self._batch = name, batch
        self._entries = Entries(stream, ENTRY)
        self._last = 0  # position of the first byte of the entries handed out last
        self._cursor = np.zeros(1, CURSOR)

    @property
    def entries(self) -> int:
        """Return the number of entries parsed or handed out so far, without the header."""
        return max(self._entries.before + self._entries.at - 1, 0)

    def header(self) -> bytes:
        """Return the first entry, as it is; empty if it is missing."""
        if not self._entries.refill():
            return b""
        self._entries.at = 1
        return self._entries.rows[:1].tobytes()

    def agent(self, thread: int) -> int:
        """Return the agent of a thread."""
        if self.agents[thread] < 0:
            raise self.refusal()
        return int(self.agents[thread])

    def refusal(self) -> op.TraceError:
        """Return the error for an invalid entry: the one handed out last."""
        return op.TraceError(f"{self._name}: the entry at byte {self._last} makes no sense")

    def stops(self) -> Iterator[np.ndarray | None]:
        """Yield each entry that is no access, a CALL with its arguments, and None when the batch is full (then clear it) and at the end.

        `cut` tells where the recording ends.

        Raises
        ------
        TraceError
            If an entry is invalid, or the bytes are damaged.
        """
        more = True
        while more:
            reason = self._parse(False)
            stop = self._next() if reason == OTHER else None
            if stop is not None or reason == FULL:
                yield stop
            else:
                more = self._entries.refill()
        while self._parse(True) == FULL:  # accesses at the end, which might have had further pieces
            yield None
        byte, left = self._entries.byte(), self._entries.rows.size - self._entries.at
        if left:
            self._next()  # refused, except for a call whose arguments are incomplete
        self.cut = f"ends within the call at byte {byte}" if left else self._entries.where_cut() or f"ends at byte {byte}"
        yield None

    def _parse(self, is_last: bool) -> int:
        row = self._cursor[0]
        row["at"], row["filled"] = self._entries.at, self._batch.filled
        reason = _parse(self._entries.rows, self._batch.ops, self._cursor, self.agents, is_last)
        self._entries.at, self._batch.filled = int(row["at"]), int(row["filled"])
        return reason

    def _next(self) -> np.ndarray | None:
        """Return the next entry with those that belong to it, and move after them; None if they are incomplete so far."""
        self._last = self._entries.byte()
        at, rows = self._entries.at, self._entries.rows
        kind = int(rows[at]["kind"])
        found = rows[at : at + (1 + ARGUMENTS if kind == CALL else 1)]
        if not FETCH < kind <= END or kind == ARGUMENT or found["number"][1:].tolist() != list(range(found.size - 1)):
            raise self.refusal()
        if (found["kind"][1:] != ARGUMENT).any() or (found["thread"] != found["thread"][0]).any():
            raise self.refusal()
        if kind == CALL and found.size <= ARGUMENTS:
            return None
        self._entries.at = at + found.size
        return found


@entry
def _parse(entries, ops, cursor, agents, is_last):
    """Parse accesses; return NO_MORE: none are left, FULL: no room for another, OTHER: at an entry that is no access."""
    row = cursor[0]
    at, end, filled = row.at, entries.size, row.filled
    reason = NO_MORE
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
        crosses = (address ^ (address + size - 1)) >> op.PAGE_SHIFT != 0
        if size < 1 or size > LONGEST or address < 0 or address > op.USER_END - size or count < 1 or (count > 1 and crosses):
            reason = OTHER
            break
        if kind == FETCH and not crosses:
            op.write(ops[filled], address, count, 0, op.FETCH, agent)
            filled += 1
        else:
            to = op.FETCH if kind == FETCH else (op.READ if kind == READ else op.WRITE)
            filled = op.write_access(ops, filled, address, size, to, agent)
        at = after
    row.at = at
    row.filled = filled
    return reason


@part
def _grown(entries, at, end, size):
    """Return (index of the entry after it, bytes) of an access that came in pieces."""
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
    """Return whether the same instruction then writes the bytes that it has read."""
    if after >= end or not _is_same(entries[after], first):
        return False
    return entries[after].kind == WRITE and entries[after].address == first.address and entries[after].number == size


@part
def _is_same(piece, first):
    """Return whether an entry is an access of the same instruction as the access before it."""
    return piece.marks & SAME != 0 and piece.thread == first.thread and piece.kind <= WRITE
