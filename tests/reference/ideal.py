"""The ideal design in the oracle: a look at the page table for nothing, faults on the first thread's CPU (docs/model.md, section 14)."""

from tests.reference.device import Device
from tests.reference.faults import fault
from tests.reference.memory import D, P, W
from tests.reference.rows import step


class Ideal(Device):
    """The look-up, and what resolves a miss."""

    DESIGN = "ideal"

    def allowed(self, engine, op):
        """Whether the page table lets an engine access a page (14.2)."""
        pte = engine.space.table.get(op.vpn)
        return pte is not None and pte.has(P | W | D if op.name == "write" else P)

    def resolve(self, request, op):
        """FAULT, LOOK, NO_RIGHT (14.3)."""
        while (yield from fault(request, op.vpn, op.name)) != "segv":
            yield from step(request, "LOOK")
            if self.allowed(request, op):
                self.world.record("fault", self.world.now - request.issued)
                return True
        yield from step(request, "NO_RIGHT")
        return False

    def stall_of(self, request):
        """14.4."""
        return "stall_fault"
