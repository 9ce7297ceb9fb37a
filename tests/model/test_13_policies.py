"""Switches of a policy, each turned off: kernels and oracle agree, and a calculation by hand sees the difference (docs/model.md 13.1)."""

import pytest

from hwmodel import op
from hwmodel.primary.policy import POLICIES, POLICY, policy_row
from tests.model.hand import (
    HUGE_PAGE,
    PAGE,
    THP,
    advise,
    big,
    clocked,
    compute,
    memory,
    protect,
    run_of,
    sync,
    tables_in_use,
    unmap,
    waited,
    write,
)
from tests.reference import machine as oracle
from tests.support import designs
from tests.support.equality import differences
from tests.support.random_traces import random_case


@pytest.fixture
def without(monkeypatch):
    """Turn switches of linux-6 off, for kernels and oracle."""

    def turn_off(*switches):
        for policies in (POLICIES, oracle.POLICIES):
            monkeypatch.setitem(policies, "linux-6", policies["linux-6"] | dict.fromkeys(switches, 0))

    return turn_off


def test_every_policy_sets_every_switch():
    assert POLICIES.keys() == oracle.POLICIES.keys()
    for name, switches in POLICIES.items():
        assert set(switches) == set(POLICY.names) == set(oracle.POLICIES[name])
        assert dict(zip(POLICY.names, policy_row(name)[0].tolist(), strict=True)) == {s: int(on) for s, on in oracle.POLICIES[name].items()}


@pytest.mark.parametrize("design", designs.those_with_a_twin())
@pytest.mark.parametrize("switch", [*POLICY.names, "all"])
def test_kernels_equal_the_oracle_without_a_switch(without, switch, design):
    without(*(POLICY.names if switch == "all" else [switch]))
    for seed in range(40):
        machine, trace = random_case(seed, design, 80)
        assert differences(machine, trace) == [], seed


def test_without_vma_locks_a_fault_waits_for_any_writer(without):
    """CPU 0 changes rights for 2,000 cycles, of a VMA that is none of CPU 1's, which faults at 100."""
    records = [*protect(1, 1), compute(100, 1), write(PAGE + 100, 1)]
    mapped, costs = [*memory(), *memory(page=PAGE + 100)], dict(kernel__vma_ns=2000)
    assert waited(clocked(mapped, records, **costs), "lock_wait") == [0, 0]
    without("vma_locks")
    assert waited(clocked(mapped, records, **costs), "lock_wait") == [0, 1900]


def test_without_a_downgrade_readers_wait_for_the_end_of_a_munmap(without):
    """500 cycles of a split; then 256 ptes are cleared."""
    records = [write(HUGE_PAGE), sync(), *unmap(256, HUGE_PAGE + 256), compute(100, 1), *advise(op.DONTNEED, agent=1)]
    mapped, costs = [*big(), *memory(populate=True)], dict(kernel__table_ns=500, kernel__clear_ns=10)
    assert waited(clocked(mapped, records, **costs, **THP), "lock_wait") == [0, 400]
    without("munmap_downgrades")
    assert waited(clocked(mapped, records, **costs, **THP), "lock_wait") == [0, 400 + 2560]


def test_without_it_a_dontneed_leaves_its_tables(without):
    mapped, records = memory(512, page=HUGE_PAGE), [write(HUGE_PAGE), *advise(op.DONTNEED, 512, HUGE_PAGE)]
    before = tables_in_use(run_of(mapped, records))
    without("dontneed_frees_tables")
    assert tables_in_use(run_of(mapped, records)) == before + 1
