"""madvise: DONTNEED, FREE, COLD piece by piece under the read lock; huge-page advice under the write lock (docs/model.md 9.3).

Linux 6.18 mm/madvise.c: DONTNEED and FREE have one gather for the call (madvise_init_tlb), COLD one for each VMA.
"""

from hwmodel.core import clock
from hwmodel.core.tables import ADVISE, AGE, AGED, LAZY, PIECE, UNLOCK, ZERO, A, D, P
from hwmodel.jit import part, routine
from hwmodel.op import COLD, DONTNEED, FREE, HUGEPAGE, HUGETLB, PRIVATE
from hwmodel.parts import radix
from hwmodel.primary import gather, notify, ranges, split, vmas, zap


@routine
def next_piece(m, r):
    """PIECE: take the part of the next VMA that the advice is about; after the last, flush and free the gather."""
    row, call, span = m.rows[r], m.calls[r], m.spans[r]
    k = vmas.above(m, row.space, call.next)
    if call.next >= call.last or not vmas.is_of(m, k, row.space) or m.vmas[k].first >= call.last:
        gather.call(m, r, 0, UNLOCK)
        return
    v = m.vmas[k]
    if (call.advice == FREE and v.mapping != PRIVATE) or (call.advice == COLD and v.mapping == HUGETLB):
        call.failed = 1  # EINVAL: the VMAs after it are left alone
        gather.call(m, r, 0, UNLOCK)
        return
    span.first, span.last = max(v.first, call.next), min(v.last, call.last)
    call.next, span.at = span.last, span.first
    if call.advice == DONTNEED:
        zap.call_window(m, r, AGED)
    elif call.advice == FREE:
        notify.call(m, r, notify.START, span.first, span.last, AGE)
    else:
        row.phase = AGE


@routine
def age(m, r):
    """AGE: clear the accessed (and, for FREE, dirty) bits of one table or huge leaf."""
    row, call, span, batch = m.rows[r], m.calls[r], m.spans[r], m.gathers[r]
    root = m.spaces[row.space].root
    kind, at, end = ranges.piece(m, root, span.at, span.last)
    span.at = at
    if kind == ranges.NOTHING_LEFT:
        if call.advice == COLD or notify.call(m, r, notify.STOP, span.first, span.last, AGED):
            aged_piece(m, r)
        return
    if kind == ranges.CUT_HUGE:
        split.call(m, r, at, AGE, ranges.CLEARING)
        return
    span.at, leaves = end, 0
    if kind == ranges.WHOLE_HUGE:
        pte = radix.get(m, root, at)
        leaves = is_subject(pte)
        new = aged(pte, call.advice)
        if new != pte:
            radix.put(m, root, at, 2, new)
            gather.cover(batch, at, 512)
    else:
        node = radix.table_at(m, root, at, 1)
        for vpn in range(at, end):
            pte = m.nodes[node, vpn & 511]
            new = aged(pte, call.advice)
            leaves += is_subject(pte)
            if new != pte:
                m.nodes[node, vpn & 511] = new
                gather.cover(batch, vpn, 1)
    clock.spend(m, r, ranges.CLEARING, leaves * m.costs[0].clear + m.costs[0].table_scan)


@part
def is_subject(pte):
    """Return whether FREE and COLD apply to the leaf: it maps a present page, not the zero page."""
    return pte & P != 0 and pte & ZERO == 0


@part
def aged(pte, advice):
    """Return a pte as FREE or COLD leaves it."""
    if not is_subject(pte):
        return pte
    if advice == FREE:
        return pte & ~(A | D) | LAZY
    return pte & ~A


@part
def aged_piece(m, r):
    """AGED: go on to the next piece; COLD and hugetlb pages (zap_page_range_single_batched) are flushed before it."""
    row, call, span = m.rows[r], m.calls[r], m.spans[r]
    if call.advice == COLD or m.vmas[vmas.find(m, row.space, span.first)].mapping == HUGETLB:
        if not gather.call(m, r, 0, PIECE):
            return
    next_piece(m, r)


@routine
def advise(m, r):
    """ADVISE: set huge-page advice on the VMAs of the range, cut at its ends."""
    row, call = m.rows[r], m.calls[r]
    advice = 1 if call.advice == HUGEPAGE else 2
    at, changed = call.first, 0
    while at < call.last:
        k = vmas.above(m, row.space, at)
        if not vmas.is_of(m, k, row.space) or m.vmas[k].first >= call.last:
            break
        at = min(m.vmas[k].last, call.last)
        if m.vmas[k].advice != advice and m.vmas[k].mapping != HUGETLB:
            k = vmas.isolate(m, k, call.first, call.last)
            m.vmas[k].advice = advice
            vmas.merge(m, k)
            changed += 1
    row.phase = UNLOCK
    clock.spend(m, r, vmas.CHANGING, changed * m.costs[0].vma)


@routine
def step(m, r):
    """Do one step of madvise."""
    phase = m.rows[r].phase
    if phase == PIECE:
        next_piece(m, r)
    elif phase == AGE:
        age(m, r)
    elif phase == AGED:
        aged_piece(m, r)
    elif phase == ADVISE:
        advise(m, r)
