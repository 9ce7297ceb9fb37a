"""Compositions of small random traces against plain Python, and by hand."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_traces import check, group, prelude, records, same, small_trace

from hwmodel import op as t
from hwmodel.op import Agent, TraceError
from hwmodel.trace import Trace, validate
from workloads import assign, concatenate, head, interleave, offload, repeat, select, shift, uniform

RNG = st.randoms(use_true_random=False)
CPU = Agent("cpu", 0, "cpu")
BASE = 1 << 32


def by_agent(ops):
    """The records of each agent, without its number."""
    found = {}
    for op in ops:
        found.setdefault(op[4], []).append(op[:4])
    return found


def renumber(ops, first, spaces, files):
    """Units with other agents, spaces and files, the slow way; (step, place) for the files."""
    step, place = files
    out = []
    for unit in group(ops):
        unit = [list(op) for op in unit]
        kind = unit[0][3]
        if kind in (t.FORK, t.ATTACH, t.DETACH):
            unit[0][1] = spaces[unit[0][1]]
        if kind == t.KSM_MERGE:
            unit[1][1] = spaces[unit[1][1]]
        if kind == t.PUNCH:
            unit[1][1] = (unit[1][1] - 1) * step + place + 1
        if kind == t.MMAP and unit[1][1] >> 8:
            file = unit[1][1] >> 8
            file = spaces[file - 1] + 1 if unit[1][1] >> 3 & 7 == t.XPMEM else (file - 1) * step + place + 1
            unit[1][1] = unit[1][1] & 255 | file << 8
        out += [(*op[:4], op[4] + first) for op in unit]
    return out


def slices(ops, size):
    """Slices of at least `size` records that end where a unit does."""
    out, groups = [[]], group(ops)
    for unit in groups:
        if len(out[-1]) >= size:
            out.append([])
        out[-1] += unit
    return [part for part in out if part]


@settings(deadline=None, max_examples=60)
@given(RNG, st.lists(st.integers(1, 9), min_size=1, max_size=4))
def test_interleave_is_slices_in_turn(rng, sizes):
    traces = [small_trace(rng) for _ in sizes]
    whole = interleave(traces, sizes)
    got = check(whole)
    firsts = np.cumsum([0, *(len(trace.agents) for trace in traces)]).tolist()
    queues, taken = [], 0
    for place, (trace, size) in enumerate(zip(traces, sizes, strict=True)):
        spaces = {space: taken + space for space in range(len({agent.space for agent in trace.agents}))}
        taken += len(spaces)
        assert [a.space for a in whole.agents[firsts[place] : firsts[place + 1]]] == [spaces[a.space] for a in trace.agents]
        queues.append(slices(renumber(records(trace), firsts[place], spaces, (len(traces), place)), size))
    assert got == [op for turn in itertools.zip_longest(*queues, fillvalue=()) for part in turn for op in part]
    if all(trace.known_size for trace in traces):
        assert whole.known_size


@settings(deadline=None, max_examples=30)
@given(RNG)
def test_one_is_itself(rng):
    trace = small_trace(rng, huge=False)
    for composed in (interleave([trace], 1 + rng.randrange(9)), concatenate([trace]), repeat(trace, 1), repeat(trace, 1, "new"),
                     select(trace), assign(trace), shift(trace, 0), shift(shift(trace, 12 << 12), -12 << 12)):  # fmt: skip
        assert same(composed, trace)
        assert composed.known_size == trace.known_size
        check(composed)


@settings(deadline=None, max_examples=30)
@given(RNG)
def test_new_spaces_one_after_the_other(rng):
    traces = [small_trace(rng) for _ in range(rng.randint(1, 3))]
    got = check(concatenate(traces, spaces="new"))
    assert check(concatenate(traces, spaces="new", same_files=True))[: len(records(traces[0]))] == records(traces[0])
    firsts = np.cumsum([0, *(len(trace.agents) for trace in traces)]).tolist()
    taken, expected = 0, []
    for place, trace in enumerate(traces):
        spaces = {space: taken + space for space in range(t.SPACES)}
        taken += len({agent.space for agent in trace.agents})
        own = renumber(records(trace), firsts[place], spaces, (len(traces), place))
        expected += [(0, 0, 0, t.SYNC, own[0][4]), *own] if place and own else own
    assert got == expected


@settings(deadline=None, max_examples=40)
@given(RNG)
def test_select_keeps_what_it_says(rng):
    trace = small_trace(rng)
    kinds = rng.sample([kind for kind in t.NAMES if kind != t.ARG], rng.randint(0, 20))
    agents = rng.sample(range(len(trace.agents)), rng.randint(0, len(trace.agents)))
    arguments = {"kinds": [t.NAMES[kind] if rng.random() < 0.5 else kind for kind in kinds], "agents": agents}
    arguments["where"] = lambda ops: ops["gap"] == 0
    kept, left = check(select(trace, **arguments)), check(select(trace, **arguments, keep=False))
    units = group(records(trace))
    met = [unit[0][3] & 63 in kinds and unit[0][4] in agents and not unit[0][2] for unit in units]
    assert kept == [op for unit, yes in zip(units, met, strict=True) if yes for op in unit]
    assert left == [op for unit, yes in zip(units, met, strict=True) if not yes for op in unit]


@settings(deadline=None, max_examples=40)
@given(RNG, st.integers(1, 60), st.integers(1, 9))
def test_the_head_is_the_units_that_fit(rng, most, size):
    trace = small_trace(rng)
    expected = []
    for unit in group(records(trace)):
        if expected and len(expected) + len(unit) > most:
            break
        expected += unit
    first = head(trace, most)
    assert check(first) == expected
    assert [tuple(op) for chunk in first.chunks(size) for op in chunk.tolist()] == expected
    assert first.agents == trace.agents and prelude(first) == prelude(trace)


@settings(deadline=None, max_examples=40)
@given(RNG)
def test_select_by_address(rng):
    trace = small_trace(rng)
    first = rng.randrange(30)
    pages = set(range((BASE >> 12) + first, (BASE >> 12) + first + rng.randint(1, 9)))
    ends = (min(pages) << 12, max(pages) + 1 << 12)

    def touched(unit):
        kind = unit[0][3] & 63
        count = unit[0][1] if unit[0][1] != -1 else unit[-1][0]
        if kind <= t.FETCH or kind == t.BRK:
            return {unit[0][0] >> 12}
        if kind not in (t.MMAP, t.MUNMAP, t.MPROTECT, t.MADVISE, t.MREMAP, *range(t.SWAP_FREE, t.ATTACH), t.GUEST, t.DIRTY_LOG):
            return pages
        found = set(range(unit[0][0] >> 12, (unit[0][0] >> 12) + count))
        second = unit[1] if len(unit) > 1 else None
        if kind in (t.MREMAP, t.KSM_MERGE) or (kind == t.GUEST and second[1] >> 24 == t.MREMAP):
            found |= set(range(second[0] >> 12, (second[0] >> 12) + (second[1] if kind == t.MREMAP else count)))
        return found

    expected = [op for unit in group(records(trace)) if touched(unit) & pages for op in unit]
    assert check(select(trace, addresses=[(0, 4096), ends])) == expected


@settings(deadline=None, max_examples=40)
@given(RNG, st.integers(-99, 99))
def test_shift_moves_addresses(rng, pages):
    trace, offset = small_trace(rng, huge=False), pages << 12
    moved = shift(trace, offset)
    got = check(moved)
    assert same(shift(moved, -offset), trace)
    for old, new in zip([*prelude(trace), *records(trace)], [*prelude(moved), *got], strict=True):
        assert old[1:] == new[1:]
        if old[3] & 63 in (0, 1, 2, *range(8, 14), 17, 18, 19, 22, 25):
            assert new[0] - old[0] == offset
        elif old[3] != t.ARG:
            assert new[0] == old[0]
    for old, new in zip(group(records(trace)), group(got), strict=True):
        guest_move = old[0][3] == t.GUEST and old[1][1] >> 24 == t.MREMAP
        if len(old) > 1 and old[1][3] == t.ARG:
            moves = old[0][3] in (t.MREMAP, t.KSM_MERGE) or guest_move
            xpmem = old[0][3] == t.MMAP and old[1][1] >> 3 & 7 == t.XPMEM
            assert new[1][0] - old[1][0] == (offset if moves else pages if xpmem else 0)


def test_shift_of_one_space_moves_what_names_it():
    agents = [CPU, Agent("cpu", 1, "other")]
    ops = [(BASE, 1, 0, 0, 0), (BASE, 1, 0, 0, 1), *t.paged_unit(t.KSM_MERGE, BASE, 1, [(BASE, 1)], 0),
           *t.mmap_unit(BASE, 1, 1, t.XPMEM, 2, 77, agent=0)]  # fmt: skip
    got = records(shift(Trace.from_records(agents, ops), 4096, spaces=[1]))
    assert [op[0] - BASE for op in got[:4]] == [0, 4096, 0, 4096] and got[5][0] == 78


def test_huge_pages_stay_aligned():
    trace = Trace.from_records([CPU], [], t.mmap_unit(1 << 30, 512, 3, t.HUGETLB))
    assert prelude(shift(trace, 1 << 21))[0][0] == (1 << 30) + (1 << 21)
    with pytest.raises(TraceError, match=r"^prelude record 0: mmap: shifted by 0x1000 its huge pages would not be aligned$"):
        shift(trace, 4096)


@pytest.mark.parametrize(
    ("unit", "offset"),
    [
        ([(0x5000, 1, 0, t.READ, 0)], -0x6000),
        ([(t.USER_END - 1, 1, 0, t.FETCH, 0)], 0x1000),
        (t.mmap_unit(t.USER_END - 0x3000, 2, 3), 0x2000),
        (t.paged_unit(t.MREMAP, 0x9000, 1, [(0x1000, 1)]), -0x2000),
        (t.paged_unit(t.MREMAP, 0x9000, 1, [(t.USER_END - 0x3000, 2)]), 0x2000),
        ([(0, 0, 0, t.BRK, 0)], -0x1000),
        (t.mmap_unit(0x9000, 2, 1, t.XPMEM, 1, 2), -0x3000),
    ],
)
def test_what_leaves_user_memory_is_refused(unit, offset):
    trace = Trace.from_records([CPU], [(1 << 30, 1, 0, t.READ, 0), *unit], name="x.hwtrace")
    validate(trace)
    name = t.NAMES[unit[0][3]]
    with pytest.raises(TraceError, match=rf"^x.hwtrace: record 1: {name}: shifted by {offset:#x} it would leave user memory$"):
        validate(shift(trace, offset))


@settings(deadline=None, max_examples=40)
@given(RNG)
def test_assigned_devices_keep_what_devices_may_do(rng):
    trace = small_trace(rng, spaces=1, ends=False)
    chosen = rng.sample(range(len(trace.agents)), rng.randint(0, len(trace.agents)))
    made = assign(trace, roles=dict.fromkeys(chosen, "device"), others="drop")
    allowed = (0, 1, 3, t.SYNC, t.ATTACH, t.DETACH, t.GUEST)
    units = group(records(trace))
    assert check(made) == [op for unit in units if unit[0][4] not in chosen or unit[0][3] in allowed for op in unit]
    assert [agent.role for agent in made.agents] == ["device" if i in chosen else a.role for i, a in enumerate(trace.agents)]


def test_assign_refuses_what_a_device_cannot_do():
    trace = Trace.from_records([CPU], [(BASE, 1, 0, t.READ, 0), (BASE, 1, 0, t.FETCH, 0)], name="x")
    with pytest.raises(TraceError, match=r"^x: record 1: assign: fetch by agent 0, which becomes a device$"):
        validate(assign(trace, {0: "device"}))


def test_assign_to_other_spaces():
    agents = [CPU, Agent("cpu", 0, "b"), Agent("cpu", 1, "c")]
    before = [*t.mmap_unit(BASE, 4, 3, agent=0), *t.mmap_unit(2 * BASE, 4, 3, agent=2)]
    ops = [(0, 1, 0, t.ATTACH, 0), (BASE, 1, 0, t.READ, 1), *t.mmap_unit(0, 1, 3, t.XPMEM, 2, agent=0)]
    trace = Trace.from_records(agents, ops, before)
    whole = assign(trace, spaces={2: 7})  # a space by another name
    assert records(whole)[0][1] == 7 and records(whole)[3][1] >> 8 == 8
    assert prelude(whole) == before
    part = assign(trace, spaces={0: 5})  # out of space 0, where b stays, into one that nobody had
    assert records(part) == records(trace)
    assert sorted(prelude(part)) == sorted([*t.mmap_unit(BASE, 4, 3, agent=0), *t.mmap_unit(BASE, 4, 3, agent=1),
                                            *t.mmap_unit(2 * BASE, 4, 3, agent=2)])  # fmt: skip
    into = assign(trace, spaces={0: 1})  # to the memory of c
    assert sorted(prelude(into)) == sorted([*t.mmap_unit(BASE, 4, 3, agent=1), *t.mmap_unit(2 * BASE, 4, 3, agent=2)])
    assert assign(trace, names={1: "x"}).agents[1].name == "x"


def test_sharing_a_space():
    a, b = uniform(50, pages=9), shift(uniform(50, pages=9, seed=1), 1 << 30)
    whole = interleave([a, b], same_space=True)
    assert [(agent.space, agent.name) for agent in whole.agents] == [(0, "cpu0"), (0, "cpu0/1")]
    assert prelude(whole) == [*prelude(a), *[(*op[:4], 1) for op in prelude(b)]]
    assert [agent.space for agent in interleave([a, b], spaces=[{}, {0: 9}]).agents] == [0, 9]
    full = Trace.from_records([CPU], [], t.mmap_unit(BASE, 2, 3, populate=True))
    with pytest.raises(TraceError, match="prelude record 2: mmap over pages that are in memory from the beginning"):
        interleave([full, full], same_space=True)
    breaks = Trace.from_records([CPU], [], [(BASE, 0, 0, t.BRK, 0)])
    with pytest.raises(TraceError, match="traces 0 and 1 both have a program break in space 0"):
        interleave([breaks, breaks], same_space=True)


def test_files_stay_apart_unless_asked():
    trace = Trace.from_records([CPU], [*t.mmap_unit(BASE, 1, 1, t.SHARED, 3), *t.paged_unit(t.PUNCH, 0, 1, [(0, 3)])])
    for same_files, expected in ((False, [5, 6]), (True, [3, 3])):
        got = records(interleave([trace, trace], same_files=same_files))
        assert sorted(op[1] >> 8 for op in got if op[3] == t.ARG and op[1] > 255) == expected
        assert sorted(op[1] for op in got if op[3] == t.ARG and op[1] < 256) == expected
    high = Trace.from_records([CPU], t.mmap_unit(BASE, 1, 1, t.SHARED, (1 << 23) - 1), name="high")
    with pytest.raises(TraceError, match=r"^high: record 0: too high a number of a file to tell the files of 2 traces apart$"):
        validate(interleave([trace, high]))


BAD = {
    "no trace": (lambda: interleave([]), "no trace"),
    "empty slices": (lambda: interleave([uniform(1)], 0), "records must be at least 1"),
    "slices for others": (lambda: interleave([uniform(1)], [1, 2]), "records must be at least 1, for each of 1 traces"),
    "both ways": (lambda: interleave([uniform(1)], same_space=True, spaces=[{}]), "and then no same_space"),
    "a space too far": (lambda: interleave([uniform(1)], spaces=[{0: 128}]), r"spaces are in \[0, 128\)"),
    "a crowd": (lambda: interleave([uniform(1, cpus=100)] * 2), "200 agents; a trace has at most 128"),
    "a crowd in line": (lambda: repeat(uniform(1, cpus=100), 2, "new"), "200 agents; a trace has at most 128"),
    "never": (lambda: repeat(uniform(1), 0), "times must be at least 1, not 0"),
    "other spaces": (lambda: repeat(uniform(1), 1, "old"), "spaces must be 'same' or 'new', not 'old'"),
    "nothing in line": (lambda: concatenate([]), "no trace"),
    "a strange kind": (lambda: select(uniform(1), ["raed"]), "no kind 'raed'; there are read, write"),
    "an operand": (lambda: select(uniform(1), [t.ARG]), "no kind 31"),
    "nobody": (lambda: select(uniform(1), agents=[1]), "agent 1 is not in the trace"),
    "an empty range": (lambda: select(uniform(1), addresses=[(5, 5)]), r"a range is \(first, end\)"),
    "no mask": (lambda: validate(select(uniform(9), where=lambda ops: ops["kind"])), r"must return bool\[9\], not int8\[9\]"),
    "half a page": (lambda: shift(uniform(1), 100), "the offset must be whole pages"),
    "nobody's space": (lambda: shift(uniform(1), 4096, [3]), "no agent is in space 3"),
    "no agent": (lambda: assign(uniform(1), names={3: "x"}), "agent 3 is not in the trace"),
    "a strange role": (lambda: assign(uniform(1), {0: "gpu"}), "role must be 'cpu' or 'device'"),
    "other others": (lambda: assign(uniform(1), others="keep"), "others must be 'refuse' or 'drop'"),
}  # fmt: skip


@pytest.mark.parametrize(("compose", "message"), BAD.values(), ids=list(BAD))
def test_arguments_are_checked(compose, message):
    with pytest.raises(TraceError, match=message):
        compose()


def test_an_invalid_record_is_named_with_its_trace():
    bad = Trace.from_records([CPU], [(BASE, 1, 0, 0, 0), (-1, 1, 0, 0, 0)], name="bad")
    for composed in (interleave([uniform(1), bad]), concatenate([uniform(1), bad]), select(bad), shift(bad, 4096), assign(bad)):
        with pytest.raises(TraceError, match=r"^bad: record 1: non-canonical address -0x1$"):
            records(composed)


@pytest.mark.jit_off
@pytest.mark.as_shipped
def test_compositions_compose():
    """Two programs, half of one on an engine, twice, beside a shifted third: counted by hand."""
    half = offload(uniform(100, pages=16), share=0.5, block=10, unit="record")
    twice = repeat(half, 2)
    third = select(shift(uniform(60, pages=16, writes=0.0), 1 << 40), addresses=[(0, 1 << 40)], keep=False)
    whole = interleave([twice, third], [20, 5])
    got = check(whole)
    assert len(got) == 2 * 100 + 1 + 60  # a warm repetition needs a SYNC and no operation
    own = by_agent(got)
    assert sorted(own) == [0, 1, 2] and len(own[2]) == 60 and all(op[0] >= 1 << 40 for op in own[2])
    assert [op[4] == 2 for op in got[:30]] == ([False] * 20 + [True] * 5 + [False] * 5)
    assert [(agent.role, agent.space) for agent in whole.agents] == [("cpu", 0), ("device", 0), ("cpu", 1)]
