"""Reader of the text of QEMU's execlog plugin: a line for each instruction of each virtual CPU, with its loads and stores.

A line is ``cpu, 0xpc, 0xopcode, "text"``, then any number of ``, load, 0xaddress`` and ``, store, 0xaddress``, then perhaps
registers that changed (``, name -> 0xvalue``), which are skipped. Sources: QEMU's contrib/plugins/execlog.c, and the output of
version 7.2.

Limits of the format: the opcode is the first four bytes whatever the length, and accesses have no size, so
no fetch or access crosses a page here, and an access of 16 bytes, which QEMU does as two, counts as two. A load and a store
of one address by one instruction are one write, as x86 faults them. The text has no system calls: nothing is mapped or unmapped,
and all used memory exists from the beginning. A line is printed when its CPU executes the next one: CPUs may be
one instruction out of order. The virtual CPUs are the agents, in one address space. With a whole system the plugin prints
physical addresses of data, with the name of a device, beside virtual ones of code: such a log is refused.
"""

import functools
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from hwmodel import op
from hwmodel.jit import entry, part
from hwmodel.trace import Trace
from workloads.formats import passes
from workloads.formats.assembly import Assembly
from workloads.formats.digits import COMMA, NEWLINE, RETURN, SPACE, ZERO
from workloads.formats.textbuffer import END, FULL, OTHER, Log, shorten
from workloads.streams import Source

NAME = "execlog"
START = re.compile(rb'(\d{1,4}), 0x[0-9a-f]{1,16}, 0x[0-9a-f]{1,8}, "')
DEVICE = re.compile(rb', (?:load|store), 0x[0-9a-f]+, (?!load, |store, |[^,]* -> )')
CPUS = 10_000  # virtual CPUs have at most four digits
QUOTE, LETTER_X, BIGGER = 34, 120, 62
LOAD, STORE = np.frombuffer(b"load", np.uint8), np.frombuffer(b"store", np.uint8)
BAD = -1


def recognises(head: bytes) -> bool:
    """Return whether text that begins with `head` is execlog's."""
    lines = [line for line in head.splitlines() if line.strip()]
    return bool(lines) and START.match(lines[0]) is not None


def resembles(line: bytes) -> bool:
    """Return whether a line might be of such a log."""
    return START.match(line) is not None


def read(source: Source, events: bool = True) -> Trace:
    """Open the text of a program in QEMU's user mode, as `workloads.formats` says; pages fault at first use, or, without `events`, not."""
    return passes.two_passes(source, functools.partial(_Run, source, events))


class _Run:
    """One pass over the text."""

    def __init__(self, source: Source, events: bool, watch: bool) -> None:
        self._source = source
        self._run = Assembly(source.name, NAME, events, watch)
        self._agents = np.full(CPUS, -1, np.int64)
        self._lines = 0
        self.agents, self.cut = self._run.agents, list[str]()

    def chunks(self) -> Iterator[np.ndarray]:
        with self._source.open() as text:
            log = Log(text, self._source.name, self._run.batch, functools.partial(_lines, self._agents))
            for line in log.stops():
                if line is None:
                    yield from self._run.flush()
                elif self._admit(line):
                    log.unread(line)
                elif line.strip():
                    self._refuse(line, log.line)
            self._lines = log.line
            self.cut += [log.cut] if log.cut else []
        if not self.agents:  # no complete line
            self._run.process("cpu 0")
        yield from self._run.finish()

    def finish(self) -> tuple[np.ndarray, dict[str, Any]]:
        return self._run.prelude(), {**self._run.about(), "lines": self._lines}

    def _admit(self, line: bytes) -> bool:
        """Make the CPU of a line an agent; return False if it is one already, or the line is garbled."""
        start = START.match(line)
        if start is None or self._agents[int(start[1])] >= 0:
            return False
        title = f"cpu {int(start[1])}"
        self._agents[int(start[1])] = self._run.thread(0, title) if self.agents else self._run.process(title)
        return True

    def _refuse(self, line: bytes, number: int) -> None:
        if DEVICE.search(line):
            what = "is of a whole system: it has physical addresses of data and virtual ones of code"
            raise op.TraceError(f"{self._source.name}: line {number} {what}")
        raise op.TraceError(f"{self._source.name}: line {number} is garbled: {shorten(line)}")


@entry
def _lines(agents, text, digits, ops, cursor):
    """Parse lines, as `textbuffer.Log` says; OTHER: at a line that is garbled, or of a CPU that is not known yet."""
    row = cursor[0]
    begin, end, filled, line = row.at, row.end, row.filled, row.line
    reason = END
    while begin < end:
        at, cpu = _number(text, digits, begin, 10, 4)
        at, address = _field(text, digits, at, 16)
        at, _ = _field(text, digits, at, 8)
        at = _quoted(text, at)
        agent = agents[cpu] if at != BAD else -1
        if agent < 0 or address < 0 or address >= op.USER_END:
            reason = OTHER
            break
        at, after = _uses(text, digits, ops, at, filled, address, agent)
        if after > ops.size:
            reason = FULL
            break
        if at == BAD:
            reason = OTHER
            break
        filled = after
        begin = at + 1
        line += 1
    row.at = begin
    row.filled = filled
    row.line = line
    return reason


@part
def _uses(text, digits, ops, at, filled, address, agent):
    """Append the fetch and the accesses of a line; return (its end or BAD, records filled, which exceeds the room if they do not fit)."""
    first = filled
    if filled < ops.size:
        op.write(ops[filled], address, 1, 0, op.FETCH, agent)
    filled += 1
    while text[at] == COMMA and filled <= ops.size:
        kind = op.READ if _is(text, at + 2, LOAD) else op.WRITE
        behind = at + 2 + (LOAD.size if kind == op.READ else STORE.size)
        if kind == op.WRITE and not _is(text, at + 2, STORE):
            at = _register(text, at + 1)
        elif text[at + 1] == SPACE:
            at, used = _field(text, digits, behind, 16)
            if at == BAD or used < 0 or used >= op.USER_END:
                return BAD, filled
            if kind == op.WRITE and filled > first + 1 and ops[filled - 1].kind == op.READ and ops[filled - 1].address == used:
                ops[filled - 1].kind = op.WRITE
            else:
                if filled < ops.size:
                    op.write(ops[filled], used, 1, 0, kind, agent)
                filled += 1
        else:
            return BAD, filled
        if at == BAD:
            return BAD, filled
    if text[at] == RETURN:
        at += 1
    return (at if text[at] == NEWLINE or filled > ops.size else BAD), filled


@part
def _number(text, digits, at, base, most):
    """Parse the number at `at`; return (its end or BAD, the number)."""
    start, value = at, np.int64(0)
    digit = digits[text[at]]
    while digit >= 0 and digit < base and at - start < most:
        value = value * base + digit
        at += 1
        digit = digits[text[at]]
    whole = at > start and not (digit >= 0 and digit < base)
    return (at if whole else BAD), (value if whole else 0)


@part
def _field(text, digits, at, most):
    """Parse a comma, a blank and a hexadecimal number; return (its end or BAD, the number)."""
    if at == BAD or text[at] != COMMA or text[at + 1] != SPACE or text[at + 2] != ZERO or text[at + 3] != LETTER_X:
        return BAD, np.int64(-1)
    return _number(text, digits, at + 4, 16, most)


@part
def _quoted(text, at):
    """Return the end of a comma, a blank and a quoted text, or BAD."""
    if at == BAD or text[at] != COMMA or text[at + 1] != SPACE or text[at + 2] != QUOTE:
        return BAD
    at += 3
    while text[at] != QUOTE and text[at] != NEWLINE and text[at] != 0:
        at += 1
    return at + 1 if text[at] == QUOTE else BAD


@part
def _register(text, at):
    """Return the end of `` name -> value``, or BAD."""
    arrow = False
    while text[at] != COMMA and text[at] != NEWLINE and text[at] != RETURN and text[at] != 0:
        arrow = arrow or text[at] == BIGGER
        at += 1
    return at if arrow else BAD


@part
def _is(text, at, word):
    """Return whether a word is at `at`."""
    for i in range(word.size):
        if text[at + i] != word[i]:
            return False
    return text[at + word.size] == COMMA
