"""Each judgement of `tests.audit` can fail: tables that were good are damaged in one place, and it says so."""

import pytest

from hwmodel import machine as machines
from hwmodel import op
from hwmodel.core.tables import HUGE, PFN, P, W
from hwmodel.op import Agent, mmap_unit, paged_unit
from hwmodel.parts.paging_caches import DTLB, PDE
from hwmodel.secondary._kvm_notifier import NTLB
from hwmodel.trace import Trace
from tests.audit import findings, judge

AT, FILE_AT, HUGE_AT, OTHER_AT = (page << 12 for page in (0x10000, 0x20000, 0x80000, 0x90000))
PARENT, CHILD, DEVICE = 0, 1, 2


@pytest.fixture(params=["kvm-ept-2008", "gru-2008"])
def tables(request):
    """Good tables with a bit of everything: a child, a file, a huge page, freed tables and frames, a device's translations."""
    prelude = [*mmap_unit(AT, 8, 3), *mmap_unit(FILE_AT, 4, 1, op.PRIVATE_FILE, 1), *mmap_unit(OTHER_AT, 4, 3),
               *mmap_unit(HUGE_AT, 512, 3), *mmap_unit(AT + (8 << 12), 8, 1)]  # fmt: skip
    touched = [(at, 1, 0, kind, PARENT) for at, kind in (
        (AT, op.WRITE), (AT + 4096, op.READ), (FILE_AT, op.READ), (HUGE_AT, op.WRITE), (OTHER_AT, op.WRITE), (OTHER_AT + 4096, op.WRITE))]
    sync = (0, 0, 0, op.SYNC, PARENT)
    records = [*touched, (0, 1, 0, op.FORK, PARENT), (AT, 1, 0, op.WRITE, CHILD), sync, (AT, 1, 0, op.WRITE, PARENT), sync,
               (AT, 1, 0, op.WRITE, DEVICE), (HUGE_AT, 1, 0, op.READ, DEVICE), *paged_unit(op.MUNMAP, OTHER_AT, 4, (), CHILD),
               *paged_unit(op.MUNMAP, OTHER_AT, 4, (), PARENT), (AT + (2 << 12), 1, 0, op.READ, PARENT)]  # fmt: skip
    agents = [Agent("cpu", 0, "parent"), Agent("cpu", 1, "child"), Agent("device", 0, "device")]
    machine = machines.preset(request.param).with_(**{"cpu.count": 2, "kernel.thp": "always", "kernel.fault_around_pages": 1})
    run = judge(machine, Trace.from_records(agents, records, prelude))
    assert run.found == []
    return run.m, run.dev, machine.design


def leaf(m, space, vpn):
    """Where the leaf of a page is: (node, entry)."""
    return leaf_below(m, m.spaces[space].root, vpn)


def leaf_below(m, node, vpn):
    """Where it is in the radix table of this root."""
    for level in (4, 3, 2, 1):
        at = vpn >> 9 * (level - 1) & 511
        entry = int(m.nodes[node, at])
        if level == 1 or entry & HUGE:
            return node, at
        node = entry >> PFN


def frame_of(m, at, space=0):
    """The frame that a page is in."""
    return int(m.nodes[leaf(m, space, at >> 12)]) >> PFN


def vma_of(m, at, space=0):
    """The VMA that a page is in."""
    return next(v for v in m.vmas[: m.ctl[0].vma_count] if v.space == space and v.first <= at >> 12 < v.last)


def way_of(m, bank):
    """A way in use of a bank."""
    b = m.banks[bank]
    return next(way for way in m.ways[b.offset : b.offset + (b.mask + 1) * b.ways] if way.tag >= 0)


def a_reference_too_many(m, dev):
    m.frames[frame_of(m, AT)].refs += 1
    return "references, but"


def another_owner(m, dev):
    m.frames[frame_of(m, AT)].owner += 1
    return "the reverse map lacks frame"


def a_mapping_twice(m, dev):
    frame = m.frames[frame_of(m, HUGE_AT)]
    m.links[frame.more].owner = frame.owner
    return "the reverse map lists a mapping twice"


def a_frame_in_use_that_is_free(m, dev):
    pfn = frame_of(m, AT)
    m.frames[pfn].more, m.ctl["frame_free"] = m.ctl[0].frame_free, pfn
    return f"frame {pfn} has 1 references and is free 1 times"


def a_free_frame_that_is_lost(m, dev):
    m.ctl["frame_free"] = m.frames[m.ctl[0].frame_free].more
    return "has 0 references and is free 0 times"


def a_free_frame_twice(m, dev):
    first = last = m.ctl[0].frame_free
    while m.frames[last].more >= 0:
        last = m.frames[last].more
    m.frames[last].more = first
    return f"frame {last} has 0 references and is free "


def a_page_of_a_file_that_is_not_marked(m, dev):
    m.frames[frame_of(m, FILE_AT)].cached = 0
    return "in the page cache 1 times, but is marked 0"


def another_page_of_the_file(m, dev):
    vma_of(m, FILE_AT).offset += 1
    return "for the page of a file that is in frame None"


def a_free_node_in_use(m, dev):
    node = leaf(m, 0, AT >> 12)[0]
    m.nodes[m.ctl[0].node_free, 0] = node
    return f"node {node} is reached 1 times and free 1 times"


def a_node_that_is_lost(m, dev):
    m.ctl["node_free"] = -1
    return "is reached 0 times and free 0 times"


def a_free_node_with_entries(m, dev):
    m.nodes[m.ctl[0].node_free, 5] = 1
    return "is not empty"


def a_leaf_where_a_table_belongs(m, dev):
    m.nodes[m.spaces[0].root, 300] = 7 << PFN | P
    return "at level 4, page 0x960000000 has the entry 0x7001"


def a_link_that_is_lost(m, dev):
    m.ctl["link_free"] = -1
    return "is in 0 lists"


def a_gather_that_is_not_empty(m, dev):
    m.gathers[0].pages, m.gathers[0].entry, m.gathers[0].last_entry = 1, m.ctl[0].entry_free, -1
    return "row 0 gathered 1 pages up to -1"


def a_vma_too_short(m, dev):
    vma_of(m, AT).first += 1
    return "space 0: page 0x10000 is mapped, but no VMA holds all of it"


def vmas_that_overlap(m, dev):
    vma_of(m, AT).last += 1
    return "out of order, or overlap"


def vmas_not_merged(m, dev):
    vma_of(m, AT + (8 << 12)).prot = vma_of(m, AT).prot
    vma_of(m, AT + (8 << 12)).accounted = vma_of(m, AT).accounted
    return "and the next are alike and not merged"


def a_vma_of_a_parent_that_it_has_not(m, dev):
    vma_of(m, FILE_AT).forked = 1
    return "has no anonymous page, but a parent's"


def a_shared_vma_with_an_anonymous_page(m, dev):
    vma_of(m, FILE_AT).mapping, vma_of(m, FILE_AT).anon = op.SHARED_FILE, 1
    return "is shared, but accounted, or has anonymous pages"


def an_anon_vma_that_nobody_made(m, dev):
    vma_of(m, AT).anon = m.ctl[0].anon_vmas + 1
    return "has an anon_vma that was never made"


def a_vma_without_its_anonymous_page(m, dev):
    vma_of(m, AT).anon = 0
    return "is an anonymous page in a VMA that says it has none"


def a_right_too_many(m, dev):
    vma_of(m, AT).prot = 1
    return "may be written, its VMA not"


def a_page_that_is_mapped_without_any_right(m, dev):
    vma_of(m, AT).prot = 0
    return "in a VMA of rights 0"


def a_shared_page_that_may_be_written(m, dev):
    m.nodes[leaf(m, 1, HUGE_AT >> 12)] |= W
    return "may be written in private, but others map its frame"


def a_huge_page_off_its_block(m, dev):
    m.nodes[leaf(m, 0, HUGE_AT >> 12)] += 1 << PFN
    return "begins no block"


def a_zero_page_that_may_be_written(m, dev):
    m.nodes[leaf(m, 0, (AT >> 12) + 1)] |= W
    return "is the zero page, but writable"


def a_lock_still_held(m, dev):
    m.locks[1].readers = 1
    return "lock 1 is held"


def an_interrupt_under_way(m, dev):
    m.pending[1, 0] = 9
    return "an interrupt for row 1 of row 0 is pending"


def a_window_left_open(m, dev):
    table, column = (dev.vms, "in_progress") if hasattr(dev, "vms") else (dev.gms, "active")
    table[column][0] = 1
    return f"space 0: {column} windows are open"


def a_tlb_with_another_frame(m, dev):
    way_of(m, m.rows[0].banks + DTLB).pfn += 1
    return "TLB of CPU 0: page"


def a_walk_cache_with_another_table(m, dev):
    way_of(m, m.rows[0].banks + PDE).pfn += 1
    return "walk cache of CPU 0 has node"


def a_device_that_may_write_too_much(m, dev):
    first = m.ctl[0].cpus
    if hasattr(dev, "vms"):
        bank, where = m.rows[first].banks + NTLB, f"nested TLB of vCPU {first}"
    else:
        bank, where = dev.banks[dev.contexts[first].chiplet], f"TLB of chiplet {dev.contexts[first].chiplet}"
    way_of(m, bank).pfn += 1
    return f"{where}: page"


def a_free_frame_too_many(m, dev):
    m.ctl[0].free += 1
    return "frames are said to be free"


DAMAGES = [
    a_free_frame_too_many,
    a_reference_too_many, another_owner, a_mapping_twice, a_frame_in_use_that_is_free, a_free_frame_that_is_lost, a_free_frame_twice,
    a_page_of_a_file_that_is_not_marked, another_page_of_the_file, a_free_node_in_use, a_node_that_is_lost, a_free_node_with_entries,
    a_leaf_where_a_table_belongs, a_link_that_is_lost, a_gather_that_is_not_empty, a_vma_too_short, vmas_that_overlap, vmas_not_merged,
    a_vma_of_a_parent_that_it_has_not, a_shared_vma_with_an_anonymous_page, an_anon_vma_that_nobody_made,
    a_vma_without_its_anonymous_page, a_right_too_many, a_page_that_is_mapped_without_any_right, a_shared_page_that_may_be_written,
    a_huge_page_off_its_block, a_zero_page_that_may_be_written, a_lock_still_held, an_interrupt_under_way, a_window_left_open,
    a_tlb_with_another_frame, a_walk_cache_with_another_table, a_device_that_may_write_too_much,
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damage_is_found(tables, damage):
    m, dev, design = tables
    said = damage(m, dev)
    assert any(said in text for text in findings(m, dev, design))


def unmapped_under_it(m, entry):
    m.nodes[leaf(m, 0, AT >> 12)] = 0
    return entry


@pytest.mark.parametrize("tables", ["kvm-ept-2008"], indirect=True)
@pytest.mark.parametrize("damage", [lambda m, entry: entry + (1 << PFN), unmapped_under_it])
def test_a_wrong_spte_is_found(tables, damage):
    m, dev, design = tables
    node, at = leaf_below(m, int(dev.vms["ept"][0]), AT >> 12)
    m.nodes[node, at] = damage(m, int(m.nodes[node, at]))
    assert any(text.startswith("EPT of space 0: page 0x10000") for text in findings(m, dev, design))
