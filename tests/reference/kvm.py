"""KVM with EPT in the oracle: two-dimensional walks, violations, zapping, kicks (docs/model.md, section 11)."""

from tests.reference.banks import (
    LARGE,
    SMALL,
    Processor,
    fill_walk_cache,
    index_of,
    reference,
    start_level,
    table_line,
)
from tests.reference.faults import fault, huge_possible
from tests.reference.locks import Lock
from tests.reference.memory import HUGE, A, D, Node, P, PageTable, Pte, W
from tests.reference.rows import step
from tests.reference.twin import Twin
from tests.reference.vmas import READ, WRITE, Vma

GT = 0x8_0800_0000
GUEST_TABLES = {1: GT, 2: GT + (1 << 26), 3: GT + (1 << 26) + (1 << 17), 4: GT + (1 << 26) + (1 << 17) + (1 << 8)}
GUEST_END = GUEST_TABLES[4] + 1


def guest_table(vpn, level):
    """The guest page of the table of `level` for vpn."""
    return GUEST_TABLES[level] + (vpn >> 9 * level if level < 4 else 0)


class ViolationError(Exception):
    """A nested walk found no mapping; the latency so far, the page, whether it was to be written."""


class Machine:
    """One VM."""

    def __init__(self, world, space):
        self.table = PageTable(world.pool)
        self.guest = PageTable(world.pool, frame=0)  # the guest's own table, as far as walks have passed: A and D of its leaves
        self.sequence = self.in_progress = self.low = self.high = 0
        self.lock = Lock(world)
        self.space = space

    def in_window(self, gfn):
        """Whether an invalidation of the page is in progress."""
        return self.in_progress > 0 and self.low <= gfn < self.high


class Kvm(Twin):
    """The design's state, and its chains."""

    DESIGN, IN_MASK = "kvm_ept", True

    def __init__(self, world):
        super().__init__(world)
        self.leaf_level = 2 if world.machine.get("guest.page_size") == "2M" else 1
        for space in world.spaces.values():
            space.vm = Machine(world, space) if space.engines else None
            if space.engines:
                space.subscribers = [self]
                space.vmas.insert(Vma.new(GT, GUEST_END, READ | WRITE))
        for vcpu in world.engines:
            vcpu.banks = Processor(world.machine)
            vcpu.banks.add_nested(world.machine)
            vcpu.in_guest, vcpu.flush_pending, vcpu.tables = True, False, 0

    def dump(self):
        """The EPTs."""
        leaves = {n: space.vm.table.leaves() for n, space in self.world.spaces.items() if space.vm}
        return {n: {gfn: tuple(spte) for gfn, spte in found.items()} for n, found in leaves.items()}

    # accesses

    def accesses(self, vcpu, op):
        """A READ or WRITE record of a vCPU."""
        world, cost, write = self.world, self.world.cost, op.name == "write"
        for left in range(op.count, 0, -1):
            first, issued = True, None
            while True:
                yield from step(vcpu, "READY")
                way = self.look(vcpu, op.vpn, first)
                first = False
                if way == "stlb":
                    continue
                if way is not None and (way.w or not write):
                    vcpu.spend("access", cost.access)
                    if issued is not None:
                        world.record("fault", world.now - issued)
                        world.record("fault.violation", world.now - issued)
                    break
                yield from step(vcpu, "WALK2D")
                begun = world.now
                missing = self.walk(vcpu, op.vpn, write, write and way is not None)
                if missing is None:
                    continue
                issued = begun if issued is None else issued
                allowed = yield from self.violation(vcpu, *missing)
                yield from step(vcpu, "ENTRY")
                self.enter(vcpu)
                if not allowed:
                    break
            if left == 1:
                world.complete(vcpu)

    def look(self, vcpu, vpn, first):
        """Look a page up: the way of L1; "stlb" if the second level refilled it; or None."""
        banks = vcpu.banks
        if first:
            vcpu.count("device.accesses")
        way, _ = banks.dtlb.look(vpn)
        if first:
            vcpu.count("device.tlb.misses" if way is None else "device.tlb.hits")
        if way is not None:
            return way
        found, size = banks.stlb.look(vpn)
        if first:
            vcpu.count("device.stlb.misses" if found is None else "device.stlb.hits")
        if found is None:
            return None
        banks.dtlb.fill(vpn, size, found.pfn, found.w)
        vcpu.spend("stlb", self.world.cost.stlb_hit)
        return "stlb"

    # the walk in two dimensions

    def walk(self, vcpu, vpn, write, hit):
        """WALK2D, perhaps after a hit that may not write: fills the TLBs; or exits, and returns (gfn, write) of the violation."""
        cost, banks = self.world.cost, vcpu.banks
        vcpu.count("device.walks")
        self.time = 0
        try:
            pfn, w, size = self.walk_guest(vcpu, vpn, write, hit)
        except ViolationError as violation:
            vcpu.spend("walk", self.time)
            vcpu.in_guest = False
            vcpu.count("kvm.exits")
            vcpu.spend("exit", cost.exit)
            vcpu.spend("violation", cost.violation)
            return violation.args
        vcpu.spend("walk", self.time)
        if size == LARGE and self.leaf_level == 2:
            pfn -= vpn & 511
        else:
            size = SMALL
        banks.fill_stlb(vpn, size, pfn, w)
        banks.dtlb.fill(vpn, size, pfn, w)
        return None

    def walk_guest(self, vcpu, vpn, write, hit):
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
        if hit and not before.has(D):
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

    # violations

    def violation(self, vcpu, gfn, write):
        """VIOLATION to MAP_UNLOCK; returns whether the access is allowed."""
        cost, space, vm = self.world.cost, vcpu.space, vcpu.space.vm
        yield from step(vcpu, "VIOLATION")
        if vcpu.tables < 5:
            lacks = 40 - vcpu.tables
            self.world.ask(vcpu, lacks)
            self.world.pool.counted += lacks
            vcpu.tables = 40
            vcpu.spend("violation", cost.table * lacks)
            yield from step(vcpu, "VIOLATION")
        snapshot = vm.sequence
        if vm.in_window(gfn):
            vcpu.count("kvm.retries")
            return True
        pte = space.table.get(gfn)
        if pte is not None and pte.has(P | W):
            pte = pte.plus(D | A)
            space.table.put(gfn, pte)
            vcpu.spend("gup", cost.gup_fast)
        else:
            pte = yield from self.slow(vcpu, gfn, write)
            if pte is None:
                return False
        yield from step(vcpu, "MAP")
        if vm.sequence != snapshot or vm.in_window(gfn):
            vcpu.count("kvm.retries")
            return True
        vm.lock.acquire(vcpu, "read")
        yield from step(vcpu, "MAPPED")
        if vm.sequence != snapshot or vm.in_window(gfn):
            vcpu.count("kvm.retries")
            vm.lock.release(vcpu)
            return True
        made = self.install(vm.table, gfn, pte)
        vcpu.tables -= made
        self.world.pool.counted -= made
        vcpu.spend("map", cost.map_spte)
        vcpu.count("kvm.sptes")
        yield from step(vcpu, "MAP_UNLOCK")
        vm.lock.release(vcpu)
        return True

    def slow(self, vcpu, gfn, write):
        """SLOW to SLOW_UNLOCK; the pte, or None if the access is not allowed."""
        space = vcpu.space
        yield from step(vcpu, "SLOW")
        vcpu.spend("gup", self.world.cost.gup)
        yield from step(vcpu, "SLOW_LOCK")
        space.lock.acquire(vcpu, "read")
        while True:
            yield from step(vcpu, "SLOW2")
            pte = space.table.get(gfn)
            if pte is not None and pte.has(P | W if write else P):
                break
            if (yield from fault(vcpu, gfn, "write" if write else "read", held=True)) == "segv":
                yield from step(vcpu, "NO_RIGHT")
                self.world.segv(vcpu, vcpu.ops[vcpu.position].index)
                space.lock.release(vcpu)
                return None
        if write:
            pte = pte.plus(D | A)
            space.table.put(gfn, pte)
        yield from step(vcpu, "SLOW_UNLOCK")
        space.lock.release(vcpu)
        vcpu.used = False  # MAP follows in the same step
        return pte

    def install(self, table, gfn, pte):
        """Set the spte of a page; returns the tables made."""
        spte = Pte(pte.pfn, P | (pte.flags & (W | HUGE)))
        below = table.node(gfn, 1)
        if pte.has(HUGE) and below is not None:
            below.entries.clear()
            table.free_table(gfn, 1)
        return table.put(gfn, spte)

    def enter(self, vcpu):
        """ENTRY."""
        vcpu.in_guest = True
        if vcpu.flush_pending:
            vcpu.banks.empty()
            vcpu.flush_pending = False
            vcpu.spend("entry", self.world.cost.invept)
        vcpu.spend("entry", self.world.cost.entry)

    # notices

    def invalidate_start(self, row, space, first, last):
        """11.4: zap, and kick who may hold a translation."""
        cost, vm = self.world.cost, space.vm
        row.effect = 0
        vm.lock.acquire(row, "write")
        yield from step(row, "ZAP_SPTES")
        vm.low, vm.high = (min(vm.low, first), max(vm.high, last)) if vm.in_progress else (first, last)
        vm.in_progress += 1
        zapped = self.zap(vm.table, first, last)
        row.count("kvm.zapped", zapped)
        row.spend("invalidate", cost.zap + cost.zap_spte * zapped)
        targets, asked = [], space.engines if zapped else []
        row.spend("ipi_send", cost.request * len(asked))
        for vcpu in asked:
            if vcpu is not row and vcpu.in_guest:
                targets.append(vcpu)
            else:
                vcpu.flush_pending = True
        if targets:
            row.effect = 1
            yield from step(row, "KICK")
            row.spend("ipi_send", cost.ipi_send + (len(targets) - 1) * cost.ipi_send_more)
            row.count("ipis.sent", len(targets))
            row.count("kvm.kicks")
            row.wait("ipi_wait", row.clock + cost.ipi_delivery)
            yield from step(row, "KICKED")
            row.wait("ipi_wait", max([self.kick(row, vcpu) for vcpu in targets]))
            row.effect = 0
        yield from step(row, "UNLOCK")
        vm.lock.release(row)

    def zap(self, table, first, last):
        """Clear all sptes that intersect a range; how many."""
        zapped, at = 0, first
        while (part := table.next_part(at, last)) is not None:
            start, at, huge = part
            for gfn in [start] if huge else range(start, at):
                if table.get(gfn) is not None:
                    table.clear(gfn)
                    zapped += 1
        return zapped

    def kick(self, row, vcpu):
        """A vCPU is interrupted; when its acknowledgement arrives."""
        cost = self.world.cost
        if vcpu.in_guest:
            vcpu.banks.empty()
            after = cost.invept + cost.entry
            n = cost.exit + cost.kick + cost.ipi_respond + after
        else:
            vcpu.flush_pending = True
            after, n = 0, cost.ipi_respond
        end = vcpu.steal("kick", self.world.now, n)
        row.count("ipis.acked")
        return end - after + cost.ipi_ack

    def invalidate_end(self, row, space, first, last):
        """The window closes."""
        vm = space.vm
        row.effect = 0
        vm.lock.acquire(row, "write")
        yield from step(row, "ZAP_END")
        vm.sequence += 1
        vm.in_progress -= 1
        row.spend("invalidate", self.world.cost.zap)
        yield from step(row, "UNLOCK")
        vm.lock.release(row)

    def release(self, row, space):
        """11.5."""
        cost, vm = self.world.cost, space.vm
        row.effect = 0
        vm.lock.acquire(row, "write")
        yield from step(row, "ZAP_ALL")
        zapped = self.zap(vm.table, 0, 1 << 36)
        for vcpu in space.engines:
            vcpu.banks.empty()
        row.count("kvm.zapped", zapped)
        row.spend("invalidate", cost.zap + cost.zap_spte * zapped)
        yield from step(row, "UNLOCK")
        vm.lock.release(row)
