"""CPU accesses: look-ups in the TLBs, walks, the dirty bit (docs/model.md section 4).

A look-up that hits at either level is private to its CPU; a walk reads page tables and is an ordered step.
"""

from hwmodel.core import clock
from hwmodel.core.ledger import HARDWARE, account, counter
from hwmodel.core.tables import DIRTY, EXECUTES, HUGE, NO_EXECUTE, PFN, READY, WALK, WRITES, A, D, W, X
from hwmodel.jit import part, routine
from hwmodel.op import FETCH, WRITE
from hwmodel.parts import bank, paging_caches, radix, tlb
from hwmodel.parts.paging_caches import DTLB, ITLB, PDE, STLB
from hwmodel.primary import fault

HIT, REFILLED, ORDERED = 0, 1, 2
STLB_TIME = account("stlb", HARDWARE, "refills of a first-level TLB from the second level")
WALKING = account("walk", HARDWARE, "page-table walks by hardware, dirty assists included")
ACCESSES = counter("cpu.accesses", "data accesses and fetches of CPU agents; one that crosses a page counts once")
ITLB_HITS = counter("cpu.itlb.hits", "fetches that found their translation in the first-level instruction TLB at the first look-up")
ITLB_MISSES = counter("cpu.itlb.misses", "fetches that did not; retries after a refill or a fault are not counted again")
DTLB_HITS = counter("cpu.dtlb.hits", "data accesses that found their translation in the first-level data TLB at the first look-up")
DTLB_MISSES = counter("cpu.dtlb.misses", "data accesses that did not; a crossing access misses at most once")
STLB_HITS = counter("cpu.stlb.hits", "first-level misses that hit the second level")
STLB_MISSES = counter("cpu.stlb.misses", "first-level misses that missed it")
WALKS = counter("cpu.walks", "page-table walks, those that end in a fault included")
WALK_REFS = counter("cpu.walk_refs", "page-table entries read by walks")
ASSISTS = counter("cpu.dirty_assists", "writes through an entry that may not write without asking: dirty bit to set, or a fault")


@part
def look_up(m, i, kind, vpn, second):
    """Look up the head access of CPU i: return HIT, REFILLED from the second level (look again), or ORDERED (row.want has the reason)."""
    row, fetch = m.rows[i], kind == FETCH
    small = row.banks + (ITLB if fetch else DTLB)
    k = tlb.look_split(m, small, 0, vpn)
    if not row.retried and second:
        return cross(m, i, fetch, kind, vpn, k)
    hit = k >= 0
    counts = m.counts[i]
    if not row.retried:
        row.retried = 1
        remember(row, fetch, not hit, False)
        counts[ACCESSES] += 1
        if fetch:
            counts[ITLB_HITS] += hit
            counts[ITLB_MISSES] += not hit
        else:
            counts[DTLB_HITS] += hit
            counts[DTLB_MISSES] += not hit
        if not hit:
            s = tlb.look_joint(m, row.banks + STLB, 0, vpn)
            remember(row, fetch, True, s < 0)
            counts[STLB_HITS] += s >= 0
            counts[STLB_MISSES] += s < 0
            return refill(m, i, small, vpn, s, fetch)
    elif not hit:
        return refill(m, i, small, vpn, tlb.look_joint(m, row.banks + STLB, 0, vpn), fetch)
    if kind == WRITE and not m.ways[k].rights & WRITES:
        row.want = DIRTY
        return ORDERED
    return HIT


@part
def refill(m, i, small, vpn, s, fetch):
    """Fill the first level after a miss, from the second level's way s, or ask for a walk.

    A translation without the right to fetch stays out of the first level of instructions: a hit there needs no look at rights.
    """
    if s < 0:
        m.rows[i].want = WALK
        return ORDERED
    way = m.ways[s]
    if fetch and not way.rights & EXECUTES:
        m.rows[i].want = NO_EXECUTE
        return ORDERED
    huge = way.tag & 1
    bank.fill(m, small + huge, tlb.set_of(vpn, huge), way.tag, way.pfn, way.rights)
    return REFILLED


@routine
def cross(m, i, fetch, kind, vpn, k):
    """Look up the second half of a crossing access, the first time: one access, at most one miss at each level (cachegrind's rule)."""
    row, counts = m.rows[i], m.counts[i]
    small = row.banks + (ITLB if fetch else DTLB)
    row.retried = 1
    missed = row.missed1 >> fetch & 1  # at the first level, by the first half
    counted = row.missed2 >> fetch & 1  # as a second-level miss
    if k >= 0:
        if missed:
            late = touch_second(m, i, small, vpn, k)
            count_late_miss(counts, late and not counted)
            remember(row, fetch, True, late or counted)
        if kind == WRITE and not m.ways[k].rights & WRITES:
            row.want = DIRTY
            return ORDERED
        return HIT
    absent = False
    if not missed:
        counts[ITLB_HITS if fetch else DTLB_HITS] -= 1
        counts[ITLB_MISSES if fetch else DTLB_MISSES] += 1
        absent = touch_second(m, i, small, vpn - 1, find_first_level(m, small, vpn - 1))
    s = tlb.look_joint(m, row.banks + STLB, 0, vpn)
    absent |= s < 0
    if missed:
        count_late_miss(counts, absent and not counted)
    else:
        counts[STLB_HITS] += not absent
        counts[STLB_MISSES] += absent
    remember(row, fetch, True, absent or counted)
    return refill(m, i, small, vpn, s, fetch)


@part
def remember(row, fetch, first, second):
    """Remember which levels the first half of a crossing access missed; a bit for each stream, data and fetch."""
    bit = 1 << fetch
    row.missed1 = row.missed1 & ~bit | (bit if first else 0)
    row.missed2 = row.missed2 & ~bit | (bit if second else 0)


@part
def count_late_miss(counts, late):
    """Turn a second-level hit that was counted into a miss, if `late`."""
    counts[STLB_HITS] -= late
    counts[STLB_MISSES] += late


@part
def find_first_level(m, small, vpn):
    """Return the first-level way of `vpn`, without marking it as used, or -1."""
    k = bank.find(m, small, vpn, tlb.tag_of(0, vpn, 0))
    if k < 0:
        k = bank.find(m, small + 1, vpn >> 9, tlb.tag_of(0, vpn, 1))
    return k


@routine
def touch_second(m, i, small, vpn, k):
    """Reference `vpn` in the second level, putting first-level way k there if `vpn` is absent, and return whether it was."""
    stlb = m.rows[i].banks + STLB
    if tlb.look_joint(m, stlb, 0, vpn) >= 0:
        return False
    if k >= 0:
        fill_second(m, i, vpn, m.ways[k].tag, m.ways[k].pfn, m.ways[k].rights)
    return True


@part
def fill_second(m, i, vpn, tag, pfn, rights):
    """Fill the second level, which may hold 4 KiB entries only."""
    huge = tag & 1
    if not huge or m.ctl[0].stlb_huge:
        bank.fill(m, m.rows[i].banks + STLB, tlb.set_of(vpn, huge), tag, pfn, rights)


@part
def fill_levels(m, i, small, vpn, huge, pfn, rights):
    """Fill both levels with the result of a walk."""
    tag = tlb.tag_of(0, vpn, huge)
    fill_second(m, i, vpn, tag, pfn, rights)
    bank.fill(m, small + huge, tlb.set_of(vpn, huge), tag, pfn, rights)


@part
def rights_of(pte):
    """Return the rights that a translation from this pte has: to write, only if the pte is dirty too, and to fetch."""
    return (WRITES if pte & W and pte & D else 0) | (EXECUTES if pte & X else 0)


@routine
def walk(m, i, kind, vpn):
    """Walk the page table in CPU i's hardware; fill the TLBs with the leaf, or begin a page fault."""
    row, root = m.rows[i], m.spaces[m.rows[i].space].root
    m.counts[i, WALKS] += 1
    node, at, refs, latency = paging_caches.walk(m, row.banks, row.banks + PDE, root, vpn)
    m.counts[i, WALK_REFS] += refs
    pte = m.nodes[node, at]
    clock.spend(m, i, WALKING, latency)
    row.want = 0
    if radix.allows(pte, kind == WRITE) and (kind != FETCH or pte & X):
        pte |= A | D if kind == WRITE else A
        m.nodes[node, at] = pte
        small = row.banks + (ITLB if kind == FETCH else DTLB)
        fill_levels(m, i, small, vpn, 1 if pte & HUGE else 0, pte >> PFN, rights_of(pte))
    else:
        raise_fault(m, i, kind, vpn)


@routine
def set_dirty(m, i, vpn):
    """Handle a write through an entry that may not write without asking: set the dirty bit, or fault.

    The TLB entry may be older than the pte: it takes the pte's frame and rights, or is dropped if the pte is of the other size.
    """
    row, root = m.rows[i], m.spaces[m.rows[i].space].root
    m.counts[i, ASSISTS] += 1
    row.want = 0
    pte = radix.get(m, root, vpn)
    if not radix.allows(pte, True):
        raise_fault(m, i, WRITE, vpn)
        return
    pte |= A | D
    radix.update(m, root, vpn, pte)
    for huge in range(2):
        tag, at = tlb.tag_of(0, vpn, huge), tlb.set_of(vpn, huge)
        for b in (row.banks + DTLB + huge, row.banks + STLB):
            if huge != (pte & HUGE != 0):
                bank.drop(m, b, at, tag)
                continue
            k = bank.find(m, b, at, tag)
            if k >= 0:
                m.ways[k].pfn, m.ways[k].rights = pte >> PFN, rights_of(pte)
    clock.spend(m, i, WALKING, m.costs[0].assist)


@routine
def refuse_fetch(m, i, vpn):
    """Raise a page fault for a fetch that found a translation without the right in the second level, and drop the page from the TLBs.

    So a walk replaces a translation that is older than the right (Intel SDM vol. 3, 4.10.4.1: a page fault invalidates its address).
    """
    m.rows[i].want = 0
    tlb.drop_page(m, m.rows[i].banks + DTLB, m.rows[i].banks + STLB, vpn)
    raise_fault(m, i, FETCH, vpn)


@part
def raise_fault(m, i, kind, vpn):
    """Raise a page fault on the CPU; afterwards the access is tried again."""
    clock.spend(m, i, fault.FAULTING, m.costs[0].exception)
    fault.call(m, i, vpn, kind == WRITE, kind == FETCH, 0, READY, READY)
