"""What the generators of memory management do in one process or in several that work together: counted by hand, or by naive twins."""

import itertools

import numpy as np
import pytest

from hwmodel import op as t
from workloads import (
    fork_snapshots,
    gather_scatter,
    gru_block_copy,
    huge_pages,
    mpi_halo,
    mprotect_toggle,
    numa_migration,
    swap_pressure,
)
from workloads.synthetic.drawing import BASE


def records(trace):
    return np.concatenate(list(trace.chunks()))


def page_of(ops):
    return ops["address"] - BASE >> t.PAGE_SHIFT


def operations(ops, syncs=False):
    """(kind, first page, pages, operand, agent) of everything but accesses, in order; of SYNC only if asked for."""
    return [
        (int(op["kind"]), int(page_of(op)), int(op["count"]), int(ops[i + 1]["count"]) if op["kind"] in t.ARGS else None, int(op["agent"]))
        for i, op in enumerate(ops)
        if t.FETCH < op["kind"] != t.ARG and (op["kind"] != t.SYNC or syncs)
    ]


def accesses(ops):
    return ops[ops["kind"] <= t.FETCH]


def distinct(choices, draws):
    """Expected number of different ones among `draws` of `choices`."""
    return choices * (1 - (1 - 1 / choices) ** draws)


# A slice is 8 pages and takes 100 accesses of mutators and 8 of the collector; the heap has 8 slices.


def test_the_collector_goes_through_the_heap_slice_by_slice():
    ops = records(mprotect_toggle(8 * 108, pages=64, part=8, every=100, writes=1, cpus=2, devices=2))
    slices = [op[1:] for op in operations(ops) if op[2] == 8]
    expected = [(8 * k, 8, prot, 0) for k in range(8) for prot in (t.PROT_READ, 3)]
    assert slices == expected[:-1]  # the trace ends with its last access, before the last slice is opened
    reads = ops[ops["kind"] == t.READ]
    assert page_of(reads).tolist() == list(range(64)) and (reads["agent"] == 0).all()
    assert np.bincount(ops["agent"][ops["kind"] == t.WRITE]).tolist() == [0, 0, 400, 400]


@pytest.mark.parametrize("devices", [0, 2])
def test_a_page_is_unprotected_right_before_its_first_write(devices):
    ops = records(mprotect_toggle(20_000, pages=64, part=8, every=100, cpus=3, devices=devices))
    protected, traps = set(), 0
    for i, op in enumerate(ops):
        page, arg = int(page_of(op)), ops[min(i + 1, ops.size - 1)]
        if op["kind"] == t.MPROTECT and op["count"] == 8:
            protected = set(range(page, page + 8)) if arg["count"] == t.PROT_READ else set()
        elif op["kind"] == t.MPROTECT:
            then = ops[i + 2]
            assert page in protected and arg["count"] == 3
            assert then["kind"] == t.WRITE and page_of(then) == page
            assert op["agent"] == arg["agent"] == (0 if devices else then["agent"])
            protected.remove(page)
            traps += 1
        assert op["kind"] != t.WRITE or page not in protected
    slices = 20_000 / 108
    writes = 0.3 * 100 / 8  # to a slice, an eighth of the heap; about 3.75 of them
    assert traps == pytest.approx(slices * 8 * (1 - np.exp(-writes / 8)), rel=0.06)


def test_a_child_lives_for_half_a_round_and_reads_everything_once():
    trace = fork_snapshots(2 * 116 + 50, pages=16, snapshots=2, every=100, during=0.5, cpus=1, devices=0)
    ops = records(trace)
    assert [(agent.role, agent.space) for agent in trace.agents] == [("cpu", 0), ("cpu", 1), ("cpu", 2)]
    done = [(int(op["kind"]), int(op["count"]), int(op["agent"])) for op in ops if op["kind"] > t.FETCH]
    assert done == [(t.FORK, 1, 0), (t.SYNC, 0, 1), (t.EXIT, 0, 1), (t.FORK, 2, 0), (t.SYNC, 0, 2), (t.EXIT, 0, 2)]
    at = np.flatnonzero(ops["kind"] > t.FETCH)
    own = [int((part["agent"] == 0).sum()) for part in np.split(ops, at)]
    assert own == [0, 51, 0, 50, 51, 0, 100]  # the FORK is the parent's own record, the EXIT the child's
    for child in (1, 2):
        reads = ops[(ops["agent"] == child) & (ops["kind"] == t.READ)]
        assert page_of(reads).tolist() == list(range(16))
    own_before = np.cumsum(ops["agent"] == 0)[np.flatnonzero(ops["agent"] == 1)[:16]] - 1
    assert own_before.tolist() == [i * 50 // 16 for i in range(16)]
    assert (ops["agent"][at[5] + 1 :] == 0).all()


def test_children_that_are_not_reached_are_not_there():
    assert len(fork_snapshots(116, pages=16, every=100).agents) == 3
    assert len(fork_snapshots(117, pages=16, every=100).agents) == 4
    assert len(fork_snapshots(117, pages=16, every=100, per_page=2).agents) == 3


def test_all_agents_of_the_parent_serve():
    ops = accesses(records(fork_snapshots(5000, pages=16, every=100, snapshots=1, cpus=1, devices=3)))
    assert np.bincount(ops["agent"]).tolist() == [1246, 1246, 1246, 1246, 16]


def test_a_child_may_read_each_line():
    ops = records(fork_snapshots(5000, pages=16, every=100, per_page=64, devices=0))
    assert (ops["count"][(ops["agent"] == 1) & (ops["kind"] == t.READ)] == 64).all()


def test_as_many_pages_are_copied_as_theory_says():
    ops = records(fork_snapshots(10 * 5000, pages=1000, snapshots=10, every=4000, during=0.5, writes=0.5))
    copied, shared = [], None
    for op in ops:
        if op["kind"] == t.FORK:
            shared = set(range(1000))
        elif op["kind"] == t.EXIT:
            copied.append(1000 - len(shared))
            shared = None
        elif shared is not None and op["kind"] == t.WRITE:
            shared.discard(int(page_of(op)))
    assert len(copied) == 10
    assert np.mean(copied) == pytest.approx(distinct(1000, 1000), abs=18)  # 632; one deviates by about 13


# Two nodes of 32 pages each; everything is scanned every round; after a round the nodes swap their blocks.


def test_blocks_that_change_hands_migrate():
    trace = numa_migration(3000, pages=64, nodes=2, scan=64, every=1000, phase=1000, local=1, cpus=2)
    ops = records(trace)
    assert operations(ops) == [(t.MIGRATE, 32, 32, 0, 0), (t.MIGRATE, 0, 32, 1, 1)]
    assert (np.flatnonzero(ops["kind"] == t.MIGRATE) >= 2000).all()
    blocks = page_of(ops[ops["kind"] <= t.WRITE]) // 32
    agents = ops["agent"][ops["kind"] <= t.WRITE]
    assert (blocks == (agents + np.arange(3000) // 1000) % 2).all()


def test_a_page_migrates_to_where_its_last_two_uses_were():
    ops = records(numa_migration(60_000, pages=60, nodes=3, scan=25, every=300, phase=2000, local=0.7, cpus=1, devices=4))
    home = {page: page // 20 for page in range(60)}
    users, migrations = {page: [] for page in home}, 0
    for i, op in enumerate(ops):
        first = int(page_of(op))
        if op["kind"] <= t.WRITE:
            users[first].append((int(op["agent"]) - 1) % 3)  # devices are agents 1 to 4, on nodes 0, 1, 2, 0
        elif op["kind"] == t.MIGRATE:
            node = int(ops[i + 1]["count"])
            for page in range(first, first + int(op["count"])):
                assert home[page] != node and users[page][-2:] == [node, node]
                home[page] = node
                migrations += 1
    assert migrations > 500


@pytest.mark.parametrize(("how", "advice"), [("pageout", t.PAGEOUT), ("cold", t.COLD)])
def test_the_least_recently_used_pages_are_advised_away(how, advice):
    ops = records(swap_pressure(4000, pages=100, memory=30, hot=0.8, drift=2, every=40, how=how))
    latest, done, gone = {}, 0, []
    for i, op in enumerate(ops):
        first = int(page_of(op))
        if op["kind"] == t.MADVISE:
            assert ops[i + 1]["count"] == advice
            gone += range(first, first + int(op["count"]))
        elif op["kind"] <= t.WRITE:
            if done and done % 40 == 0:
                away = sorted(latest, key=lambda page: (latest[page], page))[: max(0, len(latest) - 30)]
                assert gone == sorted(away)
                latest, gone = {page: when for page, when in latest.items() if page not in away}, []
            latest[first] = done // 40
            done += 1
    assert done == 4000


def test_what_fits_is_left_alone():
    assert not operations(records(swap_pressure(4000, pages=100, memory=30, hot=1, drift=0, every=40)))


@pytest.mark.parametrize(
    ("how", "collapse", "splits", "wholes"),
    [
        ("unmap", "advice", [t.MUNMAP, t.MMAP, t.MADVISE], [t.MADVISE]),
        ("mprotect", "fault", [t.MPROTECT, t.MPROTECT], [t.MUNMAP, t.MMAP, t.MADVISE]),
        ("dontneed", "advice", [t.MADVISE], [t.MADVISE]),
    ],
)
def test_a_huge_page_is_split_in_a_part_and_made_whole_again(how, collapse, splits, wholes):
    ops = records(huge_pages(20 * 50 + 1, pages=2048, part=64, every=50, how=how, collapse=collapse))
    first, *rest = operations(ops)
    assert first[:4] == (t.MADVISE, 0, 2048, t.HUGEPAGE) and ops[0]["kind"] == t.MADVISE
    assert [op[0] for op in rest] == (splits + wholes) * 10
    operation = (ops["kind"] > t.FETCH) & (ops["kind"] != t.ARG) & (ops["kind"] != t.SYNC)
    at = [int((ops["kind"][:i] <= t.WRITE).sum()) for i in np.flatnonzero(operation)]
    assert at[1:] == [n * 50 for k in range(10) for n in [2 * k + 1] * len(splits) + [2 * k + 2] * len(wholes)]
    for k in range(10):
        ops_of = rest[k * len(splits + wholes) : (k + 1) * len(splits + wholes)]
        split, whole = ops_of[: len(splits)], ops_of[len(splits) :]
        assert {op[2] for op in split} == {64} and {op[2] for op in whole} == {512}
        assert len({op[1] for op in split}) == len({op[1] for op in whole}) == 1
        assert split[0][1] // 512 * 512 == whole[0][1] and split[0][1] % 64 == 0
    assert rest[0][3] == {"unmap": None, "mprotect": t.PROT_READ, "dontneed": t.DONTNEED}[how]
    assert rest[-1][3] == {"advice": t.COLLAPSE, "fault": t.HUGEPAGE}[collapse]


# Three ranks of 4 pages, a page of halo at each end. An iteration: 3 x (2 ghosts x 2 + 4 pages x 2 x 2) = 60 accesses
# to compute and 3 x 2 pages x 2 x 64 = 768 to exchange.


def test_ranks_compute_and_exchange():
    ops = records(mpi_halo(2 * 828 + 1, pages=4, halo=1, ranks=3, per_page=2, every=2))
    kinds = [op[0] for op in operations(ops, syncs=True)]
    assert kinds[:12] == [t.ATTACH, t.ATTACH, t.MMAP, t.MMAP] * 3
    assert kinds[12:] == [t.SYNC] * 4 + [t.MUNMAP, t.MMAP, t.SYNC] + [t.MUNMAP, t.DETACH, t.DETACH, *kinds[:4]] * 2
    syncs = np.flatnonzero(ops["kind"] == t.SYNC)
    compute, exchange = accesses(ops[: syncs[0]]), accesses(ops[syncs[0] : syncs[1]])
    assert t.count_references(compute) == 60 and t.count_references(exchange) == 768
    assert page_of(compute[compute["agent"] == 1]).tolist() == [4, 5, 0, 0, 1, 1, 2, 2, 3, 3]
    assert page_of(exchange[exchange["agent"] == 1]).tolist() == [6, 4, 7, 5]  # what it sees left and right to its ghosts
    assert exchange["kind"].tolist() == [t.READ, t.WRITE] * 6


def test_a_rank_sees_its_neighbours_borders():
    ops = records(mpi_halo(1, pages=4, halo=1, ranks=3))
    seen = [
        (int(op["agent"]), int(page_of(op)), int(arg["count"]) >> t.FILE_SHIFT, int(arg["address"]) - (BASE >> 12))
        for op, arg in itertools.pairwise(ops)
        if op["kind"] == t.MMAP
    ]
    assert seen == [(r, 6 + side, 1 + (r - 1 + 2 * side) % 3, 3 - 3 * side) for r in range(3) for side in (0, 1)]


def test_of_two_ranks_each_is_both_neighbours_of_the_other():
    ops = records(mpi_halo(1, pages=4, halo=1, ranks=2))
    assert [op[0] for op in operations(ops)] == [t.ATTACH, t.MMAP, t.MMAP] * 2


def test_devices_copy_the_halos():
    ops = accesses(records(mpi_halo(50_000, pages=8, halo=4, ranks=2, per_page=1, devices=2)))
    copies = ops[ops["count"] == 64]
    assert sorted(set(copies["agent"].tolist())) == [2, 3, 4, 5]
    assert (ops["agent"][ops["count"] == 1] < 2).all()


def test_shared_segments_carry_borders_to_the_neighbours_that_need_them():
    trace = mpi_halo(100_000, pages=4, halo=1, ranks=3, per_page=1, transport="shared")
    files = {}
    for op, arg in itertools.pairwise(trace.prelude):
        if op["kind"] == t.MMAP and arg["count"] >> 3 & 7 == t.SHARED:
            for i in range(op["count"]):
                files[int(op["agent"]), int(page_of(op)) + i] = (int(arg["count"]) >> t.FILE_SHIFT, int(arg["address"]) + i)
    holds, ghosts, latest = {}, {}, None
    for op in records(trace):
        if op["count"] != 64:
            continue
        where = int(op["agent"]), int(page_of(op))
        if op["kind"] == t.READ:
            latest = holds[files[where]] if where in files else where
        elif where in files:
            holds[files[where]] = latest
        else:
            ghosts[where] = latest
    assert ghosts == {(r, 4 + side): ((r - 1 + 2 * side) % 3, 3 - 3 * side) for r in range(3) for side in (0, 1)}


def test_a_block_copy_reads_and_writes_page_after_page():
    ops = records(gru_block_copy(3 * 2 * 2 * 128 + 64, pages=8, length=2, every=3, share=0, cpus=1, devices=2))
    copies = ops[:24].reshape(3, 2, 2, 2)  # copy, page of it, device, side
    assert (copies["count"] == 64).all() and (ops["kind"][:24] == [t.READ, t.WRITE] * 12).all()
    assert (copies["agent"] == np.array([1, 2])[:, None]).all()
    pages = page_of(copies)
    assert (pages[:, 1] == pages[:, 0] + 1).all()
    assert pages[..., 0].max() < 8 <= pages[..., 1].min() and pages.max() < 16
    (unmap, _, first, *_), (mmap, _, _, prot, _) = ((op[0], op[2], op[1], op[3], op[4]) for op in operations(ops))
    assert (unmap, mmap, prot) == (t.MUNMAP, t.MMAP, 3) and first >= 8 and first % 2 == 0


def test_cpus_take_their_share():
    ops = accesses(records(gru_block_copy(1_000_000, pages=64, length=4, every=8, share=0.25, writes=0.5, cpus=2)))
    cpus = ops[ops["agent"] < 2]
    assert cpus.size == pytest.approx(ops.size / 5, rel=0.01)
    assert (cpus["kind"] == t.WRITE).mean() == pytest.approx(0.5, abs=0.05)
    assert (page_of(cpus) < 64).mean() == pytest.approx(0.5, abs=0.05)


def test_vectors_lie_in_the_devices_parts():
    ops = records(gather_scatter(32_000, pages=64, vector=4, remote=0, share=0, writes=0.5, devices=2))
    vectors = ops.reshape(-1, 4, 2)  # instruction, element, device
    assert (vectors["agent"] == [1, 2]).all()
    assert (page_of(vectors) // 32 == [0, 1]).all()
    assert (vectors["kind"] == vectors["kind"][:, :1]).all()
    assert (vectors["kind"] == t.WRITE).mean() == pytest.approx(0.5, abs=0.03)


def test_remote_elements_are_anywhere():
    ops = records(gather_scatter(100_000, pages=64, remote=0.4, share=0, devices=4))
    own = page_of(ops) // 16 == ops["agent"] - 1
    assert own.mean() == pytest.approx(0.6 + 0.4 / 4, abs=0.01)
