"""The steps of a request of the GRU, and the phases of its miss: each a sum of steps of one kind (docs/model.md 10.3, 10.6)."""

import numpy as np

from hwmodel.core import device
from hwmodel.core.tables import DESIGN, I64, PROCESS, RELEASE, VACANT
from hwmodel.jit import part, routine
from hwmodel.secondary._gru_state import BOOK, STALL_DRIVER, STALL_GUP, STALL_INVALIDATION, STALL_TRAP

IRQ, TFH, CHECK, SWITCH, DROPIN, RESTART = range(DESIGN, DESIGN + 6)
CALL, CALL_LOCK, CALL_CTX, WINDOW, UCHECK, UGUP, GUP, UDROP, UEXIT, NO_RIGHT = range(PROCESS, PROCESS + 10)
FMM_PATH, UPM_PATH = range(2)
"""The paths of a miss, by the order of their latencies."""
DELIVERY = BOOK.phase("delivery", STALL_TRAP, "from a trap until the interrupt is at its CPU")
QUEUE = BOOK.phase("queue", STALL_TRAP, "waiting for a handler: for the end of one, or as one of its faults; also of a call on that CPU")
ENTRY = BOOK.phase("entry", STALL_DRIVER, "the handler's entry, or what it still does for the fault before")
READ = BOOK.phase("TFH", STALL_DRIVER, "reading the fault handle")
LOOK = BOOK.phase("walk", STALL_DRIVER, "the driver's look-up without a lock, and a page size that the call then adds to the context")
POLL = BOOK.phase("polling", STALL_DRIVER, "leaving the miss to the user, until he calls the driver")
CALLED = BOOK.phase("call", STALL_DRIVER, "the user's call: its entry, and a page size that a handler owes the context")
LOCKED = BOOK.phase("lock wait", STALL_DRIVER, "the call waiting for the mmap lock or the context's")
INVALIDATION = BOOK.phase("invalidation wait", STALL_INVALIDATION, "the call sleeping until a window of invalidation is over, and waking")
GUP_PHASE = BOOK.phase("GUP", STALL_GUP, "get_user_pages, but for faults")
FAULT_PHASE = BOOK.phase("fault", STALL_GUP, "page faults of get_user_pages, with their waits")
DROP = BOOK.phase("drop-in", STALL_DRIVER, "writing the entry")
RESUME = BOOK.phase("restart", STALL_TRAP, "from the written entry until the instruction has looked up again")


@part
def note_phase(m, dev, r):
    """Keep the phase of request r's miss up to date, at the time of the step that may have changed it."""
    phase = m.rows[r].phase
    if phase != VACANT and phase != RELEASE:
        device.enter(m, r, stage_of(m, dev, r, phase), m.ctl[0].now)


@routine
def stage_of(m, dev, r, phase):
    """Return the phase of a miss whose request waits, or takes the step `phase` next."""
    q = dev.requests[r]
    if q.waiting or q.member:
        return QUEUE
    if q.sleeping:
        return INVALIDATION
    if m.rows[r].lock_mode > 0 and phase >= PROCESS:
        return LOCKED
    if phase < DESIGN or phase == NO_RIGHT:
        return FAULT_PHASE
    return dev.stages[phase - DESIGN]


def stages() -> np.ndarray:
    """Return the phase of a miss by the step that its request takes next."""
    table = np.zeros(NO_RIGHT + 1 - DESIGN, I64)
    for stage, phases in {
        DELIVERY: (IRQ,), ENTRY: (TFH,), READ: (CHECK, UCHECK), LOOK: (SWITCH, DROPIN, UGUP, UDROP), RESUME: (RESTART,), POLL: (CALL,),
        CALLED: (CALL_LOCK, CALL_CTX, WINDOW), GUP_PHASE: (GUP,), DROP: (UEXIT,),
    }.items():  # fmt: skip
        table[np.array(phases) - DESIGN] = stage
    return table
