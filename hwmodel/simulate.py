"""`simulate`: a machine runs a trace; the Python side of the engine, which feeds it, grows its tables and closes the books."""

import functools
import sys
import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from hwmodel import engine, feed, limits
from hwmodel.build import build, grow
from hwmodel.config import ConfigError
from hwmodel.ledger import account
from hwmodel.op import (
    ARG,
    ATTACH,
    COLLAPSE,
    COMPUTE,
    DETACH,
    DIRTY_LOG,
    FILE_SHIFT,
    FORK,
    GUEST,
    KSM_MERGE,
    MADVISE,
    MIGRATE,
    MMAP,
    NAMES,
    PAGEOUT,
    POPULATE,
    PUNCH,
    SWAP_FREE,
    XPMEM,
    TraceError,
)  # fmt: skip
from hwmodel.result import Result
from hwmodel.secondary import design as design_of
from hwmodel.tables import I64, NEVER, QUEUED, Machine
from hwmodel.tally import AgentInfo
from hwmodel.trace import Trace
from hwmodel.tracecheck import Validator

NOT_YET = (PUNCH, SWAP_FREE, MIGRATE, KSM_MERGE, ATTACH, DETACH, GUEST, DIRTY_LOG)
NOT_YET_ADVICE = {PAGEOUT: "PAGEOUT", COLLAPSE: "COLLAPSE"}
"""Operations and advice that traces may carry and that the engine does not model."""
CHUNK = 1 << 18
IDLE = account("idle")


class DeadlockError(RuntimeError):
    """Nothing can act while work remains: a defect of the model, never of its input."""


def simulate(
    machine: Any,
    trace: Trace,
    *,
    progress: bool | None = None,
    strict: bool = False,
    runahead: bool = True,
    chunk: int = CHUNK,
    capacity: int | None = None,
) -> Result:
    """Run a trace on a machine.

    Parameters
    ----------
    machine : hwmodel.machine.Machine
        From `hwmodel.preset`.
    trace : Trace
        Device agents are the machine's engines, CPU agents run on CPUs of their own.
    progress : bool, optional
        Show a progress bar; by default on a terminal or in a notebook, for runs of a second or more.
    strict : bool
        Refuse a trace with an access that has no right, instead of counting it as `segv` and warning.
    runahead : bool
        Let agents take private steps ahead of the others: faster, with the same result.
    chunk : int
        Records read at a time; never changes a result.
    capacity : int, optional
        Rows of every growing table at the start; never changes a result.

    Returns
    -------
    Result

    Raises
    ------
    TraceError
        The trace is invalid, uses an operation that is not modelled, or (strict) makes an access without a right.
    ConfigError
        The machine lacks engines, CPUs or memory for the trace, or its costs take a clock past the latest time there is.
    """
    begun = time.perf_counter()
    design, validator, m, dev, row_of = power_on(machine, trace, capacity)
    m.ctl["runahead"] = runahead
    with bar(progress, trace.known_size) as shown:
        m = drive(m, dev, design, trace, validator, row_of, chunk, shown)
    close(m)
    report_segv(m, trace, strict)
    ctl = m.ctl[0]
    n, records, references = int(ctl.agents), int(ctl.fed), int(ctl.references)
    result = Result(
        machine, trace.info, [describe(m, trace, row_of, r) for r in range(n)], m.counts, m.ledger, m.rows["clock"][:n],
        m.hists, time.perf_counter() - begun, records, references,
    )  # fmt: skip
    result.check()
    return result


def power_on(
    machine: Any, trace: Trace, capacity: int | None = None
) -> tuple[Any, Validator, Machine, Any, np.ndarray]:
    """(design, validator, tables, the design's tables, row of each agent): all at time 0, the trace's initial memory in place.

    Raises TraceError and ConfigError as `simulate` does.
    """
    design = design_of(machine.design)
    engines = sum(agent.role == "device" for agent in trace.agents)
    machine.check_engines(engines)
    validator = Validator(trace)
    m, dev, row_of = build(machine, design, trace.agents, capacity)
    limits.check_machine(m)
    check_modelled(trace, trace.prelude, np.arange(trace.prelude.size))
    mark_unborn(m, trace)
    return design, validator, apply_prelude(m, trace, design, engines), dev, row_of


def bar(progress: bool | None, size: tuple[int, int] | None) -> Any:
    """A progress bar over the records; by default only where somebody looks, and after a second."""
    from tqdm import tqdm

    records = size[0] if size else None
    shown = sys.stderr.isatty() or "ipykernel" in sys.modules if progress is None else progress
    return tqdm(total=records, unit=" records", unit_scale=True, disable=not shown, leave=False, delay=0 if progress else 1)


def drive(
    m: Machine, dev: Any, design: Any, trace: Trace, validator: Validator, row_of: np.ndarray, chunk: int, shown: Any
) -> Machine:
    """Run the engine to the end of the trace."""
    chunks: Iterator[np.ndarray] = trace.chunks(chunk)
    spare = m.queue
    while True:
        m, finished = go_on(m, dev, design)
        if finished:
            return m
        m, spare = read(m, spare, trace, validator, row_of, next(chunks, None))
        shown.update(int(m.ctl[0].fed) - shown.n)


def go_on(m: Machine, dev: Any, design: Any) -> tuple[Machine, bool]:
    """Run the engine until it needs records (False) or has finished (True); its tables grow as they must."""
    while True:
        why = design.run(m, dev)
        if why in (engine.FINISHED, engine.NEED_INPUT):
            return m, why == engine.FINISHED
        if why == engine.EXHAUSTED:
            raise ConfigError(f"memory.size_mib: {int(m.ctl[0].frame_limit) // 256} MiB are not enough for the trace's pages")
        if why == engine.TOO_LATE:
            raise limits.too_late(m)
        if why != engine.NEED_ROOM:
            raise DeadlockError(f"deadlock at cycle {int(m.ctl[0].now)}: {waiting(m)}")
        m = grow(m)
        limits.check_tables(m)


def read(
    m: Machine, spare: np.ndarray, trace: Trace, validator: Validator, row_of: np.ndarray, ops: np.ndarray | None
) -> tuple[Machine, np.ndarray]:
    """Check a chunk and put it into the agents' queues, in the spare table; None: the trace has ended. The old table is the next spare."""
    if ops is None:
        m.ctl["total"] = m.ctl["fed"]
        return m, spare
    validator.check(ops)
    at = np.flatnonzero(ops["kind"] > COMPUTE)  # operations with their ARG records, and a few second halves
    check_modelled(trace, ops, at, int(m.ctl[0].fed))
    limits.check_records(m, trace, ops, row_of, int(m.ctl[0].fed))
    m = m._replace(files=longer_files(m.files, ops[at]))
    need = int((m.rows["tail"] - m.rows["head"])[: m.ctl[0].agents].sum()) + ops.size
    if spare.size < need:
        spare = np.zeros(need + need // 4, QUEUED)
    feed.feed(m, spare, np.ascontiguousarray(ops), row_of)
    return m._replace(queue=spare), m.queue


def longer_files(files: np.ndarray, ops: np.ndarray) -> np.ndarray:
    """The table of files, long enough for those that these records map."""
    at = np.flatnonzero(ops["kind"] == MMAP)
    most = int((ops["count"][at + 1] >> FILE_SHIFT).max(initial=0)) if at.size else 0
    if most < files.size:
        return files
    longer = np.full(max(2 * files.size, most + 1), -1, I64)
    longer[: files.size] = files
    return longer


def check_modelled(trace: Trace, ops: np.ndarray, at: np.ndarray, before: int = 0) -> None:
    """Refuse operations that traces may carry and the engine does not model; `at`: where the operations of `ops` are."""
    for index in at[np.isin(ops["kind"][at], (MMAP, MADVISE, *NOT_YET))]:
        reason = not_modelled(ops, int(index))
        if reason:
            raise TraceError(f"{trace.prefix}record {before + index}: {reason} is not modelled yet")


def not_modelled(ops: np.ndarray, at: int) -> str:
    """What of the operation at `at` the engine does not model; empty if it models all of it."""
    kind = int(ops["kind"][at])
    arg = int(ops["count"][at + 1]) if kind in (MADVISE, MMAP) else 0
    if kind == MADVISE:
        return f"madvise {NOT_YET_ADVICE[arg]}" if arg in NOT_YET_ADVICE else ""
    if kind == MMAP:
        return "a mapping of XPMEM" if arg >> 3 & 7 == XPMEM else ""
    return NAMES[kind] if kind in NOT_YET else ""


def mark_unborn(m: Machine, trace: Trace) -> None:
    """Address spaces that the trace forks do not exist before."""
    for child in forked(trace) if m.spaces.size > 1 else ():
        m.spaces["born"][child] = 0
    feed.load_spaces(m)


@functools.lru_cache(maxsize=16)
def forked(trace: Trace) -> frozenset[int]:
    """The address spaces that a trace forks: a pass over it, made once."""
    spaces = max(agent.space for agent in trace.agents) + 1
    children: set[int] = set()
    for ops in trace.chunks():
        children.update(int(count) for count in ops["count"][ops["kind"] == FORK] if 0 <= count < spaces)
    return frozenset(children)


def apply_prelude(m: Machine, trace: Trace, design: Any, engines: int) -> Machine:
    """Declare what is mapped before time 0, and map what the prelude populates."""
    ops = np.ascontiguousarray(trace.prelude)
    m = m._replace(files=longer_files(m.files, ops))
    if engines and hasattr(design, "extra_vma"):
        m = declare_extra(m, trace, *design.extra_vma())
    for k in np.flatnonzero(ops["kind"] != ARG):
        m = grow(m)
        space = trace.agents[ops["agent"][k]].space
        feed.declare(m, space, ops, k)
        if ops["kind"][k] == MMAP and ops["count"][k + 1] & POPULATE:
            m = populate(m, space, ops, k)
    return m


def populate(m: Machine, space: int, ops: np.ndarray, k: int) -> Machine:
    """Map every page of one mapping of the prelude."""
    at = int(ops["address"][k]) >> 12
    last = at + int(ops["count"][k] if ops["count"][k] >= 0 else ops["address"][k + 2])
    while at < last:
        m = grow(m)
        at = feed.populate(m, space, at, last)
        if m.ctl[0].exhausted:
            raise ConfigError(f"memory.size_mib: {int(m.ctl[0].frame_limit) // 256} MiB are not enough for the trace's prelude")
    return m


def declare_extra(m: Machine, trace: Trace, first: int, last: int) -> Machine:
    """Give each address space with engines, born or not, the memory that the design needs beside the trace's own."""
    ops = np.zeros(3, trace.prelude.dtype)
    ops["kind"], ops["address"], ops["count"] = (MMAP, ARG, ARG), (first << 12, 0, last - first), (-1, 3, 0)
    for space in range(m.spaces.size):
        if m.spaces[space].subscribers:
            m = grow(m)
            feed.declare(m, space, ops, 0)
    return m


def close(m: Machine) -> None:
    """Idle fills every agent's clock up to the latest."""
    n = int(m.ctl[0].agents)
    rows = m.rows[:n]
    end = max(int(rows["clock"].max()), int(rows["done_at"].max()), int(rows["busy_until"].max()))
    if end >= m.ctl[0].latest:
        raise limits.too_late(m)
    m.ledger[:, IDLE] += end - rows["clock"]
    rows["clock"] = end


def report_segv(m: Machine, trace: Trace, strict: bool) -> None:
    """Warn of accesses without a right, or refuse them."""
    first = int(m.ctl[0].first_segv)
    if first < NEVER:
        message = f"{trace.prefix}record {first}: the first access without a right to it (counted as segv, not retried)"
        if strict:
            raise TraceError(message)
        warnings.warn(message, stacklevel=3)


def describe(m: Machine, trace: Trace, row_of: np.ndarray, r: int) -> AgentInfo:
    """Who row r is."""
    for agent, row in zip(trace.agents, row_of, strict=True):
        if row == r:
            return AgentInfo(agent.name, agent.role, agent.space)
    return AgentInfo(f"cpu{r} (no agent)", "cpu", -1)


def waiting(m: Machine) -> str:
    """What the rows wait for, for the message of a deadlock."""
    parts = []
    for r, row in enumerate(m.rows):
        if row.lock_mode:
            parts.append(f"row {r} waits for lock {row.lock} (writer {m.locks[row.lock].writer}, readers {m.locks[row.lock].readers})")
        elif m.due[r] == NEVER and row.phase not in (1, 2):
            parts.append(f"row {r} is blocked in phase {row.phase}, reason {row.why}")
    return "; ".join(parts)


__all__ = ["DeadlockError", "simulate"]
