"""Costs of operations and of the flushes that they need, each booked as often as docs/model.md says (8, 9)."""

from hwmodel import op
from tests.model.books import case
from tests.model.cpu_costs import FORKED, GRU, KVM, THERE, big
from tests.model.hand import (
    CPU,
    DEVICE,
    HUGE_PAGE,
    HUGETLB,
    NO,
    PAGE,
    RW,
    SHARED_FILE,
    THP,
    R,
    X,
    advise,
    compute,
    fork,
    leave,
    memory,
    protect,
    read,
    remap,
    sync,
    unmap,
    write,
)  # fmt: skip

TWO, FOUR = dict(roles=(CPU, CPU)), dict(roles=(CPU, CPU, CPU, CPU))
FAR = PAGE + (1 << 18)
"""A page that has no table of level 2 or 1 in common with PAGE."""


def brk(pages, agent=0):
    """The break at so many pages from PAGE + 1000 on."""
    return (PAGE + 1000 + pages) << 12, 0, 0, op.BRK, agent


def busy(*agents):
    """CPUs that are not done, and so not lazy, when the others' operations come: they wait for a sync behind them."""
    return [sync(), *(compute(1, agent) for agent in agents)]


def touched(*pages, page=PAGE):
    """Writes to some of the pages from `page` on."""
    return [write(page + k) for k in pages]


MAPPING = [
    case("syscall", {"cpu.syscall": 1}, [], memory(), latencies={"op.mmap": 1}),
    case("syscall", {"cpu.syscall": 1}, THERE, unmap(8), latencies={"op.munmap": 1}),
    case("syscall", {"cpu.syscall": 3}, [], brk(0), brk(4), brk(1), latencies={"op.brk": 3}),
    case("syscall", {"cpu.syscall": 1}, THERE, protect(R), latencies={"op.mprotect": 1}),
    case("syscall", {"cpu.syscall": 2}, THERE, advise(op.COLD), advise(op.HUGEPAGE), latencies={"op.madvise": 2}),
    case("syscall", {"cpu.syscall": 1}, THERE, remap(PAGE + 100), latencies={"op.mremap": 1}),
    case("syscall", {"cpu.syscall": 2}, THERE, fork(), leave(), latencies={"op.fork": 1, "op.exit": 1}, **FORKED),
    case("syscall", {"cpu.syscall": 1}, THERE, unmap(page=PAGE + 500), latencies={"op.munmap": 1}),  # nothing is there
    case("syscall", {"cpu.syscall": 3}, [], (0, 3, 0, op.SYSCALL, 0)),
    case("syscall", {}, [], sync()),
    case("syscall", {"cpu.driver": 1, "device.stall_driver": 1}, memory(), write(agent=1), latencies={"fault.upm": 1}, **GRU),
    case("vma", {"cpu.vma": 1}, [], memory(), latencies={"op.mmap": 1}),
    case("vma", {"cpu.vma": 2}, memory(), memory(4)),  # the old one is cut
    case("vma", {"cpu.vma": 1}, memory(), unmap(2, PAGE + 3), latencies={"op.munmap": 1}),  # one is cut, into three
    case("vma", {"cpu.vma": 2}, [*memory(), *memory(page=PAGE + 8, prot=R)], unmap(16)),
    case("vma", {"cpu.vma": 3}, [*memory(), *memory(page=PAGE + 8, prot=R)], memory(16)),
    case("vma", {"cpu.vma": 2}, [], brk(0), brk(4), brk(1), latencies={"op.brk": 2}),  # grown, and cut; the first sets it
    case("vma", {"cpu.vma": 1}, memory(), protect(R, 2, PAGE + 3), latencies={"op.mprotect": 1}),
    case("vma", {"cpu.vma": 2}, [*memory(), *memory(page=PAGE + 8, prot=5)], protect(R, 16)),
    case("vma", {}, memory(), protect(RW)),
    case("vma", {"cpu.vma": 1}, memory(), advise(op.HUGEPAGE), advise(op.HUGEPAGE), latencies={"op.madvise": 1}),
    case("vma", {}, memory(), advise(op.DONTNEED), advise(op.FREE), advise(op.COLD)),
    case("vma", {"cpu.vma": 2}, memory(), remap(PAGE + 100, 8), latencies={"op.mremap": 2}),  # a new one, and the old one goes
    case("vma", {"cpu.vma": 3}, [*memory(), *memory(page=PAGE + 100)], remap(PAGE + 100, 8)),
    case("vma", {"cpu.vma": 1}, memory(), remap(PAGE, 8, size=10)),
    case("vma", {"cpu.vma": 1}, memory(), remap(PAGE, 8, size=3)),
    case("vma", {"cpu.vma": 2}, [*memory(), *memory(page=FAR)], fork(), latencies={"op.fork": 2}, **FORKED),
    case("vma", {"cpu.vma": 2}, [*memory(), *memory(page=FAR)], leave(), latencies={"op.exit": 2}),
]

PAGES = [
    case("clear", {"cpu.clear": 3}, memory(), touched(0, 2), read(PAGE + 4), unmap(8), latencies={"op.munmap": 3}),
    case("clear", {"cpu.clear": 3}, memory(), touched(0, 2), read(PAGE + 4), advise(op.DONTNEED, 8), latencies={"op.madvise": 3}),
    case("clear", {"cpu.clear": 2}, memory(), touched(0, 2), read(PAGE + 4), advise(op.FREE, 8)),  # but for the zero page
    case("clear", {"cpu.clear": 2}, memory(), touched(0, 2), read(PAGE + 4), advise(op.COLD, 8)),
    case("clear", {"cpu.clear": 3}, memory(), touched(0, 2), read(PAGE + 4), protect(R, 8), latencies={"op.mprotect": 3}),
    case("clear", {"cpu.clear": 3}, memory(), touched(0, 2), read(PAGE + 4), remap(PAGE + 100, 8), latencies={"op.mremap": 3}),
    case("clear", {"cpu.clear": 3}, memory(), touched(0, 2), read(PAGE + 4), leave(), latencies={"op.exit": 3}),
    case("clear", {"cpu.clear": 1}, big(), write(HUGE_PAGE), unmap(512, HUGE_PAGE), **THP),
    case("clear", {"cpu.clear": 1}, big(), write(HUGE_PAGE), protect(R, 512, HUGE_PAGE), **THP),
    case("clear", {"cpu.clear": 1}, big(), write(HUGE_PAGE), remap(HUGE_PAGE + 1024, 512, HUGE_PAGE), **THP),
    case("clear", {"cpu.clear": 1}, big(), touched(0, 1, page=HUGE_PAGE), remap(HUGE_PAGE + 1024, 512, HUGE_PAGE)),  # its table
    case("clear", {"cpu.clear": 9}, big(), write(HUGE_PAGE), advise(op.DONTNEED, 9, HUGE_PAGE), **THP),
    case("clear", {}, memory(), touched(0), fork(), **FORKED),
    case("table_scan", {"cpu.clear": 1}, memory(), touched(0, 2), unmap(8), latencies={"op.munmap": 1}),
    case("table_scan", {"cpu.clear": 2}, memory(512 + 8), touched(0, 512), advise(op.DONTNEED, 520)),
    case("table_scan", {"cpu.clear": 1}, memory(512 + 8), touched(512), protect(R, 520)),  # tables that are not there cost nothing
    case("table_scan", {"cpu.clear": 2}, memory(512 + 8), touched(0, 512), leave()),
    case("table_scan", {"cpu.fork": 2}, memory(512 + 8), touched(0, 512), fork(), **FORKED),
    case("table_scan", {"cpu.clear": 1}, big(), write(HUGE_PAGE), unmap(512, HUGE_PAGE), **THP),
    case("table_scan", {"cpu.clear": 1}, memory(), touched(0), remap(FAR, 8)),  # when what is left of the old range goes
    case("free", {"cpu.free": 2}, memory(), touched(0, 2), read(PAGE + 4), unmap(8), latencies={"op.munmap": 2}),
    case("free", {"cpu.free": 1}, big(), write(HUGE_PAGE), unmap(512, HUGE_PAGE), **THP),
    case("free", {"cpu.free": 2}, memory(), touched(0, 2), leave(), latencies={"op.exit": 2}),
    case("free", {"cpu.free": 1}, memory(mapping=SHARED_FILE), read(), advise(op.DONTNEED)),  # the page cache keeps it
    case("free", {"cpu.free": 600}, memory(600, populate=True), advise(op.DONTNEED, 600), kernel__gather_pages=512),
    case("flush_full", {"cpu.flush": 2}, memory(600, populate=True), advise(op.DONTNEED, 600), kernel__gather_pages=512),
    case("free", {}, memory(), read(), write(), advise(op.FREE), protect(NO)),
    case("table", {"cpu.fault": 3, "cpu.free": 3}, memory(), touched(0), unmap(8), latencies={"op.munmap": 3}),
    case("table", {"cpu.fault": 3}, memory(), touched(0), unmap(7)),  # a VMA is left beside it
    case("table", {"cpu.fault": 5, "cpu.free": 2}, [*memory(), *memory(page=FAR)], touched(0), write(FAR), unmap(8)),
    case("table", {"cpu.fault": 3, "cpu.free": 4}, memory(), touched(0), leave(), latencies={"op.exit": 4}),  # the root too
    case("table", {"cpu.free": 1}, memory(), leave()),
    case("table", {"cpu.fault": 3}, memory(), touched(0), advise(op.DONTNEED, 8)),
    case("table", {"cpu.fault": 2, "cpu.clear": 1}, big(), write(HUGE_PAGE), advise(op.FREE, 9, HUGE_PAGE), **THP),
    # to where a table of level 2, and for small pages one of level 1, must be made; the old ones go
    case("table", {"cpu.fault": 2, "cpu.clear": 1, "cpu.free": 1}, big(), write(HUGE_PAGE),
         remap(HUGE_PAGE + (1 << 18), 512, HUGE_PAGE), **THP),
    case("table", {"cpu.fault": 3, "cpu.clear": 2, "cpu.free": 2}, memory(), touched(0), remap(FAR, 8)),
    case("table", {"cpu.fault": 3, "cpu.fork": 3}, memory(), touched(0, 1), fork(), latencies={"op.fork": 3}, **FORKED),
    case("fork", {"cpu.fork": 1}, memory(), touched(0), fork(), latencies={"op.fork": 1}, **FORKED),
    case("fork_pte", {"cpu.fork": 3}, memory(), touched(0, 2), read(PAGE + 4), fork(), latencies={"op.fork": 3}, **FORKED),
    case("fork_pte", {"cpu.fork": 1}, memory(), touched(0), protect(NO), fork(), **FORKED),
    case("fork_pte", {"cpu.fork": 1}, big(mapping=HUGETLB), write(HUGE_PAGE), fork(), **FORKED),
    case("fork_pte", {}, memory(mapping=SHARED_FILE), touched(0), fork(), **FORKED),
    case("fork_pte", {}, memory(), read(), fork(), **FORKED),  # nothing anonymous is there
]

FLUSHES = [
    case("flush_fixed", {"cpu.flush": 1}, memory(), touched(0, 2), advise(op.DONTNEED, 8), latencies={"op.madvise": 1}),
    case("flush_page", {"cpu.flush": 3}, memory(), touched(1, 3), advise(op.DONTNEED, 8)),  # from the first to the last
    case("flush_page", {"cpu.flush": 1}, memory(), read(), write()),
    case("flush_page", {"cpu.flush": 3}, memory(), touched(1, 3), protect(R, 8)),
    case("flush_page", {"cpu.flush": 3}, memory(), touched(1, 3), advise(op.COLD, 8)),
    case("flush_page", {"cpu.flush": 3}, memory(), touched(1, 3), advise(op.FREE, 8)),
    case("flush_page", {"cpu.flush": 8}, memory(), touched(1, 3), remap(PAGE + 100, 8), unmap(8, PAGE + 50)),  # all of the extent
    case("flush_page", {"cpu.flush": 1}, big(), write(HUGE_PAGE), advise(op.DONTNEED, 512, HUGE_PAGE), **THP),  # by huge pages
    case("flush_page", {"cpu.flush": 1}, big(), write(HUGE_PAGE), protect(R, 512, HUGE_PAGE), **THP),
    case("flush_page", {"cpu.flush": 33}, memory(64), touched(0, 32), advise(op.DONTNEED, 64), kernel__flush_ceiling_pages=33),
    case("flush_full", {}, memory(64), touched(0, 32), advise(op.DONTNEED, 64), kernel__flush_ceiling_pages=33),
    case("flush_full", {"cpu.flush": 1}, memory(64), touched(0, 33), advise(op.DONTNEED, 64), kernel__flush_ceiling_pages=33),
    case("flush_page", {}, memory(64), touched(0, 33), advise(op.DONTNEED, 64), kernel__flush_ceiling_pages=33),
    case("flush_full", {"cpu.flush": 1}, memory(), touched(0), fork(), latencies={"op.fork": 1}, **FORKED),
    case("flush_full", {"cpu.flush": 1}, big(), write(HUGE_PAGE), fork(), **FORKED, **THP),
    case("flush_fixed", {}, memory(), touched(0), leave()),
    case("flush_fixed", {}, memory(), read(PAGE + 1), unmap(), protect(RW)),  # nothing has changed
    # a read-only page that becomes one without rights: it was present, and is no more
    case("flush_page", {"cpu.flush": 2}, memory(), touched(0), protect(R, 8), protect(NO, 8)),
    case("flush_page", {"cpu.flush": 1}, memory(prot=R), read(), protect(NO, 8)),
    case("flush_page", {"cpu.flush": 1}, memory(), touched(0), protect(NO, 8), protect(RW, 8)),  # and back: none can hold it
    case("flush_page", {"cpu.flush": 1}, memory(prot=R), read(), protect(X, 8)),  # a right that is given, too
    # others: while an interrupt travels the initiator flushes its own, so that it waits for the other's flush only
    case("flush_fixed", {"cpu.flush": 1}, memory(), write(), sync(), read(agent=1), busy(), advise(op.DONTNEED),  # the initiator's alone
         compute(1, 1), latencies={"shootdown": 1}, **TWO),
    case("flush_full", {"cpu.ipi_respond": 1, "cpu.flush": 1}, memory(), write(), unmap(8), cpu__count=2, kernel__lazy_cpus=1),
]

_ALL = [memory(), write(), sync(), *(read(agent=k) for k in (1, 2, 3)), *busy(), advise(op.DONTNEED), *(compute(1, k) for k in (1, 2, 3))]


def round_of(cost, books, **settings):
    """CPU 0 flushes a page that three other CPUs may hold; all are on one socket if settings do not say otherwise."""
    return case(cost, books, *_ALL, latencies={"shootdown": sum(n for n in books.values() if isinstance(n, int))}, **FOUR, **settings)


INTERRUPTS = [
    round_of("ipi_send", {"cpu.ipi_send": 1}),
    round_of("ipi_send_more", {"cpu.ipi_send": 2}),
    round_of("ipi_delivery", {"cpu.ipi_wait": 1}),
    round_of("ipi_far", {}),
    round_of("ipi_far", {"cpu.ipi_wait": 1}, cpu__per_socket=2),
    round_of("ipi_far", {"cpu.ipi_wait": 1}, cpu__per_socket=1),
    round_of("ipi_ack", {"cpu.ipi_wait": 1}),
    case("ipi_respond", {"cpu.ipi_respond": 3, "cpu.ipi_wait": 1}, *_ALL, latencies={"shootdown": 1}, **FOUR),
    round_of("bau_send", {"cpu.ipi_send": 1}, kernel__shootdown__kind="bau"),
    round_of("bau", {"cpu.ipi_wait": 1}, kernel__shootdown__kind="bau"),
    round_of("bau", {"cpu.ipi_wait": 1}, kernel__shootdown__kind="bau", cpu__per_socket=1),
    round_of("ipi_send", {}, kernel__shootdown__kind="bau"),
    round_of("ipi_delivery", {}, kernel__shootdown__kind="bau"),
]

SUBSCRIBED = dict(roles=(CPU, DEVICE), design="gru")
NOTICES = [
    case("notice", {"cpu.notify": 2}, THERE, advise(op.DONTNEED), compute(1, 1), latencies={"notice": 1}, **SUBSCRIBED),
    case("notice", {}, THERE, advise(op.DONTNEED)),
    case("notice", {"cpu.notify": 2}, THERE, unmap(8), compute(1, 1), **SUBSCRIBED),
    case("notice", {"cpu.notify": 2}, THERE, protect(R, 8), compute(1, 1), **SUBSCRIBED),
    case("notice", {"cpu.notify": 2}, THERE, advise(op.FREE), advise(op.COLD), compute(1, 1), **SUBSCRIBED),
    case("notice", {"cpu.notify": 4}, THERE, remap(PAGE + 100, 8), compute(1, 1), **SUBSCRIBED),  # the move, then the old range
    case("notice", {"cpu.notify": 2}, memory(), read(), write(), compute(1, 1), **SUBSCRIBED),  # copy on write
    case("notice", {"cpu.notify": 1}, THERE, compute(1, 1), leave(), latencies={"op.exit": 1, "notice": 0}, **SUBSCRIBED),
    case("notice", {"cpu.notify": 2}, THERE, fork(), compute(1, 2), roles=(CPU, (CPU, 1), DEVICE), design="gru"),
    case("notice", {"cpu.notify": 4}, big(), write(HUGE_PAGE), unmap(9, HUGE_PAGE), compute(1, 1), **SUBSCRIBED, **THP),  # a split
    case("notice", {"cpu.notify": 2}, THERE, advise(op.DONTNEED), compute(1, 1), **KVM),
]
