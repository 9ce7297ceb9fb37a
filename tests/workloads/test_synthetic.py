"""Generators: seeded, streaming, valid, and distributed as they say."""

import numpy as np
import pytest

from hwmodel import op
from hwmodel.op import TraceError
from hwmodel.trace import validate
from workloads import sequential, uniform, unmap_churn, zipf
from workloads.synthetic.drawing import BASE, BLOCK

GENERATORS = (uniform, zipf, sequential, unmap_churn)


def records(trace, size=1 << 18):
    return np.concatenate(list(trace.chunks(size)))


def pages_of(ops):
    return ops["address"] - BASE >> op.PAGE_SHIFT


@pytest.mark.parametrize("generate", GENERATORS)
def test_the_same_seed_gives_the_same_trace_however_it_is_cut(generate):
    trace = generate(BLOCK + 5000, pages=100, seed=3)
    whole = records(trace)
    assert (records(trace, 777) == whole).all()
    assert (records(generate(BLOCK + 5000, pages=100, seed=3)) == whole).all()
    assert (records(generate(BLOCK + 5000, pages=100, seed=4)) != whole).any()
    assert len(trace) == whole.size
    assert trace.references == op.count_references(whole) == BLOCK + 5000


@pytest.mark.parametrize("generate", GENERATORS)
@pytest.mark.parametrize("devices", [0, 2])
def test_traces_are_valid_stay_in_the_region_and_mix_reads_and_writes(generate, devices):
    trace = generate(20_000, pages=64, writes=0.25, cpus=2, devices=devices)
    validate(trace)
    ops = records(trace)
    accesses = ops[ops["kind"] <= op.WRITE]
    assert pages_of(accesses).min() >= 0 and pages_of(accesses).max() < 64
    assert (accesses["kind"] == op.WRITE).mean() == pytest.approx(0.25, abs=0.02)
    assert sorted(set(accesses["agent"].tolist())) == ([2, 3] if devices else [0, 1])
    assert [agent.role for agent in trace.agents] == ["cpu"] * 2 + ["device"] * devices
    assert tuple(trace.prelude[0])[:2] == (BASE, 64)


def test_a_longer_trace_begins_like_a_shorter_one_where_blocks_are_whole():
    short, long = records(uniform(BLOCK)), records(uniform(3 * BLOCK))
    assert (long[:BLOCK] == short).all()


def test_uniform_pages_are_uniform():
    counts = np.bincount(pages_of(records(uniform(200_000, pages=50))), minlength=50)
    assert counts == pytest.approx(4000, rel=0.1)


def test_zipf_pages_follow_the_law():
    counts = np.sort(np.bincount(pages_of(records(zipf(400_000, pages=1000, exponent=1.0))), minlength=1000))[::-1]
    expected = 400_000 / np.arange(1, 11) / np.sum(1 / np.arange(1, 1001))
    assert counts[:10] == pytest.approx(expected, rel=0.05)


def test_popular_pages_are_strewn():
    pages = pages_of(records(zipf(10_000, pages=1000, exponent=2.0)))
    assert np.bincount(pages).argmax() != 0


def test_exponent_0_is_uniform():
    counts = np.bincount(pages_of(records(zipf(200_000, pages=50, exponent=0))), minlength=50)
    assert counts == pytest.approx(4000, rel=0.1)


def test_sequential_walks():
    assert pages_of(records(sequential(8, pages=3))).tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert pages_of(records(sequential(6, pages=10, per_page=2, stride=4))).tolist() == [0, 0, 4, 4, 8, 8]
    assert pages_of(records(sequential(4, pages=10, stride=-1))).tolist() == [0, 9, 8, 7]


@pytest.mark.parametrize("every", [1, 3, 1000, BLOCK, BLOCK + 1])
def test_churn_operates_every_so_often(every):
    accesses = 2 * BLOCK + 10 if every >= 1000 else 50
    ops = records(unmap_churn(accesses, pages=64, every=every, part=8))
    starts = np.flatnonzero(ops["kind"] == op.MUNMAP)
    assert starts.size == (accesses - 1) // every
    before = np.cumsum(ops["kind"] <= op.WRITE)[starts]
    assert before.tolist() == [every * (i + 1) for i in range(starts.size)]
    assert (ops["kind"][starts + 1] == op.MMAP).all() and (ops["kind"][starts + 2] == op.ARG).all()
    assert (ops["address"][starts + 1] == ops["address"][starts]).all()
    assert (pages_of(ops[starts]) % 8 == 0).all() and (pages_of(ops[starts]) <= 56).all()
    assert (ops["agent"][starts] == 0).all()


def test_churn_can_give_back_pages_without_unmapping():
    ops = records(unmap_churn(5000, pages=64, every=100, how="dontneed"))
    assert (ops["kind"] == op.MADVISE).sum() == 49
    assert not np.isin(ops["kind"], (op.MMAP, op.MUNMAP)).any()


@pytest.mark.parametrize(
    ("generate", "arguments", "message"),
    [
        (uniform, {"pages": 0}, r"pages must be in \[1, "),
        (uniform, {"accesses": 0}, "accesses must be at least 1, not 0"),
        (uniform, {"writes": 1.1}, r"writes must be in \[0, 1\], not 1.1"),
        (uniform, {"cpus": 0}, "cpus must be at least 1"),
        (uniform, {"devices": 128}, r"cpus \+ devices must be in \[1, 128\]"),
        (uniform, {"seed": -1}, "seed must be at least 0"),
        (zipf, {"exponent": -1}, "exponent must be at least 0"),
        (zipf, {"pages": 0}, "pages must be"),
        (sequential, {"per_page": 0}, "per_page must be at least 1"),
        (sequential, {"stride": 0}, "stride must not be 0"),
        (unmap_churn, {"part": 5000}, r"part must be in \[1, 4096\]"),
        (unmap_churn, {"every": 0}, "every must be at least 1"),
        (unmap_churn, {"how": "free"}, "how must be 'unmap' or 'dontneed', not 'free'"),
    ],
)
def test_arguments_are_checked(generate, arguments, message):
    with pytest.raises(TraceError, match=message):
        generate(**arguments)
