"""A region used by some agents while a CPU unmaps and maps parts of it."""

import functools
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from hwmodel import op
from hwmodel.trace import Trace
from workloads.synthetic.drawing import BASE, BLOCK, block_records, check_range, check_usual, generator, insert, issuers, make_agents

PROT = op.PROT_READ | op.PROT_WRITE
PLACES = 1 << 20  # spawn key of the places of parts, different from the keys of the accesses
UNMAP, DONTNEED = "unmap", "dontneed"


def unmap_churn(
    accesses: int = 1_000_000,
    pages: int = 4096,
    every: int = 1000,
    part: int = 16,
    how: Literal["unmap", "dontneed"] = "unmap",
    writes: float = 0.3,
    cpus: int = 1,
    devices: int = 1,
    seed: int = 0,
) -> Trace:
    """Generate uniform accesses to a region; CPU agent 0 regularly returns a random part of it and maps the part anew.

    Parameters
    ----------
    accesses : int
        Over all agents that access memory.
    pages : int
        Size of the region in pages of 4 KiB; mapped from the start.
    every : int
        Accesses between two operations.
    part : int
        Pages of a part; it begins at a random multiple of its size.
    how : "unmap" or "dontneed"
        MUNMAP and, directly after it, MMAP of the same pages: program order is kept, so no access finds a hole. Or one
        MADVISE with DONTNEED, which is not ordered with the accesses of other agents.
    writes, cpus, devices, seed
        As for `uniform`.

    Returns
    -------
    Trace
        Lazy, in constant memory.

    Raises
    ------
    TraceError
        If an argument is out of range; names it.
    """
    check_usual(accesses, pages, writes, seed)
    check_range("part", part, 1, min(pages, (1 << 31) - 1))
    check_range("every", every, 1)
    if how not in (UNMAP, DONTNEED):
        raise op.TraceError(f"how must be {UNMAP!r} or {DONTNEED!r}, not {how!r}")
    agents = make_agents(cpus, devices)
    source = functools.partial(_stream, accesses, pages, every, part, how, writes, issuers(cpus, devices), seed)
    info: dict[str, Any] = {"program": "unmap_churn", "pages": pages, "every": every, "part": part, "how": how}
    info |= {"accesses": accesses, "writes": writes, "seed": seed}
    unit = 3 if how == UNMAP else 2
    records = accesses + unit * ((accesses - 1) // every)
    prelude = op.as_records(op.mmap_unit(BASE, pages, PROT))
    return Trace(agents, source, prelude, info, records=records, references=accesses)


def _stream(
    accesses: int, pages: int, every: int, part: int, how: str, writes: float, agents: np.ndarray, seed: int
) -> Iterator[np.ndarray]:
    """Yield the accesses, with operation k (from 1) before access k * every."""
    draw = functools.partial(_draw, pages)
    for first in range(0, accesses, BLOCK):
        size, block = min(BLOCK, accesses - first), first // BLOCK
        ops = block_records(draw, block, first, size, writes, agents, seed)
        before = np.arange(max(-(-first // every), 1) * every, first + size, every) - first
        places = generator(seed, PLACES + block).integers(0, pages // part, before.size)
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


def _draw(pages: int, random: np.random.Generator, first: int, size: int) -> np.ndarray:
    return random.integers(0, pages, size)
