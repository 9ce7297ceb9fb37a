"""mprotect: VMA by VMA, one window each, one flush at the end (docs/model.md 9.4; Linux 6.12 mm/mprotect.c)."""

from hwmodel.core import clock
from hwmodel.core.tables import AWAY, CHANGE, CHANGED, HUGE, NONE, PFN, PROTECT, PROTECT_CUT, UNLOCK, ZERO, P, W, X
from hwmodel.jit import part, routine
from hwmodel.op import PROT_WRITE
from hwmodel.parts import radix
from hwmodel.primary import epochs, frames, gather, notify, ranges, split, vmas


@routine
def next_piece(m, r):
    """PROTECT: take the part of the next VMA whose rights change; after the last, flush."""
    call, span = m.calls[r], m.spans[r]
    k = find_piece(m, r, span.at)
    if k < 0:
        gather.call(m, r, 0, UNLOCK)
        return
    first, last = max(m.vmas[k].first, call.first), min(m.vmas[k].last, call.last)
    span.first, span.last = first, last
    ranges.call_splits(m, r, first, last, PROTECT_CUT)


@routine
def find_piece(m, r, at):
    """Return the row of the first VMA from page `at` on whose rights change, or -1 if none is left in the range."""
    call, space = m.calls[r], m.rows[r].space
    k = vmas.above(m, space, at)
    while at < call.last and vmas.is_of(m, k, space) and m.vmas[k].first < call.last:
        if m.vmas[k].prot != call.prot:
            return k
        at = m.vmas[k].last
        k += 1
    return -1


@routine
def cut(m, r):
    """PROTECT_CUT: make the piece a VMA with the new rights, then go through the page tables that exist, inside a window."""
    row, call, span = m.rows[r], m.calls[r], m.spans[r]
    first, last = span.first, span.last
    k = vmas.isolate(m, vmas.find(m, row.space, first), first, last)
    vmas.protect(m, k, call.prot)
    span.at, row.phase = last, PROTECT
    if find_piece(m, r, last) < 0:
        epochs.open_epoch(m, r)
    start = first_table(m, m.spaces[row.space].root, first, last)
    if start < last:
        span.at = span.first = start
        notify.call(m, r, notify.START, start, last, CHANGE)
    clock.spend(m, r, vmas.CHANGING, m.costs[0].vma)


@routine
def first_table(m, root, first, last):
    """Return the first page of [first, last) whose 2^18 pages have a table of level 2 (change_pud_range notifies from there)."""
    at = first
    while at < last and radix.table_at(m, root, at, 2) < 0:
        at = radix.reach_end(m, root, at)
    return min(at, last)


@routine
def change(m, r):
    """CHANGE: give one table or huge leaf the new rights."""
    row, span = m.rows[r], m.spans[r]
    root = m.spaces[row.space].root
    kind, at, end = ranges.piece(m, root, span.at, span.last)
    span.at = at
    if kind == ranges.NOTHING_LEFT:
        if notify.call(m, r, notify.STOP, span.first, span.last, CHANGED):
            next_piece(m, r)
        return
    if kind == ranges.CUT_HUGE:
        split.call(m, r, at, CHANGE, ranges.CLEARING)
        return
    v = m.vmas[vmas.find(m, row.space, at)]
    span.at, leaves = end, 0
    if kind == ranges.WHOLE_HUGE:
        leaves = 1
        radix.put(m, root, at, 2, changed(m, r, v, at, radix.get(m, root, at), 512))
    else:
        node = radix.table_at(m, root, at, 1)
        for vpn in range(at, end):
            pte = m.nodes[node, vpn & 511]
            if pte != 0:
                leaves += 1
                m.nodes[node, vpn & 511] = changed(m, r, v, vpn, pte, 1)
    clock.spend(m, r, ranges.CLEARING, leaves * m.costs[0].clear + m.costs[0].table_scan)


@routine
def changed(m, r, v, vpn, pte, pages):
    """Return the leaf with the rights of its VMA; add it to the flush range if it was present and a right, or its presence, changes.

    A right that is given needs a flush too: cached translations lack it (arch/x86/include/asm/tlbflush.h pte_flags_need_flush).
    """
    prot = m.calls[r].prot
    if pte & AWAY:
        return pte if prot & PROT_WRITE else pte & ~W
    if prot == 0:
        new = pte & ~P | NONE
    else:
        new = pte & ~(NONE | X) | P | vmas.execute_bit(v)
        if not prot & PROT_WRITE:
            new &= ~W
        elif may_write(m, v, pte):
            new |= W
    if pte & P and (new ^ pte) & (P | W | X):
        gather.cover(m.gathers[r], vpn, pages)
    return new


@part
def may_write(m, v, pte):
    """Return whether a leaf may become writable without a fault (can_change_pte_writable: shared, or an anonymous page nobody shares)."""
    if vmas.is_shared(v):
        return True
    if pte & ZERO:
        return False
    if pte & HUGE:
        return frames.block_is_exclusive(m, pte >> PFN)
    return m.frames[pte >> PFN].refs == 1 and not m.frames[pte >> PFN].cached


@routine
def step(m, r):
    """Do one step of mprotect."""
    phase = m.rows[r].phase
    if phase == PROTECT or phase == CHANGED:
        next_piece(m, r)
    elif phase == PROTECT_CUT:
        cut(m, r)
    elif phase == CHANGE:
        change(m, r)
