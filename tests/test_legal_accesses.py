"""No access is refused that its program may make, whatever anything costs: `segv` stays 0.

An access recorded after an operation needs what that gives, an operation what was recorded before it: program order, and no luck with
times. Every generator is legal by design. (DONTNEED and other advice is unordered with accesses of other agents, but takes no right.)
"""

import warnings

import pytest

import hwmodel
import workloads
from hwmodel.op import TraceError
from hwmodel.trace import Trace
from tests.support import drawn
from workloads import synthetic
from workloads.recorded import load, names

DRAWS = 1000
BLOCKS = 10
NEVER_RUN = {"live_migration"}
"""Whatever it is told, this generator makes operations that are not modelled."""


def refused(machine, trace):
    """How many accesses were refused; None if the trace has operations that are not modelled."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*access without a right")
        try:
            return hwmodel.simulate(machine, trace, progress=False).counters["segv"]
        except TraceError as error:
            if "is not modelled yet" not in str(error):
                raise
    return None


def check(number):
    """Draw a machine, and traces for it; returns the names of those that it ran."""
    machine, ran = drawn.machine(number), set()
    for name, trace in drawn.traces(number, machine.design != "cpu_only"):
        n = refused(machine, trace)
        assert not n, f"draw {number}: {n} accesses of {name} were refused"
        if n is not None:
            ran.add(name)
    return ran


def test_a_few_draws():
    ran = set.union(*map(check, range(12)))
    assert ran >= {*names(), *synthetic.__all__} - NEVER_RUN


@pytest.mark.long
@pytest.mark.parametrize("block", range(BLOCKS))
def test_a_thousand_draws(block):
    for number in range(block * DRAWS // BLOCKS, (block + 1) * DRAWS // BLOCKS):
        check(number)


@pytest.mark.long
@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("number", range(4))
def test_whole_recordings(name, number):
    machine, trace = drawn.machine(DRAWS + number), workloads.offload(load(name))
    assert refused(machine, drawn.of_cpus(trace) if machine.design == "cpu_only" else trace) == 0


@pytest.mark.parametrize("preset", ["gru-2008", "kvm-ept-2024"])
def test_a_slow_system_call_on_a_recording(preset):
    """With epochs that opened when their operations began, 73 accesses were refused on the GRU and 11 on the VM."""
    trace = workloads.offload(load("sqlite"), share=0.5, unit="record")
    beginning = Trace.from_records(trace.agents, next(trace.chunks(200_000)), trace.prelude)
    assert refused(hwmodel.preset(preset).with_(**{"kernel.syscall_ns": 3000}), beginning) == 0


@pytest.mark.parametrize("exception", ["free", 100, 200, 600])
@pytest.mark.parametrize("trace", [
    workloads.unmap_churn(accesses=3000, pages=513, every=2, cpus=4, devices=0, seed=814),
    workloads.mprotect_toggle(accesses=3000, pages=513, part=8, every=20, cpus=4, devices=0, seed=814),
], ids=lambda trace: trace.info["program"])  # fmt: skip
def test_a_fast_exception(trace, exception):
    """With epochs that opened when their operations began, up to 66 accesses were refused."""
    settings = {"cpu.exception_cycles": exception, "kernel.syscall_ns": 300}
    assert refused(hwmodel.preset("kvm-ept-2024").with_(**settings), trace) == 0
