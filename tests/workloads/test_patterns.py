"""Strided streams, pointer chase, phases, rings: record by record against plain Python."""

import itertools

import numpy as np
import pytest

from hwmodel import op
from hwmodel.op import TraceError
from hwmodel.trace import validate
from workloads import phases, pointer_chase, producer_consumer, sequential, strided, uniform, zipf
from workloads.synthetic.arrays import APART, place
from workloads.synthetic.drawing import BASE, BLOCK
from workloads.synthetic.ranks import Ranks


def records(trace, size=1 << 18):
    return np.concatenate(list(trace.chunks(size)))


def tuples(trace):
    return records(trace).tolist()


@pytest.mark.as_shipped
@pytest.mark.jit_off
@pytest.mark.parametrize(("stride", "streams"), [(8, "r"), (1000, "rw"), (4096, "rrw"), (4104, "wr")])
@pytest.mark.parametrize("workers", [1, 3])
def test_streams_walk_side_by_side(stride, streams, workers):
    pages, accesses = 3, 4000 if stride == 8 else 100
    bases, _ = place({str(i): pages * 4096 for i in range(len(streams))})
    elements = list(range(0, pages * 4096, stride))
    cuts = [worker * len(elements) // workers for worker in range(workers + 1)]
    parts = [itertools.cycle(elements[begin:end]) for begin, end in itertools.pairwise(cuts)]
    expected = []
    for worker in itertools.cycle(range(workers)):
        offset = next(parts[worker])
        for base, letter in zip(bases.values(), streams, strict=True):
            expected.append((base + offset, 1, 0, op.WRITE if letter == "w" else op.READ, worker + 1 if workers == 3 else 0))
        if len(expected) >= accesses:
            break
    trace = strided(accesses, pages=pages, stride=stride, streams=streams, devices=3 if workers == 3 else 0)
    assert tuples(trace) == expected[:accesses]


@pytest.mark.parametrize("generate", [uniform, zipf, sequential, strided, pointer_chase])
def test_any_block_can_be_made_without_those_before_it(generate):
    trace = generate(2 * BLOCK + 300, pages=50, cpus=3)
    fill = trace._source.args[0]
    assert (fill(2 * BLOCK, 300) == records(trace)[2 * BLOCK :]).all()
    assert (fill(BLOCK, BLOCK) == records(trace)[BLOCK : 2 * BLOCK]).all()


def test_arrays_do_not_touch():
    bases, prelude = place({"a": 1, "b": APART - 4096, "c": APART, "d": 5 * APART + 1})
    assert list(bases.values()) == [BASE, BASE + APART, BASE + 2 * APART, BASE + 4 * APART]
    assert prelude["count"][::2].tolist() == [1, 511, 512, 5 * 512 + 1]
    assert [bool(flags & op.POPULATE) for flags in place({"a": 1, "b": 1}, filled=["b"])[1]["count"][1::2]] == [False, True]
    with pytest.raises(TraceError, match="b: 140737488355328 bytes at 0x1000200000 pass the end of user memory"):
        place({"a": 1, "b": 1 << 47})


@pytest.mark.jit_off
def test_a_chase_reads_each_node_once_a_round():
    ops = records(pointer_chase(3 * 128, pages=2, node=64))
    assert (ops["kind"] == op.READ).all() and (ops["count"] == 1).all()
    rounds = ops["address"].reshape(3, 128)
    assert (rounds == rounds[0]).all()
    assert sorted(rounds[0]) == list(range(BASE, BASE + 8192, 64))


def test_a_node_need_not_divide_the_region():
    ops = records(pointer_chase(100, pages=1, node=1504))
    assert sorted(set(ops["address"].tolist())) == [BASE, BASE + 1504]


@pytest.mark.jit_off
def test_agents_chase_from_evenly_spread_places():
    alone = records(pointer_chase(12, pages=12, node=4096, seed=5))["address"]
    shared = records(pointer_chase(30, pages=12, node=4096, seed=5, cpus=2, devices=3))
    for agent, start in ((2, 0), (3, 4), (4, 8)):
        own = shared["address"][shared["agent"] == agent]
        assert own.tolist() == np.roll(alone, -start)[:10].tolist()


@pytest.mark.parametrize(
    ("producer", "consumer", "numbers"),
    [("cpu", "device", (0, 1)), ("device", "cpu", (1, 0)), ("cpu", "cpu", (0, 1)), ("device", "device", (1, 2))],
)
@pytest.mark.parametrize(("pages", "batch", "lag", "per_page"), [(2, 1, 1, 1), (12, 3, 2, 5), (12, 3, 3, 2), (8, 2, 1, 512)])
def test_a_ring_is_written_and_read_behind(producer, consumer, numbers, pages, batch, lag, per_page):
    def word(step, at):
        return BASE + (step * batch + at // per_page) % pages * 4096 + at % per_page * (512 // per_page * 8)

    expected = []
    for step in range(10 if per_page < 100 else 4):
        expected += [(0, 0, 0, op.SYNC, numbers[0])] if step else []
        for at in range(batch * per_page):
            expected.append((word(step, at), 1, 0, op.WRITE, numbers[0]))
            if step >= lag:
                expected.append((word(step - lag, at), 1, 0, op.READ, numbers[1]))
    accesses = sum(record[3] != op.SYNC for record in expected)
    arguments = {"pages": pages, "batch": batch, "lag": lag, "per_page": per_page, "producer": producer, "consumer": consumer}
    trace = producer_consumer(accesses, **arguments)
    assert tuples(trace) == expected
    assert len(trace) == len(expected) and trace.references == accesses
    assert trace.agents[numbers[0]].role == producer and trace.agents[numbers[1]].role == consumer
    unsynced = producer_consumer(accesses, **arguments, sync=False)
    assert tuples(unsynced) == [record for record in expected if record[3] != op.SYNC] and len(unsynced) == accesses


@pytest.mark.jit_off
def test_the_reader_of_a_ring_never_overtakes_and_loses_nothing():
    ops = records(producer_consumer(3000, pages=6, batch=2, lag=2, per_page=3))
    content, written, read = {}, 0, 0
    for address, _, _, kind, _ in ops.tolist():
        if kind == op.WRITE:
            content[address], written = written, written + 1
        elif kind == op.READ:
            assert content[address] == read
            read += 1
    assert read > 1000


@pytest.mark.parametrize("accesses", range(1, 60))
def test_the_meetings_of_a_ring_are_counted(accesses):
    trace = producer_consumer(accesses, pages=8, batch=2, lag=2, per_page=2)
    assert len(trace) == records(trace).size


def test_blocks_of_a_ring_fit_together():
    trace = producer_consumer(BLOCK + 500, pages=4, batch=1, per_page=7)
    ops = records(trace)
    assert len(trace) == ops.size
    steps = np.flatnonzero(ops["kind"] == op.SYNC)
    assert steps[0] == 7 and set(np.diff(steps)) == {15}


def test_phases_are_cut_nowhere_but_where_they_end():
    """A phase that is longer than a block goes on; what comes before a phase does not change it."""
    long = records(phases(2 * BLOCK + 10, pages=500, length=1 << 40, smallest=9, largest=9, outside=0))
    assert np.unique(long["address"] >> 12).size == 9
    short = records(phases(BLOCK, pages=500, length=1 << 40, smallest=9, largest=9, outside=0))
    assert (long[:BLOCK] == short).all()


@pytest.mark.parametrize("exponent", [0.0, 0.9, 3.0])
@pytest.mark.parametrize("size", [1, 2, 1000])
def test_ranks_are_those_of_a_search(size, exponent):
    cumulative = np.cumsum(np.arange(1, size + 1, dtype=float) ** -exponent)
    drawn = np.random.default_rng(1).random(2000)
    expected = np.minimum(np.searchsorted(cumulative, drawn * cumulative[-1], side="right"), size - 1)
    assert Ranks(size, exponent).draw(np.random.default_rng(1), 2000).tolist() == expected.tolist()


@pytest.mark.jit_off
def test_zipf_of_a_page():
    validate(zipf(100, pages=1))


@pytest.mark.parametrize(
    ("generate", "arguments", "message"),
    [
        (strided, {"pages": 0}, r"pages must be in \[1, "),
        (strided, {"stride": 12}, "stride must be a multiple of 8, not 12"),
        (strided, {"stride": 0}, "stride must be in"),
        (strided, {"pages": 1, "stride": 4104}, r"stride must be in \[8, 4096\], not 4104"),
        (strided, {"streams": ""}, "streams must be of the letters r and w, not ''"),
        (strided, {"streams": "rx"}, "streams must be of the letters r and w, not 'rx'"),
        (strided, {"pages": 1, "stride": 4096, "cpus": 2}, r"elements \(pages \* 4096 / stride\) must be at least 2, not 1"),
        (strided, {"accesses": 0}, "accesses must be at least 1"),
        (strided, {"cpus": 0}, "cpus must be at least 1"),
        (pointer_chase, {"pages": 0}, "pages must be in"),
        (pointer_chase, {"node": 4}, "node must be in"),
        (pointer_chase, {"node": 20}, "node must be a multiple of 8, not 20"),
        (pointer_chase, {"pages": 1, "node": 8192}, "node must be in"),
        (pointer_chase, {"pages": 1 << 28, "node": 8}, "nodes .* must be in"),
        (pointer_chase, {"seed": -1}, "seed must be at least 0"),
        (pointer_chase, {"devices": -1}, "devices must be at least 0"),
        (phases, {"pages": 0}, "pages must be in"),
        (phases, {"pages": 10, "smallest": 11}, r"smallest must be in \[1, 10\], not 11"),
        (phases, {"smallest": 5, "largest": 4}, r"largest must be in \[5, "),
        (phases, {"length": 0}, "length must be in"),
        (phases, {"outside": 2}, "outside must be in"),
        (phases, {"writes": -1}, "writes must be in"),
        (phases, {"accesses": 0}, "accesses must be at least 1"),
        (phases, {"cpus": 0}, "cpus must be at least 1"),
        (phases, {"seed": -1}, "seed must be at least 0"),
        (producer_consumer, {"batch": 0}, "batch must be at least 1"),
        (producer_consumer, {"pages": 8, "batch": 8}, "pages must be in .16, "),
        (producer_consumer, {"pages": 20, "batch": 8}, r"pages must be a multiple of batch \(8\), not 20"),
        (producer_consumer, {"pages": 16, "batch": 4, "lag": 4}, r"lag must be in \[1, 3\], not 4"),
        (producer_consumer, {"per_page": 513}, r"per_page must be in \[1, 512\]"),
        (producer_consumer, {"accesses": 0}, "accesses must be at least 1"),
        (producer_consumer, {"producer": "gpu"}, "producer must be 'cpu' or 'device', not 'gpu'"),
        (producer_consumer, {"consumer": ""}, "consumer must be 'cpu' or 'device', not ''"),
    ],
)
def test_arguments_are_checked(generate, arguments, message):
    with pytest.raises(TraceError, match=message):
        generate(**arguments)
