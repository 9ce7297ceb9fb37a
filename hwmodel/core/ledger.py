"""The measurements: cycle accounts, counters with their definitions, latency kinds; and how a kernel books them.

Accounts partition an agent's time: their sum is its clock, always. Every counter has a written definition, here and nowhere else.
"""

from hwmodel.jit import part

ACCOUNTS = {
    "instruction": "instructions: gaps, COMPUTE records, fetches",
    "access": "data accesses that hit the first-level TLB; for a device: issue of its accesses",
    "stlb": "refills of a first-level TLB from the second level",
    "walk": "page-table walks by hardware, dirty assists included",
    "fault": "page-fault exceptions and their handling, zeroing and copying included",
    "syscall": "entry to and exit from system calls",
    "vma": "inserting, cutting, merging and removing VMAs",
    "clear": "clearing, changing or moving ptes in a range operation",
    "free": "freeing pages and page tables",
    "flush": "local TLB flushes",
    "fork": "copying an address space",
    "notify": "calling mmu notifiers",
    "invalidate": "the callbacks of mmu notifiers: TGH operations, zapping sptes",
    "ipi_send": "sending inter-processor interrupts, with the requests to vCPUs that come before them",
    "ipi_wait": "waiting for their acknowledgement",
    "ipi_respond": "answering TLB-flush interrupts of other CPUs",
    "kick": "a vCPU forced out of its guest by a remote TLB flush, until it is back",
    "irq": "entry to and exit from GRU interrupts",
    "driver": "the GRU driver resolving misses",
    "gup": "get_user_pages, without the faults in it",
    "exit": "VM exits of EPT violations, the hardware's part",
    "violation": "the handling of EPT violations by software, without get_user_pages and the spte",
    "map": "installing sptes",
    "entry": "VM entries, with the flush of the guest's translations that was asked for",
    "lock_wait": "waiting for a lock",
    "order_wait": "waiting for the program order of the trace",
    "gate_wait": "waiting at the lookahead gate",
    "stall_trap": "engine stalled, its oldest miss on the way to or from the CPU",
    "stall_driver": "engine stalled, its oldest miss in the driver",
    "stall_gup": "engine stalled, its oldest miss in a page fault",
    "stall_window": "engine stalled, its oldest miss waiting for an invalidation window to end",
    "idle": "before its first and after its last record",
}

COUNTERS = {
    "cpu.accesses": "data accesses and fetches of CPU agents; one that crosses a page counts once",
    "cpu.itlb.hits": "fetches that found their translation in the first-level instruction TLB at the first look-up",
    "cpu.itlb.misses": "fetches that did not; retries after a refill or a fault are not counted again",
    "cpu.dtlb.hits": "data accesses that found their translation in the first-level data TLB at the first look-up",
    "cpu.dtlb.misses": "data accesses that did not; a crossing access misses at most once",
    "cpu.stlb.hits": "first-level misses that hit the second level",
    "cpu.stlb.misses": "first-level misses that missed it",
    "cpu.walks": "page-table walks, those that end in a fault included",
    "cpu.walk_refs": "page-table entries read by walks",
    "cpu.dirty_assists": "writes through an entry that may not write without asking: dirty bit to set, or a fault",
    "segv": "accesses without a right, not retried",
    "faults.zero": "faults that mapped the zero page",
    "faults.anon": "faults that mapped a fresh zeroed page",
    "faults.file": "faults that mapped a page of the page cache",
    "faults.file_cow": "write faults on a private file mapping that copied at first touch",
    "faults.reuse": "write faults that only made the pte writable",
    "faults.cow": "write faults that replaced a page (copy on write, zero page included)",
    "faults.huge": "faults that mapped a huge page",
    "faults.spurious": "faults that found the page mapped, or the pte changed under them",
    "huge_splits": "huge leaves split into tables",
    "flushes.full": "TLB flushes of a whole address space",
    "flushes.ranged": "TLB flushes page by page",
    "flushes.pages": "pages flushed by ranged flushes",
    "ipis.sent": "interrupts sent for TLB flushes and kicks",
    "ipis.acked": "interrupts answered",
    "notices.start": "invalidate_range_start notices sent",
    "notices.end": "invalidate_range_end notices sent",
    "notices.release": "release notices sent",
    "ops.mmap": "mmap operations completed",
    "ops.brk": "brk operations completed",
    "ops.munmap": "munmap operations completed",
    "ops.mprotect": "mprotect operations completed",
    "ops.madvise": "madvise operations completed",
    "ops.mremap": "mremap operations completed",
    "ops.fork": "forks completed",
    "ops.exit": "address spaces torn down",
    "ops.sync": "sync records passed",
    "ops.syscall": "system calls that change no mapping",
    "unsupported_ops": "operations that failed or that the chosen kernel lacks",
    "device.accesses": "accesses of device agents",
    "device.tlb.hits": "device accesses that hit the first-level TLB at the first look-up",
    "device.tlb.misses": "device accesses that did not",
    "device.stlb.hits": "first-level misses of a vCPU that hit its second level",
    "device.stlb.misses": "first-level misses of a vCPU that missed it",
    "device.walks": "two-dimensional walks, those that end in a violation included",
    "device.walk_refs": "guest and nested entries read by them",
    "device.dirty_assists": "writes of a vCPU to a page in its first-level TLB that first set the dirty bit of the guest's page table",
    "gru.mod_misses": "GRU misses because the entry may not write (TLB_MOD)",
    "gru.intr": "GRU interrupt handler runs",
    "gru.intr_tfh": "TLB faults served by them",
    "gru.intr_mm_lock_failed": "of these, those that found the mmap lock taken, or an update of their context owed",
    "gru.fail_range_active": "drop-ins refused because an invalidation window was open",
    "gru.fail_upm": "interrupt-level look-ups that needed get_user_pages or a context update",
    "gru.upm_switches": "faults switched from interrupt to user polling",
    "gru.call_os": "faults resolved by the user's ioctl",
    "gru.call_os_wait_queue": "drop-ins of such an ioctl that found a window open though it had waited for all to end",
    "gru.window_sleeps": "times such an ioctl slept for a window to end",
    "gru.dropins": "entries dropped in by the driver",
    "gru.kills": "drop-ins cancelled by the kill bit",
    "gru.replays": "restarted instructions that missed again",
    "gru.tgh": "TGH invalidate operations",
    "kvm.exits": "EPT violations",
    "kvm.retries": "violations retried because of an invalidation",
    "kvm.sptes": "sptes installed",
    "kvm.zapped": "sptes zapped by notices, release included",
    "kvm.kicks": "remote flushes that had to kick a running vCPU",
}

LATENCIES = {
    "cpu_fault": "page faults of CPU agents, exception excluded",
    "fault": "resolution of a secondary miss that needed software, first miss to the access, retries included",
    "fault.fmm": "of these, GRU faults resolved in the interrupt handler",
    "fault.upm": "of these, GRU faults that went through the user's ioctl",
    "fault.violation": "of these, EPT violations",
    "notice": "invalidate_range_start, call to return",
    "shootdown": "TLB flushes with remote targets, decision to last acknowledgement",
    "op.mmap": "mmap, entry to exit",
    "op.brk": "brk, entry to exit",
    "op.munmap": "munmap, entry to exit",
    "op.mprotect": "mprotect, entry to exit",
    "op.madvise": "madvise, entry to exit",
    "op.mremap": "mremap, entry to exit",
    "op.fork": "fork, entry to exit",
    "op.exit": "exit, entry to exit",
}

_ACCOUNT = {name: i for i, name in enumerate(ACCOUNTS)}
_COUNTER = {name: i for i, name in enumerate(COUNTERS)}
_LATENCY = {name: i for i, name in enumerate(LATENCIES)}


def account(name: str) -> int:
    """Return the ledger's column of an account."""
    return _ACCOUNT[name]


def counter(name: str) -> int:
    """Return the column of a counter."""
    return _COUNTER[name]


def latency(name: str) -> int:
    """Return the row of a latency histogram."""
    return _LATENCY[name]


LINEAR = 64
"""Histogram values below this have a bucket each; above, 32 buckets for each power of two."""
HEAD = 4
"""Columns of a histogram before its buckets: count, sum, min, max."""
BUCKETS = LINEAR + (62 - 6 + 1) * 32


@part
def bucket_of(value):
    """Return the bucket of a latency."""
    if value < LINEAR:
        return value
    e = 5
    rest = value >> 6
    while rest > 0:
        rest >>= 1
        e += 1
    return LINEAR + (e - 6) * 32 + (value >> (e - 5)) - 32


@part
def record(hists, kind, value):
    """Add one latency to a histogram."""
    row = hists[kind]
    row[2] = value if row[0] == 0 else min(row[2], value)
    row[3] = max(row[3], value)
    row[0] += 1
    row[1] += value
    row[HEAD + bucket_of(value)] += 1
