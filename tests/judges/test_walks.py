"""The arithmetic of page walks, by hand: how many references each makes, and what they take.

A page is written (l4, l3, l2, l1): its entry in the table of each level. Eight entries share a cache line, so entries 1
and 2 do and entries 1 and 9 don't. Every page is in memory before time 0.
"""

import itertools
from types import SimpleNamespace

import pytest

from hwmodel import machine as machines
from hwmodel import op
from hwmodel.op import Agent, mmap_unit
from hwmodel.simulate import simulate
from hwmodel.trace import Trace
from tests import reference
from tests.support.equality import compare

pytestmark = [pytest.mark.jit_off, pytest.mark.as_shipped]

L1, L2, LLC, DRAM = 3, 17, 101, 1009
COSTS = {
    "clock.mhz": 1000, "memory.dram_ns": DRAM,  # a nanosecond is a cycle
    "memory.l1.hit_cycles": L1, "memory.l2.hit_cycles": L2, "memory.llc.hit_cycles": LLC,
}  # fmt: skip
ONE_AT_A_TIME = {"device.window": 1, "device.interval_ns": "free", "device.latency_ns": "free"}
"""So a vCPU waits for each walk, and all of that is booked to it."""
NO_TLB = {"cpu.dtlb.entries": 1, "cpu.dtlb.ways": 1, "cpu.stlb.entries": 1, "cpu.stlb.ways": 1}
"""TLBs of one entry: an access to another page than the last is a walk."""
A = (1, 1, 1, 1)
SHARES = {"pde": (1, 1, 1, 9), "pdpte": (1, 1, 9, 1), "pml4e": (1, 9, 1, 1)}
"""A page that has A's entry of this walk cache, and no line in common with A below it."""
LEFT = {"pde": 1, "pdpte": 2, "pml4e": 3}
"""The levels still to be read where this walk cache hits."""
NESTED = ("tlb", "pde", "pdpte", "pml4e")


def without(*caches):
    """Settings without these structures."""
    return {f"{name}_entries": 0 for name in caches}


NO_PWC = without("cpu.pwc.pde", "cpu.pwc.pdpte", "cpu.pwc.pml4e")
NO_NESTED = without(*(f"nested.{name}" for name in NESTED))


def vpn(l4, l3, l2, l1):
    return ((l4 << 9 | l3) << 9 | l2) << 9 | l1


def run(preset, reads, huge=False, **settings):
    """What each agent did; `reads` are (agent, page), one after the other. Kernels and oracle agree on every number."""
    role = "cpu" if preset == "cpu-only" else "device"
    machine = machines.preset(preset).with_(**{"cpu.count": 1, **COSTS, **(ONE_AT_A_TIME if role == "device" else {}), **settings})
    bases = dict.fromkeys(vpn(l4, l3, l2, 0 if huge else l1) for _, (l4, l3, l2, l1) in reads)
    size, mapping = (512, op.HUGETLB) if huge else (1, op.PRIVATE)
    prelude = [record for base in bases for record in mmap_unit(base << 12, size, 3, mapping, populate=True)]
    records = []
    for k, (agent, page) in enumerate(reads):
        records += [(0, 0, 0, op.SYNC, agent)] if k and agent != reads[k - 1][0] else []
        records.append((vpn(*page) << 12, 1, 0, op.READ, agent))
    agents = [Agent(role, 0, f"agent {i}") for i in range(1 + max(agent for agent, _ in reads))]
    trace = Trace.from_records(agents, records, prelude)
    result = simulate(machine, trace, progress=False)
    assert list(compare(result, reference.simulate(machine, trace))) == []

    def of(tally, name):
        return [tally.by_agent(name)[agent.name] if name in tally else 0 for agent in agents]

    refs, exits = of(result.counters, f"{role}.walk_refs"), of(result.counters, "kvm.exits")
    cycles = of(result.ledger, "walk" if role == "cpu" else "stall_walk")
    return [SimpleNamespace(refs=r, cycles=c, exits=e) for r, c, e in zip(refs, cycles, exits, strict=True)]


# one dimension


def cpu(*pages, **more):
    """The walks of a CPU that reads these pages: (references, cycles)."""
    (done,) = run("cpu-only", [(0, page) for page in pages], **more)
    return done.refs, done.cycles


def test_a_cold_walk_makes_four_references():
    assert cpu(A) == (4, 4 * DRAM)
    assert cpu(A, (9, 1, 1, 1)) == (8, 8 * DRAM)  # another entry of the root: no cache knows it


@pytest.mark.parametrize("name", SHARES)
def test_a_walk_cache_leaves_the_levels_below(name):
    assert cpu(A, SHARES[name]) == (4 + LEFT[name], (4 + LEFT[name]) * DRAM)


@pytest.mark.parametrize("name", SHARES)
def test_without_some_walk_caches_the_next_one_up_serves(name):
    for absent in itertools.chain.from_iterable(itertools.combinations(LEFT, n) for n in range(4)):
        start = min((LEFT[other] for other in LEFT if other not in absent and LEFT[other] >= LEFT[name]), default=4)
        known = start - LEFT[name]  # entries that A's walk read too: their lines are in l1
        expected = (4 + start, 4 * DRAM + known * L1 + LEFT[name] * DRAM)
        assert cpu(A, SHARES[name], **without(*(f"cpu.pwc.{other}" for other in absent))) == expected, absent


def test_neighbours_share_a_line():
    assert cpu(A, (1, 1, 1, 2)) == (4 + 1, 4 * DRAM + L1)


def test_each_cache_serves_what_those_before_it_lost():
    def one_line(*levels):
        return {f"memory.{level}.{part}": 1 for level in levels for part in ("lines", "ways")}

    again = (1, 1, 1, 2)  # the same four lines, and none is the latest when its turn comes
    assert cpu(A, again, **NO_PWC) == (8, 4 * DRAM + 4 * L1)
    assert cpu(A, again, **NO_PWC, **one_line("l1")) == (8, 4 * DRAM + 4 * L2)
    assert cpu(A, again, **NO_PWC, **one_line("l1", "l2")) == (8, 4 * DRAM + 4 * LLC)
    assert cpu(A, again, **NO_PWC, **one_line("l1", "l2", "llc")) == (8, 8 * DRAM)


def test_another_cpu_finds_the_lines_in_the_cache_that_all_share():
    first, second = run("cpu-only", [(0, A), (1, A)])
    assert (first.refs, first.cycles) == (4, 4 * DRAM)
    assert (second.refs, second.cycles) == (4, 4 * LLC)


def test_a_huge_page_saves_a_level():
    assert cpu(A, huge=True) == (3, 3 * DRAM)
    assert cpu(A, SHARES["pdpte"], huge=True) == (3 + 1, 4 * DRAM)
    assert cpu(A, SHARES["pml4e"], huge=True) == (3 + 2, 5 * DRAM)
    assert cpu(A, SHARES["pdpte"], huge=True, **NO_PWC) == (3 + 3, 3 * DRAM + 2 * L1 + DRAM)


def test_a_page_that_left_the_tlb_is_walked_again():
    assert cpu(A, SHARES["pde"], A, **NO_TLB) == (4 + 1 + 1, 5 * DRAM + L1)


# two dimensions: the page of each guest table is looked up in the EPT, and so is the guest's page at the end


def vcpu(*pages, **more):
    """The walks of a vCPU that reads these pages after another one has resolved all EPT violations."""
    pages = list(pages)
    before, done = run("kvm-ept-2008", [(0, page) for page in pages] + [(1, page) for page in pages], **more)
    assert before.exits > 0 and done.exits == 0
    return done.refs, done.cycles


def test_a_cold_walk_in_two_dimensions_makes_24_references():
    guest, nested = 4, 4
    refs = guest * (nested + 1) + nested
    # The pages of the guest's tables lie together, so their walks share entries of the EPT: the root's for all four, that
    # of level 3 for the tables of levels 4, 3, 2, that of level 2 for those of levels 4 and 3. The first vCPU left the
    # other lines in the llc.
    again = 3 + 2 + 1
    assert (refs, vcpu(A, **NO_NESTED)) == (24, (refs, (refs - again) * LLC + again * L1))


@pytest.mark.parametrize("name", SHARES)
def test_a_guest_walk_cache_knows_where_a_table_is(name):
    guest = LEFT[name]
    refs = guest + (guest - 1) * 4 + 4  # the first table's page needs no look-up
    assert refs == 5 * guest
    assert vcpu(A, SHARES[name], **NO_NESTED)[0] == 24 + refs
    assert vcpu(A, SHARES[name], **NO_NESTED, **NO_PWC)[0] == 24 + 24


@pytest.mark.parametrize(
    ("settings", "huge", "refs"),
    [
        ({}, True, 4 * (4 + 1) + 3),  # a guest of 4 KiB pages on a host page of 2 MiB
        ({"guest.page_size": "2M"}, False, 3 * (4 + 1) + 4),  # the guest believes in a huge page
        ({"guest.page_size": "2M"}, True, 3 * (4 + 1) + 3),  # both do
        # Guest tables on huge pages too, but for those of levels 4 and 3: their memory is smaller than 2 MiB.
        ({"kernel.thp": "always"}, True, 2 * (4 + 1) + 2 * (3 + 1) + 3),
        ({"kernel.thp": "always", "guest.page_size": "2M"}, True, 2 * (4 + 1) + 1 * (3 + 1) + 3),
    ],
)
def test_huge_pages_save_a_level_in_each_dimension(settings, huge, refs):
    assert vcpu(A, huge=huge, **settings, **NO_NESTED)[0] == refs


def test_nested_caches_within_one_walk():
    # Where the walk of the EPT begins for each of the five pages, with what the walks before it left: the tables of levels
    # 4 and 3 share a level-1 table of the EPT; that of level 2 shares a level-2 table with them; that of level 1 a level-3
    # table; the guest's page nothing.
    refs = (4 + 1) + (1 + 1) + (2 + 1) + (3 + 1) + 4
    assert vcpu(A) == (refs, refs * LLC)
    assert refs == 18


def test_a_nested_tlb_ends_the_second_dimension():
    only = without("nested.pde", "nested.pdpte", "nested.pml4e")
    # all four tables of the neighbour are A's, then everything is known
    assert vcpu(A, SHARES["pde"], A, **NO_TLB, **NO_PWC, **only)[0] == 24 + (4 + 4) + 4
    # with all caches: one guest entry and one of the EPT for the neighbour, one guest entry for A again
    refs, cycles = vcpu(A, SHARES["pde"], A, **NO_TLB)
    assert (refs, cycles) == (18 + 2 + 1, (18 + 2) * LLC + L1)


def test_a_walk_that_finds_no_spte_has_read_what_is_there():
    (done,) = run("kvm-ept-2008", [(0, A)], **NO_NESTED, **NO_PWC)
    # The pages of the guest's four tables are there; the guest's page is missing in the root of the EPT.
    assert done.exits == 1
    assert done.refs == 4 * (4 + 1) + 1 + 24
