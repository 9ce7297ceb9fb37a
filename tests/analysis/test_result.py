"""`Result`, `Latency` and the conservation identities, on numbers known by hand."""

import dataclasses
import math
import pickle

import fabricated
import numpy as np
import pytest
from fabricated import CPU, ENGINE, SPARE, Machine, result
from hypothesis import given
from hypothesis import strategies as st

from hwmodel import secondary
from hwmodel.core.ledger import BUCKETS, record
from hwmodel.jit import entry
from hwmodel.measure.latency import Latency, bucket_bounds
from hwmodel.measure.result import AccountingError, Result
from hwmodel.measure.tally import AgentInfo, Tally


def latency(values, mhz=2000):
    return Latency("fault", fabricated.histogram(values), 1000 / mhz)


@pytest.mark.jit_off
@given(st.integers(0, (1 << 63) - 1))
def test_a_value_lies_in_its_bucket(value):
    low, high = bucket_bounds(fabricated.bucket(value))
    assert low <= value <= high
    assert high - low <= value / 32


def test_buckets_cover_all_values_once():
    low, high = bucket_bounds(np.arange(BUCKETS))
    assert low[0] == 0 and high[-1] == (1 << 63) - 1
    assert (low[1:] == high[:-1] + 1).all()


@entry
def measure(hists, values):
    for value in values:
        record(hists, 0, value)


@pytest.mark.jit_off
def test_the_kernel_fills_the_same_bucket():
    values = np.array([0, 1, 63, 64, 65, 127, 128, 4095, 4096, 10**6, 10**12])
    hists = np.zeros_like(fabricated.histogram([]))[None]
    measure(hists, values)
    assert (hists[0] == fabricated.histogram(values)).all()


def test_percentiles_below_64_are_exact():
    found = latency(range(1, 51))
    assert (found.percentile(0), found.percentile(50), found.percentile(100)) == (1, 25, 50)
    assert (found.count, found.mean, found.min, found.max) == (50, 25.5, 1, 50)


def test_a_share_is_told_from_a_percentile():
    found = latency(range(1, 51))
    with pytest.warns(UserWarning, match=r"percentile\(0.99\): the 0.99th of a hundred; for a share of 0.99 ask for 99"):
        assert found.percentile(0.99) == 1


def test_a_percentile_is_the_highest_value_of_its_bucket_but_never_more_than_the_maximum():
    found = latency([1000, 1000, 5000])
    assert found.percentile(50) == 1007  # the bucket of 1000 is [992, 1007]
    assert found.percentile(99) == 5000


def test_percentiles_have_no_rounding_errors():
    values = [1] * 999 + [50]
    assert latency(values).percentile(99.9) == 1
    assert latency(values).percentile(99.91) == 50


def test_a_percentile_says_how_exactly_it_is_known_and_on_how_many_it_rests():
    found = latency([1000, 1003, 1004, 5000], mhz=2000)
    half, last = found.quantile(50), found.ns.quantile(99)
    assert (half.value, half.low, half.high, half.beyond) == (1007, 1000, 1007, 2)  # the bucket is [992, 1007], the least value 1000
    assert (last.value, last.low, last.high, last.beyond) == (2500, 2496, 2500, 1)  # [4992, 5119] cycles, the largest 5000
    assert found.percentile(50) == half.value and half.rests_on_few and last.rests_on_few
    many = latency(range(1, 1001)).quantile(99)
    assert (many.beyond, many.rests_on_few) == (10, False) and latency(range(1, 901)).quantile(99).rests_on_few
    assert (latency([]).quantile(99).beyond, latency([5]).quantile(100).beyond) == (0, 1)


def test_a_latency_of_few_says_so():
    assert "p99 1000 (of the 1 longest)" in repr(latency([1000] * 99)) and "longest" not in repr(latency([1000] * 1000))


def test_nanoseconds_follow_the_clock():
    found = latency([10, 20], mhz=2000).ns
    assert (found.mean, found.max, found.percentile(50)) == (7.5, 10.0, 5.0)


def test_the_buckets_of_a_latency_have_both_ends():
    low, high, count = latency([1000]).buckets()  # e = 9: steps of 16 cycles, from 992 on
    assert (low.tolist(), high.tolist(), count.tolist()) == ([992], [1008], [1])
    low, high, count = latency([3, 63, 64, 64, 65, 66, 4095, 4096], mhz=2000).ns.buckets()
    assert low.tolist() == [1.5, 31.5, 32, 33, 2016, 2048]
    assert high.tolist() == [2, 32, 33, 34, 2048, 2112]
    assert count.tolist() == [1, 1, 3, 1, 1, 1]


def test_an_empty_latency_says_so():
    found = latency([])
    assert found.count == 0 and "none" in repr(found)
    assert all(math.isnan(value) for value in (found.mean, found.min, found.max, found.percentile(99)))


def test_a_percentile_beyond_100_is_refused():
    with pytest.raises(ValueError, match=r"lies in \[0, 100\]"):
        latency([1]).percentile(101)


def test_counters_add_up_over_agents():
    run = fabricated.gru()
    assert run.counters["cpu.accesses"] == 15_000_000
    assert run.counters.by_agent("gru.kills") == {"main": 0, "cpu1 (no agent)": 0, "engine 0": 3}
    assert list(run.counters) == list(run.book.counters) and len(run.counters) == len(run.book.counters)
    with pytest.raises(KeyError, match="nonsense"):
        run.counters["nonsense"]


def test_the_ledger_by_role_and_as_a_frame():
    run = fabricated.gru()
    assert run.ledger.total("access") == 45_000_000
    assert run.ledger.total("access", "device") == 40_000_000
    frame = run.ledger.frame()
    assert frame.shape == (3, len(run.book.accounts))
    assert frame.loc["engine 0", "stall_trap_cycles"] == 31_000_000
    assert (frame.sum(axis=1).to_numpy() == run.clocks).all()


def test_agents_of_one_name_are_told_apart():
    agents = (AgentInfo("worker", "cpu", 0), AgentInfo("worker", "cpu", 0), AgentInfo("main", "cpu", 0))
    assert Tally(agents, ("n",), np.array([[1], [2], [3]])).by_agent("n") == {"worker #0": 1, "worker #1": 2, "main": 3}


def test_time_is_the_latest_clock():
    run = fabricated.gru()
    assert run.cycles == run.clocks.max() and run.ns == run.cycles / 2


def test_one_row_with_units_and_the_configuration():
    frame = fabricated.kvm().frame()
    assert len(frame) == 1
    assert frame.loc[0, "kvm.exits"] == 3150
    assert frame.loc[0, "ledger.exit_cycles"] == 9_000_000
    assert frame.loc[0, "fault.count"] == 3100
    assert frame.attrs["configuration"] == {"clock.mhz": 3000, "kernel.policy": "linux-6"}
    columns = ["machine", "design", "records", "references", "time_cycles", "wall_seconds"]
    assert frame.loc[0, columns].tolist() == ["kvm-ept-2008", "kvm_ept", 3_000_000, 20_000_000, fabricated.kvm().cycles, 1.5]
    assert frame.loc[0, "time_ns"] == pytest.approx(fabricated.kvm().cycles / 3)


def test_the_row_has_the_figures_of_a_latency():
    frame = result(Machine(), {}, {}, {"notice": [10] * 96 + [40, 50, 60, 2000]}).frame()
    columns = [f"notice.{name}" for name in ("count", "mean_ns", "p50_ns", "p99_ns", "max_ns")]
    assert frame.loc[0, columns].tolist() == [100, 31.1 / 2, 5, 30, 1000]  # a cycle is half a nanosecond


def test_what_was_measured_cannot_be_changed():
    run = fabricated.gru()
    with pytest.raises(ValueError, match="read-only"):
        run.clocks[0] = 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        run.wall_seconds = 0
    copy = pickle.loads(pickle.dumps(run))
    assert (copy.ledger.array == run.ledger.array).all() and copy.counters["segv"] == 0


def test_arrays_of_another_shape_are_refused():
    run = fabricated.gru()
    with pytest.raises(ValueError, match="shape"):
        Result(run.machine, {}, run.agents, run.counters.array[:2], run.ledger.array, run.clocks, run.histograms,
               phase_histograms=run.phase_histograms, phase_shares=run.phase_shares)  # fmt: skip


@pytest.mark.parametrize("make", [fabricated.gru, fabricated.kvm, fabricated.cpu_only])
def test_books_that_balance_pass(make):
    make().check()


def spoilt(make=fabricated.kvm, **arrays):
    run = make()
    given = {"counters": run.counters.array, "ledger": run.ledger.array}
    given |= {"clocks": run.clocks, "histograms": run.histograms, "serving": run.serving.array}
    given |= {"phase_histograms": run.phase_histograms, "phase_shares": run.phase_shares}
    given = {name: np.array(array) for name, array in given.items()}
    for name, (where, change) in arrays.items():
        given[name][where] += change
    return Result(run.machine, {}, run.agents, **given)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"phase_shares": ((0, 400, 0), 7)}, r"phases of fault.fmm add up to \d+, its latencies to \d+"),
        ({"phase_shares": (([0, 0], [0, 400], [0, 0]), [7, -7])}, "phases of fault.fmm are in other buckets"),
        ({"phase_histograms": ((1, 0, 1), 1)}, "phases of fault.upm are other ones by bucket"),
        ({"phase_histograms": ((1, 1, 0), 1)}, r"histogram fault.upm, queue counts \d+, its buckets \d+"),
    ],
)
def test_phases_that_do_not_add_up_are_named(changes, complaint):
    with pytest.raises(AccountingError, match=complaint):
        spoilt(fabricated.gru, **changes).check()


BOOK = secondary.book("kvm_ept")


def at(table, agent, column):
    return agent, list(table).index(column)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"clocks": (CPU, 1)}, "accounts of main add up to"),
        ({"ledger": (at(BOOK.accounts, ENGINE, "walk"), 1)}, "accounts of engine 0"),
        ({"serving": (at(BOOK.accounts, CPU, "vma"), 500_001)}, "vma of main is 500000, but 500001 for engines"),
        ({"serving": (at(BOOK.accounts, CPU, "vma"), -1)}, "vma of main is -1"),
        ({"ledger": (at(BOOK.accounts, SPARE, "walk"), -1)}, "walk of cpu1 (no agent) is -1"),
        ({"counters": (at(BOOK.counters, CPU, "cpu.dtlb.hits"), 1)}, "cpu.dtlb.misses of main = 15000001"),
        ({"counters": (at(BOOK.counters, CPU, "cpu.stlb.misses"), 1)}, "cpu.stlb.hits + cpu.stlb.misses of main"),
        ({"counters": (at(BOOK.counters, ENGINE, "device.tlb.hits"), 1)}, "device.tlb.misses of engine 0 = 5000001"),
        ({"counters": (at(BOOK.counters, ENGINE, "device.stlb.hits"), 1)}, "device.stlb.hits + device.stlb.misses"),
        ({"counters": (at(BOOK.counters, CPU, "notices.end"), -1)}, "notices.start = 420, but notices.end = 419"),
        ({"counters": (at(BOOK.counters, SPARE, "ipis.acked"), 1)}, "ipis.sent = 400, but ipis.acked = 401"),
        ({"histograms": ((list(BOOK.latencies).index("fault"), 0), 1)}, "histogram fault counts 3101, its buckets 3100"),
        ({"histograms": ((list(BOOK.latencies).index("cpu_fault"), 1), 10**6)}, "histogram cpu_fault: sum"),
    ],
)
def test_books_that_do_not_balance_are_named(changes, complaint):
    with pytest.raises(AccountingError) as refused:
        spoilt(**changes).check()
    assert complaint in str(refused.value) and "\n" not in str(refused.value)


def test_utilisation_by_hand():
    ledger = {"instruction": {CPU: 60}, "irq": {CPU: 30}, "fault": {CPU: 10}, "order_wait": {CPU: 100}, "access": {ENGINE: 150}}
    found = result(Machine(), {}, ledger, {}, {"irq": {CPU: 30}, "fault": {CPU: 8}}).utilisation()
    assert found.loc["main"].to_dict() == {
        "role": "cpu", "own_cycles": 62, "serving_cycles": 38, "waiting_cycles": 100,
        "own_percent": 31, "serving_percent": 19, "waiting_percent": 50,
    }  # fmt: skip
    assert found.loc["engine 0", ["own_cycles", "waiting_cycles"]].tolist() == [150, 50]
    nothing = result(Machine(), {}, {}, {})
    assert nothing.utilisation()["own_percent"].isna().all() and nothing.shares["main"].serving_share == 0


def test_a_device_without_a_second_level_needs_no_look_ups_there():
    result(Machine(), {"device.accesses": {ENGINE: 1}, "device.tlb.misses": {ENGINE: 1}}, {}, {}).check()
