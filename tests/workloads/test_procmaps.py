"""Lists of a program's memory, and files that are in memory before it: what is mapped where, from which page of which file."""

import pytest

from hwmodel import op
from workloads.formats.initial import Layout
from workloads.formats.kernel.cachedfiles import BASE, MOST, CachedFiles
from workloads.formats.kernel.procmaps import parse_maps
from workloads.formats.syscalls import Files

MAPS = """\
00400000-00403000 r-xp 00001000 fe:00 26 /bin/prog
00600000-00601000 rw-p 00000000 00:00 0 [heap]
7f0000000000-7f0000002000 rw-s 00003000 fe:00 27 /dev/shm/x
7f0000010000-7f0000011000 rw-s 00000000 00:01 0
7f0000020000-7f0000021000 ---p 00002000 fe:00 26 /bin/prog
7ff000000000-7ff000003000 rw-p 00000000 00:00 0 [stack]
7ff000010000-7ff000011000 r--p 00000000 00:00 0 [vvar]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]
"""
A, S = 0x400000, 0x7FF000000000


def layout(text, present=()):
    return parse_maps(text.splitlines(), present, Files(), 3)


def test_every_kind_of_mapping():
    found = layout(MAPS)
    assert found.units == [
        op.mmap_unit(A, 3, 5, op.PRIVATE_FILE, 1, 1, agent=3), op.mmap_unit(0x600000, 1, 3, agent=3),
        op.mmap_unit(0x7F0000000000, 2, 3, op.SHARED_FILE, 2, 3, agent=3), op.mmap_unit(0x7F0000010000, 1, 3, op.SHARED_FILE, 3, agent=3),
        op.mmap_unit(0x7F0000020000, 1, 0, op.PRIVATE_FILE, 1, 2, agent=3), op.mmap_unit(S, 3, 3, grows_down=True, agent=3),
        op.mmap_unit(0x7FF000010000, 1, 1, op.PRIVATE_FILE, 4, agent=3),
    ]  # fmt: skip
    stack = S >> 12
    assert found.covered == [
        (0x400, 0x403), (0x600, 0x601), (0x7F0000000, 0x7F0000002), (0x7F0000010, 0x7F0000011), (0x7F0000020, 0x7F0000021),
        (stack - 2048, stack + 3), (0x7FF000010, 0x7FF000011),  # below a stack the 8 MiB that it may grow to
    ]  # fmt: skip


def test_what_is_in_memory_is_a_piece_of_its_own():
    (line, *_) = MAPS.splitlines()
    found = layout(line, [(A + 0x1000, 1)])
    pieces = [(A, 1, 1, False), (A + 0x1000, 1, 2, True), (A + 0x2000, 1, 3, False)]  # address, pages, page of the file, in memory?
    assert found.units == [op.mmap_unit(at, n, 5, op.PRIVATE_FILE, 1, page, agent=3, populate=there) for at, n, page, there in pieces]
    assert layout(line, [(A - 0x1000, 2)]).units[0] == op.mmap_unit(A, 1, 5, op.PRIVATE_FILE, 1, 1, agent=3, populate=True)
    assert layout(line, [(A + 0x3000, 2), (A - 0x1000, 1)]).units == layout(line).units, "beside it"
    assert len(layout(line, [(A, 1), (A + 0x1000, 2)]).units) == 2
    assert layout("").units == Layout().units


@pytest.mark.parametrize("line", ["", "x", "1000-1000 rw-p 0 00:00 0", "2000-1000 rw-p 0 00:00 0", "1001-2000 rw-p 0 00:00 0",
                                  "1000-2000 rw-p 3fffffffffffffff 00:00 0"])  # fmt: skip
def test_a_line_that_makes_no_sense_is_shown(line):
    with pytest.raises(ValueError) as error:
        layout(MAPS + line + "\n")
    assert str(error.value) == line


def cached(*mappings):
    """The units of files of which these (file, first page, pages) are mapped."""
    files = CachedFiles()
    for file, first, pages in mappings:
        files.note(op.as_records(op.mmap_unit(1 << 30, pages, 1, op.PRIVATE_FILE, file, first)))
    return files.units(5)


def unit(at, file, first, pages):
    return op.mmap_unit(BASE + (at << 12), pages, 1, op.PRIVATE_FILE, file, first, agent=5, populate=True)


def test_files_in_memory_are_mapped_once():
    assert cached((1, 3, 4), (1, 7, 2)) == [unit(0, 1, 3, 6)]  # the one ends where the other begins
    assert cached((1, 3, 4), (1, 5, 9), (1, 4, 1)) == [unit(0, 1, 3, 11)]
    assert cached((1, 3, 4), (2, 3, 4), (1, 8, 2)) == [unit(0, 1, 3, 4), unit(5, 1, 8, 2), unit(8, 2, 3, 4)]
    assert cached((1, 0, MOST - 1), (2, 5, 9)) == [unit(0, 1, 0, MOST - 1), unit(MOST, 2, 5, 1)]


def test_anonymous_memory_is_no_file():
    files = CachedFiles()
    files.note(op.as_records([*op.mmap_unit(0x1000, 2, 3), *op.mmap_unit(0x5000, 2, 3, op.SHARED, 4), (0, 9, 0, op.READ, 0)]))
    assert files.units(0) == []
