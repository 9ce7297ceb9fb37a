"""What is said of a small trace, counted by hand, and its picture."""

import numpy as np
import pytest

import analysis
import workloads
from analysis.cli import main
from hwmodel import op
from hwmodel.op import Agent
from hwmodel.trace import Trace

A = 0x10_0000_0000
AGENTS = [Agent("cpu", 0, "main"), Agent("cpu", 1, "child"), Agent("device", 0, "engine")]
RECORDS = [
    *op.mmap_unit(A, 600, 3),
    (A, 3, 7, op.WRITE, 0),
    (A + 4096, 1, 0, op.READ, 0),
    (A, 1, 0, op.READ, 0),
    (0x400FFF, 1, 0, op.FETCH, 0),
    (0x401000, 1, 0, op.FETCH | op.CONTINUES, 0),
    (0, 100, 0, op.COMPUTE, 2),
    (A + (513 << 12), 5, 0, op.READ, 2),
    (0, 3, 0, op.SYSCALL, 0),
    *op.paged_unit(op.MUNMAP, A + (1 << 21), 1 << 31),
    (0, 1, 0, op.FORK, 0),
    (A, 2, 0, op.READ, 1),
    *op.paged_unit(op.MADVISE, A, 8, [(0, op.DONTNEED)]),
    (0, 0, 0, op.EXIT, 1),
]


@pytest.fixture
def trace():
    return Trace.from_records(AGENTS, RECORDS, info={"program": "hand"})


def test_agents(trace):
    frame = analysis.inspect(trace).agents
    assert list(frame["name"]) == ["main", "child", "engine"]
    assert list(frame["reads"]) == [2, 2, 5] and list(frame["writes"]) == [3, 0, 0] and list(frame["fetches"]) == [1, 0, 0]
    assert list(frame["records"]) == [len(RECORDS) - 4, 2, 2]
    assert list(frame["instructions"]) == [7 + 1, 0, 100]
    assert list(frame["pages"]) == [4, 1, 1] and list(frame["huge_pages"]) == [2, 1, 1]
    assert list(frame["pages_written"]) == [1, 0, 0] and list(frame["pages_fetched"]) == [2, 0, 0]


def test_operations(trace):
    frame = analysis.inspect(trace).operations.set_index("operation")
    wanted = {"mmap": (1, 600), "munmap": (1, 1 << 31), "fork": (1, 0), "madvise": (1, 8), "exit": (1, 0), "syscall": (1, 0)}
    assert {name: tuple(row) for name, row in frame.iterrows()} == wanted


def test_reuse(trace):
    frame = analysis.inspect(trace, picture=False).reuse.set_index("entries")
    # main: A three times (cold, 0, 0), A + 1 cold, A at distance 1; two cold pages of code; child: cold, 0; engine: cold, 0, 0, 0, 0
    assert frame.loc[1, 0] == 5 / 7 and frame.loc[2, 0] == 4 / 7 and frame.loc[65536, 0] == 4 / 7
    assert frame.loc[1, 1] == 1 / 2 and frame.loc[1, 2] == 1 / 5
    assert frame.loc[1, "all"] == 7 / 14


def test_fetches_between_data_do_not_evict_it():
    """A loop that reads a page more than fit beside its code: runs of fetches are one record, so a TLB for both would see another order."""
    loop = [record for page in range(17) for record in ((0x401000, 1, 0, op.FETCH, 0), (A + (page << 12), 1, 0, op.READ, 0))]
    merged = [(*loop[0][:1], 17, *loop[0][2:]), *loop[1::2]]
    for records in (loop, merged):
        frame = analysis.inspect(Trace.from_records(AGENTS[:1], [*op.mmap_unit(A, 600, 3), *records, loop[1]]), picture=False).reuse
        misses = frame.set_index("entries")["all"] * 35
        assert [round(misses[size]) for size in (1, 16, 19, 64)] == [19, 19, 18, 18]


@pytest.mark.parametrize("loads, codes, misses", [
    ([*range(16)], [0] * 17 + [1, 0], 16 + 2), ([*range(17)] * 2, [0] * 35, 34 + 1), ([*range(16)] * 2, [*range(16)] * 2, 16 + 16),
])  # fmt: skip
def test_18_unified_lru(tmp_path, loads, codes, misses):
    """Code and data in turns, in a log of lackey's: 16 entries of either kind miss as a list that is kept by hand does."""
    text = ""
    for at, code in enumerate(codes):
        text += f"I  {0x4001000 + 4096 * code:08x},4\n" + (f" L {0x1FFE000000 + 4096 * loads[at]:x},8\n" if at < len(loads) else "")
    (tmp_path / "log").write_text(text)
    frame = analysis.inspect(workloads.read(tmp_path / "log", events=False), picture=False).reuse.set_index("entries")
    assert frame.loc[16, "all"] == pytest.approx(misses / (len(loads) + len(codes)))


def test_memory_and_time(trace):
    footprint = analysis.inspect(trace).footprint
    assert footprint.places.tolist() == [[0, 0x400, 2], [0, A >> 12, 3], [1, A >> 12, 1]]
    assert footprint.pages == 6
    assert footprint.heat.sum() == trace.references
    rows = np.flatnonzero(footprint.heat.sum(axis=1))
    assert rows.tolist() == [number * 160 // 6 for number in range(6)]
    assert footprint.events[op.MUNMAP].sum() == 1
    at = RECORDS.index((0, 1, 0, op.FORK, 0))
    assert np.flatnonzero(footprint.events[op.FORK]).tolist() == [at * 240 // len(RECORDS)]


def test_the_picture_and_the_command_line(trace, tmp_path, capsys):
    path, picture = tmp_path / "x.hwtrace", tmp_path / "x.png"
    trace.save(path)
    assert main(["inspect", str(path), "--picture", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    text = capsys.readouterr().out
    assert "engine" in text and "munmap" in text and "64 entries" in text
    first = picture.read_bytes()
    assert main(["inspect", str(path), "--picture", str(picture)]) == 0
    assert picture.read_bytes() == first
    assert main(["inspect", str(path), "--picture", str(tmp_path / "x.jpg")]) == 2


def test_a_trace_without_accesses_is_described_too():
    found = analysis.inspect(Trace.from_records(AGENTS[:1], [(0, 1, 0, op.SYSCALL, 0)]))
    assert int(found.agents["pages"].sum()) == 0
    assert np.isnan(found.reuse["all"]).all()
    found.plot()
