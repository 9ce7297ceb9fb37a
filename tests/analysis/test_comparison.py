"""Comparisons and sweeps: what runs on what, and the figures of fabricated results."""

import math
import os

import fabricated
import pandas as pd
import pytest

import analysis
import workloads
from analysis import files, metrics, runs
from analysis.comparison import Comparison
from hwmodel import secondary
from hwmodel.core import ledger
from hwmodel.html import cell
from hwmodel.machine import ConfigError, preset
from hwmodel.op import Agent, TraceError
from hwmodel.trace import Trace


@pytest.fixture
def comparison():
    return Comparison({"GRU": fabricated.gru(), "KVM": fabricated.kvm()}, ("A note.",))


def test_figures_per_access(comparison):
    table = comparison.table
    busy = 40 + 31 + 14 + 9 + 1.9  # million cycles of the engine, waiting left out
    assert table.loc["GRU", "device_cycles_per_access"] == pytest.approx(busy / 5)
    assert table.loc["GRU", "device_ns_per_access"] == pytest.approx(busy / 5 / 2)
    assert table.loc["GRU", "device_overhead_ns_per_access"] == pytest.approx((busy - 40) / 5 / 2)
    run = fabricated.gru()
    assert table.loc["GRU", "ns_per_access"] == pytest.approx(run.ns / 20e6)
    assert table.loc["KVM", "device_miss_rate_percent"] == pytest.approx(6.0)
    assert table.loc["KVM", "cpu_miss_rate_percent"] == pytest.approx(100 * 10 / 15_000)
    assert table.loc["GRU", "software_faults"] == 10_000
    assert table.loc["GRU", "fault_max_ns"] == run.latency("fault").ns.max
    assert table.loc["GRU", ["retries", "kills", "traps", "notices", "ipis"]].tolist() == [17, 3, 9500, 420, 40]
    assert table.loc["KVM", "invalidation_cycles"] == 800_000
    assert table.loc["KVM", "shootdown_cycles"] == 120_000 + 350_000 + 900_000 + 70_000 + 1_000_000


def test_accounts_add_up_to_the_figures(comparison):
    work = comparison.accounts[~comparison.accounts["waiting"]]
    sums = work.groupby(["machine", "side"])["ns_per_access"].sum()
    for name in ("GRU", "KVM"):
        assert sums[name, "engine"] == pytest.approx(comparison.table.loc[name, "device_ns_per_access"])
        assert sums[name, "cpu"] == pytest.approx(comparison.table.loc[name, "cpu_ns_per_access"])
    assert comparison.table.loc["GRU", "engine.stall_trap_ns_per_access"] == pytest.approx(3.1)
    assert comparison.table.loc["KVM", "engine.stall_trap_ns_per_access"] == 0


def test_a_machine_without_engines_has_no_device_figures():
    table = Comparison({"CPU": fabricated.cpu_only()}).table
    assert math.isnan(table.loc["CPU", "device_ns_per_access"]) and math.isnan(table.loc["CPU", "fault_p50_ns"])
    assert table.loc["CPU", "cpu_cycles_per_access"] == pytest.approx(10 / 7)


def test_every_metric_has_a_unit_a_definition_and_one_name():
    names = [metric.name for metric in metrics.METRICS]
    assert len(set(names)) == len(names)
    assert all(metric.definition and metric.title and metric.group for metric in metrics.METRICS)


def test_every_family_of_accounts_has_its_colour():
    from analysis.plots.overheads import COLOURS

    assert {*COLOURS, ledger.WAITING} == set(ledger.FAMILIES) and len(set(COLOURS.values())) == len(COLOURS)
    for book in map(secondary.book, secondary.names()):
        assert {about.family for about in book.accounts.values()} <= set(ledger.FAMILIES)


def test_draws_are_those_of_an_uncertainty_with_the_same_terms():
    machines, trace = {"GRU": "gru-2008", "EPT": "kvm-ept-2008"}, workloads.zipf(pages=40, accesses=400)
    found = analysis.compare({**machines, "CPU": "cpu-only"}, trace, draws=20, progress=False)
    assert found.draws.machines == ("GRU", "EPT"), "only machines with an overhead"
    alone = analysis.uncertainty(machines, trace, draws=20, progress=False)
    assert found.draws.frame.equals(alone.frame)
    (verdict,) = found.verdicts
    assert alone.told("GRU", "EPT") in str(verdict) and str(verdict) in found.to_markdown()
    assert any("on 20 draws of every uncertain cost" in line for line in found.warnings())
    assert analysis.compare("gru-2008", trace, draws=20, progress=False).draws is None, "one machine alone has no verdict"
    with pytest.raises(ConfigError, match="draws: must be a whole number from 20 on, not 3"):
        analysis.compare(machines, trace, draws=3)


def test_the_trace_is_offloaded_for_machines_with_engines_only(simulated, trace):
    found = analysis.compare([preset("gru-2008"), preset("cpu-only")], trace)
    (cpu, plain), (gru, shared) = fabricated.by_name(simulated).values()
    assert (gru.name, cpu.name) == ("gru-2008", "cpu-only") and plain is trace
    assert [agent.role for agent in shared.agents] == ["cpu", "device"]
    assert "50 % of the data accesses on gru-2008" in found.notes[-1]


def test_a_trace_with_devices_is_left_alone(simulated, trace):
    from workloads.offload import offload

    shared = offload(trace, 0.3, unit="record")
    found = analysis.compare({"GRU": preset("gru-2008")}, shared)
    assert simulated[0][1] is shared and not any("no device agent" in note for note in found.notes)
    with pytest.raises(ConfigError, match="no engines"):
        analysis.compare([preset("cpu-only")], shared)


NOTES = {
    "record": "",
    "line": "An engine's access moves a line of 64 bytes; an access of the program moves 5 bytes (E: an estimate).",
    "page": "An engine's access moves what consecutive accesses of the program move of a page.",
}


@pytest.mark.parametrize(("unit", "note"), NOTES.items())
def test_what_an_access_of_an_engine_stands_for_is_told(simulated, trace, tmp_path, unit, note):
    """In the notes of every table, whoever offloaded the trace; a run has the accesses that it was asked for."""
    from workloads.offload import offload

    asked = {"unit": unit, "bytes": 5}
    given = analysis.compare([preset("gru-2008")], trace, **asked)
    assert given.notes[-1].endswith(f"on gru-2008. {note}".rstrip()) and simulated[0][1].info["offload"].items() >= asked.items()
    found = analysis.compare([preset("gru-2008")], offload(trace, 0.3, **asked))
    assert list(found.notes[len(given.notes) - 1 :]) == [note] * bool(note)
    assert not note or f"- {note}" in found.to_markdown().splitlines()
    frame = analysis.sweep(preset("gru-2008"), {"tlb.entries": [64]}, trace, progress=False, **asked)
    assert list(frame.attrs["notes"]) == list(given.notes[-1:]) and simulated[-1][1].info["offload"].items() >= asked.items()


def test_notes_of_a_file_that_says_something_else_of_its_offloading(simulated, trace):
    """Of an older version, or nobody knows whose."""
    devices = Trace.from_records([*trace.agents, Agent("device", 0, "device0")], next(trace.chunks()), info={"program": "toy"})
    for told in ({"share": 0.5}, [1, 2], "line", {"unit": ["line"]}, {"unit": "line"}, None):
        devices.info["offload"] = told
        assert not runs.unit_notes(devices)


def test_differences_name_every_setting(simulated, trace):
    changed = preset("gru-2008").with_(**{"kernel.thp": "always", "tlb.entries": 256})
    found = analysis.compare({"a": preset("gru-2008"), "b": changed}, trace).differences
    assert found.to_dict("index") == {"kernel.thp": {"a": "never", "b": "always"}}, "what the user set stays, and is told"


def test_machines_of_one_name_are_refused(simulated, trace):
    with pytest.raises(ConfigError, match="same name"):
        analysis.compare([preset("gru-2008"), preset("gru-2008")], trace)
    with pytest.raises(ConfigError, match="there is none"):
        analysis.compare({}, trace)
    with pytest.raises(ConfigError, match="share"):
        analysis.compare([preset("gru-2008")], trace, share=0)
    with pytest.raises(TraceError, match="unit must be"):
        analysis.compare([preset("gru-2008")], trace, unit="byte")
    with pytest.raises(TraceError, match="bytes must be"):
        analysis.sweep(preset("gru-2008"), {"tlb.entries": [64]}, trace, bytes=0)
    assert not simulated


def test_saved_files(comparison, tmp_path):
    written = comparison.save(tmp_path / "new" / "out")
    assert [os.path.basename(path) for path in written] == [
        "compare.csv", "compare.md", "settings.csv", "costs.png", "latency.png"
    ]  # fmt: skip
    assert sorted(os.listdir(tmp_path / "new" / "out")) == sorted(os.path.basename(path) for path in written)
    table = pd.read_csv(tmp_path / "new" / "out" / "compare.csv")
    assert table.set_index("machine").loc["KVM", "traps"] == 3150 and list(table) == list(comparison.frame)
    page = (tmp_path / "new" / "out" / "compare.md").read_text()
    for part in ("# GRU against KVM", "| resolution p99, ns", "stall_trap", "A note.", "![", "2 operations failed"):
        assert part in page
    assert comparison.to_markdown().count("![") == 0


def test_an_error_leaves_nothing_behind(tmp_path):
    def fails(path):
        raise OSError("disk full")

    old = tmp_path / "old"
    old.mkdir()
    (old / "a").write_text("before")
    for folder in (old, tmp_path / "new" / "deep"):
        with pytest.raises(OSError, match="disk full"):
            files.write_all({folder / "a": lambda path: files.text(path, "after"), folder / "b": fails})
    assert os.listdir(tmp_path) == ["old"] and os.listdir(old) == ["a"] and (old / "a").read_text() == "before"


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234567, "1,234,567"), (0.012345, "0.01235"), (12.3456, "12.35"), (98765.4, "98,765"), (math.nan, "–"), (0, "0"),
     (None, "–"), ("ipi", "ipi"), (True, "True"), (2.0, "2")],
)  # fmt: skip
def test_cells(value, text):
    assert cell(value) == text


def test_a_sweep_runs_every_combination(simulated, trace):
    frame = analysis.sweep(
        preset("gru-2008"), {"tlb.entries": [64, 256], "driver.interrupt_ns": [800, 1500]}, trace, progress=False
    )
    assert list(frame["tlb.entries"]) == [64, 64, 256, 256] and list(frame["driver.interrupt_ns"]) == [800, 1500] * 2
    assert len({id(used) for _, used in simulated}) == 1, "the points share one trace"
    assert {metric.name for metric in metrics.METRICS} <= set(frame)
    assert frame.attrs["configuration"] == preset("gru-2008").flat() and frame.attrs["swept"] == [
        "tlb.entries", "driver.interrupt_ns"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"tlb.entries": [64, 65]}, "tlb"),
        ({"tlb.entires": [64]}, "tlb.entires"),
        ({"tlb.entries": []}, "no value"),
        ({"tlb.entries": 64}, "list of values"),
        ({"kernel.thp": "always"}, "list of values"),
        ({}, "no setting"),
    ],
)
def test_a_sweep_with_an_invalid_point_runs_nothing(simulated, trace, settings, complaint):
    with pytest.raises(ConfigError, match=complaint):
        analysis.sweep(preset("gru-2008"), settings, trace)
    assert not simulated


def test_an_error_in_one_point_ends_the_sweep(monkeypatch, trace):
    def simulate_all(machines, trace):
        raise TraceError("damaged")

    monkeypatch.setattr("analysis.runs.simulate_all", simulate_all)
    with pytest.raises(TraceError, match="damaged"):
        analysis.sweep(preset("gru-2008"), {"tlb.entries": [64, 128, 256]}, trace)


def test_the_head_of_a_trace(trace):
    assert len(analysis.head(trace, 100)) == len(trace)
    assert len(analysis.head(trace, 3)) == 3
    assert len(analysis.head(trace, 1)) == 2, "an operation is never cut in two"
    assert analysis.head(trace, 3).agents == trace.agents
    with pytest.raises(TraceError):
        analysis.head(trace, 0)
