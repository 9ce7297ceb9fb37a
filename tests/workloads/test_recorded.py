"""The recordings that come with the package."""

import importlib
import subprocess
import sys

import pytest

import workloads
from hwmodel import op as t
from hwmodel.trace import Trace, TraceError, validate

NAMES = importlib.import_module("workloads.recorded").names()


def test_there_are_some():
    assert NAMES == ["gcc", "sqlite"]


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
    with pytest.raises(TraceError, match=r"^no recording 'redis'; there are gcc, sqlite$"):
        workloads.recorded("redis")


@pytest.mark.parametrize("first", ["workloads.recorded", "workloads.recorded.make", "workloads.record", "workloads"])
def test_names_are_functions_in_whatever_order_modules_are_imported(first):
    names = ("recorded", "record", "offload", "read", "zipf")
    code = f"import {first}, workloads, workloads.recorded.make; assert all(map(callable, {[*names]!r} and "
    code += f"[getattr(workloads, name) for name in {names!r}]))"
    subprocess.run([sys.executable, "-c", code], check=True)
