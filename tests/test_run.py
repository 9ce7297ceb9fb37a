"""The driver of a run: several machines on one pass over a trace, and what stops a run."""

import random
import warnings
from unittest import mock

import numpy as np
import pytest

from analysis.stepping import counts_by_group
from hwmodel import engine, op, secondary, simulate
from hwmodel.op import Agent, mmap_unit
from hwmodel.run import DeadlockError, drive, power_on
from hwmodel.trace import Trace
from tests.support import designs
from tests.support.random_traces import random_case, random_machine

pytestmark = pytest.mark.jit_off


class Counted:
    """A trace's records, and how often they were read from the beginning."""

    def __init__(self, trace):
        self.ops, self.passes = np.concatenate(list(trace.chunks())), 0

    def __call__(self):
        self.passes += 1
        yield self.ops


def case(seed):
    """Three machines, of every design that has engines, and a trace that all can run."""
    names = (*designs.with_engines(), *designs.with_engines())[:3]
    rng = random.Random(f"three machines {seed}")
    machines = [random_machine(rng, name) for name in names]
    return machines, random_case(seed, names[0], 80)[1]


def numbers(result):
    measured = result.counters.array, result.ledger.array, result.clocks, result.histograms, result.phase_shares
    return *measured, np.array([result.records, result.references])


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_three_machines_on_one_pass_are_three_runs(seed, chunk):
    machines, plain = case(seed)
    source = Counted(plain)
    trace = Trace(plain.agents, source, plain.prelude, records=source.ops.size, references=plain.references)
    checker, runs = power_on(machines, trace)
    source.passes = 0  # but for the look for forks
    fed = list(drive(runs, checker.chunks(chunk)))
    assert source.passes == 1 and fed == sorted(fed)
    for machine, run in zip(machines, runs, strict=True):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*access without a right")
            alone = simulate(machine, plain, progress=False)
        for together, wanted in zip(numbers(run.finish()), numbers(alone), strict=True):
            assert np.array_equal(together, wanted), machine.name


def test_who_has_finished_gets_no_more():
    """A machine that is done before the others is left alone, and the trace is read to the last one's end."""
    machines, trace = case(0)
    checker, runs = power_on(machines, trace)
    list(drive(runs, checker.chunks(5)))
    with mock.patch.object(type(runs[0]), "feed", side_effect=AssertionError("it has finished")):
        assert list(drive(runs, checker.chunks(5))) == []


@pytest.mark.parametrize("name", designs.names())
def test_a_deadlock_has_one_name(monkeypatch, name):
    design = designs.design(name)
    monkeypatch.setattr(secondary.design(name), "run", lambda m, dev: engine.DEADLOCK)
    trace = Trace.from_records([Agent("cpu", 0, "cpu")], [(0x10000, 1, 0, op.READ, 0)], mmap_unit(0x10000, 1, 3))
    with pytest.raises(DeadlockError, match="deadlock at cycle 0"):
        simulate(design.machine, trace, progress=False)
    with pytest.raises(DeadlockError, match="deadlock at cycle 0"):
        counts_by_group(design.machine, trace, [("all", next(trace.chunks()))])
