"""Misses and invalidations of a GRU in the oracle, by hand (docs/model.md 10.2 to 10.4, 10.6)."""

from types import SimpleNamespace

import pytest

from hwmodel import machine as machines
from hwmodel import op
from hwmodel.op import mmap_unit
from tests.model.cases import ADDRESS, CPU, DEVICE, MAPPED, access, advise, booked, compute, counted, run, sync


def interrupt(c):
    """From the issue of a GRU's access to the end of the driver's look-up, the tables in the server's l1."""
    return c.irq_delivery + c.irq_entry + c.tfh_read + 4 * c.l1


def test_gru_resolves_a_miss_in_the_interrupt_handler():
    records = [access(op.WRITE), sync(), access(op.READ, 1), compute(5, 1)]
    outcome, c = run("gru-2008", [CPU, DEVICE], records, MAPPED)
    # the engine computes and then waits for its access, whose data come after its translation
    latency = interrupt(c) + c.dropin + c.restart
    assert outcome.histograms["fault.fmm"]["sum"] == latency
    assert booked(outcome, 0)["irq"] == c.irq_entry + c.irq_exit
    assert booked(outcome, 0)["driver"] == c.tfh_read + 4 * c.l1 + c.dropin
    got = counted(outcome, 1)
    assert (got["device.accesses"], got["device.tlb.misses"]) == (1, 1) and "device.tlb.hits" not in got
    # before the data it could not have issued another one until the interval was over
    assert booked(outcome, 1)["access"] == c.device_interval - 5 * c.instruction + c.device_latency
    assert booked(outcome, 1)["instruction"] == 5 * c.instruction
    assert outcome.clocks[0] == booked(outcome, 1)["order_wait"] + latency + c.device_latency


def upm(c):
    """From the switch to user polling to the end of get_user_pages, no window open and the page not there; without the walk before it."""
    return c.upm_switch + c.poll + c.syscall + c.tfh_read + c.gup


def test_gru_resolves_a_fault_in_the_users_call():
    outcome, c = run("gru-2008", [CPU, DEVICE], [access(op.WRITE, 1)], MAPPED, driver__interrupt_cpu=0)
    look = c.irq_delivery + c.irq_entry + c.tfh_read + c.dram  # the root is empty
    latency = look + upm(c) + c.l1 + c.fault + c.zero_page + 3 * c.table + c.dropin + c.restart  # the root again
    assert outcome.histograms["fault.upm"]["sum"] == latency == outcome.clocks[0] - c.device_latency
    got = counted(outcome, 1)
    assert (got["gru.call_os"], got["gru.fail_upm"], got["gru.dropins"], got["faults.anon"]) == (1, 1, 1, 1)
    assert booked(outcome, 0)["fault"] == c.fault + c.zero_page + 3 * c.table
    assert "cpu_fault" not in outcome.histograms


def test_gru_books_a_stall_by_phases():
    records = [access(op.WRITE, 1), access(op.WRITE, 1)]
    outcome, c = run("gru-2008", [CPU, DEVICE], records, MAPPED, device__window=1)
    ledger = booked(outcome, 1)
    # the second could have been issued an interval after the first, which is the beginning of the interrupt's way; it hits
    assert ledger["access"] == c.device_interval + 2 * c.device_latency
    assert ledger["stall_trap"] == c.irq_delivery - c.device_interval + c.restart
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
        + c.dropin + c.restart
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
    latency = closed + c.wakeup + c.tfh_read + 4 * c.l1 + c.gup + c.fault + c.dropin + c.restart
    assert outcome.histograms["fault.upm"]["sum"] == latency


@pytest.mark.parametrize(("pages", "paid"), [(1, 1), (1023, 1023), (1024, 1024), (1025, 1024), (5000, 1024)])
def test_gru_pays_for_no_more_pages_than_an_operation_can_name(pages, paid):
    records = [*advise(op.DONTNEED, 0, pages), compute(1, 1)]
    outcome, c = run("gru-2008", [CPU, DEVICE], records, mmap_unit(ADDRESS, 5000, 3), tgh__page_ns=7)
    assert counted(outcome, 0)["gru.tgh"] == 1
    assert outcome.histograms["notice"]["sum"] == c.notice + c.tgh + paid * c.tgh_page and c.tgh_page == 16
