"""Reader of ChampSim's instruction traces: `input_instr` (64 bytes) and `cloudsuite_instr` (96 bytes), without a header.

Layout: ChampSim inc/trace_instruction.h. An instruction is a fetch of its ip, then its loads (source memory), then its
stores (destination memory); a slot of 0 is empty. The format has no sizes of accesses and instructions, so
none crosses a page here; it has no threads, and no operations on memory. A cloudsuite instruction names an address space;
each becomes an agent. Kernel addresses (the upper half) are left out and counted; any other address outside user space is
an error, and so is an ip of 0, on which ChampSim itself stops.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwmodel import op
from hwmodel.jit import entry, part
from hwmodel.trace import Trace
from workloads.formats import passes
from workloads.formats.assembly import Assembly
from workloads.formats.champsim.write import WRITER
from workloads.formats.entries import Entries
from workloads.streams import Source, Stream

__all__ = ["NAME", "WRITER", "read", "recognises"]
NAME = "champsim"
LEAST = 4  # instructions needed to recognise the format: 96 bytes of one layout may look like one of the other
FLAGS = 1  # the word with is_branch and branch_taken in its low bytes
USER_BITS = 48  # of an address + USER_END, in either half
MOST = 9  # most accesses of an instruction
END, FULL, BAD, NEW_SPACE = 0, 1, 2, 3
NO_SPACE, NO_PAGE = -1, 1 << 60


@dataclass(frozen=True)
class Layout:
    """Layout of an instruction in words of 8 bytes: size, places of the stores and of the loads directly after them, address space."""

    name: str
    words: int
    stores: tuple[int, int]
    loads: tuple[int, int]
    asid: int

    def table(self) -> np.ndarray:
        """Return the layout as an array for kernels."""
        return np.array([*self.stores, *self.loads, self.asid], np.int64)


INPUT = Layout("ChampSim input_instr", 8, (2, 4), (4, 8), NO_SPACE)
CLOUDSUITE = Layout("ChampSim cloudsuite_instr", 12, (3, 7), (7, 11), 11)


def recognises(head: bytes) -> bool:
    """Return whether bytes that begin with `head` are instructions: without a mark, several must be there and be valid."""
    return layout_of(head, LEAST) is not None


def layout_of(head: bytes, least: int = 1) -> Layout | None:
    """Return the layout in which all whole instructions of `head` are valid, and at least `least` are there."""
    for layout in (INPUT, CLOUDSUITE):
        whole = len(head) // (8 * layout.words)
        words = np.frombuffer(head[: whole * 8 * layout.words], np.int64)
        if whole >= least and _check(words, layout.words, layout.table()) == whole:
            return layout
    return None


def read(source: Source, events: bool = True) -> Trace:
    """Open a trace, by custom compressed with xz or gzip, as `workloads.formats` says: one agent, or one for each address space of it."""
    layout = layout_of(source.head())
    if layout is None:
        raise op.TraceError(f"{source.name}: instruction 0 at byte 0 makes no sense in either layout of ChampSim's")
    return passes.two_passes(source, functools.partial(_Run, source, layout, events))


class _Run:
    """One pass over the trace."""

    def __init__(self, source: Source, layout: Layout, events: bool, watch: bool) -> None:
        self._source, self._layout = source, layout
        self._run = Assembly(source.name, layout.name, events, watch)
        self._spaces = np.full(op.AGENTS, NO_SPACE, np.int64)  # of each agent
        self._state = np.zeros(2, np.int64)  # records in the batch, kernel addresses
        self._instructions = 0
        self.agents, self.cut = self._run.agents, list[str]()
        if layout.asid == NO_SPACE:
            self._run.process("cpu")

    def chunks(self) -> Iterator[np.ndarray]:
        with self._source.open() as stream:
            yield from self._parse(stream)
        yield from self._run.finish()

    def finish(self) -> tuple[np.ndarray, dict[str, Any]]:
        left_out = {"kernel_accesses_left_out": int(self._state[1])} if self._state[1] else {}
        return self._run.prelude(), {**self._run.about(), "instructions": self._instructions, **left_out}

    def _parse(self, stream: Stream) -> Iterator[np.ndarray]:
        size, layout, batch = self._layout.words, self._layout.table(), self._run.batch
        entries = Entries(stream, np.dtype("i8"), size)
        while entries.refill():
            reason = FULL
            while reason != END:
                self._state[0] = batch.filled
                entries.at, reason = _instructions(
                    entries.rows.reshape(-1), size, entries.at, batch.ops, self._state, layout, self._spaces
                )
                batch.filled = int(self._state[0])
                if reason == BAD:
                    self._refuse(entries)
                if reason == NEW_SPACE:
                    self._admit(int(entries.rows[entries.at, self._layout.asid]))
                if reason == FULL:
                    yield from self._run.flush()
        self._instructions = entries.before
        self.cut += [entries.where_cut()] if entries.where_cut() else []

    def _admit(self, word: int) -> None:
        asid = word & 0xFFFF
        if self._run.is_full():
            raise op.TraceError(f"{self._source.name}: more than {op.AGENTS} address spaces")
        self._spaces[len(self.agents)] = asid
        self._run.process(f"asid {asid}")

    def _refuse(self, entries: Entries) -> None:
        row = entries.rows[entries.at]
        where = f"instruction {entries.before + entries.at} at byte {entries.byte()}"
        flags = int(row[FLAGS]) & 0xFFFF
        why = f"branch flags {flags & 255}, {flags >> 8} are not 0 or 1"
        if not flags & ~0x0101:
            words = [0, *range(*self._layout.loads), *range(*self._layout.stores)]
            strange = [int(row[word]) for word in words if _is_strange(int(row[word]))]
            why = f"non-canonical address {strange[0] & (1 << 64) - 1:#x}" if strange else "its ip is 0"
        raise op.TraceError(f"{self._source.name}: {where} makes no sense: {why}")


def _is_strange(address: int) -> bool:
    return address >= op.USER_END or address < -op.USER_END


@part
def _look(words, base, layout):
    """Return (whether an instruction is valid: branch flags of 0 or 1, an ip, addresses of either half; whether it has accesses)."""
    ip = words[base]
    strange, used = ip + op.USER_END, 0
    for word in range(base + layout[0], base + layout[3]):
        address = words[word]
        strange |= address + op.USER_END
        used |= address
    return words[base + FLAGS] & 0xFEFE == 0 and ip != 0 and strange >> USER_BITS == 0, used != 0


@entry
def _check(words, size, layout):
    """Return the number of valid instructions from the first one on."""
    for i in range(words.size // size):
        if not _look(words, i * size, layout)[0]:
            return i
    return words.size // size


@entry
def _instructions(words, size, at, ops, state, layout, spaces):
    """Append the accesses of instructions from `at` on; return (the next instruction, the reason for stopping)."""
    filled, kernel = state[0], state[1]
    agent, asid = 0, NO_SPACE
    page, fetcher = NO_PAGE, 0  # of the latest record, if that is a fetch
    reason = END
    while at < words.size // size:
        base = at * size
        if filled + MOST > ops.size:
            reason = FULL
            break
        sense, used = _look(words, base, layout)
        if not sense:
            reason = BAD
            break
        if layout[4] >= 0 and words[base + layout[4]] & 0xFFFF != asid:
            asid = words[base + layout[4]] & 0xFFFF
            agent = _find(spaces, asid)
            if agent < 0:
                reason = NEW_SPACE
                break
        ip = words[base]
        if ip >> op.PAGE_SHIFT == page and agent == fetcher:
            ops[filled - 1].count += 1  # like coalescing, but cheaper here
        else:
            filled, kernel = _access(ops, filled, kernel, ip, op.FETCH, agent)
        page = NO_PAGE if used or ip < 0 else ip >> op.PAGE_SHIFT
        fetcher = agent
        if used:
            for word in range(base + layout[2], base + layout[3]):
                filled, kernel = _access(ops, filled, kernel, words[word], op.READ, agent)
            for word in range(base + layout[0], base + layout[1]):
                filled, kernel = _access(ops, filled, kernel, words[word], op.WRITE, agent)
        at += 1
    state[0], state[1] = filled, kernel
    return at, reason


@part
def _access(ops, filled, kernel, address, kind, agent):
    """Write an access, to be overwritten if there is none; return (records filled, kernel addresses so far)."""
    op.write(ops[filled], address, 1, 0, kind, agent)
    return filled + (1 if address > 0 else 0), kernel - (address >> 63)


@part
def _find(spaces, asid):
    """Return the agent of an address space, or -1."""
    for agent in range(spaces.size):
        if spaces[agent] == asid:
            return agent
    return -1
