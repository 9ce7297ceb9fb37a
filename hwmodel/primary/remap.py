"""mremap: moving page tables or ptes under the window of the old range (docs/model.md 9.5; Linux 6.12 mm/mremap.c)."""

from hwmodel.core import clock
from hwmodel.core.tables import HUGE, MOVE, MOVE_END, MOVED, PFN, REMAP, TABLE, UNLOCK
from hwmodel.jit import part, routine
from hwmodel.op import HUGETLB
from hwmodel.parts import radix
from hwmodel.primary import epochs, frames, memory, notify, ranges, shootdown, split, vmas, zap

BEGIN = REMAP


@routine
def begin(m, r):
    """Begin an MREMAP with the lock held: grow or shrink in place, or move."""
    row, call = m.rows[r], m.calls[r]
    first, last, new, new_last = call.first, call.last, call.target, call.target_last
    k = vmas.find(m, row.space, first)
    if k < 0 or m.vmas[k].last < last or last == first or new_last == new:
        call.failed = 1
    elif m.vmas[k].mapping == HUGETLB and (new | new_last) & 511:
        call.failed = 1
    elif new == first:
        resize(m, r, k)
    elif new < last and first < new_last:
        call.failed = 1
    elif vmas.cuts_huge(m, row.space, new) or vmas.cuts_huge(m, row.space, new_last):
        call.failed = 1
    elif vmas.intersects(m, row.space, new, new_last):
        zap.call(m, r, new, new_last, REMAP)
    else:
        row.phase = REMAP


@part
def resize(m, r, k):
    """Grow or shrink the old range in place."""
    row, call, unmapping = m.rows[r], m.calls[r], m.unmaps[r]
    last, new_last = call.last, call.target_last
    if new_last < last:
        unmapping.keep_lock = 0
        zap.call(m, r, new_last, last, UNLOCK)
    elif new_last > last:
        if m.vmas[k].last != last or vmas.intersects(m, row.space, last, new_last):
            call.failed = 1
        else:
            vmas.extend(m, k, new_last)
            epochs.open_epoch(m, r)
            clock.spend(m, r, vmas.CHANGING, m.costs[0].vma)


@part
def shrink(m, r):
    """REMAP of less than there is: unmap the tail before the rest moves (shrink_vma)."""
    call = m.calls[r]
    last = call.last
    call.last = call.first + call.target_last - call.target
    zap.call(m, r, call.last, last, REMAP)


@routine
def insert(m, r):
    """REMAP: insert the new VMA; then open the window of the old range."""
    row, call, span = m.rows[r], m.calls[r], m.spans[r]
    vmas.move(m, vmas.find(m, row.space, call.first), call.first, call.target, call.target_last)
    if not epochs.is_below_stack(m, row.space, call.last):
        epochs.open_epoch(m, r)
    span.at = call.first
    notify.call(m, r, notify.START, call.first, call.last, MOVE)
    clock.spend(m, r, vmas.CHANGING, m.costs[0].vma)


@routine
def move(m, r):
    """MOVE: move one table, or as many ptes as lie in one old and one new table."""
    row, call, span = m.rows[r], m.calls[r], m.spans[r]
    root = m.spaces[row.space].root
    kind, at, stop = ranges.piece(m, root, span.at, call.last)
    span.at = at
    if kind == ranges.NOTHING_LEFT:
        if is_hugetlb(m, r):  # one flush at the end, whether or not anything moved (flush_hugetlb_tlb_range)
            shootdown.call(m, r, call.first, call.last, 512, 1, 0, MOVE_END)
        else:
            move_end(m, r)
        return
    to = at - call.first + call.target
    if not (at | to) & 511 and at + 512 <= call.last and radix.leaf_level(m, root, to) != 1 and radix.get(m, root, to) == 0:
        move_table(m, r, root, at, to)
    elif kind != ranges.IN_TABLE:
        split.call(m, r, at, MOVE, ranges.CLEARING)
    else:
        move_ptes(m, r, root, at, min(stop, at + 512 - (to & 511)), to)


@routine
def move_table(m, r, root, at, to):
    """Move the entry of level 2, table or huge leaf, as it is."""
    row, span = m.rows[r], m.spans[r]
    if not memory.ask(m, r, radix.missing(m, root, to, 2), 0):
        return
    made = radix.make(m, root, to, 2)
    node = radix.table_at(m, root, at, 2)
    entry = m.nodes[node, radix.index(at, 2)]
    m.nodes[node, radix.index(at, 2)] = 0
    radix.put(m, root, to, 2, entry)
    for k in range(512):
        pte = m.nodes[entry >> PFN, k] if entry & TABLE else entry
        if pte != 0 and radix.has_frame(pte):
            frames.moved(m, (pte >> PFN) + (k if pte & HUGE else 0), row.space, at + k, to + k)
    span.at = at + 512
    if not is_hugetlb(m, r):
        shootdown.call(m, r, at, at + 512, 1, 1, 0, MOVE)
    clock.spend(m, r, ranges.CLEARING, m.costs[0].clear + made * m.costs[0].table)


@routine
def move_ptes(m, r, root, at, stop, to):
    """Move the ptes of [at, stop) one by one, and flush the range if any moved."""
    row, span = m.rows[r], m.spans[r]
    if not memory.ask(m, r, radix.missing(m, root, to, 1) if ranges.has_leaf(m, root, at, stop) else 0, 0):
        return
    node, leaves, made = radix.table_at(m, root, at, 1), 0, 0
    for vpn in range(at, stop):
        pte = m.nodes[node, vpn & 511]
        if pte != 0:
            there = vpn - at + to
            made += radix.make(m, root, there, 1)
            m.nodes[node, vpn & 511] = 0
            radix.put(m, root, there, 1, pte)
            if radix.has_frame(pte):
                frames.moved(m, pte >> PFN, row.space, vpn, there)
            leaves += 1
    span.at = stop
    if leaves > 0:
        shootdown.call(m, r, at, stop, 1, 1, 0, MOVE)
    clock.spend(m, r, ranges.CLEARING, leaves * m.costs[0].clear + made * m.costs[0].table)


@part
def is_hugetlb(m, r):
    """Return whether the old range is one of hugetlb."""
    return m.vmas[vmas.find(m, m.rows[r].space, m.calls[r].first)].mapping == HUGETLB


@part
def move_end(m, r):
    """MOVE_END: close the window."""
    call = m.calls[r]
    if notify.call(m, r, notify.STOP, call.first, call.last, MOVED):
        unmap_old(m, r)


@part
def unmap_old(m, r):
    """MOVED: unmap the rest of the old range as munmap does."""
    call = m.calls[r]
    zap.call(m, r, call.first, call.last, UNLOCK)
    if ranges.split_boundaries(m, r):
        zap.cut(m, r)


@routine
def step(m, r):
    """Do one step of mremap."""
    row, call = m.rows[r], m.calls[r]
    if row.phase == REMAP and call.first + call.target_last - call.target < call.last:
        shrink(m, r)
    elif row.phase == REMAP:
        insert(m, r)
    elif row.phase == MOVE:
        move(m, r)
    elif row.phase == MOVE_END:
        move_end(m, r)
    else:
        unmap_old(m, r)
