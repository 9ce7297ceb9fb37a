"""Who pays for one operation on memory, and for what: payers, causes, and the accounts of a run by both."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hwmodel.core import ledger

if TYPE_CHECKING:
    import pandas as pd

    from hwmodel.core.ledger import Account
    from hwmodel.measure.result import Result

CALLER, OTHERS, ENGINES, SERVICE, KERNEL = "calling CPU", "other CPUs", "engines", "service for engines", "kernel threads"
PAYERS = (CALLER, OTHERS, ENGINES, SERVICE, KERNEL)
"""Who pays. The service is what CPUs do for engines' requests, whichever CPU does it; it is in no other payer's cycles."""
WORK, WAITING = "the agents' own accesses", "waiting for one another"
CAUSES = {
    "interrupts": "TLB flushes and their interrupts",
    "notices": "calls of mmu notifiers",
    "invalidation": "invalidation of the engine's translations",
    "pages": "page tables, pages, VMAs, system call",
    "faults": "page faults",
    "misses": "misses that follow: walks, service",
}
"""The causes of an operation's cost, in the order in which they are drawn, with their names for people."""
NO_COSTS = (ledger.WORK, ledger.WAITING)
"""Families that are no cost of an operation: the accesses that the others make meanwhile, and waits for the end of the trace's stages."""
_OWN_CAUSES = {"notify": "notices", "fault": "faults", "memory_wait": "faults"}
_BY_ROLE = {ledger.SHOOTDOWN: "interrupts", ledger.NOTIFICATION: "invalidation"}
_BY_FAMILY = {
    ledger.WORK: WORK, ledger.WAITING: WAITING, ledger.KERNEL: "pages",
    ledger.COHERENCE: "invalidation", ledger.HARDWARE: "misses", ledger.SERVICE: "misses",
}  # fmt: skip


class Step(NamedTuple):
    """A number of pages from which on an operation costs otherwise, as the runs show it.

    Parameters
    ----------
    pages : int
        The value of the setting.
    setting, source : str
        The setting's name, and the source of its value.
    says : str
        What happens there.
    """

    pages: int
    setting: str
    source: str
    says: str


class Costs(NamedTuple):
    """Costs of an operation, as a picture takes them.

    Parameters
    ----------
    kind : str
        The operation.
    costs, total : DataFrame
        `OperationCost.costs` and `OperationCost.total`.
    steps : dict of str to list of Step
        By the name of the machine, in the order of the panels.
    notes : tuple of str
        What a reader must know.
    """

    kind: str
    costs: "pd.DataFrame"
    total: "pd.DataFrame"
    steps: dict[str, list[Step]]
    notes: tuple[str, ...]


def cause_of(name: str, account: "Account") -> str:
    """Return the cause that the cycles of an account have: a key of `CAUSES`, or that they are work or waiting."""
    return _OWN_CAUSES.get(name) or _BY_ROLE.get(account.role) or _BY_FAMILY[account.family]


def rows(result: "Result") -> list[dict[str, Any]]:
    """Return who paid for what in the headline of a run: payer, account, family, cause, cycles, ns; nothing that is 0."""
    roles = np.array([agent.role for agent in result.agents])
    first = np.arange(roles.size) == 0
    who = {CALLER: first, OTHERS: (roles == "cpu") & ~first, ENGINES: roles == "device", KERNEL: roles == "kernel"}
    found = []
    for name, account in result.book.accounts.items():
        whole, served = result.ledger.column(name), result.serving.column(name)
        paid = {payer: int((whole - served)[chosen].sum()) for payer, chosen in who.items()} | {SERVICE: int(served.sum())}
        about = {"account": name, "family": account.family, "cause": cause_of(name, account)}
        found += [{"payer": payer, **about, "cycles": n, "ns": n * result.ns_per_cycle} for payer, n in paid.items() if n]
    return found
