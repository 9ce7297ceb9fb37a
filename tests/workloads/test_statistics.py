"""The statistics of generators against theory: popularity, reuse, and what an LRU cache misses."""

import collections

import numpy as np
import pytest
from lru import NEVER, che_miss_ratio, lru_misses, stack_distances

from hwmodel import op
from workloads import phases, pointer_chase, producer_consumer, sequential, strided, uniform, zipf
from workloads.synthetic.drawing import BASE
from workloads.synthetic.patterns import SHUFFLE
from workloads.synthetic.workingsets import draw_phase

SIGMAS = 4.0
"""A right generator is farther off with one seed in 15,000; the seeds here are fixed."""
BATCHES = 40


def pages_of(trace):
    ops = np.concatenate(list(trace.chunks()))
    return ops["address"][ops["kind"] <= op.WRITE] - BASE >> op.PAGE_SHIFT


def ranks_of(trace, seed=0):
    """The popularity ranks, from 1, of the pages that a zipf trace accesses: its pages are strewn by a permutation."""
    pages = trace.info["pages"]
    return np.argsort(np.random.default_rng([seed, SHUFFLE]).permutation(pages))[pages_of(trace)] + 1


def law(pages, exponent):
    weights = np.arange(1, pages + 1) ** -float(exponent)
    return weights / weights.sum()


def mean_and_error(values):
    """The mean of a stationary sequence and its standard error, from the means of batches, which are nearly independent."""
    batches = values[: values.size // BATCHES * BATCHES].reshape(BATCHES, -1).mean(axis=1)
    return batches.mean(), batches.std(ddof=1) / BATCHES**0.5


def close(values, expected, model_error=0.0):
    mean, error = mean_and_error(values)
    return abs(mean - expected) < SIGMAS * error + model_error


@pytest.mark.parametrize("exponent", [0.0, 0.6, 1.0, 1.4])
def test_the_exponent_of_zipf_is_what_maximum_likelihood_says(exponent):
    """The derivative of the log likelihood is n (E[ln k] - mean of ln k); its root has the standard error 1 / sqrt(n Var[ln k])."""
    pages, accesses = 5000, 300_000
    logs = np.log(np.arange(1, pages + 1))
    mean = np.log(ranks_of(zipf(accesses, pages=pages, exponent=exponent))).mean()
    low, high = -1.0, 4.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if law(pages, middle) @ logs > mean else (low, middle)
    chances = law(pages, exponent)
    variance = chances @ logs**2 - (chances @ logs) ** 2
    assert abs(low - exponent) < SIGMAS / (accesses * variance) ** 0.5


@pytest.mark.parametrize("exponent", [0.0, 0.7, 1.3])
def test_every_rank_of_zipf_has_its_share(exponent):
    """Pearson's chi squared of n cells has the mean n - 1 and nearly the variance 2 (n - 1)."""
    pages, accesses = 200, 400_000
    expected = accesses * law(pages, exponent)
    counts = np.bincount(ranks_of(zipf(accesses, pages=pages, exponent=exponent)), minlength=pages + 1)[1:]
    assert abs(((counts - expected) ** 2 / expected).sum() - (pages - 1)) < SIGMAS * (2 * (pages - 1)) ** 0.5


@pytest.mark.parametrize("exponent", [0.0, 0.8, 1.2])
@pytest.mark.parametrize("capacity", [16, 128, 1024])
def test_lru_misses_what_che_approximates(exponent, capacity):
    """Che's approximation becomes exact as caches grow: at 16 pages it may be off by a hundredth of the miss ratio."""
    pages, accesses = 4096, 200_000
    trace = zipf(accesses, pages=pages, exponent=exponent) if exponent else uniform(accesses, pages=pages)
    missed = lru_misses(pages_of(trace), capacity)[accesses // 5 :]  # the cache is warm
    expected = che_miss_ratio(law(pages, exponent), capacity)
    assert close(missed.astype(float), expected, model_error=0.01 * expected * 16 / capacity)


@pytest.mark.parametrize("capacity", [1, 50, 255])
def test_lru_misses_of_uniform_accesses_are_exact(capacity):
    """Any `capacity` different pages are in the cache with the same chance: the miss ratio is 1 - capacity / pages."""
    missed = lru_misses(pages_of(uniform(100_000, pages=256)), capacity)[5000:]
    assert close(missed.astype(float), 1 - capacity / 256)
    assert che_miss_ratio(law(256, 0), capacity) == pytest.approx(1 - capacity / 256)


def test_the_oracles_agree():
    """Mattson's inclusion: an access misses in a cache of c pages if its stack distance is not below c."""
    pages = pages_of(zipf(3000, pages=100))
    distances = stack_distances(pages)
    for capacity in (1, 7, 60):
        assert ((distances >= capacity) | (distances == NEVER)).tolist() == lru_misses(pages, capacity).tolist()
    by_hand = stack_distances(np.array([5, 6, 5, 5, 7, 6]))
    assert by_hand.tolist() == [NEVER, NEVER, 1, 0, NEVER, 2]


def test_reuse_of_uniform_accesses_is_uniform():
    """The page at each depth of the LRU stack is the next one with the same chance."""
    pages, accesses = 100, 300_000
    distances = stack_distances(pages_of(uniform(accesses, pages=pages)))[10_000:]
    assert distances.min() >= 0
    counts, expected = np.bincount(distances, minlength=pages), distances.size / pages
    assert counts.size == pages
    assert abs(((counts - expected) ** 2 / expected).sum() - (pages - 1)) < SIGMAS * (2 * (pages - 1)) ** 0.5


def reuse(trace):
    """{stack distance: accesses}"""
    return collections.Counter(stack_distances(pages_of(trace)).tolist())


def test_reuse_of_a_walk_is_the_region():
    assert reuse(sequential(1000, pages=70)) == {NEVER: 70, 69: 930}
    assert reuse(sequential(1000, pages=70, per_page=4)) == {NEVER: 70, 0: 750, 69: 180}
    assert reuse(sequential(1000, pages=70, stride=4)) == {NEVER: 35, 34: 965}  # 4 and 70 have the factor 2 in common


def test_reuse_of_streams():
    """Two arrays of 10 pages at a quarter of a page, two laps: 80 accesses a lap, a page of each array 4 times in turn."""
    first, inside, lap = 20, 2 * 20 * 3, 20
    assert reuse(strided(160, pages=10, stride=1024, streams="rw")) == {NEVER: first, 1: inside, 19: lap}


def test_streams_of_several_agents_reuse_the_pages_of_all():
    """Two agents have five pages of each of two arrays: between an element and the next on its page are three other pages."""
    assert reuse(strided(160, pages=10, stride=1024, streams="rw", cpus=2)) == {NEVER: 20, 3: 120, 19: 20}


def test_reuse_of_a_chase_with_a_node_per_page_is_the_cycle():
    assert reuse(pointer_chase(1000, pages=60, node=4096)) == {NEVER: 60, 59: 940}


def test_reuse_of_a_chase_of_small_nodes():
    """Between two of a page's 64 nodes come as many other pages, on average, as in random permutations that are made here."""
    pages, per_page = 50, 64
    nodes = pages * per_page
    measured = stack_distances(pages_of(pointer_chase(2 * nodes, pages=pages)))[nodes:]
    random = np.random.default_rng(9)
    means = []
    for _ in range(40):
        order = np.tile(random.permutation(nodes) // per_page, 2)
        means.append(stack_distances(order)[nodes:].mean())
    assert abs(measured.mean() - np.mean(means)) < SIGMAS * np.std(means, ddof=1) * (1 + 1 / 40) ** 0.5


def test_a_chase_is_one_cycle_and_cycles_are_random():
    """Every node follows exactly one other; with four nodes each of the six cycles comes up as often."""
    nodes = pages_of(pointer_chase(600, pages=200, node=4096))
    assert sorted(nodes[:200]) == list(range(200)) and (nodes[200:400] == nodes[:200]).all()
    seen = collections.Counter()
    for seed in range(600):
        cycle = pages_of(pointer_chase(4, pages=4, node=4096, seed=seed)).tolist()
        seen[tuple(cycle[(cycle.index(0) + step) % 4] for step in range(4))] += 1
    assert len(seen) == 6
    assert sum((count - 100) ** 2 / 100 for count in seen.values()) < 5 + SIGMAS * 10**0.5


def test_reuse_within_a_phase_is_uniform_over_its_set():
    """One phase for the whole trace: its set is accessed uniformly, nothing else is accessed."""
    trace = phases(60_000, pages=5000, length=1 << 50, smallest=40, largest=40, outside=0)
    distances = stack_distances(pages_of(trace))[2000:]
    counts, expected = np.bincount(distances, minlength=40), distances.size / 40
    assert counts.size == 40
    assert abs(((counts - expected) ** 2 / expected).sum() - 39) < SIGMAS * 78**0.5


def test_the_working_set_within_a_phase():
    """Denning's w(T): of a set of k pages, k (1 - (1 - 1 / k)**T) are accessed in a window of T accesses, on average."""
    pages = pages_of(phases(60_000, pages=5000, length=1 << 50, smallest=80, largest=80, outside=0))
    for window in (10, 100, 300):
        sizes = np.array([np.unique(part).size for part in pages.reshape(-1, window)], float)
        error = sizes.std(ddof=1) / sizes.size**0.5
        assert abs(sizes.mean() - 80 * (1 - (1 - 1 / 80) ** window)) < SIGMAS * error


def test_phases_have_geometric_lengths_and_sizes_even_on_a_logarithmic_scale():
    drawn = [draw_phase(10_000, 300, 10, 1000, 1, number) for number in range(1500)]
    lengths, sizes = np.array([phase.length for phase in drawn]), np.array([phase.pages.size for phase in drawn])
    spread = (300 * 299) ** 0.5  # of a geometric distribution with the mean 300
    assert abs(lengths.mean() - 300) < SIGMAS * spread / 1500**0.5
    assert abs(lengths.std() - spread) < SIGMAS * 2**0.5 * spread / 1500**0.5  # its fourth moment is nearly the exponential's, 9
    assert sizes.min() >= 10 and sizes.max() <= 1000
    assert abs((sizes < 100).mean() - 0.5) < SIGMAS * 0.5 / 1500**0.5
    assert all(np.unique(phase.pages).size == phase.pages.size for phase in drawn)
    covered = np.concatenate([phase.pages for phase in drawn])
    assert abs(covered.mean() - 4999.5) < SIGMAS * 10_000 / 12**0.5 / covered.size**0.5


@pytest.mark.parametrize("outside", [0.0, 0.1, 1.0])
def test_a_share_of_a_phase_goes_anywhere(outside):
    """Of those outside a few are in the set by chance: 20 of 2000 pages."""
    pages = pages_of(phases(100_000, pages=2000, length=1 << 50, smallest=20, largest=20, outside=outside))
    inside = np.isin(pages, draw_phase(2000, 1 << 50, 20, 20, 0, 0).pages)
    expected = 1 - outside * 0.99
    assert abs(inside.mean() - expected) <= SIGMAS * (expected * (1 - expected) / inside.size) ** 0.5


def test_phases_follow_each_other_as_drawn():
    pages = pages_of(phases(50_000, pages=3000, length=700, smallest=5, largest=50, outside=0, seed=3))
    first = number = 0
    while first < 50_000:
        phase = draw_phase(3000, 700, 5, 50, 3, number)
        assert np.isin(pages[first : first + phase.length], phase.pages).all()
        first, number = first + phase.length, number + 1
    assert number > 40


def test_reuse_of_a_ring():
    """A ring of 12 pages in batches of 3, two accesses a page, the reader a batch behind: w0 r0 w0 r0 w1 r1 w1 r1 w2 r2 w2 r2 in a step.

    A page is written again when all 11 others were accessed since it was read. It is read a step after it was written: since then came
    the 2 others of its batch, 3 of the batch read meanwhile or a part of it, and as many of the batch written now as are missing to 4.
    """
    trace = producer_consumer(6 + 12 * 400, pages=12, batch=3, lag=1, per_page=2)
    steady = stack_distances(pages_of(trace))[6 + 12 * 40 :].reshape(-1, 12)  # the first batch is only written
    assert (steady == [11, 6, 1, 1] * 3).all()
