"""Oracles of locality: a fully associative LRU cache, stack distances, and Che's approximation."""

import collections

import numba
import numpy as np

NEVER = -1


def lru_misses(pages, capacity):
    """Which accesses miss in a cache of `capacity` pages."""
    cache, missed = collections.OrderedDict(), np.zeros(len(pages), bool)
    for i, page in enumerate(pages.tolist()):
        if page in cache:
            cache.move_to_end(page)
        else:
            missed[i] = True
            cache[page] = None
            if len(cache) > capacity:
                cache.popitem(last=False)
    return missed


def stack_distances(pages):
    """Other pages accessed since the latest access to the same page; NEVER for the first."""
    _, numbers = np.unique(pages, return_inverse=True)
    return _distances(numbers.astype(np.int64))


@numba.njit
def _distances(pages):
    """A tree of partial sums has a 1 at the latest access to each page: the ones after a page's own are the others since."""
    size = pages.size
    tree, latest, distances = np.zeros(size + 1, np.int64), np.full(size, NEVER), np.empty(size, np.int64)
    for i in range(size):
        before = latest[pages[i]]
        distances[i] = NEVER if before == NEVER else _sum(tree, i) - _sum(tree, before + 1)
        if before != NEVER:
            _add(tree, before, -1)
        _add(tree, i, 1)
        latest[pages[i]] = i
    return distances


@numba.njit
def _add(tree, at, amount):
    at += 1
    while at < tree.size:
        tree[at] += amount
        at += at & -at


@numba.njit
def _sum(tree, end):
    """Of the first `end`."""
    total = 0
    while end > 0:
        total += tree[end]
        end -= end & -end
    return total


def che_miss_ratio(probabilities, capacity):
    """H. Che, Y. Tung and Z. Wang, 2002: a page is in the cache if it was accessed within the characteristic time, in which as many
    different pages as there is room for are accessed on average."""
    low, high = 0.0, 1.0
    while _different(probabilities, high) < capacity:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _different(probabilities, middle) < capacity else (low, middle)
    return float((probabilities * np.exp(-probabilities * high)).sum())


def _different(probabilities, time):
    return -np.expm1(-probabilities * time).sum()
