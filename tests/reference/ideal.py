"""The ideal design in the oracle: a look at the page table for nothing, faults on the first thread's CPU (docs/model.md, section 14)."""

from tests.reference.faults import fault
from tests.reference.memory import D, P, W
from tests.reference.rows import NEVER, Request, step
from tests.reference.twin import Twin


class Ideal(Twin):
    """The design's requests, and their lives."""

    DESIGN, ACCESS = "ideal", "access_device"

    def __init__(self, world):
        super().__init__(world)
        window = world.machine.get("device.window")
        for k, engine in enumerate(world.engines):
            server = engine.space.first_cpu or world.cpus[0]
            first = len(world.agents) + k * window
            engine.requests = [Request(world, first + i, engine, server) for i in range(window)]
            world.requests += engine.requests

    def accesses(self, engine, op):
        """A READ or WRITE record of an engine (14.2)."""
        world, cost, left = self.world, self.world.cost.access_device, op.count
        while left:
            yield from step(engine, "READY")
            if allowed(engine.space, op.vpn, op.name):
                engine.count("device.accesses")
                engine.count("device.tlb.hits")
                engine.spend("access", cost)
                left -= 1
                if not left:
                    world.complete(engine)
                continue
            request = next((request for request in engine.requests if request.free), None)
            if request is None:
                engine.sleep("stall_fault")
                continue
            engine.count("device.accesses", left)
            engine.count("device.tlb.misses")
            engine.count("device.tlb.hits", left - 1)
            request.free, request.issued, request.index = False, world.now, op.index
            request.due, request.program, request.used = world.now + cost, self.resolve(request, op), False
            engine.spend("access", left * cost)
            world.complete(engine)
            left = 0

    def resolve(self, request, op):
        """LOOK, FAULT, REPLAY, NO_RIGHT (14.3)."""
        world = self.world
        while True:
            yield from step(request, "LOOK")
            if allowed(request.space, op.vpn, op.name):
                world.record("fault", world.now - request.issued)
                break
            if (yield from fault(request, op.vpn, op.name)) == "segv":
                yield from step(request, "NO_RIGHT")
                world.segv(request.engine, op.index)
                break
            yield from step(request, "REPLAY")
            request.due = world.now + world.cost.access_device
        engine = request.engine
        engine.done_at = max(engine.done_at, world.now)
        request.free, request.due = True, NEVER
        if engine.blocked and engine.wait_account == "stall_fault":
            engine.wake(world.now)


def allowed(space, vpn, access):
    """Whether the page table lets an engine access a page."""
    pte = space.table.get(vpn)
    return pte is not None and pte.has(P | W | D if access == "write" else P)
