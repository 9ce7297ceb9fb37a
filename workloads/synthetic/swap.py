"""More data than memory: unused parts are reclaimed proactively."""

import functools
from collections.abc import Iterator
from typing import Literal

import numpy as np

from hwmodel import op
from hwmodel.trace import Trace
from workloads.synthetic.drawing import deal, touch
from workloads.synthetic.parameters import MOST_PAGES, Common, Natural, Positive, Share, check_range, workload
from workloads.synthetic.rounds import barrier, each_round, round_trace, runs, units

ADVICE = {"pageout": op.PAGEOUT, "cold": op.COLD}
NEVER = -1


@workload(most=MOST_PAGES, devices=1)
def swap_pressure(
    common: Common,
    memory: int = 16_384,
    hot: Share = 0.9,
    drift: Natural = 256,
    every: Positive = 10_000,
    how: Literal["pageout", "cold"] = "pageout",
) -> Trace:
    """Generate a hot window that drifts over a region larger than memory; the least recently used pages are paged out, and used later.

    Proactive reclaim from user space: MADV_COLD and MADV_PAGEOUT came to Linux (5.4) for a manager, like Android's, that knows which
    memory will not be used soon. After each round, and a SYNC, CPU agent 0 advises away the least recently used pages, run by run, until
    `memory` pages are left.

    In the model: "pageout": a notice and an unmapping for each page, batched flushes of CPUs, swap-outs, swap-ins at the next use
    by a CPU or a device, and the costs of a device whose accesses make no page look young. "cold" is modelled
    today: it only clears the accessed bits, with a flush and without notices.

    Parameters
    ----------
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

    Returns
    -------
    Trace
        Lazy; keeps 8 bytes per page.
    """
    check_range("memory", memory, 1, common.pages)
    return round_trace(functools.partial(_rounds, common, common.users, memory, hot, drift, every, ADVICE[how]), common)


def _rounds(
    common: Common, users: np.ndarray, memory: int, hot: float, drift: int, every: int, advice: int
) -> Iterator[np.ndarray]:
    pages = common.pages
    used = np.full(pages, NEVER)  # the round of the latest use; NEVER: not in memory
    for k, random in each_round(common.seed):
        window = (k * drift + random.integers(0, max(1, memory // 2), every)) % pages
        drawn = np.where(random.random(every) < hot, window, random.integers(0, pages, every))
        yield touch(random, drawn, common.writes, deal(users, k * every, every))
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
