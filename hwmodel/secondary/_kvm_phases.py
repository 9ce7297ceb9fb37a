"""The steps of a request of KVM, and the phases of its miss: each a sum of steps of one kind (docs/model.md 11.3, 11.4, 11.6)."""

import numpy as np

from hwmodel.core import device
from hwmodel.core.ledger import CORE, HARDWARE, Book
from hwmodel.core.tables import DESIGN, I64, RELEASE
from hwmodel.jit import part

IN_LINE, BEGIN, WALKING = range(DESIGN, DESIGN + 3)
"""A request's phases on a walker: it waits for one, begins its walk when it is due, is to fill the TLBs then."""
LEAVE, VIOLATION, SLOW, SLOW_LOCK, SLOW2, NO_RIGHT, SLOW_UNLOCK, MAP, MAPPED, MAP_UNLOCK, ENTER = range(WALKING + 1, WALKING + 12)
"""Its phases in a violation."""
VIOLATION_PATH = 0
"""The path of a miss that needs software, by the order of the latencies."""
BOOK = Book(CORE)
STALL_WALK = BOOK.account("stall_walk", HARDWARE, "engine stalled, its oldest miss walking, or waiting for a walker or for its vCPU")
WALKER = BOOK.phase("walker wait", STALL_WALK, "waiting for a page walker, or for the vCPU to be back in its guest")
REFERENCES = BOOK.phase("references", STALL_WALK, "walks: references to the tables of guest and host, those that are squashed included")
DRAIN = BOOK.phase("drain", STALL_WALK, "from the walk that finds the violation until the vCPU's data in flight are there")
EXIT = BOOK.phase("exit", STALL_WALK, "the VM exit, the hardware's part")
HANDLING = BOOK.phase("violation", STALL_WALK, "the violation's handling by software, and waits for memory for page tables")
GUP_PHASE = BOOK.phase("GUP", STALL_WALK, "get_user_pages, but for faults")
FAULT_PHASE = BOOK.phase("fault", STALL_WALK, "page faults of get_user_pages, with their waits")
LOCKED = BOOK.phase("lock wait", STALL_WALK, "waiting for the mmap lock or the mmu lock")
MAPS = BOOK.phase("map", STALL_WALK, "installing the spte")
ENTRY = BOOK.phase("entry", STALL_WALK, "the VM entry, with a flush that was asked for meanwhile")


@part
def note_phase(m, dev, r):
    """Keep the phase of request r's miss up to date, at the time of its step that may have changed it."""
    phase = m.rows[r].phase
    if phase >= DESIGN:
        device.enter(m, r, LOCKED if m.rows[r].lock_mode > 0 else dev.stages[phase - DESIGN], m.ctl[0].now)
    elif phase != RELEASE:
        device.enter(m, r, FAULT_PHASE, m.ctl[0].now)


def stages() -> np.ndarray:
    """Return the phase of a miss by the step that its request takes next."""
    table = np.zeros(ENTER + 1 - DESIGN, I64)
    for stage, phases in {
        WALKER: (IN_LINE, BEGIN), REFERENCES: (WALKING,), DRAIN: (LEAVE,), HANDLING: (VIOLATION,),
        GUP_PHASE: (SLOW, SLOW_LOCK, SLOW_UNLOCK, MAP), FAULT_PHASE: (SLOW2, NO_RIGHT), MAPS: (MAPPED, MAP_UNLOCK), ENTRY: (ENTER,),
    }.items():  # fmt: skip
        table[np.array(phases) - DESIGN] = stage
    return table
