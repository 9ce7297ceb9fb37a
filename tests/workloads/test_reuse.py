"""Reuse distances against a list that is searched, and against an LRU."""

import numpy as np
import pytest

from hwmodel import op
from workloads.reuse import EXACT, Reuse


def make(pages, counts=None, kinds=None, agents=None):
    ops = np.zeros(len(pages), op.OP)
    ops["address"] = np.asarray(pages) << 12
    ops["count"] = 1 if counts is None else counts
    ops["kind"] = op.READ if kinds is None else kinds
    ops["agent"] = 0 if agents is None else agents
    return ops


def distances(pages):
    """By a list of pages, the latest used last."""
    stack, found = [], []
    for page in pages:
        found.append(len(stack) - 1 - stack.index(page) if page in stack else None)
        if page in stack:
            stack.remove(page)
        stack.append(page)
    return found


def histogram(found):
    return np.bincount([distance for distance in found if distance is not None], minlength=EXACT)


def test_by_hand():
    reuse = Reuse(0)
    reuse.add(make([7, 8, 7, 9, 9, 8], counts=[1, 1, 5, 1, 1, 1]))
    assert reuse.cold == 3
    assert reuse.histogram[:3].tolist() == [5, 1, 1]  # 4 of the run of 7 and one of 9; 7 over 8; 8 over 7 and 9
    assert reuse.misses(np.array([1, 2, 3])).tolist() == [5, 4, 3]


@pytest.mark.jit_off
@pytest.mark.as_shipped
@pytest.mark.parametrize("most", [3, 40, 700])
def test_as_a_list_that_is_searched(most):
    random = np.random.default_rng(most)
    pages = random.integers(0, most, 3000) ** 2
    agents = random.integers(0, 2, 3000)
    kinds = random.choice([op.READ, op.WRITE, op.FETCH, op.COMPUTE], 3000)
    reuse = Reuse(1)
    for part in np.array_split(make(pages, kinds=kinds, agents=agents), 7):
        reuse.add(part)
    mine = (agents == 1) & (kinds != op.COMPUTE)
    found = distances(pages[mine].tolist())
    assert np.array_equal(reuse.histogram[:EXACT], histogram(found))
    assert reuse.cold == found.count(None)
    used, how = reuse.pages()
    assert np.array_equal(used, np.unique(pages[mine]))
    first = mine & (pages == used[0])
    assert how[0] == np.bitwise_or.reduce(1 << kinds[first].astype(int))


def test_long_distances_are_counted_by_their_power_of_two():
    pages = np.tile(np.arange(EXACT + 5), 2)
    reuse = Reuse(0)
    reuse.add(make(pages))
    assert reuse.histogram[EXACT] == EXACT + 5 and reuse.histogram[:EXACT].sum() == 0
    reuse = Reuse(0)
    reuse.add(make(np.tile(np.arange(2 * EXACT + 1), 2)))
    assert reuse.histogram[EXACT + 1] == 2 * EXACT + 1


def test_both_halves_of_a_crossing_access_are_used():
    ops = make([1, 2, 1], kinds=[op.READ, op.READ | op.CONTINUES, op.READ])
    reuse = Reuse(0)
    reuse.add(ops)
    assert (reuse.cold, reuse.histogram[1]) == (2, 1)
