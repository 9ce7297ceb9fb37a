"""Writing ChampSim's instruction traces (`input_instr`, 64 bytes; layout: `__init__.py`).

The format is a sequence of instructions of one CPU: each a fetch, up to 4 loads, then up to 2 stores. A FETCH of count n becomes
n instructions. The first access of a read or write belongs to the instructions before it, its other accesses also to later ones,
all as early as they fit. So a coalesced trace of one agent that was read from such a file is written so that reading it gives the
same trace. Registers, branches and the addresses within a page that coalescing left out are lost.
"""

import os
from typing import Any

import numpy as np

from hwmodel import op as t
from hwmodel.jit import entry, part
from hwmodel.trace import Trace
from workloads import streams
from workloads.compose.numbering import checked
from workloads.formats.writer import Writer

WORDS, STORES, LOADS, IP = 8, 2, 4, 0  # words of an instruction; the indices at which stores and loads begin, and of the ip
MOST_STORES, MOST_LOADS = 2, 4
ROWS = 1 << 16
INVENTED = 0x400000
DONE, FULL, NO_INSTRUCTION, NO_PLACE = 0, 1, 2, 3

STATE = np.dtype((np.record, [
    ("at", "i8"),        # the record to be written
    ("filled", "i8"),    # complete instructions in the buffer; the instruction after them is being filled
    ("left", "i8"),      # remaining instructions of the current fetch, including the one being filled
    ("loads", "i8"),     # of the instruction being filled
    ("stores", "i8"),
    ("record", "i8"),    # number of the latest read or write
    ("kind", "i8"),
    ("address", "i8"),
    ("owed", "i8"),      # accesses of that read or write that are not written yet
    ("taken", "i8"),     # 1: record `at` is that read or write, and its first access is owed
    ("invent", "i8"),    # 1: make up instructions for accesses that have none
    ("invented", "i8"),
]))  # fmt: skip


def save_champsim(trace: Trace, path: str | os.PathLike[str], agent: int | None = None, lossy: bool = False) -> dict[str, int]:
    """Write the accesses of one agent as a ChampSim trace, compressed by the file's name (.xz, .gz, .bz2, .zst).

    Parameters
    ----------
    trace : Trace
        Any; checked record by record while it is written.
    path : path
        Written whole or not at all.
    agent : int, optional
        The agent whose accesses to write; by default the only one.
    lossy : bool
        Leave out records that the format cannot hold (operations, gaps, the second halves of accesses that cross a page, accesses
        at address 0), and synthesise an instruction for every access that has none, instead of refusing the trace.

    Returns
    -------
    dict
        Number of records left out, by kind, and number of instructions synthesised.

    Raises
    ------
    TraceError
        At a record that is invalid, or that the format cannot hold.
    """
    if agent is None and len(trace.agents) > 1:
        raise t.TraceError(f"ChampSim has one agent a file: choose one of the trace's {len(trace.agents)}")
    chosen = agent or 0
    if not 0 <= chosen < len(trace.agents):
        raise t.TraceError(f"agent {chosen} is not in the trace")
    lost: dict[str, int] = {}
    with streams.create(path) as file:
        writer = _Writer(trace, file, lossy)
        before = 0
        for chunk in checked(trace):
            ops, indices = _accesses(trace, chunk, chosen, lossy, lost, before)
            writer.write(ops, indices)
            before += chunk.size
        writer.finish()
    invented = int(writer.state["invented"][0])
    return lost | ({"instructions made up": invented} if invented else {})


WRITER = Writer("champsim", (".champsim", ".champsimtrace"), save_champsim)


def _accesses(
    trace: Trace, chunk: np.ndarray, agent: int, lossy: bool, lost: dict[str, int], before: int
) -> tuple[np.ndarray, np.ndarray]:
    """Select the records ChampSim can represent, with their indices; count or reject the rest."""
    kinds = chunk["kind"]
    mine = chunk["agent"] == agent
    access = (kinds >= 0) & (kinds <= t.FETCH) & (chunk["address"] > 0)
    for at in np.flatnonzero(mine & ~access):
        kind = int(kinds[at])
        name = "second half" if kind & t.CONTINUES else "access at address 0" if kind <= t.FETCH else t.NAMES.get(kind, "op")
        _lose(trace, name, before + int(at), lossy, lost)
    for at in np.flatnonzero(mine & (chunk["gap"] > 0)):
        _lose(trace, "gap", before + int(at), lossy, lost)
    indices = np.flatnonzero(mine & access)
    return np.ascontiguousarray(chunk[indices]), indices + before


def _lose(trace: Trace, name: str, record: int, lossy: bool, lost: dict[str, int]) -> None:
    if not lossy:
        raise t.TraceError(f"{trace.prefix}record {record}: ChampSim's format has no {name}")
    if name != "arg":
        lost[name] = lost.get(name, 0) + 1


class _Writer:
    """Builds instructions from accesses, and writes them."""

    def __init__(self, trace: Trace, file: Any, lossy: bool) -> None:
        self.state = np.zeros(1, STATE)
        self.state["invent"] = lossy
        self._prefix = trace.prefix
        self._file = file
        self._rows = np.zeros((ROWS + 1, WORDS), np.int64)

    def write(self, ops: np.ndarray, indices: np.ndarray) -> None:
        """Add accesses."""
        self.state["at"] = 0
        while (reason := _instructions(ops, indices, self._rows, self.state)) != DONE:
            self._go_on(reason)

    def finish(self) -> None:
        """Write the remaining instructions."""
        while (reason := _finish(self._rows, self.state)) != DONE:
            self._go_on(reason)
        self._flush()

    def _go_on(self, reason: int) -> None:
        if reason != FULL:
            why = "no instruction before it" if reason == NO_INSTRUCTION else "more accesses than its instructions have room for"
            raise t.TraceError(f"{self._prefix}record {self.state['record'][0]}: ChampSim's format has no place for it: {why}")
        self._flush()

    def _flush(self) -> None:
        filled = int(self.state["filled"][0])
        self._file.write(self._rows[:filled].tobytes())
        self._rows[0] = self._rows[filled]
        self.state["filled"] = 0


@entry
def _instructions(ops, indices, rows, state):
    """Turn accesses into instructions; return DONE, or the reason for stopping at an access."""
    s = state[0]
    while s.at < ops.size:
        op = ops[s.at]
        reason = _start(rows, s, op.address, op.count) if op.kind == t.FETCH else _place(rows, s, op, indices[s.at])
        if reason != DONE:
            return reason
        s.at += 1
        s.taken = 0
    return DONE


@entry
def _finish(rows, state):
    """Write the accesses that are owed, and the remaining instructions of the current fetch."""
    s = state[0]
    reason = _settle(rows, s, 0)
    return reason if reason != DONE else _emit(rows, s)


@part
def _emit(rows, s):
    """Complete all instructions of the current fetch, as long as there is room."""
    while s.left > 0:
        if s.filled + 1 >= rows.shape[0]:
            return FULL
        _next(rows, s)
    return DONE


@part
def _next(rows, s):
    """Complete the instruction being filled, and begin the fetch's next one."""
    ip = rows[s.filled, IP]
    s.filled += 1
    s.left -= 1
    _grow(rows, s, ip)


@part
def _grow(rows, s, ip):
    """Begin an instruction without accesses."""
    rows[s.filled, :] = 0
    rows[s.filled, IP] = ip
    s.loads = s.stores = 0


@part
def _start(rows, s, ip, count):
    """Begin a fetch of `count` instructions; the previous fetch's come first, and take the accesses that are owed."""
    if _pay(rows, s) == FULL or _emit(rows, s) == FULL:
        return FULL
    _grow(rows, s, ip)
    s.left = count
    return DONE


@part
def _place(rows, s, op, record):
    """Place a read or write: all accesses owed before it, then its first access."""
    if s.taken == 0:
        reason = _settle(rows, s, 0)
        if reason != DONE:
            return reason
        s.kind, s.address, s.owed, s.record = op.kind, op.address, op.count, record
        s.taken = 1
    return _settle(rows, s, op.count - 1)


@part
def _settle(rows, s, most):
    """Emit pending accesses until at most `most` remain, synthesising instructions if allowed."""
    reason = _pay(rows, s)
    while reason == DONE and s.owed > most:
        if not s.invent:
            return NO_INSTRUCTION if s.left == 0 else NO_PLACE
        reason = _emit(rows, s)
        if reason == DONE:
            _grow(rows, s, INVENTED)
            s.left = 1
            s.invented += 1
            reason = _pay(rows, s)
    return reason


@part
def _pay(rows, s):
    """Place accesses that are owed, each in the first instruction of the current fetch that has room."""
    while s.owed > 0 and s.left > 0:
        if s.stores == MOST_STORES or (s.kind == t.READ and (s.stores > 0 or s.loads == MOST_LOADS)):
            if s.left == 1:
                return DONE
            if s.filled + 1 >= rows.shape[0]:
                return FULL
            _next(rows, s)
        if s.kind == t.WRITE:
            rows[s.filled, STORES + s.stores] = s.address
            s.stores += 1
        else:
            rows[s.filled, LOADS + s.loads] = s.address
            s.loads += 1
        s.owed -= 1
    return DONE
