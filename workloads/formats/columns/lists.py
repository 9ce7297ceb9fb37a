"""Reader of lists of addresses: text without a line of names, whose columns the caller names (din, pinatrace, R/W lists, courses' CSVs).

A line is an access. Fields are separated by commas, semicolons, colons or blanks, as many as there are; what the columns mean is in
`rows.py`. Lines that are empty or begin with `#` are left out, and so is a first line whose address is no number: it
names the columns in words of its own.
"""

import functools
import re
from collections.abc import Iterator, Sequence

import numpy as np

from hwmodel.op import TraceError
from hwmodel.trace import Trace
from workloads.formats import passes
from workloads.formats.columns.rows import ADDRESS, KIND, WORDS, Block, RowsPass, Table, columns_of
from workloads.formats.columns.text import BUFFER, DECIMAL, HEXADECIMAL, Lines
from workloads.streams import PIECE, Source, Stream

NAME = "list"
LEFT_OUT = "-"
"""In place of a column's name: a field that means nothing here."""
BASES = {"": DECIMAL, "hex": HEXADECIMAL}
"""How a column's numbers are written, by what follows its name and a colon: decimal or with 0x, or hexadecimal in any case."""
NUMBERS = {DECIMAL: re.compile(rb"-?(\d+|0[xX][0-9a-fA-F]+)"), HEXADECIMAL: re.compile(rb"-?(0[xX])?[0-9a-fA-F]+")}
COMMENT = re.compile(rb"(?m)^[ \t]*#[^\n]*")
SEPARATORS = re.compile(rb"[ \t\r:;,]+")


def read(source: Source, events: bool, columns: Sequence[str]) -> Trace:
    """Open a list whose fields are `columns`, in order: their names, `-` for a field to leave out, `name:hex` for hexadecimal without 0x.

    Raises TraceError for an unknown name and for a line that makes no sense.
    """
    plan(columns, source.name)
    return passes.two_passes(source, functools.partial(RowsPass, source, functools.partial(ListTable, source, columns), NAME, events))


def plan(columns: Sequence[str], name: str) -> tuple[list[str], list[int], list[int]]:
    """Return the columns' names, what they mean (-1: nothing), and the base of their numbers."""
    names, bases = [], []
    for text in columns:
        column, _, base = text.partition(":")
        if base not in BASES:
            raise TraceError(f"{name}: column {text!r}: behind the colon there is nothing but hex")
        names.append(column)
        bases.append(BASES[base])
    return names, columns_of(names, [LEFT_OUT], name), bases


class ListTable(Table):
    """The rows of a list."""

    def __init__(self, source: Source, columns: Sequence[str]) -> None:
        super().__init__(source)
        self.columns, self._plan, self._bases = plan(columns, source.name)

    def blocks(self) -> Iterator[Block]:
        """Yield the rows."""
        with self._source.open() as stream:
            lines = Lines(_Fields(stream), self._source.name)  # type: ignore[arg-type]
            place = self._plan.index(ADDRESS)
            for _ in range(names_until(self._source.head(), place, NUMBERS[self._bases[place]])):
                lines.next()
            yield from lines.blocks(self.columns, self._plan, self._bases)
            self.cut = lines.cut


def names_until(head: bytes, place: int, numbers: re.Pattern[bytes]) -> int:
    """Return how many lines end with one that names the columns, since its field at `place` is no number; 0: there is none."""
    for number, line in enumerate(_separated(head).split(b"\n")[:-1], 1):
        if line:
            fields = line.split(b",")
            return number if place < len(fields) and not numbers.fullmatch(fields[place].strip(b'"')) and not _has_digit(fields) else 0
    return 0


def _has_digit(fields: Sequence[bytes]) -> bool:
    return any(field.strip(b'"')[:1].isdigit() for field in fields)


def _separated(lines: bytes) -> bytes:
    """Return lines with a comma between their fields, and no comments."""
    text = SEPARATORS.sub(b",", COMMENT.sub(b"", b"\n" + lines))
    return text.replace(b",\n", b"\n").replace(b"\n,", b"\n")[1:]


class _Fields:
    """A stream of text with a comma between the fields of each line, as a TextBuffer reads it."""

    def __init__(self, stream: Stream) -> None:
        self._stream, self._part, self._left = stream, b"", memoryview(b"")

    @property
    def cut(self) -> bool:
        """Return whether the text ends early."""
        return self._stream.cut

    def readinto(self, view: memoryview) -> int:
        """Fill `view` as far as there is text; return the number of bytes, 0 at the end."""
        while not self._left:
            piece = self._stream.read(PIECE)
            text = self._part + piece
            end = len(text) if not piece or len(text) > BUFFER else text.rfind(b"\n") + 1
            self._part = text[end:]
            self._left = memoryview(_separated(text[:end]))
            if not piece and not self._left:
                return 0
        size = min(len(self._left), len(view))
        view[:size] = self._left[:size]
        self._left = self._left[size:]
        return size


def example(head: bytes) -> str | None:
    """Return names of columns that the beginning of a text may have, or None if it is no list of addresses.

    They are an example for a message: only whoever made the list knows.
    """
    lines = [line.split(b",") for line in _separated(head).split(b"\n")[:-1] if line][:100]
    if lines and not _has_digit(lines[0]) and not any(_looks(field) in "wx" for field in lines[0] if _looks(field)):
        lines = lines[1:]  # it names the columns
    if not lines or len({len(line) for line in lines}) > 1 or len(lines[0]) > 8:
        return None
    kinds = [np.array([_looks(line[k]) for line in lines]) for k in range(len(lines[0]))]
    word = next((k for k, found in enumerate(kinds) if (found == "w").all()), None)
    long = [sum(len(line[k]) for line in lines) if (found != "w").all() and (found != "").all() else 0 for k, found in enumerate(kinds)]
    if not any(long):
        return None
    address = max(range(len(long)), key=lambda k: long[k])
    label = next((k for k in range(len(kinds)) if k != address and all(line[k] in (b"0", b"1", b"2") for line in lines)), None)
    names = [LEFT_OUT] * len(kinds)
    names[address] = "address:hex" if any(found[address] == "x" for found in zip(*kinds, strict=True)) else "address"
    if (kind := word if word is not None else label) is not None:
        names[kind] = "kind"
    return ",".join(names)


def _looks(field: bytes) -> str:
    """Return n: a number as we read them, x: one if hexadecimal, w: the word of a kind, or nothing."""
    text = field.strip(b'"').lower()
    if text.decode("ascii", "replace") in WORDS[KIND]:
        return "w"
    if re.fullmatch(rb"-?(\d+|0x[0-9a-f]+)", text):
        return "n"
    return "x" if re.fullmatch(rb"[0-9a-f]+", text) else ""
