"""The memory of a trace before its first record: mappings, populated pages, and address spaces that are not born yet."""

from typing import Any

import numpy as np

from hwmodel import feed, limits
from hwmodel.build import grow, longer_files
from hwmodel.core.tables import Machine
from hwmodel.op import ARG, MMAP, POPULATE, pages_of
from hwmodel.trace import Trace


def mark_unborn(m: Machine, trace: Trace) -> None:
    """Mark the address spaces that the trace forks: they do not exist before the fork."""
    for child in trace.forked if m.spaces.size > 1 else ():
        if child < m.spaces.size:
            m.spaces["born"][child] = 0
    feed.load_spaces(m)


def apply_prelude(m: Machine, trace: Trace, design: Any, engines: int) -> Machine:
    """Declare the mappings that exist before time 0, and map the pages that the prelude populates."""
    ops = np.ascontiguousarray(trace.prelude)
    m = m._replace(files=longer_files(m.files, ops))
    extra = design.extra_memory() if engines else None
    if extra:
        m = declare_extra(m, trace, *extra)
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
    last = at + pages_of(ops, k)
    while at < last:
        m = grow(m)
        at = feed.populate(m, space, at, last)
        if m.ctl[0].exhausted:
            raise limits.out_of_memory(m, ())
    return m


def declare_extra(m: Machine, trace: Trace, first: int, last: int) -> Machine:
    """Give each address space with engines, born or not, the memory that the design needs besides the trace's own."""
    ops = np.zeros(3, trace.prelude.dtype)
    ops["kind"], ops["address"], ops["count"] = (MMAP, ARG, ARG), (first << 12, 0, last - first), (-1, 3, 0)
    for space in range(m.spaces.size):
        if m.spaces[space].subscribers:
            m = grow(m)
            feed.declare(m, space, ops, 0)
            own = (m.vmas["space"] == space) & (m.vmas["first"] == first)
            m.vmas["dontcopy"][own] = 1  # QEMU marks guest memory MADV_DONTFORK
    return m
