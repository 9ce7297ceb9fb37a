"""The oracle's books: what must hold in every run (docs/model.md 12.2)."""

import pytest

from hwmodel import op
from hwmodel.trace import validate
from tests.model.cases import CPU, DEVICE, check_conservation, check_frames
from tests.reference import simulate
from tests.support.designs import those_with_a_twin
from tests.support.random_traces import random_case


@pytest.mark.parametrize("design", those_with_a_twin())
@pytest.mark.parametrize("block", range(4))
def test_random_cases_conserve(design, block):
    for seed in range(20 * block, 20 * block + 20):
        machine, trace = random_case(seed, design, 90)
        validate(trace)
        outcome = simulate(machine, trace, limit=400_000)
        check_conservation(outcome)
        check_frames(outcome.state)
        check_accesses(trace, outcome)


@pytest.mark.long
@pytest.mark.parametrize("design", those_with_a_twin())
def test_many_random_cases_conserve(design):
    for seed in range(5000, 5600):
        machine, trace = random_case(seed, design, 60 + seed % 240)
        outcome = simulate(machine, trace, limit=2_000_000)
        check_conservation(outcome)
        check_frames(outcome.state)
        check_accesses(trace, outcome)


def check_accesses(trace, outcome):
    """Every access was counted once, by its agent."""
    counted = {}
    for chunk in trace.chunks():
        for record in chunk:
            kind, agent = int(record["kind"]), int(record["agent"])
            device = trace.agents[agent].role == DEVICE
            if kind & ~op.CONTINUES <= op.FETCH and not (kind & op.CONTINUES and not device):
                counted[agent] = counted.get(agent, 0) + int(record["count"])
    rows = [i for role in (CPU, DEVICE) for i, agent in enumerate(trace.agents) if agent.role == role]
    cpus = sum(agent.role == CPU for agent in trace.agents)
    spare = len(outcome.clocks) - len(rows)
    for place, agent in enumerate(rows):
        counters = outcome.counters[place if place < cpus else place + spare]
        assert counters["cpu.accesses"] + counters["device.accesses"] == counted.get(agent, 0)
