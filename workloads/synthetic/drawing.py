"""Common parts of the generators: the region, and blocks of records drawn independently."""

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from hwmodel import op
from hwmodel.trace import Trace
from workloads.synthetic.parameters import BASE, Common

PROT = op.PROT_READ | op.PROT_WRITE
BLOCK = 1 << 16
"""Accesses drawn from one seeded generator: traces of a seed depend on it, so it never changes."""
WHOLE = np.dtype((np.void, op.OP.itemsize))
"""A record as one opaque piece: NumPy copies records field by field, 15 times slower."""

Draw = Callable[[np.random.Generator, int, int], np.ndarray]
"""(generator, first access, accesses) -> int64[accesses], the accesses' pages in the region."""
Fill = Callable[[int, int], np.ndarray]
"""(first access, accesses) -> OP[accesses]; called for whole blocks and the rest."""


def stream_trace(draw: Draw, common: Common) -> Trace:
    """Return a trace of accesses to random pages of the region, which `draw` draws, dealt out to the agents in turn."""
    return block_trace(functools.partial(block_records, draw, common, common.users), common, region(common.pages))


def block_trace(fill: Fill, common: Common, prelude: Iterable[tuple[int, ...]] | np.ndarray) -> Trace:
    """Return a trace of accesses of which any stretch can be made without those before it; `prelude`: the initial mappings."""
    source, accesses = functools.partial(_blocks, fill, common.accesses), common.accesses
    return Trace(common.agents, source, op.as_records(prelude), common.described, records=accesses, references=accesses)


def fill_in(kernel: Callable[..., None], tables: tuple[Any, ...], first: int, size: int) -> np.ndarray:
    """Return the records of the accesses [first, first + size), which `kernel` fills in by its tables."""
    ops = np.empty(size, op.OP)
    kernel(ops, first, *tables)
    return ops


def region(pages: int, populate: bool = False) -> list[tuple[int, int, int, int, int]]:
    """Return the prelude that maps the region of address space 0, anonymous and writable."""
    return op.mmap_unit(BASE, pages, PROT, populate=populate)


def generator(seed: int, block: int) -> np.random.Generator:
    """Return the random numbers of one block, which do not depend on earlier draws."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=(block,))))


def draw_uniform(pages: int, random: np.random.Generator, first: int, size: int) -> np.ndarray:
    """Draw the pages of consecutive accesses, all alike."""
    return random.integers(0, pages, size)


def block_records(draw: Draw, common: Common, agents: np.ndarray, first: int, size: int) -> np.ndarray:
    """Return the OP records of one block of accesses, or of the beginning of one."""
    random = generator(common.seed, first // BLOCK)
    return touch(random, draw(random, first, size), common.writes, deal(agents, first, size))


def deal(agents: np.ndarray, first: int, size: int) -> np.ndarray:
    """Return the agents of the accesses [first, first + size): the agents take turns."""
    return np.tile(np.roll(agents, -(first % agents.size)), -(-size // agents.size))[:size]


def touch(random: np.random.Generator, pages: np.ndarray, writes: float, agents: np.ndarray | int) -> np.ndarray:
    """Return the OP records of one access to a random word of each of `pages` of the region."""
    ops = np.zeros(pages.size, op.OP)
    ops["address"] = BASE + (pages << op.PAGE_SHIFT)
    ops["address"] += random.integers(0, op.PAGE // 8, pages.size) * 8  # aligned words: none crosses a page
    ops["kind"] = random.random(pages.size) < writes  # WRITE is 1
    ops["agent"] = agents
    ops["count"] = 1
    return ops


def insert(ops: np.ndarray, before: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Return the records of `ops` with units[i] inserted before the record before[i]; `before` ascends."""
    length = units.shape[1]
    out = np.empty(ops.size + units.size, op.OP)
    starts = before + length * np.arange(before.size)
    is_access = np.ones(out.size, bool)
    is_access[(starts[:, None] + np.arange(length)).ravel()] = False
    whole = out.view(WHOLE)
    whole[is_access], whole[~is_access] = ops.view(WHOLE), units.ravel().view(WHOLE)
    return out


def _blocks(fill: Fill, accesses: int) -> Iterator[np.ndarray]:
    for first in range(0, accesses, BLOCK):
        yield fill(first, min(BLOCK, accesses - first))
