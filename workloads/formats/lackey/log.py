"""The lines of a valgrind lackey log: a kernel parses the accesses, other lines are handed out."""

from collections.abc import Iterator

import numpy as np

from hwmodel import op
from hwmodel.jit import entry, part
from workloads.formats.assembly import Batch
from workloads.formats.textbuffer import TextBuffer, shorten
from workloads.streams import Stream

BUFFER = 1 << 23  # bytes of text parsed at once
ROOM = 16  # most records of a line: the longest access spans fewer pages
LONGEST = (ROOM - 1) * op.PAGE
END, FULL, OTHER = 0, 1, 2
SUPERBLOCK = -2
"""In place of a kind: the line names a block of code that runs (`--trace-superblocks=yes`); its instructions follow."""
NEWLINE, RETURN, SPACE, COMMA = 10, 13, 32, 44
EXECVE = b"](59) "
DIGITS = np.full(256, -1, np.int64)
"""The value of each character as a hexadecimal digit, -1 for others."""
DIGITS[np.frombuffer(b"0123456789abcdef", np.uint8)] = np.arange(16)

CURSOR = np.dtype((np.record, [
    ("at", "i8"),      # index of the next byte
    ("end", "i8"),     # end of the text
    ("filled", "i8"),  # records in the batch
    ("line", "i8"),    # number of lines before `at`
]))  # fmt: skip


class Log(TextBuffer):
    """A log being parsed; its accesses become READ, WRITE and FETCH records of count 1 at the end of `batch`.

    Parameters
    ----------
    text, name
        As for `TextBuffer`.
    agent : int
        The agent of the records.
    batch : Batch
        The batch to append to.
    """

    def __init__(self, text: Stream, name: str, agent: int, batch: Batch) -> None:
        super().__init__(text, name, CURSOR, BUFFER)
        self._agent, self._batch = agent, batch

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
            reason = self._scan()
            self._batch.filled = int(self._row["filled"])
            line = self._next_line() if reason == OTHER else None
            if line is not None or reason == FULL:
                yield line
            else:
                more = self._refill()
        rest = self._rest()
        if rest and EXECVE in rest:  # the one call that does not return
            self._row["line"] += 1
            yield rest
        elif rest or self._stream.cut:
            self.cut = f"ends within line {self.line + 1}: {shorten(rest)}" if rest else f"ends behind line {self.line}"
        yield None

    def unread(self, line: bytes) -> None:
        """Push back the line handed out last, to be parsed after all."""
        self._row["at"], self._row["line"] = int(self._row["at"]) - len(line) - 1, self.line - 1

    def _scan(self) -> int:
        """Parse accesses; return END: no whole line is left, FULL: no room for another, OTHER: at a line that is no access."""
        return _parse(self._codes, DIGITS, self._batch.ops, self._cursor, self._agent)


@entry
def _parse(text, digits, ops, cursor, agent):
    """Parse access lines; return END: no whole line is left, FULL: no room for another, OTHER: at a line that is no access."""
    row = cursor[0]
    begin, end, filled, line = row.at, row.end, row.filled, row.line  # locals: 1.5 times as fast as the columns
    reason = END
    while begin < end:
        if filled + ROOM > ops.size:
            reason = FULL
            break
        kind = _kind(text, begin)
        first = at = begin + (2 if kind == op.FETCH and text[begin + 2] != SPACE else 3)
        address = 0
        digit = digits[text[at]]
        while digit >= 0 and at < first + 12:  # 12 digits hold every user address
            address = address << 4 | digit
            at += 1
            digit = digits[text[at]]
        if kind == SUPERBLOCK and at > first and at < end and (text[at] == NEWLINE or text[at] == RETURN):
            at += 1 if text[at] == RETURN else 0
            begin = at + 1
            line += 1
            continue
        length = 0
        comma = at
        if text[at] == COMMA:
            at += 1
            digit = digits[text[at]]
            while digit >= 0 and digit <= 9 and length < LONGEST:
                length = length * 10 + digit
                at += 1
                digit = digits[text[at]]
            if text[at] == RETURN:
                at += 1
        whole = kind >= 0 and comma > first and text[at] == NEWLINE and at < end
        if not whole or length < 1 or length > LONGEST or address > op.USER_END - length:
            reason = OTHER
            break
        filled = op.write_access(ops, filled, address, length, kind, agent)
        begin = at + 1
        line += 1
    row.at = begin
    row.filled = filled
    row.line = line
    return reason


@part
def _kind(text, at):
    """Return the kind of the access in the line at `at`, SUPERBLOCK, or -1; behind `I` courses print one space, valgrind two."""
    first, second, third = text[at], text[at + 1], text[at + 2]
    if first == 73 and second == SPACE:  # I
        return op.FETCH
    if first == 83 and second == 66 and third == SPACE:  # SB
        return SUPERBLOCK
    if first != SPACE or third != SPACE:
        return -1
    if second == 76:  # L
        return op.READ
    return op.WRITE if second == 83 or second == 77 else -1  # S, M
