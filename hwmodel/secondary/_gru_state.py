"""What the GRU and its driver keep of rows and address spaces, and what is measured of them (docs/model.md 10.1)."""

from typing import NamedTuple

import numpy as np

from hwmodel.core.ledger import COHERENCE, CORE, KILL, RETRY, SERVICE, TRAP, Book
from hwmodel.core.tables import WRITES, cost_table, table
from hwmodel.jit import part
from hwmodel.parts import tlb
from hwmodel.secondary._gru_spec import Spec

BOOK = Book(CORE)
IRQS = BOOK.account("irq", SERVICE, "entry to and exit from GRU interrupts")
DRIVER = BOOK.account("driver", SERVICE, "the GRU driver resolving misses")
STALL_TRAP = BOOK.account("stall_trap", SERVICE, "engine stalled, its oldest miss on the way to or from the CPU")
STALL_DRIVER = BOOK.account("stall_driver", SERVICE, "engine stalled, its oldest miss in the driver")
STALL_GUP = BOOK.account("stall_gup", SERVICE, "engine stalled, its oldest miss in a page fault")
STALL_INVALIDATION = BOOK.account(
    "stall_invalidation", COHERENCE, "engine stopped by a TGH operation, or stalled, its oldest miss waiting for a window to end"
)
MOD_MISSES = BOOK.counter("gru.mod_misses", "GRU faults because the entry may not write (TLB_MOD), also of restarted instructions")
INTR = BOOK.counter("gru.intr", "GRU interrupt handler runs", TRAP)
INTR_TFH = BOOK.counter("gru.intr_tfh", "TLB faults served by them")
LOCK_FAILED = BOOK.counter("gru.intr_mm_lock_failed", "of these, those that found the mmap lock taken, or an update of their context owed")
FAIL_ACTIVE = BOOK.counter("gru.fail_range_active", "drop-ins refused because an invalidation window was open", RETRY)
FAIL_UPM = BOOK.counter("gru.fail_upm", "interrupt-level look-ups that needed get_user_pages or a context update")
SWITCHES = BOOK.counter("gru.upm_switches", "faults switched from interrupt to user polling")
CALLS = BOOK.counter("gru.call_os", "faults resolved by the user's ioctl")
WAIT_QUEUE = BOOK.counter(
    "gru.call_os_wait_queue", "drop-ins of such an ioctl that found a window open though it had waited for all to end"
)
SLEEPS = BOOK.counter("gru.window_sleeps", "times such an ioctl slept for a window to end")
DROPINS = BOOK.counter("gru.dropins", "entries dropped in by the driver")
KILLS = BOOK.counter("gru.kills", "drop-ins cancelled by the kill bit", KILL)
TGHS = BOOK.counter("gru.tgh", "TGH invalidate operations")
FMM_TIME = BOOK.latency("fault.fmm", "of these, GRU faults resolved in the interrupt handler", "interrupt handler")
UPM_TIME = BOOK.latency("fault.upm", "of these, GRU faults that went through the user's ioctl", "user polling")
COSTS = cost_table(Spec)
GMS = table("active")
"""The driver's count for an address space: ms_range_active, the number of open windows."""
REQUESTED = table("chiplet", "mod", "killed", "exposed", "upm", "huge", "pte", "sleeping", "waiting", "since", "member",
                  "killed_at")
"""A request: its chiplet; its fault's cause is TLB_MOD; its drop-in: killed, may be killed, by the user's call, of a huge page, the pte
found; asleep in a window; pending on its server since; in the running handler's batch;
when an invalidation killed it first."""
CONTEXT = table("chiplet", "big", "reload")
"""An engine's context: large pages are in its mask, or to be added by the next call (ts_force_cch_reload)."""

UNKNOWN = table("kills", "from_miss", "mere_miss", "merges", "purges_sets", "at_end", "serial")
"""What is not known of the hardware, as the settings say it: whose misses an invalidation kills (a scope, below), and from the miss on;
a store reports a mere miss; misses of a page merge; a purge is by sets, takes effect at its end, is the only one of its chiplet."""
SCOPES = ("range", "asid", "all")
"""Scopes of a kill, each wider than the one before."""
KILL_RANGE, KILL_ASID, KILL_ALL = range(3)


class State(NamedTuple):
    """The chiplets, the driver's state for each address space, and what a GRU adds to each row."""

    banks: np.ndarray  # int64[chiplet]  the bank of its TLB
    members: np.ndarray  # int64[chiplet, space]  engines of the space on the chiplet
    gms: np.ndarray  # GMS[space]
    requests: np.ndarray  # REQUESTED[row]
    contexts: np.ndarray  # CONTEXT[row]
    unknown: np.ndarray  # UNKNOWN[1]
    stages: np.ndarray  # int64[step of a request, from DESIGN on]  the phase of its miss
    costs: np.ndarray  # COSTS[1]


@part
def asid_lock(m, space):
    """Return the lock that serialises the invalidations of a space (ms_asid_lock)."""
    return m.ctl[0].spaces + space


@part
def context_lock(m, engine):
    """Return the lock of a context (ts_ctxlock)."""
    return 2 * m.ctl[0].spaces + engine - m.ctl[0].cpus


@part
def chiplet_lock(m, chiplet):
    """Return the lock of a chiplet's operations."""
    return 2 * m.ctl[0].spaces + m.ctl[0].engines - m.ctl[0].cpus + chiplet


@part
def find(m, dev, chiplet, space, vpn, write):
    """Return the way of a chiplet that lets a space access `vpn`, or -1; a write needs an entry that was dropped in for writing."""
    k = tlb.look_joint(m, dev.banks[chiplet], space, vpn)
    return -1 if k >= 0 and write and not m.ways[k].rights & WRITES else k
