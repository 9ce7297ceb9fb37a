"""The accesses of a valgrind lackey log."""

from hwmodel import op
from hwmodel.jit import entry, part
from workloads.formats.assembly import LONGEST, SPANS
from workloads.formats.digits import COMMA, NEWLINE, RETURN, SPACE
from workloads.formats.textbuffer import END, FULL, OTHER

ROOM = SPANS  # most records of a line
SUPERBLOCK = -2
"""In place of a kind: the line names a block of code that runs (`--trace-superblocks=yes`); its instructions follow."""


@entry
def parse(agent, text, digits, ops, cursor):
    """Parse access lines into READ, WRITE and FETCH records of count 1, as `textbuffer.Log` says."""
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
        if kind == SUPERBLOCK and at > first and text[at + (text[at] == RETURN)] == NEWLINE:
            begin = at + 1 + (text[at] == RETURN)
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
        whole = kind >= 0 and comma > first and text[at] == NEWLINE
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
