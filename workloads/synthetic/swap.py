"""More data than memory: unused parts are reclaimed proactively."""

import functools
import itertools
from collections.abc import Iterator
from typing import Literal

import numpy as np

from hwmodel import op
from hwmodel.trace import Trace
from workloads.synthetic.drawing import check_range, check_usual, deal, generator, issuers, make_agents, touch
from workloads.synthetic.rounds import MOST_PAGES, barrier, region, round_trace, runs, units

ADVICE = {"pageout": op.PAGEOUT, "cold": op.COLD}
NEVER = -1


def swap_pressure(
    accesses: int = 1_000_000,
    pages: int = 65_536,
    memory: int = 16_384,
    hot: float = 0.9,
    drift: int = 256,
    every: int = 10_000,
    how: Literal["pageout", "cold"] = "pageout",
    writes: float = 0.3,
    cpus: int = 1,
    devices: int = 1,
    seed: int = 0,
) -> Trace:
    """Generate a hot window that drifts over a region larger than memory; the least recently used pages are paged out, and used later.

    Proactive reclaim from user space: MADV_COLD and MADV_PAGEOUT came to Linux (5.4) for a manager, like Android's, that knows which
    memory will not be used soon. After each round, and a SYNC, it advises away the least recently used pages, run by run, until
    `memory` pages are left.

    In the model: "pageout": a notice and an unmapping for each page, batched flushes of CPUs, swap-outs, swap-ins at the next use
    by a CPU or a device, and the costs of a device whose accesses make no page look young. "cold" is modelled
    today: it only clears the accessed bits, with a flush and without notices.

    Parameters
    ----------
    accesses : int
        Over all agents that access memory.
    pages : int
        Size of the region in pages of 4 KiB; mapped from the start.
    memory : int
        Pages that stay in memory.
    hot : float
        Part of the accesses that go to the window, in [0, 1]; the others are uniform.
    drift : int
        Pages by which the window, of half of `memory`, moves in each round.
    every : int
        Accesses of a round.
    how : "pageout" or "cold"
        The advice.
    writes, cpus, devices, seed
        As for `uniform`; CPU agent 0 gives the advice.

    Returns
    -------
    Trace
        Lazy; keeps 8 bytes per page.

    Raises
    ------
    TraceError
        If an argument is out of range; names it.
    """
    info = {"program": "swap_pressure"} | locals()
    check_usual(accesses, pages, writes, seed, MOST_PAGES)
    check_range("memory", memory, 1, pages)
    check_range("hot", hot, 0, 1)
    check_range("drift", drift, 0)
    check_range("every", every, 1)
    if how not in ADVICE:
        raise op.TraceError(f"how must be 'pageout' or 'cold', not {how!r}")
    agents = make_agents(cpus, devices)
    users = issuers(cpus, devices)
    rounds = functools.partial(_rounds, pages, memory, hot, drift, every, ADVICE[how], writes, users, seed)
    return round_trace(rounds, agents, accesses, info, region(pages))


def _rounds(
    pages: int,
    memory: int,
    hot: float,
    drift: int,
    every: int,
    advice: int,
    writes: float,
    agents: np.ndarray,
    seed: int,
) -> Iterator[np.ndarray]:
    used = np.full(pages, NEVER)  # the round of the latest use; NEVER: not in memory
    for k in itertools.count():
        random = generator(seed, k)
        window = (k * drift + random.integers(0, max(1, memory // 2), every)) % pages
        drawn = np.where(random.random(every) < hot, window, random.integers(0, pages, every))
        yield touch(random, drawn, writes, deal(agents, k * every, every))
        used[drawn] = k
        gone = _oldest(used, memory)
        used[gone] = NEVER
        first, length = runs(gone)
        yield barrier()
        yield units(op.MADVISE, first, length, advice).ravel()


def _oldest(used: np.ndarray, memory: int) -> np.ndarray:
    """Return the pages in memory beyond `memory`, ascending: the least recently used; of those of one round, the first ones."""
    present = np.flatnonzero(used != NEVER)
    many = present.size - memory
    if many <= 0:
        return present[:0]
    rounds = used[present]
    limit = np.partition(rounds, many - 1)[many - 1]
    older = rounds < limit
    same = np.flatnonzero(rounds == limit)[: many - np.count_nonzero(older)]
    older[same] = True
    return present[older]
