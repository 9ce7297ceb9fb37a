"""A program that moves from one working set to the next."""

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from hwmodel import op
from hwmodel.trace import Trace
from workloads.synthetic.drawing import BASE, BLOCK, PROT, check_range, check_usual, deal, generator, issuers, make_agents, touch

PHASES = 2 << 20  # spawn keys of the phases, different from those of blocks and places


class Phase(NamedTuple):
    """One phase; `random` draws its accesses."""

    length: int
    pages: np.ndarray
    random: np.random.Generator


def phases(
    accesses: int = 1_000_000,
    pages: int = 65_536,
    length: int = 100_000,
    smallest: int = 64,
    largest: int = 4096,
    outside: float = 0.01,
    writes: float = 0.3,
    cpus: int = 1,
    devices: int = 0,
    seed: int = 0,
) -> Trace:
    """Generate phases, in each of which nearly all accesses are to a small set of pages; another set follows abruptly.

    The behaviour that P. Denning's working set model is about: phases, in which the contents of the working set hardly
    change, and transitions between them. Here in its simplest form: the lengths of phases are geometrically distributed,
    their sets are drawn anew from the whole region, and within a set all pages are alike.

    Parameters
    ----------
    length : int
        Mean number of accesses of a phase.
    smallest, largest : int
        Pages of a phase's set: drawn for each phase, uniformly on a logarithmic scale.
    outside : float
        Part of the accesses that go to any page of the region, in [0, 1].
    accesses, pages, writes, cpus, devices, seed
        As for `uniform`; the agents share the phases.

    Returns
    -------
    Trace
        Lazy; keeps 8 bytes per page of a set.

    Raises
    ------
    TraceError
        If an argument is out of range; names it.
    """
    check_usual(accesses, pages, writes, seed)
    check_range("smallest", smallest, 1, pages)
    check_range("largest", largest, smallest, min(pages, 1 << 28))
    check_range("length", length, 1, 1 << 62)
    check_range("outside", outside, 0, 1)
    agents = make_agents(cpus, devices)
    draw = functools.partial(draw_phase, pages, length, smallest, largest, seed)
    source = functools.partial(_stream, draw, accesses, pages, outside, writes, issuers(cpus, devices))
    info: dict[str, Any] = {"program": "phases", "pages": pages, "length": length, "smallest": smallest, "largest": largest}
    info |= {"outside": outside, "accesses": accesses, "writes": writes, "seed": seed}
    prelude = op.as_records(op.mmap_unit(BASE, pages, PROT))
    return Trace(agents, source, prelude, info, records=accesses, references=accesses)


def draw_phase(pages: int, length: int, smallest: int, largest: int, seed: int, number: int) -> Phase:
    """Draw phase `number`, independent of earlier draws."""
    random = generator(seed, PHASES + number)
    accesses = int(random.geometric(1 / length))
    size = int(smallest * (largest / smallest) ** random.random())
    return Phase(accesses, random.choice(pages, size, replace=False, shuffle=False), random)


def _stream(draw: Any, accesses: int, pages: int, outside: float, writes: float, agents: np.ndarray) -> Iterator[np.ndarray]:
    first = number = 0
    while first < accesses:
        phase = draw(number)
        end = min(first + phase.length, accesses)
        for start in range(first, end, BLOCK):
            size = min(BLOCK, end - start)
            drawn = _draw(phase, pages, outside, size)
            yield touch(phase.random, drawn, writes, deal(agents, start, size))
        first, number = end, number + 1


def _draw(phase: Phase, pages: int, outside: float, size: int) -> np.ndarray:
    drawn = phase.pages[phase.random.integers(0, phase.pages.size, size)]
    if outside:
        strays = np.flatnonzero(phase.random.random(size) < outside)
        drawn[strays] = phase.random.integers(0, pages, strays.size)
    return drawn
