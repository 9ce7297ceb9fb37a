"""Traversal of a linked list in random order."""

import functools

import numpy as np

from hwmodel import op
from hwmodel.jit import entry
from hwmodel.trace import Trace
from workloads.synthetic.drawing import BASE, block_trace, fill_in, region
from workloads.synthetic.parameters import MOST_PAGES, Common, check_range, workload

LIST = 0xC4A5E  # spawn key of the order of the nodes


@workload(most=MOST_PAGES, pages=16_384, writes=None)
def pointer_chase(common: Common, node: int = 64) -> Trace:
    """Generate loads that each return the address of the next: one cycle through all nodes of a region in random order.

    The measure of memory latency, as of lmbench's lat_mem_rd with its random order (-t). That one permutes pages and takes another page at
    every step; here all cycles through the nodes are equally likely, as S. Sattolo's algorithm draws them.

    Parameters
    ----------
    accesses : int
        Over all agents; a record each, in turn. An agent's reads are in its own order; nothing here makes the next wait for the one before.
    pages : int
        Size of the region in pages of 4 KiB; in memory from the beginning, because the list was made before.
    node : int
        Bytes of a node, a multiple of 8; its first 8 are read.
    cpus, devices : int
        As for `uniform`; the agents begin at places evenly spread over the cycle.
    seed : int
        Seed for the order of the nodes.

    Returns
    -------
    Trace
        Lazy; keeps 8 bytes per node.
    """
    check_range("node", node, 8, common.pages << op.PAGE_SHIFT)
    if node % 8:
        raise op.TraceError(f"node must be a multiple of 8, not {node}")
    nodes = (common.pages << op.PAGE_SHIFT) // node
    check_range("nodes (pages * 4096 / node)", nodes, 1, 1 << 28)
    agents = common.users
    # a random order followed in a circle is a random cycle: each cycle comes from `nodes` orders, one for each first node
    order = np.random.default_rng([common.seed, LIST]).permutation(nodes) * node + BASE
    starts = np.arange(agents.size) * nodes // agents.size
    return block_trace(functools.partial(fill_in, _follow, (order, starts, agents)), common, region(common.pages, populate=True))


@entry
def _follow(ops, first, order, starts, agents):
    """Fill in the reads from `first` on; agent a begins at order[starts[a]]."""
    agent, step = first % agents.size, first // agents.size
    for i in range(ops.size):
        op.write(ops[i], order[(starts[agent] + step) % order.size], 1, 0, op.READ, agents[agent])
        agent += 1
        if agent == agents.size:
            agent = 0
            step += 1
