"""A database that writes checkpoints from forked children."""

import functools
from collections.abc import Iterator

import numpy as np

from hwmodel import op
from hwmodel.trace import Trace
from workloads.synthetic.drawing import deal, insert, region, touch
from workloads.synthetic.parameters import MOST_PAGES, Common, Count, Positive, Share, check_range, workload
from workloads.synthetic.rounds import barrier, each_round, round_trace, single, spread


@workload(most=MOST_PAGES, pages=16_384, devices=1)
def fork_snapshots(common: Common, snapshots: Positive = 8, every: Positive = 100_000, during: Share = 0.5, per_page: Count = 1) -> Trace:
    """Generate a parent that serves uniform reads and writes and sometimes forks a child, which reads all of the memory and exits.

    The background save of Redis (BGSAVE): fork gives the child a snapshot of the data; the
    parent continues to serve, and its first write to each page while the child lives copies that page.

    In the model: FORK's copying and write-protecting of the page tables, with one notice and one flush, then a copy on write (a
    notice, a flush, a new frame) for each page that is written while the child lives, and reuse of pages that are no longer
    shared after its EXIT. k writes to n pages copy n (1 - (1 - 1/n)^k) of them on average.

    Parameters
    ----------
    accesses : int
        Over all agents, the children's reads included.
    pages : int
        Size of the data in pages of 4 KiB; in memory from the start.
    snapshots : int
        Most children, each an agent and an address space of its own; after the last the parent continues alone.
    every : int
        Accesses of the parent from one fork to the next.
    during : float
        Part of them made while the child lives, in [0, 1]; the child's reads are evenly spread among them, and a SYNC comes before
        its EXIT.
    per_page : int
        Accesses to a page that the child makes (one record); 64 would be one to each cache line.
    writes : float
        Part of the parent's accesses that are writes, in [0, 1].
    cpus, devices : int
        Agents of the parent, which all serve in turn; CPU agent 0 forks.

    Returns
    -------
    Trace
        Lazy; a round of accesses is in memory.
    """
    agents = common.agents
    check_range("cpus + devices + snapshots", len(agents) + snapshots, 1, op.AGENTS)
    reached = min(snapshots, -(-common.accesses // (every + common.pages * per_page)))
    rounds = functools.partial(_rounds, common, len(agents), reached, every, during, per_page)
    agents += [op.Agent("cpu", 1 + k, f"child{k}") for k in range(reached)]
    return round_trace(rounds, common, region(common.pages, populate=True), agents)


def _rounds(common: Common, parents: int, snapshots: int, every: int, during: float, per_page: int) -> Iterator[np.ndarray]:
    """Yield the rounds; the agents of the parent come first, then a child for each snapshot."""
    pages = common.pages
    alive = round(during * every)
    for k, random in each_round(common.seed):
        ops = touch(random, random.integers(0, pages, every), common.writes, deal(np.arange(parents), k * every, every))
        if k >= snapshots:
            yield ops
            continue
        saved = touch(random, np.arange(pages), 0, parents + k)
        saved["count"] = per_page
        yield single(op.FORK, 0, 1 + k)
        yield insert(ops[:alive], spread(pages, alive), saved[:, None])
        yield barrier(parents + k)
        yield single(op.EXIT, parents + k)
        yield ops[alive:]
