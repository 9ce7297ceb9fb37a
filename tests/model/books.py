"""A case of a cost: who books it, and how often, in a tiny run in which nothing else takes time."""

import re
from dataclasses import dataclass, field
from typing import Any

from tests.model.hand import CPU, cost_settings, flat, machine, play

LEFT_OUT = ("idle", "order_wait", "gate_wait")
"""Accounts in which an agent waits for others of the trace: they follow from the others' clocks."""
VALUES = (1009, 2003)
"""Cycles that the cost has, one after the other."""


@dataclass(frozen=True)
class Case:
    """One calculation by hand.

    Parameters
    ----------
    cost : str
        The cost.
    books : dict
        "role.account" to how often the cost is booked there, or (how often, and so many cycles of other costs).
    latencies : dict
        Latency to how often its sum has the cost, or (how often, and so many cycles).
    """

    cost: str
    books: dict[str, Any]
    prelude: list[tuple[int, ...]]
    records: list[tuple[int, ...]]
    roles: tuple[Any, ...]
    design: str
    latencies: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """Every cycle of every agent is where the calculation has it, for two values of the cost."""
        setting = cost_settings(self.design)[self.cost].replace(".", "__")
        for value in VALUES:
            run = play(machine(self.design, **self.settings, **{setting: value}), self.roles, self.records, self.prelude)
            assert booked(run) == expected(self.books, value), f"{self.cost} is {value}"
            for kind, times in expected(self.latencies, value).items():
                histogram = run.result.latency(kind).row
                assert int(histogram[1]) == times, f"{kind}, {self.cost} is {value}"


def case(cost, books, prelude, *records, roles=(CPU,), design="cpu_only", latencies=None, **settings):
    """A case; records one by one or in lists."""
    return Case(cost, books, prelude, flat(records), roles, design, latencies or {}, settings)


def booked(run):
    """All cycles by role and account, without waiting for others of the trace."""
    totals = {f"{role}.{name}": run.booked(name, role) for name in run.result.ledger for role in ("cpu", "device")}
    return {name: cycles for name, cycles in totals.items() if cycles and not name.endswith(LEFT_OUT)}


def expected(times, value):
    """Cycles of what a cost of `value` adds up to."""
    parts = {name: (entry if isinstance(entry, tuple) else (entry, 0)) for name, entry in times.items()}
    return {name: often * value + more for name, (often, more) in parts.items()}


def title(case):
    """A name for pytest: the cost and the accounts."""
    return re.sub(r"[{}' ]", "", f"{case.cost}-{case.design}-{case.books}")
