"""One trace behind another in the same address spaces: what is mapped at the seam, page by page and by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_traces import check, group, prelude, records, same, small_trace

from hwmodel import op as t
from hwmodel.op import Agent, TraceError
from hwmodel.trace import Trace, validate
from workloads import concatenate, repeat, select, sequential, uniform
from workloads.compose import mappings

RNG = st.randoms(use_true_random=False)
CPU = Agent("cpu", 0, "cpu")
BASE = 1 << 32
HEAP = 3


class Pages:
    """A space as a dictionary of pages: {page: (flags, page of the file)}."""

    def __init__(self):
        self.pages, self.brk, self.first_brk = {}, None, None

    def is_huge(self, page):
        return page in self.pages and self.pages[page][0] >> 3 & 7 == t.HUGETLB

    def cuts(self, *edges):
        """Whether an edge lies within a huge page."""
        return any(edge & 511 and self.is_huge(edge) and self.is_huge(edge - 1) for edge in edges)

    def drop(self, first, end):
        if self.cuts(first, end):
            return False
        for page in range(first, end):
            self.pages.pop(page, None)
        return True

    def apply(self, unit):
        head, arg = unit[0], unit[1] if len(unit) > 1 else None
        kind, first, count = head[3], head[0] >> 12, head[1] if head[1] != -1 else unit[-1][0]
        if kind == t.BRK:
            old, self.brk = self.brk, -(-head[0] // 4096)
            self.first_brk = self.brk if old is None else self.first_brk
            if old is not None and self.drop(min(old, self.brk), max(old, self.brk)):
                self.pages |= {page: (HEAP, None) for page in range(old, self.brk)}
        elif kind == t.MUNMAP:
            self.drop(first, first + count)
        elif kind == t.MMAP and self.drop(first, first + count):
            flags = arg[1] & ~t.POPULATE
            self.pages |= {first + i: (flags, arg[0] + i if flags >> 8 else None) for i in range(count)}
        elif kind == t.MPROTECT and not self.cuts(first, first + count):
            for page in set(range(first, first + count)) & self.pages.keys():
                self.pages[page] = (self.pages[page][0] & ~7 | arg[1], self.pages[page][1])
        elif kind == t.MREMAP:
            self.remap(first, count, arg[0] >> 12, arg[1])

    def remap(self, first, count, target, size):
        old = {page: self.pages[page] for page in range(first, first + count) if page in self.pages}
        if not old or self.cuts(first, first + count) or (any(map(self.is_huge, old)) and (target | size) & 511):
            return
        self.drop(first, first + count)
        runs, new = [], {page - first + target: value for page, value in old.items() if page - first < size}
        if first + count - 1 in old:
            flags, place = old[first + count - 1]
            new |= {target + i: (flags, place + 1 + i - count if flags >> 8 else None) for i in range(count, size)}
        for page in sorted(new):  # each mapping replaces what is there, or is refused as a whole
            like = runs and runs[-1][-1] == page - 1
            runs[-1].append(page) if like else runs.append([page])
        for run in runs:
            if self.drop(run[0], run[-1] + 1):
                self.pages |= {page: new[page] for page in run}


def follow(spaces, agents, ops):
    """Apply what changes mappings to the spaces of the agents."""
    for unit in group(ops):
        space = agents[unit[0][4]].space
        spaces.setdefault(space, Pages()).apply(unit)



@settings(deadline=None, max_examples=60)
@given(RNG, st.booleans(), st.booleans())
def test_each_seam_makes_the_layout_of_the_next(rng, fresh, several):
    traces = [small_trace(rng, ends=False, huge=rng.random() < 0.2) for _ in range(rng.randint(2, 3))]
    whole = repeat(traces[0], 3, fresh=fresh) if several else concatenate(traces, fresh=fresh)
    traces = [traces[0]] * 3 if several else traces
    agents = whole.agents
    if not all(any(a.space == s.space and a.role == "cpu" for a in agents) for s in agents):
        return
    got = check(whole)
    spaces = {}
    follow(spaces, agents, prelude(whole))
    at = 0
    for place, trace in enumerate(traces):
        body = len(records(trace))
        if place and body:
            own = strip(trace, len(traces), place, several)
            end = next(i for i in range(at + 1, len(got)) if [op[:4] for op in got[i : i + body]] == own)
            assert got[at][3] == t.SYNC and all(op[3] in (t.MUNMAP, t.MMAP, t.BRK, t.ARG) for op in got[at + 1 : end])
            follow(spaces, agents, got[at:end])
            for space in {agent.space for agent in trace.agents}:
                layout = {}
                follow(layout, trace.agents, files(prelude(trace), len(traces), place, several))
                have, wanted = spaces.get(space, Pages()), layout.get(space, Pages())
                assert have.pages == wanted.pages
                assert have.brk == (have.first_brk if wanted.brk is None else wanted.brk)
            at = end
        assert [op[:4] for op in got[at : at + body]] == strip(trace, len(traces), place, several)
        follow(spaces, agents, got[at : at + body])
        at += body
    assert at == len(got)


def strip(trace, step, place, same_files):
    """The records without agents, files renumbered."""
    return [op[:4] for op in files(records(trace), step, place, same_files)]


def files(ops, step, place, same_files):
    out = []
    for unit in group(ops):
        unit = [list(op) for op in unit]
        if not same_files and unit[0][3] == t.PUNCH:
            unit[1][1] = (unit[1][1] - 1) * step + place + 1
        if not same_files and unit[0][3] == t.MMAP and unit[1][1] >> 8 and unit[1][1] >> 3 & 7 != t.XPMEM:
            unit[1][1] = unit[1][1] & 255 | ((unit[1][1] >> 8) - 1) * step + place + 1 << 8
        out += [tuple(op) for op in unit]
    return out


@settings(deadline=None, max_examples=60)
@given(RNG)
def test_what_is_mapped_is_followed_page_by_page(rng):
    trace = small_trace(rng, spaces=1, ends=False, devices=False)
    space, pages = mappings.Memory(), Pages()
    for ops in (trace.prelude, *trace.chunks()):
        for _, unit in mappings.units(ops, mappings.CHANGING):
            space.apply(unit)
            pages.apply([tuple(record) for record in unit.tolist()])
            found = {}
            for m in space.mappings:
                assert m.first < m.end and m.first not in found
                for i in range(m.first, m.end):
                    assert i not in found
                    found[i] = (m.flags, m.offset + i - m.first if m.flags >> 8 else None)
            assert found == pages.pages
            assert [m.first for m in space.mappings] == sorted(m.first for m in space.mappings)


def test_warm_and_fresh():
    trace = sequential(8, pages=8)
    own = records(trace)
    seam = [(0, 0, 0, t.SYNC, 0)]
    assert check(repeat(trace, 3)) == [*own, *seam, *own, *seam, *own]
    base = trace.prelude["address"][0]
    again = [*seam, (base, 8, 0, t.MUNMAP, 0), *prelude(trace)]
    assert check(repeat(trace, 2, fresh=True)) == [*own, *again, *own]


def test_what_differs_is_changed_and_no_more():
    """By hand: [0, 8) rw and [8, 10) of a file; then [0, 4) rw, [4, 8) r and nothing else."""
    first = Trace.from_records([CPU], [(BASE, 1, 0, 0, 0)], [*t.mmap_unit(BASE, 8, 3), *t.mmap_unit(BASE + 0x8000, 2, 1, t.SHARED, 1, 5)])
    second = Trace.from_records([CPU], [(BASE, 2, 0, 0, 0)], [*t.mmap_unit(BASE, 4, 3), *t.mmap_unit(BASE + 0x4000, 4, 1, populate=True)])
    assert check(concatenate([first, second])) == [
        (BASE, 1, 0, 0, 0), (0, 0, 0, t.SYNC, 0),
        (BASE + 0x4000, 4, 0, t.MUNMAP, 0), (BASE + 0x8000, 2, 0, t.MUNMAP, 0),
        *t.mmap_unit(BASE + 0x4000, 4, 1),  # not populated: it faults
        (BASE, 2, 0, 0, 0),
    ]  # fmt: skip


def test_the_break_goes_back():
    trace = Trace.from_records([CPU], [(BASE + 0x3000, 0, 0, t.BRK, 0), (BASE, 1, 0, 1, 0)], [(BASE, 0, 0, t.BRK, 0)])
    assert check(repeat(trace, 2))[2:-2] == [(0, 0, 0, t.SYNC, 0), (BASE, 3, 0, t.MUNMAP, 0), (BASE, 0, 0, t.BRK, 0)]
    higher = Trace.from_records([CPU], [(BASE, 1, 0, 1, 0)], [(BASE + 0x8000, 0, 0, t.BRK, 0)])
    assert check(concatenate([trace, higher]))[2:-1] == [
        (0, 0, 0, t.SYNC, 0), (BASE, 3, 0, t.MUNMAP, 0),
        (BASE + 0x8000, 0, 0, t.BRK, 0), (BASE + 0x3000, 5, 0, t.MUNMAP, 0),  # the heap begins empty
    ]  # fmt: skip


def test_a_stack_that_may_have_grown_is_unmapped_with_its_room():
    stack = Trace.from_records([CPU], [(BASE, 1, 0, 1, 0)], [*t.mmap_unit(BASE - 0x3000, 1, 3), *t.mmap_unit(BASE, 2, 3, grows_down=True)])
    bare = Trace.from_records([CPU], [(BASE, 1, 0, 1, 0)], t.mmap_unit(BASE - 0x3000, 1, 3))
    assert check(concatenate([stack, bare]))[2] == (BASE - 0x2000, 4, 0, t.MUNMAP, 0)


def test_agents_are_matched_by_role_and_space():
    a = uniform(4, pages=2, cpus=1, devices=1)
    b = Trace.from_records(
        [Agent("device", 0, "x"), CPU, Agent("cpu", 0, "more"), Agent("cpu", 3, "far")],
        [(BASE, 1, 0, 0, agent) for agent in range(4)], t.mmap_unit(BASE, 1, 3, populate=True, agent=3),
    )  # fmt: skip
    whole = concatenate([a, b])
    assert [agent.name for agent in whole.agents] == ["cpu0", "device0", "more", "far"]
    assert [op[4] for op in check(whole)[-4:]] == [1, 0, 2, 3]
    assert prelude(whole)[2:] == t.mmap_unit(BASE, 1, 3, populate=True, agent=3)  # nobody had space 3 before


def test_a_space_that_has_exited_does_not_go_on():
    ends = Trace.from_records([CPU], [(0, 0, 0, t.EXIT, 0)], t.mmap_unit(BASE, 1, 3), name="prog")
    with pytest.raises(TraceError, match=r"^repeat: at trace 1 \(prog\), address space 0 \(cpu\) has exited and can't go on: "):
        validate(repeat(ends, 2))
    assert [op[3:] for op in check(repeat(ends, 2, "new"))] == [(t.EXIT, 0), (t.SYNC, 1), (t.EXIT, 1)]
    again = repeat(select(ends, kinds=["exit"], keep=False), 2)
    assert same(again, select(again))
    forks = Trace.from_records([CPU, Agent("cpu", 1, "child")], [(0, 1, 0, t.FORK, 0)])
    with pytest.raises(TraceError, match=r"at trace 1, address space 1 \(child\) was in use, so nobody can fork into it"):
        validate(repeat(forks, 2))


def test_a_seam_needs_a_cpu():
    device = [Agent("device", 0, "gru")]
    a = Trace.from_records(device, [(BASE, 1, 0, 0, 0)], t.mmap_unit(BASE, 1, 3))
    validate(repeat(a, 2))
    with pytest.raises(TraceError, match=r"address space 0 \(gru\) has no CPU agent to change what is mapped"):
        validate(repeat(a, 2, fresh=True))


def test_a_trace_without_records_leaves_no_seam():
    empty = Trace.from_records([CPU], [], t.mmap_unit(BASE, 1, 3))
    trace = uniform(3, pages=1)
    assert check(concatenate([trace, empty, trace], same_files=True)) == check(repeat(trace, 2))


def test_long_repetitions_cost_no_memory():
    whole = repeat(uniform(10, pages=4), 100_000)
    count = 0
    for chunk in whole.chunks():
        count += int(np.count_nonzero(chunk["kind"] != t.SYNC))
        if count > 1000:
            break
    assert count > 1000
