"""Conversion of rows of named columns into records: a row is one access, or a number of instructions or system calls.

Columns: `address`, `kind`, `size` (bytes), `count`, `gap`, `thread`, `space`, `role`; only `address` is required. A row's agent
is its thread of its space; agents are numbered as they first appear.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hwmodel import op
from hwmodel.jit import entry, part
from workloads.formats.assembly import LONGEST, SPANS, Assembly
from workloads.formats.textbuffer import shorten
from workloads.streams import Source

ADDRESS, KIND, SIZE, COUNT, GAP, THREAD, SPACE, ROLE = range(8)
COLUMNS = ("address", "kind", "size", "count", "gap", "thread", "space", "role")
SYNONYMS = {
    "tid": "thread", "agent": "thread", "pid": "space", "asid": "space",
    "addr": "address", "vaddr": "address", "type": "kind", "op": "kind", "rw": "kind",
}  # fmt: skip
DEFAULTS = (0, op.READ, 1, 1, 0, 0, 0, 0)
KINDS = {
    "r": op.READ, "read": op.READ, "load": op.READ, "w": op.WRITE, "write": op.WRITE, "store": op.WRITE,
    "i": op.FETCH, "x": op.FETCH, "fetch": op.FETCH, "ifetch": op.FETCH,
    "compute": op.COMPUTE, "syscall": op.SYSCALL, "sync": op.SYNC,
}  # fmt: skip
"""Allowed words in `kind`, in upper or lower case; the number of one of these is allowed too."""
ROLES = {"cpu": 0, "device": 1}
WORDS = {KIND: KINDS, ROLE: ROLES}
UNKNOWN = -1
ROOM = SPANS + 2  # most records of a row
MOST_GAP = (1 << 15) - 1
MOST = (1 << 31) - 1
BLOCK = 1 << 15

DONE, FULL, NEW = 0, 1, 2
BAD = 8
"""Reasons from this number on are 8 plus the number of the wrong column."""
CROSSING = BAD + 8

STATE = np.dtype((np.record, [
    ("at", "i8"),        # index of the next row
    ("filled", "i8"),    # number of records in the batch
    ("agents", "i8"),    # number of known agents
    ("agent", "i8"),     # agent of the latest row
    ("calls", "i8"),     # number of system calls so far
]))  # fmt: skip
KNOWN = np.dtype((np.record, [("thread", "i8"), ("place", "i8"), ("role", "i8")]))
"""The identity of an agent; `place` is the space."""


@dataclass
class Block:
    """Some rows: a line of `values` for each column, and the rows' positions in the file."""

    values: np.ndarray
    rows: int
    before: int = 0
    lines: np.ndarray | None = None

    def where(self, row: int) -> str:
        """Return a row's name for error messages."""
        return f"row {self.before + row}" if self.lines is None else f"line {int(self.lines[row])}"


class Table:
    """A file of rows, from its beginning; `columns` are their names. After the last block, `cut` tells where it ends early, if it does.

    Parameters
    ----------
    source : Source
        The file.
    ignore : sequence of str
        Names of columns to ignore.
    """

    def __init__(self, source: Source, ignore: Sequence[str] = ()) -> None:
        self.cut, self.columns = "", list[str]()
        self._source, self._ignore = source, ignore

    def blocks(self) -> Iterator[Block]:
        """Yield the rows."""
        raise NotImplementedError


def empty_values() -> np.ndarray:
    """Return room for the values of a block, filled with the defaults of absent columns."""
    return np.tile(np.array(DEFAULTS, np.int64)[:, None], (1, BLOCK))


def columns_of(names: Sequence[str], ignore: Sequence[str], name: str) -> list[int]:
    """Return the column that each name means, -1 for ignored ones; raise TraceError for unknown names and duplicates."""
    found: list[int] = []
    for text in names:
        plain = text.strip().lower()
        plain = SYNONYMS.get(plain, plain)
        column = COLUMNS.index(plain) if plain in COLUMNS else UNKNOWN
        if text in ignore:
            column = UNKNOWN
        elif column == UNKNOWN:
            known = ", ".join((*COLUMNS, *SYNONYMS))
            raise op.TraceError(f"{name}: column {shorten(text)} has no meaning here (known: {known}); ignore= (--ignore) leaves it out")
        elif column in found:
            raise op.TraceError(f"{name}: column {text!r} means the same as {names[found.index(column)]!r}")
        found.append(column)
    if ADDRESS not in found:
        raise op.TraceError(f"{name}: there is no column 'address'")
    return found


@dataclass
class RowsPass:
    """One pass over a table, which `open` opens."""

    source: Source
    open: Callable[[], Table]
    format: str
    events: bool
    watch: bool
    cut: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._run, self._table = Assembly(self.source.name, self.format, self.events, self.watch), self.open()
        self._state = np.zeros(1, STATE)
        self._known = np.zeros(op.AGENTS, KNOWN)
        self._spaces: dict[int, int] = {}
        self._rows = 0
        self.agents = self._run.agents

    def chunks(self) -> Iterator[np.ndarray]:
        """Yield the coalesced records."""
        for block in self._table.blocks():
            self._state["at"] = 0
            while (reason := self._convert(block)) != DONE:
                if reason == NEW:
                    self._admit(block)
                elif reason == FULL:
                    yield from self._run.flush()
                else:
                    self._refuse(block, reason)
            self._rows += block.rows
        if not self.agents:
            self._run.process("process")
        self.cut += [self._table.cut] if self._table.cut else []
        yield from self._run.finish()

    def finish(self) -> tuple[np.ndarray, dict[str, Any]]:
        """Return (prelude, info), after a complete pass."""
        if self.events and self._state[0]["calls"]:
            self._run.counts["syscall"] = int(self._state[0]["calls"])
        return self._run.prelude(), {**self._run.about(), "columns": list(self._table.columns), "rows": self._rows}

    def _convert(self, block: Block) -> int:
        state, batch = self._state, self._run.batch
        state["filled"] = batch.filled
        reason = _rows(block.values, block.rows, batch.ops, state, self._known, self.events)
        batch.filled = int(state[0]["filled"])
        return int(reason)

    def _admit(self, block: Block) -> None:
        """Add the agent of the row at which the kernel stopped."""
        at = int(self._state[0]["at"])
        thread, space, role = (int(block.values[column, at]) for column in (THREAD, SPACE, ROLE))
        if self._run.is_full():
            raise op.TraceError(f"{self.source.name}: {block.where(at)}: more than {op.AGENTS} threads and processes")
        title = f"{space}/{thread}" if "space" in self._named() else str(thread)
        if space not in self._spaces:
            agent = self._spaces[space] = self._run.process(title)
            old = self.agents[agent]
            self.agents[agent] = op.Agent("device" if role else "cpu", old.space, title)
        elif role:
            agent = self._run.device(self._spaces[space], title)
        else:
            agent = self._run.thread(self._spaces[space], title)
        self._known[agent] = (thread, space, role)
        self._state["agents"] = len(self.agents)

    def _named(self) -> set[str]:
        return {SYNONYMS.get(name.strip().lower(), name.strip().lower()) for name in self._table.columns}

    def _refuse(self, block: Block, reason: int) -> None:
        at = int(self._state[0]["at"])
        column = SIZE if reason == CROSSING else reason - BAD
        value = int(block.values[column, at])
        why = {
            ADDRESS: f"{value & (1 << 64) - 1:#x} is no address of {int(block.values[SIZE, at])} bytes of user memory",
            KIND: "not a kind of access, compute, syscall or sync" if value < 0 else self._misfit(value),
            SIZE: f"{value} is not in [1, {LONGEST}]",
            COUNT: f"{value} is not in [1, {MOST}]",
            GAP: f"{value} is not in [0, {MOST}]",
            ROLE: f"{value} is neither cpu (0) nor device (1), or not what the thread's was before",
        }[column]
        if reason == CROSSING:
            why = f"{int(block.values[COUNT, at])} accesses of {value} bytes, which cross a page: they need a row each"
        raise op.TraceError(f"{self.source.name}: {block.where(at)}, column {COLUMNS[column]!r}: {why}")

    def _misfit(self, kind: int) -> str:
        if kind in KINDS.values():
            return f"a {op.NAMES[kind]} by a device"
        name = op.NAMES.get(kind)
        return f"{name}: only files that save_csv wrote have operations" if name else f"{kind} is no kind"


@entry
def _rows(values, rows, ops, state, known, events):
    """Append the records of rows from `at` on; return the reason for stopping."""
    s = state[0]
    reason = DONE
    while s.at < rows:
        _plain_rows(values, rows, ops, s, known)
        i = s.at
        if i == rows:
            break
        reason = _check(values, i)
        if reason != DONE:
            break
        agent = _agent(values, i, known, s)
        if agent < 0:
            reason = NEW if agent == UNKNOWN else BAD + ROLE
            break
        kind = values[KIND, i]
        if known[agent].role == 1 and (kind == op.FETCH or kind == op.SYSCALL):
            reason = BAD + KIND
            break
        if s.filled + ROOM > ops.size:
            reason = FULL
            break
        _emit(values, i, ops, s, agent, events)
        s.at += 1
    return reason


@part
def _plain_rows(values, rows, ops, s, known):
    """Append rows while they are valid, of known CPUs, without gaps and within a page: in locals, twice as fast."""
    at, filled, agent, agents = s.at, s.filled, s.agent, s.agents
    while at < rows and filled < ops.size and agents > 0:
        address, kind, size, count = values[ADDRESS, at], values[KIND, at], values[SIZE, at], values[COUNT, at]
        thread, space = values[THREAD, at], values[SPACE, at]
        if known[agent].thread != thread or known[agent].place != space:
            agent = 0
            while agent < agents - 1 and (known[agent].thread != thread or known[agent].place != space):
                agent += 1
        mine = known[agent].thread == thread and known[agent].place == space and known[agent].role | values[ROLE, at] == 0
        within = address >= 0 and address < op.USER_END and size >= 1 and size <= op.PAGE and (address & (op.PAGE - 1)) + size <= op.PAGE
        access = kind >= 0 and kind <= op.FETCH and count >= 1 and count <= MOST and values[GAP, at] == 0
        if not (mine and within and access):
            break
        op.write(ops[filled], address, count, 0, kind, agent)
        filled += 1
        at += 1
    s.at, s.filled, s.agent = at, filled, agent


@part
def _check(values, i):
    """Return the wrong column of a row, as a reason."""
    address, kind, size, count, gap = values[ADDRESS, i], values[KIND, i], values[SIZE, i], values[COUNT, i], values[GAP, i]
    if kind < 0 or (kind > op.COMPUTE and kind != op.SYSCALL and kind != op.SYNC):
        return BAD + KIND
    if count < 1 or count > MOST:
        return BAD + COUNT
    if gap < 0 or gap > MOST:
        return BAD + GAP
    if values[ROLE, i] < 0 or values[ROLE, i] > 1:
        return BAD + ROLE
    if kind > op.FETCH:
        return DONE
    if size < 1 or size > LONGEST:
        return BAD + SIZE
    if address < 0 or address > op.USER_END - size:
        return BAD + ADDRESS
    crosses = address >> op.PAGE_SHIFT != (address + size - 1) >> op.PAGE_SHIFT
    return CROSSING if crosses and count > 1 else DONE


@part
def _agent(values, i, known, s):
    """Return the number of a row's agent; -1: new, -2: known with another role."""
    thread, space, role = values[THREAD, i], values[SPACE, i], values[ROLE, i]
    found = -1
    latest = known[s.agent]
    if s.agent < s.agents and latest.thread == thread and latest.place == space:
        found = s.agent
    else:
        for agent in range(s.agents):
            if known[agent].thread == thread and known[agent].place == space:
                found = agent
    if found < 0:
        return -1
    s.agent = found
    return found if known[found].role == role else -2


@part
def _emit(values, i, ops, s, agent, events):
    """Write the records of a valid row."""
    address, kind, count, gap = values[ADDRESS, i], values[KIND, i], values[COUNT, i], values[GAP, i]
    if kind == op.SYSCALL or kind == op.SYNC:
        if events:
            s.calls += count if kind == op.SYSCALL else 0
            _write(ops, s, 0, count if kind == op.SYSCALL else 0, gap, kind, agent)
        return
    if kind == op.COMPUTE:
        _write(ops, s, 0, count, gap, kind, agent)
        return
    _write(ops, s, address, count, gap, kind, agent)
    page = (address >> op.PAGE_SHIFT) + 1
    while page << op.PAGE_SHIFT < address + values[SIZE, i]:
        _write(ops, s, page << op.PAGE_SHIFT, 1, 0, kind | op.CONTINUES, agent)
        page += 1


@part
def _write(ops, s, address, count, gap, kind, agent):
    """Append a record; a gap that does not fit becomes a COMPUTE before it."""
    if gap > MOST_GAP:
        op.write(ops[s.filled], 0, gap, 0, op.COMPUTE, agent)
        s.filled += 1
        gap = 0
    op.write(ops[s.filled], address, count, gap, kind, agent)
    s.filled += 1
