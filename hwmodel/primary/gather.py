"""The gather: pages whose ptes are gone wait here until every TLB has dropped them (docs/model.md section 9).

Linux 6.12 mm/mmu_gather.c, include/asm-generic/tlb.h: one range, one stride (tlb_get_unmap_shift), freed pages in order.
"""

from hwmodel.core import clock
from hwmodel.core.ledger import account
from hwmodel.core.tables import FREE_PAGES, HUGE, NEVER, PFN
from hwmodel.jit import part, routine
from hwmodel.primary import frames, shootdown

FREEING = account("free")
NO_LEVEL = 5
"""The level of a gather in which no entry was cleared."""


@part
def open_gather(row):
    """Start an empty gather."""
    row.gather, row.gather_last, row.gathered = -1, -1, 0
    forget_range(row)


@part
def forget_range(row):
    """Clear the range to flush: nothing is left to flush."""
    row.gather_min, row.gather_max, row.gather_level, row.freed, row.delayed = NEVER, 0, NO_LEVEL, 0, 0


@part
def cover(row, first, pages):
    """Add `pages` pages from `first` on, whose ptes changed, to the range to flush."""
    row.gather_min = min(row.gather_min, first)
    row.gather_max = max(row.gather_max, first + pages)
    row.gather_level = min(row.gather_level, 2 if pages == 512 else 1)


@part
def cover_table(row, base, level):
    """Add a page table that is freed to the range: its first page stands for it; the entry cleared is one of the level above."""
    row.gather_min = min(row.gather_min, base)
    row.gather_max = max(row.gather_max, base + 1)
    row.gather_level = min(row.gather_level, level + 1)
    row.freed = 1


@part
def cover_slot(row, base):
    """Add the first page of the empty 512 GiB from `base` on: freeing the folded fifth level frees nothing, but flushes that page."""
    row.gather_min = min(row.gather_min, base)
    row.gather_max = max(row.gather_max, base + 1)
    row.freed = 1


@part
def stride(row):
    """Return the stride of the flush in pages: the reach of an entry of the smallest level cleared."""
    return 1 if row.gather_level == NO_LEVEL else 1 << (9 * (row.gather_level - 1))


@routine
def add(m, row, pte):
    """Put a page, or huge page, that loses its mapping into the gather: it is freed after the flush."""
    ctl = m.ctl[0]
    k = ctl.entry_free
    if k >= 0:
        ctl.entry_free = m.entries[k].more
    else:
        k = ctl.entry_top
        ctl.entry_top += 1
    m.entries[k].pte, m.entries[k].more = pte, -1
    if row.gather < 0:
        row.gather = k
    else:
        m.entries[row.gather_last].more = k
    row.gather_last = k
    row.gathered += 1


@part
def is_due(m, row):
    """Return whether the gather must be flushed before more is cleared: it is full, or a dirty file page waits to lose its reverse map."""
    return row.gathered >= m.ctl[0].gather_pages or row.delayed == 1


@part
def needs_flush(row):
    """Return whether there is anything to flush."""
    return row.gather_max > row.gather_min or row.freed == 1


@routine
def finish(m, r, full, then):
    """Flush and free the gather, page by page or in full, then go on with `then`; return whether there is nothing to do first."""
    row = m.rows[r]
    row.phase, row.free_then = then, then
    if not needs_flush(row):
        return True
    first, last, step, freed = row.gather_min, row.gather_max, stride(row), row.freed
    forget_range(row)
    shootdown.ask(m, r, first, last, step, freed, full, FREE_PAGES if row.gathered > 0 else then)
    return False


@routine
def free_pages(m, r):
    """FREE_PAGES: drop the references that the ptes of the gathered pages had."""
    row, ctl = m.rows[r], m.ctl[0]
    k = row.gather
    while k >= 0:
        pte, more = m.entries[k].pte, m.entries[k].more
        if pte & HUGE:
            frames.drop_block(m, pte >> PFN)
        else:
            frames.drop(m, pte >> PFN)
        m.entries[k].more = ctl.entry_free
        ctl.entry_free = k
        k = more
    clock.spend(m, r, FREEING, row.gathered * m.costs[0].free)
    row.gather, row.gather_last, row.gathered = -1, -1, 0
    row.phase = row.free_then
