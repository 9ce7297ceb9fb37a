"""Programs compute what they say, and their records are exactly what the algorithm touches."""

import collections
import itertools

import numpy as np
import pytest
import twins

from hwmodel import op as t
from hwmodel.op import TraceError
from hwmodel.trace import validate
from workloads import bfs, gups, hash_join, spmv
from workloads.synthetic.programs import running
from workloads.synthetic.programs.graphs import adjacency, kronecker_edges
from workloads.synthetic.programs.randomaccess import PERIOD, random_number

AGENTS = pytest.mark.parametrize(
    ("agents", "workers"),
    [({}, [0]), ({"cpus": 3, "grain": 2}, [0, 1, 2]), ({"cpus": 2, "devices": 2, "grain": 5}, [2, 3])],
    ids=["alone", "cpus", "devices"],
)
BYTES = collections.defaultdict(lambda: 8, columns=4)


def finish(trace):
    """(all records, the run they are of)"""
    run = trace.run()
    return np.concatenate(list(run)), run


def same_as(twin, trace):
    """The records are the twin's, one by one."""
    ops = np.concatenate(list(trace.chunks()))
    assert ops.tolist() == list(twin.records(trace.info["arrays"], BYTES))


def log_of(trace, workers):
    return twins.Log(workers, trace.info["grain"])


@pytest.mark.as_shipped
@pytest.mark.jit_off
@AGENTS
@pytest.mark.parametrize("graph", ["kronecker", "uniform"])
def test_bfs_touches_what_the_algorithm_touches(graph, agents, workers):
    trace = bfs(scale=5, edge_factor=2, graph=graph, searches=3, seed=4, **agents)
    given = trace.run().arrays
    log = log_of(trace, workers)
    parent = twins.bfs(log, given, given["roots"])
    same_as(log, trace)
    assert finish(trace)[1].arrays["parent"].tolist() == parent


@pytest.mark.parametrize("graph", ["kronecker", "uniform"])
def test_bfs_finds_shortest_paths(graph):
    _, run = finish(bfs(scale=6, edge_factor=2, graph=graph, seed=1))
    offsets, neighbours, parent = (run.arrays[name] for name in ("offsets", "neighbours", "parent"))
    matrix = np.zeros((64, 64), bool)
    matrix[np.repeat(np.arange(64), np.diff(offsets)), neighbours] = True
    assert (matrix == matrix.T).all() and not matrix.diagonal().any()
    root = run.arrays["roots"][0]
    distance = np.full(64, -1)
    distance[root], reached = 0, np.arange(64) == root
    for step in range(1, 64):  # all walks of so many steps
        new = matrix[reached].any(axis=0) & ~reached
        distance[new], reached = step, reached | new
    assert 1 < reached.sum() < 64 and distance.max() > 2  # a case that says something
    assert ((parent >= 0) == reached).all() and parent[root] == root
    others = np.flatnonzero(reached & (np.arange(64) != root))
    assert matrix[parent[others], others].all()
    assert (distance[others] == distance[parent[others]] + 1).all()


def test_searches_begin_at_different_vertices_that_have_edges():
    run = bfs(scale=4, edge_factor=1, searches=40, seed=2).run()
    degrees, roots = np.diff(run.arrays["offsets"]), run.arrays["roots"]
    connected = int((degrees > 0).sum())
    assert connected < 16 and (degrees[roots] > 0).all()
    assert sorted(roots[:connected]) == np.flatnonzero(degrees).tolist()
    assert (roots[connected : 2 * connected] == roots[:connected]).all()


def test_kronecker_edges_choose_quadrants_as_published():
    """Of the first of `scale` choices: A = 0.57 of the edges join two vertices of one half, D = 0.05 two of the other."""
    random = np.random.default_rng(0)
    edges = 40_000
    heads, tails = kronecker_edges(1, edges, random)  # a single choice, then 0 and 1 may have been exchanged
    counts = np.bincount(2 * heads + tails, minlength=4) / edges
    expected = np.array([0.57, 0.19, 0.19, 0.05])
    expected = expected[::-1] if counts[0] < counts[3] else expected
    assert (np.abs(counts - expected) < 4 * np.sqrt(expected * (1 - expected) / edges)).all()


def test_adjacency_by_hand():
    """Edges 0-2 (twice, once from each end), a loop at 1, 2-3."""
    offsets, neighbours = adjacency(4, np.array([0, 2, 1, 2]), np.array([2, 0, 1, 3]))
    assert offsets.tolist() == [0, 1, 1, 3, 4] and neighbours.tolist() == [2, 0, 3, 2]


@pytest.mark.as_shipped
@pytest.mark.jit_off
@AGENTS
@pytest.mark.parametrize(("per_row", "band"), [(3, 0), (3, 2), (0, 0)])
def test_spmv_touches_what_the_algorithm_touches(per_row, band, agents, workers):
    trace = spmv(rows=11, per_row=per_row, band=band, times=2, seed=5, **agents)
    log = log_of(trace, workers)
    y = twins.spmv(log, trace.run().arrays, 2)
    same_as(log, trace)
    assert finish(trace)[1].arrays["y"] == pytest.approx(y)


def test_spmv_is_the_product():
    _, run = finish(spmv(rows=40, per_row=5, seed=6))
    dense = np.zeros((40, 40))
    np.add.at(dense, (np.repeat(np.arange(40), 5), run.arrays["columns"]), run.arrays["values"])
    assert run.arrays["y"] == pytest.approx(dense @ run.arrays["x"])


def test_a_band_is_kept():
    arrays = spmv(rows=300, per_row=8, band=7).run().arrays
    away = arrays["columns"].reshape(300, 8) - np.arange(300)[:, None]
    assert away.min() == -7 and away.max() == 7 and arrays["columns"].min() >= 0 and arrays["columns"].max() < 300


@pytest.mark.as_shipped
@pytest.mark.jit_off
@AGENTS
@pytest.mark.parametrize("seed", [0, 3])
def test_gups_touches_what_the_algorithm_touches(seed, agents, workers):
    trace = gups(scale=4, updates=67, seed=seed, **agents)
    log = log_of(trace, workers)
    table = twins.gups(log, 16, 67, seed * 67)
    same_as(log, trace)
    assert [number % 2**64 for number in finish(trace)[1].arrays["table"].tolist()] == table


def test_gups_updates_the_same_table_whoever_does_it():
    tables = [finish(gups(scale=6, cpus=cpus, grain=grain))[1].arrays["table"] for cpus, grain in ((1, 1), (3, 1), (4, 7))]
    assert (tables[0] == tables[1]).all() and (tables[0] == tables[2]).all()


def test_random_numbers_are_those_of_hpcc():
    number, numbers = 1, []
    for _ in range(200):
        numbers.append(number - 2**64 if number >= 2**63 else number)
        number = (number << 1 ^ (7 if number >= 2**63 else 0)) % 2**64
    assert [random_number(place) for place in range(200)] == numbers
    assert random_number(PERIOD) == 1 and random_number(PERIOD - 1) != 1


@pytest.mark.as_shipped
@pytest.mark.jit_off
@AGENTS
@pytest.mark.parametrize(("build", "copies", "matching"), [(37, 1, 1.0), (37, 4, 0.6), (1, 1, 0.5)])
def test_hash_join_touches_what_the_algorithm_touches(build, copies, matching, agents, workers):
    trace = hash_join(build=build, probe=50, copies=copies, matching=matching, seed=7, **agents)
    log = log_of(trace, workers)
    run = trace.run()
    given = {name: array.tolist() for name, array in run.arrays.items()}
    matches, total = twins.hash_join(log, given)
    same_as(log, trace)
    state = finish(trace)[1].state[0]
    assert (state.matches, state.total) == (matches, total)


@pytest.mark.parametrize("skew", [0.0, 1.2])
def test_hash_join_finds_every_pair(skew):
    _, run = finish(hash_join(build=100, probe=400, copies=3, matching=0.7, skew=skew, seed=8))
    equal = run.arrays["probe_keys"][:, None] == run.arrays["build_keys"][None, :]
    assert run.state["matches"][0] == equal.sum()
    assert run.state["total"][0] == (equal * run.arrays["payloads"]).sum()
    assert np.unique(run.arrays["build_keys"]).size == 34  # 33 keys of three rows each and one of one
    assert equal.any(axis=1).mean() == pytest.approx(0.7, abs=4 * (0.7 * 0.3 / 400) ** 0.5)


SMALL = [
    (bfs, {"scale": 6, "searches": 2}),
    (spmv, {"rows": 50, "times": 2}),
    (gups, {"scale": 6}),
    (hash_join, {"build": 50, "probe": 90, "copies": 2}),
]


@pytest.mark.parametrize(("program", "arguments"), SMALL, ids=lambda value: getattr(value, "__name__", ""))
@pytest.mark.parametrize("room", [5, 6, 64])
def test_a_full_buffer_changes_nothing(monkeypatch, program, arguments, room):
    trace = program(**arguments, cpus=2)
    whole, run = finish(trace)
    monkeypatch.setattr(running, "ROOM", room)
    pieces = list(trace.run())
    assert len(pieces) > 5 and max(piece.size for piece in pieces) <= room
    assert (np.concatenate(pieces) == whole).all()
    again = finish(trace)[1]
    assert (again.state == run.state).all()
    assert all((again.arrays[name] == array).all() for name, array in run.arrays.items())


@pytest.mark.parametrize(("program", "arguments"), SMALL, ids=lambda value: getattr(value, "__name__", ""))
def test_runs_do_not_disturb_each_other(program, arguments):
    trace = program(**arguments)
    whole = finish(trace)[0]
    one, other = iter(trace.chunks(50)), iter(trace.chunks(50))
    pieces = [piece for pair in zip(one, other, strict=True) for piece in pair]
    assert (np.concatenate(pieces[::2]) == whole).all() and (np.concatenate(pieces[1::2]) == whole).all()


@pytest.mark.parametrize(("program", "arguments"), SMALL, ids=lambda value: getattr(value, "__name__", ""))
def test_arrays_are_mappings_of_their_own(program, arguments):
    trace = program(**arguments)
    validate(trace)
    mapped = [(op["address"], op["address"] + op["count"] * t.PAGE) for op in trace.prelude[::2]]
    assert len(mapped) == len(trace.info["arrays"])
    assert all(end < begin for (_, end), (begin, _) in itertools.pairwise(mapped))
    for array, (begin, end) in zip(trace.info["arrays"].values(), mapped, strict=True):
        assert begin == array["address"] and end - begin == -(-array["bytes"] // t.PAGE) * t.PAGE
    addresses = finish(trace)[0]["address"]
    inside = [((addresses >= array["address"]) & (addresses < array["address"] + array["bytes"])).sum()
              for array in trace.info["arrays"].values()]  # fmt: skip
    syncs = (finish(trace)[0]["kind"] == t.SYNC).sum()
    assert min(inside) > 0 and sum(inside) + syncs == addresses.size


@pytest.mark.parametrize(("program", "arguments"), SMALL, ids=lambda value: getattr(value, "__name__", ""))
def test_what_was_filled_before_is_in_memory(program, arguments):
    """That is: the arrays that the program never stores to; of the others every element is stored to before it is loaded."""
    trace = program(**arguments)
    ops, flags = finish(trace)[0], trace.prelude["count"][1::2]
    for array, flag in zip(trace.info["arrays"].values(), flags, strict=True):
        own = ops[(ops["address"] >= array["address"]) & (ops["address"] < array["address"] + array["bytes"])]
        assert bool(flag & t.POPULATE) == (not (own["kind"] == t.WRITE).any())
        if not flag & t.POPULATE:
            first = own["kind"][np.unique(own["address"], return_index=True)[1]]
            assert (first == t.WRITE).all()


@pytest.mark.parametrize(
    ("program", "arguments", "message"),
    [
        (bfs, {"scale": 0}, r"scale must be in \[1, 28\], not 0"),
        (bfs, {"edge_factor": 0}, "edge_factor must be in"),
        (bfs, {"graph": "tree"}, "graph must be 'kronecker' or 'uniform', not 'tree'"),
        (bfs, {"searches": 0}, "searches must be at least 1"),
        (bfs, {"seed": -1}, "seed must be at least 0"),
        (bfs, {"grain": 0}, "grain must be in"),
        (bfs, {"scale": 1, "edge_factor": 1, "seed": 1}, "the graph of seed 1 has no edges"),
        (spmv, {"rows": 0}, "rows must be in"),
        (spmv, {"per_row": -1}, "per_row must be in"),
        (spmv, {"band": -1}, "band must be at least 0"),
        (spmv, {"times": 0}, "times must be at least 1"),
        (gups, {"scale": 33}, r"scale must be in \[0, 32\]"),
        (gups, {"updates": -1}, "updates must be in"),
        (gups, {"scale": 4, "cpus": 0}, "cpus must be at least 1"),
        (hash_join, {"build": 0}, "build must be in"),
        (hash_join, {"probe": 0}, "probe must be in"),
        (hash_join, {"build": 4, "copies": 5}, r"copies must be in \[1, 4\], not 5"),
        (hash_join, {"matching": 2}, "matching must be in"),
        (hash_join, {"skew": -1}, "skew must be at least 0"),
    ],
)
def test_arguments_are_checked(program, arguments, message):
    with pytest.raises(TraceError, match=message):
        program(**arguments)
