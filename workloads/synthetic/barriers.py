"""A garbage collector that uses page protection as its write barrier."""

import functools
from collections.abc import Iterator

import numpy as np

from hwmodel import op
from hwmodel.trace import Trace
from workloads.synthetic.drawing import PROT, deal, insert, touch
from workloads.synthetic.parameters import MOST_PAGES, Common, Positive, check_range, workload
from workloads.synthetic.rounds import each_round, page_of, round_trace, spread, unit, units


@workload(most=MOST_PAGES, pages=4096, cpus=2, devices=1)
def mprotect_toggle(common: Common, part: int = 64, every: Positive = 4000) -> Trace:
    """Generate mutators that use a heap of which a collector write-protects one slice after another.

    The virtual-memory write barrier of concurrent collectors (Appel and Li, "Virtual memory primitives for user programs",
    1991; Boehm, Demers and Shenker, "Mostly parallel garbage collection", 1991): many pages are protected in one call, and
    unprotected one by one as mutators trap on them. CPU agent 0 protects a slice, reads its pages, and at last unprotects
    the remaining pages. The first write of a mutator to a page of the slice comes after the MPROTECT of that page that its trap
    handler makes: the mutator itself, or CPU agent 0 for a device. The trap itself (exception, signal) is not in the trace, so
    no access lacks permission.

    In the model: write locks of the mmap lock, splitting and merging of VMAs, a notice and a flush for each protection removed, none
    for those restored, and the faults of CPUs and devices that then find their page read-only.

    Parameters
    ----------
    accesses : int
        Over all agents, the collector's reads included.
    pages : int
        Size of the heap in pages of 4 KiB; mapped from the start.
    part : int
        Pages of a slice.
    every : int
        Accesses of mutators while a slice is collected.
    writes : float
        Part of the mutators' accesses that are writes, in [0, 1].
    cpus, devices : int
        Agents of one address space. The devices are the mutators, or all CPUs if there are none.
    """
    check_range("part", part, 1, common.pages)
    return round_trace(functools.partial(_rounds, common, common.users, part, every), common)


def _rounds(common: Common, mutators: np.ndarray, part: int, every: int) -> Iterator[np.ndarray]:
    for k, random in each_round(common.seed):
        first = k % (common.pages // part) * part
        ops = touch(random, random.integers(0, common.pages, every), common.writes, deal(mutators, k * every, every))
        reads = touch(random, np.arange(first, first + part), 0, 0)
        ops = insert(ops, spread(part, every), reads[:, None])
        trapped = _first_writes(ops, first, part)
        handlers = np.where(ops["agent"][trapped] < common.cpus, ops["agent"][trapped], 0)  # a device changes no protection
        yield unit(op.MPROTECT, first, part, op.PROT_READ)
        yield insert(ops, trapped, units(op.MPROTECT, page_of(ops)[trapped], 1, PROT, agent=handlers))
        yield unit(op.MPROTECT, first, part, PROT)


def _first_writes(ops: np.ndarray, first: int, part: int) -> np.ndarray:
    """Return the indices of the first write to each page of [first, first + part), ascending."""
    pages = page_of(ops)
    inside = np.flatnonzero((ops["kind"] == op.WRITE) & (pages >= first) & (pages < first + part))
    return np.sort(inside[np.unique(pages[inside], return_index=True)[1]])
