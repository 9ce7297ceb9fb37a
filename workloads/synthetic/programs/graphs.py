"""Random graphs as compressed sparse rows."""

import numpy as np

INITIATOR = (0.57, 0.19, 0.19)
"""A, B and C of the Graph500 specification's Kronecker generator; D is the rest up to 1."""


def uniform_edges(scale: int, edges: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw both ends of edges between vertices drawn uniformly from 2**scale."""
    return random.integers(0, 1 << scale, edges), random.integers(0, 1 << scale, edges)


def kronecker_edges(scale: int, edges: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw both ends of edges that choose a quadrant of the adjacency matrix `scale` times (R-MAT); vertices are renumbered at random."""
    a, b, c = INITIATOR
    heads, tails = np.zeros(edges, np.int64), np.zeros(edges, np.int64)
    for bit in range(scale):
        low = random.random(edges) > a + b
        right = random.random(edges) > np.where(low, c / (1 - a - b), a / (a + b))
        heads += low.astype(np.int64) << bit
        tails += right.astype(np.int64) << bit
    numbers = random.permutation(1 << scale)
    return numbers[heads], numbers[tails]


def adjacency(vertices: int, heads: np.ndarray, tails: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the compressed sparse rows of an undirected graph, without loops and multiple edges.

    Returns
    -------
    offsets : int64[vertices + 1]
        Index of the first neighbour of each vertex.
    neighbours : int64[offsets[-1]]
        Sorted for each vertex.
    """
    proper = heads != tails
    heads, tails = heads[proper], tails[proper]
    both = np.unique(np.concatenate([heads * vertices + tails, tails * vertices + heads]))
    offsets = np.zeros(vertices + 1, np.int64)
    np.cumsum(np.bincount(both // vertices, minlength=vertices), out=offsets[1:])
    return offsets, both % vertices
