"""GRU and KVM cases of the oracle, worked out by hand from docs/model.md."""

from types import SimpleNamespace

import pytest

from hwmodel import machine as machines
from hwmodel import op
from hwmodel.op import mmap_unit
from tests.model.cases import ADDRESS, CPU, DEVICE, MAPPED, access, advise, booked, compute, counted, run, sync

# GRU


def interrupt(c):
    """From the issue of a GRU access to the end of the driver's look-up, the tables in the server's l1."""
    return c.access_gru + c.irq_delivery + c.irq_entry + c.tfh_read + 4 * c.l1


def test_gru_resolves_a_miss_in_the_interrupt_handler():
    records = [access(op.WRITE), sync(), access(op.READ, 1, count=4), compute(5, 1)]
    outcome, c = run("gru-2008", [CPU, DEVICE], records, MAPPED)
    # the first access misses; the other three are issued meanwhile
    latency = interrupt(c) + c.dropin + c.restart + c.access_gru
    assert outcome.histograms["fault.fmm"]["sum"] == latency
    assert booked(outcome, 0)["irq"] == c.irq_entry + c.irq_exit
    assert booked(outcome, 0)["driver"] == c.tfh_read + 4 * c.l1 + c.dropin
    got = counted(outcome, 1)
    assert (got["device.accesses"], got["device.tlb.hits"], got["device.tlb.misses"]) == (4, 3, 1)
    assert booked(outcome, 1)["access"] == 4 * c.access_gru
    assert booked(outcome, 1)["instruction"] == 5 * c.instruction
    assert outcome.clocks[0] == booked(outcome, 1)["order_wait"] + latency


def upm(c):
    """From the switch to user polling to the end of get_user_pages, no window open and the page not there; without the walk before it."""
    return c.upm_switch + c.poll + c.syscall + c.tfh_read + c.gup


def test_gru_resolves_a_fault_in_the_users_call():
    outcome, c = run("gru-2008", [CPU, DEVICE], [access(op.WRITE, 1)], MAPPED, driver__interrupt_cpu=0)
    look = c.access_gru + c.irq_delivery + c.irq_entry + c.tfh_read + c.dram  # the root is empty
    latency = look + upm(c) + c.l1 + c.fault + c.zero_page + 3 * c.table + c.dropin + c.restart + c.access_gru  # the root again
    assert outcome.histograms["fault.upm"]["sum"] == latency == outcome.clocks[0]
    got = counted(outcome, 1)
    assert (got["gru.call_os"], got["gru.fail_upm"], got["gru.dropins"], got["faults.anon"]) == (1, 1, 1, 1)
    assert booked(outcome, 0)["fault"] == c.fault + c.zero_page + 3 * c.table
    assert "cpu_fault" not in outcome.histograms


def test_gru_books_a_stall_by_phases():
    records = [access(op.WRITE, 1), access(op.WRITE, 1)]
    outcome, c = run("gru-2008", [CPU, DEVICE], records, MAPPED, tlb__cbrs=1)
    ledger = booked(outcome, 1)
    assert ledger["access"] == 2 * c.access_gru
    assert ledger["stall_trap"] == c.irq_delivery + c.restart + c.access_gru
    assert ledger["stall_gup"] == c.gup + c.fault + c.zero_page + 3 * c.table
    assert ledger["stall_driver"] == (
        c.irq_entry + c.tfh_read + c.dram + c.upm_switch + c.poll + c.syscall + c.tfh_read + c.l1 + c.dropin
    )


def test_gru_kills_a_drop_in():
    # CPU 1 opens and closes a window between the driver's look-up and the restart
    records = [access(op.WRITE), sync(), access(op.READ, 2), *advise(op.DONTNEED, 1)]
    slow = {"driver__dropin_ns": 20_000, "driver__restart_ns": 20_000, "driver__interrupt_ns": 20_000}
    costs = machines.preset("gru-2008").with_(**{k.replace("__", "."): v for k, v in slow.items()}).costs()
    c = SimpleNamespace(**costs)
    delay = interrupt(c) + 100
    records.insert(3, compute(delay, 1))
    outcome, c = run("gru-2008", [CPU, CPU, DEVICE], records, MAPPED, driver__interrupt_cpu=0, **slow)
    got = counted(outcome, 2)
    assert got["gru.kills"] == 1 and got["gru.call_os"] == 1 and got["faults.zero"] == 1
    again = c.irq_delivery + c.irq_entry + c.tfh_read + 4 * c.l1
    latency = (
        interrupt(c) + c.dropin + c.restart  # killed
        + again + upm(c) + 4 * c.l1 + c.fault  # the page is gone: the zero page
        + c.dropin + c.restart + c.access_gru
    )  # fmt: skip
    assert outcome.histograms["fault.upm"]["sum"] == latency
    assert outcome.histograms["notice"]["sum"] == c.notice + c.tgh + c.tgh_page


def test_gru_waits_for_a_window_to_end():
    records = [access(op.WRITE), sync(), access(op.READ, 2), compute(1, 1), *advise(op.DONTNEED, 1)]
    slow = {"tgh__invalidate_ns": 100_000}
    outcome, c = run("gru-2008", [CPU, CPU, DEVICE], records, MAPPED, driver__interrupt_cpu=0, **slow)
    got = counted(outcome, 2)
    assert (got["gru.fail_range_active"], got["gru.window_sleeps"], got["gru.dropins"]) == (1, 1, 1)
    assert "gru.call_os_wait_queue" not in got  # the window was open before the call waited
    closed = c.instruction + c.syscall + c.notice + c.tgh + c.tgh_page + c.clear + c.table_scan + c.notice
    latency = closed + c.wakeup + c.tfh_read + 4 * c.l1 + c.gup + c.fault + c.dropin + c.restart + c.access_gru
    assert outcome.histograms["fault.upm"]["sum"] == latency


@pytest.mark.parametrize(("pages", "paid"), [(1, 1), (1023, 1023), (1024, 1024), (1025, 1024), (5000, 1024)])
def test_gru_pays_for_no_more_pages_than_an_operation_can_name(pages, paid):
    records = [*advise(op.DONTNEED, 0, pages), compute(1, 1)]
    outcome, c = run("gru-2008", [CPU, DEVICE], records, mmap_unit(ADDRESS, 5000, 3), tgh__page_ns=7)
    assert counted(outcome, 0)["gru.tgh"] == 1
    assert outcome.histograms["notice"]["sum"] == c.notice + c.tgh + paid * c.tgh_page and c.tgh_page == 16


# KVM


def test_kvm_cold_walk_in_two_dimensions():
    records = [access(op.WRITE, 1), sync(), access(op.WRITE, 2)]
    outcome, c = run("kvm-ept-2008", [CPU, DEVICE, DEVICE], records, MAPPED)
    got = counted(outcome, 2)
    # 24, less what the nested walk caches save: the guest's tables lie near each other (4 + 1 + 2 + 3, then 4 more)
    assert got["device.walk_refs"] == 4 + 14 and got["device.walks"] == 1 and "kvm.exits" not in got
    assert booked(outcome, 2)["access"] == c.access
    first = counted(outcome, 1)
    assert first["kvm.exits"] == first["kvm.sptes"] == first["faults.anon"] == 1  # the page; the guest's tables were there
    mine = {name: booked(outcome, 1)[name] for name in ("entry", "exit", "violation", "gup", "map")}
    assert mine == {"entry": c.entry, "exit": c.exit, "violation": c.violation, "gup": c.gup, "map": c.map_spte + 3 * c.table}
    assert booked(outcome, 1)["fault"] == c.fault + c.zero_page + 3 * c.table
    assert outcome.histograms["fault.violation"]["count"] == 1


def test_kvm_resolves_a_mapped_page_on_the_fast_path():
    records = [access(op.WRITE), access(op.WRITE, page=1), sync(), access(op.WRITE, 1), access(op.WRITE, 1, page=1)]
    outcome, c = run("kvm-ept-2008", [CPU, DEVICE], records, MAPPED)
    latency = outcome.histograms["fault.violation"]["min"]
    # the second page: the guest's pde hits, its nested walk ends at an absent entry, and once more after the violation
    walk = c.l1 + 1 * c.l1 + c.l1 + c.l1
    assert latency == walk + c.exit + c.violation + c.gup_fast + c.map_spte + c.entry


def test_kvm_retries_while_an_invalidation_is_in_progress():
    # the guest's tables are mapped; CPU 1 opens a window on the page before the violation is looked at
    records = [access(op.WRITE), sync(), access(op.WRITE, 2, page=1), sync(), access(op.WRITE, 2), *advise(op.DONTNEED, 1)]
    # (the flush's interrupts come too late to matter)
    slow = {"vm__zap_ns": 1762, "kernel__shootdown__delivery_ns": 10**6}
    outcome, c = run("kvm-ept-2008", [CPU, CPU, DEVICE], records, MAPPED, **slow)
    out = 2 * c.l1 + c.exit + c.violation  # the guest's pde and the nested pde hit: one reference each
    begin, end = c.syscall + c.notice, c.syscall + c.notice + c.zap + c.clear + c.table_scan + c.notice
    assert begin < out < end < out + c.entry + out
    latency = out + c.entry + out + c.gup + c.fault + c.zero_page + c.map_spte + c.entry + 2 * c.l1
    assert outcome.histograms["fault.violation"]["min"] == latency
    got = counted(outcome, 2)
    assert (got["kvm.retries"], got["kvm.exits"], got["kvm.sptes"]) == (1, 3, 2)


def test_kvm_retries_if_a_window_opened_and_closed():
    # the violation finds the page on the fast path, but the spte may not be installed: the sequence has moved on
    records = [access(op.WRITE), sync(), access(op.WRITE, 2, page=1), sync(), access(op.WRITE, 2), compute(3600, 1)]
    slow = {"kernel__gup_fast_ns": 10**5, "kernel__shootdown__delivery_ns": 10**6}
    outcome, c = run("kvm-ept-2008", [CPU, CPU, DEVICE], [*records, *advise(op.DONTNEED, 1)], MAPPED, **slow)
    out = 2 * c.l1 + c.exit + c.violation
    assert out < 3600 * c.instruction + c.syscall + c.notice
    latency = out + c.gup_fast + c.entry + out + c.gup + c.fault + c.zero_page + c.map_spte + c.entry + 2 * c.l1
    assert outcome.histograms["fault.violation"]["max"] == latency
    assert counted(outcome, 2)["kvm.retries"] == 1


def test_kvm_kicks_a_vcpu():
    records = [access(op.WRITE, 1), sync(), compute(10**7, 1), *advise(op.DONTNEED, 0)]
    outcome, c = run("kvm-ept-2008", [CPU, DEVICE], records, MAPPED)
    got = counted(outcome, 0)
    assert (got["kvm.zapped"], got["kvm.kicks"], got["notices.start"]) == (1, 1, 1)
    kick = c.exit + c.kick + c.ipi_respond + c.invept + c.entry
    assert booked(outcome, 1)["kick"] == kick
    answered = c.exit + c.kick + c.ipi_respond + c.ipi_ack  # the flush and the entry come after the answer
    kicked = c.zap + c.zap_spte + c.request + c.ipi_send + c.ipi_delivery + answered
    assert outcome.histograms["notice"]["sum"] == c.notice + kicked
    host = c.ipi_respond + c.flush_page + c.exit + c.kick + c.entry  # the vCPU's own physical CPU is in the mask
    assert booked(outcome, 1)["ipi_respond"] == host
    assert outcome.histograms["shootdown"]["sum"] == c.ipi_send + c.ipi_delivery + host - c.entry + c.ipi_ack  # answered before it enters
    assert got["ipis.sent"] == 2


def test_kvm_zaps_everything_when_the_process_exits():
    """Two pages and the four tables of the guest's that translate them."""
    records = [access(op.WRITE, 1), access(op.WRITE, 1, page=1), sync(), (0, 0, 0, op.EXIT, 0)]
    outcome, c = run("kvm-ept-2008", [CPU, DEVICE], records, MAPPED)
    assert counted(outcome, 0)["notices.release"] == 1 and counted(outcome, 0)["kvm.zapped"] == 6
    assert booked(outcome, 0)["invalidate"] == c.zap + 6 * c.zap_spte
    assert booked(outcome, 0)["notify"] == c.notice and "lock_wait" not in booked(outcome, 0)
