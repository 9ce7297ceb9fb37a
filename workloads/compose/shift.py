"""Traces moved to other addresses."""

import functools
from collections.abc import Iterable, Iterator

import numpy as np

from hwmodel import op as t
from hwmodel.jit import entry, part
from hwmodel.trace import Trace
from workloads.compose.numbering import checked, finished

HUGE = 512 * t.PAGE


def shift(trace: Trace, offset: int, spaces: Iterable[int] | None = None) -> Trace:
    """Move all memory of a trace to other addresses.

    Moved are accesses, ranges of operations, both ranges of MREMAP and KSM_MERGE, the program break, a guest's operations, and the
    place in the other process that an XPMEM mapping shows. Offsets in files stay.

    Parameters
    ----------
    trace : Trace
        The trace whose records, and initial memory, are moved.
    offset : int
        Bytes, a multiple of 4096, and of 2 MiB if there are mappings of huge pages; may be negative.
    spaces : iterable of int, optional
        The address spaces to move; by default all.

    Returns
    -------
    Trace
        Lazy; as long as `trace`.

    Raises
    ------
    TraceError
        If the offset is not whole pages, or initial memory would leave user memory; from the iteration, naming the
        record, if another address would.
    """
    if offset % t.PAGE or not -trace.user_end < offset < trace.user_end:
        raise t.TraceError(f"shift: the offset must be whole pages of {t.PAGE} bytes within user memory, not {offset}")
    own = {agent.space for agent in trace.agents}
    chosen = own if spaces is None else set(spaces)
    if not chosen <= own:
        raise t.TraceError(f"shift: no agent is in space {min(chosen - own)}")
    offsets = np.zeros(t.SPACES, np.int64)
    offsets[list(chosen)] = offset
    space_of = np.zeros(t.AGENTS, np.int64)
    space_of[: len(trace.agents)] = [agent.space for agent in trace.agents]
    finished(trace)
    move = functools.partial(_moved, trace, offset, offsets, space_of)
    info = trace.info | {"shift": {"offset": offset, "spaces": sorted(chosen)}}
    source, prelude = functools.partial(_stream, trace, move), move(trace.prelude, 0, "prelude record")
    return finished(Trace(trace.agents, source, prelude, info, trace.name, *(trace.known_size or (None, None))))


def _stream(trace: Trace, move: functools.partial[np.ndarray]) -> Iterator[np.ndarray]:
    before = 0
    for chunk in checked(trace):
        yield move(chunk, before, "record")
        before += chunk.size


def _moved(
    trace: Trace, offset: int, offsets: np.ndarray, space_of: np.ndarray, ops: np.ndarray, before: int, what: str
) -> np.ndarray:
    ops = t.copy_records(ops)
    at = _shift(ops, offsets, space_of, trace.user_end)
    if at >= 0:
        name = t.NAMES[int(ops["kind"][at]) & ~t.CONTINUES]
        huge = name == "mmap" and (int(ops["count"][at + 1]) >> 3) & 7 == t.HUGETLB and offset % HUGE
        why = "its huge pages would not be aligned" if huge else "it would leave user memory"
        raise t.TraceError(f"{trace.prefix}{what} {before + at}: {name}: shifted by {offset:#x} {why}")
    return ops


@entry
def _shift(ops, offsets, space_of, end):
    """Move checked records; return the index of the first that would leave user memory, or -1."""
    for i in range(ops.size):
        op = ops[i]
        kind = op.kind & ~t.CONTINUES
        offset = offsets[space_of[op.agent]]
        inside = True
        if op.kind == t.ARG:
            continue
        if kind <= t.FETCH or kind == t.BRK:
            op.address += offset
            inside = 0 <= op.address < end
        elif t.is_paged(kind) and kind != t.PUNCH:
            inside = _shift_range(ops, i, offset, offsets, end)
        if not inside:
            return i
    return -1


@part
def _shift_range(ops, i, offset, offsets, end):
    """Move an operation on a range; return whether it stays in user memory."""
    op = ops[i]
    args = t.args_of(op.kind)
    pages = t.page_count(ops, i)
    op.address += offset
    inside = _is_inside(op.address, pages, end)
    if args == 0:
        return inside
    arg = ops[i + 1]
    if op.kind == t.MREMAP:
        arg.address += offset
        return inside and _is_inside(arg.address, arg.count, end)
    if op.kind == t.KSM_MERGE:
        arg.address += offsets[arg.count]
        return inside and _is_inside(arg.address, pages, end)
    if op.kind == t.GUEST and arg.count >> t.GUEST_SHIFT == t.MREMAP:
        arg.address += offset
        return inside and _is_inside(arg.address, pages, end)
    if op.kind == t.MMAP and (arg.count >> 3) & 7 == t.XPMEM:
        arg.address += offsets[(arg.count >> t.FILE_SHIFT) - 1] >> t.PAGE_SHIFT
        return inside and _is_inside(arg.address << t.PAGE_SHIFT, pages, end)
    if op.kind == t.MMAP and (arg.count >> 3) & 7 == t.HUGETLB:
        return inside and op.address & (HUGE - 1) == 0
    return inside


@part
def _is_inside(address, pages, end):
    """Return whether user memory has these pages."""
    return address >= 0 and address < end and pages <= (end - address) >> t.PAGE_SHIFT
