"""The recordings that come with the package."""

import importlib
import subprocess
import sys

import pytest

import workloads
from hwmodel import op as t
from hwmodel.trace import Trace, TraceError, validate

ALL = importlib.import_module("workloads.recorded").names()
NAMES = [name for name in ALL if name != "threads"]


def test_there_are_some():
    assert ALL == ["gcc", "sqlite", "threads"]


@pytest.mark.parametrize("name", NAMES)
def test_a_recording_is_valid_large_and_small(name):
    trace = workloads.recorded(name)
    assert isinstance(trace, Trace)
    validate(trace)
    assert trace.references >= 20_000_000
    size = (importlib.import_module("workloads.recorded").FOLDER / f"{name}.hwtrace").stat().st_size
    assert size <= 8 << 20
    assert trace.info["exit_status"] == 0
    assert trace.info["initial_vmas"]["inferred_from_use"] == 0
    assert {"mmap", "munmap", "mprotect", "brk"} <= set(trace.info["operations"])


@pytest.mark.parametrize("name", NAMES)
def test_the_counts_of_a_recording_are_true(name):
    trace = workloads.recorded(name)
    sizes = [(chunk.size, t.count_references(chunk)) for chunk in trace.chunks()]
    assert len(trace) == sum(records for records, _ in sizes)
    assert trace.references == sum(references for _, references in sizes)


def test_an_unknown_name_lists_the_known():
    with pytest.raises(TraceError, match=r"^no recording 'redis'; there are gcc, sqlite, threads$"):
        workloads.recorded("redis")


@pytest.mark.parametrize("first", ["workloads.recorded", "workloads.recorded.make", "workloads.record", "workloads"])
def test_names_are_functions_in_whatever_order_modules_are_imported(first):
    names = ("recorded", "record", "offload", "read", "zipf")
    code = f"import {first}, workloads, workloads.recorded.make; assert all(map(callable, {[*names]!r} and "
    code += f"[getattr(workloads, name) for name in {names!r}]))"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_recording_of_kernel_events_has_what_its_program_did():
    """Three threads, a child, and what a virtual machine in the program's address space was told of its memory."""
    trace = workloads.recorded("threads")
    validate(trace)
    assert [(agent.role, agent.space) for agent in trace.agents] == [
        ("cpu", 0), ("device", 0), ("cpu", 0), ("cpu", 0), ("cpu", 0), ("cpu", 1), ("cpu", 2),
    ]  # fmt: skip
    kernel = trace.info["kernel_counts"]
    assert trace.references == kernel["fault"]["faults.user"] + kernel["fault"]["faults.kernel"] == 14_656
    assert sum(counts.get("notices", 0) for counts in kernel.values()) == 467
    assert sum(counts.get("ipis", 0) for counts in kernel.values()) == 9
    assert trace.info["lost_events"] == 0 and trace.info["initial_vmas"]["inferred_from_use"] == 0
    size = (importlib.import_module("workloads.recorded").FOLDER / "threads.ftrace.xz").stat().st_size
    assert size <= 1 << 20 and 10_000 <= trace.info["lines"] <= 100_000
