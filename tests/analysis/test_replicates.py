"""Replicates: intervals by hand, traces by seed, what is refused."""

import math

import numpy as np
import pytest

import analysis
import workloads
from analysis.replicates import replicas
from hwmodel.machine import ConfigError, preset
from hwmodel.op import Agent
from hwmodel.trace import Trace


def test_few_samples_give_what_they_reach():
    found = analysis.interval([3, 1, 9])
    assert (found.median, found.low, found.high, found.samples, found.kind) == (3, 1, 9, 3, "minimum and maximum")
    assert str(found) == "3 [1 to 9]"
    assert analysis.interval(range(9)).kind == "minimum and maximum"


def test_ten_samples_give_an_interval_of_the_median():
    values = [1, 2, 3, 4, 5, 6, 7, 8, 9, 1000]
    found = analysis.interval(values)
    assert found.median == 5.5 and found.kind == "95 % bootstrap interval of the median"
    assert 1 < found.low < 5.5 < found.high < 1000, "the longest of ten is hardly ever a median"
    assert analysis.interval(reversed(values)) == found
    assert analysis.interval([7] * 10) == analysis.interval([7] * 9 + [7.0]) and analysis.interval([7] * 10).low == 7


def test_the_interval_holds_the_median_as_often_as_it_says():
    """Of 300 samples of 15 from a skewed distribution; the percentile bootstrap of a median is a little off on so few: 90 to 99 %."""
    rng, held = np.random.default_rng(5), 0
    for _ in range(300):
        found = analysis.interval(rng.exponential(size=15))
        held += found.low <= math.log(2) <= found.high
    assert 0.90 <= held / 300 <= 0.99


def test_no_number_is_no_interval():
    assert all(math.isnan(x) for x in (analysis.interval([1, math.nan]).low, analysis.interval([math.nan] * 12).median))
    with pytest.raises(ConfigError, match="no sample"):
        analysis.interval([])


def test_ratios_are_paired_by_seed():
    found = analysis.ratio({1: 10.0, 2: 40.0, 3: 90.0}, {3: 30.0, 2: 20.0, 1: 10.0})
    assert (found.median, found.low, found.high) == (2, 1, 3)
    assert math.isnan(analysis.ratio({1: 1.0, 2: 1.0}, {1: 2.0, 2: -1.0}).median)
    with pytest.raises(ConfigError, match=r"one side has the seeds \[1\], the other \[2\]"):
        analysis.ratio({1: 1.0}, {2: 1.0})


def test_each_seed_offloads_other_accesses(trace):
    machines = [preset("gru-2008"), preset("cpu-only")]
    found = replicas(trace, machines, [5, 6], share=0.5)
    assert [r.seed for r in found] == [5, 6] and [r.shared.info["offload"]["seed"] for r in found] == [5, 6]
    assert all(r.of(machines[0]) is r.shared and r.of(machines[1]) is r.plain is trace for r in found)
    (alone,) = replicas(trace, machines, None)
    assert alone.seed is None and alone.shared.info["offload"]["seed"] == 0


def test_a_generator_is_given_the_seed(simulated):
    found = analysis.replicate("gru-2008", lambda seed: workloads.zipf(accesses=100, pages=8, devices=1, seed=seed), [2, np.int64(7)])
    assert list(found) == [2, 7] and [trace.info["seed"] for _, trace in simulated] == [2, 7]


@pytest.mark.parametrize(
    ("seeds", "complaint"),
    [
        ([], "at least one"), (5, "must be a list"), ("12", "must be a list"), ([1.5], "whole numbers"), ([True], "whole numbers"),
        ([1, 2, 1], "comes twice"),
    ],
)  # fmt: skip
def test_bad_seeds_are_refused(trace, seeds, complaint):
    with pytest.raises(ConfigError, match=f"^seeds: .*{complaint}"):
        analysis.replicate("gru-2008", trace, seeds)
    with pytest.raises(ConfigError, match=f"^seeds: .*{complaint}"):
        analysis.sweep("gru-2008", {"tlb.entries": [64]}, trace, seeds=seeds)


def test_seeds_where_nothing_is_random_are_refused(trace):
    devices = Trace.from_records([*trace.agents, Agent("device", 0, "device0")], next(trace.chunks()))
    for given, machine in ((devices, "gru-2008"), (trace, "cpu-only")):
        with pytest.raises(ConfigError, match=r"^seeds: nothing is random in a trace that is not offloaded"):
            analysis.replicate(machine, given, [1, 2])


def test_a_sweep_has_a_row_for_each_point_and_seed(simulated, trace):
    frame = analysis.sweep("gru-2008", {"tlb.entries": [64, 256]}, trace, seeds=[1, 2], progress=False)
    assert list(zip(frame["tlb.entries"], frame["seed"], strict=True)) == [(64, 1), (64, 2), (256, 1), (256, 2)]
    assert "seed" not in analysis.sweep("gru-2008", {"tlb.entries": [64]}, trace, progress=False)
