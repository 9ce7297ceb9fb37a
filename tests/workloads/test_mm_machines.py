"""What the generators of memory management do with virtual machines: counted by hand, or by naive twins."""

import itertools

import numpy as np
import pytest

from hwmodel import op as t
from workloads import balloon, ksm_merging, live_migration, vm_boot_and_serve
from workloads.synthetic.drawing import BASE


def records(trace):
    return np.concatenate(list(trace.chunks()))


def page_of(ops):
    return ops["address"] - BASE >> t.PAGE_SHIFT


def distinct(choices, draws):
    """Expected number of different ones among `draws` of `choices`."""
    return choices * (1 - (1 - 1 / choices) ** draws)


# 32 parts of 2 pages, 4 parts at a time, at most 16 of them: the balloon grows four times and shrinks four times. A cycle
# has 8 x 10 accesses, and 4 x 8 first writes to returned pages: 112.


def test_a_balloon_grows_and_shrinks():
    ops = records(balloon(112 + 1, pages=64, chunk=8, part=2, share=0.5, every=10))
    kinds = [int(kind) for kind in ops["kind"] if kind > t.FETCH and kind != t.ARG]
    grows, shrinks = [t.SYNC] + [t.MADVISE] * 4, [t.SYNC, t.SYSCALL]
    assert kinds == (grows * 4 + shrinks * 4) + grows
    assert (ops["count"][ops["kind"] == t.SYSCALL] == 4).all()
    advised = ops[ops["kind"] == t.MADVISE]
    assert (advised["count"] == 2).all() and (page_of(advised) % 2 == 0).all() and (advised["agent"] == 0).all()
    assert len(set(page_of(advised)[:16].tolist())) == 16


def test_the_guest_leaves_the_balloon_alone_and_writes_to_what_returns():
    held, fresh, most, returned = [], set(), 0, 0
    for op in records(balloon(30_000, pages=100, chunk=6, part=2, share=0.7, every=30)):
        page = int(page_of(op))
        if op["kind"] == t.MADVISE:
            assert page not in held
            held.append(page)
            most = max(most, len(held))
        elif op["kind"] == t.SYSCALL:
            back = [held.pop() for _ in range(op["count"])]
            assert not fresh
            fresh = {page + i for page in back for i in (0, 1)}
        elif op["kind"] <= t.WRITE:
            assert page // 2 * 2 not in held
            assert page not in fresh or op["kind"] == t.WRITE
            returned += page in fresh
            fresh.discard(page)
    assert most == 33  # 35 parts, in chunks of 3
    assert returned > 1000


def test_the_guest_uses_all_that_the_balloon_has_left():
    ops = records(balloon(20_000, pages=40, chunk=10, share=0.25, every=10_000, writes=0))
    before, after = ops[ops["kind"] == t.READ][:10_000], ops[ops["kind"] == t.READ][10_000:]
    left = set(range(40)) - set(page_of(ops[ops["kind"] == t.MADVISE]).tolist())
    assert len(left) == 30
    assert np.bincount(page_of(before), minlength=40)[sorted(left)] == pytest.approx(333, rel=0.25)
    assert np.bincount(page_of(after), minlength=40) == pytest.approx(250, rel=0.25)


def test_one_page_of_each_contents_stays():
    ops = records(ksm_merging(10_000, pages=32, alike=1, contents=1, scan=8, every=100, writes=0, vms=2))
    merges = np.flatnonzero(ops["kind"] == t.KSM_MERGE)
    assert merges.size == 63  # the second pass over 64 pages merges all but the first
    before = np.cumsum(ops["kind"] <= t.WRITE)[merges]
    assert before.min() == 900 and before.max() == 1600  # a pass is 8 wake-ups, 100 accesses apart


def test_pages_with_contents_of_their_own_are_not_merged():
    ops = records(ksm_merging(10_000, pages=64, alike=0, scan=32, every=100, writes=0))
    assert not (ops["kind"] == t.KSM_MERGE).any()


def test_what_is_merged_was_not_written_for_a_pass_and_has_the_same_contents():
    vms, pages, scan, every = 3, 40, 10, 50
    ops = records(ksm_merging(40_000, pages=pages, alike=0.8, contents=6, scan=scan, every=every, writes=0.1, vms=vms, vcpus=2))
    written, done, group, merges = {}, 0, {}, 0

    def root(page):
        while group.setdefault(page, page) != page:
            page = group[page]
        return page

    for i, op in enumerate(ops):
        page = int(op["agent"]) % vms, int(page_of(op))
        if op["kind"] == t.KSM_MERGE:
            arg = ops[i + 1]
            other = int(arg["count"]), int(page_of(arg))
            assert op["agent"] < vms and other != page
            for merged in (page, other):
                assert written.get(merged, -1) < done - vms * pages // scan * every
            group[root((0, page[1]))] = root((0, other[1]))  # a page holds the same in all machines
            merges += 1
        elif op["kind"] <= t.WRITE:
            if op["kind"] == t.WRITE:
                written[page] = done
            done += 1
    assert merges > 500
    assert len({root(page) for page in list(group)}) == 6


def test_a_guest_maps_its_memory_and_touches_a_quarter_at_boot():
    ops = records(vm_boot_and_serve(256 + 70 + 1, pages=1024, boot=0.25, requests=5, part=8, every=50, devices=2))
    assert [int(kind) for kind in ops["kind"][:2]] == [t.GUEST, t.ARG] and ops["count"][0] == 512
    boot = ops[2:258]
    assert (boot["kind"] == t.WRITE).all() and page_of(boot).tolist() == list(range(256))
    assert tuple(ops[258])[1:] == (512, 0, t.GUEST, 1) and page_of(ops[258]) == 512
    assert ops["kind"][260] == ops["kind"][260 + 71] == t.SYNC
    after = ops[260 + 72 :]
    assert [int(kind) for kind in after["kind"][:6]] == [t.MADVISE, t.ARG, t.GUEST, t.ARG, t.GUEST, t.ARG]
    assert after["count"][1] == t.DONTNEED and (after["count"][[0, 2, 4]] == 8).all()
    assert (after["count"][[3, 5]] >> t.GUEST_SHIFT).tolist() == [t.MUNMAP, t.MMAP]
    assert (after["agent"][:2] == 0).all() and (after["agent"][2:6] == 1).all()


def test_a_request_goes_through_the_ring():
    ops = records(vm_boot_and_serve(70, pages=1024, boot=0, requests=5, every=50, guest=False, devices=2))
    where = np.flatnonzero((ops["agent"] == 0) & (ops["kind"] == t.READ))
    assert where.size == 5 and ((ops["agent"] == 0) & (ops["kind"] <= t.WRITE)).sum() == 10
    for k, at in enumerate(where):
        filled, looked, written, read = ops[at - 1 : at + 3]
        vcpu = 1 + k % 2
        assert [(int(op["kind"]), int(op["agent"])) for op in (filled, looked, written, read)] == [
            (t.WRITE, vcpu), (t.READ, 0), (t.WRITE, 0), (t.READ, vcpu)
        ]  # fmt: skip
        assert page_of(filled) == page_of(looked) == 0 and page_of(written) == page_of(read)


def test_without_vcpus_nothing_is_the_guests():
    assert not (records(vm_boot_and_serve(5000, pages=1024, devices=0))["kind"] == t.GUEST).any()


# 16 pages, one access of the vCPUs for each page copied, 10 quiet ones before: 42 accesses if nothing is written.


def test_a_machine_that_writes_nothing_is_copied_once():
    ops = records(live_migration(2 * 42 + 1, pages=16, pace=1, stop=0, quiet=10, writes=0))
    assert [int(kind) for kind in ops["kind"] if kind > t.FETCH] == [t.SYNC, t.DIRTY_LOG, t.SYNC, t.SYNC] * 2
    assert ops["kind"][11] == t.DIRTY_LOG and (ops["address"][11], ops["count"][11]) == (BASE, 16)
    first = ops[12:44]
    assert page_of(first[first["agent"] == 0]).tolist() == list(range(16))
    assert (first["agent"] > 0).sum() == 16


@pytest.mark.parametrize(("stop", "rounds"), [(40, 30), (0, 5)])
def test_each_pass_copies_what_was_written_in_the_one_before(stop, rounds):
    ops = records(live_migration(60_000, pages=200, pace=1.5, stop=stop, rounds=rounds, quiet=100, writes=0.4, devices=2))
    dirty, written, copied, passes, syncs, migrations = None, set(), [], 0, 0, 0
    for op, following in itertools.pairwise(ops):
        page = int(page_of(op))
        if op["kind"] == t.SYNC and following["kind"] == t.DIRTY_LOG:
            continue
        if op["kind"] == t.DIRTY_LOG:
            assert passes == 0 or copied == sorted(dirty)
            dirty, written, copied = (set(range(200)) if passes == 0 else written), set(), []
            assert passes == 0 or len(dirty) > stop
            passes += 1
        elif op["kind"] == t.SYNC:
            syncs += 1
            if syncs % 2:
                assert copied == sorted(dirty)
                assert len(written) <= stop or passes == rounds
                dirty, copied = written, []
            else:
                assert copied == sorted(dirty)
                passes, migrations = 0, migrations + 1
        elif op["agent"] == 0:
            copied.append(page)
        elif op["kind"] == t.WRITE:
            assert syncs % 2 == 0  # the machine stands
            written.add(page)
    assert migrations > 5


def test_as_many_pages_are_dirty_as_theory_says():
    ops = records(live_migration(100_000, pages=10_000, pace=2, stop=0, rounds=6, quiet=0, exponent=0, writes=0.5))
    sizes, copied = [], 0
    for op in ops:
        if op["kind"] == t.SYNC:
            sizes.append(copied)
            copied = 0
        elif op["agent"] == 0 and op["kind"] == t.READ:
            copied += 1
    assert sizes[:2] == [0, 10_000]
    for size, then in itertools.pairwise(sizes[1:7]):
        assert then == pytest.approx(distinct(10_000, size), rel=0.05)  # pace x writes = 1 write for each page copied
    assert (sizes[2], sizes[6]) == pytest.approx((6321, 2680), rel=0.05)


def test_what_is_copied_may_be_read_line_by_line():
    ops = records(live_migration(20_000, pages=16, per_page=64, quiet=0))
    assert (ops["count"][(ops["agent"] == 0) & (ops["kind"] == t.READ)][:-1] == 64).all()
