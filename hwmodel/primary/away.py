"""A pte whose page is away, swapped out or being moved: it is neither absent nor present (docs/model.md 5.2, 6).

Linux 6.18 mm/memory.c do_swap_page, mm/migrate.c migration_entry_wait: the fault waits for the lock of the page, with the locks that its
caller holds; then the access is tried again. The pte's number is for those who set it: a frame, a place on a disk.
"""

from hwmodel.core import clock
from hwmodel.core.ledger import LOCK_WAIT
from hwmodel.core.tables import PAGE_AWAY, PFN
from hwmodel.jit import part, routine

NOBODY = -1


@part
def wait(m, r, pte):
    """Block row r's fault on this pte until its page is back, or gone."""
    m.rows[r].phase, m.faults[r].pte = PAGE_AWAY, pte
    clock.block_on_step(m, r, LOCK_WAIT)


@routine
def wake(m, number, at):
    """Wake the faults that wait for the page of this number, now that no pte says any more that it is away."""
    for r in range(m.rows.size):
        fault = m.faults[r]
        if m.rows[r].phase == PAGE_AWAY and fault.pte >> PFN == number:
            fault.pte = NOBODY << PFN
            clock.wake_by_step(m, r, at)
