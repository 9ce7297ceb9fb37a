"""The GRU in the oracle: chiplet TLBs, interrupt handlers, the user's ioctl, TGH (docs/model.md, section 10)."""

from tests.reference.banks import LARGE, SMALL, Bank, Translations, reference, table_line
from tests.reference.device import Device
from tests.reference.faults import fault
from tests.reference.locks import Lock
from tests.reference.memory import HUGE, A, D, Node, P, W
from tests.reference.rows import NEVER, skip, step
from tests.reference.vmas import HUGETLB

STALLS = {
    "delivery": "stall_trap", "queue": "stall_trap", "entry": "stall_driver", "TFH": "stall_driver", "walk": "stall_driver",
    "polling": "stall_driver", "call": "stall_driver", "lock wait": "stall_driver", "invalidation wait": "stall_invalidation",
    "GUP": "stall_gup", "fault": "stall_gup", "drop-in": "stall_driver", "restart": "stall_trap",
}  # fmt: skip
"""The account of each phase of a miss (10.6)."""
STAGES = {
    "IRQ": "delivery", "TFH": "entry", "CHECK": "TFH", "UCHECK": "TFH", "SWITCH": "walk", "DROPIN": "walk", "UGUP": "walk",
    "UDROP": "walk", "RESTART": "restart", "CALL": "polling", "CALL_LOCK": "call", "CALL_CTX": "call", "WINDOW": "call",
    "GUP": "GUP", "UEXIT": "drop-in",
}  # fmt: skip
"""Its phase by the next step."""


class Gru(Device):
    """The design's state, and its chains."""

    DESIGN, FIRST = "gru", "IRQ"
    stalls = STALLS

    def __init__(self, world):
        super().__init__(world)
        get = world.machine.get
        self.MERGES = get("gru.merge_misses")
        self.scope, self.from_miss = get("gru.kills"), get("gru.kills_from") == "miss"
        self.chiplet_locks = [Lock(world, f"TGH of chiplet {k}") if get("tgh.serial") else None for k in range(get("gru.chiplets"))]
        self.tlbs = []
        for _ in range(get("gru.chiplets")):
            unified = Bank(get("tlb.entries"), get("tlb.ways"))
            self.tlbs.append(Translations(unified, unified))
        for space in world.spaces.values():
            space.active, space.asid_lock, space.sleepers = 0, Lock(world, f"ms_asid_lock of space {space.number}"), []
            space.subscribers = [self] if space.engines else []
        for k, engine in enumerate(world.engines):
            engine.chiplet = k % get("gru.chiplets")
            engine.big, engine.reload, engine.context, engine.in_guest = False, False, Lock(world, f"ts_ctxlock {k}"), False

    def server(self, engine):
        """The CPU that takes an engine's interrupts (10.1)."""
        chosen = self.world.machine.get("driver.interrupt_cpu")
        return super().server(engine) if chosen == -1 else self.world.cpus[chosen]

    def dump(self):
        """What the TLBs hold."""
        return {k: tlb.banks[SMALL].entries() for k, tlb in enumerate(self.tlbs)}

    # accesses

    def delay(self):
        """The interrupt's way (10.2)."""
        return self.world.cost.irq_delivery

    def allowed(self, engine, op):
        """Whether a look-up in the chiplet's TLB hits (10.2)."""
        way, _ = self.tlbs[engine.chiplet].look(op.vpn, engine.space.number)
        if way is not None and op.name == "write" and not way.w:
            engine.count("gru.mod_misses")
            return False
        return way is not None

    # the life of a request

    def resolve(self, request, op):
        """From the interrupt to the look-up that hits."""
        world, cost, engine = self.world, self.world.cost, request.engine
        tlb, space = self.tlbs[engine.chiplet], engine.space
        while True:
            yield from step(request, "IRQ")
            self.interrupt(request)
            found = yield from self.interrupt_level(request)
            if not found and not (yield from self.process_level(request)):
                request.reading = False
                self.no_right(request)
                if not self.refuse(request):
                    return False
                self.trap(request, None)
                request.due = world.now + cost.irq_delivery
                continue
            yield from step(request, "RESTART")
            request.reading = False
            if request.killed:
                request.count("gru.kills")
                world.event("kill", request, request.killed_at, world.now, self.page(request))
            else:
                tlb.fill(request.vpn, request.size, request.pfn, request.mod, asid=space.number)
            way, _ = tlb.look(request.vpn, space.number)
            if way is not None and (way.w or not request.write):
                for kind in ("fault", self.path(request)):
                    world.record(kind, world.now - request.issued)
                return True
            request.count("gru.mod_misses", way is not None)
            self.trap(request, way)
            request.due = world.now + cost.irq_delivery

    def begun(self, request):
        """The instruction's first fault (10.2)."""
        request.called = False
        self.trap(request, self.tlbs[request.engine.chiplet].look(request.vpn, request.space.number)[0])

    def trap(self, request, way):
        """What the hardware notes of a fault, and whether its cause is MOD."""
        request.mod = request.write and (way is not None or self.world.machine.get("gru.store_miss") == "mod")
        request.size, request.killed, request.reading = SMALL, False, self.from_miss

    def read_handle(self, request):
        """The driver knows the fault (TFH, WINDOW); in one reading of the hardware kills begin here."""
        request.size = SMALL
        if not self.from_miss:
            request.killed, request.reading = False, True

    def give_up(self, request):
        """The driver leaves it to somebody else, or to a later look."""
        request.reading = request.reading and self.from_miss

    # the interrupt handler

    def interrupt(self, request):
        """IRQ: begin a handler run, or wait for the CPU."""
        server, now = request.server, self.world.now
        request.due, request.in_line = NEVER, True
        if server.owned:
            server.pending.append((now, request.id, "irq", request))
        else:
            self.start_run(request, now)

    def start_run(self, request, arrival):
        """A handler takes the CPU and all requests of the chiplet that wait for it."""
        server, cost = request.server, self.world.cost
        server.own(arrival)
        members = [request]
        for entry in list(server.pending):
            if entry[2] == "irq" and entry[3].engine.chiplet == request.engine.chiplet:
                server.pending.remove(entry)
                members.append(entry[3])
        server.run = sorted(members, key=lambda member: member.id)
        server.charge("irq", cost.irq_entry)
        request.count("gru.intr")
        self.go_on(server, server.own_from + cost.irq_entry)

    def go_on(self, server, time):
        """The handler turns to its next member, or ends."""
        if server.run:
            member = server.run.pop(0)
            member.in_line = False
            member.due = time
        else:
            server.charge("irq", self.world.cost.irq_exit)
            server.disown(time + self.world.cost.irq_exit)

    def interrupt_level(self, request):
        """TFH to DROPIN or SWITCH; returns whether an entry was dropped in."""
        world, cost, server, space = self.world, self.world.cost, request.server, request.space
        yield from step(request, "TFH")
        now = world.now
        request.count("gru.intr_tfh")
        self.read_handle(request)
        server.charge("driver", cost.tfh_read)
        request.due = now + cost.tfh_read
        yield from step(request, "CHECK")
        found = False
        if request.engine.reload or not space.lock.may_read():
            request.count("gru.intr_mm_lock_failed")
        elif space.active > 0:
            self.refused(request)
        else:
            n, found = self.software_walk(request)
            server.charge("driver", n)
            request.due = world.now + n
            if found and request.size == LARGE and not request.engine.big:
                request.engine.big = request.engine.reload = True
                found = False
            if not found:
                request.count("gru.fail_upm")
            yield from step(request, "DROPIN" if found else "SWITCH")
        now = world.now
        if found:
            server.charge("driver", cost.dropin)
            request.count("gru.dropins")
            request.due = now + cost.dropin + cost.restart
            request.phase = "RESTART"
            self.enter(request, "drop-in", now)
            self.enter(request, "restart", now + cost.dropin)
            self.go_on(server, now + cost.dropin)
        else:
            self.give_up(request)
            server.charge("driver", cost.upm_switch)
            request.count("gru.upm_switches")
            request.due = now + cost.upm_switch + cost.poll
            self.go_on(server, now + cost.upm_switch)
        return found

    def software_walk(self, request):
        """(latency, whether the pte will do) of the driver's look-up without a lock."""
        node, level, time, vpn = request.space.table.root, 4, 0, request.vpn
        while True:
            time += reference(self.world, request.server.banks, table_line(node.number, vpn, level))
            entry = node.entries.get(vpn >> 9 * (level - 1) & 511)
            if not isinstance(entry, Node):
                break
            node, level = entry, level - 1
        found = entry is not None and entry.has(P | W | D if request.mod else P)
        if found:
            self.remember(request, entry)
        return time, found

    def remember(self, request, pte):
        """Note what is to be dropped in."""
        vma = request.space.vmas.find(request.vpn)
        large = pte.has(HUGE) and vma is not None and vma.mapping == HUGETLB
        request.size = LARGE if large else SMALL
        request.pfn = pte.pfn + (request.vpn & 511 if pte.has(HUGE) and not large else 0)

    # the user's ioctl

    def process_level(self, request):
        """CALL to UEXIT; returns whether an entry was dropped in."""
        world, cost, space, engine = self.world, self.world.cost, request.space, request.engine
        request.process = request.called = True
        yield from step(request, "CALL")
        request.count("gru.call_os")
        request.spend("driver", cost.syscall)
        yield from step(request, "CALL_LOCK")
        space.lock.acquire(request, "read")
        yield from step(request, "CALL_CTX")
        if not engine.context.acquire(request, "write"):
            yield from step(request, "CALL_CTX")
        if engine.reload:
            engine.reload = False
            request.spend("driver", cost.cch_update)
        yield from step(request, "WINDOW")
        while True:
            if space.active > 0:
                request.count("gru.window_sleeps")
                request.sleeping = True
                space.sleepers.append(request)
                request.due = NEVER
                yield from step(request, "WINDOW")
                continue
            request.spend("driver", cost.tfh_read)
            self.read_handle(request)
            yield from step(request, "UCHECK")
            if space.active == 0:
                break
            self.give_up(request)
            self.refused(request)
            request.count("gru.call_os_wait_queue")
        n, found = self.software_walk(request)
        request.spend("driver", n)
        if found:
            self.allow_size(request)
        else:
            yield from step(request, "UGUP")
            request.spend("gup", cost.gup)
            found = yield from self.get_user_page(request)
        if found:
            yield from step(request, "UDROP")
            request.spend("driver", cost.dropin)
            request.count("gru.dropins")
        yield from step(request, "UEXIT")
        request.in_fault = False
        engine.context.release(request)
        space.lock.release(request)
        request.process = False
        request.due = world.now + cost.restart
        return found

    def refused(self, request):
        """A window is open, so nothing may be dropped in."""
        request.count("gru.fail_range_active")
        self.world.event("retry", request, self.world.now, self.world.now, self.page(request))

    def allow_size(self, request):
        """Add a page size to the context, if it is new."""
        if request.size == LARGE and not request.engine.big:
            request.engine.big = True
            request.spend("driver", self.world.cost.cch_update)

    def get_user_page(self, request):
        """GUP: returns whether the page may be accessed."""
        table = request.space.table
        while True:
            yield from step(request, "GUP")
            request.in_fault = False
            pte = table.get(request.vpn)
            if pte is not None and pte.has(P | W if request.mod else P):
                if request.mod and not pte.has(D):
                    pte = pte.plus(D | A)
                    table.put(request.vpn, pte)
                self.remember(request, pte)
                self.allow_size(request)
                return True
            request.in_fault = True
            if (yield from fault(request, request.vpn, "write" if request.mod else "read", held=True)) == "segv":
                return False

    # notices

    def invalidate_start(self, row, space, first, last):
        """10.4: a window opens; the TLBs lose what lies in the range."""
        cost = self.world.cost
        space.active += 1
        yield from step(row, "ASID")
        if not space.asid_lock.acquire(row, "write"):
            yield from step(row, "ASID")
        chiplets = sorted({engine.chiplet for engine in space.engines})
        pages = last - first
        for k, chiplet in enumerate(chiplets):
            if k > 0:
                yield from step(row, "TGH")
            lock = self.chiplet_locks[chiplet]
            if lock and not lock.acquire(row, "write"):
                yield from step(row, "TGH")
            row.count("gru.tgh")
            here = [engine for engine in space.engines if engine.chiplet == chiplet]
            if cost.tgh_stall:
                for engine in here:
                    self.halt(engine, self.world.now + cost.tgh_stall, "stall_invalidation")
            length = cost.tgh + min(pages, 1024) * cost.tgh_page
            if self.world.machine.get("tgh.takes_effect") == "end":
                row.spend("invalidate", length)
                length = 0
                yield from step(row, "EFFECT")
            self.invalidate(space, chiplet, first, last)
            there = max(self.last_use(engine) for engine in here)
            row.spend("invalidate", max(length, there - row.time))
            row.effect = int(k + 1 < len(chiplets))
            yield from step(row, "TGH_END")
            if lock:
                lock.release(row)
            if k + 1 < len(chiplets):
                skip(row)
        space.asid_lock.release(row)

    def invalidate(self, space, chiplet, first, last):
        """One chiplet drops a range and kills drop-ins on their way."""
        all_of_it = last - first >= 1024
        bank = self.tlbs[chiplet].banks[SMALL]
        by_sets = self.world.machine.get("tgh.purges") == "sets"
        sets = {page % len(bank.sets) for page in range(first, last)} if by_sets and not all_of_it else set()

        def hit(tag):
            asid, page, size = tag
            start = page * size
            inside = start < last and start + size > first
            return asid == space.number and (all_of_it or inside or page % len(bank.sets) in sets)

        bank.drop_where(hit)
        for request in self.world.requests:
            if request.reading and request.engine.chiplet == chiplet:
                start = request.vpn // request.size * request.size
                in_range = all_of_it or (start < last and start + request.size > first)
                mine = request.space is space
                if not request.killed:
                    request.killed_at = self.world.now
                request.killed |= {"all": True, "asid": mine, "range": mine and in_range}[self.scope]

    def invalidate_end(self, row, space, first, last):
        """The window closes; who sleeps looks again."""
        row.effect = 0
        space.active -= 1
        for request in space.sleepers:
            request.wake(self.world.now + self.world.cost.wakeup)
        space.sleepers = []
        yield from ()

    def release(self, row, space):
        """10.5."""
        row.effect = 0
        for tlb in self.tlbs:
            tlb.banks[SMALL].drop_where(lambda tag: tag[0] == space.number)
        yield from ()

    def path(self, request):
        """By the handler, or by the user's call."""
        return "fault.upm" if request.called else "fault.fmm"

    def phase_of(self, request):
        """10.6."""
        if request.in_line or request.pended:
            return "queue"
        if request.sleeping:
            return "invalidation wait"
        if request.in_fault:
            return "fault"
        if request.queued:
            return "lock wait"
        return STAGES[request.phase]
