"""The engine of a device in the oracle: a list of completion times, and slots that misses hold (docs/model.md, section 15)."""

from collections import Counter

from tests.reference.rows import NEVER, Request, step
from tests.reference.twin import Twin


class Device(Twin):
    """What every design has whose engines issue by the rules of section 15: it says only how a page is looked up and a miss resolved.

    A subclass has `allowed(engine, op)`, whether a look-up hits now, or `look_up`; and `resolve(request, op)`, the steps of a request up to
    the look-up that hits, which return False if the access has no right, or `life`; `phase_of(request)`, in which phase a miss is (15.6),
    and `stalls`, which account each phase is.
    """

    FIRST = "FAULT"
    MERGES = False

    def __init__(self, world):
        super().__init__(world)
        self.missing = []  # requests whose miss is not resolved
        self.window = world.machine.get("device.window")
        self.latency, self.interval = world.cost.device_latency, world.cost.device_interval
        for k, engine in enumerate(world.engines):
            engine.flights, engine.last, engine.held = [], -self.interval, 0
            engine.halted, engine.halt_account = 0, None
            first = len(world.agents) + k * self.window
            engine.requests = [Request(world, first + i, engine, self.server(engine)) for i in range(self.window)]
            world.requests += engine.requests

    def server(self, engine):
        """The CPU of an engine's requests."""
        return engine.space.first_cpu or self.world.cpus[0]

    def delay(self):
        """How long it takes a miss to get to its first step."""
        return 0

    def accesses(self, engine, op):
        """A READ or WRITE record of an engine (15.2)."""
        world = self.world
        for left in range(op.count, 0, -1):
            first, found = True, "again"
            while found == "again":
                yield from step(engine, "READY")
                at = self.issue_at(engine, engine.held)
                if at > world.now:
                    engine.waits, engine.due = True, at
                    continue
                self.settle(engine, world.now)
                engine.waits = False
                found = self.look_up(engine, op, first)
                first = False
            engine.last = world.now
            if found == "hit":
                engine.flights.append(world.now + self.latency)
                end = engine.flights[-1]
            else:
                self.miss(engine, op, found == "miss")
                end = world.now
            if left == 1:
                world.complete(engine)
                engine.done_at = max(engine.done_at, end)

    def look_up(self, engine, op, first):
        """Look a page up, and count it the first time: "hit", "miss", "again" after a refill, or "lacks" a right of a translation."""
        found = "hit" if self.allowed(engine, op) else "miss"
        engine.count("device.accesses")
        engine.count("device.tlb.hits" if found == "hit" else "device.tlb.misses")
        return found

    def miss(self, engine, op, counted):
        """A miss is issued (15.3); one that has found a translation without the right was not `counted` as one."""
        world = self.world
        engine.held += 1
        same = [request for request in engine.requests if not request.free and not request.found and request.vpn == op.vpn]
        engine.count("device.tlb.duplicates", bool(same) and counted)
        takers = [request for request in same if self.MERGES and (request.write or op.name == "read")]
        if takers:
            takers[0].joined += 1
            takers[0].readers += takers[0].write and op.name == "read"
            world.event("join", engine, world.now, world.now, range(op.vpn, op.vpn + 1), self.wanted(op.name == "write", not counted))
            return
        request = next(request for request in engine.requests if request.free)
        request.free = request.found = False
        request.issued, request.index, request.joined, request.readers = world.now, op.index, 0, 0
        request.vpn, request.write, request.lacks = op.vpn, op.name == "write", not counted
        request.due, request.used, request.program = world.now + self.delay(), False, self.life(request, op)
        request.phase = self.FIRST
        request.spent, request.stage, request.mark = Counter(), None, world.now
        self.missing.append(request)
        self.begun(request)

    def begun(self, request):
        """What a design does about a new request in the step that issues it."""

    def life(self, request, op):
        """A request from its issue to its release."""
        if (yield from self.resolve(request, op)):
            self.resolved(request, self.path(request))
            yield from step(request, "RELEASE")
        else:
            self.missing.remove(request)
        self.free_slots(request)

    def no_right(self, request):
        """Count the accesses of a request that has no right (15.3)."""
        for _ in range(1 + request.joined - request.readers):
            self.world.segv(request.engine, request.index)

    def refuse(self, request):
        """Those without a right give up their slots (15.3); returns whether the request goes on, for reads that joined a write."""
        engine = request.engine
        if not request.readers:
            self.enter(request, None, max(self.world.now, request.mark))
            return False
        engine.held -= 1 + request.joined - request.readers
        request.write, request.joined, request.readers = False, request.readers - 1, 0
        self.wake(engine)
        return True

    def wake(self, engine):
        """An engine that waits for a slot looks again."""
        if engine.waits and not engine.stopped:
            engine.due = max(engine.clock, self.world.now)

    def resolved(self, request, path):
        """A request has its translation; its phases count if it took the path of a latency."""
        now = self.world.now
        self.missing.remove(request)
        self.enter(request, None, now)
        if path:
            self.world.resolved(path, request.spent)
            self.world.event("fault", request, request.issued, now, self.page(request), path)
        request.found, request.due = True, now + self.latency

    def free_slots(self, request):
        """The slots of a request are free."""
        engine, now = request.engine, self.world.now
        engine.held -= 1 + request.joined
        engine.done_at = max(engine.done_at, now)
        self.world.event("miss", request, request.issued, now, self.page(request), self.wanted(request.write, request.lacks))
        request.free, request.due = True, NEVER
        self.wake(engine)

    def page(self, request):
        """The page of a miss, as events have it."""
        return range(request.vpn, request.vpn + 1)

    def wanted(self, write, lacks):
        """What an access that missed wanted, as events have it."""
        return ("write" if write else "read") + (" (lacks the right)" if lacks else "")

    def path(self, request):
        """The latency of the path that a miss took."""
        return "fault"

    def enter(self, request, stage, now):
        """A phase of a miss begins, and one ends (15.6)."""
        if stage != request.stage:
            if request.stage:
                request.spent[request.stage] += now - request.mark
                if now != request.mark:
                    self.world.event("phase", request, request.mark, now, self.page(request), request.stage)
            request.stage, request.mark = stage, now

    def note(self):
        """After a step."""
        for request in self.missing:
            self.enter(request, self.phase_of(request), self.world.now)

    def issue_at(self, engine, held):
        """When the engine can issue its next access, if misses hold so many slots (15.1)."""
        return max(self.free_at(engine, held), engine.halted)

    def free_at(self, engine, held):
        """The same, if nothing had halted it."""
        return max(engine.last + self.interval, self.slot_at(engine, held))

    def slot_at(self, engine, held):
        """When it has a slot for a hit."""
        slots = self.window - held
        if slots <= 0:
            return NEVER
        return engine.flights[-slots] if len(engine.flights) >= slots else 0

    def settle(self, engine, now):
        """Book the time of an engine that waits for a slot up to now (15.4)."""
        if now <= engine.clock:
            return
        access = now - engine.clock
        if not engine.stopped:
            access = min(max(self.free_at(engine, 0), engine.clock), now) - engine.clock
        engine.ledger["access"] += access
        engine.clock += access
        if min(engine.halted, now) > engine.clock:
            engine.ledger[engine.halt_account] += min(engine.halted, now) - engine.clock
            engine.clock = min(engine.halted, now)
        if now > engine.clock:
            oldest = min((request for request in engine.requests if not request.free), key=lambda request: (request.issued, request.id))
            engine.ledger["access" if oldest.found else self.stalls[self.phase_of(oldest)]] += now - engine.clock
        engine.clock = now

    def book_stall(self, engine, now):
        """Before a step of any row."""
        if engine.waits and not engine.taker:
            self.settle(engine, now)

    def halt(self, engine, until, account):
        """Nothing is issued for a while (15.5)."""
        if engine.done:
            return
        if until > engine.halted:
            engine.halted, engine.halt_account = until, account

    def begin_service(self, engine, at):
        """When a service of an engine begins (15.7); what has been until then is booked."""
        if engine.taker:
            waited = at - engine.busy_until
            engine.ledger[engine.taker.waits_for] += waited
            engine.shift(engine.busy_until, waited)
            return at
        at = max(at, self.last_use(engine))
        if not engine.blocked and not engine.done:
            if engine.waits:
                self.settle(engine, min(at, engine.due))
            engine.ledger["access"] += max(0, at - engine.clock)
            engine.clock = max(engine.clock, at)
        return at

    def all_there(self, engine):
        """Whether an engine without a record left is done; if not it waits for its last data (3.3)."""
        if engine.held:
            engine.waits, engine.due = True, NEVER
            return False
        if self.last_data(engine) > engine.clock:
            self.land(engine, NEVER)
            engine.due = engine.clock
            return False
        return True

    def last_data(self, engine):
        """When its latest hit has its data."""
        return max(engine.flights, default=0)

    def last_use(self, engine):
        """When the last of its data in flight are there, of hits and of misses that are resolved."""
        return max([self.last_data(engine), *(request.due for request in engine.requests if not request.free and request.found)])

    def land(self, engine, until):
        """The last hits' time, of an engine that waits for the order of the trace, or is about to be done (15.4)."""
        end = min(self.last_data(engine), until)
        if end > engine.clock:
            engine.ledger["access"] += end - engine.clock
            engine.clock = end
