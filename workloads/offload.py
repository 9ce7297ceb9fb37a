"""Give a part of a program's data accesses to devices."""

import functools
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from hwmodel import op as t
from hwmodel.jit import entry, part
from hwmodel.trace import Trace

CPU = 0
HASH_BITS = 32
LOW = (1 << HASH_BITS) - 1
SEEDS = 1 << 62
GOLDEN = 0x9E3779B9  # decorrelates the choice of the device from that of the side
BY_PAGE = 1

SPLIT = np.dtype((np.record, [
    ("threshold", "i8"),   # times 2**32: the devices' share
    ("engines", "i8"),
    ("first", "i8"),       # agent number of the first device
    ("by", "i8"),          # BY_PAGE, else by blocks
    ("block", "i8"),       # data records in a block
    ("seed", "i8"),
    ("blocks", "i8"),      # blocks begun so far
    ("left", "i8"),        # data records left in the current block, a crossing access counted once
    ("unit", "i8"),        # block or page of the latest data record, -1 before the first
    ("latest", "i8"),      # the agent that got the unit
]))  # fmt: skip


def offload(
    trace: Trace,
    share: float = 0.5,
    engines: int = 1,
    by: Literal["block", "page"] = "block",
    block: int = 64,
    seed: int = 0,
) -> Trace:
    """Give a part of the reads and writes of CPU agent 0 to devices of the same address space.

    The CPU keeps the others, its fetches and all operations. Records keep their order and their counts; the two
    halves of a crossing access stay together. The same arguments give the same trace.

    Parameters
    ----------
    trace : Trace
        Its agent 0 is a CPU.
    share : float
        Part of the data records that goes to devices, in [0, 1]; met on average over blocks or pages.
    engines : int
        Number of devices, each with its own part; at least 1.
    by : "block" or "page"
        The unit that goes to one side as a whole: `block` consecutive data records, or all records of a page.
    block : int
        Data records in a block; at least 1.
    seed : int
        Seed for the choice of blocks or pages.

    Returns
    -------
    Trace
        Lazy; has `engines` agents more than `trace`.

    Raises
    ------
    TraceError
        If an argument is out of range.
    """
    _check(trace, share, engines, by, block)
    row = (round(share * (1 << HASH_BITS)), engines, len(trace.agents), by == "page", block, seed % SEEDS, 0, 0, -1, CPU)
    space = trace.agents[CPU].space
    agents = [*trace.agents, *(t.Agent("device", space, f"device{i}") for i in range(engines))]
    settings = {"share": share, "engines": engines, "by": by, "block": block, "seed": seed}
    source = functools.partial(_split_stream, trace, row)
    records, references = trace.known_size or (None, None)  # offloading changes neither
    return Trace(agents, source, trace.prelude, trace.info | {"offload": settings}, trace.name, records, references)


def _check(trace: Trace, share: float, engines: int, by: str, block: int) -> None:
    if trace.agents[CPU].role != "cpu":
        raise t.TraceError("offload: agent 0 must be a CPU")
    if not 0 <= share <= 1:
        raise t.TraceError(f"offload: share must be in [0, 1], not {share}")
    if not 1 <= engines <= t.AGENTS - len(trace.agents):
        raise t.TraceError(f"offload: engines must be in [1, {t.AGENTS - len(trace.agents)}], not {engines}")
    if by not in ("block", "page"):
        raise t.TraceError(f"offload: by must be 'block' or 'page', not {by!r}")
    if block < 1:
        raise t.TraceError(f"offload: block must be at least 1, not {block}")


def _split_stream(trace: Trace, row: tuple[Any, ...]) -> Iterator[np.ndarray]:
    state = np.array([row], SPLIT)
    for chunk in trace.chunks():
        ops = t.copy_records(chunk)
        _split(ops, state)
        yield ops


@entry
def _split(ops, state):
    """Change the agent of the records that go to devices."""
    s = state[0]
    seed = _mix(_mix(s.seed & LOW) ^ (s.seed >> HASH_BITS))
    for i in range(ops.size):
        op = ops[i]
        kind = op.kind & ~t.CONTINUES
        if op.agent != CPU or kind > t.WRITE:
            continue
        if not op.kind & t.CONTINUES:
            unit = op.address >> t.PAGE_SHIFT if s.by == BY_PAGE else _block(s)
            if unit != s.unit:
                s.unit = unit
                s.latest = _owner(_mix(_mix(seed ^ (unit & LOW)) ^ (unit >> HASH_BITS)), s)
        op.agent = s.latest


@part
def _block(s):
    """Return the block of the next data record."""
    if s.left == 0:
        s.left = s.block
        s.blocks += 1
    s.left -= 1
    return s.blocks - 1


@part
def _owner(drawn, s):
    """Return the agent for a block or page whose random number is `drawn`."""
    return s.first + _mix(drawn ^ GOLDEN) % s.engines if drawn < s.threshold else CPU


@part
def _mix(value):
    """Scramble 32 bits (C. Wellons' lowbias32)."""
    value = _times(value ^ (value >> 16), 0x7FEB352D)
    value = _times(value ^ (value >> 15), 0x846CA68B)
    return value ^ (value >> 16)


@part
def _times(a, b):
    """Return the low 32 bits of a product of 32-bit numbers: no intermediate result exceeds 63 bits."""
    return (((a >> 16) * b & 0xFFFF) << 16) + (a & 0xFFFF) * b & LOW
