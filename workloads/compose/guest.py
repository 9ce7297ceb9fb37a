"""Recorded programs as the load of a guest."""

import functools
from collections.abc import Iterator, Sequence

import numpy as np

from hwmodel import op as t
from hwmodel.jit import entry
from hwmodel.trace import Trace
from workloads.compose.mappings import CHANGING, Mapping, Memory, units
from workloads.compose.numbering import checked, chosen, finished, joined

KEPT = (t.READ, t.WRITE, t.FETCH, t.COMPUTE, t.SYNC)
TURNED = (*CHANGING, t.MADVISE, t.EXIT)
DROPPED = (t.SYSCALL,)
REFUSED = {
    kind: name for kind, name in t.NAMES.items() if kind not in (*KEPT, *TURNED, *DROPPED, t.ARG)
}  # fork, and operations that only a host's kernel has
EMPTY = -1

Units = list[list[tuple[int, int, int, int, int]]]


def as_guest(trace: Trace, memory: tuple[int, int] | None = None, events: bool = True, vmm: str = "vmm") -> Trace:
    """Let a recorded program run inside a guest, whose physical addresses are the program's virtual ones.

    The program's CPU agents become vCPUs: device agents of the address space of the host's process, with the same numbers. After
    them comes a new CPU agent, the VMM. Initially the host has one anonymous mapping, and no page of it in memory; the
    guest's own initial mappings are assumed to be in its page tables.

    Fetches become reads, since devices do not fetch; if that puts another access between the halves of a crossing
    one, the second half becomes an access of its own. Operations on memory become the guest kernel's changes of its
    page tables (GUEST): MMAP, MUNMAP and MPROTECT the same; MREMAP a move of the pages that it moves, with an MUNMAP or MMAP of
    the difference; BRK an MMAP or MUNMAP of the difference; MADVISE with DONTNEED an MUNMAP and an MMAP of each mapping
    in its range; EXIT an MUNMAP of each remaining mapping. Other advice and system calls change no page table of the
    guest and are left out, as is the time they took.

    Parameters
    ----------
    trace : Trace
        Of one address space: guests of several processes would use the same guest-physical addresses.
    memory : (int, int), optional
        First byte and bytes of the host's mapping, in whole pages; by default all of user memory.
    events : bool
        False leaves out the guest's changes of its page tables.
    vmm : str
        Name of the CPU agent of the host's process.

    Raises
    ------
    TraceError
        If the trace has several address spaces or 128 agents, or `memory` is not whole pages; from the iteration,
        naming the record, at an operation that has no counterpart in a guest (such as PUNCH or MIGRATE).
    """
    spaces = {agent.space for agent in trace.agents}
    if len(spaces) > 1:
        raise t.TraceError(f"as_guest: a guest has one address space here, {trace.name or 'the trace'} has {len(spaces)}")
    if len(trace.agents) == t.AGENTS:
        raise t.TraceError(f"as_guest: {t.AGENTS} agents leave no room for the VMM")
    first, size = memory or (0, trace.user_end)
    if first % t.PAGE or size % t.PAGE or size < t.PAGE or not 0 <= first <= trace.user_end - size:
        raise t.TraceError(f"as_guest: memory must be whole pages of user memory, not {size} bytes from {first:#x}")
    space, host = trace.agents[0].space, len(trace.agents)
    agents = [*(t.Agent("device", space, agent.name) for agent in trace.agents), t.Agent("cpu", space, vmm)]
    prelude = t.as_records(t.mmap_unit(first, size >> t.PAGE_SHIFT, t.PROT_READ | t.PROT_WRITE, agent=host))
    info = trace.info | {"as_guest": {"memory": [first, size], "events": events}}
    finished(trace)
    return finished(Trace(agents, functools.partial(_inside, trace, events), prelude, info, trace.name))


def _inside(trace: Trace, events: bool) -> Iterator[np.ndarray]:
    guest, before = Memory(), 0
    for _, unit in units(trace.prelude, CHANGING):
        guest.apply(unit)
    data = np.full((t.AGENTS, 2), EMPTY)
    for chunk in checked(trace):
        ops = joined(_turned(trace, chunk, guest, before)) if events else chunk
        ops = chosen(np.ascontiguousarray(ops), _stays(ops, events))
        _read(ops, data)
        before += chunk.size
        if ops.size:
            yield ops


def _stays(ops: np.ndarray, events: bool) -> np.ndarray:
    """Return which records a guest's vCPUs issue: operations on its page tables only with `events`."""
    kind = ops["kind"] & ~t.CONTINUES
    stays = np.isin(kind, (*KEPT, t.GUEST) if events else KEPT)
    heads = np.flatnonzero(kind == t.GUEST) if events else np.empty(0, np.int64)
    stays[heads + 1] = True
    stays[heads[ops["count"][heads] == -1] + 2] = True
    return stays


def _turned(trace: Trace, chunk: np.ndarray, guest: Memory, before: int) -> Iterator[np.ndarray]:
    """Yield the records of a chunk; operations on memory are replaced by the guest kernel's changes of its page tables."""
    at = 0
    for first, unit in units(chunk, (*TURNED, *REFUSED)):
        kind = int(unit["kind"][0])
        if kind in REFUSED:
            where = f"{trace.prefix}record {before + first}"
            raise t.TraceError(f"{where}: as_guest: {t.NAMES[kind]} has no counterpart in a guest")
        yield chunk[at:first]
        records = [record for new in _guest_units(unit, guest) for record in new]
        new = t.as_records(records)
        if records:
            new["agent"], new["gap"][0] = unit["agent"][0], unit["gap"][0]
        yield new
        if kind == t.EXIT:
            guest.mappings = []
        elif kind != t.MADVISE:
            guest.apply(unit)
        at = first + unit.size
    yield chunk[at:]


def _guest_units(unit: np.ndarray, guest: Memory) -> Units:
    """Return the guest kernel's changes of its page tables for an operation."""
    kind, first, pages = int(unit["kind"][0]), int(unit["address"][0]) >> t.PAGE_SHIFT, t.pages_of(unit, 0)
    operand, address = (int(unit["count"][1]), int(unit["address"][1])) if unit.size > 1 else (0, 0)
    if kind == t.BRK:
        return _moved_break(int(unit["address"][0]), guest)
    if kind == t.EXIT:
        return _unmapped(guest.mappings)
    if kind == t.MADVISE:
        parts = guest.parts(first, first + pages) if operand == t.DONTNEED else []
        return [new for part in parts for new in (*_unmapped([part]), _unit(t.MMAP, part.first, part.end, part.flags & 7))]
    if kind == t.MREMAP:
        return _remapped(first, pages, address >> t.PAGE_SHIFT, operand, guest)
    prot = operand & 7 if kind != t.MUNMAP else 0
    return [_unit(kind, first, first + pages, prot)]


def _moved_break(address: int, guest: Memory) -> Units:
    old, new = guest.break_, -(-address // t.PAGE)
    if old is None or new == old:
        return []
    return [_unit(t.MMAP, old, new, t.PROT_READ | t.PROT_WRITE)] if new > old else [_unit(t.MUNMAP, new, old)]


def _remapped(first: int, pages: int, target: int, size: int, guest: Memory) -> Units:
    both = min(pages, size)
    last = guest.parts(first + pages - 1, first + pages)
    prot = last[0].flags & 7 if last else t.PROT_READ | t.PROT_WRITE
    found = [_unit(t.MUNMAP, first + size, first + pages)] if size < pages else []
    if target != first:
        found.append(_unit(t.MREMAP, first, first + both, 0, target << t.PAGE_SHIFT))
    return [*found, _unit(t.MMAP, target + pages, target + size, prot)] if size > pages else found


def _unmapped(mappings: Sequence[Mapping]) -> Units:
    return [_unit(t.MUNMAP, mapping.first, mapping.end) for mapping in mappings]


def _unit(kind: int, first: int, end: int, prot: int = 0, target: int = 0) -> list[tuple[int, int, int, int, int]]:
    return t.paged_unit(t.GUEST, first << t.PAGE_SHIFT, end - first, [(target, kind << t.GUEST_SHIFT | prot)])


@entry
def _read(ops, data):
    """Turn fetches into reads; a second half that no longer follows its first one becomes an access of its own."""
    for i in range(ops.size):
        op = ops[i]
        kind = op.kind & ~t.CONTINUES
        if op.kind == t.ARG or (kind > t.WRITE and kind != t.FETCH):
            continue
        page = op.address >> t.PAGE_SHIFT
        follows = op.kind & t.CONTINUES != 0 and data[op.agent, 0] == page - 1 and data[op.agent, 1] == kind
        data[op.agent, 0] = page
        data[op.agent, 1] = kind
        kind = t.READ if kind == t.FETCH else kind
        op.kind = kind | t.CONTINUES if follows else kind
