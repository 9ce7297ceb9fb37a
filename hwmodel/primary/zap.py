"""Unmapping a range: VMAs, the window with its ZAP steps, page tables, flush and free (docs/model.md section 9).

Linux 6.12 mm/vma.c vms_complete_munmap_vmas, mm/memory.c unmap_vmas, zap_pte_range, zap_present_folio_ptes, free_pgtables.
"""

from hwmodel.core import clock, locks
from hwmodel.core.tables import (
    AWAY,
    CUT,
    FREE_PAGES,
    FREE_TABLES,
    HUGE,
    NEVER,
    PFN,
    UNLOCK,
    ZAP,
    ZAPPED,
    D,
    table,
)  # fmt: skip
from hwmodel.jit import part, routine
from hwmodel.op import MADVISE
from hwmodel.parts import radix
from hwmodel.primary import epochs, frames, gather, notify, ranges, split, vmas

UNMAP = table("gone_first", "gone_last", "then", "window_then", "keep_lock")
"""A row's unmapping of its span: the hull of the VMAs cut; the phases that follow it, and its window; whether it keeps the mmap lock."""


@part
def call(m, r, first, last, then):
    """Let row r's next steps unmap [first, last), VMAs included; then the row goes on with `then`. Return False."""
    span, unmapping = m.spans[r], m.unmaps[r]
    span.first, span.last, unmapping.then = first, last, then
    return ranges.call_splits(m, r, first, last, CUT)


@routine
def cut(m, r):
    """CUT: detach the VMAs; the rest of the work needs the lock for reading only (mmap_write_downgrade)."""
    row, span, unmapping = m.rows[r], m.spans[r], m.unmaps[r]
    unmapping.gone_first, unmapping.gone_last = vmas.hull(m, row.space, span.first, span.last)
    changed = vmas.remove(m, row.space, span.first, span.last)
    if unmapping.then == UNLOCK:  # nothing is mapped in its place
        epochs.open_epoch(m, r)
    if changed == 0:
        row.phase = UNLOCK
        return
    if not unmapping.keep_lock and m.policy[0].munmap_downgrades:
        space = m.spaces[row.space]
        space.wlock_first = space.wlock_last = space.wlock_to = space.wlock_to_last = 0
        locks.downgrade(m, r, row.space)
    call_window(m, r, FREE_TABLES)
    clock.spend(m, r, vmas.CHANGING, changed * m.costs[0].vma)


@part
def call_window(m, r, then):
    """Let row r's next steps clear its span inside a window, then go on with `then`; return whether the window is open at once."""
    span, unmapping = m.spans[r], m.unmaps[r]
    span.at, unmapping.window_then = span.first, then
    return notify.call(m, r, notify.START, span.first, span.last, ZAP)


@routine
def zap(m, r):
    """ZAP: clear one table or huge leaf; flush and free a full gather inside the window."""
    row, span = m.rows[r], m.spans[r]
    kind, at, end = ranges.piece(m, m.spaces[row.space].root, span.at, span.last)
    span.at = at
    if kind == ranges.NOTHING_LEFT:
        if notify.call(m, r, notify.STOP, span.first, span.last, ZAPPED):
            zapped(m, r)
        return
    if kind == ranges.CUT_HUGE:
        split.call(m, r, at, ZAP, ranges.CLEARING)
        return
    clear_part(m, r, at, end, kind, 0, ZAP)


@routine
def clear_part(m, r, at, end, kind, full, then):
    """Clear the leaves of [at, end); if the gather is due, flush and free it next, in full or by range, then go on with `then`."""
    batch, base = m.gathers[r], at >> 9 << 9
    cleared = clear(m, r, at, end, kind)
    frees = m.calls[r].op == MADVISE and m.policy[0].dontneed_frees_tables
    emptied = kind == ranges.IN_TABLE and frees and reclaims(m, r, base)
    if gather.is_due(m, batch):
        gather.call(m, r, full, then)
    clock.spend(m, r, ranges.CLEARING, cleared * m.costs[0].clear + m.costs[0].table_scan)
    if emptied:
        gather.cover_table(batch, base, 1)  # after the flush that was due: the table comes with the next one
        clock.spend(m, r, gather.FREEING, m.costs[0].table)


@routine
def reclaims(m, r, base):
    """Free the level-1 table of page `base` if a DONTNEED is done with all of it and it is empty; return whether it was freed.

    Linux 6.18 mm/pt_reclaim.c, CONFIG_PT_RECLAIM.
    """
    span = m.spans[r]
    if span.at < base + 512 or base < span.first or base + 512 > span.last:
        return False
    root = m.spaces[m.rows[r].space].root
    node = radix.table_at(m, root, base, 1)
    for k in range(512):
        if m.nodes[node, k] != 0:
            return False
    return radix.free_tables(m, root, base, 1)


@routine
def clear(m, r, at, end, kind):
    """Clear the leaves of [at, end) into the gather until the gather is full; return how many, and move the span's `at`."""
    batch, span, space = m.gathers[r], m.spans[r], m.rows[r].space
    root = m.spaces[space].root
    if kind == ranges.WHOLE_HUGE:
        pte = radix.get(m, root, at)
        radix.put(m, root, at, 2, 0)
        radix.give_back(m, 1)  # the table laid by (zap_deposited_table)
        gather.cover(batch, at, 512)
        if radix.has_frame(pte):
            for k in range(512):
                frames.unmapped(m, (pte >> PFN) + k, space, at + k)
            gather.add(m, batch, pte)
        span.at = end
        return 1
    node, cleared = radix.table_at(m, root, at, 1), 0
    limit = m.ctl[0].gather_pages
    while at < end and batch.pages < limit:
        pte = m.nodes[node, at & 511]
        if pte != 0:
            m.nodes[node, at & 511] = 0
            cleared += 1
            if not pte & AWAY:  # nothing can have cached that
                gather.cover(batch, at, 1)
            if radix.has_frame(pte):
                frames.unmapped(m, pte >> PFN, space, at)
                gather.add(m, batch, pte & ~HUGE)
                if pte & D and m.frames[pte >> PFN].cached:
                    batch.delayed = 1
        at += 1
    span.at = at
    return cleared


@part
def zapped(m, r):
    """ZAPPED: go on, as the window is closed."""
    row, unmapping = m.rows[r], m.unmaps[r]
    row.phase = unmapping.window_then
    if row.phase == FREE_TABLES:
        free_tables(m, r)


@routine
def free_tables(m, r):
    """FREE_TABLES: free the tables that no VMA needs any more, with the same flush (free_pgtables)."""
    row, span, unmapping = m.rows[r], m.spans[r], m.unmaps[r]
    first, last = span.first, span.last
    k = vmas.above(m, row.space, first)
    floor = m.vmas[k - 1].last if k > 0 and m.vmas[k - 1].space == row.space else 0
    ceiling = m.vmas[k].first if vmas.is_of(m, k, row.space) else NEVER
    freed = free_between(m, r, first, last, floor, ceiling)
    cover_slots(m, r, floor, ceiling)
    gather.call(m, r, 0, unmapping.then)
    clock.spend(m, r, gather.FREEING, freed * m.costs[0].table)


@routine
def free_between(m, r, first, last, floor, ceiling):
    """Free the tables of [first, last) whose whole reach lies between floor and ceiling, and return how many."""
    root, freed = m.spaces[m.rows[r].space].root, 0
    for level in range(1, 4):
        reach = 1 << (9 * level)
        base = first & -reach
        while base < last:
            if base >= floor and base + reach <= ceiling and radix.free_tables(m, root, base, level):
                gather.cover_table(m.gathers[r], base, level)
                freed += 1
            base = max(base + reach, radix.reach_end(m, root, base) & -reach) if level == 1 else base + reach
    return freed


@part
def cover_slots(m, r, floor, ceiling):
    """Add each entry of the root that the VMAs reached and no other VMA needs to the flush (Linux's free_p4d_range, table or not)."""
    for base in range(m.unmaps[r].gone_first >> 27 << 27, m.unmaps[r].gone_last, 1 << 27):
        if base >= floor and base + (1 << 27) <= ceiling:
            gather.cover_slot(m.gathers[r], base)


@routine
def step(m, r):
    """Do one step of an unmapping."""
    phase = m.rows[r].phase
    if phase == CUT:
        cut(m, r)
    elif phase == ZAP:
        zap(m, r)
    elif phase == ZAPPED:
        zapped(m, r)
    elif phase == FREE_PAGES:
        gather.free_pages(m, r)
    else:
        free_tables(m, r)
