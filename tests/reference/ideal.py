"""The ideal design in the oracle: a look at the page table for nothing, faults on the first thread's CPU (docs/model.md, section 14)."""

from types import MappingProxyType

from tests.reference.device import Device
from tests.reference.faults import fault
from tests.reference.memory import D, P, W
from tests.reference.rows import step


class Ideal(Device):
    """The look-up, and what resolves a miss."""

    DESIGN, MERGES = "ideal", True
    stalls = MappingProxyType({"fault": "stall_fault"})

    def allowed(self, engine, op):
        """Whether the page table lets an engine access a page (14.2)."""
        return self.may(engine, op.vpn, op.name == "write")

    def may(self, row, vpn, write):
        """What the page table says of an access."""
        pte = row.space.table.get(vpn)
        return pte is not None and pte.has(P | W | D if write else P)

    def resolve(self, request, op):
        """FAULT, LOOK, NO_RIGHT (14.3)."""
        while True:
            outcome = yield from fault(request, request.vpn, "write" if request.write else "read")
            yield from step(request, "NO_RIGHT" if outcome == "segv" else "LOOK")
            if outcome == "segv":
                self.no_right(request)
                if not self.refuse(request):
                    return False
            elif self.may(request, request.vpn, request.write):
                self.world.record("fault", self.world.now - request.issued)
                return True

    def phase_of(self, request):
        """14.4."""
        return "fault"
