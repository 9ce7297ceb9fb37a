"""Why one machine costs more: causes add up to the difference, to the cycle, and are counted and called by what designs declare."""

import itertools

import fabricated
import pytest

import analysis
import workloads
from analysis import explanation
from analysis.comparison import Comparison
from analysis.explanation import explain
from analysis.overhead import overhead
from analysis.points import Point
from hwmodel.core import ledger
from hwmodel.core.ledger import CORE, Book
from hwmodel.machine import presets
from hwmodel.op import FETCH, Agent
from hwmodel.trace import Trace
from tests.support import drawn
from tests.support.configs import refusal

PAIR = {"GRU": "gru-2008", "EPT": "kvm-ept-2008"}


def point(name, machine, counters, accounts, free=({}, {})):
    """A point of a fabricated run beside a bound, which by default took nothing."""
    result = fabricated.result(machine, {"device.accesses": {fabricated.ENGINE: 100}, **counters}, accounts, {})
    ideal = fabricated.Machine("ideal-2008", "ideal", machine.mhz)
    bound = fabricated.result(ideal, {"device.accesses": {fabricated.ENGINE: 100}, **free[0]}, free[1], {})
    return Point(name, 8, True, result, bound, {0: overhead(result, bound)})


@pytest.fixture
def by_hand():
    """At 2,000 MHz, so that a cycle is half a ns."""
    cpu, engine = fabricated.CPU, fabricated.ENGINE
    mine = point(
        "A", fabricated.Machine(), {"gru.intr": {cpu: 10}, "notices.start": {cpu: 4}},
        {"irq": {cpu: 6000}, "driver": {cpu: 12_000}, "stall_trap": {engine: 2000}, "invalidate": {cpu: 24_000}, "fault": {cpu: 500}},
    )  # fmt: skip
    theirs = point(
        "B", fabricated.Machine("kvm-ept-2008", "kvm_ept"),
        {"kvm.exits": {engine: 5}, "notices.start": {cpu: 4}, "device.walks": {engine: 7}},
        {"exit": {engine: 3000}, "violation": {engine: 5000}, "notify": {cpu: 800}, "walk": {engine: 1400}, "lock_wait": {cpu: 300}},
    )  # fmt: skip
    return mine, theirs


def test_by_hand(by_hand):
    found = explain(by_hand, "A", "B")
    rows = found.frame.set_index("cause")
    served = rows.loc[ledger.FAMILIES[ledger.SERVICE]]
    assert (served["count_a"], served["ns_each_a"]) == (10, 20_000 / 2 / 10) and (served["count_b"], served["ns_each_b"]) == (5, 800)
    assert served["difference_ms"] == pytest.approx((10_000 - 4000) / 1e6)
    assert served["accounts"] == "stall_trap, irq, driver, exit, violation"
    notices = rows.loc["mmu notifiers and their callbacks"]
    assert (notices["ns_each_a"], notices["ns_each_b"], notices["difference_ms"]) == pytest.approx((3000, 100, 0.0116))
    walks = rows.loc[ledger.FAMILIES[ledger.HARDWARE]]
    assert (walks["count_b"], walks["ns_each_b"], walks["cycles_a"]) == (7, 100, 0)
    assert rows.loc["waiting for a lock", "difference_ms"] == pytest.approx(-150e-6)
    total = (20_000 + 24_000 + 500 - 8000 - 800 - 1400 - 300) / 2 / 1e6
    assert found.difference_ms == pytest.approx(total) and found.totals_ms == pytest.approx((0.02225, 0.00525))
    assert found.frame["share"].sum() == pytest.approx(100)
    assert found.frame["difference_ms"].abs().is_monotonic_decreasing


def test_sentences(by_hand):
    lines = str(explain(by_hand, "A", "B")).splitlines()
    assert lines[0] == "A is slower than B by 17 us (22.2 us against 5.25 us of translation overhead, 8 in flight):"
    assert lines[1] == (
        "- mmu notifiers and their callbacks, +11.6 us (68 %): 4 invalidate_range_start notices sent at 3 us on the CPUs "
        "against 4 invalidate_range_start notices sent at 100 ns on the CPUs."
    )
    assert lines[2] == (
        "- software that serves the engine, +6 us (35 %): 10 GRU interrupt handler runs at 1 us on the CPUs against 5 EPT violations "
        "at 800 ns on the engines."
    )
    assert lines[-1] == "- 1 smaller cause, -150 ns."
    assert str(explain(by_hand, "B", "A")).startswith("B is faster than A by 17 us")
    assert str(explain(by_hand, "A", "A")) == "A and A have the same translation overhead, 22.2 us against 22.2 us (8 in flight)."
    assert "A is slower than B" in explain(by_hand, "A", "B")._repr_html_()


def test_both_sides_are_told_apart():
    cpu, engine = fabricated.CPU, fabricated.ENGINE
    one = point("A", fabricated.Machine(), {"gru.intr": {cpu: 10}}, {"irq": {cpu: 6000}, "stall_trap": {engine: 4000}})
    other = point("B", fabricated.Machine(), {"gru.intr": {cpu: 10}}, {"irq": {cpu: 600}})
    told = "10 GRU interrupt handler runs at 500 ns (200 ns on the engines, 300 ns on the CPUs) against"
    assert told in str(explain([one, other], "A", "B"))


def test_counts_are_beyond_the_bound_s():
    cpu = fabricated.CPU
    free = {"faults.anon": {cpu: 7}, "faults.zero": {cpu: 1}}, {"fault": {cpu: 900}}
    one = point("A", fabricated.Machine(), {"faults.anon": {cpu: 9}, "faults.zero": {cpu: 2}}, {"fault": {cpu: 1500}}, free)
    other = point("B", fabricated.Machine(), free[0], free[1], free)
    row = explain([one, other], "A", "B").frame.iloc[0]
    assert (row["count_a"], row["ns_each_a"], row["cycles_a"]) == (3, 100, 600) and row["cycles_b"] == 0
    assert "3 faults at 100 ns on the CPUs against nothing" in str(explain([one, other], "A", "B"))


def test_another_clock_is_another_time():
    cpu = fabricated.CPU
    slow = point("A", fabricated.Machine(mhz=1000), {}, {"irq": {cpu: 3000}})
    fast = point("B", fabricated.Machine(mhz=2000), {}, {"irq": {cpu: 3000}})
    found = explain([slow, fast], "A", "B")
    assert found.frame["difference_ms"].tolist() == [pytest.approx((3000 - 1500) / 1e6)] and found.difference_ms == pytest.approx(0.0015)


@pytest.mark.parametrize("number", range(6))
def test_rows_add_up_to_the_difference_to_the_cycle(number):
    """On machines whose costs are drawn from anywhere, and pieces of recordings and generators."""
    able = [one for one in map(drawn.machine, range(number, number + 2 * len(presets()))) if one.has_engines and one.has_device]
    mine, theirs = able[0], next(one for one in able[1:] if one.design != able[0].design)
    name, trace = next(itertools.islice(drawn.traces(number, True), number, None))
    found = analysis.compare({"A": mine, "B": theirs}, trace, progress=False, as_built=number % 2 == 1)
    for dependent in (False, True):
        told = found.explain("A", "B", dependent)
        points = [next(p for p in found.points if p.machine == one and (p.window == 1 if dependent else p.configured)) for one in "AB"]
        assert told.frame["cycles_a"].sum() == points[0].overheads[0].total, name
        assert told.frame["cycles_b"].sum() == points[1].overheads[0].total, name
        assert told.frame["difference_ms"].sum() == pytest.approx(told.difference_ms, rel=1e-9, abs=1e-9)
        counted = told.frame.dropna(subset=["count_a", "ns_each_a"])
        each = counted["count_a"].astype(float) * counted["ns_each_a"].astype(float)
        assert (each - counted["cycles_a"] * points[0].result.ns_per_cycle).abs().max() < 1e-3 or counted.empty


def test_a_design_that_nobody_knows_has_its_causes():
    book = Book(CORE)
    book.account("teleport", ledger.SERVICE, "beaming misses")
    book.account("yell", ledger.COHERENCE, "telling everybody", ledger.SHOOTDOWN)
    book.counter("teleports", "beams, of any colour", ledger.TRAP)
    assert explanation._cause(book, "teleport") == ledger.FAMILIES[ledger.SERVICE] == explanation._cause(book, "gup")
    assert explanation._cause(book, "yell") == explanation._cause(book, "ipi_send")
    assert {explanation._cause(book, name) for name in book.accounts}, "every account has one"


def test_the_kernel_s_accounts_are_causes_one_by_one():
    book = Book(CORE)
    names = [name for name, about in book.accounts.items() if about.family == ledger.KERNEL]
    causes = [explanation._cause(book, name) for name in names]
    assert len(set(causes)) == len(names) > 5


def test_the_waterfall_ends_at_the_first_machine_s_overhead(by_hand):
    found = explain(by_hand, "A", "B")
    axes = found.plot()
    bars = [(bar.get_x(), bar.get_width()) for bar in axes.patches]
    assert bars[0] == (0, pytest.approx(found.totals_ms[1])) and bars[-1] == (0, pytest.approx(found.totals_ms[0]))
    ends = [start + width for start, width in bars]
    assert [start for start, _ in bars[1:-1]] == pytest.approx(ends[:-2]) and ends[-2] == pytest.approx(ends[-1])
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names[0] == "B in all" and names[-1] == "A in all" and len(names) == len(bars) == len(axes.texts)
    assert found.plot(axes) is axes


def test_nothing_to_explain_is_a_picture_too(recwarn):
    """Engines that make no access have no overhead: two bars of no length."""
    fetches = Trace.from_records([Agent("cpu", 0, "program")], [(0x400000, 1, 0, FETCH, 0)])
    found = analysis.compare(PAIR, fetches, progress=False).explain("GRU", "EPT")
    axes = found.plot()
    assert found.totals_ms == (0, 0) and [bar.get_width() for bar in axes.patches] == [0, 0]
    assert not [str(warning.message) for warning in recwarn if "singular" in str(warning.message)]


def test_what_can_t_be_explained_is_refused():
    found = analysis.compare({**PAIR, "CPU": "cpu-only"}, workloads.zipf(pages=40, accesses=400), progress=False)
    assert refusal(found.explain, "GRU", "EPTT") == "explain: there is no machine EPTT; did you mean EPT?"
    assert refusal(found.explain, "GRU", "CPU").startswith("explain: CPU has no overhead: it did not run beside a bound")
    bare = Comparison({"a": fabricated.gru()})
    assert refusal(bare.explain, "a", "a") == "explain: there is no machine a"
