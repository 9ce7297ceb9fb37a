"""The gather: pages whose ptes are gone wait here until every TLB has dropped them (docs/model.md section 9).

Linux 6.12 mm/mmu_gather.c, include/asm-generic/tlb.h: one range, one stride (tlb_get_unmap_shift), freed pages in order.
"""

from hwmodel.core import clock
from hwmodel.core.ledger import KERNEL, account
from hwmodel.core.tables import FREE_PAGES, HUGE, NEVER, PFN, table
from hwmodel.jit import part, routine
from hwmodel.primary import frames, shootdown

FREEING = account("free", KERNEL, "freeing pages and page tables")
GATHER = table("entry", "last_entry", "pages", "first", "last", "level", "freed", "delayed", "then")
"""A row's gather: its entries in order, -1 none, and their number; the range to flush, the level of its stride; whether tables were freed,
or a dirty file page waits to lose its reverse map; the phase that follows."""
NO_LEVEL = 5
"""The level of a gather in which no entry was cleared."""


@part
def open_gather(batch):
    """Start an empty gather."""
    batch.entry, batch.last_entry, batch.pages = -1, -1, 0
    forget_range(batch)


@part
def forget_range(batch):
    """Clear the range to flush: nothing is left to flush."""
    batch.first, batch.last, batch.level, batch.freed, batch.delayed = NEVER, 0, NO_LEVEL, 0, 0


@part
def cover(batch, first, pages):
    """Add `pages` pages from `first` on, whose ptes changed, to the range to flush."""
    batch.first = min(batch.first, first)
    batch.last = max(batch.last, first + pages)
    batch.level = min(batch.level, 2 if pages == 512 else 1)


@part
def cover_table(batch, base, level):
    """Add a page table that is freed to the range: its first page stands for it; the entry cleared is one of the level above."""
    batch.first = min(batch.first, base)
    batch.last = max(batch.last, base + 1)
    batch.level = min(batch.level, level + 1)
    batch.freed = 1


@part
def cover_slot(batch, base):
    """Add the first page of the empty 512 GiB from `base` on: freeing the folded fifth level frees nothing, but flushes that page."""
    batch.first = min(batch.first, base)
    batch.last = max(batch.last, base + 1)
    batch.freed = 1


@part
def stride(batch):
    """Return the stride of the flush in pages: the reach of an entry of the smallest level cleared."""
    return 1 if batch.level == NO_LEVEL else 1 << (9 * (batch.level - 1))


@routine
def add(m, batch, pte):
    """Put a page, or huge page, that loses its mapping into the gather: it is freed after the flush."""
    ctl = m.ctl[0]
    k = ctl.entry_free
    if k >= 0:
        ctl.entry_free = m.entries[k].more
    else:
        k = ctl.entry_top
        ctl.entry_top += 1
    m.entries[k].pte, m.entries[k].more = pte, -1
    if batch.entry < 0:
        batch.entry = k
    else:
        m.entries[batch.last_entry].more = k
    batch.last_entry = k
    batch.pages += 1


@part
def is_due(m, batch):
    """Return whether the gather must be flushed before more is cleared: it is full, or a dirty file page waits to lose its reverse map."""
    return batch.pages >= m.ctl[0].gather_pages or batch.delayed == 1


@part
def needs_flush(batch):
    """Return whether there is anything to flush."""
    return batch.last > batch.first or batch.freed == 1


@routine
def call(m, r, full, then):
    """Flush and free the gather, page by page or in full, then go on with `then`; return whether there is nothing to do first."""
    row, batch = m.rows[r], m.gathers[r]
    row.phase, batch.then = then, then
    if not needs_flush(batch):
        return True
    first, last, step, freed = batch.first, batch.last, stride(batch), batch.freed
    forget_range(batch)
    shootdown.call(m, r, first, last, step, freed, full, FREE_PAGES if batch.pages > 0 else then)
    return False


@routine
def free_pages(m, r):
    """FREE_PAGES: drop the references that the ptes of the gathered pages had."""
    batch, ctl = m.gathers[r], m.ctl[0]
    k = batch.entry
    while k >= 0:
        pte, more = m.entries[k].pte, m.entries[k].more
        if pte & HUGE:
            frames.drop_block(m, pte >> PFN)
        else:
            frames.drop(m, pte >> PFN)
        m.entries[k].more = ctl.entry_free
        ctl.entry_free = k
        k = more
    clock.spend(m, r, FREEING, batch.pages * m.costs[0].free)
    batch.entry, batch.last_entry, batch.pages = -1, -1, 0
    m.rows[r].phase = batch.then
