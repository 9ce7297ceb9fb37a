"""Costs of CPUs and of faults, each booked as often as docs/model.md says (4, 6)."""

from hwmodel import op
from tests.model.books import case
from tests.model.hand import (
    CPU,
    DEVICE,
    FILE,
    HUGE_PAGE,
    HUGETLB,
    PAGE,
    SHARED,
    SHARED_FILE,
    THP,
    X,
    access,
    advise,
    big,
    compute,
    fork,
    leave,
    memory,
    read,
    sync,
    write,
)  # fmt: skip

TINY = {f"cpu__{level}__{of}": 1 for level in ("dtlb", "itlb") for of in ("entries", "ways")}
NO_PWC = {f"cpu__pwc__{name}_entries": 0 for name in ("pde", "pdpte", "pml4e")}
FORKED = dict(roles=(CPU, (CPU, 1)))
KVM, GRU = dict(design="kvm_ept", roles=(CPU, DEVICE)), dict(design="gru", roles=(CPU, DEVICE))
TWO_VCPUS = dict(design="kvm_ept", roles=(CPU, DEVICE, DEVICE))
THERE = memory(populate=True)
CROSSING = [((PAGE << 12) + 4090, 1, 0, op.READ, 0), ((PAGE + 1) << 12, 1, 0, op.READ | op.CONTINUES, 0)]
CACHED = memory(8, op.PROT_READ, op.SHARED_FILE, PAGE + 100, populate=True)
"""Eight pages of file 1, in the page cache from the beginning."""


def fetch(page=PAGE, agent=0, count=1):
    return access(op.FETCH, page, agent, count)


CPUS = [
    # a gap of 5, 7 instructions, 3 fetches
    case("instruction", {"cpu.instruction": 15}, memory(prot=X, populate=True), compute(7), read(gap=5), fetch(count=3)),
    case("instruction", {"device.instruction": 12}, THERE, compute(7, 1), read(agent=1, gap=5), **KVM),
    case("instruction", {"device.instruction": 12}, THERE, compute(7, 1), read(agent=1, gap=5), **GRU),
    case("access", {"cpu.access": 5}, THERE, read(count=3), write(count=2)),
    case("access", {"cpu.access": 2}, THERE, CROSSING),
    case("access", {"cpu.access": 1}, memory(), write()),  # what faults is an access once
    case("access", {}, THERE, read(agent=1, count=3), write(agent=1, count=2), **KVM),  # engines have a latency of their own
    case("assist", {"cpu.walk": 1}, memory(mapping=SHARED_FILE, populate=True), read(), write(count=3)),
    case("assist", {}, memory(mapping=SHARED_FILE, populate=True), write(count=3)),  # the walk for a write sets the bit
    case("assist", {"cpu.walk": 1}, memory(), write(), advise(op.FREE), read(), write()),
    case("assist", {}, memory(mapping=FILE), read(), write()),  # it faults instead
    # a vCPU: the dirty bit of its guest's page table
    case("assist", {"device.stall_walk": 1}, THERE, read(agent=1), write(agent=1, count=3), **KVM),
    case("assist", {}, THERE, write(agent=1, count=3), **KVM),
    # the third access waits for the second one's walk
    case("assist", {"device.stall_walk": 1}, THERE, read(agent=1), write(agent=1), read(agent=1), sync(1), read(agent=2), write(agent=2),
         device__window=1, **TWO_VCPUS),
    case("assist", {"device.stall_walk": 1}, memory(), read(agent=1), write(agent=1), **KVM),  # it is set before the write's violation
    case("exception", {"cpu.fault": 1}, memory(), read()),
    case("exception", {"cpu.fault": 2}, memory(), read(), write()),  # the second asks for the dirty bit first
    case("exception", {"cpu.fault": 1}, memory(), write(PAGE + 100)),  # no right
    case("exception", {"cpu.fault": 1}, memory(prot=X), fetch()),
    case("exception", {}, memory(), write(agent=1), **KVM),  # EPT violations are none
    case("exception", {}, memory(), write(agent=1), **GRU),
    case("stlb_hit", {"cpu.stlb": 1}, THERE, read(), read(PAGE + 1), read(), **TINY),
    case("stlb_hit", {"cpu.stlb": 1}, memory(prot=X, populate=True), fetch(), fetch(PAGE + 1), fetch(), **TINY),
    case("stlb_hit", {"device.stlb": 1}, THERE, read(agent=1), read(PAGE + 1, 1), read(agent=1), device__window=1, **TINY, **KVM),
    # four tables, a line each; its neighbour's entries lie in the same lines
    case("dram", {"cpu.walk": 4}, THERE, read(), read(PAGE + 1), **NO_PWC),
    case("l1", {"cpu.walk": 4}, THERE, read(), read(PAGE + 1), **NO_PWC),
    case("l1", {"cpu.walk": 1}, THERE, read(), read(PAGE + 1)),  # the table of level 1 is known
    case("l2", {"cpu.walk": 4}, THERE, read(), read(PAGE + 1), memory__l1__lines=1, memory__l1__ways=1, **NO_PWC),
    case("llc", {"cpu.walk": 4}, THERE, read(), sync(), read(agent=1), roles=(CPU, CPU)),
    case("dram", {"cpu.walk": 4}, memory(), read()),  # an empty root: its line is read once from memory, and then from l1
    case("l1", {"cpu.walk": 1}, memory(), read()),
    case("dram", {"cpu.driver": 4, "device.stall_driver": 4}, THERE, read(agent=1), latencies={"fault.fmm": 4}, **GRU),  # by the handler
    case("l1", {"cpu.driver": 4, "device.stall_driver": 4}, THERE, read(), sync(), read(agent=1), latencies={"fault.fmm": 4}, **GRU),
]

FAULTS = [
    case("fault", {"cpu.fault": 1}, memory(), read(), latencies={"cpu_fault": 1}),
    case("fault", {"cpu.fault": 2}, memory(), read(), write(), latencies={"cpu_fault": 2}),
    case("fault", {"cpu.fault": 1}, memory(), write(PAGE + 100), latencies={"cpu_fault": 0}),  # booked in the step that returns
    case("fault", {"cpu.fault": 2}, memory(mapping=FILE), read(), write(), latencies={"cpu_fault": 2}),
    case("fault", {"cpu.fault": 2}, big(), write(HUGE_PAGE), fork(), write(HUGE_PAGE), **FORKED, **THP),  # split, then copied
    case("fault", {"cpu.fault": 2}, memory(), write(), fork(), leave(1), sync(), write(), **FORKED),
    case("fault", {"device.fault": 1}, memory(), write(agent=1), latencies={"cpu_fault": 0}, **KVM),  # the guest's tables are there
    case("fault", {"cpu.fault": 1, "device.stall_gup": 1}, memory(), write(agent=1), latencies={"cpu_fault": 0, "fault.upm": 1}, **GRU),
    case("zero_page", {"cpu.fault": 1}, memory(), write(), read(PAGE + 1)),
    case("zero_page", {"cpu.fault": 1}, memory(), read(), write()),
    case("zero_page", {}, big(), write(HUGE_PAGE), **THP),
    case("zero_page", {"cpu.fault": 1}, memory(), write(), fork(), write(), **FORKED),
    case("zero_page", {"device.fault": 1}, memory(), write(agent=1), **KVM),
    case("zero_page", {}, [*memory(mapping=FILE), *memory(mapping=SHARED, page=PAGE + 100, file=2)], write(), write(PAGE + 100)),
    case("zero_huge", {"cpu.fault": 1}, big(), write(HUGE_PAGE), **THP),
    case("zero_huge", {"cpu.fault": 1}, big(), read(HUGE_PAGE), write(HUGE_PAGE), **THP),
    case("zero_huge", {"cpu.fault": 1}, big(mapping=HUGETLB), read(HUGE_PAGE), write(HUGE_PAGE)),
    case("zero_huge", {"cpu.fault": 1}, big(mapping=HUGETLB), write(HUGE_PAGE), fork(), write(HUGE_PAGE), **FORKED),
    case("copy_page", {"cpu.fault": 1}, memory(), write(), fork(), write(), **FORKED),
    case("copy_page", {"cpu.fault": 1}, memory(mapping=FILE), write()),
    case("copy_page", {"cpu.fault": 1}, memory(mapping=FILE), read(), write()),
    case("copy_page", {"cpu.fault": 1}, big(), write(HUGE_PAGE), fork(), write(HUGE_PAGE), **FORKED, **THP),
    case("copy_page", {}, memory(), read(), write()),
    case("copy_huge", {"cpu.fault": 1}, big(mapping=HUGETLB), write(HUGE_PAGE), fork(), write(HUGE_PAGE), **FORKED),
    case("copy_huge", {}, big(), write(HUGE_PAGE), fork(), write(HUGE_PAGE), **FORKED, **THP),
    case("cache_page", {"cpu.fault": 1}, memory(mapping=FILE), read(), read()),
    case("cache_page", {"cpu.fault": 1}, memory(mapping=FILE), write()),
    case("cache_page", {"cpu.fault": 1}, memory(mapping=SHARED), write()),
    case("cache_page", {"cpu.fault": 2}, memory(mapping=SHARED_FILE), read(), write(PAGE + 1)),
    case("cache_page", {}, [*memory(mapping=FILE), *CACHED], read(), write(PAGE + 1)),
    case("map_page", {"cpu.fault": 3}, [*memory(mapping=FILE), *CACHED], read(PAGE + 2), kernel__fault_around_pages=4),
    case("map_page", {}, [*memory(mapping=FILE), *CACHED], write(PAGE + 2), kernel__fault_around_pages=4),
    case("map_page", {"cpu.fault": 2}, [*memory(3, mapping=FILE), *CACHED], read(PAGE + 2), kernel__fault_around_pages=8),
    # of the four levels the root is there
    case("table", {"cpu.fault": 3}, memory(), write(), read(PAGE + 1), latencies={"cpu_fault": 3}),
    case("table", {"cpu.fault": 2}, big(), write(HUGE_PAGE), **THP),
    case("table", {"cpu.fault": 2}, big(), read(HUGE_PAGE), **THP),
    case("table", {"cpu.fault": 3 + 1}, memory(1024, page=HUGE_PAGE), write(HUGE_PAGE), write(HUGE_PAGE + 512)),
    case("table", {"cpu.fault": 3 + 2}, [*memory(), *memory(page=PAGE + (1 << 18))], write(), write(PAGE + (1 << 18))),
    case("table", {"cpu.fault": 2 + 1, "cpu.fork": 2}, big(), write(HUGE_PAGE), fork(), write(HUGE_PAGE), **FORKED, **THP),  # a split
    # 3 in the CPUs' table and 3 in the EPT; those that map the guest's own tables were there before the run
    case("table", {"device.fault": 3, "device.violation": 40}, memory(), write(agent=1), **KVM),
    case("gup", {"device.gup": 1}, memory(), write(agent=1), **KVM),
    case("gup", {}, THERE, write(agent=1), **KVM),  # it is there: the fast look-up will do
    case("gup", {"cpu.gup": 1, "device.stall_gup": 1}, memory(), write(agent=1), latencies={"fault.upm": 1}, **GRU),
    case("gup_fast", {"device.gup": 1}, THERE, write(agent=1), **KVM),
    case("gup_fast", {}, memory(prot=op.PROT_READ, populate=True), read(agent=1), **KVM),  # the zero page: it may not be written
]
