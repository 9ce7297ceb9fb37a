"""The whole way once, with the real engine: a piece of a shipped recording, every preset, tables, pictures, a sweep."""

import os

import numpy as np
import pytest

import analysis
import workloads
from hwmodel.machine import preset, presets
from hwmodel.simulate import simulate


@pytest.fixture(scope="module")
def piece():
    return analysis.head(workloads.recorded("sqlite"), 30_000)


@pytest.mark.as_shipped
def test_a_comparison(piece, tmp_path):
    found = analysis.compare([preset("gru-2008"), preset("kvm-ept-2008"), preset("cpu-only")], piece, unit="record")
    assert len(found.save(tmp_path)) == len(os.listdir(tmp_path)) == 5
    table = found.table
    assert (table["cpu_accesses"] + table["device_accesses"]).nunique() == 1, "every machine does all of the accesses"
    engines = table.loc[["gru-2008", "kvm-ept-2008"]]
    assert engines["device_accesses"].min() > 0 and engines["software_faults"].min() > 0
    assert (engines["fault_p50_ns"] <= engines["fault_p99_ns"]).all()
    assert (engines["fault_p99_ns"] <= engines["fault_max_ns"]).all()
    assert np.isnan(table.loc["cpu-only", "device_ns_per_access"])


@pytest.mark.as_shipped
def test_every_preset_runs_a_recording(piece):
    found = analysis.compare([preset(name) for name in presets()], piece)
    table = found.table
    assert tuple(table.index) == presets() and table["unsupported_ops"].sum() == 0
    engines = table[table["device_accesses"] > 0]
    assert set(table.index) - set(engines.index) == {"cpu-only"}
    assert engines["device_accesses"].nunique() == 1 and engines["fault_p50_ns"].min() > 0


@pytest.mark.as_shipped
def test_engines_access_lines(piece):
    """By default: all engines alike, and fewer than the accesses of the program that they were given, which CPUs do not make then."""
    machines = [preset("gru-2008"), preset("kvm-ept-2008")]
    lines, all_of_them = (analysis.compare(machines, piece, unit=unit).table for unit in ("line", "record"))
    assert (lines["cpu_accesses"] == all_of_them["cpu_accesses"]).all()
    assert lines["device_accesses"].nunique() == 1
    assert 0 < lines["device_accesses"].iloc[0] < all_of_them["device_accesses"].iloc[0]


@pytest.mark.as_shipped
def test_a_sweep_is_what_single_runs_are(piece):
    trace = workloads.offload(piece, share=0.5)
    points = {"tlb.entries": [16, 64, 256], "driver.interrupt_ns": [900, 1800]}
    swept = analysis.sweep(preset("gru-2008"), points, trace, threads=3, progress=False)
    for row in swept.to_dict("records"):
        machine = preset("gru-2008").with_(**{name: row[name] for name in points})
        assert analysis.headline(simulate(machine, trace)) == {name: row[name] for name in row if name not in points}
