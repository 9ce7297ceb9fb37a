"""Threads on several memory nodes, and a kernel that moves their pages after them."""

import functools
from collections.abc import Iterator

import numpy as np

from hwmodel import op
from hwmodel.trace import Trace
from workloads.synthetic.drawing import deal, region, touch
from workloads.synthetic.parameters import MOST_PAGES, Common, Positive, Share, check_range, workload
from workloads.synthetic.rounds import barrier, each_round, page_of, round_trace, runs, units


@workload(most=MOST_PAGES, pages=16_384, cpus=2)
def numa_migration(
    common: Common, nodes: int = 2, scan: int = 1024, every: Positive = 10_000, phase: Positive = 200_000, local: Share = 0.9
) -> Trace:
    """Generate agents that use their node's own block of pages; the blocks change hands, and pages migrate to their users.

    Linux's automatic NUMA balancing: the kernel makes a window of the address space inaccessible, the window goes round,
    and a page whose last two hinting faults came from one other node is migrated there (the filter of two references). The
    hinting faults themselves are not in the trace, only the migrations: MIGRATE of each run of pages, by a CPU of the node they go to.

    In the model: a notice for each page that moves, flushes, refills on both sides, and misses of devices that have
    the old frame. A SYNC comes before the migrations of a round.

    Parameters
    ----------
    pages : int
        Size of the region in pages of 4 KiB; in memory from the start. Block n of `nodes` equal ones begins on node n.
    nodes : int
        Agents that access memory, and CPUs, take turns to belong to nodes 0, 1, ...
    scan : int
        Pages of the window: those accessed at least twice in a round, the last two times from one other node, migrate.
    every : int
        Accesses of a round; then the window moves to its next pages.
    phase : int
        Accesses after which the agents of each node turn to the next block; rounded down to rounds, but at least one.
    local : float
        Part of the accesses that go to the node's own block, in [0, 1]; the others are uniform.

    Returns
    -------
    Trace
        Lazy; keeps 8 bytes per page.
    """
    check_range("nodes", nodes, 1, common.pages)
    check_range("scan", scan, 1, common.pages)
    rounds = functools.partial(_rounds, common, common.users, nodes, scan, every, max(1, phase // every), local)
    return round_trace(rounds, common, region(common.pages, populate=True))


def _rounds(
    common: Common, users: np.ndarray, nodes: int, scan: int, every: int, turn: int, local: float
) -> Iterator[np.ndarray]:
    pages = common.pages
    size = pages // nodes
    home = np.minimum(np.arange(pages) // size, nodes - 1)
    for k, random in each_round(common.seed):
        agents = deal(users, k * every, every)
        node = (agents - users[0]) % nodes
        own = (node + k // turn) % nodes * size + random.integers(0, size, every)
        drawn = np.where(random.random(every) < local, own, random.integers(0, pages, every))
        ops = touch(random, drawn, common.writes, agents)
        yield ops
        yield barrier()
        window = k * scan % pages
        seen = (drawn - window) % pages < scan
        moving, to = _claimed(page_of(ops)[seen], node[seen])
        away = home[moving] != to
        moving, to = moving[away], to[away]
        home[moving] = to
        for target in range(nodes):
            first, length = runs(moving[to == target])
            yield units(op.MIGRATE, first, length, target, agent=target if target < common.cpus else 0).ravel()


def _claimed(pages: np.ndarray, nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the pages, ascending, whose last two accesses are from one node, and that node."""
    order = np.argsort(pages, kind="stable")
    pages, nodes = pages[order], nodes[order]
    last = np.flatnonzero(np.diff(pages, append=-1) != 0)
    last = last[last > 0]
    last = last[(pages[last - 1] == pages[last]) & (nodes[last - 1] == nodes[last])]
    return pages[last], nodes[last]
