"""Costs of the GRU and of KVM, each booked as often as docs/model.md says (10, 11)."""

from hwmodel import op
from tests.model.books import case
from tests.model.cpu_costs import GRU, KVM, THERE, big
from tests.model.hand import CPU, DEVICE, HUGE_PAGE, HUGETLB, PAGE, SHARED_FILE, THP, advise, compute, memory, read, sync, write

ONE_CBR = dict(device__window=1, **GRU)
"""The engine stalls until its miss is resolved."""
THREE = [read(PAGE + k, 1) for k in range(3)]
"""Three misses on pages that are there."""
TWO = [read(PAGE + k, 1) for k in range(2)]
"""Two misses on pages that are not there, which the user's call resolves."""
WINDOW = 100_000
"""Cycles of an invalidation in whose window a miss falls."""


def stalled(cost, times, account):
    """A cost of the hardware or the handler on three misses, in an account of the engine's, which waits for each."""
    return case(cost, times | {f"device.{account}": 3}, THERE, THREE, latencies={"fault.fmm": 3}, **ONE_CBR)


def called(cost, times, account):
    """A cost on two misses that the user's call resolves; the engine waits for both."""
    return case(cost, times | {f"device.{account}": 2}, memory(), TWO, latencies={"fault.upm": 2}, **ONE_CBR)


GRUS = [
    case("device_latency", {"device.access": 1}, THERE, read(agent=1), sync(1), read(agent=1), latencies={"fault": 0}, **GRU),
    case("device_interval", {"device.access": 4}, THERE, read(agent=1, count=4), sync(1), read(agent=1), latencies={"fault": 0}, **GRU),
    stalled("irq_delivery", {}, "stall_trap"),
    stalled("irq_entry", {"cpu.irq": 3}, "stall_driver"),
    # the end of an interrupt keeps the next one waiting: the first miss does not meet it, the second holds up the third
    case("irq_exit", {"cpu.irq": 3, "device.stall_driver": 2}, THERE, THREE, latencies={"fault.fmm": 2}, **ONE_CBR),
    stalled("tfh_read", {"cpu.driver": 3}, "stall_driver"),
    # and the call's own
    case("tfh_read", {"cpu.driver": 2, "device.stall_driver": 2}, memory(), read(agent=1), latencies={"fault.upm": 2}, **GRU),
    called("upm_switch", {"cpu.driver": 2}, "stall_driver"),
    called("poll", {}, "stall_driver"),
    called("syscall", {"cpu.driver": 2}, "stall_driver"),
    called("gup", {"cpu.gup": 2}, "stall_gup"),
    called("fault", {"cpu.fault": 2}, "stall_gup"),
    stalled("dropin", {"cpu.driver": 3}, "stall_trap"),  # the entry is on its way to the hardware
    called("dropin", {"cpu.driver": 2}, "stall_driver"),
    stalled("restart", {}, "stall_trap"),
    called("restart", {}, "stall_trap"),
    # the context's first huge page, not its second
    case("cch_update", {"cpu.driver": 1}, memory(1024, mapping=HUGETLB, page=HUGE_PAGE, populate=True),
         read(HUGE_PAGE, 1), sync(1), read(HUGE_PAGE + 512, 1), latencies={"fault": 1, "fault.upm": 1}, **GRU),
    case("cch_update", {}, big(), write(HUGE_PAGE), sync(), read(HUGE_PAGE, 1), **GRU, **THP),
    # CPU 1 opens a window before the device misses: the call sleeps until it closes, and a while longer
    case("wakeup", {"cpu.invalidate": (0, WINDOW), "device.stall_invalidation": (1, WINDOW)}, THERE, advise(op.DONTNEED, agent=1),
         read(agent=2), read(PAGE + 1, 2), latencies={"fault.upm": (1, WINDOW)}, roles=(CPU, CPU, DEVICE), design="gru",
         device__window=1, tgh__invalidate_ns=WINDOW),
    case("tgh", {"cpu.invalidate": 1}, THERE, advise(op.DONTNEED), compute(1, 1), latencies={"notice": 1, "op.madvise": 1}, **GRU),
    case("tgh", {"cpu.invalidate": 2}, THERE, advise(op.DONTNEED), compute(1, 1), compute(1, 2), latencies={"notice": 2},
         roles=(CPU, DEVICE, DEVICE), design="gru", gru__chiplets=3),
    case("tgh", {"cpu.invalidate": 1}, THERE, advise(op.DONTNEED), compute(1, 1), compute(1, 2), roles=(CPU, DEVICE, DEVICE), design="gru"),
    case("tgh", {"cpu.invalidate": 1}, THERE, advise(op.DONTNEED), compute(1, 1), roles=(CPU, DEVICE, (CPU, 1), (DEVICE, 1)), design="gru",
         gru__chiplets=2),
    case("tgh_page", {"cpu.invalidate": 5}, memory(), write(), advise(op.DONTNEED, 5), compute(1, 1), latencies={"notice": 5}, **GRU),
    case("tgh_page", {"cpu.invalidate": 1023}, memory(1030), advise(op.DONTNEED, 1023), compute(1, 1), **GRU),
    case("tgh_page", {"cpu.invalidate": 1024}, memory(1030), advise(op.DONTNEED, 1024), compute(1, 1), **GRU),
    case("tgh_page", {"cpu.invalidate": 1024}, memory(1030), advise(op.DONTNEED, 1025), compute(1, 1), **GRU),  # GRUMAXINVAL
    # the operation begins before the engines' first accesses; of the other address space none is stopped
    case("tgh_stall", {"device.stall_invalidation": 1}, THERE, advise(op.DONTNEED, 1, PAGE + 3), read(agent=1), **GRU),
    case("tgh_stall", {"device.stall_invalidation": 2}, [*THERE, *memory(agent=3)], advise(op.DONTNEED, 1, PAGE + 3), read(agent=1),
         read(agent=2), read(agent=4), roles=(CPU, DEVICE, DEVICE, (CPU, 1), (DEVICE, 1)), design="gru", gru__chiplets=2),
]

INSIDE = [read(agent=1), sync(), *advise(op.DONTNEED), sync(), compute(1, 1)]
"""CPU 0 takes a page from a vCPU that is in its guest: it is kicked, and then its physical CPU is told to flush."""
COLD = 1
"""EPT violations of a vCPU's first access: the page, since its guest's tables are there."""


def kicked(cost, books, **more):
    """A cost of the first read and of the kick."""
    return case(cost, books, THERE, INSIDE, **{**KVM, **more})


KVMS = [
    case("device_latency", {"device.access": 1}, THERE, read(agent=1), sync(1), read(agent=1), latencies={"fault": 0}, **KVM),
    case("device_interval", {"device.access": 4}, THERE, read(agent=1, count=4), sync(1), read(agent=1), latencies={"fault": 0}, **KVM),
    case("exit", {"device.exit": COLD}, THERE, read(agent=1), latencies={"fault": COLD, "fault.violation": COLD}, **KVM),
    case("entry", {"device.entry": COLD}, THERE, read(agent=1), latencies={"fault": COLD, "fault.violation": COLD}, **KVM),
    case("violation", {"device.violation": COLD}, THERE, read(agent=1), latencies={"fault.violation": COLD}, **KVM),
    case("map_spte", {"device.map": COLD}, THERE, read(agent=1), latencies={"fault.violation": COLD}, **KVM),
    case("map_spte", {"device.map": COLD + 1}, THERE, read(agent=1), read(PAGE + 1, 1), read(agent=1), **KVM),
    case("map_spte", {"device.map": COLD}, big(), write(HUGE_PAGE), sync(), read(HUGE_PAGE, 1), read(HUGE_PAGE + 1, 1), **KVM, **THP),
    case("map_spte", {"device.map": COLD + 1}, memory(mapping=SHARED_FILE, prot=1, populate=True), read(agent=1), read(PAGE + 1, 1), **KVM),
    case("invept", {}, THERE, read(agent=1), **KVM),
    # the flush of the host's TLBs finds the vCPU on its way in, and waits
    kicked("invept", {"device.kick": 1, "cpu.ipi_wait": 1}),
    # out for the kick, which is waited for; in again; out and in for the flush
    kicked("exit", {"device.exit": COLD, "device.kick": 1, "device.ipi_respond": 1, "cpu.ipi_wait": 2}),
    kicked("kick", {"device.kick": 1, "device.ipi_respond": 1, "cpu.ipi_wait": 2}),
    # both answers come before the entry; the flush waits for that of the kick
    kicked("entry", {"device.entry": COLD, "device.kick": 1, "device.ipi_respond": 1, "cpu.ipi_wait": 1}),
    kicked("ipi_respond", {"device.kick": 1, "device.ipi_respond": 1, "cpu.ipi_wait": 2}),
    kicked("ipi_send", {"cpu.ipi_send": 2}),
    kicked("ipi_delivery", {"cpu.ipi_wait": 2}),
    kicked("ipi_ack", {"cpu.ipi_wait": 2}),
    kicked("request", {"cpu.ipi_send": 1}, latencies={"notice": 1}),
    case("request", {"cpu.ipi_send": 3}, THERE, read(agent=1), INSIDE[1:], compute(1, 2), compute(1, 3), latencies={"notice": 3},
         roles=(CPU, DEVICE, DEVICE, DEVICE), design="kvm_ept"),
    # the second vCPU is done, and not in its guest: it is asked, and not kicked
    case("request", {"cpu.ipi_send": 2}, THERE, read(agent=1), read(agent=2), INSIDE[1:], latencies={"notice": 2},
         roles=(CPU, DEVICE, DEVICE), design="kvm_ept"),
    case("ipi_send", {"cpu.ipi_send": 2}, THERE, read(agent=1), read(agent=2), INSIDE[1:], roles=(CPU, DEVICE, DEVICE), design="kvm_ept"),
    case("ipi_send_more", {"cpu.ipi_send": 4}, THERE, read(agent=1), INSIDE[1:], compute(1, 2), compute(1, 3), latencies={"notice": 2},
         roles=(CPU, DEVICE, DEVICE, DEVICE), design="kvm_ept"),
    case("request", {}, THERE, read(agent=1), sync(), advise(op.DONTNEED, page=PAGE + 1), sync(), compute(1, 1), **KVM),  # no spte is there
    case("zap", {"cpu.invalidate": 2}, THERE, advise(op.DONTNEED), compute(1, 1), latencies={"notice": 1}, **KVM),
    case("zap_spte", {"cpu.invalidate": 2}, THERE, read(agent=1), read(PAGE + 1, 1), sync(),
         advise(op.DONTNEED, 8), latencies={"notice": 2},
         **KVM),
    case("zap_spte", {"cpu.invalidate": 1}, big(), write(HUGE_PAGE), sync(), read(HUGE_PAGE, 1), sync(),
         advise(op.DONTNEED, 512, HUGE_PAGE),
         **KVM, **THP),
    case("zap_spte", {}, THERE, read(agent=1), sync(), advise(op.DONTNEED, page=PAGE + 1), **KVM),
]
