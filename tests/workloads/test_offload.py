"""Offloading moves accesses between agents and changes nothing else."""

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmodel import op
from hwmodel.jit import JIT_OFF
from hwmodel.op import Agent, TraceError
from hwmodel.trace import Trace, validate
from workloads import offload, uniform, unmap_churn

CPU = Agent("cpu", 0, "cpu0")


def records(trace):
    return np.concatenate([np.empty(0, op.OP), *trace.chunks()])


def sample(size=20_000, seed=0):
    """Fetches, reads, writes, crossing accesses and operations of two CPUs, in small pieces."""
    random = np.random.default_rng(seed)
    units = []
    for kind, page in zip(random.integers(0, 40, size).tolist(), random.integers(0, 300, size).tolist(), strict=True):
        if kind == 39:
            units.append(op.paged_unit(op.MADVISE, page << 12, 1, [(0, op.DONTNEED)]))
        elif kind > 36:
            units.append([(page << 12 | 4092, 1, 0, 1, 0), ((page + 1) << 12, 1, 0, 1 | op.CONTINUES, 0)])
        else:
            units.append([(page << 12, 1, 0, kind % 3, int(kind == 35))])
    pieces = [op.as_records(r for unit in units[i : i + 999] for r in unit) for i in range(0, size, 999)]
    return Trace([CPU, Agent("cpu", 0, "cpu1")], functools.partial(iter, pieces))


def drawn(number, seed):
    """The 32 bits that a block or page number draws, and those by which its device is chosen: C. Wellons' lowbias32, written once more."""

    def mix(value):
        for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
            value = (value ^ value >> shift) * factor & 0xFFFFFFFF
        return value ^ value >> 16

    side = mix(mix(mix(mix(seed & 0xFFFFFFFF) ^ seed >> 32) ^ number & 0xFFFFFFFF) ^ number >> 32)
    return side, mix(side ^ 0x9E3779B9)


@pytest.mark.parametrize("by", ["block", "page"])
@pytest.mark.parametrize("seed", [0, 5, 5 << 32 | 7])
def test_who_gets_a_record(by, seed):
    """Reads, writes and an access in two halves, of pages far apart; three in a block."""
    units = [[((page << 33) + 4092, 1, 0, kind, 0), ((page << 33) + 4096, 1, 0, kind | op.CONTINUES, 0)][: 1 + (page % 5 == 0)]
             for page in range(60) for kind in (op.READ, op.WRITE)]  # fmt: skip
    trace = offload(Trace.from_records([CPU], [record for unit in units for record in unit]), 0.4, 3, by, 3, seed, "record")
    expected = []
    for i, unit in enumerate(units):
        side, device = drawn(i // 3 if by == "block" else unit[0][0] >> 12, seed)
        expected += [1 + device % 3 if side < round(0.4 * 2**32) else 0] * len(unit)
    assert records(trace)["agent"].tolist() == expected
    assert set(expected) == {0, 1, 2, 3}


SETTINGS = st.fixed_dictionaries({
    "share": st.sampled_from((0.0, 0.1, 0.5, 1.0)),
    "engines": st.integers(1, 4),
    "by": st.sampled_from(("block", "page")),
    "block": st.sampled_from((1, 7, 64)),
    "seed": st.integers(0, 1 << 70),
})  # fmt: skip


@settings(deadline=None, max_examples=40)
@given(SETTINGS)
def test_only_agents_change(arguments):
    before, trace = records(sample(3000)), offload(sample(3000), **arguments, unit="record")
    after = records(trace)
    validate(trace)
    same = [name for name in op.OP.names if name != "agent"]
    assert (before[same] == after[same]).all()
    moved = before["agent"] != after["agent"]
    assert (before["agent"][moved] == 0).all()
    assert (after["kind"][moved] & ~op.CONTINUES <= op.WRITE).all()
    assert (after["agent"][moved] >= 2).all() and (after["agent"][moved] < 2 + arguments["engines"]).all()
    halves = np.flatnonzero(before["kind"] & op.CONTINUES)
    assert (after["agent"][halves] == after["agent"][halves - 1]).all()
    if arguments["by"] == "page":
        pages = after["address"][moved] >> 12
        whole = ~np.isin(np.flatnonzero(moved), [*halves, *(halves - 1)])
        owners = {(page, agent) for page, agent in zip(pages[whole], after["agent"][moved][whole], strict=True)}
        assert len({page for page, _ in owners}) == len(owners)


@pytest.mark.parametrize("by", ["block", "page"])
@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.9, 1.0])
def test_the_share_is_met(by, share):
    size, error = (20_000, 0.05) if JIT_OFF else (400_000, 0.02)
    agents = records(offload(uniform(size, pages=size // 20), share, engines=3, by=by, block=16, unit="record"))["agent"]
    assert (agents > 0).mean() == pytest.approx(share, abs=error)
    if share:
        parts = np.bincount(agents, minlength=4)[1:] / agents.size
        assert parts == pytest.approx([share / 3] * 3, abs=error)


def test_a_block_stays_together():
    agents = records(offload(uniform(64_000), block=64, unit="record"))["agent"].reshape(-1, 64)
    assert (agents == agents[:, :1]).all()
    assert len(set(agents[:, 0].tolist())) == 2


def test_chunks_and_repetition_do_not_matter_but_the_seed_does():
    trace = offload(sample(), unit="record")
    whole = records(trace)
    assert (np.concatenate(list(trace.chunks(100))) == whole).all()
    assert (records(offload(sample(), unit="record")) == whole).all()
    assert (records(offload(sample(), unit="record", seed=1)) != whole).any()


def test_agents_prelude_and_info():
    trace = offload(unmap_churn(1000, devices=0), engines=2, share=0.3)
    assert [(agent.role, agent.space, agent.name) for agent in trace.agents] == [
        ("cpu", 0, "cpu0"),
        ("device", 0, "device0"),
        ("device", 0, "device1"),
    ]
    assert trace.prelude.size == 2
    assert trace.info["offload"] == {"share": 0.3, "engines": 2, "by": "block", "block": 64, "seed": 0, "unit": "line", "bytes": 8}
    validate(trace)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"share": -0.1}, r"share must be in \[0, 1\], not -0.1"),
        ({"share": float("nan")}, r"share must be in \[0, 1\], not nan"),
        ({"engines": 0}, r"engines must be in \[1, 127\], not 0"),
        ({"engines": 128}, r"engines must be in \[1, 127\], not 128"),
        ({"by": "vma"}, "by must be 'block' or 'page', not 'vma'"),
        ({"block": 0}, "block must be at least 1, not 0"),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(TraceError, match=message):
        offload(uniform(10), **arguments)


def test_agent_0_must_be_a_cpu():
    with pytest.raises(TraceError, match="agent 0 must be a CPU"):
        offload(Trace.from_records([Agent("device", 0, "x")], []))
