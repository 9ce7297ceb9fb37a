"""Ranks drawn in proportion to a power of themselves (Zipf's law)."""

import numpy as np

from hwmodel.jit import entry, part

FINER = 4
"""Entries of the guide for each rank: with fewer a search takes more steps, and every step may be a cache miss."""


class Ranks:
    """Draws ranks by inversion of their distribution, with a table of nearby ranks as a guide; 24 bytes per rank.

    Parameters
    ----------
    size : int
        Ranks are in [0, size).
    exponent : float
        Rank k is drawn in proportion to (k + 1)**-exponent.
    """

    def __init__(self, size: int, exponent: float) -> None:
        self._cumulative = np.cumsum(np.arange(1, size + 1, dtype=float) ** -exponent)
        evenly = np.arange(FINER * size) / (FINER * size) * self._cumulative[-1]
        self._guide = np.searchsorted(self._cumulative, evenly, side="right").astype(np.int32)

    def draw(self, random: np.random.Generator, size: int) -> np.ndarray:
        """Draw int64[size]; takes one random number for each."""
        ranks = np.empty(size, np.int64)
        _invert(random.random(size), self._cumulative, self._guide, ranks)
        return ranks


@entry
def _invert(drawn, cumulative, guide, ranks):
    """Fill in the first rank whose cumulative weight is above each of the `drawn` parts of the total."""
    for i in range(drawn.size):
        ranks[i] = _rank(drawn[i] * cumulative[cumulative.size - 1], cumulative, guide[int(drawn[i] * guide.size)])


@part
def _rank(weight, cumulative, near):
    """Return the rank of a cumulative weight, searched from a nearby rank."""
    rank = min(near, cumulative.size - 1)
    while rank > 0 and cumulative[rank - 1] > weight:
        rank -= 1
    while rank < cumulative.size - 1 and cumulative[rank] <= weight:
        rank += 1
    return rank
