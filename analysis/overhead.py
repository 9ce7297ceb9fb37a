"""What translation costs: a run beside one of the same engines whose translation is free.

The sum of all accounts but those of waiting (`order_wait`, `gate_wait`, `idle`), less the same sum of the bound: of the same trace and
seed, device, primary MMU and region. The engines' part of it is *exposed*, that of the CPUs (and of the kernel's threads) is *served*. The
total stands first, for it alone tells a cost: either part may be negative. A vCPU takes page faults that a CPU takes for the bound: its
served part is then less than nothing, and its exposed part has them.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwmodel.core import ledger
from hwmodel.machine import DEVICE, PRIMARY, ConfigError, Machine, preset

if TYPE_CHECKING:
    from hwmodel.measure.result import Result
    from hwmodel.measure.tally import Shares

BOUND = "ideal-2008"
"""The preset of the bound; its primary MMU and its device are replaced by those of the machine that is measured."""


def bound_of(machine: Machine) -> Machine:
    """Return the bound of a machine: its primary MMU and its engines, with free translation.

    Every value has the source that it has on that machine. If its design has no section `device`, the engines are the preset `BOUND`'s.
    """
    bound = preset(BOUND).same_primary(machine)
    return bound.same_device(machine) if machine.has_device else bound


@dataclass(frozen=True)
class Overhead:
    """What translation costs a run, in cycles beyond the bound's.

    Attributes
    ----------
    machine : str
        The name of the machine that ran.
    exposed, served : int
        Of the engines; of the CPUs and the kernel's threads. Either may be negative.
    engine, bound : int
        Cycles of the engines without waiting, of the run and of the bound.
    accesses : int
        Accesses of the engines.
    ns_per_cycle : float
        1000 / the clock in MHz.
    utilisation : dict of str to Shares
        What the time of each CPU went into, by its label: work of its own, serving engines, waiting.
    """

    machine: str
    exposed: int
    served: int
    engine: int
    bound: int
    accesses: int
    ns_per_cycle: float
    utilisation: "dict[str, Shares]"

    @property
    def total(self) -> int:
        """Return the translation overhead, in cycles: what is exposed and what is served."""
        return self.exposed + self.served

    @property
    def slowdown(self) -> float:
        """Return the engines' time without waiting against the bound's; NaN if the bound's engines did nothing."""
        return self.engine / self.bound if self.bound else math.nan

    @property
    def per_access_ns(self) -> float:
        """Return the total in nanoseconds for each access of the engines."""
        return self.ns_each(self.total)

    @property
    def exposed_per_access_ns(self) -> float:
        """Return the exposed part in nanoseconds for each access of the engines."""
        return self.ns_each(self.exposed)

    @property
    def served_per_access_ns(self) -> float:
        """Return the served part in nanoseconds for each access of the engines: not of the CPUs, so that the parts add up."""
        return self.ns_each(self.served)

    def ns_each(self, cycles: int) -> float:
        """Return cycles as nanoseconds for each access of the engines; NaN if there was none."""
        return cycles * self.ns_per_cycle / self.accesses if self.accesses else math.nan


@dataclass(frozen=True)
class Figure:
    """A figure of an `Overhead`, as a sweep has it: column name, title for people, definition, value."""

    name: str
    title: str
    definition: str
    value: Callable[[Overhead], float]


FIGURES = (
    Figure(
        "overhead_ns_per_access", "translation overhead, ns per device access",
        "time of all agents without waiting, less that of engines whose translation is free", lambda o: o.per_access_ns,
    ),
    Figure(
        "exposed_ns_per_access", "of this exposed: engines, ns", "the engines' part, per device access",
        lambda o: o.exposed_per_access_ns,
    ),
    Figure(
        "served_ns_per_access", "of this served: CPUs, ns", "the CPUs' part, per device access; negative where engines do their work",
        lambda o: o.served_per_access_ns,
    ),
    Figure("slowdown", "slowdown of the engines", "their time without waiting, against that with free translation", lambda o: o.slowdown),
)  # fmt: skip
"""The figures of an overhead, in the order in which they are shown."""


def overhead(result: "Result", bound: "Result") -> Overhead:
    """Return what translation costs a run.

    Parameters
    ----------
    result : Result
        The run.
    bound : Result
        The run of `bound_of` the machine, of the same trace.

    Raises
    ------
    ConfigError
        If the two runs differ in more than translation: trace, agents, clock, primary MMU, device; or `bound` is of another design.
    """
    _check(result, bound)
    engine, cpus = working(result)
    free_engine, free_cpus = working(bound)
    accesses = result.counters["device.accesses"]
    used = {label: part for label, part in result.shares.items() if part.role == "cpu"}
    return Overhead(result.machine.name, engine - free_engine, cpus - free_cpus, engine, free_engine, accesses, result.ns_per_cycle, used)


def working(result: "Result") -> tuple[int, int]:
    """Return the cycles of the engines, and of all other agents, without waiting for the trace's other agents."""
    accounts = result.book.of_family(*(family for family in ledger.FAMILIES if family != ledger.WAITING))
    both = sum(result.ledger[name] for name in accounts)
    engines = sum(result.ledger.total(name, "device") for name in accounts)
    return engines, both - engines


def _check(result: "Result", bound: "Result") -> None:
    wanted = preset(BOUND).design
    if bound.machine.design != wanted:
        raise ConfigError(f"overhead: the second run is of {bound.machine.name}, not of a machine of design {wanted}")
    mine, its = result.machine.flat(), bound.machine.flat()
    for name, value in its.items():
        if name in mine and mine[name] != value and name.startswith(PRIMARY + DEVICE):
            raise ConfigError(f"overhead: {name} is {mine[name]} on {result.machine.name}, but {value} on {bound.machine.name}")
    sides = [[agent for agent in run.agents if agent.role != "kernel"] for run in (result, bound)]
    if sides[0] != sides[1] or result.trace_info != bound.trace_info or (result.records, result.part) != (bound.records, bound.part):
        raise ConfigError(f"overhead: {result.machine.name} and {bound.machine.name} did not run the same trace, or region of it")
