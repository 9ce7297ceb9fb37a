"""The runs on which the contract is tried, but for `races`: random cases, and an agent alone."""

import random
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from hwmodel import op, simulate
from hwmodel.machine import Machine
from hwmodel.measure.result import Result
from hwmodel.op import Agent, mmap_unit
from hwmodel.trace import Trace
from tests.support.designs import Design
from tests.support.random_traces import PROFILES, Plan, random_case, random_machine

Case = tuple[Machine, Trace]
PAGE = 0x10000
"""Where the memory is that agents share."""


def run(machine: Machine, trace: Trace, **options: Any) -> Result:
    """Simulate; an access without a right is part of a random trace."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*access without a right")
        return simulate(machine, trace, progress=False, **options)


def random_cases(design: Design, seeds: range, size: int) -> Iterator[Case]:
    """Random machines with random traces."""
    for seed in seeds:
        yield random_case(seed, design.name, size)


def long_case(design: str, records: int = 2000) -> Case:
    """A random machine and at least so many records, most of them accesses: long, and yet quick without the JIT."""
    rng = random.Random(f"long {design}")
    machine, plan = random_machine(rng, design), Plan(rng, design)
    plan.weights = dict(PROFILES["quiet"])
    plan.prelude()
    while len(plan.records) < records:
        plan.unit()
    return machine, Trace.from_records(plan.agents, plan.records, plan.before)


def access(kind: int, agent: int, page: int, count: int = 1) -> tuple[int, ...]:
    """One record of accesses to a page."""
    return page << op.PAGE_SHIFT, count, 0, kind, agent


def sync(agent: int = 0) -> tuple[int, ...]:
    """Everybody waits for everybody."""
    return 0, 0, 0, op.SYNC, agent


def compute(cycles: int, agent: int) -> tuple[int, ...]:
    """So many instructions, of a cycle each."""
    return 0, max(1, cycles), 0, op.COMPUTE, agent


def lone_agent(design: Design, accesses: int = 400) -> Trace:
    """An agent that walks over pages again and again, near ones and far ones; SYNC keeps its accesses from overlapping."""
    rng, records = np.random.default_rng(7), []
    for page in rng.integers(0, 24, accesses).tolist():
        far = PAGE + (page << 18 if page % 3 == 0 else page)
        records += [access(op.WRITE if rng.random() < 0.4 else op.READ, 0, far), sync()]
    mapped = mmap_unit(PAGE << op.PAGE_SHIFT, 24, 3)
    for page in range(3, 24, 3):
        mapped += mmap_unit(PAGE + (page << 18) << op.PAGE_SHIFT, 1, 3)
    return Trace.from_records([Agent(design.second_role, 0, "alone")], records, mapped)
