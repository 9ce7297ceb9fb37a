"""Samples of a run: what each interval counted and booked, to the step; and that they add up."""

import random
import warnings

import numpy as np
import pytest

import hwmodel
from hwmodel import Agent, ConfigError, Trace, op
from tests.support.designs import names
from tests.support.equality import some_edges
from tests.support.random_traces import random_case

PAGE = 0x10000 << 12


def simulated(machine, trace, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return hwmodel.simulate(machine, trace, progress=False, **options)


@pytest.mark.parametrize("design", names())
def test_samples_add_up(design):
    """To the totals of the run; with parts, to the sums of all of them, the warm-up included."""
    for seed in range(20):
        machine, trace = random_case(seed, design, 80)
        plain = simulated(machine, trace)
        result = simulated(machine, trace, sample_ns=max(plain.ns / 30, 2 * plain.ns_per_cycle))
        assert np.array_equal(result.samples.counters.sum(axis=0), plain.counters.array), seed
        assert np.array_equal(result.samples.ledger.sum(axis=0), plain.ledger.array), seed
        edges = some_edges(random.Random(seed), trace)
        named = {f"region {k}": at for k, at in enumerate([0, *edges])}
        parts = simulated(machine, trace, sample_ns=max(plain.ns / 30, 2 * plain.ns_per_cycle), regions=named)
        regions = parts.regions.values()
        assert np.array_equal(parts.samples.counters.sum(axis=0), sum(part.counters.array for part in regions)), seed
        assert np.array_equal(parts.samples.ledger.sum(axis=0), sum(part.ledger.array for part in regions)), seed


@pytest.mark.parametrize("design", names())
def test_an_interval_has_the_steps_that_begin_in_it(design):
    """Whoever runs ahead of whom, and however many samples are taken: a sample of three intervals is the sum of theirs."""
    for seed in range(50, 62):
        machine, trace = random_case(seed, design, 80)
        plain = simulated(machine, trace)
        cycles = max(4, plain.cycles // 60)
        result = simulated(machine, trace, sample_ns=cycles * plain.ns_per_cycle)
        other = simulated(machine, trace, sample_ns=cycles * plain.ns_per_cycle, runahead=False, chunk=5)
        coarse = simulated(machine, trace, sample_ns=3 * cycles * plain.ns_per_cycle)
        starts = np.arange(0, len(result.samples), 3)
        assert np.array_equal(result.samples.counters, other.samples.counters), seed
        assert np.array_equal(np.add.reduceat(result.samples.counters, starts), coarse.samples.counters), seed
        assert np.array_equal(np.add.reduceat(result.samples.ledger, starts), coarse.samples.ledger), seed


@pytest.mark.jit_off
def test_samples_by_hand():
    """Ten instructions of a cycle each, then a system call of 20, 50 instructions: with intervals of 16, by where each step begins."""
    machine = hwmodel.preset("cpu-only").with_(**{"clock.mhz": 1000, "cpu.instruction_cycles": 1, "kernel.syscall_ns": 20})
    records = [(0, 10, 0, op.COMPUTE, 0), (0, 1, 0, op.SYSCALL, 0), (0, 1, 0, op.SYSCALL, 0), (0, 50, 0, op.COMPUTE, 0)]
    result = simulated(machine, Trace.from_records([Agent("cpu", 0, "a")], records), sample_ns=16)
    frame = result.samples.frame()
    assert len(result.samples) == len(frame) == 7
    assert frame["begin_ns"].tolist() == [0, 16, 32, 48, 64, 80, 96] and frame["end_ns"].tolist() == [16, 32, 48, 64, 80, 96, 112]
    assert frame["ops.syscall"].tolist() == [1, 1, 0, 0, 0, 0, 0]  # begun at 10 and 30
    assert frame["ledger.syscall_cycles"].tolist() == [20, 20, 0, 0, 0, 0, 0]
    assert frame["ledger.instruction_cycles"].tolist() == [10, 0, 0, 50, 0, 0, 0]  # the last record begins at 50
    assert frame["ledger.idle_cycles"].tolist() == [0, 0, 0, 0, 0, 0, 100 * (len(result.agents) - 1)]  # CPUs without an agent, at the end
    assert result.cycles == 100 and "7 intervals of 16 ns (16 cycles)" in repr(result.samples)


def test_a_frame_by_agent():
    records = [(PAGE, 3, 0, op.READ, agent) for agent in (0, 1)]
    prelude = op.mmap_unit(PAGE, 1, 3, agent=0, populate=True)
    result = simulated("cpu-only", Trace.from_records([Agent("cpu", 0, "a"), Agent("cpu", 0, "b")], records, prelude), sample_ns=1000)
    frame = result.samples.frame(by_agent=True)
    assert frame.groupby("agent")["cpu.accesses"].sum().loc[["a", "b"]].tolist() == [3, 3]
    assert set(frame["role"]) == {"cpu"} and len(frame) == len(result.samples) * len(result.agents)
    assert frame.filter(like="ledger.").sum(axis=1).sum() == result.clocks.sum()


def test_bad_intervals_are_refused():
    trace = Trace.from_records([Agent("cpu", 0, "a")], [(0, 10_000_000, 0, op.COMPUTE, 0), (0, 10, 0, op.SYSCALL, 0)])
    for given, said in ((0, "must be a time in ns"), ("1", "must be a time"), (True, "must be a time"), (float("nan"), "must be a time"),
                        (1e-3, "less than a cycle"), (1.0, "longer than 100,000 samples")):  # fmt: skip
        with pytest.raises(ConfigError, match=f"sample_ns: .*{said}"):
            simulated("cpu-only", trace, sample_ns=given)
