"""Fast scanning of the commonest lines of kernel events: a kernel takes them apart, other lines are handed out.

What it takes is a part of what `layouts.FULL` and the parsers of `lines` take, with the same result: a thread with a name, a CPU, a time,
and one of the commonest events, or one known to be of no use. At any doubt a line is handed out.
"""

import numpy as np

from hwmodel.jit import entry, part

NEWLINE, SPACE, HASH, OPEN, CLOSE, SLASH, MINUS, COLON, DOT, COMMA, EQUALS = 10, 32, 35, 91, 93, 47, 45, 58, 46, 44, 61
ROUND, ROUND_END, ZERO, UNDERSCORE, DELETE = 40, 41, 48, 95, 127
HANDED_OUT = NONE = -1
MOST_DIGITS, MOST_HEX, MOST_FLAGS = 18, 15, 9
NUMBERS, ROWS, NAMES, SLACK = 7, 1 << 12, 64, 64
"""Numbers of an event; events taken apart at once; events of no use known by name; zero bytes after the text."""

ROW = np.dtype((np.record, [
    ("line", "i8"), ("kind", "i8"),
    ("thread", "i8"), ("process", "i8"), ("cpu", "i8"),
    ("at", "i8"), ("end", "i8"),         # where the thread's name is; or the line, if it is handed out
    ("numbers", "i8", (NUMBERS,)),
]))  # fmt: skip
PLACE = np.dtype((np.record, [
    ("at", "i8"), ("end", "i8"),  # index of the next byte, and after the last newline
    ("line", "i8"), ("rows", "i8"),
    ("value", "i8"),              # the number read last
]))  # fmt: skip
ENTERS, LEAVES, USER, KERNEL, FLUSHES, UNMAPS, USELESS = range(7)
KNOWN = {"sys_enter": ENTERS, "sys_exit": LEAVES, "page_fault_user": USER, "page_fault_kernel": KERNEL, "tlb_flush": FLUSHES,
         "kvm_unmap_hva_range": UNMAPS}  # fmt: skip
LENGTHS = (7, 2, 3, 3, 2, 2)
"""Numbers of each of these."""
NR, ADDRESS, IP, CODE, PAGES, REASON, RANGE, DASHES = (
    np.frombuffer(text, np.uint8)
    for text in (b": NR ", b"address=", b" ip=", b" error_code=0x", b"pages", b" reason", b"mmu notifier unmap range: ", b" -- ")
)
FACTOR, BITS = 131, (1 << 55) - 1


def hash_of(name: str) -> int:
    """Return the number by which the kernel knows a name."""
    value = 0
    for byte in name.encode():
        value = (value * FACTOR + byte) & BITS
    return value


@entry
def scan(text, place, names, rows, longest):
    """Take lines apart from the place on, until no room is left or all is done; a line that is handed out is a row of kind HANDED_OUT.

    `names` has a row for each known name: its hash, its parser, how often it came.
    """
    p = place[0]
    while p.at < p.end and p.rows < rows.size:
        at = p.at
        end = at
        while text[end] != NEWLINE:
            end += 1
        row = rows[p.rows]
        parser = USELESS
        if text[at] == HASH:
            if text[at + 1] == SPACE and (text[at + 2] == 104 or text[at + 2] == 97 or text[at + 2] == 101):  # hwmodel, arch, entries
                parser = HANDED_OUT
        elif end - at > longest:
            parser = HANDED_OUT
        elif end > at:
            parser = _line(text, at, p, names, row)
        if parser == HANDED_OUT:
            row.at = at
            row.end = end
        p.at = end + 1
        p.line += 1
        if parser != USELESS:
            row.kind = parser
            row.line = p.line
            p.rows += 1


@part
def _line(text, at, p, names, row):
    """Take a line apart; return its parser's number, or HANDED_OUT."""
    at = _skip(text, at)
    first = at
    while text[at] != OPEN:
        if text[at] < SPACE or text[at] >= DELETE:
            return HANDED_OUT
        at += 1
    if not _who(text, first, at, p, row):
        return HANDED_OUT
    at = _digits(text, at + 1, p)
    row.cpu = p.value
    if at < 0 or text[at] != CLOSE or text[at + 1] != SPACE:
        return HANDED_OUT
    at = _time(text, _skip(text, at + 1))
    if at < 0:
        return HANDED_OUT
    at, name = _name(text, at)
    if name < 0:
        return HANDED_OUT
    found = -1
    for k in range(names.shape[0]):
        if names[k, 0] == name:
            found = k
            break
    if found < 0:
        return HANDED_OUT
    parser = names[found, 1]
    if parser == USELESS:
        names[found, 2] += 1
        return USELESS
    if text[at] != COLON or text[at + 1] != SPACE:
        return HANDED_OUT
    if parser == ENTERS:
        end = _enter(text, at, p, row.numbers)
    elif parser == LEAVES:
        end = _leave(text, at, p, row.numbers)
    elif parser == FLUSHES:
        end = _flush(text, _skip(text, at + 1), p, row.numbers)
    elif parser == UNMAPS:
        end = _range(text, _skip(text, at + 1), p, row.numbers)
    else:
        end = _fault(text, _skip(text, at + 1), p, row.numbers)
        row.numbers[2] = 1 if parser == USER else 0
    return parser if end >= 0 and (text[end] == NEWLINE or text[end] == SPACE) else HANDED_OUT


@part
def _who(text, first, opening, p, row):
    """Read the thread's name and number, and its process if there is one, which end before the CPU; return whether they are as usual."""
    at = opening - 1
    if at <= first or text[at] != SPACE:
        return False
    at = _back(text, at)
    row.process = -1
    grouped = text[at] == ROUND_END
    if grouped:
        at -= 1
        if text[at] == MINUS:
            while text[at] == MINUS:
                at -= 1
        else:
            at = _digits_before(text, at, first, p)
            if at < 0:
                return False
            row.process = p.value
        at = _back(text, at)
        if at <= first or text[at] != ROUND or text[at - 1] != SPACE:
            return False
        at = _back(text, at - 1)
    at = _digits_before(text, at, first, p)
    row.thread = p.value
    if at <= first:
        return False
    if text[at] == SLASH:
        at = _digits_before(text, at - 1, first, p)
        row.process = p.value
        if at <= first or grouped:
            return False
    if text[at] == SPACE:
        at = _back(text, at) + 1
    elif text[at] != MINUS:
        return False
    row.at = first
    row.end = at
    return at > first and text[at - 1] != MINUS and text[at - 1] != SPACE


@part
def _time(text, at):
    """Return the index after flags, if any, a time and blanks; -1 if they are not there, or the event does not begin with a name."""
    if not _is_digit(text[at]):
        begin = at
        while text[at] > SPACE and text[at] < DELETE:
            at += 1
        if at == begin or at - begin > MOST_FLAGS or text[at] != SPACE:
            return NONE
        at = _skip(text, at)
    if not _is_digit(text[at]):
        return NONE
    while _is_digit(text[at]):
        at += 1
    if text[at] == DOT:
        at += 1
        if not _is_digit(text[at]):
            return NONE
        while _is_digit(text[at]):
            at += 1
    if text[at] != COLON or text[at + 1] != SPACE:
        return NONE
    return _skip(text, at + 1)


@part
def _name(text, at):
    """Read the event's name, after its subsystem if there is one; return the index after it, and its hash or -1."""
    for _ in range(2):
        value = np.int64(0)
        begin = at
        while _is_word(text[at]):
            value = (value * FACTOR + text[at]) & BITS
            at += 1
        if at == begin or _is_digit(text[begin]) or text[at] == MINUS or text[at] >= DELETE:
            return at, np.int64(-1)
        if text[at] != COLON or not (_is_word(text[at + 1]) or text[at + 1] >= DELETE):
            return at, value
        at += 1
    return at, np.int64(-1)


@part
def _enter(text, at, p, numbers):
    at = _signed(text, _after(text, at, NR), p)
    if at < 0 or text[at] != SPACE or text[at + 1] != ROUND:
        return NONE
    numbers[0] = p.value
    at += 2
    for k in range(1, NUMBERS):
        at = _hexadecimal(text, at, p)
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
def _leave(text, at, p, numbers):
    at = _signed(text, _after(text, at, NR), p)
    if at < 0 or text[at] != SPACE or text[at + 1] != EQUALS or text[at + 2] != SPACE:
        return NONE
    numbers[0] = p.value
    at = _signed(text, at + 3, p)
    numbers[1] = p.value
    return at


@part
def _flush(text, at, p, numbers):
    at = _after(text, at, PAGES)
    if at < 0 or (text[at] != COLON and text[at] != EQUALS):
        return NONE
    at = _signed(text, at + 1, p)
    numbers[0] = p.value
    at = _after(text, at, REASON)
    if at < 0 or (text[at] != COLON and text[at] != EQUALS):
        return NONE
    while text[at] != ROUND:
        if text[at] == NEWLINE:
            return NONE
        at += 1
    at = _digits(text, at + 1, p)
    numbers[1] = p.value
    return at + 1 if at >= 0 and text[at] == ROUND_END else NONE


@part
def _range(text, at, p, numbers):
    at = _after(text, at, RANGE)
    at = _hexadecimal(text, _after_0x(text, at), p)
    numbers[0] = p.value
    at = _hexadecimal(text, _after_0x(text, _after(text, at, DASHES)), p)
    numbers[1] = p.value
    return at


@part
def _fault(text, at, p, numbers):
    at = _hexadecimal(text, _after_0x(text, _after(text, at, ADDRESS)), p)
    numbers[0] = p.value
    at = _after(text, at, IP)
    if at < 0:
        return NONE
    while text[at] > SPACE and text[at] < DELETE:
        at += 1
    at = _hexadecimal(text, _after(text, at, CODE), p)
    numbers[1] = p.value
    return at if p.value < 1 << 25 else NONE  # an architecture that has its own codes


@part
def _after(text, at, word):
    """Return the index after a word, -1 if it is not there."""
    if at < 0:
        return NONE
    for k in range(word.size):
        if text[at + k] != word[k]:
            return NONE
    return at + word.size


@part
def _after_0x(text, at):
    if at < 0:
        return NONE
    return at + 2 if text[at] == ZERO and text[at + 1] == 120 else at


@part
def _signed(text, at, p):
    """Read a decimal number that may be negative; return the index after it, -1 if there is none of a usual length."""
    if at < 0:
        return NONE
    minus = text[at] == MINUS
    at = _digits(text, at + 1 if minus else at, p)
    p.value = -p.value if minus else p.value
    return at


@part
def _digits(text, at, p):
    begin = at
    value = np.int64(0)
    while _is_digit(text[at]) and at - begin < MOST_DIGITS:
        value = value * 10 + (np.int64(text[at]) - ZERO)
        at += 1
    p.value = value
    return at if at > begin and not _is_digit(text[at]) else NONE


@part
def _digits_before(text, at, first, p):
    """Read the decimal number that ends at an index; return the index before it, -1 if there is none of a usual length."""
    end = at
    value, factor = np.int64(0), np.int64(1)
    while at > first and _is_digit(text[at]) and end - at < MOST_DIGITS:
        value += factor * (np.int64(text[at]) - ZERO)
        factor *= 10
        at -= 1
    p.value = value
    return at if at < end and not _is_digit(text[at]) else NONE


@part
def _hexadecimal(text, at, p):
    if at < 0:
        return NONE
    begin = at
    value = np.int64(0)
    while at - begin <= MOST_HEX:
        byte = np.int64(text[at])
        if byte >= ZERO and byte <= ZERO + 9:
            value = value << 4 | byte - ZERO
        elif byte >= 97 and byte <= 102:
            value = value << 4 | byte - 87
        else:
            break
        at += 1
    p.value = value
    return at if at > begin and at - begin <= MOST_HEX else NONE


@part
def _skip(text, at):
    while text[at] == SPACE:
        at += 1
    return at


@part
def _back(text, at):
    while text[at] == SPACE:
        at -= 1
    return at


@part
def _is_digit(byte):
    return byte >= ZERO and byte <= ZERO + 9


@part
def _is_word(byte):
    return (byte >= ZERO and byte <= ZERO + 9) or (byte >= 65 and byte <= 90) or byte == UNDERSCORE or (byte >= 97 and byte <= 122)
