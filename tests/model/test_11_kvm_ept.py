"""What the TLB entries and the EPT of a vCPU hold, by hand (docs/model.md 11.3, 11.4)."""

import pytest

from hwmodel import op
from hwmodel.core.tables import ENGINE
from hwmodel.parts.paging_caches import DTLB, DTLB_HUGE
from hwmodel.secondary._kvm_notifier import NTLB
from tests.model.hand import (
    CPU,
    DEVICE,
    FILE,
    HUGE_PAGE,
    PAGE,
    THP,
    advise,
    flags,
    frame,
    memory,
    read,
    run_of,
    sync,
    tables_in_use,
    unmap,
    write,
)  # fmt: skip
from tests.races.scenes import way


@pytest.mark.parametrize("guest", ["2M", "4K"])
def test_a_guest_s_entry_names_the_frame_that_both_tables_lead_to(guest):
    mapped = [*memory(), *memory(512, page=HUGE_PAGE)]
    records = [write(), write(HUGE_PAGE), sync(), read(HUGE_PAGE + 5, 1), read(HUGE_PAGE + 7, 1)]
    run = run_of(mapped, records, roles=(CPU, DEVICE), design="kvm_ept", guest__page_size=guest, device__window=1, **THP)
    block, page, huge = frame(run, HUGE_PAGE), HUGE_PAGE + 5 * (guest == "4K"), int(guest == "2M")
    banks = int(run.m.rows["banks"][run.m.rows["role"] == ENGINE][0])
    assert way(run.m, banks + (DTLB_HUGE if huge else DTLB), page >> 9 * huge << 1 | huge) == (block + page % 512, False)
    assert way(run.m, banks + NTLB, HUGE_PAGE >> 9 << 1 | 1) == (block, True)  # the guest has only read: its own entry is not dirty
    assert run.counted("device.tlb.misses") == {"device.tlb.misses": 1 if guest == "2M" else 2}
    assert run.spte(HUGE_PAGE - PAGE + 511) == (block + 511, True)


def test_a_huge_spte_takes_the_place_of_a_table():
    """The EPT keeps a table of level 1 whose pages have been unmapped; where a huge page is then, that table goes.

    CPUs and EPT have 7 each: a root; 3 for the guest's tables of levels 4 and 3, which are small pages at the end of their memory; none
    more for that of level 2 and one for that of level 1, which are huge pages; 2 above the huge page itself. The guest's own bits have 4.
    """
    big = memory(512, page=HUGE_PAGE)
    at_the_end = [*big, write(HUGE_PAGE), sync(), read(HUGE_PAGE, 1)]
    before = [write(HUGE_PAGE), sync(), read(HUGE_PAGE, 1), sync(), *unmap(8, HUGE_PAGE)]
    direct = run_of([], at_the_end, roles=(CPU, DEVICE), design="kvm_ept", **THP)
    assert tables_in_use(direct) == 18
    replaced = run_of(memory(page=HUGE_PAGE), before, at_the_end, roles=(CPU, DEVICE), design="kvm_ept", **THP)
    assert replaced.spte(HUGE_PAGE - PAGE) == (frame(replaced, HUGE_PAGE), True) and flags(replaced, HUGE_PAGE) == "PWADH"
    assert tables_in_use(replaced) == 18


def test_kvm_s_slow_path_writes_to_a_page_that_may_not_be_written_yet():
    """The vCPU reads a private page of a file, through an spte that may not be written; its write copies the page."""
    run = run_of(memory(mapping=FILE), read(agent=1), write(agent=1), roles=(CPU, DEVICE), design="kvm_ept")
    assert flags(run) == "PWAD" and run.spte() == (frame(run), True) and frame(run) != run.file_frame()


def test_every_huge_spte_of_a_range_is_zapped():
    touched = [write(HUGE_PAGE), write(HUGE_PAGE + 512), sync(), read(HUGE_PAGE, 1), read(HUGE_PAGE + 512, 1), sync()]
    mapped = memory(1024, page=HUGE_PAGE)
    run = run_of(mapped, touched, *advise(op.DONTNEED, 1024, HUGE_PAGE), roles=(CPU, DEVICE), design="kvm_ept", **THP)
    assert run.counted("kvm.zapped") == {"kvm.zapped": 2}
