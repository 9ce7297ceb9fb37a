"""What an access leaves in the pte and in the TLBs, by hand (docs/model.md 4.1, 4.4, 4.5)."""

from hwmodel import op
from hwmodel.parts.paging_caches import DTLB_HUGE, STLB
from tests.model.hand import HUGE_PAGE, SHARED_FILE, THP, advise, flags, frame, memory, read, run_of, write
from tests.races.scenes import way


def test_a_huge_entry_names_the_first_frame_of_its_block():
    """The page touched is the sixth; pages of 4 KiB were there before, so that the block does not begin at frame 0."""
    mapped = [*memory(), *memory(512, page=HUGE_PAGE)]
    run = run_of(mapped, write(), write(HUGE_PAGE + 5), read(HUGE_PAGE + 7), cpu__stlb__huge=True, **THP)
    block, tag = frame(run, HUGE_PAGE), HUGE_PAGE >> 9 << 1 | 1
    assert block == 512 and run.counted("cpu.dtlb.misses") == {"cpu.dtlb.misses": 2}
    for bank in (DTLB_HUGE, STLB):
        assert way(run.m, int(run.m.rows["banks"][0]) + bank, tag) == (block, True)


def test_a_write_through_a_clean_entry_is_one_assist():
    run = run_of(memory(mapping=SHARED_FILE), read(), write(), write())
    assert flags(run) == "PWAD" and run.counted("cpu.dirty") == {"cpu.dirty_assists": 1} and run.cpu_entry()[1]


def test_a_walk_for_a_write_sets_the_dirty_bit_itself():
    """MADV_FREE has flushed the TLB: the read walks, and the write after it asks; a write at once walks and asks for nothing."""
    for touches, assists in (([read(), write()], {"cpu.dirty_assists": 1}), ([write()], {})):
        run = run_of(memory(), write(), *advise(op.FREE), *touches)
        assert flags(run) == "PWADL" and run.counted("cpu.dirty") == assists


def test_a_read_sets_the_accessed_bit_only():
    run = run_of(memory(mapping=SHARED_FILE), read(), *advise(op.COLD), read())
    assert flags(run) == "PWA"
