"""Every figure by which machines are compared, by value: a result in which no two counts and no two accounts are alike."""

import math

import pytest
from fabricated import CPU, ENGINE, SPARE, Machine, result

from analysis import metrics
from hwmodel import secondary

LEDGER = {  # account: cycles of main, of cpu1 (no agent), of engine 0
    "instruction": (1000, 0, 100), "access": (2000, 0, 200), "stlb": (30, 0, 3), "walk": (40, 0, 4), "stall_walk": (0, 0, 0),
    "fault": (5000, 11, 5),
    "syscall": (600, 0, 0), "vma": (70, 0, 0), "clear": (80, 0, 0), "free": (90, 0, 0), "flush": (101, 7, 0),
    "fork": (110, 0, 0), "notify": (203, 5, 0), "invalidate": (307, 3, 0), "ipi_send": (409, 0, 0), "ipi_wait": (503, 0, 0),
    "ipi_respond": (601, 13, 2), "kick": (0, 0, 701), "irq": (0, 803, 0), "driver": (0, 907, 0), "gup": (0, 17, 1),
    "exit": (0, 0, 19), "violation": (0, 0, 73), "map": (0, 0, 23), "entry": (0, 0, 29), "lock_wait": (31, 0, 37),
    "memory_wait": (113, 0, 127),
    "order_wait": (41, 0, 43), "gate_wait": (47, 0, 53), "stall_trap": (0, 0, 59), "stall_driver": (0, 0, 61), "stall_gup": (0, 0, 67),
    "stall_invalidation": (0, 0, 71),
}  # fmt: skip
COUNTS = {
    "cpu.accesses": {CPU: 800}, "cpu.itlb.hits": {CPU: 300}, "cpu.itlb.misses": {CPU: 20}, "cpu.dtlb.hits": {CPU: 450},
    "cpu.dtlb.misses": {CPU: 30}, "cpu.stlb.hits": {CPU: 34}, "cpu.stlb.misses": {CPU: 16}, "cpu.walks": {CPU: 18},
    "device.accesses": {ENGINE: 200}, "device.tlb.hits": {ENGINE: 187}, "device.tlb.misses": {ENGINE: 13},
    "device.stlb.hits": {ENGINE: 4}, "device.stlb.misses": {ENGINE: 9}, "device.walks": {ENGINE: 10}, "device.walk_refs": {ENGINE: 51},
    "gru.intr": {ENGINE: 401}, "gru.intr_tfh": {ENGINE: 402}, "kvm.exits": {ENGINE: 1000}, "kvm.retries": {ENGINE: 60},
    "gru.fail_range_active": {ENGINE: 7}, "gru.kills": {ENGINE: 82}, "notices.start": {CPU: 90}, "notices.end": {CPU: 91},
    "ipis.sent": {CPU: 61, SPARE: 1}, "ipis.acked": {CPU: 63}, "segv": {CPU: 2, ENGINE: 1}, "unsupported_ops": {CPU: 44},
}  # fmt: skip
SERVING = {"irq": {SPARE: 803}, "driver": {SPARE: 489}, "fault": {CPU: 10, SPARE: 11}, "exit": {ENGINE: 19}}
FAULTS = [100] * 50 + [200] * 48 + [1000, 5000]
"""By rank: the 50th is 100, of the bucket [100, 101]; the 95th is 200; the 99th is 1000, of the bucket [992, 1007]."""
MAIN = 1000 + 2000 + 30 + 40 + 5000 + 600 + 70 + 80 + 90 + 101 + 110 + 203 + 307 + 409 + 503 + 601 + 31 + 113  # waiting left out
SPARES = 11 + 7 + 5 + 3 + 13 + 17
ENGINES = 100 + 200 + 3 + 4 + 5 + 2 + 1 + 37 + 127


def expected(spares, engines, walks, traps, retries, kills, kicks, serving):
    """The figures by hand, of what all designs have and what is a design's own; a cycle is half a nanosecond, main has the latest clock."""
    return {
        "time_ms": (MAIN + 41 + 47) / 2 / 1e6,
        "ns_per_access": (MAIN + 41 + 47) / 2 / 1000,
        "cycles_per_access": (MAIN + 41 + 47) / 1000,
        "device_ns_per_access": engines / 200 / 2,
        "device_cycles_per_access": engines / 200,
        "device_overhead_ns_per_access": (engines - 100 - 200) / 200 / 2,
        "cpu_ns_per_access": (MAIN + spares) / 800 / 2,
        "cpu_cycles_per_access": (MAIN + spares) / 800,
        "cpu_overhead_ns_per_access": (MAIN + spares - 1000 - 2000) / 800 / 2,
        "device_accesses": 200,
        "device_miss_rate_percent": 6.5,  # 13 of 200
        "device_walks": walks,
        "cpu_accesses": 800,
        "cpu_miss_rate_percent": 2.0,  # 16 of 800
        "software_faults": 100,
        "traps": traps,
        "serving_percent": serving,
        "fault_p50_ns": 50.5,
        "fault_p99_ns": 503.5,
        "fault_max_ns": 2500,
        "retries": retries,
        "kills": kills,
        "notices": 90,
        "invalidation_cycles": 203 + 5 + 307 + 3,
        "ipis": 62,
        "shootdown_cycles": 101 + 7 + 409 + 503 + 601 + 13 + 2 + kicks,
        "page_faults": 3,
        "segv": 3,
        "unsupported_ops": 44,
    }


GRU, KVM = Machine(mhz=2000), Machine("kvm-ept-2008", "kvm_ept", 2000)
OF_GRU = expected(SPARES + 803 + 907, ENGINES + 59 + 61 + 67 + 71, 0, 401, 7, 82, 0, 100 * (803 + 500) / (MAIN + 41 + 47))
OF_KVM = expected(SPARES, ENGINES + 701 + 19 + 73 + 23 + 29, 10, 1000, 60, 0, 701, 100 * 11 / (MAIN + 41 + 47))


def result_of(machine):
    """What the lists say, so far as the machine's design has it."""
    book = secondary.book(machine.design)
    ledger = {name: dict(zip((CPU, SPARE, ENGINE), cycles, strict=True)) for name, cycles in LEDGER.items() if name in book.accounts}
    counts = {name: by_agent for name, by_agent in COUNTS.items() if name in book.counters}
    serving = {name: by_agent for name, by_agent in SERVING.items() if name in book.accounts}
    return result(machine, counts, ledger, {"fault": FAULTS, "cpu_fault": [7, 8, 9]}, serving)


@pytest.fixture(scope="module")
def run():
    return result_of(GRU)


def test_the_figures_are_of_every_account():
    known = {name for machine in (GRU, KVM) for name in secondary.book(machine.design).accounts}
    assert set(LEDGER) | {"idle"} == known, "an account that the result lacks changes no figure here"


@pytest.mark.parametrize(("machine", "by_hand"), [(GRU, OF_GRU), (KVM, OF_KVM)], ids=["gru", "kvm"])
def test_every_metric_by_value(machine, by_hand):
    found = metrics.headline(result_of(machine))
    assert set(found) == set(by_hand), "a metric without a value by hand"
    for name, value in by_hand.items():
        assert found[name] == pytest.approx(value, rel=1e-12), name


@pytest.mark.parametrize("side, account, waiting, cycles, accesses", [
    ("engine", "stall_driver", False, 61, 200), ("cpu", "driver", False, 907, 800), ("cpu", "fault", False, 5011, 800),
    ("engine", "order_wait", True, 43, 200), ("cpu", "gate_wait", True, 47, 800), ("engine", "lock_wait", False, 37, 200),
])  # fmt: skip
def test_accounts_by_value(run, side, account, waiting, cycles, accesses):
    frame = metrics.accounts_frame({"GRU": run}).set_index(["machine", "side", "account"])
    row = frame.loc["GRU", side, account]
    assert (row.waiting, row.cycles) == (waiting, cycles)
    assert (row.ns, row.ns_per_access) == (cycles / 2, pytest.approx(cycles / accesses / 2))


def test_accounts_that_are_empty_have_no_row(run):
    frame = metrics.accounts_frame({"GRU": run})
    mine = [cycles for name, cycles in LEDGER.items() if name in run.book.accounts]
    assert len(frame) == sum(engine > 0 for *_, engine in mine) + sum(a + b > 0 for a, b, _ in mine) + 2
    assert set(frame[frame["waiting"]]["account"]) == {"order_wait", "gate_wait", "idle"}


def test_a_side_without_accesses_has_no_figures():
    empty = result(Machine(), {}, {"walk": {CPU: 5}}, {})
    found = metrics.headline(empty)
    assert {name for name, value in found.items() if math.isnan(value)} == {
        "ns_per_access", "cycles_per_access", "device_ns_per_access", "device_cycles_per_access", "device_overhead_ns_per_access",
        "cpu_ns_per_access", "cpu_cycles_per_access", "cpu_overhead_ns_per_access", "device_miss_rate_percent",
        "cpu_miss_rate_percent", "fault_p50_ns", "fault_p99_ns", "fault_max_ns",
    }  # fmt: skip
