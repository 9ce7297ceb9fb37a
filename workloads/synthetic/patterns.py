"""Accesses to one region: uniform, Zipf-distributed, sequential."""

import functools

import numpy as np

from hwmodel.op import TraceError
from hwmodel.trace import Trace
from workloads.synthetic.drawing import Draw, check_range, stream_trace
from workloads.synthetic.ranks import Ranks

SHUFFLE = 0x5EED  # spawn key of the order of popularity of the pages


def uniform(
    accesses: int = 1_000_000,
    pages: int = 65_536,
    writes: float = 0.3,
    cpus: int = 1,
    devices: int = 0,
    seed: int = 0,
) -> Trace:
    """Generate accesses to pages drawn uniformly: the worst case of a TLB.

    Parameters
    ----------
    accesses : int
        Over all agents; a record each, dealt out in turn.
    pages : int
        Size of the region in pages of 4 KiB; mapped from the start, anonymous, writable.
    writes : float
        Part of the accesses that are writes, in [0, 1].
    cpus, devices : int
        Agents, of one address space: CPUs first, then devices. If there are devices, they alone access memory.
    seed : int
        The same seed gives the same trace.

    Returns
    -------
    Trace
        Lazy, in constant memory.

    Raises
    ------
    TraceError
        If an argument is out of range; names it.
    """
    draw = functools.partial(_draw_uniform, pages)
    info = {"program": "uniform"}
    return stream_trace(
        draw, pages=pages, accesses=accesses, writes=writes, cpus=cpus, devices=devices, seed=seed, info=info
    )


def zipf(
    accesses: int = 1_000_000,
    pages: int = 65_536,
    exponent: float = 1.0,
    writes: float = 0.3,
    cpus: int = 1,
    devices: int = 0,
    seed: int = 0,
) -> Trace:
    """Generate accesses to pages whose popularity falls with a power of their rank; popular pages are spread over the region.

    Parameters
    ----------
    exponent : float
        The k-th most popular page is accessed in proportion to k**-exponent; 0 is uniform.
    accesses, pages, writes, cpus, devices, seed
        As for `uniform`.

    Returns
    -------
    Trace
        Lazy; keeps 32 bytes per page.

    Raises
    ------
    TraceError
        If an argument is out of range; names it.
    """
    check_range("exponent", exponent, 0)
    check_range("pages", pages, 1, 1 << 28)
    check_range("seed", seed, 0)
    draw = popular(pages, exponent, seed)
    info = {"program": "zipf", "exponent": exponent}
    return stream_trace(
        draw, pages=pages, accesses=accesses, writes=writes, cpus=cpus, devices=devices, seed=seed, info=info
    )


def sequential(
    accesses: int = 1_000_000,
    pages: int = 65_536,
    per_page: int = 1,
    stride: int = 1,
    writes: float = 0.3,
    cpus: int = 1,
    devices: int = 0,
    seed: int = 0,
) -> Trace:
    """Generate accesses that walk through the region again and again.

    Parameters
    ----------
    per_page : int
        Consecutive accesses to a page; each is a record.
    stride : int
        Pages from one to the next, modulo the region.
    accesses, pages, writes, cpus, devices, seed
        As for `uniform`; the agents share one walk.

    Returns
    -------
    Trace
        Lazy, in constant memory.

    Raises
    ------
    TraceError
        If an argument is out of range; names it.
    """
    check_range("per_page", per_page, 1)
    if stride == 0:
        raise TraceError("stride must not be 0")
    draw = functools.partial(_draw_sequential, pages, per_page, stride)
    info = {"program": "sequential", "per_page": per_page, "stride": stride}
    return stream_trace(
        draw, pages=pages, accesses=accesses, writes=writes, cpus=cpus, devices=devices, seed=seed, info=info
    )


def popular(pages: int, exponent: float, seed: int) -> Draw:
    """Return a function that draws pages of Zipf-distributed popularity; keeps 32 bytes per page."""
    places = np.random.default_rng([seed, SHUFFLE]).permutation(pages)
    return functools.partial(_draw_zipf, Ranks(pages, exponent), places)


def _draw_uniform(pages: int, random: np.random.Generator, first: int, size: int) -> np.ndarray:
    return random.integers(0, pages, size)


def _draw_zipf(ranks: Ranks, places: np.ndarray, random: np.random.Generator, first: int, size: int) -> np.ndarray:
    return places[ranks.draw(random, size)]


def _draw_sequential(
    pages: int, per_page: int, stride: int, random: np.random.Generator, first: int, size: int
) -> np.ndarray:
    return (first + np.arange(size)) // per_page * stride % pages
