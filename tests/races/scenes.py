"""What a race needs: machines whose costs are round numbers of cycles, traces in which two agents meet, and a look at the end.

A nanosecond is a cycle and every reference of a walk takes REFERENCE cycles wherever it hits, so that a time of a step is a sum of
settings. The tests derive each by hand and then move the device's access, by the gap of its record, through all cycles of interest.
Steps of one cycle are taken in the order of the rows: CPUs, engines, their requests. A CPU therefore opens or closes a window before
a device looks at it in that cycle: an interval from one time to another is half open in every table of these tests. The fixture `every`
(conftest.py) says which gaps of an interval are tried.
"""

import contextlib
import functools
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from hwmodel import machine as machines
from hwmodel import op
from hwmodel.core.tables import ENGINE, HUGE, PFN, WRITES, P, W
from hwmodel.jit import JIT_OFF
from hwmodel.op import Agent, mmap_unit, paged_unit
from hwmodel.parts.paging_caches import DTLB
from hwmodel.trace import Trace
from tests.audit import kept
from tests.audit.stale import Tree
from tests.audit.watch import Audit
from tests.support.designs import design

PAGE = 0x10000
"""First page of what the tests map; its neighbours have the same tables."""
CPU, DEVICE = "cpu", "device"
REFERENCE = 5
LATER = 600
"""A gap after which all of a race is over."""
PRIMARY = {
    "clock.mhz": 1000,
    "memory.l1.hit_cycles": REFERENCE, "memory.l2.hit_cycles": REFERENCE,
    "memory.llc.hit_cycles": REFERENCE, "memory.dram_ns": REFERENCE,
    "cpu.count": 2, "cpu.instruction_cycles": 1, "cpu.access_cycles": 5, "cpu.exception_cycles": 30, "cpu.assist_cycles": 20,
    "cpu.flush.fixed_cycles": 20, "cpu.flush.page_cycles": 10, "cpu.flush.full_cycles": 50,
    "kernel.syscall_ns": 10, "kernel.notice_ns": 5, "kernel.clear_ns": 10, "kernel.table_scan_ns": 10, "kernel.free_ns": 10,
    "kernel.fault_ns": 25, "kernel.zero_page_ns": 35, "kernel.copy_page_ns": 35, "kernel.cache_page_ns": 20,
    "kernel.table_ns": 15, "kernel.vma_ns": 60, "kernel.gup_ns": 30, "kernel.gup_fast_ns": 20, "kernel.wakeup_ns": 50,
    "kernel.shootdown.send_ns": 5, "kernel.shootdown.send_more_ns": 5, "kernel.shootdown.delivery_ns": 10,
    "kernel.shootdown.respond_ns": 10, "kernel.shootdown.ack_ns": 5,
}  # fmt: skip
GRU = {
    "device.window": 1, "device.latency_ns": 5, "device.interval_ns": "free",
    "driver.interrupt_cpu": 1, "gru.chiplets": 1, "tgh.invalidate_ns": 40,
    "driver.interrupt_ns": 25, "driver.irq_entry_ns": 10, "driver.irq_exit_ns": 10, "driver.tfh_read_ns": 10,
    "driver.upm_switch_ns": 10, "driver.poll_ns": 15, "driver.dropin_ns": 10, "driver.restart_ns": 20, "kernel.gup_ns": 10,
    "gru.kills": "range",  # so that what happens to other pages is no part of a race
}  # fmt: skip
KVM = {
    "device.window": 1, "device.latency_ns": 5, "device.interval_ns": "free", "cpu.count": 1,
    "vm.exit_cycles": 15, "vm.entry_cycles": 15, "vm.invept_cycles": 25,
    "vm.violation_ns": 35, "vm.zap_ns": 40, "vm.zap_spte_ns": 10, "vm.map_spte_ns": 10, "vm.request_ns": 80, "vm.kick_ns": 5,
}  # fmt: skip


def gru(**changes):
    """A GRU whose interrupts go to a CPU without an agent, number 1 where there is no other number; settings as a__b."""
    return built("gru-2008", tuple((PRIMARY | GRU | dotted(changes)).items()))


def kvm(**changes):
    """A machine with KVM."""
    return built("kvm-ept-2008", tuple((PRIMARY | KVM | dotted(changes)).items()))


def dotted(changes):
    """Settings by their own names."""
    return {name.replace("__", "."): value for name, value in changes.items()}


@functools.cache
def built(preset, settings):
    """A machine, made once: checking its settings takes longer than a race."""
    return machines.preset(preset).with_(**dict(settings))


def costs(machine):
    """The costs by name, in cycles."""
    return SimpleNamespace(**machine.costs())


# traces


def mapped(pages=1, page=0, agent=0):
    """For a prelude: anonymous memory that is there from the beginning."""
    return mmap_unit(PAGE + page << 12, pages, 3, agent=agent, populate=True)


def file_page():
    """For a prelude: a page of a file, mapped private: read, it is the page cache's own; the first write copies it."""
    return mmap_unit(PAGE << 12, 1, 3, op.PRIVATE_FILE, file=1)


def empty(pages=1, page=0, agent=0):
    """For a prelude: anonymous memory that nobody has touched."""
    return mmap_unit(PAGE + page << 12, pages, 3, agent=agent)


def access(kind, agent, gap=0, page=0, count=1):
    """A record of one access or more to a page, `gap` cycles after the agent's last record."""
    return PAGE + page << 12, count, gap, kind, agent


def advise(advice, gap=0, page=0, pages=1, agent=0):
    """madvise, begun `gap` cycles after the agent's last record."""
    return paged_unit(op.MADVISE, PAGE + page << 12, pages, [(0, advice)], agent, gap)


def sync(agent):
    """All agents wait for each other; the next COMPUTE of each counts from here."""
    return 0, 0, 0, op.SYNC, agent


def compute(cycles, agent):
    """So many instructions; unlike a gap they also wait for a sync."""
    return 0, cycles, 0, op.COMPUTE, agent


# runs


@dataclass(frozen=True)
class Run:
    """A result, and the tables of the machine at its end."""

    result: object
    m: object
    dev: object

    def counted(self, *names):
        """The counters that are not 0: those named, or all whose names begin so."""
        return {name: n for name, n in self.result.counters.items() if n and name.startswith(names)}

    def booked(self, account, role=None):
        """Cycles in an account, of all agents or those of a role."""
        return self.result.ledger.total(account, role)

    def latencies(self, kind="fault"):
        """Up to three values of a histogram, exactly, in order of size."""
        count, total, least, most = self.result.latency(kind).row[:4].tolist()
        assert count <= 3, "three numbers do not say what four values were"
        return [[], [least], [least, most], [least, total - least - most, most]][count]

    def pte(self, page=0, space=0):
        """What the CPUs' page table has at a page: (pfn, whether it may be written), or None."""
        return mapping(self.m, int(self.m.spaces["root"][space]), PAGE + page)

    def spte(self, page=0, space=0):
        """What the EPT has there."""
        return mapping(self.m, int(self.dev.vms["ept"][space]), PAGE + page)

    def file_frame(self):
        """The one frame of the page cache."""
        (frame,) = np.flatnonzero(self.m.frames["cached"])
        return int(frame)

    def entry(self, page=0, space=0, chiplet=0):
        """What a GRU's TLB has there."""
        return way(self.m, int(self.dev.banks[chiplet]), space << 40 | PAGE + page << 1)

    def guest_entry(self, page=0):
        """What the first-level TLB of the first vCPU has there."""
        engine = int(np.flatnonzero(self.m.rows["role"] == ENGINE)[0])
        return way(self.m, int(self.m.rows["banks"][engine]) + DTLB, PAGE + page << 1)

    def cpu_entry(self, page=0, cpu=0):
        """What the first-level TLB of a CPU has there."""
        return way(self.m, int(self.m.rows["banks"][cpu]) + DTLB, PAGE + page << 1)


def mapping(m, root, vpn):
    """(frame, whether it may be written) of a page in a radix table, or None."""
    entry, inside = leaf(m, root, vpn)
    return ((entry >> PFN) + inside, bool(entry & W)) if entry & P else None


def way(m, bank, tag):
    """The entry of a tag in a bank."""
    row = m.banks[bank]
    ways = m.ways[row.offset : row.offset + (row.mask + 1) * row.ways]
    found = ways[ways["tag"] == tag]
    return (int(found[0].pfn), bool(found[0].rights & WRITES)) if found.size else None


def play(machine, roles, records, prelude):
    """Run a trace, and once more in ways that may change no result; roles are roles or (role, space)."""
    agents = [Agent(*(role if isinstance(role, tuple) else (role, 0)), f"agent {i}") for i, role in enumerate(roles)]
    trace = Trace.from_records(agents, list(records), list(prelude))
    first = once(machine, trace)
    with watched(machine, trace) if JIT_OFF else contextlib.nullcontext():
        other = once(machine, trace, runahead=False, chunk=1)
    for mine, theirs in zip(numbers(first.result), numbers(other.result), strict=True):
        assert np.array_equal(mine, theirs), "nobody running ahead and a record at a time, the result is another"
    return first


def once(machine, trace, **options):
    """One run; its books are checked by `simulate`."""
    run = kept(machine, trace, **options)
    return Run(run.result, run.m, run.dev)


def watched(machine, trace):
    """Watch over translations, windows and accesses at every step of a run in which nobody runs ahead (with the JIT off)."""
    audit = Audit(design(machine.design), ("never_stale", "windows_are_empty", "complete_when_allowed", "no_data_in_flight"))
    audit.begin(len(trace))
    return audit.watching()


def leaf(m, root, vpn):
    """(entry, page within it) of a page in a radix table."""
    entry = Tree(m).entry(root, vpn)
    return entry, vpn & 511 if entry & HUGE else 0


def numbers(result):
    """All that a run measures."""
    return result.counters.array, result.ledger.array, result.clocks, result.histograms, result.phase_histograms, result.phase_shares
