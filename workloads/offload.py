"""Give a part of a program's data accesses to devices."""

import functools
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np

from hwmodel import op as t
from hwmodel.jit import entry, part
from hwmodel.trace import Trace
from workloads.compose.numbering import checked, joined
from workloads.merging import LINE, WHOLE_RUN, Merger

UNITS = ("record", "line", "page")
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
    unit: Literal["record", "line", "page"] = "line",
    bytes: int = 8,
) -> Trace:
    """Give a part of the reads and writes of CPU agent 0 to devices of the same address space.

    The CPU keeps the others, its fetches and all operations. Records keep their order; the two halves of a crossing
    access stay together. The same arguments give the same trace.

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
    unit : "record", "line" or "page"
        The devices' accesses. "record": those of the program, record by record. For the others a device's records of one page
        and one kind, one after the other, become one record in the place of the first, a run, as `workloads.merging` says; never
        is a record split. "line": a run is max(lines in which its records begin, ceil(accesses * bytes / 64)) accesses, for
        each moves a line of 64 bytes. "page": a run is one access, which moves what there is of the page.
    bytes : int
        Bytes that an access of the program moves on average, in [1, 64]; of "line" only. A recording does not say (letter E:
        valgrind's lackey counts 8.1 of `sort`, 7.0 of `ls -l`, 5.5 of `git log`; most accesses move 8, by vectors up to 32).

    Returns
    -------
    Trace
        Lazy; has `engines` agents more than `trace`.

    Raises
    ------
    TraceError
        If an argument is out of range.
    """
    check_unit(unit, bytes)
    _check(trace, share, engines, by, block)
    row = (round(share * (1 << HASH_BITS)), engines, len(trace.agents), by == "page", block, seed % SEEDS, 0, 0, -1, CPU)
    space = trace.agents[CPU].space
    agents = [*trace.agents, *(t.Agent("device", space, f"device{i}") for i in range(engines))]
    settings = {"share": share, "engines": engines, "by": by, "block": block, "seed": seed, "unit": unit, "bytes": bytes}
    info = trace.info | {"offload": settings}
    if unit == "record":
        records, references = trace.known_size or (None, None)  # neither changes
        return Trace(agents, functools.partial(_split_stream, trace, row), trace.prelude, info, trace.name, records, references)
    merger = functools.partial(Merger, len(trace.agents), engines, bytes if unit == "line" else WHOLE_RUN)
    return Trace(agents, functools.partial(_merged_stream, trace, row, merger), trace.prelude, info, trace.name)


def check_unit(unit: str, bytes: int) -> None:
    """Raise TraceError if there is no such unit, or if accesses can't be so large."""
    if unit not in UNITS:
        raise t.TraceError(f"offload: unit must be 'record', 'line' or 'page', not {unit!r}")
    if not isinstance(bytes, int | np.integer):
        raise t.TraceError(f"offload: bytes must be a whole number, not {bytes}")
    if not 1 <= bytes <= LINE:
        raise t.TraceError(f"offload: bytes must be in [1, {LINE}], not {bytes}")


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


def _merged_stream(trace: Trace, row: tuple[Any, ...], merger: Callable[[], Merger]) -> Iterator[np.ndarray]:
    """Yield what is split and merged; a bad record is named here, for behind a run records have other numbers."""
    state, runs, held = np.array([row], SPLIT), merger(), np.empty(0, t.OP)
    for chunk in checked(trace):
        ops = joined([held, chunk])
        _split(ops[held.size :], state)
        settled, held = runs.merge(ops, held.size)
        if settled.size:
            yield settled
    if held.size:
        yield held


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
