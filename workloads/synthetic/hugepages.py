"""Huge pages that are split when a part of them changes, and later collapsed again."""

import functools
from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np

from hwmodel import op
from hwmodel.trace import Trace
from workloads.synthetic.drawing import PROT, deal, touch
from workloads.synthetic.parameters import MOST_PAGES, Common, Positive, workload
from workloads.synthetic.rounds import barrier, each_round, renew, round_trace, unit

HUGE = 512


@workload(most=MOST_PAGES, pages=8192, devices=1)
def huge_pages(
    common: Common,
    part: Annotated[int, 1, HUGE - 1] = 64,
    every: Positive = 1000,
    how: Literal["unmap", "mprotect", "dontneed"] = "unmap",
    collapse: Literal["advice", "fault"] = "advice",
) -> Trace:
    """Generate uniform accesses to a region of huge pages; CPU agent 0 splits a random one and later makes it whole again.

    Transparent huge pages under an allocator that returns parts of them: an operation on a part of a huge page splits it
    into 512; MADV_COLLAPSE (Linux 6.1) copies the parts into a new huge page at once, as khugepaged does in time. "fault" works
    without it: the whole huge page is unmapped and mapped anew (its data are lost) and the next access makes a huge one.

    In the model: huge faults, reach of TLBs, splits with their notice and flush, and the effects of both on a device that only has
    small entries. The region has MADV_HUGEPAGE, so the machine's kernel.thp must not be "never".

    Parameters
    ----------
    pages : int
        Size of the region in pages of 4 KiB, a multiple of 512; mapped from the start.
    part : int
        Pages that change in a huge page, in [1, 511]; they begin at a multiple of `part` within it.
    every : int
        Accesses from a split to the collapse, and from there to the next split.
    how : "unmap", "mprotect" or "dontneed"
        The operation that splits, after a SYNC: MUNMAP and MMAP of the part; MPROTECT to read-only and back; or MADVISE with DONTNEED.
    collapse : "advice" or "fault"
        The operation that collapses, after a SYNC: MADVISE with COLLAPSE, or MUNMAP and MMAP of it all; "fault" is modelled today.
    """
    if common.pages % HUGE:
        raise op.TraceError(f"pages must be a multiple of {HUGE}, not {common.pages}")
    return round_trace(functools.partial(_rounds, common, common.users, part, every, how, collapse), common)


def _rounds(
    common: Common, agents: np.ndarray, part: int, every: int, how: str, collapse: str
) -> Iterator[np.ndarray]:
    pages = common.pages
    yield unit(op.MADVISE, 0, pages, op.HUGEPAGE)
    for k, random in each_round(common.seed):
        ops = touch(random, random.integers(0, pages, 2 * every), common.writes, deal(agents, 2 * k * every, 2 * every))
        first = int(random.integers(0, pages // HUGE)) * HUGE
        yield ops[:every]
        yield barrier()
        yield _split(how, first + int(random.integers(0, HUGE // part)) * part, part)
        yield ops[every:]
        yield barrier()
        yield _collapse(collapse, first)


def _split(how: str, first: int, part: int) -> np.ndarray:
    if how == "unmap":
        return _renew_huge(first, part)
    if how == "mprotect":
        return np.concatenate([unit(op.MPROTECT, first, part, op.PROT_READ), unit(op.MPROTECT, first, part, PROT)])
    return unit(op.MADVISE, first, part, op.DONTNEED)


def _collapse(collapse: str, first: int) -> np.ndarray:
    return unit(op.MADVISE, first, HUGE, op.COLLAPSE) if collapse == "advice" else _renew_huge(first, HUGE)


def _renew_huge(first: int, pages: int) -> np.ndarray:
    """Return new mappings with MADV_HUGEPAGE, because they do not inherit the advice of the old ones."""
    return np.concatenate([renew(first, pages), unit(op.MADVISE, first, pages, op.HUGEPAGE)])
