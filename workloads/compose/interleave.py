"""Several traces running at the same time."""

import functools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from hwmodel import op as t
from hwmodel.jit import entry
from hwmodel.trace import Trace
from workloads.compose.numbering import WORDS, Numbers, ends, finished, joined, renamed, side_by_side, spaces_apart

READ_AHEAD = 1 << 14  # records of each trace
BATCH = 1 << 16  # records merged at once
ROOM = 4  # more than the records of the longest unit
FULL, DONE = -1, -2

LANE = np.dtype((np.record, [
    ("at", "i8"),     # index of the trace's next record in the pool
    ("end", "i8"),    # end of the trace's records in the pool
    ("left", "i8"),   # remaining records until the slice may end
    ("slice", "i8"),  # records of a slice
    ("more", "i8"),   # 1: the trace may have more than the pool
]))  # fmt: skip
CONTROL = np.dtype((np.record, [
    ("turn", "i8"),    # the trace whose slice it is
    ("filled", "i8"),  # number of records merged
]))  # fmt: skip


def interleave(
    traces: Sequence[Trace],
    records: int | Sequence[int] = 64,
    same_space: bool = False,
    spaces: Sequence[Mapping[int, int]] | None = None,
    same_files: bool = False,
) -> Trace:
    """Let several traces run at the same time: a slice of each in turn, with the agents of all.

    A slice has `records` records and then continues to the end of its unit or crossing access. A trace that has ended is
    left out. Beyond that, the engine keeps its usual order: of mappings in one address space. A SYNC
    has no operand: a SYNC of any trace waits for the agents of all of them.

    Parameters
    ----------
    traces : sequence of Trace
        At least one; together at most 128 agents.
    records : int, or one for each trace
        Records in a slice, at least 1: unequal ones let a trace run faster.
    same_space : bool
        Merge address spaces with the same number. By default each trace has its own: the first keeps its numbers.
        The initial memory of a merged space is that of all its traces, which must not overlap where populated.
    spaces : sequence of mappings, optional
        For each trace the new numbers of its address spaces, as {its own: new}; spaces not named keep their numbers.
    same_files : bool
        Merge files with the same number; by default no trace maps a file of another's.

    Returns
    -------
    Trace
        Lazy. An agent whose name an earlier trace already has gets the trace's place as a suffix (``cpu0/1``).

    Raises
    ------
    TraceError
        If the traces can't be combined; from the iteration, if a record of theirs is invalid.
    """
    traces = tuple(traces)
    slices = [records] * len(traces) if isinstance(records, int) else list(records)
    _check(traces, slices, same_space, spaces)
    mappings = spaces or ([{}] * len(traces) if same_space else spaces_apart(traces))
    numbers = side_by_side("interleave", traces, mappings, same_files)
    _check_breaks(numbers)
    sizes = [trace.known_size for trace in traces]
    known = [sum(size[i] for size in sizes if size) if all(sizes) else None for i in (0, 1)]
    info = ends(traces) | {"interleave": {"records": slices, "traces": [trace.info for trace in traces]}}
    source = functools.partial(_merged, numbers, slices)
    prelude = joined(own.prelude() for own in numbers)
    return finished(Trace(renamed(numbers), source, prelude, info, _name(traces), *known))


def _name(traces: Sequence[Trace]) -> str:
    names = [trace.name for trace in traces if trace.name]
    return f"interleave({', '.join(names)})" if names else ""


def _check(
    traces: Sequence[Trace], slices: Sequence[int], same_space: bool, spaces: Sequence[Mapping[int, int]] | None
) -> None:
    if not traces:
        raise t.TraceError("interleave: no trace")
    if len(slices) != len(traces) or min(slices) < 1:
        raise t.TraceError(f"interleave: records must be at least 1, for each of {len(traces)} traces, not {slices}")
    if spaces is not None and (same_space or len(spaces) != len(traces)):
        raise t.TraceError(f"interleave: spaces has a mapping for each of {len(traces)} traces, and then no same_space")
    for mapping in spaces or ():
        if not all(0 <= space < t.SPACES for space in (*mapping, *mapping.values())):
            raise t.TraceError(f"interleave: spaces are in [0, {t.SPACES}), not {dict(mapping)}")


def _check_breaks(numbers: Sequence[Numbers]) -> None:
    """Refuse two program breaks in one space: one trace's BRK would map or unmap memory up to the other's break."""
    owner: dict[int, int] = {}
    for place, own in enumerate(numbers):
        prelude = own.trace.prelude
        for agent in prelude["agent"][prelude["kind"] == t.BRK].tolist():
            space = int(own.spaces[own.trace.agents[agent].space])
            if owner.setdefault(space, place) != place:
                raise t.TraceError(f"interleave: traces {owner[space]} and {place} both have a program break in space {space}")


def _merged(numbers: Sequence[Numbers], slices: Sequence[int]) -> Iterator[np.ndarray]:
    sources = [own.chunks(READ_AHEAD) for own in numbers]
    pool = np.empty((len(sources), READ_AHEAD + ROOM), t.OP)
    lanes = np.zeros(len(sources), LANE)
    lanes["left"] = lanes["slice"] = slices
    lanes["more"] = 1
    control, out = np.zeros(1, CONTROL), np.empty(BATCH, t.OP)
    why = FULL
    while why != DONE:
        why = _merge(pool, lanes, control, out)
        if why >= 0:
            _refill(pool[why], lanes[why], sources[why])
        elif control[0]["filled"]:
            yield out[: int(control[0]["filled"])]
            control["filled"], out = 0, np.empty(BATCH, t.OP)


def _refill(pool: np.ndarray, lane: np.void, source: Iterator[np.ndarray]) -> None:
    chunk = next(source, None)
    if chunk is None:
        lane["more"] = 0
    else:
        pool[: chunk.size].view(WORDS)[:] = np.ascontiguousarray(chunk).view(WORDS)
        lane["at"], lane["end"] = 0, chunk.size


@entry
def _merge(pool, lanes, control, out):
    """Merge slices; return DONE: all have ended, FULL: no room for another unit, or the trace that must be read further."""
    ctl = control[0]
    ended = 0
    while ended < lanes.size:
        lane = lanes[ctl.turn]
        while lane.at < lane.end:
            op = pool[ctl.turn, lane.at]
            inside = op.kind == t.ARG or op.kind & t.CONTINUES != 0
            if lane.left <= 0 and not inside:
                break
            if op.kind != t.ARG and ctl.filled + ROOM > out.size:
                return FULL
            t.write(out[ctl.filled], op.address, op.count, op.gap, op.kind, op.agent)
            ctl.filled += 1
            lane.at += 1
            lane.left -= 1
        if lane.at == lane.end and lane.more:
            return ctl.turn
        ended = ended + 1 if lane.at == lane.end else 0
        lane.left = lane.slice
        ctl.turn = (ctl.turn + 1) % lanes.size
    return DONE
