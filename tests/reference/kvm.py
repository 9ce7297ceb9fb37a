"""KVM with EPT in the oracle: two-dimensional walks, violations, zapping, kicks (docs/model.md, section 11)."""

from dataclasses import replace

from tests.reference.banks import LARGE, SMALL, Processor
from tests.reference.device import Device
from tests.reference.faults import fault
from tests.reference.locks import Lock
from tests.reference.memory import A, D, P, PageTable, W
from tests.reference.nested import GT, GUEST_END, ViolationError, Walks
from tests.reference.rows import NEVER, step
from tests.reference.vmas import READ, WRITE, Vma

STAGES = {
    "LEAVE": "drain", "VIOLATION": "violation", "SLOW": "GUP", "SLOW_LOCK": "GUP", "SLOW2": "GUP", "SLOW_UNLOCK": "GUP", "MAP": "GUP",
    "MAPPED": "map", "MAP_UNLOCK": "map", "ENTRY": "entry",
}  # fmt: skip
"""The phase of a miss whose vCPU is out of its guest for it, by its next step (11.6)."""


class Machine:
    """One VM."""

    def __init__(self, world, space):
        self.table = PageTable(world.pool)
        self.guest = PageTable(world.pool, frame=0)  # the guest's own table, as far as walks have passed: A and D of its leaves
        self.sequence = self.in_progress = self.low = self.high = 0
        self.lock = Lock(world, f"mmu_lock of space {space.number}")
        self.space = space

    def in_window(self, gfn):
        """Whether an invalidation of the page is in progress."""
        return self.in_progress > 0 and self.low <= gfn < self.high


class Kvm(Walks, Device):
    """The design's state, and its chains."""

    DESIGN, IN_MASK, MERGES, FIRST = "kvm_ept", True, True, "WALK"
    stalls = dict.fromkeys(
        ["walker wait", "references", "drain", "exit", "violation", "GUP", "fault", "lock wait", "map", "entry"], "stall_walk"
    )

    def __init__(self, world):
        super().__init__(world)
        self.leaf_level = 2 if world.machine.get("guest.page_size") == "2M" else 1
        self.walkers = world.machine.get("vm.walkers")
        for space in world.spaces.values():
            space.vm = Machine(world, space) if space.engines else None
            if space.engines:
                space.subscribers = [self]
                space.vmas.insert(replace(Vma.new(GT, GUEST_END, READ | WRITE), copied=False))
        for vcpu in world.engines:
            vcpu.banks = Processor(world.machine)
            vcpu.banks.add_nested(world.machine)
            vcpu.in_guest, vcpu.flush_pending, vcpu.tables = True, False, 0

    def dump(self):
        """The EPTs."""
        leaves = {n: space.vm.table.leaves() for n, space in self.world.spaces.items() if space.vm}
        return {n: {gfn: tuple(spte) for gfn, spte in found.items()} for n, found in leaves.items()}

    # accesses

    def server(self, engine):
        """A vCPU's requests are worked on by its own CPU."""
        return engine

    def look_up(self, vcpu, op, first):
        """Look a page up in both levels (11.2)."""
        banks, vpn = vcpu.banks, op.vpn
        way, _ = banks.dtlb.look(vpn)
        if first:
            vcpu.count("device.accesses")
            vcpu.count("device.tlb.misses" if way is None else "device.tlb.hits")
            vcpu.counted_as_hit = way is not None
        if way is not None:
            lacks = op.name == "write" and not way.w
            return "hit" if not lacks else "lacks" if vcpu.counted_as_hit else "miss"
        found, size = banks.stlb.look(vpn)
        if first:
            vcpu.count("device.stlb.misses" if found is None else "device.stlb.hits")
        if found is None:
            return "lacks" if vcpu.counted_as_hit else "miss"
        banks.dtlb.fill(vpn, size, found.pfn, found.w)
        vcpu.spend("stlb", self.world.cost.stlb_hit)
        return "again"

    # the walkers

    def begun(self, request):
        """A new request waits for a walker."""
        self.line_up(request)
        request.exited = False
        for first in self.next_walks(request.engine):
            self.begin(first)

    def line_up(self, request):
        """It waits for a walker, from now on."""
        request.state, request.due = "in line", NEVER

    def next_walks(self, vcpu):
        """The requests that the free walkers of a vCPU take from its line."""
        states = [request.state for request in vcpu.requests if not request.free]
        free = self.walkers - states.count("walks") - states.count("to walk")
        line = [request for request in vcpu.requests if not request.free and request.state == "in line"]
        return sorted(line, key=lambda request: (request.issued, request.id))[:free]

    def under_way(self, vcpu):
        """The requests of a vCPU that have a walker."""
        return [request for request in vcpu.requests if not request.free and request.state in ("walks", "to walk")]

    def begin(self, request):
        """The references of a walk are made (11.3)."""
        vcpu = request.engine
        vcpu.count("device.walks")
        self.time = 0
        try:
            request.result, request.missing = self.walk_guest(vcpu, request.vpn, request.write), None
        except ViolationError as violation:
            request.missing = violation.args
        request.state, request.due = "walks", self.world.now + self.time

    def life(self, request, op):
        """Walks, each but the last one with a violation, or squashed; then the data."""
        world, vcpu = self.world, request.engine
        while True:
            yield from step(request, "WALK")
            if request.state == "to walk":
                self.begin(request)
                continue
            if request.missing is None:
                self.fill(vcpu, request)
                if request.exited:
                    world.record("fault", world.now - request.issued)
                    world.record("fault.violation", world.now - request.issued)
                request.state = "found"
                self.resolved(request, "fault.violation" if request.exited else None)
                for first in self.next_walks(vcpu):
                    self.begin(first)
                break
            vcpu.stopped = True
            if vcpu.waits:
                vcpu.due = NEVER
            for other in self.under_way(vcpu):
                self.line_up(other)
            request.state, request.due = "out", max(world.now, self.last_use(vcpu))
            yield from step(request, "LEAVE")
            self.leave(request)
            allowed = yield from self.violation(request, *request.missing)
            yield from step(request, "ENTRY")
            there = self.entry(request)
            if allowed or self.refuse(request):
                allowed = True
                self.line_up(request)
            else:
                self.missing.remove(request)
                request.found, request.state = True, "found"
            for first in self.next_walks(vcpu):
                first.state, first.due = "to walk", there
            if not allowed:
                break
        yield from step(request, "RELEASE")
        self.free_slots(request)

    def fill(self, vcpu, request):
        """What a walk has found goes into both levels."""
        (pfn, w, size), vpn = request.result, request.vpn
        if size == LARGE and self.leaf_level == 2:
            pfn -= vpn & 511
        else:
            size = SMALL
        vcpu.banks.fill_stlb(vpn, size, pfn, w)
        vcpu.banks.dtlb.fill(vpn, size, pfn, w)

    def leave(self, request):
        """LEAVE: the exit."""
        vcpu, cost = request.engine, self.world.cost
        vcpu.taker, vcpu.in_guest, request.exited = request, False, True
        vcpu.busy_until = max(vcpu.busy_until, self.world.now)
        vcpu.count("kvm.exits")
        self.enter(request, "exit", self.world.now)
        request.spend("exit", cost.exit)
        self.enter(request, "violation", request.due)
        request.spend("violation", cost.violation)

    def phase_of(self, request):
        """11.6."""
        if request.state != "out":
            return "references" if request.state == "walks" else "walker wait"
        if request.in_fault:
            return "fault"
        if request.queued:
            return "lock wait"
        return STAGES[request.phase]

    # violations

    def violation(self, request, gfn, write):
        """VIOLATION to MAP_UNLOCK; returns whether the access is allowed."""
        cost, space, vm, vcpu = self.world.cost, request.space, request.space.vm, request.engine
        yield from step(request, "VIOLATION")
        if vcpu.tables < 5:
            lacks = 40 - vcpu.tables
            self.world.ask(request, lacks)
            self.world.pool.counted += lacks
            vcpu.tables = 40
            request.spend("violation", cost.table * lacks)
            yield from step(request, "VIOLATION")
        snapshot, looked = vm.sequence, self.world.now
        if vm.in_window(gfn):
            self.retried(request, gfn, looked)
            return True
        pte = space.table.get(gfn)
        if pte is not None and pte.has(P | W):
            pte = pte.plus(D | A)
            space.table.put(gfn, pte)
            request.spend("gup", cost.gup_fast)
        else:
            pte = yield from self.slow(request, gfn, write)
            if pte is None:
                return False
        yield from step(request, "MAP")
        if vm.sequence != snapshot or vm.in_window(gfn):
            self.retried(request, gfn, looked)
            return True
        vm.lock.acquire(request, "read")
        yield from step(request, "MAPPED")
        if vm.sequence != snapshot or vm.in_window(gfn):
            self.retried(request, gfn, looked)
            vm.lock.release(request)
            return True
        made = self.install(vm.table, gfn, pte)
        vcpu.tables -= made
        self.world.pool.counted -= made
        request.spend("map", cost.map_spte)
        request.count("kvm.sptes")
        yield from step(request, "MAP_UNLOCK")
        vm.lock.release(request)
        return True

    def retried(self, request, gfn, looked):
        """An invalidation has come between the look at the page, or its beginning, and now."""
        request.count("kvm.retries")
        self.world.event("retry", request, looked, self.world.now, range(gfn, gfn + 1))

    def slow(self, request, gfn, write):
        """SLOW to SLOW_UNLOCK; the pte, or None if the access is not allowed."""
        space = request.space
        yield from step(request, "SLOW")
        request.spend("gup", self.world.cost.gup)
        yield from step(request, "SLOW_LOCK")
        space.lock.acquire(request, "read")
        while True:
            yield from step(request, "SLOW2")
            request.in_fault = False
            pte = space.table.get(gfn)
            if pte is not None and pte.has(P | W if write else P):
                break
            request.in_fault = True
            if (yield from fault(request, gfn, "write" if write else "read", held=True)) == "segv":
                yield from step(request, "NO_RIGHT")
                request.in_fault = False
                self.no_right(request)
                space.lock.release(request)
                return None
        if write:
            pte = pte.plus(D | A)
            space.table.put(gfn, pte)
        yield from step(request, "SLOW_UNLOCK")
        space.lock.release(request)
        request.used = False  # MAP follows in the same step
        return pte

    def entry(self, request):
        """ENTRY; returns when the vCPU is in its guest."""
        vcpu, cost = request.engine, self.world.cost
        vcpu.in_guest = True
        if vcpu.flush_pending:
            vcpu.banks.empty()
            vcpu.flush_pending = False
            request.spend("entry", cost.invept)
        request.spend("entry", cost.entry)
        self.enter(request, "walker wait", request.due)
        vcpu.taker, vcpu.stopped = None, False
        if vcpu.waits:
            vcpu.due = max(vcpu.clock, request.due)
        return request.due

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
            if vcpu.in_guest:
                targets.append(vcpu)
            else:
                vcpu.flush_pending = True
        if targets:
            row.effect = 1
            yield from step(row, "KICK")
            row.spend("ipi_send", cost.ipi_send + (len(targets) - 1) * cost.ipi_send_more)
            row.count("ipis.sent", len(targets))
            row.count("kvm.kicks")
            row.wait("ipi_wait", row.time + cost.ipi_delivery)
            yield from step(row, "KICKED")
            row.wait("ipi_wait", max([self.kick(row, vcpu, range(first, last)) for vcpu in targets]))
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

    def kick(self, row, vcpu, pages):
        """A vCPU is interrupted; when its acknowledgement arrives."""
        cost = self.world.cost
        inside = vcpu.in_guest
        if inside:
            vcpu.banks.empty()
            after = cost.invept + cost.entry
            n = cost.exit + cost.kick + cost.ipi_respond + after
        else:
            vcpu.flush_pending = True
            after, n = 0, cost.ipi_respond
        end = vcpu.steal("kick", self.world.now, n)
        self.world.event("ipi", vcpu, end - n, end, pages, f"kick by {row.label}")
        for request in self.under_way(vcpu) if inside else ():
            request.state, request.due = "to walk", end
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
