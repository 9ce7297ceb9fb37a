"""The drmemtrace reader on entries put together by hand, and against an entry-by-entry parser."""

import contextlib
import gzip
import io
import struct
import warnings
import zipfile

import numpy as np
import pytest

from hwmodel import op
from hwmodel.op import TraceError, TraceWarning
from hwmodel.trace import validate
from tests.workloads.naive import expand, expected
from tests.workloads.naive_drmemtrace import parse
from workloads import read
from workloads.formats import entries

pytestmark = pytest.mark.filterwarnings(r"ignore:.*\d+ (access|prefetch|flush)(es)? .*(is|are) left out")

FILE = "drmemtrace.x.5.1.trace"
READ, WRITE, INSTR, BUNDLE, THREAD, THREAD_EXIT, PID, HEADER, FOOTER, MARKER, NO_FETCH, MAYBE, ENCODING = (
    0, 1, 10, 17, 22, 23, 24, 25, 26, 28, 29, 30, 47
)  # fmt: skip
STAMP, FUNC_ID, ARG, RETVAL, VERSION, SYSCALL, FAILED = 2, 4, 6, 7, 12, 25, 30
BASE = 1 << 32


def pack(*rows):
    return b"".join(struct.pack("<HHQ", kind, size, value % (1 << 64)) for kind, size, value in rows)


def begin(tid=5, pid=4, version=7):
    return [(HEADER, 0, version), (MARKER, VERSION, version), (THREAD, 4, tid), (PID, 4, pid)]


def stamp(time):
    return (MARKER, STAMP, time)


def call(number, *args, result=0, failed=None):
    rows = [(MARKER, SYSCALL, number), (MARKER, FUNC_ID, BASE + number), *((MARKER, ARG, arg) for arg in args)]
    rows += [(MARKER, FUNC_ID, BASE + number), (MARKER, RETVAL, result)]
    return rows + ([] if failed is None else [(MARKER, FAILED, failed)])


END = [(THREAD_EXIT, 4, 5), (FOOTER, 0, 0)]
ACCESSES = [
    (ENCODING, 4, 0x90909090), (INSTR, 4, 0x401FFD), (READ, 8, 0x7000008), (WRITE, 9000, 0x7000FFF), (NO_FETCH, 4, 0x401FFD),
    (MAYBE, 4, 0x401FFD), (MAYBE, 3, 0x402001), (BUNDLE, 3, 0x020304), (2, 1, 0x7000000), (20, 0, 0x7000000), (READ, 8, -4096),
    (16, 1, 0x500000), (WRITE, 0, 0x9000000),
]  # fmt: skip
WANTED = [
    (0x401FFD, 1, 0, op.FETCH, 0), (0x402000, 1, 0, op.FETCH | op.CONTINUES, 0),
    (0x7000008, 1, 0, op.READ, 0), (0x7000FFF, 1, 0, op.WRITE, 0), (0x7001000, 1, 0, op.WRITE | op.CONTINUES, 0),
    (0x7002000, 1, 0, op.WRITE | op.CONTINUES, 0), (0x7003000, 1, 0, op.WRITE | op.CONTINUES, 0),
    (0x402001, 4, 0, op.FETCH, 0), (0x500000, 1, 0, op.FETCH, 0), (0x9000000, 1, 0, op.WRITE, 0),
]  # fmt: skip
"""0x7000FFF + 9000 = 0x7003327; the bundle is of instructions of 4, 3 and 2 bytes from 0x402004 on."""


def records(trace):
    return [tuple(record) for chunk in trace.chunks() for record in chunk.tolist()]


def operations(trace):
    return [record for record in records(trace) if record[3] > op.COMPUTE and not record[3] & op.CONTINUES]


@pytest.mark.as_shipped
@pytest.mark.jit_off
def test_accesses(file):
    trace = read(file(pack(*begin(), *ACCESSES, *END)))
    assert records(trace) == WANTED
    assert trace.info["threads"] == [5]
    left_out = {name: trace.info[f"{name}_left_out"] for name in ("kernel", "prefetches", "flushes")}
    assert left_out == {"kernel": 1, "prefetches": 1, "flushes": 1}
    validate(trace)


def zipped(data, parts):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(parts):
            archive.writestr(f"chunk.{number:04}", data[number * len(data) // parts : (number + 1) * len(data) // parts])
    return out.getvalue()


@pytest.mark.parametrize("parts", [1, 3])
def test_a_zip_of_chunks_is_read_as_one(file, parts):
    data = pack(*begin(), *ACCESSES * 100, *END)
    plain = records(read(file(data)))
    assert records(read(file(zipped(data, parts), "x.trace.zip"))) == plain
    assert records(read(file(gzip.compress(data), "x.trace.gz"))) == plain
    with pytest.raises(TraceError, match=r"x\.trace\.zip: damaged or cut short: its table of contents is missing"):
        read(file(zipped(data, parts)[:-30], "x.trace.zip"))


MMAP = (0, 8192, 3, 0x22, -1, 0)


def test_recorded_calls_become_operations(file):
    rows = [
        *begin(), *call(9, *MMAP, result=0x7F0000000000), (WRITE, 8, 0x7F0000000008), *call(10, 0x7F0000000000, 4096, 1),
        *call(11, 0x7F0000000000, 4096, result=-22, failed=22), *call(28, 0x7F0000000000, 4096, 4),
        (MARKER, SYSCALL, 39), (INSTR, 2, 0x400000), (MARKER, FUNC_ID, 7), (MARKER, ARG, 5), (MARKER, RETVAL, 9),
        *call(11, 0x7F0000000000, 8192), (MARKER, SYSCALL, 231), *END,
    ]  # fmt: skip
    trace = read(file(pack(*rows)))
    assert operations(trace) == [
        *op.mmap_unit(0x7F0000000000, 2, 3),
        *op.paged_unit(op.MPROTECT, 0x7F0000000000, 1, [(0, 1)]),
        (0, 1, 0, op.SYSCALL, 0),
        *op.paged_unit(op.MADVISE, 0x7F0000000000, 1, [(0, 4)]),
        (0, 1, 0, op.SYSCALL, 0),
        *op.paged_unit(op.MUNMAP, 0x7F0000000000, 2),
        (0, 0, 0, op.EXIT, 0),
    ]
    assert trace.info["initial_vmas"]["inferred_from_use"] == 1
    validate(trace)


def test_older_results_say_only_whether_a_call_succeeded(file):
    fixed = (0x7F0000000000, 8192, 3, 0x32, -1, 0)
    rows = [
        *begin(version=5), *call(9, *MMAP, result=1), *call(9, *fixed, result=1), *call(11, 0x7F0000000000, 4096, result=0),
        *call(11, 0x7F0000000000, 4096, result=1), *call(12, 0, result=1), *END,
    ]  # fmt: skip
    assert operations(read(file(pack(*rows)))) == [
        (0, 1, 0, op.SYSCALL, 0),
        *op.mmap_unit(0x7F0000000000, 2, 3),
        (0, 1, 0, op.SYSCALL, 0),
        *op.paged_unit(op.MUNMAP, 0x7F0000000000, 1),
        (0, 1, 0, op.SYSCALL, 0),
    ]


def test_without_events_calls_are_left_out(file):
    trace = read(file(pack(*begin(), *call(9, *MMAP, result=0x7F0000000000), (WRITE, 8, 0x7F0000000008), *END)), events=False)
    assert operations(trace) == []
    assert trace.prelude["count"][1] & op.POPULATE


def test_a_call_that_makes_no_sense_is_named(file):
    with pytest.raises(TraceError, match=r"entry 20 at byte 240: system call 11 makes no sense$"):
        read(file(pack(*begin(), *call(9, *MMAP, result=1 << 40), *call(11, 1 << 47, 4096), (FOOTER, 0, 0))))


def test_a_call_of_any_number_is_one_call(file):
    trace = read(file(pack(*begin(), (MARKER, SYSCALL, -1), (READ, 8, 0x1000), (MARKER, SYSCALL, 1 << 40), (READ, 8, 0x1000), *END)))
    assert [agent.name for agent in trace.agents] == ["thread 0"]
    assert operations(trace) == [(0, 1, 0, op.SYSCALL, 0)] * 2


def test_threads_of_a_stream_are_agents(file):
    rows = [*begin(), (READ, 8, 0x1000), (THREAD, 4, 6), (PID, 4, 4), (READ, 8, 0x2000), (THREAD, 4, 7), (PID, 4, 9), (READ, 8, 0x3000),
            (THREAD, 4, 5), (PID, 4, 4), (READ, 8, 0x4000), *END]  # fmt: skip
    trace = read(file(pack(*rows)))
    assert [(record[0], record[4]) for record in records(trace)] == [(0x1000, 0), (0x2000, 1), (0x3000, 2), (0x4000, 0)]
    assert [agent.space for agent in trace.agents] == [0, 0, 1]
    assert trace.info["threads"] == [5, 6, 7]
    validate(trace)


FILE_TYPE, PAGE_SIZE = 9, 18


@pytest.mark.parametrize("version", [1, 2, 6, 7, 8])
def test_all_versions_have_the_same_entries(file, version):
    assert records(read(file(pack(*begin(version=version), *ACCESSES, *END)))) == WANTED


@pytest.mark.parametrize("bits", [0x40 | 0x80 | 0x100, 0x40 | 0x80, 0x48 | 0x100, 0x1])
def test_a_filtered_recording_is_told(file, bits):
    """Bits of offline_file_type_t: instructions or data filtered online, or, before version 4, both by one bit."""
    with pytest.warns(TraceWarning, match=r"\.trace: most accesses are missing"):
        trace = read(file(pack(*begin(), (MARKER, FILE_TYPE, bits), *ACCESSES, *END)))
    assert trace.info["filtered"] and records(trace) == WANTED


def test_a_recording_of_instructions_alone_is_told(file):
    """OFFLINE_FILE_TYPE_INSTRUCTION_ONLY."""
    with pytest.warns(TraceWarning, match=r"\.trace: accesses to data are missing"):
        trace = read(file(pack(*begin(), (MARKER, FILE_TYPE, 0x44), *ACCESSES, *END)))
    assert trace.info["instructions_only"] and records(trace) == WANTED


@pytest.mark.parametrize("size, told", [(4096, False), (16384, True), (65536, True)])
def test_pages_of_another_size_are_told(file, size, told):
    data = pack(*begin(), (MARKER, FILE_TYPE, 0x40 | 0x200 | 0x400), (MARKER, PAGE_SIZE, size), *ACCESSES, *END)
    with pytest.warns(TraceWarning, match=f"with pages of {size} bytes") if told else contextlib.nullcontext():
        trace = read(file(data))
    assert trace.info.get("page_size") == (size if told else None) and "filtered" not in trace.info


def on(bits):
    """The beginning of a file of this type."""
    return [*begin(), (MARKER, FILE_TYPE, bits)]


def test_05_arm64_stack(file):
    """As 05-arm64-stack.trace: user memory of AArch64 ends at 2^48, the kernel's begins as far from the end."""
    rows = [(INSTR, 4, 0x400780), (WRITE, 8, 0xFFFFE7AC0000), (READ, 8, (1 << 48) - 8), (READ, 8, -(1 << 48)), *END]
    trace = read(file(pack(*on(8), *rows)))
    assert records(trace) == [(0x400780, 1, 0, op.FETCH, 0), (0xFFFFE7AC0000, 1, 0, op.WRITE, 0), ((1 << 48) - 8, 1, 0, op.READ, 0)]
    assert (trace.user_end, trace.info["kernel_left_out"]) == (1 << 48, 1)
    validate(trace)
    with pytest.raises(TraceError, match=r"non-canonical address 0xffffe7ac0000$"):
        read(file(pack(*on(0x40), *rows)))
    with pytest.raises(TraceError, match=r"non-canonical address 0x1000000000000$"):
        read(file(pack(*on(8), (READ, 8, 1 << 48), *END)))
    assert "user_end" not in read(file(pack(*on(8), *ACCESSES, *END))).info


NUMBERS = {0x40: (9, 10, 11, 28, 231), 8: (222, 226, 215, 233, 94), 0x20: (192, 125, 91, 219, 252), 0x10: (192, 125, 91, 220, 248)}
"""mmap, mprotect, munmap, madvise, exit_group on x86-64, AArch64, 32-bit x86 and 32-bit ARM (Linux's tables)."""


@pytest.mark.parametrize("bits", NUMBERS)
def test_calls_have_the_numbers_of_the_architecture(file, bits):
    mmap, mprotect, munmap, madvise, leave = NUMBERS[bits]
    at = 0xF7000000 if bits in (0x10, 0x20) else 0xFFFFB2000000 if bits == 8 else 0x7F0000000000
    offset = 3 if bits in (0x10, 0x20) else 3 * op.PAGE  # mmap2 takes pages
    rows = [*call(mmap, 0, 8192, 3, 2, 5, offset, result=at), *call(mprotect, at, 4096, 1), *call(madvise, at, 4096, 4),
            *call(munmap, at, 8192), *call(leave, 0)]  # fmt: skip
    trace = read(file(pack(*on(bits), *rows, *END)))
    found = operations(trace)
    expected = [*op.mmap_unit(at, 2, 3, op.PRIVATE_FILE, 1, 3), *op.paged_unit(op.MPROTECT, at, 1, [(0, 1)]),
                *op.paged_unit(op.MADVISE, at, 1, [(0, 4)]), *op.paged_unit(op.MUNMAP, at, 2)]  # fmt: skip
    assert found[: len(expected)] == expected and found[-1] == (0, 0, 0, op.EXIT, 0)
    validate(trace)


def test_a_call_with_too_few_arguments_makes_no_sense_anywhere(file):
    with pytest.raises(TraceError, match=r"system call 192 makes no sense$"):
        read(file(pack(*on(0x20), *call(192, 0, 8192, result=0xF7000000), *END)))


def test_the_files_of_a_folder_are_merged_by_time(file, tmp_path):
    one = [*begin(5), stamp(10), (READ, 8, 0x1000), stamp(30), (READ, 8, 0x3000), stamp(50), (READ, 8, 0x5000), *END]
    two = [*begin(6), stamp(20), (READ, 8, 0x2000), stamp(30), (READ, 8, 0x4000), *END]
    file(pack(*one), "run/drmemtrace.x.5.1.trace")
    file(zipped(pack(*two), 2), "run/drmemtrace.x.6.2.trace.zip")
    trace = read(tmp_path / "run")
    assert [(record[0], record[4]) for record in records(trace)] == [
        (0x1000, 0), (0x2000, 1), (0x3000, 0), (0x4000, 1), (0x5000, 0)
    ]  # fmt: skip
    assert [agent.space for agent in trace.agents] == [0, 0]
    file(pack(*one)[:-12], "run/drmemtrace.x.5.1.trace")
    with pytest.warns(TraceWarning, match=r"run: cut short: \S+x\.5\.1\.trace ends at byte 132, without a footer$"):
        read(tmp_path / "run")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ((50, 0, 0), "makes no sense: unknown type 50"),
        ((65535, 0, 0), "makes no sense: unknown type -1"),
        ((READ, 8, (1 << 47) - 7), "makes no sense: non-canonical address 0x7ffffffffff9"),
        ((INSTR, 4, 1 << 63), "makes no sense: non-canonical address 0x8000000000000000"),
        ((BUNDLE, 9, 0), "makes no sense: a bundle of 9 instructions"),
        ((BUNDLE, 0, 0), "makes no sense: a bundle of 0 instructions"),
        ((MARKER, VERSION, 100), "format version 100 is not known"),
    ],
)
def test_an_entry_that_makes_no_sense_is_named(file, row, reason):
    with pytest.raises(TraceError) as error:
        read(file(pack(*begin(), row, *END)))
    colon = ":" if row[0] == MARKER else ""
    assert str(error.value).endswith(f".trace: entry 4 at byte 48{colon} {reason}")


def test_a_file_cut_at_any_byte_has_its_whole_entries(file):
    data = pack(*begin(), *ACCESSES, *END)
    for size in range(12, len(data) - 11):
        with pytest.warns(TraceWarning, match=r"cut short: ends (within the entry )?at byte \d+"):
            trace = read(file(data[:size]))
        assert expand(trace)[0] == expected(parse(data[: size // 12 * 12])[0])
    with pytest.raises(TraceError, match="cut short"):
        read(file(data[:-1]), strict=True)


@pytest.mark.as_shipped
def test_any_bytes_are_read_as_entry_by_entry(file, monkeypatch):
    monkeypatch.setattr(entries, "BUFFER", 240)
    random = np.random.default_rng(0)
    base = pack(*begin(), *ACCESSES, (MARKER, SYSCALL, 39), (THREAD, 4, 6), (PID, 4, 4), *ACCESSES, (MARKER, STAMP, 9), *ACCESSES, *END)
    kinds = [*range(50), 60, 255]
    for _ in range(500):
        data = bytearray(base)
        for _ in range(random.integers(0, 5)):
            at = int(random.integers(1, len(data) // 12)) * 12
            data[at + random.integers(0, 12)] = random.integers(0, 256)
            data[int(random.integers(1, len(data) // 12)) * 12] = random.choice(kinds)
        compare(file(bytes(data)), bytes(data))


def compare(path, data):
    """The reader and the plain parser see the same."""
    found, calls, stop, cut = parse(data)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        if stop:
            with pytest.raises(TraceError, match=f"at byte {stop[0]}:? (makes no sense: )?{stop[1]}$"):
                read(path)
            return
        trace = read(path)
    assert any("cut short" in str(warning.message) for warning in warned) == cut
    threads = trace.info["threads"]
    streams, others = expand(trace)
    assert streams == expected(found, threads.index)
    assert sum(count for _, count, kind, _ in others if kind == op.SYSCALL) + (231 in calls) + (60 in calls) == len(calls)
    validate(trace)
