"""The memory that exists before the first record (docs/model.md, 5.5, 5.6 and 11.1)."""

from tests.reference import vmas as v
from tests.reference.faults import map_file_page
from tests.reference.memory import HUGE, ZERO, A, D, P, Pte, W
from tests.reference.order import units


def vma_of(op):
    """The VMA of an MMAP."""
    offset, flags = op.args[0]
    mapping, file = flags >> 3 & 7, flags >> 8
    return v.Vma.new(op.vpn, op.last, flags & 7, mapping, file, offset, grows=bool(flags >> 6 & 1))


def heap(first, last):
    """The VMA of a growing BRK."""
    return v.Vma.new(first, last, v.READ | v.WRITE)


def apply(world, trace):
    """Apply the prelude of a trace, free of charge."""
    ops, _ = units([trace.prelude] if len(trace.prelude) else [])
    for op in ops:
        space = world.spaces[trace.agents[op.agent].space]
        if op.name == "brk":
            _brk(space, -(-op.address // 4096))
            continue
        vma = vma_of(op)
        _unmap(space, vma.first, vma.last)
        space.vmas.insert(vma)
        if op.args[0][1] >> 7 & 1:
            _populate(world, space, op.vpn, op.last)


def _unmap(space, first, last):
    space.vmas.cut(first, last)
    leaves = space.table.leaves().items()
    mapped = any(vpn < last and vpn + (512 if pte.has(HUGE) else 1) > first for vpn, pte in leaves)
    assert not mapped, "a populated mapping may not be mapped over in the prelude"


def _brk(space, new):
    if not space.brk:
        space.brk = new
        return
    if new > space.brk:
        space.vmas.insert(heap(space.brk, new), right=False)
    elif new < space.brk:
        _unmap(space, new, space.brk)
    space.brk = new


class _Nobody:
    """Maps pages at no cost."""

    def __init__(self, world, space):
        self.world, self.space = world, space


def _populate(world, space, first, last):
    frames, table, nobody = world.frames, space.table, _Nobody(world, space)
    vma = space.vmas.find(first)
    writable = bool(vma.prot & v.WRITE)
    if vma.mapping == v.HUGETLB:
        for vpn in range(first, last, 512):
            frames.ask(None, 512 + table.missing(vpn, 2) + 1, True)
            table.put(vpn, Pte(frames.take_block(), P | A | HUGE | (W | D if writable else 0) | vma.execute))
        space.vmas.prepare(vma)
        return
    for vpn in range(first, last):
        new = writable if vma.mapping == v.ANONYMOUS else (vma.private and writable) or vma.page(vpn) not in frames.cache
        frames.ask(None, table.missing(vpn, 1) + new)
        if vma.private and writable:
            table.put(vpn, Pte(frames.take(), P | W | A | D | vma.execute))
            space.vmas.prepare(vma)
        elif vma.mapping == v.ANONYMOUS:
            table.put(vpn, Pte(0, P | A | ZERO | vma.execute))
        else:
            map_file_page(nobody, vma, vpn, P | A, False)
