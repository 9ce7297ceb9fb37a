"""Machines and traces by name, in any place that takes one; what is neither is told in one line."""

import pathlib

import pytest

import analysis
import hwmodel
import workloads
from hwmodel import ConfigError, TraceError, arguments
from hwmodel.op import READ, Agent, mmap_unit
from hwmodel.trace import Trace

PAGE = 0x10000 << 12


def small(role="device"):
    """Two reads of a page that is there."""
    agents = [Agent("cpu", 0, "main"), Agent(role, 0, "other")]
    return Trace.from_records(agents, [(PAGE, 1, 0, READ, 0), (PAGE, 1, 0, READ, 1)], mmap_unit(PAGE, 1, 3, populate=True))


@pytest.fixture
def file(tmp_path):
    """The name of a file with that trace."""
    path = tmp_path / "small.hwtrace"
    workloads.write(small(), path)
    return str(path)


def test_simulate_takes_names(file):
    by_name = hwmodel.simulate("gru-2008", file, progress=False)
    assert dict(by_name.counters) == dict(hwmodel.simulate(hwmodel.preset("gru-2008"), small(), progress=False).counters)


def test_a_machine_may_be_a_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('extends = ["cpu-only"]\n[cpu]\ncount = 3\n', encoding="utf-8")
    assert arguments.machine_of(str(path)).get("cpu.count") == arguments.machine_of(path).get("cpu.count") == 3


def test_compare_and_sweep_take_names(file):
    table = analysis.compare(["gru-2008", "kvm-ept-2008"], file, progress=False).table
    assert list(table.index) == ["gru-2008", "kvm-ept-2008"]
    assert list(analysis.compare("gru-2008", file, progress=False).table.index) == ["gru-2008"]
    assert list(analysis.compare({"mine": hwmodel.preset("gru-2008")}, small(), progress=False).table.index) == ["mine"]
    assert len(analysis.sweep("gru-2008", {"tlb.entries": [64, 128]}, file, progress=False)) == 2
    assert analysis.inspect(file, picture=False).agents.shape[0] == 2


def test_a_shipped_recording_has_a_name():
    assert arguments.trace_of("sqlite").name == workloads.recorded("sqlite").name == analysis.runs.trace_of("sqlite").name


@pytest.mark.parametrize(
    "call, error, told",
    [
        (lambda: hwmodel.simulate(small(), hwmodel.preset("gru-2008")), ConfigError, "machine: must be .*not a Trace.*swapped"),
        (lambda: hwmodel.simulate("gru-2008", hwmodel.preset("gru-2008")), TraceError, "trace: must be .*the machine gru-2008.*swapped"),
        (lambda: hwmodel.simulate(3, small()), ConfigError, "machine: must be a Machine or the name of a preset, not int"),
        (lambda: hwmodel.simulate("gru-2009", small()), ConfigError, "gru-2008"),
        (lambda: hwmodel.simulate("gru-2008", "sqlight"), FileNotFoundError, "sqlight: no such file, nor a shipped recording"),
        (lambda: hwmodel.simulate("gru-2008", [1, 2]), TraceError, "trace: must be a Trace or the name .*not list"),
        (lambda: analysis.compare(small(), "gru-2008"), FileNotFoundError, "gru-2008"),
        (lambda: analysis.compare(small(), small()), ConfigError, "machine: must be .*not a Trace"),
        (lambda: analysis.compare([], small()), ConfigError, "machines: there is none"),
        (lambda: analysis.compare(["gru-2008", "gru-2008"], small()), ConfigError, "two have the same name"),
        (lambda: analysis.sweep(["gru-2008", "ideal-2008"], {"tlb.entries": [64]}, small()), ConfigError, "machine: must be .*not list"),
        (lambda: analysis.sweep("gru-2008", small(), {"tlb.entries": [64]}), TraceError, "trace: must be .*not dict"),
        (lambda: analysis.replay("kernel", 5), ConfigError, "machine: must be .*not int"),
    ],
)  # fmt: skip
def test_what_is_neither_is_told_in_one_line(call, error, told):
    with pytest.raises(error, match=told) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_names_need_workloads(monkeypatch):
    monkeypatch.setattr(arguments, "_openers", [])
    with pytest.raises(TraceError, match="'sqlite' is a name, and traces have names once workloads is imported"):
        hwmodel.simulate("gru-2008", "sqlite")


@pytest.mark.filterwarnings("error")
def test_a_machine_that_nobody_uses_is_told():
    with pytest.warns(UserWarning, match="no device agent, so nothing of gru-2008 is used"):
        hwmodel.simulate("gru-2008", small("cpu"), progress=False)
    hwmodel.simulate("cpu-only", small("cpu"), progress=False)


def test_an_empty_trace_is_told():
    empty = Trace.from_records([Agent("cpu", 0, "main")], [])
    with pytest.warns(UserWarning, match="the trace has no records"):
        hwmodel.simulate("cpu-only", empty, progress=False)


def test_the_project_has_one_opener():
    root = pathlib.Path(hwmodel.__file__).parent.parent
    users = [path for package in ("hwmodel", "workloads", "analysis") for path in (root / package).rglob("*.py")
             if "@names_traces" in path.read_text(encoding="utf-8")]  # fmt: skip
    assert [path.name for path in users] == ["named.py"]
