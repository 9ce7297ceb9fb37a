"""What an access of a device stands for: records, lines, pages; against a second, plain way of merging, and by hand."""

import functools
import itertools

import naive_merging
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hwmodel
from hwmodel import op
from hwmodel.op import FETCH, READ, WRITE, Agent, TraceError
from hwmodel.trace import Trace, validate
from workloads import interleave, offload, uniform
from workloads.coalesce import LIMIT

CPUS = [Agent("cpu", 0, "cpu0"), Agent("cpu", 1, "cpu1")]
AT = 1 << 32
SYNC, SYSCALL, COMPUTE = [(0, 0, 0, op.SYNC, 0)], [(0, 1, 0, op.SYSCALL, 0)], [(0, 5, 0, op.COMPUTE, 0)]


def all_records(trace, size=1 << 18):
    return [tuple(record) for chunk in trace.chunks(size) for record in chunk.tolist()]


def given_away(records, **arguments):
    """The records of CPUs and of one device that gets every read and write of CPU 0."""
    return all_records(offload(Trace.from_records(CPUS, records), 1.0, **arguments))


def access(line, count=1, gap=0, kind=READ, page=0, agent=0):
    return (AT + (page << 12) + (line << 6) + 8, count, gap, kind, agent)


def of_device(line, count, gap=0, kind=READ, page=0):
    return access(line, count, gap, kind, page, 2)


@pytest.mark.parametrize(
    ("records", "lines"),
    [
        ([access(0)], 1),
        ([access(0, 8)], 1),
        ([access(0, 9)], 2),
        ([access(0, 1000)], 125),
        ([access(0), access(1), access(63)], 3),
        ([access(0), access(0), access(1), access(0)], 2),
        ([access(0, 8), access(0, 8), access(0, 1)], 3),
        ([access(5, 17), access(6, 1)], 3),
        ([access(line) for line in range(64)] * 2, 64),
        ([access(line) for line in range(64)] * 9, 72),
    ],
)
def test_lines_of_a_run(records, lines):
    """As many as records begin in, or as many as hold what its accesses move: 8 bytes each."""
    assert given_away(records) == [(*records[0][:1], lines, 0, READ, 2)]
    assert given_away(records, unit="page") == [(*records[0][:1], 1, 0, READ, 2)]
    assert given_away(records, unit="record") == [(*record[:4], 2) for record in records]


@pytest.mark.parametrize(("bytes", "lines"), [(1, 2), (4, 3), (6, 5), (8, 6), (64, 45)])
def test_bytes_of_an_access(bytes, lines):
    assert given_away([access(0, 20), access(1, 25)], bytes=bytes) == [of_device(0, lines)]


def test_a_run_is_of_one_page_and_one_kind():
    found = given_away([
        access(0), access(1), access(1, kind=WRITE), access(2, kind=WRITE), access(2, page=1, kind=WRITE), access(2, page=1), access(0),
    ])  # fmt: skip
    assert found == [of_device(0, 2), of_device(1, 2, kind=WRITE), of_device(2, 1, 0, WRITE, 1), of_device(2, 1, page=1), of_device(0, 1)]


def test_what_others_do_in_between_does_not_end_a_run():
    """It stands in the place of its first record; fetches, other threads, instructions and plain system calls are where they were."""
    fetch, other = access(3, kind=FETCH), access(9, page=7, agent=1)
    found = given_away([fetch, access(0), fetch, other, *SYSCALL, *COMPUTE, access(1), fetch, access(2)])
    assert found == [fetch, of_device(0, 3), fetch, other, *SYSCALL, *COMPUTE, fetch]


@pytest.mark.parametrize("agent", [0, 1])
@pytest.mark.parametrize("kind", [kind for kind in op.NAMES if kind >= op.MMAP and kind not in (op.ARG, op.SYSCALL)])
def test_an_operation_ends_a_run(kind, agent):
    """Of any thread, with its operands: what the page holds may be another after it."""
    operands = {op.MADVISE: op.DONTNEED, op.MREMAP: 1, op.PUNCH: 1, op.GUEST: op.MUNMAP << op.GUEST_SHIFT}
    size = {op.FORK: 2, op.EXIT: 0, op.SYNC: 0, op.ATTACH: 1, op.DETACH: 1}.get(kind, 1)
    unit = [(AT, size, 0, kind, agent), *[(0, operands.get(kind, 0), 0, op.ARG, agent)] * op.ARGS.get(kind, 0)]
    if kind == op.EXIT and agent == 0:
        return  # nothing of its space comes after it
    trace = Trace.from_records([*CPUS, Agent("cpu", 2, "child")], [access(0), access(1), *unit, access(2), access(3)])
    found = all_records(offload(trace, 1.0))
    assert found == [(*access(0)[:1], 2, 0, READ, 3), *unit, (*access(2)[:1], 2, 0, READ, 3)]


def test_the_halves_of_a_crossing_access_are_accesses_of_their_pages():
    crossing = [(AT + 4092, 1, 2, READ, 0), (AT + 4096, 1, 0, READ | op.CONTINUES, 0)]
    found = given_away([access(1), *crossing, access(5, page=1)])
    assert found == [of_device(1, 2, 2), (AT + 4096, 2, 0, READ, 2)]
    assert given_away(crossing, unit="record") == [(*record[:4], 2) for record in crossing]
    validate(offload(Trace.from_records(CPUS, [access(1), *crossing]), 1.0))


def test_instructions_between_the_accesses_of_a_run_come_before_it():
    """All of them, once; a run ends where there would be too many for a record."""
    most = (1 << 15) - 1
    assert given_away([access(0, gap=7), access(1, gap=30_000), access(2, gap=most - 30_007)]) == [of_device(0, 3, most)]
    assert given_away([access(0, gap=7), access(1, gap=30_000), access(2, gap=most - 30_006), access(3, gap=1)]) == [
        of_device(0, 2, 30_007), of_device(2, 2, most - 30_005),
    ]  # fmt: skip


def test_a_run_of_more_accesses_than_a_record_can_have_ends():
    most = op.MOST_COUNT
    assert given_away([access(0, most - 1), access(1), access(2)], bytes=64) == [of_device(0, most), of_device(2, 1)]


@pytest.mark.parametrize("cut", [1, 100, 1 << 18])
def test_a_run_ends_after_so_many_records(cut):
    """The first record that is LIMIT behind begins another: no more than LIMIT are held back, whatever comes."""
    fetches = [access(3, kind=FETCH)] * (LIMIT - 2)
    for between, apart in ((fetches, False), ([*fetches, fetches[0]], True)):
        trace = offload(Trace.from_records(CPUS, [access(0), *between, access(1)]), 1.0)
        expected = [of_device(0, 1), *between, of_device(1, 1)] if apart else [of_device(0, 2), *between]
        assert all_records(trace, cut) == expected


def test_no_more_is_held_back_than_it_says():
    """A device that never comes back, in pieces of a hundred records: what is read and not yet passed on stays below LIMIT."""
    read = [0]

    def source():
        yield op.as_records([access(0)])
        for _ in range(200):
            read[0] += 100
            yield op.as_records([access(3, kind=FETCH)] * 100)

    passed = 0
    for chunk in offload(Trace(CPUS, source), 1.0).chunks():
        passed += chunk.size
        assert read[0] + 1 - passed < LIMIT + 100
    assert passed == 20_001


def test_each_device_has_its_own_run():
    """By page: pages of two devices and of the CPU take turns, and each device's records are one run for each page."""
    records = [access(line, page=page) for line in range(8) for page in range(40)]
    plain = all_records(offload(Trace.from_records(CPUS, records), 0.7, 2, "page", unit="record"))
    pages = {agent: sorted({record[0] >> 12 for record in plain if record[4] == agent}) for agent in (0, 2, 3)}
    assert all(pages.values())
    one = {agent: pages[agent][0] for agent in (0, 2, 3)}  # of a page each, so that nothing else ends a run
    kept = [record for record in records if record[0] >> 12 in one.values()]
    found = all_records(offload(Trace.from_records(CPUS, kept), 0.7, 2, "page"))
    assert sorted((record[0] >> 12, record[1], record[4]) for record in found if record[4]) == sorted((one[a], 8, a) for a in (2, 3))
    assert [record[0] >> 12 for record in found if record[4] == 0] == [one[0]] * 8


def local_sample(random, units):
    """Accesses of few pages and lines, crossing ones, large counts and gaps, of two processes, and now and then an operation."""
    found = []
    for _ in range(units):
        what, page = random.integers(0, 60), int(random.integers(0, 4))
        line, kind = int(random.integers(0, 64)), int(random.integers(0, 8) == 0)
        if what == 0:
            found.append(op.paged_unit(op.MADVISE, AT, 1, [(0, op.DONTNEED)], agent=int(random.integers(0, 2))))
        elif what == 1:
            found.append([SYNC, SYSCALL, COMPUTE][random.integers(0, 3)])
        elif what < 6:
            first = AT + (page << 12) + 4096
            found.append([(first - 3, 1, 0, kind, 0), (first, 1, 0, kind | op.CONTINUES, 0)])
        elif what < 16:
            found.append([access(line, kind=FETCH, page=page)])
        elif what < 20:
            found.append([access(line, page=page, agent=1)])
        else:
            count = int(random.choice([1, 1, 1, 7, 90, op.MOST_COUNT - 50]))
            found.append([access(line, count, int(random.choice([0, 0, 0, 3, 12_000])), kind, page // 3)])
    return found


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 1 << 32), st.integers(1, 400), st.sampled_from(["line", "page"]), st.integers(1, 64), st.integers(1, 3),
    st.sampled_from(["block", "page"]), st.sampled_from([1, 7, 1 << 18]),
)  # fmt: skip
def test_it_does_what_its_twin_does_wherever_it_is_cut(seed, size, unit, bytes, engines, by, cut):
    random = np.random.default_rng(seed)
    units = local_sample(random, size)
    edges = [0, *sorted(set(random.integers(1, size + 1, 5).tolist())), size]
    pieces = [op.as_records(record for unit in units[a:b] for record in unit) for a, b in itertools.pairwise(edges)]
    trace = Trace(CPUS, functools.partial(iter, pieces))
    same = {"share": 0.6, "engines": engines, "by": by, "block": 5, "seed": seed}
    plain = all_records(offload(trace, **same, unit="record"))
    merged = offload(trace, **same, unit=unit, bytes=bytes)
    validate(merged)
    assert all_records(merged, cut) == naive_merging.merged(plain, len(CPUS), unit, bytes, LIMIT)


@pytest.mark.parametrize("unit", ["line", "page"])
def test_its_size_is_counted_when_asked_for(unit):
    merged = offload(uniform(1000, pages=2), unit=unit, by="page")
    assert merged.known_size is None
    whole = all_records(merged)
    assert (len(merged), merged.references) == (len(whole), sum(record[1] for record in whole)) and len(whole) < 1000
    assert offload(uniform(1000), unit="record").known_size == (1000, 1000)


def test_a_bad_record_is_named_by_its_place_in_the_trace():
    bad = Trace.from_records(CPUS, [access(0), access(1), access(2), (-1, 1, 0, READ, 0)], name="bad")
    for size in (1, 100):
        with pytest.raises(TraceError, match=r"^bad: record 3: non-canonical address -0x1$"):
            list(offload(bad, 1.0).chunks(size))
    gap = Trace.from_records(CPUS, [access(0), access(1, gap=-5)], name="bad")
    with pytest.raises(TraceError, match="record 1: negative gap -5"):
        hwmodel.simulate(hwmodel.preset("gru-2008"), offload(gap, 1.0), progress=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"unit": "byte"}, "unit must be 'record', 'line' or 'page', not 'byte'"),
        ({"unit": None}, "unit must be 'record', 'line' or 'page', not None"),
        ({"bytes": 0}, r"bytes must be in \[1, 64\], not 0"),
        ({"bytes": 65}, r"bytes must be in \[1, 64\], not 65"),
        ({"bytes": -8, "unit": "page"}, r"bytes must be in \[1, 64\], not -8"),
        ({"bytes": 7.5}, r"bytes must be a whole number, not 7.5"),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(TraceError, match=f"^offload: {message}$"):
        offload(uniform(10), **arguments)


def test_a_merged_trace_composes():
    """Beside a second program: the devices' runs are what they are alone."""
    alone = all_records(offload(uniform(300, pages=3)))
    both = all_records(interleave([offload(uniform(300, pages=3)), uniform(50)], [20, 5]))
    assert [record for record in both if record[4] < 2] == alone
