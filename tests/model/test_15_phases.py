"""Phases of misses, by hand (docs/model.md 15.6, 10.6, 11.6, 14.4): what each took, that they add up, and in which bars."""

import pytest

from hwmodel import op
from hwmodel.measure.phases import bucket_at
from tests.model.hand import run_of
from tests.races import kvm_times
from tests.races.gru_times import C
from tests.races.scenes import CPU, DEVICE, REFERENCE, access, advise, empty, gru, kvm, mapped, play, sync

HANDLED = {"delivery": 25, "entry": 10, "TFH": 10, "walk": 20, "drop-in": 10, "restart": 20}


def phases(run, path):
    """The phases of the one miss of a path."""
    table = run.result.phases(path)
    assert (table["count"] == 1).all() and list(table.index.get_level_values("path").unique()) == [path]
    return dict(zip(table.index.get_level_values("phase"), table["mean_ns"].astype(int), strict=True))


def test_a_miss_that_the_handler_resolves():
    run = play(gru(), [CPU, DEVICE], [access(op.READ, 1, 1)], mapped())
    assert phases(run, "fault.fmm") == HANDLED and sum(HANDLED.values()) == 95
    assert run.latencies("fault.fmm") == [95]


def test_a_fault_in_the_user_s_call():
    """The handler's look finds nothing, nor does the call's; the driver asks for the page, and it is the zero page."""
    run = play(gru(), [CPU, DEVICE], [access(op.READ, 1, 1)], empty())
    expected = {
        "delivery": C.irq_delivery, "entry": C.irq_entry, "TFH": 2 * C.tfh_read, "walk": 2 * REFERENCE, "call": C.syscall,
        "polling": C.upm_switch + C.poll, "GUP": C.gup, "drop-in": C.dropin, "restart": C.restart,
    }  # fmt: skip
    found = phases(run, "fault.upm")
    assert {name: found[name] for name in expected} == expected
    assert found.keys() - expected.keys() == {"fault"}
    assert [sum(found.values())] == run.latencies("fault.upm")


def test_a_miss_in_a_window_waits_for_its_end():
    """It is read at 225, and refused at 235; the call sleeps from 270 until the window is over and it is awake, at 330."""
    run = play(gru(), [CPU, DEVICE], [*advise(op.FREE, gap=200), access(op.READ, 1, 190)], mapped())
    later = {"polling": 25, "call": 10, "invalidation wait": 60, "TFH": 20}
    assert phases(run, "fault.upm") == HANDLED | later
    assert run.latencies() == [330 + 60 - 190]


def test_retries_go_to_the_same_phases_again():
    """The drop-in is killed at 245."""
    run = play(gru(), [CPU, DEVICE], [*advise(op.FREE, gap=200), access(op.READ, 1, 150)], mapped())
    assert phases(run, "fault.fmm") == {name: 2 * cycles for name, cycles in HANDLED.items()}


def test_a_miss_in_line_behind_another():
    """Both are delivered before the handler has the CPU; the second waits for the first one's read, look and drop-in."""
    machine = gru(device__window=2, driver__irq_entry_ns=10)
    run = play(machine, [CPU, DEVICE], [access(op.READ, 1, 1), access(op.READ, 1, page=1)], mapped(2))
    table = run.result.phases("fault.fmm").loc["fault.fmm"]
    assert table["count"].to_dict() == {"delivery": 2, "queue": 1, "entry": 2, "TFH": 2, "walk": 2, "drop-in": 2, "restart": 2}
    assert table["share_percent"].sum() == pytest.approx(100)
    assert (table["count"] * table["mean_ns"]).sum() == sum(run.latencies())


def test_bars_add_up_to_the_misses_of_their_percentile():
    """Two misses: one that the handler resolves, one that takes a fault."""
    records = [access(op.READ, 1, 1), access(op.READ, 1, 600, 1)]
    run = play(gru(), [CPU, DEVICE], records, [*mapped(), *empty(page=1)])
    short, long = run.latencies()
    bars = run.result.phase_bars(percentiles=(0, 50, 51, 100))
    assert bars.sum(axis=1).tolist() == pytest.approx([short, short, long, long])
    assert bars.loc[50].loc[lambda row: row > 0].to_dict() == HANDLED and bars.loc[100, "fault"] > 0
    assert run.result.phase_bars("fault.upm", (99,)).sum(axis=1).tolist() == pytest.approx([long])
    with pytest.raises(KeyError, match="is none of fault, "):
        run.result.phases("op.munmap")


def test_bars_of_nothing():
    run = play(gru(), [CPU], [access(op.READ, 0)], mapped())
    assert run.result.phases().empty and run.result.phase_bars(percentiles=(50,)).isna().all(axis=None)
    assert bucket_at(run.result.latency("fault").row[:0], 50) == -1


def violation(first_walk, tables):
    """The phases of a violation whose page is there, and which takes so many cycles for page tables."""
    own = kvm_times.C
    return {
        "references": first_walk + kvm_times.WALK, "exit": own.exit, "violation": own.violation + tables, "GUP": own.gup_fast,
        "map": own.map_spte, "entry": own.entry,
    }  # fmt: skip


def test_a_violation():
    """Its walk finds no spte; when the vCPU is back it walks again, in two references."""
    run = play(kvm(), [CPU, DEVICE], [access(op.READ, 1, 1)], mapped())
    found = phases(run, "fault.violation")
    assert found == violation(kvm_times.COLD, kvm_times.HAND) and [sum(found.values())] == run.latencies()


def test_a_violation_behind_another():
    """Two reads at once: the second one waits for the only walker, and for its vCPU, until the first has its page."""
    run = play(kvm(device__window=2), [CPU, DEVICE], [access(op.READ, 1, 1), access(op.READ, 1, page=1)], mapped(2))
    first, later = violation(kvm_times.COLD, kvm_times.HAND), violation(kvm_times.WALK, 0)
    table = run.result.phases().loc["fault.violation"]
    assert table.loc["walker wait", "count"] == 1 and table.loc["walker wait", "mean_ns"] == sum(first.values())
    assert (table["count"] * table["mean_ns"]).drop("walker wait").to_dict() == {name: first[name] + later[name] for name in first}
    assert run.latencies() == [sum(first.values()), sum(first.values()) + sum(later.values())]


def test_data_in_flight_delay_an_exit():
    """A read of a page without an spte, whose walk ends after 10 cycles; 4 after it a hit, whose data come after 20 more."""
    records = [access(op.READ, 1), sync(1), access(op.READ, 1, page=1), access(op.READ, 1, 4)]
    run = play(kvm(device__window=2, device__latency_ns=20), [CPU, DEVICE], records, mapped(2))
    drain = run.result.phases().loc[("fault.violation", "drain")]
    assert (drain["count"], drain["mean_ns"]) == (1, 4 + 20 - kvm_times.WALK)


def test_a_design_without_phases():
    run = run_of(empty(), access(op.READ, 0), roles=(CPU,), design="cpu_only")
    with pytest.raises(KeyError, match="declares none"):
        run.result.phases()


def test_ideal_has_one_phase():
    run = run_of(empty(), access(op.WRITE, 1), roles=(CPU, DEVICE), design="ideal", kernel__fault_ns=100)
    table = run.result.phases().loc["fault"]
    assert table.index.tolist() == ["fault"] and table.loc["fault", "mean_ns"] == run.result.latency("fault").ns.mean > 0


