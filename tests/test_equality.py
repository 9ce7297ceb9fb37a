"""The kernels agree with the oracle exactly: every counter, account, histogram bucket and clock, on random cases."""

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hwmodel.machine import preset as machine_of
from hwmodel.machine import presets
from tests.support.designs import those_with_a_twin
from tests.support.equality import differences, some_edges, tight_case
from tests.support.random_traces import random_machine, random_trace

DESIGNS = those_with_a_twin()


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("block", range(6))
def test_kernels_equal_the_oracle(design, block):
    for seed in range(25 * block, 25 * block + 25):
        assert differences(*tight_case(seed, design, 80)) == [], f"seed {seed}"


@pytest.mark.parametrize("design", DESIGNS)
@settings(max_examples=40, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(st.randoms(use_true_random=False), st.integers(1, 60))
def test_hypothesis_finds_no_difference(design, rng, size):
    """The same cases, but chosen by Hypothesis, which shrinks one that differs."""
    assert differences(random_machine(rng, design), random_trace(rng, design, size)) == []


@pytest.mark.as_shipped
@pytest.mark.parametrize("design", DESIGNS)
def test_kernels_equal_the_oracle_as_shipped(design):
    for seed in range(1000, 1020):
        assert differences(*tight_case(seed, design, 80)) == [], f"seed {seed}"


@pytest.mark.jit_off
@pytest.mark.parametrize("design", DESIGNS)
def test_kernels_equal_the_oracle_without_the_jit(design):
    for seed in range(2000, 2004):
        assert differences(*tight_case(seed, design, 40)) == [], f"seed {seed}"


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("options", [{"runahead": False}, {"chunk": 7}, {"chunk": 1, "runahead": False}, {"capacity": 1}], ids=str)
def test_what_changes_no_result(design, options):
    for seed in range(3000, 3012):
        assert differences(*tight_case(seed, design, 80), **options) == [], f"seed {seed}"


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("options", [{}, {"runahead": False}, {"chunk": 7}, {"chunk": 1, "runahead": False}], ids=str)
def test_parts_of_a_run_equal_the_oracles(design, options):
    """Each part's books, wherever the edges are: within units, in gaps, two at one place."""
    for seed in range(3100, 3115):
        machine, trace = tight_case(seed, design, 80)
        edges = some_edges(random.Random(seed), trace, 1 + seed % 4)
        assert differences(machine, trace, edges, **options) == [], f"seed {seed}"


@pytest.mark.jit_off
@pytest.mark.parametrize("design", DESIGNS)
def test_parts_of_a_run_equal_the_oracles_without_the_jit(design):
    for seed in range(3200, 3203):
        machine, trace = tight_case(seed, design, 40)
        assert differences(machine, trace, some_edges(random.Random(seed), trace, 2)) == [], f"seed {seed}"


@pytest.mark.parametrize(("seed", "design"), [(10_341, "gru"), (10_426, "gru"), (10_684, "gru"), (10_063, "kvm_ept"), (10_261, "kvm_ept")])
def test_what_once_differed(seed, design):
    """Near CPUs that answered before the interrupts had reached the far ones; a violation without a right; free hits ahead."""
    assert differences(*tight_case(seed, design, 150)) == []


@pytest.mark.parametrize("preset", presets())
def test_presets_equal_the_oracle(preset):
    """The machines that are shipped, with all of their ways and entries; random ones have tiny tables of the first preset's design."""
    machine = machine_of(preset).with_(**{"memory.size_mib": 256})
    for seed in range(4000, 4012):
        rng = random.Random(f"{seed} {preset}")
        assert differences(machine, random_trace(rng, machine.design, 80)) == [], f"seed {seed}"


@pytest.mark.long
@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("block", range(18))
def test_kernels_equal_the_oracle_at_length(design, block):
    for seed in range(10_000 + 50 * block, 10_050 + 50 * block):
        assert differences(*tight_case(seed, design, 150)) == [], f"seed {seed}"
