"""The sections that every machine has, whatever its design: clock, engine, CPUs, memory, kernel.

The defaults are those of the machine of 2008; presets/parts/primary-2008.toml names the source of each.
"""

from typing import ClassVar, Literal, Self

from pydantic import model_validator

from hwmodel.config.errors import SettingError
from hwmodel.config.section import (
    Cycles,
    Nanoseconds,
    Section,
    Sum,
    associativity,
    cost_cycles,
    cost_ns,
    optional_size,
    power_of_two,
    setting,
    size,
)


class Clock(Section):
    """The one clock of a machine, in which all times are counted."""

    mhz: int = setting(2270, "MHz", "frequency that turns ns into cycles", "M", ge=1, le=100_000)


class Engine(Section):
    """The engine that runs the trace."""

    lookahead_records: int = setting(
        65536, "records", "how far agents that nothing synchronises may drift apart in the trace", "E",
        ge=4, le=1 << 30, low=4096, high=1 << 20,
    )  # fmt: skip

    @model_validator(mode="after")
    def _halves(self) -> Self:
        power_of_two("lookahead_records", self.lookahead_records)  # blocks are cut by a shift
        return self


class Itlb(Section):
    """The first-level TLB of instructions: 4 KiB entries and, separately, 2 MiB entries."""

    entries: int = size(128, "entries", "entries for 4 KiB pages", "S")
    ways: int = associativity(4, "S")
    huge_entries: int = size(7, "entries", "entries for 2 MiB pages", "S")
    huge_ways: int = associativity(7, "M")


class Dtlb(Section):
    """The first-level TLB of data: 4 KiB entries and, separately, 2 MiB entries."""

    entries: int = size(64, "entries", "entries for 4 KiB pages", "S")
    ways: int = associativity(4, "S")
    huge_entries: int = size(32, "entries", "entries for 2 MiB pages", "S")
    huge_ways: int = associativity(4, "S")


class Stlb(Section):
    """The second-level TLB, shared by instructions and data."""

    entries: int = size(512, "entries", "entries", "S")
    ways: int = associativity(4, "S")
    huge: bool = setting(False, "bool", "whether it holds 2 MiB entries too", "S")
    hit_cycles: Cycles = cost_cycles(7, "stlb_hit", "a first-level miss that hits here", "E", low=7, high=14)


class WalkCaches(Section):
    """The paging-structure caches: entries of page tables above the last level; a cache of 0 entries does not exist."""

    pde_entries: int = optional_size(32, "entries", "cached level-2 entries (2 MiB each)", "M")
    pde_ways: int = associativity(4, "M")
    pdpte_entries: int = optional_size(4, "entries", "cached level-3 entries (1 GiB each)", "M")
    pdpte_ways: int = associativity(4, "E")
    pml4e_entries: int = optional_size(2, "entries", "cached level-4 entries (512 GiB each)", "M")
    pml4e_ways: int = associativity(2, "E")


class Flush(Section):
    """The costs of a local TLB flush."""

    fixed_cycles: Cycles = cost_cycles(
        1100, "flush_fixed", "a ranged flush on the CPU that asks for it, before its pages", "V", low=500, high=1300
    )
    page_cycles: Cycles = cost_cycles(
        230, "flush_page", "each page of a ranged flush (INVLPG)", "V", low=100, high=300
    )
    full_cycles: Cycles = cost_cycles(
        2283, "flush_full", "a flush of the whole address space, refills not counted", "V", low=300, high=2500
    )


class Cpu(Section):
    """The CPUs and their translation hardware; each CPU has its own TLBs and walk caches."""

    count: int = setting(4, "count", "CPUs; more if the trace has more CPU agents", "E", ge=1, le=1024)
    per_socket: int = setting(
        8, "count", "CPUs of a socket: interrupts to another one take longer", "M", ge=1, le=1024
    )
    instruction_cycles: Cycles = cost_cycles(1, "instruction", "an instruction", "E", low=1, high=4)
    access_cycles: Cycles = cost_cycles(
        4, "access", "a data access that hits the first-level TLB", "S", low=1, high=5
    )
    assist_cycles: Cycles = cost_cycles(
        150, "assist", "a write that first sets the dirty bit of its pte", "E", low=30, high=500
    )
    exception_cycles: Cycles = cost_cycles(
        800, "exception", "page-fault exception and return, hardware part", "M", low=600, high=1100
    )
    itlb: Itlb = Itlb()
    dtlb: Dtlb = Dtlb()
    stlb: Stlb = Stlb()
    pwc: WalkCaches = WalkCaches()
    flush: Flush = Flush()


# Page walks share the caches with the program, whose own lines are not modelled: the size of a level
# is therefore the number of page-table lines that it can keep.


class L1(Section):
    """The first-level data cache, as page walks see it."""

    lines: int = size(64, "lines", "lines of page tables it can hold beside data", "E")
    ways: int = associativity(8, "M")
    hit_cycles: Cycles = cost_cycles(4, "l1", "a reference that hits", "S", low=4, high=5)


class L2(Section):
    """The second-level cache, as page walks see it."""

    lines: int = size(512, "lines", "lines of page tables it can hold beside data", "E")
    ways: int = associativity(8, "M")
    hit_cycles: Cycles = cost_cycles(10, "l2", "a reference that hits", "S", low=8, high=16)


class Llc(Section):
    """The last-level cache, one for the machine, as page walks see it."""

    lines: int = size(8192, "lines", "lines of page tables it can hold beside data", "E")
    ways: int = associativity(16, "E")
    hit_cycles: Cycles = cost_cycles(40, "llc", "a reference that hits", "S", low=38, high=220)


class Memory(Section):
    """Memory and the caches in front of it."""

    size_mib: int = setting(16384, "MiB", "physical memory", "E", ge=1, le=1 << 24)
    dram_ns: Nanoseconds = cost_ns(
        100, "dram", "a reference that misses all caches, local memory", "M", low=65, high=130
    )
    l1: L1 = L1()
    l2: L2 = L2()
    llc: Llc = Llc()


class Shootdown(Section):
    """The way of a TLB flush to other CPUs.

    A first target on the socket adds send + delivery + respond + ack to the initiator's time, less cpu.flush.fixed_cycles, by which
    the target's flush is shorter than the initiator's: the two flush at the same time.
    """

    kind: Literal["ipi", "bau"] = setting("ipi", "kind", "interrupts, or the broadcast unit of SGI UV", "E")
    send_ns: Nanoseconds = cost_ns(
        110, "ipi_send", "sending the first interrupt of a round", "E", low=50, high=200
    )
    send_more_ns: Nanoseconds = cost_ns(
        110, "ipi_send_more", "sending each further interrupt of a round", "E", low=50, high=200
    )
    delivery_ns: Nanoseconds = cost_ns(
        855, "ipi_delivery", "from sending to the handler, same socket", "E", low=200, high=1450
    )
    far_ns: Nanoseconds = cost_ns(800, "ipi_far", "more for a handler on another socket", "E", low=300, high=1500)
    respond_ns: Nanoseconds = cost_ns(
        660, "ipi_respond", "interrupt, handler and return on the target, without its INVLPGs or its full flush", "E", low=300, high=1000
    )
    ack_ns: Nanoseconds = cost_ns(60, "ipi_ack", "until the sender sees the acknowledgement", "E", low=30, high=140)
    bau_send_ns: Nanoseconds = cost_ns(200, "bau_send", "posting a broadcast to the BAU", "E", low=50, high=500)
    bau_ns: Nanoseconds = cost_ns(2100, "bau", "from posting a broadcast to its handlers", "E", low=1100, high=9100)


class Kernel(Section):
    """The kernel: its rules and the costs of its work."""

    policy: Literal["linux-6"] = setting("linux-6", "policy", "whose rules faults and range operations follow", "E")
    thp: Literal["never", "madvise", "always"] = setting("never", "mode", "transparent huge pages", "M")
    fault_around_pages: int = setting(
        16, "pages", "cached pages of a file that a read fault maps, from an aligned page or the mapping's first on", "V", ge=1, le=512
    )
    gather_pages: int = setting(
        9678, "pages", "pages an unmapping gathers before it must flush and free them", "V", ge=512, le=1 << 24
    )
    flush_ceiling_pages: int = setting(
        33, "pages", "largest flush that goes page by page", "V", ge=0, le=1 << 24, low=5, high=128
    )
    lazy_cpus: int = setting(
        0, "count", "CPUs without an agent that still have the first address space loaded, lazily", "E", ge=0, le=1024
    )
    stack_limit_mib: int = setting(
        8, "MiB", "largest size that a stack grows to (RLIMIT_STACK)", "V", ge=1, le=1 << 20
    )
    stack_guard_pages: int = setting(
        256, "pages", "pages that a stack which grows leaves free above an accessible mapping", "V", ge=0, le=1 << 20
    )
    syscall_ns: Nanoseconds = cost_ns(
        88, "syscall", "entry to and exit from a system call", "M", low=60, high=300
    )
    fault_ns: Nanoseconds = cost_ns(
        250, "fault", "handling a page fault, without exception, zeroing and copying", "E", low=100, high=400
    )
    zero_page_ns: Nanoseconds = cost_ns(
        400, "zero_page", "allocating and zeroing a 4 KiB page", "E", low=100, high=800
    )
    zero_huge_ns: Nanoseconds = cost_ns(
        250_000, "zero_huge", "allocating and zeroing a 2 MiB page", "E", low=80_000, high=465_000
    )
    copy_page_ns: Nanoseconds = cost_ns(
        800, "copy_page", "allocating a 4 KiB page and copying into it", "E", low=300, high=1500
    )
    copy_huge_ns: Nanoseconds = cost_ns(
        400_000, "copy_huge", "allocating a 2 MiB page and copying into it", "E", low=130_000, high=800_000
    )
    cache_page_ns: Nanoseconds = cost_ns(
        800, "cache_page", "bringing a page into the page cache from memory", "E", low=300, high=2000
    )
    map_page_ns: Nanoseconds = cost_ns(40, "map_page", "mapping one more page in a fault-around", "E", low=15, high=100)
    table_ns: Nanoseconds = cost_ns(300, "table", "allocating or freeing a page table", "E", low=100, high=600)
    vma_ns: Nanoseconds = cost_ns(300, "vma", "inserting, cutting or removing a VMA", "E", low=100, high=800)
    clear_ns: Nanoseconds = cost_ns(25, "clear", "clearing or changing a pte", "E", low=5, high=60)
    table_scan_ns: Nanoseconds = cost_ns(
        100, "table_scan", "passing over a level-1 table in a range operation", "E", low=30, high=600
    )
    free_ns: Nanoseconds = cost_ns(50, "free", "freeing a gathered page", "E", low=20, high=150)
    fork_ns: Nanoseconds = cost_ns(50_000, "fork", "a fork, without its VMAs and ptes", "E", low=20_000, high=100_000)
    fork_pte_ns: Nanoseconds = cost_ns(10, "fork_pte", "copying a pte in a fork", "E", low=5, high=30)
    gup_ns: Nanoseconds = cost_ns(
        200, "gup", "get_user_pages on the slow path, a page, without its fault", "E", low=60, high=400
    )
    gup_fast_ns: Nanoseconds = cost_ns(
        66, "gup_fast", "get_user_pages on the lockless path, a page", "M", low=20, high=100
    )
    notice_ns: Nanoseconds = cost_ns(
        13, "notice", "calling the notifiers of a range, once, without what they do", "E", low=11, high=110
    )
    wakeup_ns: Nanoseconds = cost_ns(3000, "wakeup", "from waking a sleeper until it runs", "E", low=1000, high=5000)
    shootdown: Shootdown = Shootdown()

    @model_validator(mode="after")
    def _window(self) -> Self:
        power_of_two("fault_around_pages", self.fault_around_pages)  # the window is aligned to its size
        return self


class Common(Section):
    """The sections that every machine has.

    Attributes
    ----------
    clock, engine, cpu, memory, kernel : Section
        See the sections.
    """

    SUMS: ClassVar[tuple[Sum, ...]] = (
        Sum(
            "a first target on the socket, added to a flush",
            parts=tuple(f"kernel.shootdown.{part}_ns" for part in ("send", "delivery", "respond", "ack")),
            less=("cpu.flush.fixed_cycles",),
            low=500, high=2000,
            source="Amit, May 2019 (20190525082203.6531-1-namit@vmware.com): 562 ns concurrently, 775 in turn, on Haswell; "
            "0.5 to 2 us for other machines",
        ),
    )  # fmt: skip
    """Sums of these costs that are better known than the costs; see `DesignSpec.SUMS`."""
    clock: Clock = Clock()
    engine: Engine = Engine()
    cpu: Cpu = Cpu()
    memory: Memory = Memory()
    kernel: Kernel = Kernel()

    @model_validator(mode="after")
    def _lazy(self) -> Self:
        lazy, count = self.kernel.lazy_cpus, self.cpu.count
        if lazy > count:
            raise SettingError("kernel.lazy_cpus", f"{lazy} are more than cpu.count ({count})")
        return self
