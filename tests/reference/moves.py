"""MREMAP, FORK and EXIT of the oracle (docs/model.md, 9.5 to 9.7)."""

from tests.reference import vmas as v
from tests.reference.banks import index_of
from tests.reference.epochs import below_stack, open_epoch
from tests.reference.faults import split
from tests.reference.flush import flush, notice, release
from tests.reference.gather import (
    Gather,
    cuts_hugetlb,
    finish,
    leaf_part,
    unmap,
    zap,
)
from tests.reference.memory import A, Node, W
from tests.reference.rows import skip, step


def mremap(row, op):
    """9.5."""
    space, old, n = row.space, op.vpn, op.count
    new, m = op.args[0][0] >> 12, op.args[0][1]
    vma = space.vmas.find(old)
    if vma is None or vma.last < old + n or m < 1 or cuts_hugetlb(space, old, old + n):
        return False
    if vma.mapping == v.HUGETLB and (new | new + m) & 511:
        return False
    if new == old:
        if m > n:
            if vma.last != old + n or space.vmas.in_range(old + n, old + m):
                return False
            yield from step(row, "EXTEND")
            space.vmas.extend(vma, old + m)
            row.spend("vma", row.world.cost.vma)
            open_epoch(row)
        elif m < n:
            yield from unmap(row, old + m, old + n, downgrade=True)
        return None
    if (new < old + n and old < new + m) or cuts_hugetlb(space, new, new + m):
        return False
    if space.vmas.in_range(new, new + m):
        yield from unmap(row, new, new + m, replaced=True)
    if m < n:
        yield from unmap(row, old + m, old + n, replaced=True)
        n = m
    yield from step(row, "INSERT")
    space.vmas.insert(space.vmas.find(old).moved(old, n, new, m))
    row.spend("vma", row.world.cost.vma)
    if not below_stack(space, old + n):
        open_epoch(row)
    yield from notice(row, "start", old, old + n, "MOVE")
    yield from move(row, old, new, n)
    yield from notice(row, "end", old, old + n, "VMAS")
    yield from unmap(row, old, old + n)


def move(row, old, new, pages):
    """MOVE: the leaves go to their new places."""
    table, cost, at, last = row.space.table, row.world.cost, old, old + pages
    hugetlb = row.space.vmas.find(old).mapping == v.HUGETLB
    while True:
        yield from step(row, "MOVE")
        part = table.next_part(at, last)
        if part is None:
            skip(row)
            if hugetlb:
                yield from flush(row, old, last, 512, "MOVED", freed_tables=True)
            return
        at, end, huge = part
        to = new + at - old
        aligned = at & 511 == 0 and to & 511 == 0 and last - at >= 512
        above = table.node(to, 2)
        if aligned and (above is None or index_of(to, 2) not in above.entries):
            row.world.ask(row, table.missing(to, 2))
            made = move_whole(table, at, to)
            row.spend("clear", cost.clear + cost.table * made)
            if not hugetlb:
                yield from flush(row, at, at + 512, 1, "MOVE", freed_tables=True)
            at += 512
            continue
        if huge:
            skip(row)
            yield from split(row, at, "clear", "MOVE")
            continue
        end = min(end, at + 512 - (to & 511))
        leaves = made = 0
        if any(table.get(vpn) is not None for vpn in range(at, end)):
            row.world.ask(row, table.missing(to, 1))
        for vpn in range(at, end):
            pte = table.get(vpn)
            if pte is not None:
                table.clear(vpn)
                made += table.put(new + vpn - old, pte)
                leaves += 1
        row.spend("clear", cost.clear * leaves + cost.table * made)
        if leaves:
            yield from flush(row, at, end, 1, "MOVE", freed_tables=True)
        at = end


def move_whole(table, at, to):
    """Move a level-1 table or a huge leaf; returns the tables made."""
    source = table.node(at, 2)
    thing = source.entries.pop(index_of(at, 2))
    target, made = table.make(to, 2)
    target.entries[index_of(to, 2)] = thing
    if isinstance(thing, Node):
        thing.base = to
    return made


def fork(row, op):
    """9.6."""
    world, space = row.world, row.space
    child = world.spaces[op.count]
    yield from step(row, "FORK")
    row.spend("fork", world.cost.fork)
    at = 0
    while True:
        yield from step(row, "DUP")
        vma = space.vmas.next(at)
        if vma is None:
            skip(row)
            break
        if not vma.copied:
            at = vma.last
            continue
        at, first, last = vma.last, vma.first, vma.last
        child.vmas.items.append(vma.inherited())
        child.vmas.items.sort(key=lambda copied: copied.first)
        row.spend("vma", world.cost.vma)
        if vma.private and vma.anon:
            yield from notice(row, "start", first, last, "COPY")
            yield from copy(row, child, first, last)
            yield from notice(row, "end", first, last, "DUP")
    yield from flush(row, 0, 1 << 36, 1, "UNLOCK", freed_tables=True, full=True)
    yield from step(row, "UNLOCK")
    child.born = True
    child.brk = space.brk
    world.join_mask(child)
    skip(row)


def copy(row, child, at, last):
    """COPY: the child gets the parent's leaves, both without the right to write."""
    world, table, cost = row.world, row.space.table, row.world.cost
    while True:
        yield from step(row, "COPY")
        part = yield from leaf_part(row, at, last, "fork", "COPY")
        if part is None:
            return
        start, at, huge = part
        leaves = made = 0
        pages = [start] if huge else range(start, at)
        if any(table.get(vpn) is not None for vpn in pages):
            row.world.ask(row, child.table.missing(start, 2) + 1 if huge else child.table.missing(start, 1))
        for vpn in pages:
            pte = table.get(vpn)
            if pte is None:
                continue
            table.put(vpn, pte.minus(W))
            made += child.table.put(vpn, pte.minus(W | A))
            world.frames.hold(pte)
            leaves += 1
        row.spend("fork", cost.fork_pte * leaves + cost.table * made + cost.table_scan)


def exit_space(row, op):
    """9.7."""
    world, space = row.world, row.space
    space.mask[row].lazy = True
    yield from release(row)
    gather = Gather(world.machine.get("kernel.gather_pages"), whole=True)
    yield from zap(row, gather, 0, 1 << 36)
    yield from step(row, "TABLES")
    for level in (1, 2, 3):
        for base in space.table.tables(level):
            space.table.free_table(base, level)
            row.spend("free", world.cost.table)
    if not space.vmas.items:
        skip(row)
    else:
        gather.freed_tables = True
        gather.extend(0, 1)
    yield from finish(row, gather)
    yield from step(row, "VMAS")
    row.spend("vma", world.cost.vma * len(space.vmas.items))
    space.table.release(space.table.root)
    row.spend("free", world.cost.table)
    space.vmas.items.clear()
    space.mask.clear()
