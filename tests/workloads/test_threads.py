"""Thread recordings (what the QEMU plugin writes): against entries made by hand, and against a plain-Python twin."""

import random
import struct

import pytest

from hwmodel import op
from hwmodel.op import TraceError, TraceWarning
from hwmodel.trace import validate
from tests.workloads import naive_threads
from tests.workloads.naive import expand, expected
from workloads import read
from workloads.formats import assembly, read_source
from workloads.formats import entries as entries_module
from workloads.formats.threads.log import (
    ARGUMENT,
    BEGIN,
    CALL,
    END,
    EXEC,
    FETCH,
    FORKED,
    INITIAL,
    MAPPED_FILE,
    PROGRAM,
    READ,
    SAME,
    THREAD,
    THREAD_END,
    WRITE,
)  # fmt: skip
from workloads.streams import bytes_source

HEADER = b"\x89HWTHREAD\r\n\x1a" + struct.pack("<HH", 1, 16)
CODE, DATA, NEW = 0x401000, 0x600000, 0x700000


def entry(kind, address=0, number=0, thread=0, flags=0):
    return struct.pack("<QIHBB", address & (1 << 64) - 1, number, thread, kind, flags)


def fetch(address, count, size, thread=0):
    return entry(FETCH, address, size | count << 16, thread)


def call(number, args=(), result=0, thread=0, flags=0):
    args = [*args, *[0] * 6][:6]
    return entry(CALL, result, number, thread, flags) + b"".join(entry(ARGUMENT, a, i, thread, flags) for i, a in enumerate(args))


def initial(address, length, prot, inode=0, offset=0):
    file = entry(MAPPED_FILE, inode, 3 << 20 | 1, 0, INITIAL) if inode else b""
    return file + call(9, (address, length, prot, 0x12 if inode else 0x32, 0 if inode else -1, offset), address, 0, INITIAL)


START = (
    HEADER + entry(THREAD, 1000) + entry(PROGRAM, int.from_bytes(b"/bin/pro", "little"), 8) + entry(PROGRAM, ord("g"), 1)
    + initial(CODE, 0x2000, 5, inode=77, offset=0x1000) + initial(DATA, 0x2000, 3) + entry(BEGIN)
)  # fmt: skip
FINISH = call(231) + entry(END)
RECORDING = (
    START + fetch(CODE, 3, 12) + entry(WRITE, DATA, 8) + entry(READ, DATA + 8, 4)
    + call(9, (0, 8192, 3, 0x22, -1, 0), NEW)
    + entry(THREAD, 1001, 0, 1) + fetch(CODE + 0xFFE, 1, 5, 1) + entry(READ, NEW + 0xFFC, 8, 1)
    + call(11, (NEW, 8192), 0, 1) + call(11, (1, 8192), -22, 1) + call(56, (0x11,), 4321, 1, FORKED)
    + entry(THREAD_END, 0, 0, 1) + FINISH
)  # fmt: skip


@pytest.fixture(autouse=True)
def small_buffers(monkeypatch):
    """Thousands of short recordings are read."""
    monkeypatch.setattr(entries_module, "BUFFER", 1 << 12)
    monkeypatch.setattr(assembly, "BATCH", 1 << 9)


def trace_of(data, **options):
    return read_source(bytes_source(data), data[:64], **options)


def records(trace):
    return [tuple(record) for chunk in trace.chunks() for record in chunk.tolist()]


@pytest.mark.jit_off
@pytest.mark.as_shipped
def test_a_recording_of_two_threads(tmp_path):
    """Every kind of entry once, the records derived by hand."""
    path = tmp_path / "raw"
    path.write_bytes(RECORDING)
    with pytest.warns(TraceWarning, match="1 forked process was not recorded"):
        trace = read(path)
    assert records(trace) == [
        (CODE, 3, 0, op.FETCH, 0),
        (DATA, 1, 0, op.WRITE, 0),
        (DATA + 8, 1, 0, op.READ, 0),
        *op.mmap_unit(NEW, 2, 3),
        (CODE + 0xFFE, 1, 0, op.FETCH, 1),
        (CODE + 0x1000, 1, 0, op.FETCH | op.CONTINUES, 1),
        (NEW + 0xFFC, 1, 0, op.READ, 1),
        (NEW + 0x1000, 1, 0, op.READ | op.CONTINUES, 1),
        (NEW, 2, 0, op.MUNMAP, 1),
        (0, 1, 0, op.SYSCALL, 1),
        (0, 1, 0, op.FORK, 1),
        (0, 0, 0, op.EXIT, 2),
        (0, 0, 0, op.EXIT, 0),
    ]
    assert [tuple(record) for record in trace.prelude.tolist()] == [
        *op.mmap_unit(CODE, 2, 5, op.PRIVATE_FILE, 1, 1), *op.mmap_unit(DATA, 2, 3),
    ]  # fmt: skip
    assert [(agent.name, agent.space) for agent in trace.agents] == [("prog/0", 0), ("prog/1", 0), ("prog/fork 1", 1)]
    assert trace.info["program"] == "/bin/prog"
    assert trace.info["threads"] == {"prog/0": 1000, "prog/1": 1001}
    assert trace.info["forks_not_followed"] == 1
    assert trace.info["operations"] == {"exit": 2, "fork": 1, "mmap": 1, "munmap": 1, "syscall": 1}
    validate(trace)


def test_pieces_of_an_access_are_one():
    """Sixteen bytes come as two times eight; what is read and written by one instruction is a write."""
    trace = trace_of(
        START
        + entry(READ, DATA, 8) + entry(READ, DATA + 8, 8, 0, SAME)  # 16 bytes
        + entry(READ, DATA, 8) + entry(READ, DATA + 8, 8)  # two instructions
        + entry(READ, DATA + 0x1000, 4) + entry(WRITE, DATA + 0x1000, 4, 0, SAME)  # modified
        + entry(READ, DATA, 8) + entry(WRITE, DATA + 0x1008, 8, 0, SAME)  # elsewhere: a push
        + entry(WRITE, DATA + 0xFF8, 8) + entry(WRITE, DATA + 0x1000, 8, 0, SAME) + FINISH  # 16 bytes that cross
    )  # fmt: skip
    assert records(trace)[:-1] == [
        (DATA, 3, 0, op.READ, 0),
        (DATA + 0x1000, 1, 0, op.WRITE, 0),
        (DATA, 1, 0, op.READ, 0),
        (DATA + 0x1008, 1, 0, op.WRITE, 0),
        (DATA + 0xFF8, 1, 0, op.WRITE, 0),
        (DATA + 0x1000, 1, 0, op.WRITE | op.CONTINUES, 0),
    ]


def test_pieces_join_to_64_bytes_at_most():
    """A ninth piece of eight bytes is an access of its own: no register is longer."""
    pieces = [entry(READ, DATA + 8 * k, 8, 0, SAME if k else 0) for k in range(9)]
    for n, accesses in ((8, 1), (9, 2)):
        assert records(trace_of(START + b"".join(pieces[:n]) + FINISH))[0] == (DATA, accesses, 0, op.READ, 0)


def test_a_thread_that_has_ended_does_nothing_more():
    start = START + entry(THREAD, 1001, 0, 1) + entry(READ, DATA, 1, 1) + entry(THREAD_END, 0, 0, 1)
    with pytest.raises(TraceError, match=rf"^bytes: the entry at byte {len(start)} makes no sense$"):
        trace_of(start + entry(READ, DATA, 1, 1) + FINISH)
    trace = trace_of(start + entry(THREAD, 1002, 0, 1) + entry(READ, DATA, 1, 1) + FINISH)  # its number may come again
    assert len(trace.agents) == 3


def test_a_file_is_one_by_its_inode():
    """Two descriptors of one inode are one file; of two inodes, two."""
    maps = [(3, 500), (4, 500), (4, 501)]
    data = b"".join(entry(MAPPED_FILE, inode, 9) + call(9, (0, 4096, 1, 2, fd, 0), NEW) for fd, inode in maps)
    flags = [arg[1] >> op.FILE_SHIFT for arg in records(trace_of(START + data + FINISH)) if arg[3] == op.ARG]
    assert flags == [2, 2, 3]  # 1 is the program


def test_without_events_all_that_is_used_is_there():
    data = START + fetch(CODE, 1, 1) + call(9, (0, 8192, 3, 0x22, -1, 0), NEW) + entry(WRITE, NEW, 1) + FINISH
    trace = trace_of(data, events=False)
    assert records(trace) == [(CODE, 1, 0, op.FETCH, 0), (NEW, 1, 0, op.WRITE, 0)]
    flags = [7 | op.POPULATE] * 2
    assert [arg[1] for arg in trace.prelude.tolist() if arg[3] == op.ARG] == flags


def test_an_execve_ends_a_recording_unless_it_fails():
    trace = trace_of(START + entry(EXEC))
    assert records(trace) == [(0, 0, 0, op.EXIT, 0)]
    trace = trace_of(START + entry(EXEC) + call(59, (), -2) + entry(READ, DATA, 1) + FINISH)
    assert records(trace) == [(0, 1, 0, op.SYSCALL, 0), (DATA, 1, 0, op.READ, 0), (0, 0, 0, op.EXIT, 0)]


def test_where_there_is_no_room_threads_share_the_agents_of_those_that_ended():
    born = b"".join(
        entry(THREAD, n, 0, n) + entry(READ, DATA, 1, n) + entry(THREAD_END, 0, 0, n) for n in range(1, 131)
    )  # fmt: skip
    with pytest.warns(TraceWarning, match="3 threads share the agent of another"):
        trace = trace_of(START + born + FINISH)
    assert len(trace.agents) == op.AGENTS
    assert trace.info["threads_that_share_an_agent"] == 3
    reads = {record[4]: record[1] for record in records(trace) if record[3] == op.READ}
    assert reads == {agent: 2 if agent <= 3 else 1 for agent in range(1, 128)}
    validate(trace)
    alive = b"".join(entry(THREAD, n, 0, n) for n in range(1, 129))
    with pytest.raises(TraceError, match="more than 128 threads and processes"):
        trace_of(START + alive + FINISH)


BAD = {
    "an access by nobody": entry(READ, DATA, 1, 9),
    "of no bytes": entry(READ, DATA, 0),
    "beyond memory": entry(READ, 1 << 47, 1),
    "kind": entry(12),
    "fetches across pages": fetch(CODE + 0xFFE, 2, 5),
    "a stray argument": entry(ARGUMENT, 1, 0),
    "arguments in disorder": call(11, (NEW, 1))[:16] + call(11, (NEW, 1))[32:] + entry(ARGUMENT, 0, 0),
    "a call by nobody": call(11, (NEW, 4096), 0, 9),
    "an impossible munmap": call(11, (1 << 47, 4096), 0),
    "an end of nobody": entry(THREAD_END, 0, 0, 9),
    "a late beginning": entry(BEGIN),
    "a late mapping": initial(NEW, 4096, 3),
}


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("behind", [FINISH, b""], ids=["within", "at the end"])
def test_what_makes_no_sense_is_named(what, behind):
    start = START + entry(READ, DATA, 1)
    byte = len(start)
    with pytest.raises(TraceError, match=rf"^bytes: the entry at byte {byte} makes no sense$"):
        trace_of(start + BAD[what] + behind)


def test_a_newer_version_is_refused():
    with pytest.raises(TraceError, match="byte 12: version 2 with entries of 24 bytes"):
        trace_of(HEADER[:12] + struct.pack("<HH", 2, 24))


def test_a_recording_cut_anywhere_gives_its_whole_entries():
    """Four reads, a call of seven entries, then the end: all behind the start is cut at each byte."""
    data = START + b"".join(entry(READ, DATA + 8 * i, 4) for i in range(4)) + call(11, (NEW, 4096)) + FINISH
    for size in range(len(START), len(START) + 11 * 16 + 1):
        whole, rest = divmod(size - len(START), 16)
        if 4 < whole < 11:
            where = f"within the call at byte {len(START) + 4 * 16}"
        else:
            where = f"{'within the entry ' if rest else ''}at byte {size - rest}"
        with pytest.warns(TraceWarning, match=f"bytes: cut short: ends {where}$"):
            trace = trace_of(data[:size])
        assert trace.references == min(whole, 4)
        assert trace.info["operations"] == ({"munmap": 1} if whole == 11 else {})
        with pytest.raises(TraceError, match="cut short"):
            read_source(bytes_source(data[:size], strict=True), data[:64])


def random_entries(rng, count):
    entries, last = [], (DATA, 8)
    while len(entries) < count:
        thread, kind = rng.randrange(3), rng.choice([READ, WRITE, FETCH, READ, WRITE, CALL])
        if kind == CALL and rng.random() < 0.1:
            entries.append((CALL, 0, 11, thread, 0))
            values = (NEW + 4096 * rng.randrange(3), rng.choice([1, 4096, 5000]), 0, 0, 0, 0)
            entries += [(ARGUMENT, value, i, thread, 0) for i, value in enumerate(values)]
        elif kind == FETCH:
            address = CODE + rng.randrange(4096)
            fits = min(4096 - address % 4096, 15)
            entries.append((FETCH, address, fits | rng.randrange(1, 5) << 16 if fits > 3 else 5 | 1 << 16, thread, 0))
        elif kind != CALL:
            near = rng.choice([last[0], last[0] + last[1], DATA + 8 * rng.randrange(512)])
            size = rng.choice([8, 8, 8, 4, 1])
            entries.append((kind, near, size, rng.choice([thread, 0]), rng.choice([0, SAME])))
            last = near, size
    return entries


@pytest.mark.as_shipped
@pytest.mark.parametrize("chunk", [16 * 16, 37 * 16, 1 << 16])
def test_random_entries_become_what_the_twin_says(chunk, monkeypatch):
    monkeypatch.setattr(entries_module, "BUFFER", chunk)
    for seed in range(20):
        entries = random_entries(random.Random(seed), 400)
        data = START + entry(THREAD, 1, 0, 1) + entry(THREAD, 2, 0, 2) + b"".join(entry(*row) for row in entries) + FINISH
        found, stop, cut = naive_threads.parse(data)
        trace = trace_of(data)
        assert (stop, cut) == (None, False)
        assert expand(trace)[0] == expected(found, lambda agent: agent)
        unmapped = [(row[4], row[0]) for row in records(trace) if row[3] == op.MUNMAP]
        assert unmapped == [(row[3], entries[at + 1][1]) for at, row in enumerate(entries) if row[0] == CALL]
