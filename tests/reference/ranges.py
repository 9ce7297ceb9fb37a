"""Range operations of the oracle: MMAP, BRK, MUNMAP, MADVISE, MPROTECT (docs/model.md, section 9)."""

from hwmodel import op as o
from tests.reference import vmas as v
from tests.reference.epochs import open_epoch
from tests.reference.flush import flush, notice
from tests.reference.gather import Gather, boundary_splits, cuts_hugetlb, finish, insert, leaf_part, unmap, zap
from tests.reference.memory import LAZY, NONE, ZERO, A, D, P, W, X
from tests.reference.moves import exit_space, fork, mremap
from tests.reference.prelude import heap, vma_of
from tests.reference.rows import skip, step


def locked(body, mode="write", pages=None):
    """An operation under the mmap lock: LOCK, the body, UNLOCK; the body returns whether it is supported."""

    def chain(row, op):
        yield from step(row, "LOCK")
        wanted = pages(row, op) if pages else [(op.vpn, op.last)]
        row.space.lock.acquire(row, mode)
        yield from step(row, "LOCKED")
        if mode == "write":
            row.space.lock.ranges = wanted
        skip(row)
        if (yield from body(row, op)) is False:
            row.count("unsupported_ops")
        yield from step(row, "UNLOCK")
        row.space.lock.release(row)
        open_epoch(row)

    return chain


def munmap(row, op):
    """9.1."""
    if cuts_hugetlb(row.space, op.vpn, op.last):
        return False
    yield from unmap(row, op.vpn, op.last, downgrade=True)


def mmap(row, op):
    """9.2."""
    vma = vma_of(op)
    unaligned = vma.mapping == v.HUGETLB and (vma.first | vma.last) & 511
    if unaligned or cuts_hugetlb(row.space, vma.first, vma.last):
        return False
    if row.space.vmas.in_range(vma.first, vma.last):
        yield from unmap(row, vma.first, vma.last, replaced=True)
    yield from insert(row, vma)
    open_epoch(row)


def brk_pages(row, op):
    """What a BRK locks."""
    old, new = row.space.brk, -(-op.address // 4096)
    return [(min(old, new), max(old, new))] if old else []


def brk(row, op):
    """5.6."""
    space, new = row.space, -(-op.address // 4096)
    old = space.brk
    if not old or new == old:
        space.brk = new
    elif new < old:
        space.brk = new
        yield from unmap(row, new, old, downgrade=True)
    elif space.vmas.in_range(old, new):
        return False
    else:
        space.brk = new
        yield from insert(row, heap(old, new), right=False)
        open_epoch(row)


def mprotect(row, op):
    """9.4."""
    space, cost = row.space, row.world.cost
    prot, at, flushed = op.args[0][1] & 7, op.vpn, Gather()
    if cuts_hugetlb(space, op.vpn, op.last):
        return False
    while at < op.last:
        vma = space.vmas.next(at)
        if vma is None or vma.first >= op.last:
            break
        first, last = max(vma.first, at), min(vma.last, op.last)
        at = last
        if vma.prot == prot:
            continue
        yield from boundary_splits(row, first, last)
        yield from step(row, "PROTECT")
        piece = space.vmas.isolate(first, last)
        piece.protect(prot)
        shared = piece.shared
        space.vmas.merge(piece)
        if all(other.prot == prot for other in space.vmas.in_range(last, op.last)):
            open_epoch(row)
        row.spend("vma", cost.vma)
        tables = space.table.tables(2, first, last)
        if not tables:
            continue
        begin = max(first, tables[0])
        yield from notice(row, "start", begin, last, "CHANGE")
        yield from change(row, begin, last, prot, shared, flushed)
        yield from notice(row, "end", begin, last, "NEXT")
    if flushed.needs_flush:
        yield from flush(row, flushed.first, flushed.last, flushed.stride, "UNLOCK")


def change(row, at, last, prot, shared, flushed):
    """CHANGE: rewrite the leaves of a piece."""
    table, cost = row.space.table, row.world.cost
    while True:
        yield from step(row, "CHANGE")
        part = yield from leaf_part(row, at, last, "clear", "CHANGE")
        if part is None:
            return
        start, at, huge = part
        leaves = 0
        for vpn in [start] if huge else range(start, at):
            pte = table.get(vpn)
            if pte is None:
                continue
            leaves += 1
            new = protected(row, pte, prot, shared)
            if new != pte:
                table.put(vpn, new)
            if pte.has(P) and (pte.flags ^ new.flags) & (P | W | X):
                flushed.touch(vpn, pte)
        row.spend("clear", cost.clear * leaves + cost.table_scan)


def protected(row, pte, prot, shared):
    """A pte with another protection."""
    if prot == 0:
        return pte.minus(P).plus(NONE)
    pte = pte.minus(NONE | X).plus(P | (X if prot & v.EXEC else 0))
    if not prot & v.WRITE:
        return pte.minus(W)
    if shared or (not pte.has(ZERO) and row.world.frames.only_mapping(pte)):
        return pte.plus(W)
    return pte


def madvise(row, op):
    """9.3."""
    if op.args[0][1] in (o.HUGEPAGE, o.NOHUGEPAGE):
        yield from advise_huge_locked(row, op)
    elif op.args[0][1] in ADVICE:
        yield from drop_or_age_locked(row, op)
    else:
        row.count("unsupported_ops")


def advise_huge(row, op):
    """HUGEPAGE and NOHUGEPAGE."""
    space, at = row.space, op.vpn
    if cuts_hugetlb(space, op.vpn, op.last):
        return False
    advice = v.ADVISED if op.args[0][1] == o.HUGEPAGE else v.REFUSED
    yield from boundary_splits(row, op.vpn, op.last, lambda vma: vma.advice != advice and vma.mapping != v.HUGETLB)
    yield from step(row, "ADVISE")
    while at < op.last:
        vma = space.vmas.next(at)
        if vma is None or vma.first >= op.last:
            return
        first, at = max(vma.first, at), min(vma.last, op.last)
        if vma.advice != advice and vma.mapping != v.HUGETLB:
            piece = space.vmas.isolate(first, at)
            piece.advice = advice
            space.vmas.merge(piece)
            row.spend("vma", row.world.cost.vma)


def drop_or_age(row, op):
    """DONTNEED, FREE and COLD, VMA by VMA, with one gather; what is in it at the end is flushed, also after a refusal."""
    space, at, advice = row.space, op.vpn, op.args[0][1]
    if cuts_hugetlb(space, op.vpn, op.last):
        return False
    gather = Gather(row.world.machine.get("kernel.gather_pages"))
    supported = True
    while at < op.last and supported is not False:
        vma = space.vmas.next(at)
        if vma is None or vma.first >= op.last:
            break
        first, at = max(vma.first, at), min(vma.last, op.last)
        supported = yield from ADVICE[advice](row, vma, first, at, gather)
    yield from finish(row, gather)
    return supported


def dontneed(row, vma, first, last, gather):
    """DONTNEED on a piece."""
    yield from notice(row, "start", first, last, "ZAP")
    yield from zap(row, gather, first, last, reclaim=row.world.policy["dontneed_frees_tables"])
    yield from notice(row, "end", first, last, "FLUSH")
    if vma.mapping == v.HUGETLB:
        yield from finish(row, gather)


def lazyfree(row, vma, first, last, gather):
    """FREE on a piece."""
    if vma.mapping != v.ANONYMOUS:
        return False
    yield from notice(row, "start", first, last, "AGE")
    yield from age(row, gather, first, last, A | D, LAZY)
    yield from notice(row, "end", first, last, "FLUSH")
    return True


def cold(row, vma, first, last, gather):
    """COLD on a piece."""
    if vma.mapping == v.HUGETLB:
        return False
    yield from age(row, gather, first, last, A, 0)
    yield from finish(row, gather)
    return True


def age(row, gather, at, last, lost, gained):
    """AGE: present leaves lose some flags and get others."""
    table, cost = row.space.table, row.world.cost
    while True:
        yield from step(row, "AGE")
        part = yield from leaf_part(row, at, last, "clear", "AGE")
        if part is None:
            return
        start, at, huge = part
        leaves = 0
        for vpn in [start] if huge else range(start, at):
            pte = table.get(vpn)
            if pte is None or not pte.has(P) or pte.has(ZERO):
                continue
            leaves += 1
            new = pte.minus(lost).plus(gained)
            if new != pte:
                table.put(vpn, new)
                gather.touch(vpn, pte)
        row.spend("clear", cost.clear * leaves + cost.table_scan)


ADVICE = {o.DONTNEED: dontneed, o.FREE: lazyfree, o.COLD: cold}
advise_huge_locked = locked(advise_huge)
drop_or_age_locked = locked(drop_or_age, "read")


def no_pages(row, op):
    """FORK and EXIT lock no range."""
    return []


def both_ends(row, op):
    """MREMAP locks the old range and the new one."""
    address, pages = op.args[0]
    return [(op.vpn, op.last), (address >> 12, (address >> 12) + pages)]


OPERATIONS = {
    "mmap": locked(mmap), "brk": locked(brk, pages=brk_pages), "munmap": locked(munmap), "mprotect": locked(mprotect),
    "madvise": madvise, "mremap": locked(mremap, pages=both_ends), "fork": locked(fork, pages=no_pages),
    "exit": locked(exit_space, pages=no_pages),
}  # fmt: skip
