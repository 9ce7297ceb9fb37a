"""Experiments: which runs axes, workloads and seeds ask for, what their frame says, and what is refused."""

import concurrent.futures
import math
import multiprocessing

import numpy as np
import pandas as pd
import pytest

import analysis
import workloads
from analysis import axes, batches, workers
from analysis.metrics import METRICS, Metric
from hwmodel.machine import ConfigError, preset
from hwmodel.op import TraceError
from hwmodel.simulate import simulate
from hwmodel.version import model_version

PAIR = {"GRU": "gru-2008", "EPT": "kvm-ept-2008"}
ZIPF = {"accesses": 3000, "devices": 1}


def small(pages=40, seed=0):
    return workloads.zipf(pages=pages, seed=seed, **ZIPF)


def run(*given, **named):
    return analysis.experiment(*given, **{"progress": False, "terms": None, "metrics": METRICS} | named)


def test_a_row_for_each_machine_workload_point_and_seed(simulated, trace):
    found = run(PAIR, {"a": trace, "b": small}, {"cpu.count": [2, 3], "kernel.thp": ["never"]}, seeds=[4, 5])
    frame = found.frame
    assert len(frame) == 2 * 2 * 2 * 2 == len(simulated), "every run is another one"
    assert list(frame)[:7] == ["machine", "design", "workload", "seed", "version", "cpu.count", "kernel.thp"]
    assert frame[["machine", "workload", "cpu.count", "seed"]].apply(tuple, axis=1).tolist() == [
        (machine, workload, count, seed) for machine in PAIR for workload in "ab" for count in (2, 3) for seed in (4, 5)
    ]
    assert set(frame["version"]) == {model_version()} and set(frame["design"]) == {preset(name).design for name in PAIR.values()}
    assert {metric.name for metric in METRICS} <= set(frame)
    assert any("engine gets 50 %" in note and note.startswith("a: ") for note in found.notes)


def test_an_axis_of_one_machine_changes_that_machine_alone(simulated):
    run(PAIR, small, {"GRU:cpu.count": [2, 3], "cpu.stlb.entries": [512]})
    counts = sorted((machine.name, machine.get("cpu.count"), machine.get("cpu.stlb.entries")) for machine, _ in simulated)
    usual = preset("kvm-ept-2008").get("cpu.count")
    assert counts == [("gru-2008", 2, 512), ("gru-2008", 3, 512), ("kvm-ept-2008", usual, 512)], "EPT ran once for both values"


def test_a_machine_without_the_setting_stands_at_each_value(simulated):
    found = run(PAIR, small, {"tlb.entries": [64, 256]})
    assert found.frame["tlb.entries"].tolist() == [64, 256] * 2 and len(simulated) == 3
    assert found.notes[-1] == "EPT has no tlb.entries: one and the same run stands at each of its values."


def test_the_machine_s_own_axis_comes_before_that_of_all(simulated):
    run(PAIR, small, [{"GRU:cpu.count": 2, "cpu.count": 4}])
    assert sorted(machine.get("cpu.count") for machine, _ in simulated) == [2, 4]


def test_parameters_of_a_workload_are_axes(simulated):
    found = run("gru-2008", {"zipf": small, "fixed": small()}, {"workload.pages": [20, 30], "tlb.entries": [64]}, seeds=[3])
    assert sorted(trace.info["pages"] for _, trace in simulated) == [20, 30, 40], "a trace that is no function runs once"
    assert found.frame.groupby("workload")["workload.pages"].apply(list).to_dict() == {"fixed": [20, 30], "zipf": [20, 30]}
    assert {trace.info["seed"] for _, trace in simulated if trace.info["pages"] < 40} == {3}


def test_a_workload_without_chance_runs_once_for_all_seeds(simulated):
    found = run("gru-2008", {"fixed": small(), "made": lambda pages=9: small(pages), "zipf": small}, seeds=[1, 2, 3])
    assert len(simulated) == 5 and len(found.frame) == 9
    assert found.notes[0] == "Nothing is random in fixed, made: one and the same run stands for each seed."


def test_workloads_have_names(simulated, trace):
    assert set(run("gru-2008", [small, trace]).frame["workload"]) == {"small", "toy"}
    assert set(run("gru-2008", workloads.zipf, [{"workload.devices": 1}]).frame["workload"]) == {"zipf"}
    with pytest.raises(ConfigError, match="workloads: two have the same name"):
        run("gru-2008", [small, small])


def test_zips_points_frames_and_products_are_the_same_points():
    points = [{"tlb.entries": 64, "tlb.ways": 2}, {"tlb.entries": 128, "tlb.ways": 4}]
    zipped = axes.axes_of({("tlb.entries", "tlb.ways"): [(64, 2), (128, 4)]})
    listed, framed = axes.axes_of(points), axes.axes_of(pd.DataFrame(points, dtype=float))
    assert list(zipped.points) == list(listed.points) == list(framed.points) == points and not listed.product
    assert all(type(value) is int for point in framed.points for value in point.values()), "a frame of floats has whole numbers too"
    product = axes.axes_of({"a": np.arange(2), ("b", "c"): [(1, 2), (3, 4)]})
    assert [tuple(point.values()) for point in product.points] == [(0, 1, 2), (0, 3, 4), (1, 1, 2), (1, 3, 4)]
    assert axes.axes_of({"a": [1, 2], "b": [3]}).product and not product.product


@pytest.mark.parametrize("draw", [analysis.latin_hypercube, analysis.sobol])
def test_samples_cover_their_ranges(draw):
    ranges = {"tlb.cbrs": (1, 128), "driver.interrupt_ns": (100.0, 2700.0)}
    found = draw(ranges, 64, seed=1, log=["tlb.cbrs"])
    assert found == draw(ranges, 64, seed=1, log=["tlb.cbrs"]) != draw(ranges, 64, seed=2, log=["tlb.cbrs"])
    assert all(type(p["tlb.cbrs"]) is int and 1 <= p["tlb.cbrs"] <= 128 and 100 <= p["driver.interrupt_ns"] <= 2700 for p in found)
    assert sum(point["tlb.cbrs"] <= 11 for point in found) in range(30, 35), "half of the logarithm"
    quarters = np.histogram([point["driver.interrupt_ns"] for point in found], 4, (100, 2700))[0]
    assert quarters.tolist() == [16] * 4
    with pytest.raises(ConfigError, match=r"^tlb.cbrs: 5 to 5 is no range"):
        draw({"tlb.cbrs": (5, 5)}, 4)
    with pytest.raises(ConfigError, match=r"^log: tlb.cbr is no axis; did you mean tlb.cbrs"):
        draw(ranges, 4, log=["tlb.cbr"])


@pytest.mark.parametrize(
    ("over", "told"),
    [
        ({}, "over: there is no axis"), ([], "over: there is no point"), ({"tlb.entries": []}, "tlb.entries: there is no value"),
        ({"tlb.entries": 64}, "tlb.entries: a sweep needs a list"), (5, "over: must be lists of values"), ("ab", "over: must be lists"),
        ([{"tlb.entries": 64}, {"tlb.ways": 4}], "one point has the axes tlb.entries, another tlb.ways"), ([3], "a point must be"),
        ([{}], "one point has the axes"), ({("a", "b"): [(1,)]}, r"^a, b: these 2 axes go together"),
        ({"tlb.entries": [64], ("tlb.entries", "tlb.ways"): [(1, 2)]}, "tlb.entries: is an axis twice"),
        ({"tlb.entires": [64]}, "tlb.entires: no machine has such a setting; did you mean tlb.entries"),
        ({"GRU:tlb.entires": [64]}, "tlb.entires: .*did you mean tlb.entries"), ({"tlb": [64]}, "tlb: no machine has such a setting"),
        ({"GRUU:tlb.entries": [64]}, "GRUU:tlb.entries: there is no machine GRUU; did you mean GRU"),
        ({"EPT:tlb.entries": [64]}, "tlb.entries: .*no such setting"), ({"tlb.entries": [64, 65]}, "^tlb"),
        ({"workload.page": [64]}, "workload.page: no workload has such a parameter; did you mean pages"),
    ],
)  # fmt: skip
def test_what_is_no_axis_is_told_before_anything_runs(simulated, over, told):
    with pytest.raises(ConfigError, match=told) as caught:
        run(PAIR, small, over)
    assert not simulated and "\n" not in str(caught.value)


def test_what_else_is_refused(simulated, trace):
    for told, asked in {
        "metrics: there is no ns_per_acess; did you mean ns_per_access": {"metrics": ["ns_per_acess"]},
        "threads: must be at least 1": {"threads": 0}, "warmup: ": {"warmup": 1.5}, "seeds: must be": {"seeds": [0.5]},
        "workload.pages: no workload has parameters": {"over": {"workload.pages": [3]}}, "share: ": {"share": 2},
    }.items():  # fmt: skip
        with pytest.raises(ConfigError, match=told):
            run("gru-2008", trace, **asked)
    with pytest.raises(ConfigError, match="seeds: nothing is random in small"):
        run("gru-2008", {"small": small()}, seeds=[1, 2])
    with pytest.raises(ConfigError, match="workloads: there is none"):
        run("gru-2008", [])
    with pytest.raises(TraceError, match="trace: must be"):
        run("gru-2008", [5])
    assert not simulated


def test_figures_are_those_of_single_runs_beside_their_bounds():
    own = Metric("twice_ms", "twice the time", "", "an own one", lambda result: 2 * result.ns / 1e6)
    wanted = ["time_ms", "overhead_ns_per_access", own]
    found = run(PAIR, {"zipf": small()}, {"cpu.count": [2, 3]}, metrics=wanted, accounts=True)
    for row in found.frame.to_dict("records"):
        machine = preset(PAIR[row["machine"]]).with_(**{"cpu.count": row["cpu.count"]})
        result = simulate(machine, small(), progress=False)
        bound = simulate(analysis.bound_of(machine), small(), progress=False)
        assert row["twice_ms"] == 2 * row["time_ms"] == 2 * result.ns / 1e6
        assert row["overhead_ns_per_access"] == analysis.overhead(result, bound).per_access_ns
        told = {name: row[name] for name in row if name.startswith("engine.") and not math.isnan(row[name])}
        engines = sum(result.ledger.total(account, "device") for account in result.book.accounts)
        assert sum(told.values()) == pytest.approx(engines * result.ns_per_cycle)


def test_several_machines_have_their_overheads_too(simulated):
    assert list(run(PAIR, small, metrics=None).frame)[5:8] == ["overhead_ns_per_access", "exposed_ns_per_access", "served_ns_per_access"]
    machines = [preset(name) for name in PAIR.values()]
    assert [machine.design for machine, _ in simulated] == [m.design for m in [*map(analysis.bound_of, machines), *machines]]
    assert "overhead_ns_per_access" not in run("gru-2008", small, metrics=None).frame


def test_a_machine_without_engines_has_no_overhead(simulated, trace):
    found = run(PAIR | {"CPU": "cpu-only"}, trace, metrics=["overhead_ns_per_access"]).frame.set_index("machine")
    assert found["overhead_ns_per_access"].isna().to_dict() == {"GRU": False, "EPT": False, "CPU": True}


def test_regions_are_rows():
    found = run("gru-2008", {"zipf": small}, {"tlb.entries": [64]}, warmup=10, regions={"cold": 10, "warm": 1000}, metrics=["time_ms"])
    assert found.frame["region"].tolist() == ["cold", "warm"]
    assert list(found.frame) == ["machine", "design", "workload", "seed", "version", "tlb.entries", "region", "time_ms"]


@pytest.mark.parametrize("together", [1, 3])
def test_the_frame_is_the_same_however_it_is_run(monkeypatch, together):
    asked = (PAIR, {"zipf": small}, {"cpu.stlb.entries": [256, 512], "workload.pages": [30, 60]})
    expected = run(*asked, threads=1).frame
    monkeypatch.setattr(batches, "TOGETHER", together)
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        for found in (run(*asked, threads=4), run(*asked, executor=pool)):
            pd.testing.assert_frame_equal(found.frame, expected)
            assert found.frame.attrs == expected.attrs


def test_processes_give_the_same_frame():
    asked = ({"GRU": "gru-2008"}, {"zipf": small}, {"tlb.entries": [64, 128]})
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        pd.testing.assert_frame_equal(run(*asked, executor=pool).frame, run(*asked).frame)


@pytest.mark.filterwarnings("default")  # Dask's own
def test_a_dask_cluster_gives_the_same_frame_and_a_trace_travels_once(monkeypatch, tmp_path):
    distributed = pytest.importorskip("distributed", reason="NOT SHOWN: a Dask cluster, for distributed is not installed")
    small().save(tmp_path / "small.hwtrace")
    asked = ({"GRU": "gru-2008"}, {"zipf": str(tmp_path / "small.hwtrace")}, {"tlb.entries": [16, 32, 64, 128]})
    sent, scatter = [], distributed.Client.scatter
    monkeypatch.setattr(distributed.Client, "scatter", lambda self, data, **how: (sent.append(data), scatter(self, data, **how))[1])
    monkeypatch.setattr(batches, "TOGETHER", 1)
    expected = run(*asked).frame
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": False, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        pd.testing.assert_frame_equal(run(*asked, executor=client).frame, expected)
    assert len(sent) == 1 and len(sent[0]) == len(small())


def test_what_is_no_executor_and_what_has_another_version(trace):
    with pytest.raises(ConfigError, match=r"^executor: must be a concurrent\.futures\.Executor or a Dask client, not 'threads'"):
        run("gru-2008", trace, executor="threads")
    with pytest.raises(ConfigError, match=r"^executor: a worker has version .* and this is 0\.0\+other"):
        workers.run_batch([preset("gru-2008")], trace, {}, "0.0+other")


def test_several_machines_are_on_equal_terms_unless_they_are_compared_as_built(simulated):
    fair = run(PAIR, small, {"kernel.thp": ["never"]}, terms=analysis.Terms())
    told = {name: [machine.get(name) for machine, _ in simulated] for name in ("clock.mhz", "device.latency_ns")}
    assert all(len(set(values)) == 1 for values in told.values()), told
    assert fair.notes[0].startswith("Clock, CPUs, memory and kernel of gru-2008") and "coprocessor" in fair.notes[1]
    simulated.clear()
    run(PAIR, small, {"GRU:device.latency_ns": [99]}, terms=analysis.Terms())
    assert sorted(machine.get("device.latency_ns") for machine, _ in simulated) == [99, 200], "axes come after the terms"
    simulated.clear()
    run("gru-2008", small, terms=analysis.Terms())
    assert simulated[0][0] == preset("gru-2008"), "one alone stays as it is"
    run("gru-2008", small, terms=analysis.Terms(same_device="kvm-ept-2008"))
    assert simulated[1][0].get("device.latency_ns") == preset("kvm-ept-2008").get("device.latency_ns")


def test_shards_are_the_whole(simulated, trace):
    asked = (PAIR, {"a": trace, "b": small}, {"tlb.entries": [16, 32, 64]})
    whole = run(*asked, seeds=[1, 2])
    runs = len(simulated)
    simulated.clear()
    parts = [run(*asked, seeds=[1, 2], shard=(number, 3)) for number in range(3)]
    assert len(simulated) == runs and parts[1].notes[-1] == f"Part 1 of 3: {len(range(1, runs, 3))} of {runs} runs."
    order = ["machine", "workload", "tlb.entries", "seed"]
    together = pd.concat([part.frame for part in parts]).sort_values(order, ignore_index=True)
    pd.testing.assert_frame_equal(together, whole.frame.sort_values(order, ignore_index=True))
    for shard in ((3, 3), (0, 0), (0, 1, 2), ("0", 2), (20, 21)):
        with pytest.raises(ConfigError, match=r"^shard: (must be \(k, n\)|.* have no part 20 of 21)"):
            run(*asked, shard=shard)


def test_arrays_have_the_axes_as_dimensions(simulated):
    pytest.importorskip("xarray", reason="NOT SHOWN: arrays of an experiment, for xarray is not installed")
    product = run(PAIR, small, {"tlb.entries": [64, 256], "cpu.count": [2, 3, 4]}, metrics=["time_ms"]).to_xarray()
    assert dict(product.sizes) == {"machine": 2, "workload": 1, "tlb.entries": 2, "cpu.count": 3, "seed": 1}
    points = [{"tlb.entries": 64, "cpu.count": 2}, {"tlb.entries": 256, "cpu.count": 3}]
    listed = run(PAIR, small, points, seeds=[1, 2], metrics=["time_ms"]).to_xarray()
    assert dict(listed.sizes) == {"machine": 2, "workload": 1, "point": 2, "seed": 2}
    assert listed["tlb.entries"].to_numpy().tolist() == [64, 256] and listed.attrs["version"] == model_version()


def test_a_picture_has_a_line_for_each_machine(simulated, trace):
    found = run(PAIR, {"a": trace, "b": small}, {"tlb.entries": [64, 256, 4096]}, seeds=[1, 2], metrics=["time_ms"])
    with pytest.raises(ConfigError, match=r"^workload: has several values"):
        found.plot("tlb.entries", "time_ms")
    drawn = found.where(workload="a").plot("tlb.entries", "time_ms")
    assert [text.get_text() for text in drawn.get_legend().get_texts()] == list(PAIR)
    assert drawn.get_ylabel() == "time, end to end, ms" and drawn.get_xlabel() == "tlb.entries" and drawn.get_xscale() == "log"
    assert found.where(machine="GRU").plot("tlb.entries", "time_ms", hue="workload", axes=drawn) is drawn
    for call in (lambda: found.plot("tlb.entires", "time_ms"), lambda: found.where(**{"tlb.entires": 3})):
        with pytest.raises(ConfigError, match=r"no such column; did you mean tlb\.entries"):
            call()
    assert "3 points of tlb.entries: 24 rows" in repr(found) and "<table" in found._repr_html_()
