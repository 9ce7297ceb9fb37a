"""The GRU in the oracle: chiplet TLBs, interrupt handlers, the user's ioctl, TGH (docs/model.md, section 10)."""

from tests.reference.banks import LARGE, SMALL, Bank, Translations, reference, table_line
from tests.reference.faults import fault
from tests.reference.locks import Lock
from tests.reference.memory import HUGE, A, D, Node, P, W
from tests.reference.rows import NEVER, Request, step
from tests.reference.twin import Twin
from tests.reference.vmas import HUGETLB


class Gru(Twin):
    """The design's state, and its chains."""

    DESIGN, ACCESS = "gru", "access_gru"

    def __init__(self, world):
        super().__init__(world)
        get, per_engine = world.machine.get, world.machine.get("tlb.cbrs")
        self.tlbs = []
        for _ in range(get("gru.chiplets")):
            unified = Bank(get("tlb.entries"), get("tlb.ways"))
            self.tlbs.append(Translations(unified, unified))
        for space in world.spaces.values():
            space.active, space.asid_lock, space.sleepers = 0, Lock(world), []
            space.subscribers = [self] if space.engines else []
        chosen = get("driver.interrupt_cpu")
        for k, engine in enumerate(world.engines):
            engine.chiplet = k % get("gru.chiplets")
            engine.big, engine.reload, engine.context, engine.in_guest = False, False, Lock(world), False
            server = (engine.space.first_cpu or world.cpus[0]) if chosen == -1 else world.cpus[chosen]
            first = len(world.agents) + k * per_engine
            engine.requests = [Request(world, first + i, engine, server) for i in range(per_engine)]
            engine.booked = 0
            world.requests += engine.requests

    def dump(self):
        """What the TLBs hold."""
        return {k: tlb.banks[SMALL].entries() for k, tlb in enumerate(self.tlbs)}

    # accesses

    def accesses(self, engine, op):
        """A READ or WRITE record of an engine."""
        world, cost = self.world, self.world.cost
        left, write = op.count, op.name == "write"
        while left:
            yield from step(engine, "READY")
            way, _ = self.tlbs[engine.chiplet].look(op.vpn, engine.space.number)
            if way is not None and (way.w or not write):
                engine.count("device.accesses")
                engine.count("device.tlb.hits")
                engine.spend("access", cost.access_gru)
                left -= 1
                if not left:
                    world.complete(engine)
                continue
            request = next((request for request in engine.requests if request.free), None)
            if request is None:
                engine.booked = engine.clock
                engine.sleep("stall")
                continue
            if way is not None:
                engine.count("gru.mod_misses")
            engine.count("device.accesses", left)
            engine.count("device.tlb.misses")
            engine.count("device.tlb.hits", left - 1)
            request.free, request.issued, request.index = False, world.now, op.index
            request.vpn, request.write, request.called = op.vpn, write, False
            engine.spend("access", left * cost.access_gru)
            engine.position += 1
            engine.done_at = max(engine.done_at, engine.clock)
            request.due = world.now + cost.access_gru + cost.irq_delivery
            request.phase, request.program, request.used = "IRQ", self.resolve(request), False
            left = 0

    def book_stall(self, engine, now):
        """Book a stalled engine's time since the last booking by what its oldest request does."""
        if not engine.blocked or engine.wait_account != "stall":
            return
        busy = [request for request in engine.requests if not request.free]
        oldest = min(busy, key=lambda request: (request.issued, request.id), default=None)
        if now > engine.booked:
            engine.ledger[stall_account(oldest)] += now - engine.booked
            engine.booked = now

    # the life of a request

    def resolve(self, request):
        """From the interrupt to the access."""
        world, cost, engine = self.world, self.world.cost, request.engine
        tlb, space = self.tlbs[engine.chiplet], engine.space
        while True:
            yield from step(request, "IRQ")
            self.interrupt(request)
            found = yield from self.interrupt_level(request)
            if not found and not (yield from self.process_level(request)):
                world.segv(engine, request.index)
                self.complete(request, None)
                return
            request.phase = "RESTART"
            yield from step(request, "RESTART")
            request.reading = False
            if request.killed:
                request.count("gru.kills")
                request.due = world.now + cost.irq_delivery
                continue
            size = request.size
            tlb.fill(request.vpn, size, request.pfn, request.write, asid=space.number)
            request.due = world.now + cost.access_gru
            yield from step(request, "ACCESS")
            way, _ = tlb.look(request.vpn, space.number)
            if way is not None and (way.w or not request.write):
                self.complete(request, "fault.upm" if request.called else "fault.fmm")
                return
            request.count("gru.replays")
            request.due = world.now + cost.irq_delivery

    def complete(self, request, kind):
        """The access is done, or refused."""
        world, engine = self.world, request.engine
        if kind:
            world.record("fault", world.now - request.issued)
            world.record(kind, world.now - request.issued)
        engine.done_at = max(engine.done_at, world.now)
        request.free, request.due = True, NEVER
        request.reading = False
        if engine.blocked and engine.wait_account == "stall":
            engine.wake(world.now)

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
        request.killed, request.reading, request.size = False, True, SMALL
        server.charge("driver", cost.tfh_read)
        request.due = now + cost.tfh_read
        yield from step(request, "CHECK")
        found = False
        if request.engine.reload or not space.lock.may_read():
            request.count("gru.intr_mm_lock_failed")
        elif space.active > 0:
            request.count("gru.fail_range_active")
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
            self.go_on(server, now + cost.dropin)
        else:
            request.reading = False
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
        found = entry is not None and entry.has(P | W | D if request.write else P)
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
            request.killed, request.reading, request.size = False, True, SMALL
            yield from step(request, "UCHECK")
            if space.active == 0:
                break
            request.reading = False
            request.count("gru.fail_range_active")
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
        engine.context.release(request)
        space.lock.release(request)
        request.process = False
        request.due = world.now + cost.restart
        return found

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
            pte = table.get(request.vpn)
            if pte is not None and pte.has(P | W if request.write else P):
                if request.write and not pte.has(D):
                    pte = pte.plus(D | A)
                    table.put(request.vpn, pte)
                self.remember(request, pte)
                self.allow_size(request)
                return True
            request.in_fault = True
            result = yield from fault(request, request.vpn, "write" if request.write else "read", held=True)
            request.in_fault = False
            if result == "segv":
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
            self.invalidate(space, chiplet, first, last)
            row.count("gru.tgh")
            row.spend("invalidate", cost.tgh + min(pages, 1024) * cost.tgh_page)
            row.effect = int(k + 1 < len(chiplets))
        yield from step(row, "ASID_RELEASE")
        space.asid_lock.release(row)

    def invalidate(self, space, chiplet, first, last):
        """One chiplet drops a range and kills drop-ins on their way."""

        def hit(tag):
            asid, page, size = tag
            start = page * size
            inside = start < last and start + size > first
            return asid == space.number and (last - first >= 1024 or inside)

        self.tlbs[chiplet].banks[SMALL].drop_where(hit)
        for request in self.world.requests:
            if request.reading and request.space is space and request.engine.chiplet == chiplet:
                start = request.vpn // request.size * request.size
                if last - first >= 1024 or (start < last and start + request.size > first):
                    request.killed = True

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


def stall_account(request):
    """10.6: where the time of an engine goes that waits for this request."""
    if request.in_line or request.pended:
        return "stall_trap"
    if request.sleeping:
        return "stall_window"
    if request.in_fault or request.phase == "GUP":
        return "stall_gup"
    return "stall_trap" if request.phase in ("IRQ", "RESTART", "ACCESS") else "stall_driver"
