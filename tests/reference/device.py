"""The engine of a device in the oracle: a list of completion times, and slots that misses hold (docs/model.md, section 15)."""

from tests.reference.rows import NEVER, Request, step
from tests.reference.twin import Twin


class Device(Twin):
    """What every design has whose engines issue by the rules of section 15: it says only how a page is looked up and a miss resolved.

    A subclass has `allowed(engine, op)`, whether a look-up hits now, and `resolve(request, op)`, the steps of a request up to the look-up
    that hits, which return False if the access has no right.
    """

    ACCESS = "device_interval"
    MERGES = False

    def __init__(self, world):
        super().__init__(world)
        self.window = world.machine.get("device.window")
        self.latency, self.interval = world.cost.device_latency, world.cost.device_interval
        for k, engine in enumerate(world.engines):
            engine.flights, engine.last, engine.held, engine.waits = [], -self.interval, 0, False
            first = len(world.agents) + k * self.window
            engine.requests = [Request(world, first + i, engine, self.server(engine)) for i in range(self.window)]
            world.requests += engine.requests

    def server(self, engine):
        """The CPU of an engine's requests."""
        return engine.space.first_cpu or self.world.cpus[0]

    def accesses(self, engine, op):
        """A READ or WRITE record of an engine (15.2)."""
        world = self.world
        for left in range(op.count, 0, -1):
            while True:
                yield from step(engine, "READY")
                at = self.issue_at(engine, engine.held)
                if at <= world.now:
                    break
                engine.waits, engine.due = True, at
            self.settle(engine, world.now)
            engine.waits, engine.last = False, world.now
            engine.count("device.accesses")
            if self.allowed(engine, op):
                engine.count("device.tlb.hits")
                engine.flights.append(world.now + self.latency)
                end = engine.flights[-1]
            else:
                self.miss(engine, op)
                end = world.now
            if left == 1:
                world.complete(engine)
                engine.done_at = max(engine.done_at, end)

    def miss(self, engine, op):
        """A miss is issued (15.3)."""
        world = self.world
        engine.count("device.tlb.misses")
        engine.held += 1
        same = [request for request in engine.requests if not request.free and not request.found and request.vpn == op.vpn]
        engine.count("device.tlb.duplicates", bool(same))
        takers = [request for request in same if self.MERGES and (request.write or op.name == "read")]
        if takers:
            takers[0].joined += 1
            return
        request = next(request for request in engine.requests if request.free)
        request.free = request.found = False
        request.issued, request.index, request.joined = world.now, op.index, 0
        request.vpn, request.write = op.vpn, op.name == "write"
        request.due, request.used, request.program = world.now, False, self.life(request, op)

    def life(self, request, op):
        """A request from its issue to its release."""
        world, engine = self.world, request.engine
        if (yield from self.resolve(request, op)):
            request.found = True
            request.due = world.now + self.latency
            yield from step(request, "RELEASE")
        else:
            world.segv(engine, op.index)
        engine.held -= 1 + request.joined
        engine.done_at = max(engine.done_at, world.now)
        request.free, request.due = True, NEVER
        if engine.waits:
            engine.due = world.now

    def issue_at(self, engine, held):
        """When the engine can issue its next access, if misses hold so many slots (15.1)."""
        slots = self.window - held
        if slots <= 0:
            return NEVER
        slot = engine.flights[-slots] if len(engine.flights) >= slots else 0
        return max(engine.last + self.interval, slot)

    def settle(self, engine, now):
        """Book the time of an engine that waits for a slot, or is done, up to now (15.4)."""
        if now <= engine.clock:
            return
        free = self.last_data(engine) if engine.done else self.issue_at(engine, 0)
        access = min(max(free, engine.clock), now) - engine.clock
        engine.ledger["access"] += access
        if now > engine.clock + access:
            oldest = min((request for request in engine.requests if not request.free), key=lambda request: (request.issued, request.id))
            engine.ledger["access" if oldest.found else self.stall_of(oldest)] += now - engine.clock - access
        engine.clock = now

    def book_stall(self, engine, now):
        """Before a step of one of its requests."""
        if engine.waits or engine.done:
            self.settle(engine, now)

    def last_data(self, engine):
        """When its latest hit has its data."""
        return max(engine.flights, default=0)

    def land(self, engine, until):
        """The last hits' time, of an engine that waits for the order of the trace, or of the whole run (15.4)."""
        end = min(self.last_data(engine), until)
        if end > engine.clock:
            engine.ledger["access"] += end - engine.clock
            engine.clock = end
