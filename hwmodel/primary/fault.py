"""Page faults in any row: FAULT chooses and takes memory, COMMIT installs, COW goes through a notice and a flush (docs/model.md section 6).

Linux 6.12 mm/memory.c handle_mm_fault, do_anonymous_page, do_wp_page, do_fault_around; mm/huge_memory.c.
"""

from hwmodel.core import clock, locks, log
from hwmodel.core.ledger import KERNEL, SERVICE, account, counter, latency, record
from hwmodel.core.queue import complete_access
from hwmodel.core.tables import (
    ALLOC,
    AWAY,
    COMMIT,
    COW_DONE,
    COW_END,
    COW_SET,
    CPU,
    FAULT,
    FAULT_LOCKED,
    HUGE,
    PAGE_AWAY,
    PFN,
    READY,
    ZERO,
    A,
    D,
    P,
    W,
    table,
)
from hwmodel.jit import part, routine
from hwmodel.op import HUGETLB, PROT_WRITE
from hwmodel.parts import radix
from hwmodel.primary import away, frames, hand, memory, notify, shootdown, split, vmas
from hwmodel.primary.kinds import (
    ANON,
    COW,
    FILE_COW,
    HUGE_ANON,
    HUGE_REUSE,
    HUGE_ZERO_COW,
    HUGE_ZEROED,
    REUSE,
    ZEROED,
    fills,
    is_copy,
    kind_of,
    page_of,
    right_of,
    takes_block,
    work_of,
)

OK, SEGV = 0, 1
FAULTING = account("fault", KERNEL, "page-fault exceptions and their handling, zeroing and copying included")
GUPS = account("gup", SERVICE, "get_user_pages, without the faults in it")
COUNT_ZERO = counter("faults.zero", "faults that mapped the zero page")
COUNT_ANON = counter("faults.anon", "faults that mapped a fresh zeroed page")
COUNT_FILE = counter("faults.file", "faults that mapped a page of the page cache")
COUNT_FILE_COW = counter("faults.file_cow", "write faults on a private file mapping that copied at first touch")
COUNT_REUSE = counter("faults.reuse", "write faults that only made the pte writable")
COUNT_COW = counter("faults.cow", "write faults that replaced a page (copy on write, zero page included)")
COUNT_HUGE = counter("faults.huge", "faults that mapped a huge page")
COUNT_FALLBACK = counter("faults.fallback", "faults that took a page, as no block was there for a huge page")
COUNT_SPURIOUS = counter("faults.spurious", "faults that found the page mapped, or the pte changed under them")
COUNT_SEGV = counter("segv", "accesses without a right, not retried")
CPU_FAULT = latency("cpu_fault", "page faults of CPU agents, exception excluded")
FAULTED = table(
    "vpn", "write", "execute", "held", "then", "bad", "since", "locked", "kind", "pte", "split", "small", "page", "cached", "tables", "old"
)  # fmt: skip
"""A row's fault: the page and right it needs; whether its caller holds the mmap lock; the phases that follow, without a right `bad`; its
beginning, whether it took the mmap lock; its kind and the pte that FAULT saw; whether a split was just done; whether no block was there for
a huge page; the memory in its hand; the leaf that a copy replaced. In its hand are a page, as a leaf without rights, a page for the page
cache, likewise (0: none), and a number of page tables."""


@part
def call(m, r, vpn, write, execute, held, then, bad):
    """Let row r's next step fault on `vpn`; then the row goes on with `then`, or with `bad` if the access has no right.

    `held`: the row has the mmap lock for reading. Return False.
    """
    fault = m.faults[r]
    m.rows[r].phase, fault.then, fault.bad = FAULT, then, bad
    fault.vpn, fault.write, fault.execute, fault.held = vpn, write, execute, held
    return False


@routine
def begin(m, r):
    """FAULT: note when the fault begins, take the mmap lock if the VMA is write-locked, then choose the kind of fault."""
    m.faults[r].since, m.faults[r].locked, m.faults[r].small = clock.time(m, r), 0, 0
    again(m, r)


@routine
def again(m, r):
    """FAULT: take the mmap lock if the policy or the VMA wants it, then choose the kind of fault; after a split FAULT begins here."""
    row, fault = m.rows[r], m.faults[r]
    always = not m.policy[0].vma_locks and not fault.held
    if fault.locked == 0 and (always or is_write_locked(m, row.space, fault.vpn)):
        row.phase = FAULT_LOCKED
        if not locks.acquire(m, r, row.space, locks.READ):
            return
        fault.locked = 1
    choose(m, r)


@part
def is_write_locked(m, space, vpn):
    """Return whether an operation that changes VMAs is under way at `vpn` (vma_start_write), or anywhere if `vpn` lies in no VMA."""
    s = m.spaces[space]
    return m.locks[space].writer >= 0 and (
        s.wlock_first <= vpn < s.wlock_last or s.wlock_to <= vpn < s.wlock_to_last or vmas.find(m, space, vpn) < 0
    )


@routine
def locked(m, r):
    """FAULT_LOCKED: choose the kind of fault, woken with the lock."""
    if locks.acquire(m, r, m.rows[r].space, locks.READ):
        m.faults[r].locked = 1
        choose(m, r)


@routine
def choose(m, r):
    """Choose the kind of fault, take its memory and spend the time of its work, then go on to COMMIT. ALLOC repeats it."""
    row, fault, costs = m.rows[r], m.faults[r], m.costs[0]
    space, vpn, write = row.space, fault.vpn, fault.write
    k = vmas.find(m, space, vpn)
    if k < 0:
        k = vmas.grow(m, space, vpn)
    if k < 0 or not m.vmas[k].prot & right_of(fault):
        leave(m, r, SEGV, costs.fault)
        return
    root = m.spaces[space].root
    pte = radix.get(m, root, vpn)
    if pte & AWAY:
        away.wait(m, r, pte)
        return
    if radix.allows(pte, write):
        m.counts[row.agent, COUNT_SPURIOUS] += 1
        radix.update(m, root, vpn, pte | A | (D if write else 0))
        leave(m, r, OK, costs.fault)
        return
    v = m.vmas[k]
    kind = kind_of(m, v, space, fault, pte)
    if takes_block(kind) and v.mapping != HUGETLB and not memory.is_there(m, hand.need(m, v, root, vpn, kind), 1):
        fault.small = 1  # THP_FAULT_FALLBACK; a huge zero page is split for it (do_huge_zero_wp_pmd)
        m.counts[row.agent, COUNT_FALLBACK] += 1
        kind = kind_of(m, v, space, fault, pte)
    if kind == 0:
        split.call(m, r, vpn, FAULT, FAULTING)
        fault.split = 1
        return
    row.phase = ALLOC
    if not memory.ask(m, r, hand.need(m, v, root, vpn, kind), takes_block(kind)):
        return
    fault.kind, fault.pte, row.phase = kind, pte, COMMIT
    work = costs.fault + work_of(m, v, kind, pte, vpn)
    clock.spend(m, r, FAULTING, work + hand.take(m, v, root, fault) * costs.table)


@part
def leave(m, r, result, cycles):
    """Return from the fault in this step, which takes `cycles` more."""
    row, fault = m.rows[r], m.faults[r]
    hand.give_back(m, fault)
    if fault.locked:
        fault.locked = 0
        locks.release(m, r, row.space)
    if row.role == CPU:
        record(m.hists, CPU_FAULT, clock.time(m, r) - fault.since)
        log.note(m, log.CPU_FAULT, r, fault.since, clock.time(m, r), fault.vpn, 1, fault.write | fault.execute << 1)
    row.phase = fault.bad if result == SEGV else fault.then
    clock.spend(m, r, FAULTING, cycles)
    if result == SEGV and row.phase == READY:
        m.counts[r, COUNT_SEGV] += 1
        note_segv(m, m.queue[row.head].index)
        complete_access(m, r)


@part
def note_segv(m, index):
    """Remember the first record that had no right."""
    ctl = m.ctl[0]
    ctl.first_segv = min(ctl.first_segv, index)


@part
def count_refused(m, r):
    """Count the accesses of request r that have no right: its own and all that have joined it, but for reads where it writes."""
    row, miss = m.rows[r], m.misses[r]
    m.counts[row.agent, COUNT_SEGV] += 1 + miss.joined - miss.readers
    note_segv(m, row.index)


@part
def is_stale(m, space, fault):
    """Return whether the fault must be retried: VMA write-locked, gone or reprotected; pte, kind of fault or memory needed changed."""
    if is_write_locked(m, space, fault.vpn):
        return True
    k, kind, pte, root = vmas.find(m, space, fault.vpn), fault.kind, fault.pte, m.spaces[space].root
    if k < 0 or not m.vmas[k].prot & right_of(fault) or radix.get(m, root, fault.vpn) != pte:
        return True
    return not is_copy(kind) and (kind != kind_of(m, m.vmas[k], space, fault, pte) or hand.lacks(m, m.vmas[k], root, fault))


@routine
def commit(m, r):
    """COMMIT: install the page, unless the pte changed meanwhile; a copy on write tells the notifier first."""
    row, fault = m.rows[r], m.faults[r]
    if is_stale(m, row.space, fault):
        m.counts[row.agent, COUNT_SPURIOUS] += 1
        leave(m, r, OK, 0)
        return
    if is_copy(fault.kind):
        first, pages = cow_range(fault)
        if not notify.call(m, r, notify.START, first, first + pages, COW_SET):
            return
        cow_set(m, r)
        return
    leave(m, r, OK, install(m, r, vmas.find(m, row.space, fault.vpn)))


@part
def cow_range(fault):
    """Return the first page and the number of pages that a copy on write replaces."""
    if fault.kind == COW:
        return fault.vpn, 1
    return fault.vpn >> 9 << 9, 512


@routine
def install(m, r, k):
    """Put the page of a fault in row k's VMA, with what is in its hand; return the cycles of fault-around."""
    v = m.vmas[k]
    row, fault, kind, vpn = m.rows[r], m.faults[r], m.faults[r].kind, m.faults[r].vpn
    root, counts = m.spaces[row.space].root, m.counts[row.agent]
    writable, execute = W if v.prot & PROT_WRITE else 0, vmas.execute_bit(v)
    if fills(m, v, vpn, kind):
        frames.cache(m, v.file, page_of(v, vpn), fault.cached >> PFN)
        fault.cached = 0
    if kind == ANON or kind == FILE_COW or kind == HUGE_ANON or kind == HUGE_ZEROED:
        vmas.prepare(m, k)
    level = 2 if kind == HUGE_ANON or kind == HUGE_ZEROED or kind == HUGE_REUSE else 1
    if fault.tables and radix.leaf_level(m, root, vpn) == 2:
        if level == 1:
            radix.give_back(m, 1)
            radix.make(m, root, vpn, 1)
        fault.tables = 0
    pte, cycles = fault.pte, 0
    if kind == REUSE or kind == HUGE_REUSE:
        counts[COUNT_REUSE] += 1
        pte |= W | A | D
    elif kind == ZEROED or kind == HUGE_ZEROED:
        counts[COUNT_ZERO if kind == ZEROED else COUNT_HUGE] += 1
        pte = P | A | ZERO | (HUGE if kind == HUGE_ZEROED else 0) | execute
    elif kind == ANON or kind == FILE_COW:
        counts[COUNT_ANON if kind == ANON else COUNT_FILE_COW] += 1
        pte = map_page(m, row.space, fault) | W | D | execute
    elif kind == HUGE_ANON:
        counts[COUNT_HUGE] += 1
        pte = map_page(m, row.space, fault) | writable | (D if fault.write else 0) | execute
    else:
        counts[COUNT_FILE] += 1
        shared = writable if vmas.is_shared(v) else 0
        pte = map_cached(m, v, row.space, vpn) | shared | (D if shared and fault.write else 0)
        if not fault.write:
            cycles = map_around(m, v, row.space, vpn, shared) * m.costs[0].map_page
    radix.put(m, root, vpn, level, pte)
    return cycles


@part
def map_cached(m, v, space, vpn):
    """Count a mapping of the page-cache page of `vpn`, which is there, and return a present and accessed pte of the page."""
    pfn = frames.cached(m, v.file, page_of(v, vpn))
    frames.mapped(m, pfn, space, vpn)
    return pfn << PFN | P | A | vmas.execute_bit(v)


@routine
def map_around(m, v, space, vpn, shared):
    """Map the neighbours that are in the page cache already (fault-around), and return how many.

    The pages are as many as a window has, from the VMA's start if that is in the aligned window, else from the window's; not beyond the
    page table (Linux 6.12 mm/memory.c do_fault_around). On x86 the pages count as accessed: vm_page_prot has the bit, nothing clears it
    (set_pte_range, arch/x86/include/asm/pgtable_types.h PAGE_READONLY).
    """
    window, root, done = m.ctl[0].fault_around, m.spaces[space].root, 0
    start = max(vpn & -window, v.first)
    for page in range(start, min(start + window, v.last, (vpn | 511) + 1)):
        if page != vpn and radix.get(m, root, page) == 0 and frames.cached(m, v.file, page_of(v, page)) >= 0:
            radix.put(m, root, page, 1, map_cached(m, v, space, page) | shared)
            done += 1
    return done


@part
def map_page(m, space, fault):
    """Count the mappings of the page in a fault's hand, and return its leaf, present and accessed."""
    leaf = fault.page
    fault.page = 0
    return map_leaf(m, space, fault.vpn, leaf)


@routine
def map_leaf(m, space, vpn, leaf):
    """Count the mapping of each frame of a leaf, which may be huge, and return the leaf, accessed."""
    pages = 512 if leaf & HUGE else 1
    for k in range(pages):
        frames.mapped(m, (leaf >> PFN) + k, space, (vpn & -pages) + k)
    return leaf | A


@routine
def cow_set(m, r):
    """COW_SET: replace the old page by the new one, then flush the old translation everywhere."""
    row, fault, kind, vpn = m.rows[r], m.faults[r], m.faults[r].kind, m.faults[r].vpn
    first, pages = cow_range(fault)
    fault.old = 0
    if is_stale(m, row.space, fault):
        m.counts[row.agent, COUNT_SPURIOUS] += 1
        if notify.call(m, r, notify.STOP, first, first + pages, COW_DONE):
            cow_done(m, r)
        return
    m.counts[row.agent, COUNT_COW] += 1
    root, at = m.spaces[row.space].root, vmas.find(m, row.space, vpn)
    old, execute = fault.pte, vmas.execute_bit(m.vmas[at])
    if not old & ZERO:
        for k in range(pages):
            frames.unmapped(m, (old >> PFN) + k, row.space, first + k)
    radix.put(m, root, vpn, 1 if kind == COW else 2, map_page(m, row.space, fault) | W | D | execute)
    vmas.prepare(m, at)
    fault.old = old
    zero = 1 if kind == HUGE_ZERO_COW else 0  # flush_tlb_range of 512 pages; other kinds flush_tlb_page, which drops a huge entry too
    shootdown.call(m, r, first, first + (pages if zero else 1), 1, zero, 0, COW_END)


@routine
def cow_end(m, r):
    """COW_END: close the window."""
    first, pages = cow_range(m.faults[r])
    if notify.call(m, r, notify.STOP, first, first + pages, COW_DONE):
        cow_done(m, r)


@routine
def cow_done(m, r):
    """COW_DONE: drop the reference on the old page, as nobody translates to that page any more."""
    old = m.faults[r].old
    if old != 0 and not old & ZERO:
        if old & HUGE:
            frames.drop_block(m, old >> PFN)
        else:
            frames.drop(m, old >> PFN)
    leave(m, r, OK, 0)


@routine
def step(m, r):
    """Do one step of a fault."""
    phase = m.rows[r].phase
    if phase == FAULT:
        if m.faults[r].split:
            m.faults[r].split = 0
            again(m, r)
        else:
            begin(m, r)
    elif phase == FAULT_LOCKED:
        locked(m, r)
    elif phase == ALLOC:
        again(m, r)
    elif phase == COMMIT:
        commit(m, r)
    elif phase == PAGE_AWAY:
        m.counts[m.rows[r].agent, COUNT_SPURIOUS] += 1
        leave(m, r, OK, m.costs[0].fault)
    elif phase == COW_SET:
        cow_set(m, r)
    elif phase == COW_END:
        cow_end(m, r)
    else:
        cow_done(m, r)
