"""What a machine measures: cycle accounts, counters, latency kinds, declared with their definitions by the files that book to them.

Accounts partition an agent's time: their sum is its clock, always. The core's names are in `CORE`, declared by the kernel's chains and the
engine; each design has a `Book` that goes on from there. Numbers follow the order of declaration and are constants of compiled kernels: the
chains are always imported in one order (hwmodel/primary/__init__.py), and `CORE` is closed once a design has gone on from it.
"""

from typing import NamedTuple

from hwmodel.jit import part

WORK, HARDWARE, SERVICE, COHERENCE, KERNEL, WAITING = "work", "hardware", "service", "coherence", "kernel", "waiting"
FAMILIES = {
    WORK: "the program itself",
    HARDWARE: "translation by hardware",
    SERVICE: "software that serves the engine",
    COHERENCE: "coherence",
    KERNEL: "the kernel otherwise",
    WAITING: "waiting for the trace's other agents, not for the machine",
}
"""The families of accounts, with their names in pictures. The first is the program's own work, the last no cost of anybody."""
SHOOTDOWN, NOTIFICATION = "shootdown", "notification"
TRAP, RETRY, KILL, WALK = "trap", "retry", "kill", "walk"
"""Roles: what a comparison adds up, whatever each design calls it."""


class Account(NamedTuple):
    """An account of cycles: its definition, its family, its role in a comparison if it has one."""

    says: str
    family: str
    role: str


class Counter(NamedTuple):
    """A counter: its definition, its role in a comparison if it has one."""

    says: str
    role: str


class Latency(NamedTuple):
    """A kind of latency: its definition; if it is a part of "fault", the name of the path that it times."""

    says: str
    path: str


class Phase(NamedTuple):
    """A phase of a miss that needs software: its definition; the number of the account of an engine that it stalls."""

    says: str
    account: int


class Book:
    """The names of what is measured, by kind, numbered as they are declared.

    Parameters
    ----------
    before : Book, optional
        The book whose names come first; nothing can be added to it any more.

    Attributes
    ----------
    accounts, counters, latencies, phases : dict of str to Account, Counter, Latency, Phase
        By name, in the order of their numbers.
    """

    def __init__(self, before: "Book | None" = None) -> None:
        self.accounts: dict[str, Account] = dict(before.accounts) if before else {}
        self.counters: dict[str, Counter] = dict(before.counters) if before else {}
        self.latencies: dict[str, Latency] = dict(before.latencies) if before else {}
        self.phases: dict[str, Phase] = dict(before.phases) if before else {}
        self._closed = False
        if before:
            before._closed = True

    def account(self, name: str, family: str, says: str, role: str = "") -> int:
        """Declare an account and return its column of the ledger."""
        return self._number(self.accounts, name, Account(says, family, role))

    def counter(self, name: str, says: str, role: str = "") -> int:
        """Declare a counter and return its column."""
        return self._number(self.counters, name, Counter(says, role))

    def latency(self, name: str, says: str, path: str = "") -> int:
        """Declare a kind of latency and return the row of its histogram."""
        return self._number(self.latencies, name, Latency(says, path))

    def phase(self, name: str, account: int, says: str) -> int:
        """Declare a phase of a miss and return its column: an engine that waits for a miss in it books its time to `account`."""
        return self._number(self.phases, name, Phase(says, account))

    @property
    def paths(self) -> tuple[str, ...]:
        """Return the latencies of the paths by which a miss can be resolved, in order: parts of "fault", or all of it."""
        return tuple(name for name, latency in self.latencies.items() if latency.path) or ("fault",)

    def of_family(self, *families: str) -> list[str]:
        """Return the accounts of some families, in order."""
        return [name for name, account in self.accounts.items() if account.family in families]

    def accounts_of(self, role: str) -> list[str]:
        """Return the accounts of a role, in order."""
        return [name for name, account in self.accounts.items() if account.role == role]

    def counters_of(self, role: str) -> list[str]:
        """Return the counters of a role, in order."""
        return [name for name, counter in self.counters.items() if counter.role == role]

    def _number(self, kind: dict, name: str, entry: tuple) -> int:
        if name in kind or self._closed:
            raise ValueError(f"{name!r} {'is declared already' if name in kind else 'comes too late: a design has its numbers'}")
        kind[name] = entry
        return len(kind) - 1


CORE = Book()
account, counter, latency = CORE.account, CORE.counter, CORE.latency

ORDER_WAIT = account("order_wait", WAITING, "waiting for the program order of the trace")
GATE_WAIT = account("gate_wait", WAITING, "waiting at the lookahead gate")
IDLE = account("idle", WAITING, "before its first and after its last record")
LOCK_WAIT = account("lock_wait", KERNEL, "waiting for a lock")

LINEAR = 64
"""Histogram values below this have a bucket each; above, 32 buckets for each power of two."""
HEAD = 4
"""Columns of a histogram before its buckets: count, sum, min, max."""
BUCKETS = LINEAR + (62 - 6 + 1) * 32


@part
def bucket_of(value):
    """Return the bucket of a latency."""
    if value < LINEAR:
        return value
    e = 5
    rest = value >> 6
    while rest > 0:
        rest >>= 1
        e += 1
    return LINEAR + (e - 6) * 32 + (value >> (e - 5)) - 32


@part
def record(hists, kind, value):
    """Add one latency to a histogram."""
    row = hists[kind]
    row[2] = value if row[0] == 0 else min(row[2], value)
    row[3] = max(row[3], value)
    row[0] += 1
    row[1] += value
    row[HEAD + bucket_of(value)] += 1
