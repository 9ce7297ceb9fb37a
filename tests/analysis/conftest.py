"""Runs that cost nothing: fabricated results in place of the simulation, a trace of four records."""

import fabricated
import pytest

from hwmodel.op import READ, WRITE, Agent, mmap_unit
from hwmodel.trace import Trace


@pytest.fixture
def trace():
    """A CPU that maps sixteen pages and touches two."""
    base = 1 << 32
    records = [*mmap_unit(base, 16, 3), (base, 3, 0, WRITE, 0), (base + 4096, 1, 0, READ, 0)]
    return Trace.from_records([Agent("cpu", 0, "main")], records, info={"program": "toy"}, name="toy.hwtrace")


@pytest.fixture
def simulated(monkeypatch):
    """The machines that were run, each with its trace, in order; their results are fabricated."""
    ran = []

    def simulate(machine, trace, progress=None, **parts):
        ran.append((machine, trace))
        return getattr(fabricated, machine.design.removesuffix("_ept"))(machine)

    monkeypatch.setattr("analysis.runs.simulate", simulate)
    monkeypatch.setattr("analysis.runs.simulate_all", lambda machines, trace, **parts: [simulate(each, trace) for each in machines])
    return ran
