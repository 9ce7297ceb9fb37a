"""The recordings that come with the package."""

import importlib
import subprocess
import sys

import numpy as np
import pytest

import hwmodel
import workloads
from hwmodel import op
from hwmodel.op import TraceError
from hwmodel.trace import Trace, validate

ALL = importlib.import_module("workloads.recorded").names()
NAMES = [name for name in ALL if name != "kernel"]


def test_there_are_some_each_with_a_line_and_a_way_to_make_it():
    made = importlib.import_module("workloads.recorded.make").PROGRAMS
    about = importlib.import_module("workloads.recorded").ABOUT
    assert set(made) == set(about) == set(ALL) and all("\n" not in line and line.endswith(").") for line in about.values())
    assert ALL == ["gcc", "git", "kernel", "sort", "sqlite"]


@pytest.mark.parametrize("name", NAMES)
def test_a_recording_is_valid_large_and_small(name):
    trace = workloads.recorded(name)
    assert isinstance(trace, Trace)
    validate(trace)
    assert trace.references >= 20_000_000
    size = (importlib.import_module("workloads.recorded").FOLDER / f"{name}.hwtrace").stat().st_size
    assert size <= 16 << 20
    assert trace.info["exit_status"] == 0
    assert trace.info["initial_vmas"]["inferred_from_use"] == 0
    assert {"mmap", "munmap", "mprotect", "brk"} <= set(trace.info["operations"])


@pytest.mark.parametrize("name", NAMES)
def test_the_counts_of_a_recording_are_true(name):
    trace = workloads.recorded(name)
    sizes = [(chunk.size, op.count_references(chunk)) for chunk in trace.chunks()]
    assert len(trace) == sum(records for records, _ in sizes)
    assert trace.references == sum(references for _, references in sizes)


def test_the_threads_of_a_recording_are_its_agents_and_shoot_down_each_others_translations():
    """Four workers of git grep each map, fill and unmap buffers; with a CPU for each thread every interrupt is answered."""
    trace = workloads.recorded("git")
    assert {agent.name for agent in trace.agents} == {f"git/{n}" for n in range(5)} == set(trace.info["threads"])
    assert {(agent.role, agent.space) for agent in trace.agents} == {("cpu", 0)}
    ops = np.concatenate(list(trace.chunks()))
    workers = [n for n, agent in enumerate(trace.agents) if agent.name != "git/0"]
    for kind in (op.MMAP, op.MUNMAP):
        assert set(workers) <= set(ops["agent"][ops["kind"] == kind].tolist())
    for worker in workers:
        first, last = np.flatnonzero((ops["kind"] == op.MUNMAP) & (ops["agent"] == worker))[[0, -1]]
        between = ops[first:last]
        others = {other for other in workers if op.count_references(between[between["agent"] == other]) > 100_000}
        assert others | {worker} == set(workers)
    machine = hwmodel.preset("cpu-only").with_(**{"cpu.count": 5})
    counters = hwmodel.simulate(machine, trace, progress=False).counters
    assert counters["ipis.sent"] == counters["ipis.acked"] > 100
    assert counters["segv"] == 0
    assert counters["ops.munmap"] == trace.info["operations"]["munmap"]


def test_an_unknown_name_lists_the_known():
    with pytest.raises(TraceError, match=r"^no recording 'redis'; there are gcc, git, kernel, sort, sqlite$"):
        workloads.recorded("redis")


@pytest.mark.parametrize("first", ["workloads.recorded", "workloads.recorded.make", "workloads.recorders.record", "workloads"])
def test_names_are_functions_in_whatever_order_modules_are_imported(first):
    names = ("recorded", "record", "offload", "operation", "read", "suite", "head", "zipf")
    code = f"import {first}, workloads, workloads.recorded.make; assert all(map(callable, {[*names]!r} and "
    code += f"[getattr(workloads, name) for name in {names!r}]))"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_recording_of_kernel_events_has_what_its_program_did():
    """Three threads, a child, and what a virtual machine in the program's address space was told of its memory."""
    trace = workloads.recorded("kernel")
    validate(trace)
    assert [(agent.role, agent.space) for agent in trace.agents] == [
        ("cpu", 0), ("device", 0), ("cpu", 0), ("cpu", 0), ("cpu", 0), ("cpu", 1), ("cpu", 2),
    ]  # fmt: skip
    kernel = trace.info["kernel_counts"]
    assert trace.references == kernel["fault"]["faults.user"] + kernel["fault"]["faults.kernel"] == 14_656
    assert sum(counts.get("notices", 0) for counts in kernel.values()) == 467
    assert sum(counts.get("ipis", 0) for counts in kernel.values()) == 9
    assert trace.info["lost_events"] == 0 and trace.info["initial_vmas"]["inferred_from_use"] == 0
    size = (importlib.import_module("workloads.recorded").FOLDER / "kernel.ftrace.xz").stat().st_size
    assert size <= 1 << 20 and 10_000 <= trace.info["lines"] <= 100_000
