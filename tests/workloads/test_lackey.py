"""The lackey reader: literal logs, their records, and what is said about garbled ones."""

import gzip
import itertools
import lzma

import numpy as np
import pytest

from hwmodel import op as t
from hwmodel.op import TraceError, TraceWarning
from hwmodel.trace import validate
from workloads import read
from workloads.formats import assembly, textbuffer

HEAD = """\
==7== Lackey, an example Valgrind tool
==7== Command: ./prog -x
==7== Parent PID: 6
==7==
"""
ACCESSES = """\
I  0401ab70,3
 S 1fff000778,8
I  0401ab73,5
 L 00004000,4
 M 00004008,8
 L 00004ffc,8
"""
MMAP = "SYSCALL[7,1](9) sys_mmap ( 0x0, 8192, 3, 34, 4294967295, 0 ) --> [pre-success] Success(0x4835000) \n"


def records(trace):
    return [tuple(record) for chunk in trace.chunks() for record in chunk.tolist()]


def operations(trace):
    """Records that are no accesses."""
    return [record for record in records(trace) if record[3] > t.COMPUTE and not record[3] & t.CONTINUES]


def mapped(trace):
    """(first byte, pages, flags) of the prelude's mappings."""
    rows = [tuple(record) for record in trace.prelude.tolist()]
    return [(op[0], op[1], arg[1]) for op, arg in itertools.pairwise(rows) if op[3] == t.MMAP]


@pytest.mark.jit_off
@pytest.mark.as_shipped
def test_accesses(file):
    trace = read(file(HEAD + ACCESSES))
    assert records(trace) == [
        (0x401AB70, 2, 0, t.FETCH, 0),
        (0x1FFF000778, 1, 0, t.WRITE, 0),
        (0x4000, 1, 0, t.READ, 0),
        (0x4008, 1, 0, t.WRITE, 0),
        (0x4FFC, 1, 0, t.READ, 0),
        (0x5000, 1, 0, t.READ | t.CONTINUES, 0),
    ]
    assert (len(trace), trace.references) == (6, 7)
    assert trace.info["program"] == "./prog -x"
    assert trace.info["lines"] == HEAD.count("\n") + 6
    assert trace.agents[0].name == "prog"
    validate(trace)


LONGEST = 15 * 4096
"""Bytes of the longest access: it lies on sixteen pages at most."""


@pytest.mark.parametrize("line, first, pages", [
    (" L 7fffffffffff,1", 0x7FFFFFFFFFFF, 1), (f" L 10000,{LONGEST}", 0x10000, 15), (f" L 10001,{LONGEST}", 0x10001, 16),
    (f" L {(1 << 47) - LONGEST:x},{LONGEST}", (1 << 47) - LONGEST, 15),
])  # fmt: skip
def test_the_largest_accesses(file, monkeypatch, line, first, pages):
    """Where the batch has room for some of their records only, they wait for the next."""
    monkeypatch.setattr(assembly, "BATCH", 24)
    trace = read(file(HEAD + " S 00005000,8\n I 00006000,8\n".replace(" I ", "I  ") * 6 + line + "\n"))
    assert records(trace)[-pages:] == [
        (max(first, (first >> 12) + k << 12), 1, 0, t.READ | (t.CONTINUES if k else 0), 0) for k in range(pages)
    ]  # fmt: skip
    assert trace.references == 12 + pages


@pytest.mark.parametrize("line", [" L 7fffffffffff,2", f" L 10000,{LONGEST + 1}", " L 800000000000,1", " L 0000010000000,1", " L 10000,0"])
def test_accesses_that_no_program_makes(file, line):
    with pytest.raises(TraceError, match="line 5 is garbled"):
        read(file(HEAD + line + "\n"))


def test_memory_used_before_it_is_mapped_is_inferred(file):
    trace = read(file(HEAD + ACCESSES + MMAP + " S 04835000,8\n S 04836ff8,8\n L 05000000,1\n L 05002000,1\n"))
    file = 1 << t.FILE_SHIFT
    flags = {"rw": 3, "file": 1 | t.PRIVATE_FILE << 3, "code": 5 | t.PRIVATE_FILE << 3, "stack": 3 | t.GROWS_DOWN}
    assert mapped(trace) == [
        (0x4000, 1, flags["rw"]),
        (0x5000, 1, flags["file"] | file),
        (0x401A000, 1, flags["code"] | 2 * file),
        (0x5000000, 3, flags["file"] | 3 * file),
        (0x1FFF000000, 1, flags["stack"]),
    ]
    assert trace.info["initial_vmas"] == {"listed_by_valgrind": 0, "inferred_from_use": 5}
    validate(trace)


def test_distant_pages_are_two_mappings(file):
    near, far = 0x100000 + 64 * 4096, 0x100000 + 129 * 4096
    trace = read(file(f" L 100000,1\n L {near:x},1\n L {far:x},1\n"))
    assert [(address, pages) for address, pages, _ in mapped(trace)] == [(0x100000, 65), (far, 1)]


def test_without_events_everything_is_mapped_from_the_start(file):
    path = file(HEAD + ACCESSES + MMAP + " S 04835000,8\n S 04836ff8,8\n")
    trace = read(path, events=False)
    assert (0x4835000, 2, 7 | t.POPULATE) in mapped(trace)  # all rights, in memory: no access faults
    assert (0x4000, 2, 7 | t.POPULATE) in mapped(trace)  # read and written pages alike
    assert operations(trace) == []
    assert trace.info["operations"] == "left out"


def call(number, text, result="Success(0x0)", thread=1):
    return f"SYSCALL[7,{thread}]({number}) {text}[sync] --> {result} \n"


MM = [
    (MMAP, t.mmap_unit(0x4835000, 2, 3)),
    (
        "SYSCALL[7,1](9) sys_mmap ( 0x4838000, 4097, 5, 2066, 4, 8192 ) --> [pre-success] Success(0x4838000) \n",
        t.mmap_unit(0x4838000, 2, 5, t.PRIVATE_FILE, file=1, offset=2),
    ),
    (call(9, "sys_mmap ( 0x0, 4096, 3, 33, 4294967295, 0 )", "Success(0x5000000)"), t.mmap_unit(0x5000000, 1, 3, 1, 1)),
    (call(9, "sys_mmap ( 0x0, 4096, 1, 1, 3, 0 )", "Success(0x5000000)"), t.mmap_unit(0x5000000, 1, 1, 3, 1)),
    (
        call(9, "sys_mmap ( 0x0, 3000000, 3, 262178, 4294967295, 0 )", "Success(0x5000000)"),
        t.mmap_unit(0x5000000, 1024, 3, t.HUGETLB),
    ),
    (
        call(9, "sys_mmap ( 0x0, 8796093026304, 0, 16418, 4294967295, 0 )", "Success(0x10000000000)"),
        t.mmap_unit(1 << 40, (1 << 31) + 1, 0),
    ),
    (call(9, "sys_mmap ( 0x0, 4096, 3, 290, 4294967295, 0 )", "Success(0x5000000)"),
     t.mmap_unit(0x5000000, 1, 3, grows_down=True)),
    (call(11, "sys_munmap ( 0x483c000, 34547 )"), [(0x483C000, 9, 0, t.MUNMAP, 0)]),
    (call(10, "sys_mprotect ( 0x4a14000, 16384, 1 )"), t.paged_unit(t.MPROTECT, 0x4A14000, 4, [(0, 1)])),
    (call(25, "sys_mremap ( 0x4a2a000, 4096, 1048576, 0x1 )", "Success(0x4a3a000)"),
     t.paged_unit(t.MREMAP, 0x4A2A000, 1, [(0x4A3A000, 256)])),
    (call(28, "sys_madvise ( 0x4a2a000, 8192, 4 )"), t.paged_unit(t.MADVISE, 0x4A2A000, 2, [(0, 4)])),
    (
        "SYSCALL[7,1](28) sys_madvise ( 0x4a2a000, 8192, 21 ) --> [async] ... \nI  00004000,1\n"
        "SYSCALL[7,1](28) ... [async] --> Success(0x0) \n",
        t.paged_unit(t.MADVISE, 0x4A2A000, 2, [(0, 21)]),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "unit"), MM)
def test_operations(file, text, unit):
    trace = read(file("I  00004000,1\n" + text))
    assert operations(trace) == unit
    validate(trace)


NO_MM = [
    call(11, "sys_munmap ( 0x1, 4096 )", "Failure(0x16)"),
    "SYSCALL[7,1](9) sys_mmap ( 0xfffffffffffff000, 4096, 3, 50, 4294967295, 0 ) --> [pre-fail] Failure(0x16) \n",
    call(28, "sys_madvise ( 0x4a2a000, 8192, 3 )"),
    call(10, "sys_mprotect ( 0x4a2a000, 0, 3 )"),
    call(3, "sys_close ( 4 )"),
    call(257, "sys_openat ( 4294967196, 0x1ffefff780(/odd, (name) --> Success), 524288 )", "Failure(0x2)"),
    "SYSCALL[7,1](0) sys_read ( 4, 0x1ffee28, 832 ) --> [async] ... \nSYSCALL[7,1](0) ... [async] --> Success(0x34)\n",
    "SYSCALL[7,1](435) unimplemented (by the kernel) syscall: 435! (ni_syscall)\n --> [pre-fail] Failure(0x26) \n",
    "SYSCALL[7,1](61) ... [async] --> Success(0xa85) \n",
    "SYSCALL[7,1](59) sys_execve ( 0x10a018(/none), 0x1fff000650, 0x1fff000798 ) --> [pre-fail] Failure(0x2) \n",
    call(12, "sys_brk ( 0x0 )", "Success(0x4035000)"),
]


@pytest.mark.parametrize("text", NO_MM)
def test_what_changes_no_mapping_is_a_system_call(file, text):
    assert operations(read(file("I  00004000,1\n" + text))) == [(0, 1, 0, t.SYSCALL, 0)]


def test_system_calls_in_a_row_are_one_record(file):
    assert operations(read(file("I  00004000,1\n" + call(3, "sys_close ( 4 )") * 3))) == [(0, 3, 0, t.SYSCALL, 0)]


def test_the_program_break(file):
    first = call(12, "sys_brk ( 0x0 )", "Success(0x4035000)")
    second = call(12, "sys_brk ( 0x4056000 )", "Success(0x4056000)")
    trace = read(file("I  00004000,1\n" + first + second + " S 04035000,8\n S 04055000,8\n"))
    assert operations(trace) == [(0, 1, 0, t.SYSCALL, 0), (0x4056000, 0, 0, t.BRK, 0)]
    assert [tuple(r) for r in trace.prelude.tolist() if r[3] == t.BRK] == [(0x4035000, 0, 0, t.BRK, 0)]
    assert [address for address, _, _ in mapped(trace)] == [0x4000]


def test_files_are_told_apart_by_path(file):
    def opened(path, fd):
        return (
            f"SYSCALL[7,1](257) sys_openat ( 4294967196, 0x4034bb0({path}), 524288 ) --> [async] ... \n"
            f"SYSCALL[7,1](257) ... [async] --> Success({fd:#x}) \n"
        )

    def mapping(fd):
        return call(9, f"sys_mmap ( 0x0, 4096, 1, 2, {fd}, 0 )", "Success(0x5000000)")

    dup = call(32, "sys_dup ( 4 )", "Success(0x9)")
    text = opened("/a", 4) + mapping(4) + dup + opened("/b, c", 4) + mapping(4) + mapping(9)
    text += opened("/a", 5) + mapping(5)
    trace = read(file("I  00004000,1\n" + text))
    assert [r[1] >> t.FILE_SHIFT for r in operations(trace) if r[3] == t.ARG] == [1, 2, 1, 1]


FORK = (
    "SYSCALL[7,1](56) sys_clone ( 1200011, 0x0, 0x0, 0x4a27a10, 0x0 )   clone(fork): process 7 created child 8\n"
    " --> [pre-success] Success(0x8) \n"
)
EXIT = "SYSCALL[{},1](231) exit_group( 7 ) --> [pre-success] Success(0x0) \n"


@pytest.mark.jit_off
@pytest.mark.as_shipped
def test_a_fork_without_a_log_ends_at_once(file):
    with pytest.warns(TraceWarning, match=r"log\.7: 1 forked process has no log of their own"):
        trace = read(file("I  00004000,1\n" + FORK + "I  00004000,1\n" + EXIT.format(7)))
    assert operations(trace) == [(0, 1, 0, t.FORK, 0), (0, 0, 0, t.EXIT, 1), (0, 0, 0, t.EXIT, 0)]
    assert [(agent.space, agent.name) for agent in trace.agents] == [(0, "process"), (1, "process:8")]
    assert trace.info["forked_without_log"] == 1
    validate(trace)


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz"])
def test_a_forked_process_is_read_from_its_log(file, suffix):
    pack = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}[suffix]
    brk = call(12, "sys_brk ( 0x4056000 )", "Success(0x4056000)")
    child = HEAD + " --> [pre-success] Success(0x0) \n S 00005000,8\n" + brk + EXIT.format(8)
    parent = HEAD + "I  00004000,1\n" + call(12, "sys_brk ( 0x0 )", "Success(0x4035000)") + FORK + "I  00004000,1\n"
    file(pack(child.encode()), f"log.8{suffix}")
    trace = read(file(pack(parent.encode()), f"log.7{suffix}"))
    assert records(trace)[2:] == [
        (0, 1, 0, t.FORK, 0),
        (0x5000, 1, 0, t.WRITE, 1),
        (0x4056000, 0, 0, t.BRK, 1),
        (0, 0, 0, t.EXIT, 1),
        (0x4000, 1, 0, t.FETCH, 0),
    ]
    assert len(mapped(trace)) == 2
    validate(trace)


def test_an_execve_that_succeeds_ends_the_log(file):
    text = "I  00004000,1\nSYSCALL[7,1](59) sys_execve ( 0x10a004(/bin/true), 0x1fff000650, 0x1fff000798 )"
    assert operations(read(file(text))) == [(0, 0, 0, t.EXIT, 0)]


def test_threads_are_one_agent_and_the_info_says_so(file):
    clone = "SYSCALL[7,1](56) sys_clone ( 3d0f00, 0x1, 0x2, 0x3, 0x4 ) --> [pre-success] Success(0xa83) \n"
    end = "SYSCALL[7,2](60) exit( 0 ) --> [pre-success] Success(0x0) \n"
    trace = read(file("I  00004000,1\n" + clone + end + "I  00004000,1\n"))
    assert {record[3] for record in operations(trace)} == {t.SYSCALL}
    assert "one agent" in trace.info["threads"]


LAYOUT = """\
--7:1: aspacem <<< SHOW_SEGMENTS: Memory layout at client startup (34 segments)
--7:1: aspacem (0,4,9) /usr/libexec/valgrind/lackey-amd64-linux
--7:1: aspacem (1,49,7) /usr/bin/true
--7:1: aspacem   0: RSVN 0000000000-0000107fff 1081344 ----- SmFixed
--7:1: aspacem   2: file 000010a000-000010dfff   16384 r-x-- d=0xfe00 i=260958  o=8192    (1,49)
--7:1: aspacem   4: file 0000110000-0000111fff    8192 rw--- d=0xfe00 i=260958  o=28672   (1,49)
--7:1: aspacem  10: anon 0004035000-0004035fff    4096 rwx--
--7:1: aspacem  11: RSVN 0004036000-0004834fff 8384512 ----- SmLower
--7:1: aspacem  12:      0004835000-0057ffffff   1335m
--7:1: aspacem  13: FILE 0058000000-0058000fff    4096 r---- d=0xfe00 i=341618  o=0       (0,4)
--7:1: aspacem  22: ANON 1002001000-100278bfff 7909376 rwx--
--7:1: aspacem  24: RSVN 1ffe801000-1ffeffefff 8380416 ----- SmUpper
--7:1: aspacem  25: anon 1ffefff000-1fff000fff    8192 rw---
--7:1: aspacem  32: ANON ffffffffff600000-ffffffffff600fff    4096 --x--
--7:1: aspacem >>>
"""


def test_memory_that_valgrind_lists_is_there_first(file):
    brk = call(12, "sys_brk ( 0x0 )", "Success(0x4035000)")
    trace = read(file(HEAD + LAYOUT + "I  0010a000,4\n S 1ffe900000,8\n" + brk + " L 07000000,1\n"))
    assert mapped(trace) == [
        (0x10A000, 4, 5 | t.PRIVATE_FILE << 3 | 1 << t.FILE_SHIFT),
        (0x110000, 2, 3 | t.PRIVATE_FILE << 3 | 1 << t.FILE_SHIFT),
        (0x1FFEFFF000, 2, 3 | t.GROWS_DOWN),
        (0x7000000, 1, 1 | t.PRIVATE_FILE << 3 | 2 << t.FILE_SHIFT),
    ]
    assert trace.info["initial_vmas"] == {"listed_by_valgrind": 3, "inferred_from_use": 1}
    assert trace.prelude.tolist()[-1] == (0x4035000, 0, 0, t.BRK, 0)
    validate(trace)


GARBLED = [
    "J  00004000,1",
    "I   00004000,1",
    "I  0000400g,1",
    "I  00004000",
    "I  00004000,",
    "I  ,1",
    "I  00004000,0",
    "I  ffffffffff600000,4",
    " L 00004000,99999",
    "hello",
    "SYSCALL[7,1",
    "SYSCALL[7,1](11) sys_munmap --> Success(0x0)",
    "SYSCALL[7,1](11) sys_munmap ( 0x1 )[sync] --> Success(0x0)",
    " --> nonsense",
    "SYSCALL[7,1](32) sys_dup ( ) --> Success(0x1)",
]


@pytest.mark.jit_off
@pytest.mark.as_shipped
@pytest.mark.parametrize("line", GARBLED)
def test_a_garbled_line_is_named(file, line):
    with pytest.raises(TraceError) as error:
        read(file(HEAD + ACCESSES + line + "\nI  00004000,1\n"))
    assert str(error.value).endswith(f"log.7: line 11 is garbled: {line!r}")


def test_a_garbled_line_is_named_without_events_too(file):
    with pytest.raises(TraceError, match="line 11 is garbled: 'hello'"):
        read(file(HEAD + ACCESSES + "hello\n"), events=False)


def test_a_garbled_line_is_shown_shortened(file):
    with pytest.raises(TraceError, match=r"line 1\d is garbled: 'y{57}\.\.\.'$"):
        read(file(HEAD + ACCESSES + "y" * 1000 + "\n"))


@pytest.mark.parametrize("line", ["I  00004000,1", "I  0000", " ", "==7== ", "SYSCALL[7,1](11) sys_mun"])
def test_a_log_that_ends_within_a_line_has_its_whole_lines(file, line):
    path = file(HEAD + ACCESSES + line)
    with pytest.raises(TraceError) as error:
        read(path, strict=True)
    assert str(error.value).endswith(f"log.7: cut short: ends within line 11: {line!r}")
    with pytest.warns(TraceWarning, match="log.7: cut short: ends within line 11: ") as warned:
        trace = read(path)
        assert records(trace) == records(read(file(HEAD + ACCESSES, "whole")))
    assert len(warned) == 1
    assert trace.info["cut_short"] == [f"ends within line 11: {line!r}"]


def test_buffers_and_batches_do_not_matter(file, monkeypatch):
    random = np.random.default_rng(0)
    drawn = zip(*(random.integers(*range_, 3000).tolist() for range_ in ((0, 4), (0, 1 << 16), (1, 9))), strict=True)
    lines = [f"{('I ', ' L', ' S', ' M')[kind]} {address:08x},{size}" for kind, address, size in drawn]
    path = file(HEAD + "\n".join(lines) + "\n" + MMAP * 3 + "\n".join(lines) + "\n")
    whole = records(read(path))
    for size, batch in ((200, 64), (1000, 17), (4096, 4096)):
        monkeypatch.setattr(textbuffer, "BUFFER", size)
        monkeypatch.setattr(assembly, "BATCH", batch)
        assert records(read(path)) == whole


def test_a_return_within_the_line_of_a_block_is_garbled(file):
    """The character after it is no part of the next line's end."""
    with pytest.raises(TraceError, match=r"line 2 is garbled: 'SB 4000"):
        read(file("I  4000,3\nSB 4000\rI  5000,3\n L 6000,4\n"))


def test_an_endless_line_is_refused(file, monkeypatch):
    monkeypatch.setattr(textbuffer, "BUFFER", 1000)
    with pytest.raises(TraceError, match="line 11 is longer than 1000 bytes"):
        read(file(HEAD + ACCESSES + "I" * 2000))
