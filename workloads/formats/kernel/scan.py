"""Fast scanning of the commonest lines of kernel events: a kernel takes them apart, other lines are handed out.

What it takes is a part of what `layouts.FULL` and the parsers of `lines` take, with the same result: a thread with a name, a CPU, a time,
and one of the commonest events, or one known to be of no use. At any doubt a line is handed out.
"""

import numpy as np

from hwmodel.jit import entry, part
from workloads.formats.digits import (
    MINUS,
    MOST_HEX,
    NONE,
    SPACE,
    WHOLE,
    after,
    after_0x,
    back,
    digits,
    digits_before,
    hexadecimal,
    is_digit,
    is_word,
    signed,
    skip,
)

NEWLINE, HASH, OPEN, CLOSE, SLASH, COLON, DOT, COMMA, EQUALS = 10, 35, 91, 93, 47, 58, 46, 44, 61
ROUND, ROUND_END, DELETE = 40, 41, 127
HANDED_OUT = -1
MOST_FLAGS = 9
NUMBERS, ROWS = 7, 1 << 11
"""Numbers of an event; events taken apart at once."""

ROW = np.dtype((np.record, [
    ("line", "i8"), ("kind", "i8"),
    ("slot", "i8"),                      # where NAMES have its event
    ("thread", "i8"), ("process", "i8"), ("cpu", "i8"),
    ("at", "i8"), ("end", "i8"),         # where the thread's name is; or the line, if it is handed out
    ("like", "i8"),                      # a row with the same thread, process and name
    ("count", "i8"), ("numbers", "i8", (NUMBERS,)),
]))  # fmt: skip
PLACE = np.dtype((np.record, [
    ("at", "i8"), ("end", "i8"),  # index of the next byte, and after the last newline
    ("line", "i8"), ("rows", "i8"),
    ("reached", "i8"),            # an index in the line, all before it is no newline
    ("value", "i8"),              # the number read last
]))  # fmt: skip
KNOWN = np.dtype((np.record, [
    ("hash", "i8"), ("parser", "i8"),
    ("call", "i8"), ("least", "i8"),  # number of a system call by name, and of the arguments that it needs
    ("seen", "i8"),                   # how often it came, if it is of no use
]))  # fmt: skip
"""An event by its name and the character after it, in a table with open addressing."""
SLOTS, EMPTY, MOST_LATEST = 1 << 12, -1, 256
ENTERS, LEAVES, USER, KERNEL, FLUSHES, UNMAPS, TOLD_ENTERS, TOLD_LEAVES, OWN_ENTERS, OWN_LEAVES, USELESS = range(11)
"""What takes an event apart: its name and a colon tell, of the last four a system call's name in tools' format and in ftrace's own."""
PARSED = {"sys_enter": ENTERS, "sys_exit": LEAVES, "page_fault_user": USER, "page_fault_kernel": KERNEL, "tlb_flush": FLUSHES,
          "kvm_unmap_hva_range": UNMAPS}  # fmt: skip
NR, ADDRESS, IP, CODE, PAGES, REASON, RANGE, DASHES, ARROW, NAMED = (
    np.frombuffer(text, np.uint8)
    for text in (b"NR ", b"address=", b" ip=", b" error_code=0x", b"pages", b" reason", b"mmu notifier unmap range: ", b" -- ", b" -> ",
                 b": ")
)  # fmt: skip
FACTOR, BITS = 131, (1 << 55) - 1


def hash_of(name: str) -> int:
    """Return the number by which the kernel knows a name and the character after it."""
    value = 0
    for byte in name.encode():
        value = (value * FACTOR + byte) & BITS
    return value


@entry
def scan(text, place, names, rows, latest, longest):
    """Take lines apart from the place on, until no room is left or all is done; a line that is handed out is a row of kind HANDED_OUT.

    `names` is a table of KNOWN. `latest` has a row for each of MOST_LATEST threads, the last that was like none before it.
    """
    p = place[0]
    while p.at < p.end and p.rows < rows.size:
        at = p.at
        p.reached = at
        row = rows[p.rows]
        parser = USELESS
        if text[at] == HASH:
            if text[at + 1] == SPACE and (text[at + 2] == 104 or text[at + 2] == 97 or text[at + 2] == 101):  # hwmodel, arch, entries
                parser = HANDED_OUT
        elif text[at] != NEWLINE:
            parser = _line(text, at, p, names, row)
        end = p.reached
        while text[end] != NEWLINE:
            end += 1
        if end - at > longest and text[at] != HASH:
            parser = HANDED_OUT
        if parser == HANDED_OUT:
            row.at = at
            row.end = end
        elif parser != USELESS:
            row.like = _like(text, p, rows, latest)
        p.at = end + 1
        p.line += 1
        if parser != USELESS:
            row.kind = parser
            row.line = p.line
            p.rows += 1


@part
def _like(text, p, rows, latest):
    """Return the number of a row with the thread, process and name of the next row; that row's own if none is known."""
    row = rows[p.rows]
    k = latest[row.thread & MOST_LATEST - 1]
    if k < p.rows:
        other = rows[k]
        same = other.kind != HANDED_OUT and other.thread == row.thread and other.process == row.process
        same = same and other.end - other.at == row.end - row.at
        for j in range(row.end - row.at if same else 0):
            same = same and text[other.at + j] == text[row.at + j]
        if same:
            return k
    latest[row.thread & MOST_LATEST - 1] = p.rows
    return p.rows


@part
def _line(text, at, p, names, row):
    """Take a line apart; return its parser's number, or HANDED_OUT."""
    at = skip(text, at)
    first = at
    while text[at] != OPEN:
        if text[at] < SPACE or text[at] >= DELETE:
            return HANDED_OUT
        at += 1
    if not _who(text, first, at, p, row):
        return HANDED_OUT
    at = digits(text, at + 1, p)
    row.cpu = p.value
    if at < 0 or text[at] != CLOSE or text[at + 1] != SPACE:
        return HANDED_OUT
    at = _time(text, skip(text, at + 1))
    if at < 0:
        return HANDED_OUT
    at, name = _name(text, at)
    p.reached = at
    if name < 0:
        return HANDED_OUT
    name = (name * FACTOR + text[at]) & BITS
    slot = name & SLOTS - 1
    while names[slot].hash != name:
        if names[slot].hash == EMPTY:
            return HANDED_OUT
        slot = (slot + 1) & SLOTS - 1
    row.slot = slot
    known = names[slot]
    if known.parser == USELESS:
        known.seen += 1
        return USELESS
    end = _numbers(text, at, p, known, row)
    if end < 0 or (text[end] != NEWLINE and text[end] != SPACE):
        return HANDED_OUT
    p.reached = end
    return known.parser


@part
def _numbers(text, at, p, known, row):
    """Read an event's numbers, from the character after its name on; return the index after them."""
    parser = known.parser
    if parser == OWN_ENTERS:
        return _call(text, at + 1, True, p, known, row)
    if parser == OWN_LEAVES:
        return _result(text, after(text, at, ARROW), p, known, row)
    if text[at + 1] != SPACE:
        return NONE
    row.count = 2
    if parser == LEAVES:
        return _leave(text, at, p, row.numbers)
    if parser == ENTERS:
        row.count = NUMBERS
        return _enter(text, at, p, row.numbers)
    at = skip(text, at + 1)
    if parser == TOLD_ENTERS:
        return _call(text, at, False, p, known, row)
    if parser == TOLD_LEAVES:
        return _result(text, at, p, known, row)
    if parser == FLUSHES:
        return _flush(text, at, p, row.numbers)
    if parser == UNMAPS:
        return _range(text, at, p, row.numbers)
    row.count = 3
    row.numbers[2] = 1 if parser == USER else 0
    return _fault(text, at, p, row.numbers)


@part
def _who(text, first, opening, p, row):
    """Read the thread's name and number, and its process if there is one, which end before the CPU; return whether they are as usual."""
    at = opening - 1
    if at <= first or text[at] != SPACE:
        return False
    at = back(text, at)
    row.process = -1
    grouped = text[at] == ROUND_END
    if grouped:
        at -= 1
        if text[at] == MINUS:
            while text[at] == MINUS:
                at -= 1
        else:
            at = digits_before(text, at, first, p)
            if at < 0:
                return False
            row.process = p.value
        at = back(text, at)
        if at <= first or text[at] != ROUND or text[at - 1] != SPACE:
            return False
        at = back(text, at - 1)
    at = digits_before(text, at, first, p)
    row.thread = p.value
    if at <= first:
        return False
    if text[at] == SLASH:
        at = digits_before(text, at - 1, first, p)
        row.process = p.value
        if at <= first or grouped:
            return False
    if text[at] == SPACE:
        at = back(text, at) + 1
    elif text[at] != MINUS:
        return False
    row.at = first
    row.end = at
    return at > first and text[at - 1] != MINUS and text[at - 1] != SPACE


@part
def _time(text, at):
    """Return the index after flags, if any, a time and blanks; -1 if they are not there, or the event does not begin with a name."""
    if not is_digit(text[at]):
        begin = at
        while text[at] > SPACE and text[at] < DELETE:
            at += 1
        if at == begin or at - begin > MOST_FLAGS or text[at] != SPACE:
            return NONE
        at = skip(text, at)
    if not is_digit(text[at]):
        return NONE
    while is_digit(text[at]):
        at += 1
    if text[at] == DOT:
        at += 1
        if not is_digit(text[at]):
            return NONE
        while is_digit(text[at]):
            at += 1
    if text[at] != COLON or text[at + 1] != SPACE:
        return NONE
    return skip(text, at + 1)


@part
def _name(text, at):
    """Read the event's name, after its subsystem if there is one; return the index after it, and its hash or -1."""
    for _ in range(2):
        value = np.int64(0)
        begin = at
        while is_word(text[at]):
            value = (value * FACTOR + text[at]) & BITS
            at += 1
        if at == begin or is_digit(text[begin]) or text[at] == MINUS or text[at] >= DELETE:
            return at, np.int64(-1)
        if text[at] != COLON or not (is_word(text[at + 1]) or text[at + 1] >= DELETE):
            return at, value
        at += 1
    return at, np.int64(-1)


@part
def _number(text, at, p):
    """Read a call's number, before which trace-cmd has more blanks."""
    at = after(text, at, NAMED)
    return signed(text, after(text, skip(text, at), NR), p) if at >= 0 else NONE


@part
def _enter(text, at, p, numbers):
    at = _number(text, at, p)
    if at < 0 or text[at] != SPACE or text[at + 1] != ROUND:
        return NONE
    numbers[0] = p.value
    at += 2
    for k in range(1, NUMBERS):
        at = hexadecimal(text, at, p, WHOLE)
        if at < 0 or text[at] != (COMMA if k < NUMBERS - 1 else ROUND_END):
            return NONE
        numbers[k] = p.value
        at += 1
        if k < NUMBERS - 1:
            if text[at] != SPACE:
                return NONE
            at += 1
    return at


@part
def _call(text, at, is_own, p, known, row):
    """Read the named arguments of a call that its event names, to the end of the line."""
    row.numbers[0] = known.call
    row.count = 1
    while is_word(text[at]) and row.count < NUMBERS:
        while is_word(text[at]):
            at += 1
        at = hexadecimal(text, after_0x(text, after(text, at, NAMED)), p, WHOLE)
        if at < 0:
            return NONE
        row.numbers[row.count] = p.value
        row.count += 1
        if text[at] != COMMA or text[at + 1] != SPACE or not is_word(text[at + 2]):
            break
        at += 2
    if is_own:
        if text[at] != ROUND_END:
            return NONE
        at += 1
    at = skip(text, at)
    return at if text[at] == NEWLINE and row.count > known.least else NONE


@part
def _result(text, at, p, known, row):
    """Read the result of a call that its event names."""
    row.numbers[0] = known.call
    row.count = 2
    at = hexadecimal(text, after_0x(text, at), p, WHOLE)
    row.numbers[1] = p.value
    return at


@part
def _leave(text, at, p, numbers):
    at = _number(text, at, p)
    if at < 0 or text[at] != SPACE or text[at + 1] != EQUALS or text[at + 2] != SPACE:
        return NONE
    numbers[0] = p.value
    at = signed(text, at + 3, p)
    numbers[1] = p.value
    return at


@part
def _flush(text, at, p, numbers):
    at = after(text, at, PAGES)
    if at < 0 or (text[at] != COLON and text[at] != EQUALS):
        return NONE
    at = signed(text, at + 1, p)
    numbers[0] = p.value
    at = after(text, at, REASON)
    if at < 0 or (text[at] != COLON and text[at] != EQUALS):
        return NONE
    while text[at] != ROUND:
        if text[at] == NEWLINE:
            return NONE
        at += 1
    at = digits(text, at + 1, p)
    numbers[1] = p.value
    return at + 1 if at >= 0 and text[at] == ROUND_END else NONE


@part
def _range(text, at, p, numbers):
    at = after(text, at, RANGE)
    at = hexadecimal(text, after_0x(text, at), p, MOST_HEX)
    numbers[0] = p.value
    at = hexadecimal(text, after_0x(text, after(text, at, DASHES)), p, MOST_HEX)
    numbers[1] = p.value
    return at


@part
def _fault(text, at, p, numbers):
    at = hexadecimal(text, after_0x(text, after(text, at, ADDRESS)), p, MOST_HEX)
    numbers[0] = p.value
    at = after(text, at, IP)
    if at < 0:
        return NONE
    while text[at] > SPACE and text[at] < DELETE:
        at += 1
    at = hexadecimal(text, after(text, at, CODE), p, MOST_HEX)
    numbers[1] = p.value
    return at if p.value < 1 << 25 else NONE  # an architecture that has its own codes
