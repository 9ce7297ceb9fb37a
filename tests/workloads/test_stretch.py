"""A stretch of a trace begins in the memory that the records before it left, page by page and by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_traces import check, group, prelude, records, same, small_trace
from test_sequence import Pages, follow

import hwmodel
from hwmodel import op as t
from hwmodel.op import Agent, TraceError
from hwmodel.trace import Trace
from workloads import head, stretch, uniform

RNG = st.randoms(use_true_random=False)
AGENTS = [Agent("cpu", 0, "cpu"), Agent("device", 0, "device")]
BASE = 1 << 32


def used_by(agents, units):
    """The pages of each space that units have used and not returned, one by one."""
    used = {agent.space: set() for agent in agents}
    brk = {}
    for unit in units:
        (address, count, _, kind, agent), pages = unit[0], used[agents[unit[0][4]].space]
        first, count = address >> 12, count if count != -1 else unit[-1][0]
        if kind <= t.FETCH:
            pages |= {record[0] >> 12 for record in unit}
        elif kind == t.BRK:
            old, new = brk.get(agents[agent].space), -(-address // 4096)
            pages -= set(range(new, old or 0))
            brk[agents[agent].space] = new
        elif kind in (t.MMAP, t.MUNMAP) or (kind == t.MADVISE and unit[1][1] == t.DONTNEED):
            pages -= set(range(first, first + count))
            if kind == t.MMAP and unit[1][1] & t.POPULATE:
                pages |= set(range(first, first + count))
        elif kind == t.MREMAP:
            target, size = unit[1][0] >> 12, unit[1][1]
            moving = {page + target - first for page in pages if first <= page < first + min(count, size)}
            pages -= {*range(first, first + count), *range(target, target + size)}
            pages |= moving
    return used


@settings(deadline=None, max_examples=80)
@given(RNG, st.integers(0, 60), st.integers(1, 60), st.booleans())
def test_a_stretch_has_the_memory_and_the_records_of_its_place(rng, first, most, huge):
    trace = small_trace(rng, ends=False, huge=huge)
    before = records(head(trace, first)) if first else []
    after = records(trace)[len(before) :]
    part = stretch(trace, first, most)
    assert check(part) == (records(head(Trace.from_records(trace.agents, after), most)) if after else [])
    assert part.agents == trace.agents
    wanted, made = ({agent.space: Pages() for agent in trace.agents} for _ in range(2))
    follow(wanted, trace.agents, prelude(trace) + before)
    follow(made, trace.agents, prelude(part))
    used = used_by(trace.agents, group(prelude(trace) + before))
    there = used_by(trace.agents, group(prelude(part)))
    for space, pages in wanted.items():
        assert (made[space].pages, made[space].brk) == (pages.pages, pages.brk)
        small = {page for page in pages.pages if not pages.is_huge(page)}
        assert there[space] & small == used[space] & small


def test_the_memory_of_a_parent_its_child_and_one_that_has_exited():
    agents = [Agent("cpu", space, f"cpu{space}") for space in range(3)]
    ops = [(BASE, 1, 0, t.WRITE, 0), (0, 1, 0, t.FORK, 0), (BASE + 4096, 1, 0, t.READ, 1), (0, 2, 0, t.FORK, 0),
           (BASE, 1, 0, t.READ, 2), (0, 0, 0, t.EXIT, 2), (BASE, 1, 0, t.READ, 0)]  # fmt: skip
    part = stretch(Trace.from_records(agents, ops, t.mmap_unit(BASE, 3, 3)), 6, 9)
    expected = []
    for agent, pages in ((0, 1), (1, 2)):
        expected += t.mmap_unit(BASE, pages, 3, populate=True, agent=agent) + t.mmap_unit(BASE + (pages << 12), 3 - pages, 3, agent=agent)
    assert prelude(part) == [tuple(record) for record in expected] and records(part) == ops[-1:]


def test_a_huge_page_is_there_as_a_whole():
    ops = [(1 << 30, 1, 0, t.READ, 0), ((1 << 30) + (7 << 12), 1, 0, t.READ, 0)]
    trace = Trace.from_records(AGENTS, ops, t.mmap_unit(1 << 30, 512, 3, t.HUGETLB))
    assert prelude(stretch(trace, 1, 1)) == [tuple(record) for record in t.mmap_unit(1 << 30, 512, 3, t.HUGETLB, populate=True)]
    assert prelude(stretch(trace, 0, 1)) == prelude(trace)


def test_what_is_there_does_not_fault_again():
    trace = uniform(accesses=4000, pages=200, devices=1)
    for part, faulting in ((trace, 200), (stretch(trace, 2000, 2000), 0)):
        counters = hwmodel.simulate(hwmodel.preset("gru-2008"), part, progress=False).counters
        assert counters["faults.zero"] + counters["faults.anon"] == faulting
        assert counters["device.accesses"] == len(part) and counters["segv"] == 0


def test_a_stretch_from_the_beginning_is_the_head():
    trace = uniform(accesses=300_000, pages=200, cpus=2)
    assert same(stretch(trace, 0, 1000), head(trace, 1000))
    whole = np.concatenate(list(trace.chunks()))
    assert (np.concatenate(list(stretch(trace, 299_000, 5000).chunks(77))) == whole[299_000:]).all()


def test_arguments_are_checked():
    with pytest.raises(TraceError, match="begins at record 0 or later, not at -1"):
        stretch(uniform(accesses=10), -1, 5)
    with pytest.raises(TraceError, match="at least 1 record, not 0"):
        stretch(uniform(accesses=10), 5, 0)
