"""A program that moves from one working set to the next."""

import functools
from collections.abc import Callable, Iterator
from typing import Annotated, NamedTuple

import numpy as np

from hwmodel import op
from hwmodel.trace import Trace
from workloads.synthetic.drawing import BLOCK, deal, generator, region, touch
from workloads.synthetic.parameters import MOST_PAGES, Common, Share, check_range, workload

PHASES = 2 << 20  # spawn keys of the phases, different from those of blocks and places


class Phase(NamedTuple):
    """One phase; `random` draws its accesses."""

    length: int
    pages: np.ndarray
    random: np.random.Generator


@workload()
def phases(
    common: Common, length: Annotated[int, 1, 1 << 62] = 100_000, smallest: int = 64, largest: int = 4096, outside: Share = 0.01
) -> Trace:
    """Generate phases, in each of which nearly all accesses are to a small set of pages; another set follows abruptly.

    The behaviour that P. Denning's working set model is about: phases, in which the contents of the working set hardly
    change, and transitions between them. Here in its simplest form: the lengths of phases are geometrically distributed,
    their sets are drawn anew from the whole region, and within a set all pages are alike. The agents share the phases.

    Parameters
    ----------
    length : int
        Mean number of accesses of a phase.
    smallest, largest : int
        Pages of a phase's set: drawn for each phase, uniformly on a logarithmic scale.
    outside : float
        Part of the accesses that go to any page of the region, in [0, 1].

    Returns
    -------
    Trace
        Lazy; keeps 8 bytes per page of a set.
    """
    check_range("smallest", smallest, 1, common.pages)
    check_range("largest", largest, smallest, min(common.pages, MOST_PAGES))
    draw = functools.partial(draw_phase, common.pages, length, smallest, largest, common.seed)
    source, accesses = functools.partial(_stream, draw, common, common.users, outside), common.accesses
    prelude = op.as_records(region(common.pages))
    return Trace(common.agents, source, prelude, common.described, records=accesses, references=accesses)


def draw_phase(pages: int, length: int, smallest: int, largest: int, seed: int, number: int) -> Phase:
    """Draw phase `number`, independent of earlier draws."""
    random = generator(seed, PHASES + number)
    accesses = int(random.geometric(1 / length))
    size = int(smallest * (largest / smallest) ** random.random())
    return Phase(accesses, random.choice(pages, size, replace=False, shuffle=False), random)


def _stream(draw: Callable[[int], Phase], common: Common, agents: np.ndarray, outside: float) -> Iterator[np.ndarray]:
    first = number = 0
    while first < common.accesses:
        phase = draw(number)
        end = min(first + phase.length, common.accesses)
        for start in range(first, end, BLOCK):
            size = min(BLOCK, end - start)
            drawn = _draw(phase, common.pages, outside, size)
            yield touch(phase.random, drawn, common.writes, deal(agents, start, size))
        first, number = end, number + 1


def _draw(phase: Phase, pages: int, outside: float, size: int) -> np.ndarray:
    drawn = phase.pages[phase.random.integers(0, phase.pages.size, size)]
    if outside:
        strays = np.flatnonzero(phase.random.random(size) < outside)
        drawn[strays] = phase.random.integers(0, pages, strays.size)
    return drawn
