"""Accesses to one region: uniform, Zipf-distributed, sequential."""

import functools

import numpy as np

from hwmodel.op import TraceError
from hwmodel.trace import Trace
from workloads.synthetic.drawing import Draw, draw_uniform, stream_trace
from workloads.synthetic.parameters import MOST_PAGES, Common, NotNegative, Positive, workload
from workloads.synthetic.ranks import Ranks

SHUFFLE = 0x5EED  # spawn key of the order of popularity of the pages


@workload()
def uniform(common: Common) -> Trace:
    """Generate accesses to pages drawn uniformly: the worst case of a TLB."""
    return stream_trace(functools.partial(draw_uniform, common.pages), common)


@workload(most=MOST_PAGES)
def zipf(common: Common, exponent: NotNegative = 1.0) -> Trace:
    """Generate accesses to pages whose popularity falls with a power of their rank; popular pages are spread over the region.

    Parameters
    ----------
    exponent : float
        The k-th most popular page is accessed in proportion to k**-exponent; 0 is uniform.

    Returns
    -------
    Trace
        Lazy; keeps 32 bytes per page.
    """
    return stream_trace(popular(common.pages, exponent, common.seed), common)


@workload()
def sequential(common: Common, per_page: Positive = 1, stride: int = 1) -> Trace:
    """Generate accesses that walk through the region again and again; the agents share one walk.

    Parameters
    ----------
    per_page : int
        Consecutive accesses to a page; each is a record.
    stride : int
        Pages from one to the next, modulo the region.
    """
    if stride == 0:
        raise TraceError("stride must not be 0")
    return stream_trace(functools.partial(_draw_sequential, common.pages, per_page, stride), common)


def popular(pages: int, exponent: float, seed: int) -> Draw:
    """Return a function that draws pages of Zipf-distributed popularity; keeps 32 bytes per page."""
    places = np.random.default_rng([seed, SHUFFLE]).permutation(pages)
    return functools.partial(_draw_zipf, Ranks(pages, exponent), places)


def _draw_zipf(ranks: Ranks, places: np.ndarray, random: np.random.Generator, first: int, size: int) -> np.ndarray:
    return places[ranks.draw(random, size)]


def _draw_sequential(
    pages: int, per_page: int, stride: int, random: np.random.Generator, first: int, size: int
) -> np.ndarray:
    return (first + np.arange(size)) // per_page * stride % pages
