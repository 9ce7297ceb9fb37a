"""No secondary MMU: the CPUs and the kernel alone, the baseline of every comparison."""

from typing import Any, NamedTuple

import numpy as np

from hwmodel.byref import by_reference
from hwmodel.config import ConfigError, DesignSpec
from hwmodel.core.ledger import CORE, Book
from hwmodel.core.tables import I64, NEVER
from hwmodel.engine import drive
from hwmodel.jit import entry, part
from hwmodel.primary import access

BOOK = Book(CORE)
"""Nothing more is measured."""


class Spec(DesignSpec):
    """No settings other than the common sections."""

    def check_engines(self, engines: int) -> None:
        """Raise `ConfigError` if there are device agents: nothing could translate for them."""
        if engines:
            raise ConfigError(f"design: cpu_only has no engines, but {engines} device agents need one")


class State(NamedTuple):
    """No state, but one table: the kernels need one."""

    nothing: np.ndarray  # int64[1]


def outstanding(machine: Any) -> int:
    """Return how many requests an engine may have outstanding."""
    return 0


def geometry(machine: Any, engines: int) -> list[tuple[int, int]]:
    """Return (entries, ways) of the banks that the design adds."""
    return []


def build(machine: Any, m: Any, first_bank: int) -> State:
    """Return the design's own tables."""
    return State(np.zeros(1, I64))


def reach(m: Any, dev: State) -> tuple[int, int]:
    """Return the fewest cycles until a step of another row can affect (an engine's look-ups or clock, a CPU's) through the design."""
    return NEVER, NEVER


@part
def translate(m, dev, i, kind, vpn, now):
    """Return ORDERED; never called, since there are no engines."""
    return access.ORDERED


@part
def request(m, dev, i, kind, vpn):
    """Do nothing; never called, since there are no engines."""


@part
def advance(m, dev, r):
    """Do nothing; never called, since there are no requests."""


@part
def deliver(m, dev, r):
    """Do nothing; never called, since there are no subscribers."""


@entry
def run(m, dev):
    """Drive the machine with this design; return why the engine stopped."""
    return drive(by_reference(m), by_reference(dev), translate, request, advance, deliver)
