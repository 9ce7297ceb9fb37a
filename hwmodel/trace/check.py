"""The check of every record before a kernel sees it."""

import bisect
from typing import Any, Protocol

import numpy as np

from hwmodel import op as t
from hwmodel.jit import entry, part

AGENT = np.dtype((np.record, [
    ("space", "i8"),       # its address space
    ("is_device", "i8"),   # 1: may not change mappings
    ("fetched", "i8"),     # page and kind (`_half_of`) of the latest fetch if its second half may follow, else NO_HALF
    ("accessed", "i8"),    # the same for the latest read or write
]))  # fmt: skip
NO_HALF, NEXT = -8, 4
FRESH, ALIVE, EXITED = 0, 1, 2  # states of an address space

REASONS = (
    "",
    "unknown kind {kind}",
    "agent {agent} is not in the trace",
    "{name}: count must be at least 1, not {count}",
    "negative gap {gap}",
    "non-canonical address {address:#x}",
    "{name}: unaligned address {address:#x}",
    "{name}: operand is missing (an ARG record must follow)",
    "stray ARG record",
    "{name}: ARG record of another agent",
    "{name}: {count} pages from {address:#x} pass the end of user memory",
    "{name}: bad protection, mapping or file ({arg:#x})",
    "{name}: bad advice {arg}",
    "{name}: bad operand (address {arg_address:#x}, count {arg})",
    "{name} by a device",
    "address space {space} has exited",
    "fork into address space {count}, which no agent has",
    "fork into address space {count}, which was used or forked before",
    "second half of a {name} without its first half on the page before",
    "{name}: address space {count}, which no agent has",
    "{name}: bad guest operation ({arg:#x})",
)
(_OK, _KIND, _AGENT, _COUNT, _GAP, _CANONICAL, _UNALIGNED, _MISSING, _STRAY, _OTHER, _WRAP, _PROT, _ADVICE, _OPERAND,
 _DEVICE, _EXITED, _NO_SPACE, _REFORK, _HALF, _SPACE, _GUEST) = range(len(REASONS))  # fmt: skip


class Described(Protocol):
    """The properties of a trace that the check needs."""

    @property
    def agents(self) -> tuple[t.Agent, ...]:
        """Return the agents; a recording may gain agents as it is read."""

    @property
    def user_end(self) -> int:
        """Return the end of its user memory."""

    @property
    def prelude(self) -> np.ndarray:
        """Return the MMAP and BRK units of the memory that exists before the first record."""

    @property
    def prefix(self) -> str:
        """Return the beginning of an error message about the trace."""


class Validator:
    """A checker of a trace's chunks, in order; it keeps the state that crosses chunks.

    Parameters
    ----------
    trace : Described
        A `Trace`, whose agents and name are used; its prelude is checked here.

    Raises
    ------
    TraceError
        If a record is invalid; the message names the file, the record (from 0) and the reason.
    """

    def __init__(self, trace: Described) -> None:
        self._trace, self._end = trace, trace.user_end
        self._agents = np.empty(0, AGENT)
        self._spaces = np.zeros(t.SPACES, np.int64)
        self.records = 0
        self._admit()
        self._check_prelude(trace.prelude)

    def check(self, ops: np.ndarray) -> None:
        """Check the next OP array of the trace; raise TraceError at the first invalid record."""
        if len(self._trace.agents) != self._agents.size:
            self._admit()
        at, reason = _check(ops, self._agents, self._spaces, self._end)
        if reason:
            raise t.TraceError(self._message(ops, at, reason, f"record {self.records + at}"))
        self.records += ops.size

    def _admit(self) -> None:
        """Add the agents that are new: a recording learns of a forked child while it is read."""
        new = self._trace.agents[self._agents.size :]
        rows = [(agent.space, agent.role == "device", NO_HALF, NO_HALF) for agent in new]
        self._agents = np.concatenate([self._agents, np.array(rows, AGENT)]).view(AGENT)

    def _check_prelude(self, prelude: np.ndarray) -> None:
        for at in np.flatnonzero(~np.isin(prelude["kind"], (t.MMAP, t.BRK, t.ARG)))[:1]:
            kind = prelude["kind"][at]
            raise t.TraceError(f"{self._trace.prefix}prelude record {at}: only mmap and brk are allowed, not kind {kind}")
        roles, self._agents["is_device"] = self._agents["is_device"].copy(), 0  # the prelude may map a device's memory
        at, reason = _check(prelude, self._agents, self._spaces, self._end)
        self._agents["is_device"] = roles
        if reason:
            raise t.TraceError(self._message(prelude, at, reason, f"prelude record {at}"))
        self._check_populated(prelude)
        self._check_breaks(prelude)

    def _check_breaks(self, prelude: np.ndarray) -> None:
        """Refuse a break that moves over a mapping: it could neither grow over one, nor free its pages before the first record."""
        breaks: dict[int, int] = {}
        mapped: dict[int, list[tuple[int, int]]] = {}
        for at in np.flatnonzero(np.isin(prelude["kind"], (t.MMAP, t.BRK))):
            space = self._space(prelude, at)
            if prelude["kind"][at] == t.MMAP:
                mapped.setdefault(space, []).append(_pages(prelude, at))
                continue
            new = -(-int(prelude["address"][at]) >> t.PAGE_SHIFT)
            old = breaks.get(space) or new  # 0: not set yet
            if any(low < max(old, new) and high > min(old, new) for low, high in mapped.get(space, ())):
                raise t.TraceError(f"{self._trace.prefix}prelude record {at}: brk over a mapping")
            breaks[space] = new

    def _check_populated(self, prelude: np.ndarray) -> None:
        """Refuse a mapping over pages that are in memory from the beginning: nothing unmaps them before the first record."""
        populated: dict[int, list[tuple[int, int]]] = {}  # by address space: sorted, disjoint
        for at in np.flatnonzero(prelude["kind"] == t.MMAP):
            first, end = _pages(prelude, at)
            ranges = populated.setdefault(self._space(prelude, at), [])
            place = bisect.bisect_left(ranges, (end,))
            if place and ranges[place - 1][1] > first:
                raise t.TraceError(f"{self._trace.prefix}prelude record {at}: mmap over pages that are in memory from the beginning")
            if int(prelude["count"][at + 1]) & t.POPULATE:
                ranges.insert(place, (first, end))

    def _space(self, ops: np.ndarray, at: int) -> int:
        return int(self._agents[ops["agent"][at]]["space"])

    def _message(self, ops: np.ndarray, at: int, reason: int, where: str) -> str:
        op: dict[str, Any] = {column: int(ops[at][column]) for column in t.COLUMNS}
        op["name"] = t.NAMES.get(op["kind"] & ~t.CONTINUES, "op")
        op["space"] = int(self._agents[op["agent"]]["space"]) if 0 <= op["agent"] < self._agents.size else -1
        arg = ops[min(at + 1, ops.size - 1)]
        op["arg"], op["arg_address"] = int(arg["count"]), int(arg["address"])
        if op["count"] == -1 and reason == _WRAP:
            op["count"] = t.pages_of(ops, at)
        return f"{self._trace.prefix}{where}: {REASONS[reason].format(**op)}"


def _pages(ops: np.ndarray, at: int) -> tuple[int, int]:
    """Return the first page of a mapping and the page after its last."""
    first = int(ops["address"][at]) >> t.PAGE_SHIFT
    return first, first + t.pages_of(ops, int(at))


@entry
def _check(ops, agents, spaces, end):
    """Return (index, reason) of the first invalid record; reason 0: none is invalid."""
    i = 0
    while i < ops.size:
        op = ops[i]
        if op.agent < 0 or op.agent >= agents.size:
            return i, _AGENT
        if op.gap < 0:
            return i, _GAP
        agent = agents[op.agent]
        if spaces[agent.space] != ALIVE:
            if spaces[agent.space] == EXITED:
                return i, _EXITED
            spaces[agent.space] = ALIVE
        kind = op.kind & ~t.CONTINUES
        length = 1
        if op.kind >= 0 and kind <= t.FETCH:
            reason = _access(op, agent, kind, end)
        else:
            reason = _issuer(op, agent)
            if reason == _OK:
                length, reason = _unit(ops, i)
            if reason == _OK:
                reason = _operation(ops, i, agent, agents, spaces, end)
        if reason != _OK:
            return i, reason
        i += length
    return 0, _OK


@part
def _access(op, agent, kind, end):
    """Return why a read, write or fetch is invalid (or _OK); note its page and kind for a second half."""
    if op.count < 1:
        return _COUNT
    if op.address < 0 or op.address >= end:
        return _CANONICAL
    if kind == t.FETCH and agent.is_device:
        return _DEVICE
    half = _half_of(op.address, kind)
    if op.kind & t.CONTINUES:
        before = agent.fetched if kind == t.FETCH else agent.accessed
        if before != half - NEXT or op.count != 1 or op.address & (t.PAGE - 1):
            return _HALF
    half = half if op.count == 1 else NO_HALF
    if kind == t.FETCH:
        agent.fetched = half
    else:
        agent.accessed = half
    return _OK


@part
def _half_of(address, kind):
    """Return page and kind of an access as one number: that of the second half of one that crosses into the next page is NEXT more."""
    return (address >> t.PAGE_SHIFT) * NEXT + kind


@part
def _issuer(op, agent):
    """Return why the kind or the role of a record other than an access is invalid, or _OK."""
    kind = op.kind
    if kind == t.ARG:
        return _STRAY
    if kind != t.COMPUTE and (kind < t.MMAP or kind > t.DIRTY_LOG):
        return _KIND
    may = kind == t.COMPUTE or kind == t.SYNC or kind == t.ATTACH or kind == t.DETACH or kind == t.GUEST
    if agent.is_device and not may:
        return _DEVICE
    return _OK


@part
def _unit(ops, i):
    """Return (records of the unit at `i`, why the unit is incomplete or _OK)."""
    op = ops[i]
    length = 1 + t.args_of(op.kind)
    if t.is_paged(op.kind) and op.count == -1:
        length += 1
    for at in range(i + 1, i + length):
        if at >= ops.size or ops[at].kind != t.ARG:
            return length, _MISSING
        if ops[at].agent != op.agent:
            return length, _OTHER
    return length, _OK


@part
def _operation(ops, i, agent, agents, spaces, end):
    """Return why a complete unit that is no access is invalid (or _OK); note forks and exits."""
    op = ops[i]
    kind = op.kind
    if t.is_paged(kind):
        pages = t.page_count(ops, i)
        if pages < 1:
            return _COUNT
        reason = _OK if kind == t.PUNCH else _range(op.address, pages, end)
        return reason if reason != _OK or t.args_of(kind) == 0 else _operand(op, pages, ops[i + 1], agents, end)
    if (kind == t.COMPUTE or kind == t.SYSCALL) and op.count < 1:
        return _COUNT
    if kind == t.BRK and (op.address < 0 or op.address >= end):
        return _CANONICAL
    if kind == t.FORK:
        return _fork(op, agents, spaces)
    if kind == t.ATTACH or kind == t.DETACH:
        return _OK if _is_space(op.count, agents) else _SPACE
    if kind == t.EXIT:
        spaces[agent.space] = EXITED
    return _OK


@part
def _range(address, pages, end):
    """Return why `pages` pages from `address` are no user range, or _OK."""
    if address < 0 or address >= end:
        return _CANONICAL
    if address & (t.PAGE - 1):
        return _UNALIGNED
    if pages > (end - address) >> t.PAGE_SHIFT:
        return _WRAP
    return _OK


@part
def _operand(op, pages, arg, agents, end):
    """Return why the first ARG record of a unit is invalid, or _OK."""
    kind = op.kind
    if kind == t.MMAP:
        return _mapping(op, pages, arg, agents, end)
    if kind == t.MPROTECT and (arg.count < 0 or arg.count > 7):
        return _PROT
    if kind == t.MADVISE:
        advice = arg.count
        low = advice == t.DONTNEED or advice == t.FREE or advice == t.HUGEPAGE or advice == t.NOHUGEPAGE
        return _OK if low or advice == t.COLD or advice == t.PAGEOUT or advice == t.COLLAPSE else _ADVICE
    if kind == t.MREMAP and (arg.count < 1 or _range(arg.address, arg.count, end) != _OK):
        return _OPERAND
    if kind == t.PUNCH and (op.address < 0 or arg.count < 1):
        return _OPERAND
    if kind == t.MIGRATE and arg.count < 0:
        return _OPERAND
    if kind == t.KSM_MERGE and (not _is_space(arg.count, agents) or _range(arg.address, pages, end) != _OK):
        return _OPERAND
    return _guest(arg, pages, end) if kind == t.GUEST else _OK


@part
def _guest(arg, pages, end):
    """Return why the operation of a guest is invalid, or _OK."""
    kind, operand = arg.count >> t.GUEST_SHIFT, arg.count & ((1 << t.GUEST_SHIFT) - 1)
    if kind == t.MREMAP:
        return _GUEST if operand != 0 or _range(arg.address, pages, end) != _OK else _OK
    if kind == t.MUNMAP:
        return _GUEST if operand != 0 else _OK
    return _GUEST if (kind != t.MMAP and kind != t.MPROTECT) or operand > 7 else _OK


@part
def _mapping(op, pages, arg, agents, end):
    """Return why the flags of an MMAP are invalid, or _OK."""
    mapping, file = (arg.count >> 3) & 7, arg.count >> t.FILE_SHIFT
    if arg.count < 0 or mapping > t.XPMEM:
        return _PROT
    shared = mapping == t.SHARED or mapping == t.PRIVATE_FILE or mapping == t.SHARED_FILE or mapping == t.XPMEM
    if shared != (file > 0):
        return _PROT
    if arg.address < 0:
        return _OPERAND
    if mapping == t.XPMEM:
        inside = arg.address + pages <= end >> t.PAGE_SHIFT
        return _OK if _is_space(file - 1, agents) and inside else _OPERAND
    if mapping == t.HUGETLB and (op.address >> t.PAGE_SHIFT | pages) & 511:
        return _UNALIGNED
    return _OK


@part
def _fork(op, agents, spaces):
    """Return why the child of a fork is invalid, or _OK; note the new space."""
    child = op.count
    if not _is_space(child, agents):
        return _NO_SPACE
    if spaces[child] != FRESH:
        return _REFORK
    spaces[child] = ALIVE
    return _OK


@part
def _is_space(space, agents):
    """Return whether an agent has this address space."""
    for agent in range(agents.size):
        if agents[agent].space == space:
            return True
    return False
