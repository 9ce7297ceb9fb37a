"""A region used by some agents while a CPU unmaps and maps parts of it."""

import functools
from collections.abc import Iterator
from typing import Literal

import numpy as np

from hwmodel import op
from hwmodel.trace import Trace
from workloads.synthetic.drawing import BASE, BLOCK, PROT, block_records, draw_uniform, generator, insert, region
from workloads.synthetic.parameters import Common, Positive, check_range, workload

PLACES = 1 << 20  # spawn key of the places of parts, different from the keys of the accesses
UNMAP = "unmap"


@workload(pages=4096, devices=1)
def unmap_churn(common: Common, every: Positive = 1000, part: int = 16, how: Literal["unmap", "dontneed"] = "unmap") -> Trace:
    """Generate uniform accesses to a region; CPU agent 0 regularly returns a random part of it and maps the part anew.

    Parameters
    ----------
    every : int
        Accesses between two operations.
    part : int
        Pages of a part; it begins at a random multiple of its size.
    how : "unmap" or "dontneed"
        MUNMAP and, directly after it, MMAP of the same pages: program order is kept, so no access finds a hole. Or one
        MADVISE with DONTNEED, which is not ordered with the accesses of other agents.
    """
    check_range("part", part, 1, min(common.pages, (1 << 31) - 1))
    source, accesses = functools.partial(_stream, common, common.users, every, part, how), common.accesses
    records = accesses + (3 if how == UNMAP else 2) * ((accesses - 1) // every)
    prelude = op.as_records(region(common.pages))
    return Trace(common.agents, source, prelude, common.described, records=records, references=accesses)


def _stream(common: Common, agents: np.ndarray, every: int, part: int, how: str) -> Iterator[np.ndarray]:
    """Yield the accesses, with operation k (from 1) before access k * every."""
    draw = functools.partial(draw_uniform, common.pages)
    for first in range(0, common.accesses, BLOCK):
        size = min(BLOCK, common.accesses - first)
        ops = block_records(draw, common, agents, first, size)
        before = np.arange(max(-(-first // every), 1) * every, first + size, every) - first
        places = generator(common.seed, PLACES + first // BLOCK).integers(0, common.pages // part, before.size)
        yield insert(ops, before, _operations(places, part, how))


def _operations(places: np.ndarray, part: int, how: str) -> np.ndarray:
    """Return OP[operation, record]: the units that unmap or discard the parts at `places`."""
    unit = op.paged_unit(op.MADVISE, BASE, part, [(0, op.DONTNEED)])
    if how == UNMAP:
        unit = [*op.paged_unit(op.MUNMAP, BASE, part), *op.mmap_unit(BASE, part, PROT)]
    units = np.tile(op.as_records(unit), (places.size, 1))
    addressed = units["kind"] != op.ARG
    units["address"] += np.where(addressed, (places * part << op.PAGE_SHIFT)[:, None], 0)
    return units
