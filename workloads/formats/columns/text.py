"""CSV: lines of numbers and words, parsed by a kernel.

Fields are separated by commas; blanks around a field, and double quotes around one without commas, are skipped. Numbers are decimal or
0x and hexadecimal. Lines without a field are skipped. A line without its newline is incomplete.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from hwmodel import op
from hwmodel.jit import entry, part
from workloads.formats.columns.rows import WORDS, Block, empty_values
from workloads.formats.digits import is_digit
from workloads.formats.textbuffer import TextBuffer, shorten
from workloads.streams import Stream

BUFFER = 1 << 20
BOM = b"\xef\xbb\xbf"
NEWLINE, COMMA, QUOTE, SPACE, TAB, RETURN, MINUS, ZERO, LOWER_X = 10, 44, 34, 32, 9, 13, 45, 48, 120
LETTERS = 12  # most letters of a word: five bits each
END, FULL, BAD_FIELD, FEW, MANY = 0, 1, 2, 3, 4
IGNORED, NO_WORD = -1, -1
DECIMAL, HEXADECIMAL = 10, 16
LARGEST = (1 << 63) - 1
SAFE = (1 << 58) - 1  # numbers up to this can take another digit: dividing at each digit would take half the time

CURSOR = np.dtype((np.record, [
    ("at", "i8"),      # index of the next byte
    ("end", "i8"),     # index after the last newline
    ("line", "i8"),    # lines so far
    ("rows", "i8"),    # rows parsed into the values
    ("field", "i8"),   # the invalid field
]))  # fmt: skip


def word_codes(words: Mapping[str, int]) -> np.ndarray:
    """Return int64[n, 2]: code and number of each word, for the kernel."""
    return np.array([[_code(word), number] for word, number in words.items()], np.int64).reshape(-1, 2)


def _code(word: str) -> int:
    code = 0
    for letter in word:
        code = code << 5 | ("_+".index(letter) + 27 if letter in "_+" else ord(letter) - 96)
    return code


class Lines(TextBuffer):
    """The lines of a stream: first single ones, then rows of fields."""

    def __init__(self, stream: Stream, name: str) -> None:
        super().__init__(stream, name, np.zeros(1, CURSOR), BUFFER)

    def next(self) -> str | None:
        """Return the next line without its end, or None if there is no complete one."""
        while (line := self.next_line()) is None:
            if not self.refill():
                self._say_cut()
                return None
        return (line.removeprefix(BOM) if self.line == 1 else line).decode("utf-8", "replace").rstrip("\r")

    def blocks(self, names: Sequence[str], plan: Sequence[int], bases: Sequence[int] = ()) -> Iterator[Block]:
        """Yield the rows of a table; the parameters are those of `rows`."""
        values = empty_values()
        numbers = values[0].copy()
        for rows in self.rows(names, plan, WORDS, values, numbers, bases):
            yield Block(values, rows, lines=numbers)

    def rows(
        self,
        names: Sequence[str],
        plan: Sequence[int],
        words: Mapping[int, Mapping[str, int]],
        values: np.ndarray,
        lines: np.ndarray,
        bases: Sequence[int] = (),
    ) -> Iterator[int]:
        """Parse rows into `values` and their line numbers into `lines`; yield the number of rows when these are full, and at the end.

        Parameters
        ----------
        names : sequence of str
            Names of the columns, for error messages.
        plan : sequence of int
            The row of `values` for each field, -1 for ignored fields.
        words : mapping
            The words that may stand for numbers, by row of `values`.
        values, lines : int64[n, rows], int64[rows]
            Overwritten each time.
        bases : sequence of int, optional
            The base of each field's numbers without 0x; by default decimal.

        Raises
        ------
        TraceError
            At a garbled line; names the line and the column.
        """
        targets, tables = np.array(plan, np.int64), np.zeros((values.shape[0], 2), np.int64)
        bases = np.array(bases or [DECIMAL] * len(plan), np.int64)
        codes = np.concatenate([np.empty((0, 2), np.int64), *(word_codes(words[key]) for key in words)])
        at = 0
        for key, table in words.items():
            tables[key] = (at, at + len(table))
            at += len(table)
        more = True
        while more:
            reason = _parse(self.codes, self._cursor, targets, bases, tables, codes, values, lines)
            if reason > FULL:
                self._refuse(reason, names)
            if reason == FULL or not (more := self.refill()):
                yield int(self._row["rows"])
                self._row["rows"] = 0
        self._say_cut()

    def _refuse(self, reason: int, names: Sequence[str]) -> None:
        at, field = int(self._row["at"]), int(self._row["field"])
        text = bytes(self._bytes[at : self._bytes.find(b"\n", at)]).decode("utf-8", "replace").rstrip("\r")
        where = f"{self._name}: line {self.line + 1}"
        if reason == BAD_FIELD:
            fields = text.split(",")
            shown = fields[field].strip() if field < len(fields) else ""
            raise op.TraceError(f"{where}, column {names[field]!r}: {shorten(shown)} makes no sense")
        raise op.TraceError(f"{where} has {'fewer' if reason == FEW else 'more'} than {len(names)} fields: {shorten(text)}")

    def _say_cut(self) -> None:
        rest = self.rest()
        if rest.strip():
            self.cut = f"line {self.line + 1} has no end: {shorten(rest)}"
        elif self._stream.cut:
            self.cut = f"ends behind line {self.line}"


@entry
def _parse(text, cursor, targets, bases, tables, codes, values, lines):
    """Parse complete lines; return END: none is left, FULL: no room, or the error in the line at the cursor."""
    row = cursor[0]
    begin, end, line, rows = row.at, row.end, row.line, row.rows
    reason = END
    while begin < end:
        if rows == lines.size:
            reason = FULL
            break
        at = _skip(text, begin)
        if text[at] != NEWLINE:
            reason, row.field, at = _line(text, at, targets, bases, tables, codes, values, rows)
            if reason != END:
                break
            lines[rows] = line + 1
            rows += 1
        begin = at + 1
        line += 1
    row.at = begin
    row.line = line
    row.rows = rows
    return reason


@part
def _line(text, at, targets, bases, tables, codes, values, row):
    """Parse the fields of a line; return (END or the error, the field where it occurred, the end of the line)."""
    field, more = 0, True
    while more:
        if field == targets.size:
            return MANY, field, at
        target = targets[field]
        if target == IGNORED:
            at = _ignore(text, at)
        else:
            at, good, value = _field(text, at, bases[field], tables[target, 0], tables[target, 1], codes)
            if not good:
                return BAD_FIELD, field, at
            values[target, row] = value
        more = text[at] == COMMA
        at += 1
        field += 1
    return (END if field == targets.size else FEW), field, at - 1


@part
def _skip(text, at):
    """Return the index of the first byte from `at` on that is no blank."""
    while text[at] == SPACE or text[at] == TAB or text[at] == RETURN:
        at += 1
    return at


@part
def _ignore(text, at):
    """Return the end of an ignored field; commas within double quotes do not end it."""
    quoted = False
    while text[at] != NEWLINE and (quoted or text[at] != COMMA):
        if text[at] == QUOTE:
            quoted = not quoted
        at += 1
    return at


@part
def _field(text, at, base, first, last, codes):
    """Parse a number, or one of the words codes[first:last]; return (end of the field, whether it is valid, its value)."""
    at = _skip(text, at)
    quoted = text[at] == QUOTE
    if quoted:
        at += 1
    if first < last and not is_digit(text[at]):
        at, value = _word(text, at, first, last, codes)
        good = value != NO_WORD
    else:
        at, good, value = _number(text, at, base)
    if quoted:
        good = good and text[at] == QUOTE
        at += 1 if good else 0
    at = _skip(text, at)
    return at, good and (text[at] == COMMA or text[at] == NEWLINE), value


@part
def _number(text, at, base):
    """Parse a number, of base 16 behind 0x; return (index after it, whether it is a valid number of 64 bits, its value)."""
    minus = text[at] == MINUS
    if minus:
        at += 1
    if text[at] == ZERO and text[at + 1] | 32 == LOWER_X:
        base = np.int64(HEXADECIMAL)
        at += 2
    value, good = np.int64(0), False
    while True:
        digit = _digit(text[at])
        if digit < 0 or digit >= base:
            break
        if value > SAFE and value > (LARGEST - digit) // base:
            return at, False, value
        value = value * base + digit
        good = True
        at += 1
    return at, good, (-value if minus else value)


@part
def _digit(byte):
    """Return the value of a decimal or hexadecimal digit, or -1."""
    digit = np.int64(byte) - ZERO
    if digit >= 0 and digit <= 9:
        return digit
    letter = (np.int64(byte) | 32) - 97
    return letter + 10 if letter >= 0 and letter <= 5 and byte > 57 else np.int64(-1)


@part
def _word(text, at, first, last, codes):
    """Parse a word; return (index after it, its number or NO_WORD)."""
    code, letters = np.int64(0), 0
    while True:
        byte = np.int64(text[at])
        letter = (byte | 32) - 96 if byte >= 65 and (byte | 32) <= 122 and (byte | 32) >= 97 else np.int64(0)
        if byte == 95:
            letter = np.int64(27)
        elif byte == 43:
            letter = np.int64(28)
        if letter == 0:
            break
        if letters == LETTERS:
            return at, np.int64(NO_WORD)
        code = code << 5 | letter
        letters += 1
        at += 1
    for k in range(first, last):
        if codes[k, 0] == code:
            return at, codes[k, 1]
    return at, np.int64(NO_WORD)
