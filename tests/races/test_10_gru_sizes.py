"""A context's first huge page: the driver must add its size to the context, and can do so in the user's call only (ts_force_cch_reload).

Rule 10.3 of docs/model.md.

The device, with two CBRs, reads a hugetlb page and a page of 4 KiB, both at cycle `gap`. Adding a size takes 40 cycles.

    gap +  25  the first interrupt: the handler has the CPU; the second one waits
    gap +  45  CHECK of the huge page: it is there (three references), its size is new: noted, but the context must be updated
    gap +  60  left to the user, whose call comes 25 cycles later
    gap +  80  the handler ends, the next one begins
    gap + 100  CHECK of the small page: left to the user without a look, since the context is yet to be updated
    gap + 120  the handler ends: system call for the huge page
    gap + 130  system call for the small page; it waits for the context's lock
    gap + 140  the context is updated
    gap + 180  the fault handle is read; window; the page is looked up (three references)
    gap + 205  drop-in
    gap + 215  locks given up: the other call reads its fault handle
    gap + 225  window; the small page is looked up (four references)
    gap + 235  HUGE: the huge page's entry is there
    gap + 245  drop-in
    gap + 275  SMALL: the small page's entry is there
"""

import pytest

from hwmodel import op
from hwmodel.op import mmap_unit
from tests.races.gru_times import CHECK, DROPINS, HIT, LOCKED, NAMES, UPM, WALK, C
from tests.races.scenes import CPU, DEVICE, LATER, PAGE, REFERENCE, access, gru, mapped, play

UPDATE, ZEROING = 40, 100
HUGE, SMALL = 235, 275
SHORT = WALK - REFERENCE


def hugetlb(populate=True):
    """Two huge pages, from page 0 on."""
    return mmap_unit(PAGE << 12, 1024, 3, op.HUGETLB, populate=populate)


@pytest.mark.jit_off
@pytest.mark.parametrize("gap", [1, 77])
def test_until_the_context_is_updated_every_miss_is_the_users(gap):
    """The third read is of the other huge page: the context has the size now, and the handler drops it in."""
    machine = gru(device__window=2, driver__cch_update_ns=UPDATE)
    device = [access(op.READ, 1, gap), access(op.READ, 1, 0, 1024), access(op.READ, 1, LATER, 512)]
    run = play(machine, [CPU, DEVICE], device, [*hugetlb(), *mapped(1, 1024)])
    assert run.counted(*NAMES) == {DROPINS: 3, UPM: 1, LOCKED: 1}
    assert run.latencies() == [HIT - REFERENCE, HUGE, SMALL]
    assert run.latencies("fault.upm") == [HUGE, SMALL]
    handler = 3 * C.tfh_read + 2 * SHORT + 2 * C.upm_switch + C.dropin
    calls = 2 * (C.syscall + C.tfh_read + C.dropin) + UPDATE + SHORT + WALK
    assert run.booked("driver") == handler + calls


@pytest.mark.jit_off
def test_a_call_that_finds_the_size_itself_updates_at_once():
    """The page is not there when the handler looks (one reference, to the root), so that only get_user_pages meets its size."""
    machine = gru(device__window=2, driver__cch_update_ns=UPDATE, kernel__zero_huge_ns=ZEROING)
    run = play(machine, [CPU, DEVICE], [access(op.READ, 1, 1), access(op.READ, 1, LATER, 600)], hugetlb(populate=False))
    assert run.counted(*NAMES) == {DROPINS: 2, UPM: 2}
    called = CHECK + REFERENCE + C.upm_switch + C.poll + C.syscall + C.tfh_read + REFERENCE + C.gup
    first = called + C.fault + ZEROING + 2 * C.table + UPDATE + C.dropin + C.restart
    assert first == 335
    again = CHECK + SHORT + C.upm_switch + C.poll + C.syscall + C.tfh_read + SHORT + C.gup
    second = again + C.fault + ZEROING + C.dropin + C.restart  # the tables are there, the size is no news
    assert run.latencies() == sorted([first, second])
