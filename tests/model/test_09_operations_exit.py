"""What the end of an address space flushes, by hand (docs/model.md 9.7); the kernels must agree."""

from hwmodel.op import mmap_unit
from tests.model.cases import counted
from tests.model.flushed import AT, GONE, flushed, flushes, unmap, write


def test_exit_leaves_the_address_space_with_its_first_flush():
    """Alone in the mask and lazy since the exit began: the CPU goes to the kernel's own tables, in the flush that frees the tables."""
    outcome, c = flushed([*(write(page) for page in range(8)), GONE], mmap_unit(AT, 8, 3))
    assert flushes(outcome) == {"full": 1}
    assert outcome.ledger[0]["flush"] == c.flush_full and "ipis.sent" not in counted(outcome, 0)
    zapped = 8 * c.clear + c.table_scan
    gone = 3 * c.table + c.flush_full + 8 * c.free + c.vma + c.table
    assert outcome.histograms["op.exit"]["sum"] == c.syscall + zapped + gone


def test_exit_flushes_each_full_gather():
    """900 pages by 512: two flushes, and nothing left to do for the second."""
    outcome, c = flushed([*(write(page) for page in range(900)), GONE], mmap_unit(AT, 900, 3), kernel__gather_pages=512)
    assert flushes(outcome) == {"full": 2}
    assert outcome.ledger[0]["flush"] == c.flush_full


def test_exit_interrupts_lazy_cpus_once():
    """While another CPU is in the mask the exiting one stays, lazy, until tables are freed; then both leave."""
    records = [*(write(page) for page in range(900)), GONE]
    outcome, c = flushed(records, mmap_unit(AT, 900, 3), cpu__count=2, kernel__lazy_cpus=1, kernel__gather_pages=512)
    assert flushes(outcome) == {"full": 2}
    assert counted(outcome, 0)["ipis.sent"] == 1
    assert outcome.ledger[0]["flush"] == c.flush_full
    assert outcome.ledger[1]["ipi_respond"] == c.ipi_respond + c.flush_full
    assert outcome.histograms["shootdown"]["sum"] == c.ipi_send + c.ipi_delivery + c.ipi_respond + c.flush_full + c.ipi_ack


def test_exit_of_an_empty_space_flushes_nothing():
    outcome, c = flushed([*unmap(0, 8), GONE], mmap_unit(AT, 8, 3), cpu__count=2, kernel__lazy_cpus=1)
    assert flushes(outcome) == {"ranged": 1, "pages": 1}  # the munmap of the last VMA
    assert outcome.histograms["op.exit"]["sum"] == c.syscall + c.table
