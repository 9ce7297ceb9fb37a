"""Times out of range: refused by the name of the setting and the record, never a wrong sum or a deadlock; what just fits is exact.

Rule 1.6 of docs/model.md.
"""

import numpy as np
import pytest

from hwmodel import ConfigError, op, preset, simulate
from hwmodel.build import LATEST
from hwmodel.op import Agent, mmap_unit
from hwmodel.trace import Trace
from tests import reference
from tests.support.designs import those_with_a_twin
from tests.support.equality import compare, differences
from tests.support.random_traces import random_case

pytestmark = pytest.mark.jit_off

COST, MOST = 10**9, (1 << 31) - 1
FIT = LATEST // COST
"""How many things that take COST cycles each fit into the range: 288,230,376."""
PAGE = 1 << 30


def machine(name="cpu-only", **settings):
    return preset(name).with_(**{"cpu.count": 1, "clock.mhz": 1000, **{key.replace("__", "."): value for key, value in settings.items()}})


def trace(*records, roles=("cpu",)):
    agents = [Agent(role, 0, f"{role} {k}") for k, role in enumerate(roles)]
    return Trace.from_records(agents, records, mmap_unit(PAGE, 1, 7, populate=True), name="x")


def refused(machine, trace, complaint, oracle=True, **options):
    """The kernels refuse it, and so does the oracle, which takes accesses one by one: not too many of them."""
    with pytest.raises(ConfigError, match=complaint):
        simulate(machine, trace, progress=False, **options)
    if oracle:
        with pytest.raises(reference.TooLateError):
            reference.simulate(machine, trace)


def clocks(machine, trace, oracle=True):
    """The clocks of a run that fits, of kernels and oracle."""
    result = simulate(machine, trace, progress=False)
    assert not oracle or list(compare(result, reference.simulate(machine, trace))) == []
    return result.clocks.tolist()


def test_the_range_is_the_sum_of_all_rows():
    assert LATEST == 1 << 58 and FIT == 288_230_376
    slow = machine(cpu__instruction_cycles=COST, cpu__count=64)
    fits = ((1 << 62) // 64 - 1) // COST
    assert clocks(slow, trace((0, fits, 0, op.COMPUTE, 0))) == [fits * COST] * 64
    refused(slow, trace((0, fits + 1, 0, op.COMPUTE, 0)), r"take x: record 0 past 2\^56 cycles")


@pytest.mark.parametrize(("kind", "setting", "cost"), [
    (op.COMPUTE, "cpu.instruction_cycles", COST), (op.SYSCALL, "kernel.syscall_ns", COST), (op.FETCH, "cpu.instruction_cycles", COST),
    (op.READ, "cpu.access_cycles", COST), (op.WRITE, "cpu.access_cycles", COST),
])  # fmt: skip
def test_one_record(kind, setting, cost):
    slow, address = machine(**{setting: cost}), PAGE if kind <= op.FETCH else 0
    refused(slow, trace((0, 1, 0, op.COMPUTE, 0), (address, FIT + 1, 0, kind, 0)),
            rf"^{setting}: {cost} cycles for each of {FIT + 1} take x: record 1 past 2\^58 cycles, the latest time there is$")  # fmt: skip
    refused(slow, trace((address, MOST, 0, kind, 0)), "take x: record 0 past")
    (clock,) = clocks(slow, trace((address, FIT - 10, 0, kind, 0)), oracle=kind > op.FETCH)
    assert FIT * COST > clock >= (FIT - 10) * COST


def test_what_just_fits_is_exact():
    assert clocks(machine(cpu__instruction_cycles=COST), trace((0, FIT, 0, op.COMPUTE, 0))) == [FIT * COST]
    refused(machine(cpu__instruction_cycles=COST), trace((0, FIT, 1, op.COMPUTE, 0)), "cpu.instruction_cycles: the clock passes")


@pytest.mark.parametrize("options", [{}, {"runahead": False}, {"chunk": 1}])
def test_many_records(options):
    slow = machine(cpu__instruction_cycles=COST)
    half, rest = FIT // 2, FIT - FIT // 2
    assert clocks(slow, trace((0, half, 0, op.COMPUTE, 0), (0, rest, 0, op.COMPUTE, 0))) == [FIT * COST]
    passes = r"^cpu\.instruction_cycles: the clock passes 2\^58 cycles, the latest time there is, at record 1 \(the highest cost is"
    refused(slow, trace((0, half, 0, op.COMPUTE, 0), (0, rest + 1, 0, op.COMPUTE, 0)), passes, **options)
    two = trace(*[(0, half, 0, op.COMPUTE, agent) for agent in (0, 1, 1, 1, 0)], roles=("cpu", "cpu"))
    refused(slow, two, "the clock passes", **options)


def test_gaps():
    slow, gap = machine(cpu__instruction_cycles=COST), (1 << 15) - 1
    count = FIT // gap
    records = [(0, 1, gap - 1, op.COMPUTE, 0)] * (count + 1)
    assert clocks(slow, trace(*records[1:])) == [count * gap * COST]
    refused(slow, trace(*records), f"at record {count}")


def test_the_highest_costs_at_the_highest_clock():
    """100,000,000,000 cycles a call: 2^31 - 1 of them are more than 63 bits hold."""
    slow = machine(clock__mhz=100_000, kernel__syscall_ns=COST)
    refused(slow, trace((0, MOST, 0, op.SYSCALL, 0)), r"^kernel\.syscall_ns: 100000000000 cycles for each of 2147483647")
    device = machine("gru-2008", clock__mhz=100_000, device__interval_ns=COST)
    refused(device, trace((PAGE, MOST, 0, op.READ, 1), roles=("cpu", "device")),
            r"^device\.interval_ns: 100000000000 cycles for each of")


def test_six_long_reads():
    slow = machine(cpu__access_cycles=COST)
    refused(slow, trace(*[(PAGE, MOST, 0, op.READ, 0)] * 6), r"^cpu\.access_cycles: .* record 0 past")
    refused(slow, trace(*[(PAGE, FIT // 5, 0, op.READ, 0)] * 6), r"^cpu\.access_cycles: the clock passes", oracle=False)


def test_an_operation_that_takes_too_long():
    """Four pages that are freed for 2^37 cycles each, 2^21 times: in the engine's steps, not in its private ones."""
    slow = machine(clock__mhz=100_000, kernel__fault_ns=COST, kernel__clear_ns=COST, cpu__instruction_cycles=COST)
    few = trace((0, FIT - 400, 0, op.COMPUTE, 0), *mmap_unit(2 * PAGE, 1, 3), (2 * PAGE, 1, 0, op.WRITE, 0), (0, 0, 0, op.SYNC, 0))
    late = trace((0, FIT - 40, 0, op.COMPUTE, 0), *mmap_unit(2 * PAGE, 1, 3), (2 * PAGE, 1, 0, op.WRITE, 0), (0, 0, 0, op.SYNC, 0))
    (clock,) = clocks(slow, few)
    assert clock > (FIT - 400) * COST + 100 * COST
    refused(slow, late, "the clock passes")


def test_flushes_that_would_take_a_cpu_past_every_time():
    wide = {"kernel__flush_ceiling_pages": 1 << 24, "cpu__flush__page_cycles": COST}
    assert clocks(machine(**wide), trace((0, 1, 0, op.COMPUTE, 0))) == [1]
    with pytest.raises(ConfigError, match=r"^kernel\.flush_ceiling_pages: a flush of 16777216 pages takes 16777216000000000 cycles"):
        simulate(machine(**wide, cpu__count=64), trace((0, 1, 0, op.COMPUTE, 0)), progress=False)


def test_a_reader_of_numbers_that_are_refused_learns_the_record_of_its_agent():
    slow = machine(cpu__instruction_cycles=COST, cpu__count=2)
    records = [(0, 1, 0, op.COMPUTE, 0), (0, FIT // 2, 0, op.COMPUTE, 1), (0, 1, 0, op.COMPUTE, 0), (0, FIT, 0, op.COMPUTE, 1)]
    refused(slow, trace(*records, roles=("cpu", "cpu")), "at record 3")


@pytest.mark.parametrize("design", those_with_a_twin())
@pytest.mark.parametrize("seed", range(6))
def test_at_the_highest_costs_kernels_and_oracle_agree(design, seed):
    """Every cost is a second, at 100 GHz: one random case is refused by both or by neither, and no run deadlocks."""
    base, case = random_case(seed, design, 60)
    costs = {name: COST for name, about in base.provenance().items() if about.unit in ("ns", "cycles")}
    slow = base.with_(**{**costs, "clock.mhz": 100_000})
    assert not differences(slow, case)
    records = np.concatenate(list(case.chunks()))
    records["count"][records["kind"] == op.COMPUTE] = 1 << (23 + seed)
    longer = Trace.from_records(case.agents, records, case.prelude, case.info)
    try:
        reference.simulate(slow, longer)
    except reference.TooLateError:
        refused(slow, longer, "the latest time there is")
    else:
        assert not differences(slow, longer)
