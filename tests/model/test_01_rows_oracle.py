"""The oracle's end of a run, by hand (docs/model.md 1.4)."""

import pytest

from hwmodel import machine as machines
from hwmodel import op
from hwmodel.op import Agent
from hwmodel.trace import Trace
from tests.model.cases import CPU, MAPPED, access
from tests.reference import DeadlockError
from tests.reference.machine import World


def test_a_fork_that_never_comes_is_a_deadlock():
    records = [access(op.READ, 1)]
    with pytest.raises(DeadlockError):
        machine = machines.preset("cpu-only")
        trace = Trace.from_records([Agent(CPU, 0, "a"), Agent(CPU, 1, "b")], records, MAPPED)
        world = World(machine, trace, 0, False)
        world.spaces[1].born = False
        world.run()
