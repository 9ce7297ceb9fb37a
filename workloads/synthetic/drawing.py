"""Common parts of the generators: the agents that issue accesses, the region, and blocks of records drawn independently."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from hwmodel import op
from hwmodel.trace import Trace

BASE = 0x10_0000_0000
"""Address of the region of every synthetic workload."""
PROT = op.PROT_READ | op.PROT_WRITE
BLOCK = 1 << 16
"""Accesses drawn from one seeded generator: traces of a seed depend on it, so it never changes."""
WHOLE = np.dtype((np.void, op.OP.itemsize))
"""A record as one opaque piece: NumPy copies records field by field, 15 times slower."""

Draw = Callable[[np.random.Generator, int, int], np.ndarray]
"""(generator, first access, accesses) -> int64[accesses], the accesses' pages in the region."""
Fill = Callable[[int, int], np.ndarray]
"""(first access, accesses) -> OP[accesses]; called for whole blocks and the rest."""


def stream_trace(
    draw: Draw, *, pages: int, accesses: int, writes: float, cpus: int, devices: int, seed: int, info: dict[str, Any]
) -> Trace:
    """Return a trace of accesses to random pages of one region, dealt out to its agents in turn.

    Parameters
    ----------
    draw : callable
        Draws the pages of some consecutive accesses.
    pages : int
        Size of the region in pages of 4 KiB.
    accesses : int
        Total over all agents.
    writes : float
        Part of the accesses that are writes, in [0, 1].
    cpus, devices : int
        Agents of one address space. If there are devices, they alone access memory.
    seed : int
        At least 0.
    info : dict
        Becomes the trace's info.

    Raises
    ------
    TraceError
        If an argument is out of range.
    """
    check_usual(accesses, pages, writes, seed)
    fill = functools.partial(_fill, draw, writes, issuers(cpus, devices), seed)
    info = info | {"pages": pages, "writes": writes, "seed": seed}
    prelude = op.as_records(op.mmap_unit(BASE, pages, PROT))
    return block_trace(fill, accesses=accesses, cpus=cpus, devices=devices, prelude=prelude, info=info)


def block_trace(fill: Fill, *, accesses: int, cpus: int, devices: int, prelude: np.ndarray, info: dict[str, Any]) -> Trace:
    """Return a trace of accesses of which any stretch can be made without those before it.

    Parameters
    ----------
    fill : callable
        Makes the records of some consecutive accesses, one each.
    prelude : OP[n]
        The initial mappings.
    accesses, cpus, devices, info
        As for `stream_trace`.

    Raises
    ------
    TraceError
        If an argument is out of range.
    """
    check_range("accesses", accesses, 1)
    agents = make_agents(cpus, devices)
    source = functools.partial(_blocks, fill, accesses)
    return Trace(agents, source, prelude, info | {"accesses": accesses}, records=accesses, references=accesses)


def make_agents(cpus: int, devices: int) -> list[op.Agent]:
    """Return the CPUs, then the devices, all of address space 0."""
    _check_agents(cpus, devices)
    names = [("cpu", i) for i in range(cpus)] + [("device", i) for i in range(devices)]
    return [op.Agent(role, 0, f"{role}{i}") for role, i in names]  # type: ignore[arg-type]


def issuers(cpus: int, devices: int) -> np.ndarray:
    """Return the agents that access memory: the devices, or the CPUs if there are none."""
    _check_agents(cpus, devices)
    return np.arange(cpus, cpus + devices) if devices else np.arange(cpus)


def _check_agents(cpus: int, devices: int) -> None:
    check_range("cpus", cpus, 1)
    check_range("devices", devices, 0)
    check_range("cpus + devices", cpus + devices, 1, op.AGENTS)


def check_usual(accesses: int, pages: int, writes: float, seed: int, most: int = (op.USER_END - BASE) >> op.PAGE_SHIFT) -> None:
    """Refuse the common parameters of generators if out of range; `most`: pages."""
    check_range("pages", pages, 1, most)
    check_range("accesses", accesses, 1)
    check_range("writes", writes, 0, 1)
    check_range("seed", seed, 0)


def check_range(name: str, value: float, low: float, high: float | None = None) -> None:
    """Refuse a parameter out of range, by its name."""
    if value < low or (high is not None and value > high):
        wanted = f"at least {low}" if high is None else f"in [{low}, {high}]"
        raise op.TraceError(f"{name} must be {wanted}, not {value}")


def generator(seed: int, block: int) -> np.random.Generator:
    """Return the random numbers of one block, which do not depend on earlier draws."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=(block,))))


def block_records(
    draw: Draw, block: int, first: int, size: int, writes: float, agents: np.ndarray, seed: int
) -> np.ndarray:
    """Return the OP records of one block of accesses."""
    random = generator(seed, block)
    return touch(random, draw(random, first, size), writes, deal(agents, first, size))


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


def _fill(draw: Draw, writes: float, agents: np.ndarray, seed: int, first: int, size: int) -> np.ndarray:
    return block_records(draw, first // BLOCK, first, size, writes, agents, seed)


def _blocks(fill: Fill, accesses: int) -> Iterator[np.ndarray]:
    for first in range(0, accesses, BLOCK):
        yield fill(first, min(BLOCK, accesses - first))
