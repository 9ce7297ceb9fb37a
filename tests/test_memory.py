"""The kernel's tables, judged by one another at the end of runs and in their midst; each judgement can fail."""

import pytest

from hwmodel import machine as machines
from hwmodel import op
from hwmodel.core.tables import PFN
from hwmodel.op import Agent, mmap_unit, paged_unit
from hwmodel.trace import Trace
from tests import reference
from tests.audit import judge
from tests.audit.tables import read_tree
from tests.support import designs
from tests.support.equality import compare
from tests.support.random_traces import random_case

PAGE = 0x10000
AT, HUGE_AT = PAGE << 12, 0x80000 << 12


def run_of(spaces, records, prelude, **settings):
    """A small run of CPUs, one in each of `spaces`, on which the oracle agrees."""
    machine = machines.preset("cpu-only").with_(**{"cpu.count": 1, **{name.replace("__", "."): v for name, v in settings.items()}})
    trace = Trace.from_records([Agent("cpu", s, f"cpu {k}") for k, s in enumerate(spaces)], records, prelude)
    run = judge(machine, trace)
    assert list(compare(run.result, reference.simulate(machine, trace))) == []
    return run


def faults(run):
    """Its faults, by kind."""
    return {name.removeprefix("faults."): n for name, n in run.result.counters.items() if n and name.startswith("faults.")}


# at the end of random runs, and in their midst


@pytest.mark.parametrize("design", designs.names())
@pytest.mark.parametrize("block", range(4))
def test_tables_agree_at_the_end(design, block):
    for seed in range(4000 + 25 * block, 4025 + 25 * block):
        assert judge(*random_case(seed, design, 80)).found == [], f"seed {seed}"


@pytest.mark.parametrize("design", designs.names())
def test_tables_agree_in_the_midst(design):
    for seed in range(4200, 4215):
        assert judge(*random_case(seed, design, 80), midst=True, chunk=3).found == [], f"seed {seed}"


@pytest.mark.jit_off
@pytest.mark.parametrize("design", designs.names())
def test_tables_agree_without_the_jit(design):
    assert judge(*random_case(4300, design, 60), midst=True, chunk=3).found == []


# what the judgements found: each was a defect of kernels and oracle alike, but for the first


def test_a_file_whose_root_is_the_first_node():
    # space 0 is gone, and node 0, its root, is the next to be used: as the root of the page cache of file 1
    mapped = [*mmap_unit(AT, 1, 1, op.SHARED_FILE, 1, agent=1), *mmap_unit(AT + 4096, 1, 1, op.SHARED_FILE, 1, agent=1)]
    mapped += mmap_unit(AT + 8192, 1, 1, agent=1)  # its page tables, those of the file's mapping too, are there before
    records = [(AT + 8192, 1, 0, op.READ, 1), (0, 0, 0, op.SYNC, 1), (0, 0, 0, op.EXIT, 0), (0, 0, 0, op.SYNC, 1)]
    records += [(AT, 1, 0, op.READ, 1), (AT + 4096, 1, 0, op.READ, 1)]
    run = run_of((0, 1), records, mapped)
    assert run.found == [] and run.m.files[1] == 0
    (frame,) = {int(pte) >> PFN for pte in read_tree(run.m, run.m.spaces[1].root).pte[:2]}
    assert run.m.frames[frame].refs == 3  # two mappings and the page cache


def test_a_fork_shares_the_page_that_a_fault_makes_writable():
    # after the first fork and the child's exit the page is the parent's alone: a write need not copy, until the second fork
    records = [
        (AT, 1, 0, op.WRITE, 0), (0, 1, 0, op.FORK, 0), (0, 0, 0, op.EXIT, 2), (0, 0, 0, op.SYNC, 0),
        (0, 2, 0, op.FORK, 0), (AT, 1, 0, op.WRITE, 1),
    ]  # fmt: skip
    run = run_of((0, 0, 1, 2), records, mmap_unit(AT, 1, 3), kernel__fork_ns=2000, kernel__fault_ns=2000)
    assert run.found == [] and faults(run) == {"anon": 1, "spurious": 1, "cow": 1}


def test_a_vma_is_cut_where_a_fault_wants_a_huge_page():
    # the page that the write touches stays mapped, and so it gets a small page
    records = [*paged_unit(op.MUNMAP, HUGE_AT + (256 << 12), 512, (), 0), (HUGE_AT, 1, 0, op.WRITE, 1)]
    run = run_of((0, 0), records, mmap_unit(HUGE_AT, 1024, 3), kernel__thp="always", kernel__syscall_ns=2000)
    assert run.found == [] and faults(run) == {"anon": 1, "spurious": 1}


@pytest.mark.parametrize("kind, gap", [(op.READ, 4000), (op.WRITE, 3500)])
def test_a_file_is_mapped_over_where_a_fault_would_have_an_anonymous_page(kind, gap):
    # the access was made after the mmap: its fault waits for the new VMA and finds the file
    records = [*mmap_unit(AT, 4, 3, op.SHARED_FILE, 1), (AT, 1, gap, kind, 1)]
    slow = {"kernel__syscall_ns": 2000, "kernel__vma_ns": 1000, "kernel__fault_ns": 1500}
    run = run_of((0, 0), records, mmap_unit(AT, 4, 3), **slow)
    assert run.found == [] and faults(run) == {"file": 1}


@pytest.mark.parametrize("gap", [0, 2000])
def test_a_vma_moves_away_from_a_fault(gap):
    # the access was made after the mremap: its fault waits for the move and finds nothing; no page is put in to move along
    records = [*paged_unit(op.MREMAP, AT, 4, [(AT + (64 << 12), 4)], 0), (AT, 1, gap, op.WRITE, 1)]
    slow = {"kernel__syscall_ns": 2000, "kernel__vma_ns": 1000, "kernel__fault_ns": 1500}
    run = run_of((0, 0), records, mmap_unit(AT, 4, 3), **slow)
    assert run.found == [] and faults(run) == {} and run.result.counters["segv"] == 1


def test_a_stack_grows_into_what_a_fork_has_just_copied():
    # two stacks, ten pages apart; the upper one of the parent grows down to the lower, and they stay two
    stacks = [*mmap_unit(AT, 10, 3, grows_down=True), *mmap_unit(AT + (20 << 12), 4, 3, grows_down=True)]
    records = [(AT, 1, 0, op.WRITE, 0), (0, 1, 0, op.FORK, 0), (AT + (10 << 12), 1, 8000, op.WRITE, 1)]
    run = run_of((0, 0, 1), records, stacks, kernel__fork_ns=1000, kernel__vma_ns=1000)
    assert run.found == [] and run.result.ledger["lock_wait"] > 0
    assert run.m.vmas["last"][: run.m.ctl[0].vma_count].tolist() == [PAGE + 10, PAGE + 24, PAGE + 10, PAGE + 24]
    assert run.m.vmas["first"][:4].tolist() == [PAGE, PAGE + 10, PAGE, PAGE + 20]
