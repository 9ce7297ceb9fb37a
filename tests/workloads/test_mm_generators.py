"""Generators of memory management: valid, legal for their program, the same however they are cut, and what the engine takes."""

import json

import numpy as np
import pytest
import walker

import workloads
from hwmodel import Agent, Trace, TraceError, op
from hwmodel.modelled import check_modelled
from hwmodel.trace import validate
from workloads.synthetic.drawing import BASE
from workloads.synthetic.rounds import runs, spread

SMALL = {
    "mprotect_toggle": {"pages": 64, "part": 8, "every": 100},
    "fork_snapshots": {"pages": 64, "every": 300, "snapshots": 5},
    "balloon": {"pages": 64, "chunk": 6, "part": 2, "every": 50},
    "ksm_merging": {"pages": 40, "contents": 5, "scan": 9, "every": 60},
    "numa_migration": {"pages": 64, "scan": 20, "every": 200, "phase": 1000},
    "swap_pressure": {"pages": 100, "memory": 30, "drift": 3, "every": 40},
    "huge_pages": {"pages": 1024, "every": 70},
    "mpi_halo": {"pages": 6, "halo": 2, "per_page": 3, "every": 2},
    "gru_block_copy": {"pages": 20, "length": 3, "every": 4},
    "gather_scatter": {"pages": 64, "vector": 8},
    "vm_boot_and_serve": {"pages": 600, "part": 8, "every": 100, "requests": 5},
    "live_migration": {"pages": 64, "stop": 8, "quiet": 100},
}
OTHERS = (
    ("mprotect_toggle", {"cpus": 3, "devices": 0}),
    ("fork_snapshots", {"during": 0}),
    ("fork_snapshots", {"cpus": 2, "devices": 2, "during": 1, "per_page": 4}),
    ("balloon", {"devices": 0, "share": 0.9}),
    ("ksm_merging", {"vms": 3, "vcpus": 0, "alike": 1, "contents": 2}),
    ("numa_migration", {"nodes": 3, "cpus": 1, "devices": 5}),
    ("swap_pressure", {"how": "cold"}),
    ("huge_pages", {"how": "mprotect", "collapse": "fault"}),
    ("huge_pages", {"how": "dontneed"}),
    ("mpi_halo", {"transport": "shared", "devices": 2}),
    ("mpi_halo", {"ranks": 2, "every": 1}),
    ("mpi_halo", {"ranks": 5, "devices": 1, "every": 0}),
    ("gru_block_copy", {"share": 0}),
    ("gather_scatter", {"cpus": 2, "devices": 3, "remote": 1}),
    ("vm_boot_and_serve", {"guest": False}),
    ("vm_boot_and_serve", {"devices": 0, "boot": 1}),
    ("live_migration", {"devices": 0, "exponent": 0, "writes": 0.9, "rounds": 3}),
    ("live_migration", {"pace": 0, "quiet": 0, "per_page": 64}),
)
CASES = [*((name, {}) for name in SMALL), *OTHERS]


def make(name, accesses=5000, **settings):
    return getattr(workloads, name)(accesses, **(SMALL[name] | settings))


def records(trace, size=1 << 18):
    return np.concatenate(list(trace.chunks(size)))


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_it_is_valid_and_its_program_could_have_done_it(name, settings):
    trace = make(name, **settings)
    validate(trace)
    walker.Walker(trace).replay(trace)


@pytest.mark.parametrize("name", SMALL)
def test_the_same_seed_gives_the_same_trace_however_it_is_cut(name):
    rounds = {"every": 1000} if "every" in SMALL[name] and name not in ("mpi_halo", "gru_block_copy") else {}
    trace = make(name, 70_000, seed=3, **rounds)
    whole = records(trace)
    assert (records(trace, 777) == whole).all()
    assert (records(make(name, 70_000, seed=3, **rounds)) == whole).all()
    other = records(make(name, 70_000, seed=4, **rounds))
    assert other.size != whole.size or (other != whole).any()
    assert trace.references == op.count_references(whole) == 70_000
    assert len(trace) == whole.size


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("accesses", [1, 2, 999])
def test_a_longer_trace_begins_like_a_shorter_one_that_ends_with_its_last_access(name, accesses):
    short, long = records(make(name, accesses)), records(make(name, 3000))
    assert op.count_references(short) == accesses
    assert short[-1]["kind"] <= op.FETCH
    assert (short[:-1] == long[: short.size - 1]).all()
    assert short[-1]["address"] == long[short.size - 1]["address"] and short[-1]["count"] <= long[short.size - 1]["count"]


@pytest.mark.parametrize("name", SMALL)
def test_a_trace_says_how_it_was_made(name):
    info = json.loads(json.dumps(make(name, seed=7).info))
    assert info["program"] == name and info["seed"] == 7 and info["accesses"] == 5000
    assert SMALL[name].items() <= info.items()


@pytest.mark.parametrize("name", SMALL)
def test_defaults_are_valid(name):
    validate(getattr(workloads, name)(200_000))


HOLDING = ("fork_snapshots", "gather_scatter", "gru_block_copy", "ksm_merging", "live_migration", "numa_migration")


@pytest.mark.parametrize("name", SMALL)
def test_what_holds_data_is_in_memory_from_the_start(name):
    prelude = make(name).prelude
    populated = prelude["count"][np.flatnonzero(prelude["kind"] == op.MMAP) + 1] & op.POPULATE != 0
    assert populated.all() if name in HOLDING else not populated.any()


WITHIN = (
    ("mprotect_toggle", {}), ("fork_snapshots", {}), ("balloon", {}), ("swap_pressure", {"how": "cold"}),
    ("huge_pages", {"collapse": "fault"}), ("huge_pages", {"collapse": "fault", "how": "mprotect"}),
    ("mpi_halo", {"transport": "shared"}), ("gru_block_copy", {}), ("gather_scatter", {}),
    ("vm_boot_and_serve", {"guest": False}),
)  # fmt: skip
BEYOND = {
    "ksm_merging": "ksm_merge", "numa_migration": "migrate", "swap_pressure": "madvise PAGEOUT",
    "huge_pages": "madvise COLLAPSE", "mpi_halo": "attach", "vm_boot_and_serve": "guest", "live_migration": "dirty_log",
}  # fmt: skip


def check(trace):
    ops = records(trace)
    check_modelled(trace, ops, np.flatnonzero(ops["kind"] > op.COMPUTE))


@pytest.mark.parametrize(("name", "settings"), WITHIN)
def test_what_says_so_stays_within_what_is_modelled(name, settings):
    check(make(name, **settings))


@pytest.mark.parametrize("name", BEYOND)
def test_the_others_have_the_operation_that_they_are_about(name):
    with pytest.raises(TraceError, match=f"{BEYOND[name]} is not modelled yet"):
        check(make(name, 20_000))


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("mprotect_toggle", {"part": 65}, r"part must be in \[1, 64\], not 65"),
        ("mprotect_toggle", {"every": 0}, "every must be at least 1, not 0"),
        ("mprotect_toggle", {"pages": 1 << 29}, r"pages must be in \[1, 268435456\]"),
        ("fork_snapshots", {"snapshots": 0}, "snapshots must be at least 1, not 0"),
        ("fork_snapshots", {"snapshots": 127}, r"cpus \+ devices \+ snapshots must be in \[1, 128\], not 129"),
        ("fork_snapshots", {"during": 1.5}, r"during must be in \[0, 1\]"),
        ("fork_snapshots", {"per_page": 0}, "per_page must be in"),
        ("balloon", {"share": 1}, r"share must be in \(0, 1\), not 1"),
        ("balloon", {"chunk": 63}, r"chunk must be in \[2, 62\], not 63"),
        ("balloon", {"part": 33}, r"part must be in \[1, 32\]"),
        ("ksm_merging", {"vms": 65}, r"vms \* \(1 \+ vcpus\) must be in \[1, 128\], not 130"),
        ("ksm_merging", {"scan": 81}, r"scan must be in \[1, 80\]"),
        ("ksm_merging", {"alike": -1}, r"alike must be in \[0, 1\]"),
        ("numa_migration", {"nodes": 0}, r"nodes must be in \[1, 64\]"),
        ("numa_migration", {"local": 2}, r"local must be in \[0, 1\]"),
        ("swap_pressure", {"memory": 101}, r"memory must be in \[1, 100\]"),
        ("swap_pressure", {"how": "free"}, "how must be 'pageout' or 'cold', not 'free'"),
        ("huge_pages", {"pages": 1000}, "pages must be a multiple of 512, not 1000"),
        ("huge_pages", {"part": 512}, r"part must be in \[1, 511\]"),
        ("huge_pages", {"how": "x"}, "how must be 'unmap', 'mprotect' or 'dontneed'"),
        ("huge_pages", {"collapse": "x"}, "collapse must be 'advice' or 'fault'"),
        ("mpi_halo", {"ranks": 1}, "ranks must be at least 2, not 1"),
        ("mpi_halo", {"ranks": 65, "devices": 1}, r"ranks \* \(1 \+ devices\) must be in \[1, 128\]"),
        ("mpi_halo", {"halo": 7}, r"halo must be in \[1, 6\]"),
        ("mpi_halo", {"transport": "tcp"}, "transport must be 'xpmem' or 'shared'"),
        ("gru_block_copy", {"devices": 0}, "devices must be at least 1"),
        ("gru_block_copy", {"length": 21}, r"length must be in \[1, 20\]"),
        ("gather_scatter", {"devices": 65}, r"devices must be in \[1, 64\]"),
        ("gather_scatter", {"vector": 4097}, r"vector must be in \[1, 4096\]"),
        ("vm_boot_and_serve", {"boot": 1.1}, r"boot must be in \[0, 1\]"),
        ("vm_boot_and_serve", {"part": 601}, r"part must be in \[1, 600\]"),
        ("live_migration", {"rounds": 0}, r"rounds must be in \[1, 65536\]"),
        ("live_migration", {"writes": 7}, r"writes must be in \[0, 1\], not 7"),
        ("live_migration", {"cpus": 0}, "cpus must be at least 1"),
    ],
)
def test_arguments_are_checked(name, arguments, message):
    with pytest.raises(TraceError, match=f"^{message}"):
        make(name, **arguments)


def test_runs_of_neighbours():
    first, length = runs(np.array([0, 1, 2, 5, 7, 8]))
    assert (first.tolist(), length.tolist()) == ([0, 5, 7], [3, 1, 2])
    assert [part.size for part in runs(np.array([], np.int64))] == [0, 0]


def test_what_is_spread_lies_evenly():
    assert spread(4, 8).tolist() == [0, 2, 4, 6]
    assert spread(3, 0).tolist() == [0, 0, 0]


AGENTS = [Agent("cpu", 0, "a"), Agent("cpu", 1, "b"), Agent("device", 0, "d")]
OWNED = op.mmap_unit(BASE, 1, 3, agent=0)
SEEN = op.mmap_unit(BASE, 1, 3, op.XPMEM, 1, BASE >> 12, agent=1)
LOOK = [(BASE, 1, 0, op.READ, 1)]


@pytest.mark.parametrize(
    ("ops", "why"),
    [
        ([(BASE, 1, 0, op.READ, 0)], "not mapped"),
        ([*OWNED, *op.paged_unit(op.MPROTECT, BASE, 1, [(0, 1)]), (BASE, 1, 0, op.WRITE, 0)], "protected"),
        ([*OWNED, *OWNED], "mapped already"),
        ([*op.paged_unit(op.MADVISE, BASE, 1, [(0, 4)])], "an operation on what is not mapped"),
        ([*OWNED, (0, 0, 0, op.SYNC, 0), *SEEN, *LOOK], "not attached"),
        ([*OWNED, (0, 0, 0, op.ATTACH, 1), *SEEN, *LOOK], "may come before the owner maps it"),
        ([*OWNED, (0, 0, 0, op.SYNC, 0), (0, 0, 0, op.ATTACH, 1), *SEEN, *LOOK, *op.paged_unit(op.MUNMAP, BASE, 1)], "still read"),
        ([*OWNED, *op.paged_unit(op.GUEST, BASE, 1, [(0, op.MUNMAP << 24)], agent=2)], "by the guest"),
    ],
)  # fmt: skip
def test_the_oracle_sees_what_is_illegal(ops, why):
    trace = Trace.from_records(AGENTS, ops)
    with pytest.raises(walker.IllegalError, match=why):
        walker.Walker(trace).replay(trace)
