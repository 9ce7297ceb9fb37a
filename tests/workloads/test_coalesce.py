"""Coalescing loses nothing, and does not depend on how the stream is cut."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tlbs import misses

from hwmodel import op
from hwmodel.op import Agent
from hwmodel.trace import Trace, validate
from workloads.coalesce import LIMIT, coalesce

KINDS = (op.READ, op.WRITE, op.FETCH)


def access(kind, page, offset=0, gap=0, agent=0):
    return [(page << 12 | offset, 1, gap, kind, agent)]


def crossing(kind, page, agent=0):
    return [(page << 12 | 4092, 1, 0, kind, agent), ((page + 1) << 12, 1, 0, kind | op.CONTINUES, agent)]


def run(units, cuts=(), spaces=(0,)):
    """Coalesced records of units, cut into pieces before the units numbered `cuts`."""
    edges = [0, *sorted(cuts), len(units)]
    pieces = (
        op.as_records(record for unit in units[a:b] for record in unit)
        for a, b in itertools.pairwise(edges)
        if b > a
    )
    return [tuple(record) for piece in coalesce(pieces, spaces) for record in piece.tolist()]


def flat(units):
    return [record for unit in units for record in unit]


UNITS = st.one_of(
    st.builds(access, st.sampled_from(KINDS), st.integers(0, 9), st.integers(0, 4095), st.sampled_from((0, 0, 0, 5))),
    st.builds(access, st.sampled_from(KINDS), st.integers(0, 1)),
    st.builds(crossing, st.sampled_from(KINDS), st.integers(0, 9)),
    st.sampled_from([[(0, 1, 0, op.SYSCALL, 0)], [(0, 9, 0, op.COMPUTE, 0)], op.mmap_unit(0, 1, 3)]),
)


@settings(deadline=None)
@given(st.lists(UNITS, max_size=200), st.sets(st.integers(0, 200)))
def test_every_lru_tlb_misses_as_often(units, cuts):
    records = run(units, [cut for cut in cuts if cut < len(units)])
    for first, second in (((1, 1), (1, 2)), ((2, 2), (4, 2)), ((1, 3), (2, 2)), ((4, 1), (2, 4))):
        assert misses(records, first, second) == misses(flat(units), first, second)


@settings(deadline=None)
@given(st.lists(UNITS, max_size=200), st.sets(st.integers(0, 200)))
def test_cuts_do_not_matter(units, cuts):
    assert run(units, [cut for cut in cuts if cut < len(units)]) == run(units)


@settings(deadline=None)
@given(st.lists(UNITS, max_size=200))
def test_accesses_operations_and_instructions_are_all_there(units):
    before, after = flat(units), run(units)
    for kind in {record[3] for record in before}:
        if kind != op.COMPUTE:
            assert sum(r[1] for r in before if r[3] == kind) == sum(r[1] for r in after if r[3] == kind)
    gaps = [sum(r[2] + (r[1] if r[3] == op.COMPUTE else 0) for r in records) for records in (before, after)]
    assert gaps[0] == gaps[1]
    validate(Trace.from_records([Agent("cpu", 0, "x")], after))


@pytest.mark.jit_off
@pytest.mark.as_shipped
def test_a_run_is_one_record_where_it_began_and_the_other_stream_does_not_end_it():
    units = [access(op.FETCH, 1, 8), access(op.READ, 5), access(op.FETCH, 1, 12), access(op.READ, 5, 4), access(op.FETCH, 2)]
    assert run(units) == [
        (0x1008, 2, 0, op.FETCH, 0),
        (0x5000, 2, 0, op.READ, 0),
        (0x2000, 1, 0, op.FETCH, 0),
    ]


def test_a_write_ends_a_run_of_reads():
    assert [record[1] for record in run([access(op.READ, 1), access(op.WRITE, 1), access(op.READ, 1)])] == [1, 1, 1]


@pytest.mark.jit_off
@pytest.mark.as_shipped
def test_an_operation_ends_the_runs_of_its_space_only():
    units = [access(op.READ, 1), access(op.READ, 1, agent=1), access(op.READ, 1, agent=2)]
    again = [*units, [(0, 0, 0, op.BRK, 1)], *units]
    assert [r[1] for r in run(again, spaces=(0, 0, 1)) if r[3] == op.READ] == [1, 1, 2, 1, 1]


@pytest.mark.parametrize("kind", sorted(set(op.NAMES) - {*KINDS, op.COMPUTE, op.ARG}), ids=op.NAMES.get)
def test_every_operation_ends_runs(kind):
    between = [(0x9000, 1, 0, kind, 1), *[(0, 1, 0, op.ARG, 1)] * op.ARGS.get(kind, 0)]
    units = [access(op.READ, 1), access(op.FETCH, 2), access(op.READ, 1, agent=1), access(op.READ, 1, agent=2)]
    found = run([*units, between, *units], spaces=(0, 0, 1))
    assert [r for r in found if r[3] > op.FETCH] == between
    assert [(r[4], r[3], r[1]) for r in found if r[3] <= op.FETCH] == [
        (0, op.READ, 1), (0, op.FETCH, 1), (1, op.READ, 1), (2, op.READ, 2), (0, op.READ, 1), (0, op.FETCH, 1), (1, op.READ, 1)
    ]  # fmt: skip


def test_computation_ends_no_run():
    units = [access(op.READ, 1), [(0, 9, 0, op.COMPUTE, 0)], access(op.READ, 1)]
    assert run(units) == [(0x1000, 2, 0, op.READ, 0), (0, 9, 0, op.COMPUTE, 0)]


def test_a_crossing_access_is_merged_with_nothing():
    units = [access(op.READ, 1), crossing(op.READ, 1), access(op.READ, 2), access(op.READ, 2)]
    assert [record[1] for record in run(units)] == [1, 1, 1, 2]


@pytest.mark.jit_off
@pytest.mark.as_shipped
def test_gaps_of_merged_accesses_go_to_the_next_record():
    units = [access(op.READ, 1, gap=1), *[access(op.READ, 1, gap=20_000)] * 2, access(op.READ, 2, gap=3)]
    assert run(units) == [
        (0x1000, 3, 1, op.READ, 0),
        (0, 40_003, 0, op.COMPUTE, 0),
        (0x2000, 1, 0, op.READ, 0),
    ]
    assert run(units[:3])[-1] == (0, 40_000, 0, op.COMPUTE, 0)


@pytest.mark.parametrize("owed, last", [(32_767, [(0x2000, 1, 32_767, op.READ, 0)]),
                                        (32_768, [(0, 32_768, 0, op.COMPUTE, 0), (0x2000, 1, 0, op.READ, 0)])])  # fmt: skip
def test_a_gap_that_does_not_fit_is_computation(owed, last):
    assert run([access(op.READ, 1), access(op.READ, 1, gap=30_000), access(op.READ, 2, gap=owed - 30_000)])[1:] == last


@pytest.mark.parametrize("cut", [13, 100, 9999])
def test_what_is_held_back_is_bounded(cut):
    units = [unit for i in range(3 * LIMIT) for unit in (access(op.FETCH, 1), access(op.READ, i % 7))]
    records = run(units, range(cut, len(units), cut))
    assert records == run(units)
    assert sum(r[3] == op.FETCH for r in records) == pytest.approx(3, abs=1)
    assert misses(records) == misses(flat(units))


def test_a_run_ends_after_as_many_records_as_are_held_back():
    """Of the LIMIT records that are held the run's own is the first; an access that finds so many begins another run."""
    others = [access(op.READ, 2 + i % 2) for i in range(LIMIT)]
    for between, counts in ((LIMIT - 2, [2]), (LIMIT - 1, [1, 1])):
        records = run([access(op.FETCH, 1), *others[:between], access(op.FETCH, 1)])
        assert [r[1] for r in records if r[3] == op.FETCH] == counts


def test_a_run_that_can_not_grow_any_more_holds_nothing_back():
    """The fetch is the first of LIMIT records with the second piece: it is full, and all but the latest read's run come out."""
    others = [access(op.READ, 2 + i % 2) for i in range(LIMIT)]
    pieces = [op.as_records(flat(units)) for units in ([access(op.FETCH, 1), *others[: LIMIT - 2]], others[:1], others[1:2])]
    assert next(coalesce(pieces, (0,))).size == LIMIT - 1


def test_the_records_that_can_no_longer_change_come_out_at_once():
    pieces = [op.as_records(access(op.READ, page)) for page in (1, 2, 3)]
    assert [[r[0] >> 12 for r in piece.tolist()] for piece in coalesce(pieces, (0,))] == [[1], [2], [3]]


def test_instructions_of_a_run_are_owed_up_to_a_limit():
    """The first gap is the run's own; 32,769 more owe 2**30 - 1 instructions, so one more access joins, and no other."""
    pieces = [np.array([(0x1000, 1, 32_767, op.READ, 0)] * 10_000, op.OP)] * 4
    done = np.concatenate(list(coalesce(pieces, (0,))))
    assert done["count"][done["kind"] == op.READ].tolist() == [1 + 32_770, 40_000 - 32_771]
    assert int(done["count"][done["kind"] == op.COMPUTE].sum(dtype=np.int64) + done["gap"].sum(dtype=np.int64)) == 40_000 * 32_767


def test_counts_do_not_overflow():
    half = np.zeros(3, op.OP)
    half["count"] = 1 << 30
    assert [r[1] for piece in coalesce([half], (0,)) for r in piece.tolist()] == [1 << 30] * 3
