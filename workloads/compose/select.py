"""Parts of a trace's records."""

import functools
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from hwmodel import op as t
from hwmodel.jit import entry, part
from hwmodel.trace import Trace
from workloads.compose.numbering import checked, chosen

KINDS = {name: kind for kind, name in t.NAMES.items() if kind != t.ARG}
"""Kinds that `select` accepts, by name."""


def select(
    trace: Trace,
    kinds: Iterable[str | int] | None = None,
    agents: Iterable[int] | None = None,
    addresses: Iterable[tuple[int, int]] | None = None,
    where: Callable[[np.ndarray], np.ndarray] | None = None,
    keep: bool = True,
) -> Trace:
    """Keep the records that meet all of some conditions, or those that do not.

    Operations are kept whole, with their ARG records; the first half of a crossing access decides about the second.
    Omitted records take no time any more, their gaps included. Agents and initial memory stay as they are.

    Parameters
    ----------
    kinds : iterable of str or int, optional
        Names or numbers from `hwmodel.op.NAMES`: "read", "mmap" ...; a crossing access is of the kind of its halves.
    agents : iterable of int, optional
        Numbers of agents.
    addresses : iterable of (int, int), optional
        Ranges [first, end) in bytes. An access meets the condition by its address, an operation by any part of its range (MREMAP and
        KSM_MERGE: of either range; BRK: the new break). Records without an address, such as COMPUTE or FORK, meet it.
    where : callable, optional
        Function of OP[n] that returns bool[n]: for each record whether it meets the condition. Its values for ARG records are ignored.
        It must judge each record by itself, or the result would depend on where the trace is cut.
    keep : bool
        False leaves out the records that meet all conditions, and keeps the rest.

    Raises
    ------
    TraceError
        If there is no such kind or agent, or a range is empty; from the iteration, if `where` returns something else.
    """
    conditions = _Conditions(trace, kinds, agents, addresses)
    everything = where is None and keep and kinds is None and agents is None and addresses is None
    sizes = trace.known_size if everything else None
    source = functools.partial(_selected, trace, conditions, where, keep)
    info = trace.info | {"select": conditions.info | {"where": where is not None, "keep": keep}}
    return Trace(trace.agents, source, trace.prelude, info, trace.name, *(sizes or (None, None)))


class _Conditions:
    """The conditions as tables for the kernel."""

    def __init__(
        self,
        trace: Trace,
        kinds: Iterable[str | int] | None,
        agents: Iterable[int] | None,
        addresses: Iterable[tuple[int, int]] | None,
    ) -> None:
        numbers = None if kinds is None else [_kind(kind) for kind in kinds]
        only = None if agents is None else list(agents)
        ranges = None if addresses is None else [tuple(pair) for pair in addresses]
        for agent in only or ():
            if not 0 <= agent < len(trace.agents):
                raise t.TraceError(f"select: agent {agent} is not in the trace, which has {len(trace.agents)}")
        for pair in ranges or ():
            if len(pair) != 2 or pair[0] >= pair[1]:
                raise t.TraceError(f"select: a range is (first, end) in bytes, not {pair}")
        self.kinds = _marked(t.CONTINUES, numbers)
        self.agents = _marked(t.AGENTS, only)
        self.anywhere = ranges is None
        self.ranges = np.array(ranges or [], np.int64).reshape(-1, 2)
        self.info = {
            "kinds": None if numbers is None else [t.NAMES[number] for number in numbers],
            "agents": only, "addresses": None if ranges is None else [list(pair) for pair in ranges],
        }  # fmt: skip


def _kind(kind: str | int) -> int:
    number = KINDS.get(kind.lower()) if isinstance(kind, str) else int(kind)
    if number not in KINDS.values():
        raise t.TraceError(f"select: no kind {kind!r}; there are {', '.join(KINDS)}")
    return int(number)  # type: ignore[arg-type]


def _marked(size: int, numbers: Iterable[int] | None) -> np.ndarray:
    """Return bool[size]: the chosen numbers; all if `numbers` is None."""
    marks = np.full(size, numbers is None)
    marks[list(numbers or [])] = True
    return marks


def _selected(
    trace: Trace, conditions: _Conditions, where: Callable[[np.ndarray], np.ndarray] | None, keep: bool
) -> Iterator[np.ndarray]:
    latest = np.zeros((t.AGENTS, 2), np.bool_)
    before = 0
    for chunk in checked(trace):
        mask = np.ones(chunk.size, np.bool_) if where is None else _asked(trace, where, chunk, before)
        _decide(chunk, mask, latest, conditions.kinds, conditions.agents, conditions.ranges, conditions.anywhere, keep)
        before += chunk.size
        if mask.all():
            yield chunk
        elif mask.any():
            yield chosen(np.ascontiguousarray(chunk), mask)


def _asked(trace: Trace, where: Callable[[np.ndarray], np.ndarray], chunk: np.ndarray, before: int) -> np.ndarray:
    mask = np.asarray(where(chunk))
    if mask.dtype != np.bool_ or mask.shape != chunk.shape:
        wanted, got = f"bool[{chunk.size}]", f"{mask.dtype}{list(mask.shape)}"
        raise t.TraceError(f"{trace.prefix}select: for the records from {before} on, `where` must return {wanted}, not {got}")
    return mask.copy()


@entry
def _decide(ops, mask, latest, kinds, agents, ranges, anywhere, keep):
    """Complete the mask of records to keep; `latest` is the decision on each agent's latest fetch and data access."""
    kept = False
    for i in range(ops.size):
        op = ops[i]
        kind = op.kind & ~t.CONTINUES
        stream = 0 if kind == t.FETCH else 1
        if op.kind == t.ARG:
            mask[i] = kept
            continue
        if op.kind & t.CONTINUES:
            mask[i] = latest[op.agent, stream]
            continue
        met = mask[i] and kinds[kind] and agents[op.agent] and (anywhere or _lies_in(ops, i, ranges))
        kept = met == keep
        mask[i] = kept
        if kind <= t.FETCH:
            latest[op.agent, stream] = kept


@part
def _lies_in(ops, i, ranges):
    """Return whether the access or operation at `i` has an address in one of the ranges, or no address at all."""
    op = ops[i]
    kind = op.kind
    if kind <= t.FETCH or kind == t.BRK:
        return _overlaps(op.address, op.address + 1, ranges)
    if not t.is_paged(kind) or kind == t.PUNCH:
        return True
    pages = t.page_count(ops, i)
    found = _overlaps(op.address, op.address + (pages << t.PAGE_SHIFT), ranges)
    other = i + 1 if t.args_of(kind) else i
    moved = kind == t.GUEST and ops[other].count >> t.GUEST_SHIFT == t.MREMAP
    if kind == t.MREMAP or kind == t.KSM_MERGE or moved:
        size = ops[other].count if kind == t.MREMAP else pages
        found = found or _overlaps(ops[other].address, ops[other].address + (size << t.PAGE_SHIFT), ranges)
    return found


@part
def _overlaps(first, end, ranges):
    """Return whether [first, end) and one of the ranges have a byte in common."""
    for k in range(ranges.shape[0]):
        if first < ranges[k, 1] and ranges[k, 0] < end:
            return True
    return False
