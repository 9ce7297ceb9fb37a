"""The two-dimensional walk of a vCPU in the oracle (docs/model.md, 11.3); `tests.reference.kvm` says who walks when."""

from tests.reference.banks import LARGE, SMALL, fill_walk_cache, index_of, reference, start_level, table_line
from tests.reference.faults import huge_possible
from tests.reference.memory import HUGE, A, D, Node, P, Pte, W

GT = 0x8_0800_0000
GUEST_TABLES = {1: GT, 2: GT + (1 << 26), 3: GT + (1 << 26) + (1 << 17), 4: GT + (1 << 26) + (1 << 17) + (1 << 8)}
GUEST_END = GUEST_TABLES[4] + 1


def guest_table(vpn, level):
    """The guest page of the table of `level` for vpn."""
    return GUEST_TABLES[level] + (vpn >> 9 * level if level < 4 else 0)


class ViolationError(Exception):
    """A nested walk found no mapping; the latency so far, the page, whether it was to be written."""


class Walks:
    """The references of a walk, a part of the design; `leaf_level` is that of the guest's leaves."""

    def walk_guest(self, vcpu, vpn, write):
        """(pfn, w, size of the EPT leaf) of a page; all guest tables on the way are nested."""
        banks, guest = vcpu.banks, vcpu.space.vm.guest
        level, way = start_level(banks.walk_caches, vpn, lambda level: True)
        table = None if way is None else way.pfn
        while True:
            if table is None:
                table, _, _ = self.nested(vcpu, guest_table(vpn, level), True)
                if level < 4:
                    fill_walk_cache(banks.walk_caches, vpn, level, table)
            self.refer(vcpu, table_line(table, vpn, level), 1)
            if level == self.leaf_level:
                break
            level, table = level - 1, None
            guest.make(vpn, level)
        leaves, index = guest.node(vpn, level).entries, index_of(vpn, level)
        before = leaves.get(index, Pte(0, 0))
        leaves[index] = before.plus(A | D if write else A)
        if write and banks.dtlb.peek(vpn)[0] is not None and not before.has(D):
            vcpu.count("device.dirty_assists")
            self.time += self.world.cost.assist
        pfn, w, size = self.nested(vcpu, vpn, write)
        return pfn, w and leaves[index].has(D), size

    def nested(self, vcpu, gfn, write):
        """(pfn of the page, w, size of the EPT leaf)."""
        banks, table = vcpu.banks, vcpu.space.vm.table
        way, size = banks.nested.look(gfn)
        if way is not None and (way.w or not write):
            return way.pfn + (gfn & 511 if size == LARGE else 0), way.w, size
        if gfn >= GT and table.get(gfn) is None:
            self.back(vcpu.space, gfn)
        level, _ = start_level(banks.nested_caches, gfn, lambda level: table.node(gfn, level) is not None)
        node = table.node(gfn, level)
        while True:
            self.refer(vcpu, table_line(node.number, gfn, level), 0)
            entry = node.entries.get(index_of(gfn, level))
            if not isinstance(entry, Node):
                break
            node, level = entry, level - 1
            fill_walk_cache(banks.nested_caches, gfn, level)
        if entry is None or (write and not entry.has(W)):
            raise ViolationError(gfn, write)
        size = LARGE if entry.has(HUGE) else SMALL
        banks.nested.fill(gfn, size, entry.pfn, entry.has(W))
        return entry.pfn + (gfn & 511 if size == LARGE else 0), entry.has(W), size

    def back(self, space, gfn):
        """A page of the guest's tables is found where it has always been."""
        world, pte = self.world, space.table.get(gfn)
        world.frames.ask(None, 1 + 6)
        if pte is None:
            vma = space.vmas.find(gfn)
            if huge_possible(world, space, vma, gfn) and world.frames.are_there(513 + 6, block=True):
                pte = Pte(world.frames.take_block(), P | W | A | D | HUGE)
            else:
                pte = Pte(world.frames.take(), P | W | A | D)
            space.table.put(gfn, pte)
            space.vmas.prepare(vma)
        self.install(space.vm.table, gfn, pte)

    def refer(self, vcpu, line, guest):
        """One reference of a walk."""
        vcpu.count("device.walk_refs")
        self.time += reference(self.world, vcpu.banks, line, guest)

    def install(self, table, gfn, pte):
        """Set the spte of a page; returns the tables made."""
        spte = Pte(pte.pfn, P | (pte.flags & (W | HUGE)))
        below = table.node(gfn, 1)
        if pte.has(HUGE) and below is not None:
            below.entries.clear()
            table.free_table(gfn, 1)
        return table.put(gfn, spte)
