"""Suites: named workloads that every design can run today, each with devices, so that designs are compared on more than one program."""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from hwmodel import op
from hwmodel.op import TraceError
from hwmodel.trace import Trace
from workloads import synthetic
from workloads.compose import stretch
from workloads.offload import offload
from workloads.recorded import load

Suite = Literal["quick", "full"]
SUITES: tuple[Suite, ...] = get_args(Suite)
QUICK = 1_000_000
"""Most records of a workload of the quick suite."""
WITHIN, BEYOND = 2048, 16_384
"""Pages of half the reach, and of four times the reach, of a TLB with 4,096 entries: a GRU's has at most as many."""


class Workload(NamedTuple):
    """A workload of a suite.

    Parameters
    ----------
    name : str
        Lower case; the same in every suite that has it.
    exercises : str
        What it puts to the test, in one line.
    make : callable
        Returns the trace, which is lazy and has a device agent; the same one at every call. ``make(seed=1)`` draws anew what is
        random: what a generator draws, which accesses of a recording a device gets.
    """

    name: str
    exercises: str
    make: Callable[..., Trace]


def recording(name: str, first: int = 0, records: int | None = None, seed: int = 0) -> Trace:
    """Return a recording, or a stretch of it; a device gets half of the data accesses of its first thread."""
    return offload(load(name) if records is None else stretch(load(name), first, records), seed=seed)


def in_memory(generate: Callable[..., Trace], **arguments: Any) -> Trace:
    """Return a generator's trace with all of its initial memory in place, so that no access takes a page fault."""
    trace = generate(**arguments)
    prelude = op.copy_records(trace.prelude)
    prelude["count"][np.flatnonzero(prelude["kind"] == op.MMAP) + 1] |= op.POPULATE
    return Trace(trace.agents, trace.chunks, prelude, trace.info | {"in_memory": True}, trace.name, *(trace.known_size or (None, None)))


class _Row(NamedTuple):
    """A row of the table: the function that makes the trace, its arguments in every suite, and those that differ."""

    name: str
    exercises: str
    made_by: Callable[..., Trace]
    usual: dict[str, Any]
    quick: dict[str, Any]
    full: dict[str, Any]


TABLE = (
    _Row("sqlite", "a small heap and a mapped file: cold misses, page faults, few unmaps",
         recording, {"name": "sqlite"}, {"records": QUICK}, {}),
    _Row("gcc", "a growing heap: nearly every miss is the first touch of a page",
         recording, {"name": "gcc"}, {"records": QUICK}, {}),
    _Row("git", "threads that fill and unmap buffers: shootdowns beside a device's invalidations",
         recording, {"name": "git"}, {"records": QUICK}, {}),
    _Row("kernel", "faults, notices and copies on write that Linux made for a program that forks",
         recording, {"name": "kernel"}, {"records": QUICK}, {}),
    _Row("sort", "a real working set beyond any TLB's reach: rows in an order unlike their pages'",
         recording, {"name": "sort"}, {"first": 2_900_000, "records": QUICK}, {}),
    _Row("zipf-within", "popular and rare pages within a GRU's reach: one miss of each, then hits",
         in_memory, {"generate": synthetic.zipf, "pages": WITHIN, "devices": 1}, {"accesses": 300_000}, {"accesses": 3_000_000}),
    _Row("zipf-beyond", "popular pages stay in a TLB, rare ones miss: replacement and walkers' caches",
         in_memory, {"generate": synthetic.zipf, "pages": BEYOND, "devices": 1}, {"accesses": 300_000}, {"accesses": 3_000_000}),
    _Row("uniform-within", "all pages alike and within a GRU's reach: the cost of a hit, after one miss each",
         in_memory, {"generate": synthetic.uniform, "pages": WITHIN, "devices": 1}, {"accesses": 300_000}, {"accesses": 3_000_000}),
    _Row("uniform-beyond", "all pages alike, four times the reach of a GRU of 2008: the cost of a miss",
         in_memory, {"generate": synthetic.uniform, "pages": BEYOND, "devices": 1}, {"accesses": 200_000}, {"accesses": 2_000_000}),
    _Row("block-copy", "blocks copied line by line, what a GRU was built for: 64 accesses to a page",
         synthetic.gru_block_copy, {"pages": BEYOND, "devices": 2}, {"accesses": 5_000_000}, {"accesses": 50_000_000}),
    _Row("gather-scatter", "single elements of a partitioned table, a GRU's worst case: most accesses miss",
         synthetic.gather_scatter, {"pages": 2 * BEYOND, "devices": 2}, {"accesses": 200_000}, {"accesses": 2_000_000}),
    _Row("boot-and-serve", "a machine boots and serves, what KVM does: first touches, then pages taken back",
         synthetic.vm_boot_and_serve, {"pages": BEYOND, "devices": 2, "guest": False}, {"accesses": 300_000}, {"accesses": 3_000_000}),
    _Row("unmap-churn", "16 pages unmapped and mapped anew every 1,000 accesses: invalidations and faults",
         synthetic.unmap_churn, {"devices": 1}, {"accesses": 300_000}, {"accesses": 3_000_000}),
    _Row("fork-snapshots", "children read a snapshot while the parent writes: spaces protected, pages copied",
         synthetic.fork_snapshots, {"pages": 8192, "devices": 1}, {"accesses": 300_000}, {"accesses": 3_000_000}),
)  # fmt: skip
"""Traces of a row are alike in both suites; the full one has the whole recording, or ten times the accesses."""


def suite(name: Suite = "quick") -> tuple[Workload, ...]:
    """Return the workloads of a suite; nothing is generated or read before one is made and used.

    Parameters
    ----------
    name : "quick" or "full"
        "quick": at most a million records each. "full": the same ones, longer, and the recordings whole.

    Returns
    -------
    tuple of Workload
        Each with its name, one line on what it exercises, and `make`, which returns the trace.

    Raises
    ------
    TraceError
        If there is no such suite.
    """
    if name not in SUITES:
        raise TraceError(f"no suite {name!r}; there are {', '.join(SUITES)}")
    return tuple(Workload(row.name, row.exercises, functools.partial(row.made_by, **row.usual, **getattr(row, name))) for row in TABLE)
