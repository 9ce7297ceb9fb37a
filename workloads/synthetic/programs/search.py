"""Breadth-first search of a generated graph."""

import functools
from typing import Annotated, Literal

import numpy as np

from hwmodel import op
from hwmodel.jit import entry, part
from workloads.synthetic.parameters import Common, Positive
from workloads.synthetic.programs.graphs import adjacency, kronecker_edges, uniform_edges
from workloads.synthetic.programs.running import WORD, ProgramTrace, Run, meet, program, program_trace, put, whose

FILLED = ("offsets", "neighbours")
GRAPHS = {"kronecker": kronecker_edges, "uniform": uniform_edges}
MOST = 4  # most records of a step
CLEAR, BEGIN, VERTEX, EDGE, END = range(5)

SEARCH = np.dtype((np.record, [
    ("step", "i8"),        # the next step
    ("search", "i8"),      # number of the search
    ("at", "i8"),          # vertex to clear, or index in the queue
    ("level_end", "i8"),   # index in the queue of the next level's first vertex
    ("tail", "i8"),        # number of vertices put into the queue
    ("vertex", "i8"),      # the vertex whose edges are examined
    ("edge", "i8"),
    ("edge_end", "i8"),
    ("agent", "i8"),       # the agent that examines them
    ("offsets", "i8"),     # addresses of the arrays
    ("neighbours", "i8"),
    ("parent", "i8"),
    ("queue", "i8"),
]))  # fmt: skip


@program()
def bfs(
    common: Common,
    scale: Annotated[int, 1, 28] = 14,
    edge_factor: Annotated[int, 1, 1 << 20] = 16,
    graph: Literal["kronecker", "uniform"] = "kronecker",
    searches: Positive = 1,
) -> ProgramTrace:
    """Generate breadth-first searches of an undirected graph: all the loads and stores of their arrays.

    Graph500's kernel 2 in its plainest form: level by level, from a queue of vertices, marking the parent of each vertex that is met
    first; `parent` is set to -1 before each search. The graph is Graph500's (a Kronecker graph of 2**scale vertices with the published
    initiator, renumbered) or has uniformly random edges; in compressed sparse rows, loops and multiple edges left out.
    Arrays of 8-byte elements: `offsets`, `neighbours`, `parent`, `queue`. Building the graph is not in the trace: the first two are in
    memory from the beginning.

    Parameters
    ----------
    scale : int
        The graph has 2**scale vertices; from 1 to 28.
    edge_factor : int
        Edges drawn per vertex.
    graph : "kronecker" or "uniform"
        How the edges are drawn.
    searches : int
        Number of searches, one after the other, each from another vertex that has an edge (Graph500: 64); when all such vertices
        have been used, from the first again.
    cpus, devices : int
        As for `uniform`; the agents that share the vertices of a level. With several, a SYNC record ends each level and the clearing.
    grain : int
        Consecutive vertices of a level that go to one agent; they take turns.
    seed : int
        Seed for the graph and the vertices where searches begin.

    Returns
    -------
    ProgramTrace
        Lazy; keeps the graph. A run's `arrays["parent"]` is the latest search's result: -1 for vertices not reached. Records are in the
        order of the sequential algorithm, for any number of agents.
    """
    random, vertices = np.random.default_rng(common.seed), 1 << scale
    offsets, neighbours = adjacency(vertices, *GRAPHS[graph](scale, edge_factor << scale, random))
    roots = random.permutation(np.flatnonzero(np.diff(offsets)))[:searches]
    if not roots.size:
        raise op.TraceError(f"the graph of seed {common.seed} has no edges: scale or edge_factor must be larger")
    sizes = {"offsets": offsets.nbytes, "neighbours": neighbours.nbytes, "parent": vertices * WORD, "queue": vertices * WORD}
    return program_trace(functools.partial(_start, offsets, neighbours, roots, searches), sizes, FILLED, common)


def _start(
    offsets: np.ndarray, neighbours: np.ndarray, roots: np.ndarray, searches: int, bases: dict[str, int], deal: np.ndarray
) -> Run:
    state = np.zeros(1, SEARCH)
    for name, base in bases.items():
        state[name] = base
    arrays = {"offsets": offsets, "neighbours": neighbours, "parent": np.zeros(offsets.size - 1, np.int64)}
    arrays |= {"queue": np.zeros(offsets.size - 1, np.int64), "roots": np.resize(roots, searches)}
    return Run(_search, state, deal, arrays)


@entry
def _search(ops, state, deal, offsets, neighbours, parent, queue, roots):
    """Continue the search until `ops` is full or all is done; return the number of records."""
    s, filled = state[0], 0
    while filled + MOST <= ops.size and s.step != END:
        if s.step == EDGE:
            filled = _edges(ops, filled, s, neighbours, parent, queue)
        elif s.step == VERTEX:
            filled = _vertex(ops, filled, s, deal, offsets, queue, roots)
        elif s.step == CLEAR:
            filled = _clear(ops, filled, s, deal, parent)
        else:
            filled = _begin(ops, filled, s, deal, parent, queue, roots[s.search])
    return filled


@part
def _clear(ops, filled, s, deal, parent):
    """Clear the parent of every vertex."""
    while s.at < parent.size and filled + MOST <= ops.size:
        parent[s.at] = -1
        filled = put(ops, filled, s.parent + s.at * WORD, op.WRITE, whose(deal, s.at))
        s.at += 1
    if s.at == parent.size and filled + MOST <= ops.size:
        filled = meet(ops, filled, deal)
        s.step = BEGIN
    return filled


@part
def _begin(ops, filled, s, deal, parent, queue, root):
    """Begin a search: the first vertex is its own parent, and the only one in the queue."""
    queue[0] = root
    filled = put(ops, filled, s.queue, op.WRITE, deal[0].first)
    parent[root] = root
    filled = put(ops, filled, s.parent + root * WORD, op.WRITE, deal[0].first)
    s.at, s.level_end, s.tail, s.step = 0, 1, 1, VERTEX
    return filled


@part
def _vertex(ops, filled, s, deal, offsets, queue, roots):
    """Take the next vertex from the queue, or begin the next level or search."""
    if s.at == s.level_end:
        if s.at == s.tail:
            s.search += 1
            s.at, s.step = 0, CLEAR if s.search < roots.size else END
            return meet(ops, filled, deal) if s.step == CLEAR else filled
        s.level_end = s.tail
        filled = meet(ops, filled, deal)
    s.agent, s.vertex = whose(deal, s.at), queue[s.at]
    filled = put(ops, filled, s.queue + s.at * WORD, op.READ, s.agent)
    s.edge, s.edge_end = offsets[s.vertex], offsets[s.vertex + 1]
    filled = put(ops, filled, s.offsets + s.vertex * WORD, op.READ, s.agent)
    filled = put(ops, filled, s.offsets + (s.vertex + 1) * WORD, op.READ, s.agent)
    s.at += 1
    s.step = EDGE
    return filled


@part
def _edges(ops, filled, s, neighbours, parent, queue):
    """Examine the vertex's edges, and put vertices met for the first time into the queue."""
    while s.edge < s.edge_end and filled + MOST <= ops.size:
        other = neighbours[s.edge]
        filled = put(ops, filled, s.neighbours + s.edge * WORD, op.READ, s.agent)
        filled = put(ops, filled, s.parent + other * WORD, op.READ, s.agent)
        if parent[other] == -1:
            parent[other] = s.vertex
            filled = put(ops, filled, s.parent + other * WORD, op.WRITE, s.agent)
            queue[s.tail] = other
            filled = put(ops, filled, s.queue + s.tail * WORD, op.WRITE, s.agent)
            s.tail += 1
        s.edge += 1
    if s.edge == s.edge_end:
        s.step = VERTEX
    return filled
