"""Stacks with holes, against a TLB of each size in plain Python."""

import numpy as np
import pytest

from hwmodel import op
from workloads.stacks import Stacks


def hits_of(sets, ways, events):
    """The hits of one TLB: lists of [page, may be written], the latest used last. An event is (page, is a write, count) or a range."""
    table, hits = [[] for _ in range(sets)], 0
    for event in events:
        if isinstance(event, range):
            table = [[entry for entry in entries if entry[0] not in event] for entries in table]
            continue
        page, write, count = event
        entries = table[page % sets]
        found = next((entry for entry in entries if entry[0] == page), None)
        if found:
            entries.remove(found)
        entries.append([page, write or bool(found and found[1])])
        hits += count - 1 + bool(found and (found[1] or not write))
        if len(entries) > ways:
            del entries[0]
    return hits


def feed(stacks, events):
    for event in events:
        if isinstance(event, range):
            stacks.drop(event.start, event.stop)
        else:
            page, write, count = event
            stacks.add(np.array([(page << 12, count, 0, op.WRITE if write else op.READ, 0), (1 << 12, 9, 0, op.READ, 1)], op.OP))


def drawn(seed, pages, length, drops):
    random, events = np.random.default_rng(seed), []
    for _ in range(length):
        page = int(pages * random.random() ** 2)
        if random.random() < drops:
            events.append(range(page, page + int(random.integers(1, 6))))
        else:
            events.append((page, bool(random.random() < 0.3), int(random.choice([1, 1, 1, 4]))))
    return events


def test_by_hand():
    """A hole is filled by the next miss of every TLB that has it, and no page behind it moves."""
    a, b, c = ((page, False, 1) for page in (1, 2, 3))
    events = [a, b, c, range(2, 3), b, a]
    stacks = Stacks(0, [(1, 1), (1, 2), (1, 3)])
    feed(stacks, events)
    assert [stacks.hits(1, ways) for ways in (1, 2, 3)] == [0, 0, 1] == [hits_of(1, ways, events) for ways in (1, 2, 3)]
    assert stacks.accesses == 5


def test_a_write_hits_where_the_entry_has_been_written_and_held_since():
    read, write, other = (1, False, 1), (1, True, 1), (2, False, 1)
    events = [write, other, read, write, read, read, other, write]
    stacks = Stacks(0, [(1, 2)])
    feed(stacks, events)
    assert [stacks.hits(1, ways) for ways in (1, 2)] == [hits_of(1, ways, events) for ways in (1, 2)] == [2, 6]


@pytest.mark.jit_off
@pytest.mark.as_shipped
@pytest.mark.parametrize("drops", [0, 0.02, 0.3])
@pytest.mark.parametrize("pages", [5, 40, 150])
def test_as_a_tlb_of_each_size(pages, drops):
    """Fully associative ones, ways at fixed sets, sets at fixed ways; records one by one, and in one array where nothing is dropped."""
    events = drawn(pages, pages, 1500, drops)
    shapes = [(1, ways) for ways in range(1, 65)] + [(8, ways) for ways in range(1, 9)] + [(1 << n, 2) for n in range(7)]
    stacks = Stacks(0, shapes)
    feed(stacks, events)
    assert {shape: stacks.hits(*shape) for shape in shapes} == {shape: hits_of(*shape, events) for shape in shapes}
    if not drops:
        whole = Stacks(0, shapes)
        whole.add(np.array([(page << 12, count, 0, op.WRITE if write else op.READ, 0) for page, write, count in events], op.OP))
        assert [whole.hits(*shape) for shape in shapes] == [stacks.hits(*shape) for shape in shapes]
