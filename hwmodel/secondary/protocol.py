"""What a design of secondary MMU is: the names that its module may have, with what holds for the ones that it leaves out.

A design must have `Spec`, its settings, and `run`, the entry that hands its kernels to `engine.drive`:

    translate(m, dev, i, kind, vpn, now)   look up engine i's current access, privately: access.HIT, REFILLED (look again) or ORDERED
    request(m, dev, i, kind, vpn)          take the ordered step that the access then needs; it may leave the access to a request row
    may_act(m, dev, r)                     may request r take its step now? If not, the design has parked it and wakes it
    advance(m, dev, r)                     take the next step of a row whose phase is the design's own (DESIGN and above), or of a thread
                                           of the kernel that wakes up (ASLEEP)
    deliver(m, dev, r)                     take the next step of the notice in row r, for subscriber notices[r].subscriber of its space;
                                           one that asks gets its answer (notify.answer); the last step calls notify.returned

`m` is the machine that all designs share (`core.tables.Machine`), `dev` the design's own tables. `translate` may look only at what no step
of another row can change before the row's reach is over. A design whose requests wait for nobody, or that has none, takes `no_request` for
`may_act`, one without phases of its own `no_phase` for `advance`, one whose spaces ask for no notices `no_notice` for `deliver`. A request
may take over the rest of the engine's record (`core.queue.vacant_request`, `next_record`); it is VACANT again when the record is complete.

Every other name has a default, below; `secondary.design` fills it in.
"""

from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from hwmodel import engine  # noqa: F401  (its names are numbered before a design's)
from hwmodel.core.ledger import CORE, Book
from hwmodel.core.tables import ENGINE, I64, NEVER, REQUEST
from hwmodel.jit import part

DEFAULTS = ("BOOK", "build", "extra_memory", "geometry", "lock_count", "lock_names", "outstanding", "reach", "threads")

BOOK = Book(CORE)
"""The accounts, counters and latencies of the machine and of the design: `BOOK = Book(CORE)`, then a line for each."""


class State(NamedTuple):
    """The tables of a design that has none: kernels need one."""

    nothing: np.ndarray  # int64[1]


def outstanding(machine: Any) -> int:
    """Return how many requests an engine may have outstanding; each is a row that takes steps of its own, beside its engine."""
    return 0


def threads(machine: Any) -> int:
    """Return how many threads of the kernel work for the design, each on a CPU to itself; `advance` takes their steps, from ASLEEP on."""
    return 0


def geometry(machine: Any, engines: int) -> list[tuple[int, int]]:
    """Return (entries, ways) of the set-associative arrays that the design adds: TLBs and caches of its own."""
    return []


def lock_count(spaces: int, engines: int) -> int:
    """Return how many locks the design has; they follow the mmap locks of the address spaces, from `spaces` on."""
    return 0


def lock_names(spaces: int, engines: int) -> list[str]:
    """Return what a timeline calls the design's locks, in the order of their numbers; at least as many as `lock_count`."""
    return []


def extra_memory() -> tuple[int, int] | None:
    """Return the pages [first, last) that a space with engines has besides the trace's memory, or None."""
    return None


def build(machine: Any, m: Any, first_bank: int) -> Any:
    """Set what the rows of engines and requests need, say how many subscribers each space has, and return the design's tables.

    A request's row has in `cpu` the row that it works on: a CPU (`first_cpu`), and then `effect` 1; or its engine's, if that is a CPU, too.

    Parameters
    ----------
    machine : hwmodel.machine.Machine
        The configuration.
    m : hwmodel.core.tables.Machine
        The machine, before time 0.
    first_bank : int
        The first of the arrays of `geometry`.
    """
    return State(np.zeros(1, I64))


def reach(m: Any, dev: Any) -> tuple[int, int]:
    """Return the fewest cycles until a step of another row can affect (an engine's look-ups or clock, a CPU's) through the design."""
    return NEVER, NEVER


def engine_rows(m: Any) -> list[tuple[int, Any]]:
    """Return the number and the row of each engine, then of each request."""
    return [(r, row) for r, row in enumerate(m.rows) if row.role in (ENGINE, REQUEST)]


def first_cpu(m: Any, space: int) -> int:
    """Return the CPU that serves requests of a space for which nothing else is said: its first thread's, or CPU 0 if it has none."""
    owners = [c for c in range(m.ctl[0].cpus) if m.rows[c].space == space and not m.rows[c].unused]
    return owners[0] if owners else 0


@part
def no_request(m, dev, r):
    """Return True: a request, if there is one, never has to wait for its turn."""
    return True


@part
def no_phase(m, dev, r):
    """Do nothing; never called, since no phase is the design's own."""


@part
def no_notice(m, dev, r):
    """Do nothing; never called, since no space asks for notices."""


def complete(module: ModuleType) -> ModuleType:
    """Give a design's module the defaults of the names that it leaves out, and return it."""
    for name in DEFAULTS:
        if not hasattr(module, name):
            setattr(module, name, globals()[name])
    return module
