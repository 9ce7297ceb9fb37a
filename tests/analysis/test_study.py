"""Points and studies: which runs a comparison asks for, and a suite's tables and pictures; the runs are fabricated."""

import math
import os
import sys

import fabricated
import pandas as pd
import pytest

import analysis
import workloads
from analysis import studytables, tables
from analysis.comparison import Comparison
from analysis.overhead import Overhead
from analysis.points import Point, Runner, variants
from analysis.study import LINE_UPS, Study
from hwmodel.machine import ConfigError, preset, presets
from hwmodel.outside import markdown

LINE = {"old": ["gru-2008", "kvm-ept-2008"], "new": ["gru-2024"]}


def windows(ran, name):
    return sorted(machine.get("device.window") for machine, _ in ran if machine.name == name)


@pytest.fixture
def few(monkeypatch):
    """A suite of two workloads."""
    every = workloads.suite("quick")
    monkeypatch.setattr(sys.modules["workloads.suite"], "suite", lambda name: every[5:7])


def test_every_machine_runs_in_two_windows_beside_its_bound(simulated, trace):
    """The bounds of machines on one device are one run for each window."""
    found = analysis.compare(["gru-2008", "ideal-2008"], trace, draws=0)
    assert windows(simulated, "gru-2008") == [1, 8] and windows(simulated, "ideal-2008") == [1, 8]
    assert [(point.machine, point.window, point.configured) for point in found.points] == [
        ("gru-2008", 8, True), ("gru-2008", 1, False), ("ideal-2008", 8, True), ("ideal-2008", 1, False)
    ]  # fmt: skip
    simulated.clear()
    analysis.compare({"a": preset("gru-2008"), "b": preset("gru-2008").with_(**{"tlb.entries": 64})}, trace, draws=0)
    assert windows(simulated, "ideal-2008") == [1, 8]
    simulated.clear()
    analysis.compare({"a": preset("gru-2008").with_(**{"device.window": 1})}, trace)
    assert windows(simulated, "gru-2008") == windows(simulated, "ideal-2008") == [1], "its own window is that of dependent accesses"


def test_dependent_accesses_run_at_the_ends_of_the_latency(simulated, trace):
    """Of the device that is compared on, with the first seed, and the bound beside them; nothing else does."""
    found = analysis.compare(["gru-2008", "cpu-only"], trace, seeds=[3, 7], vary_latency=True)
    ends = [(machine.name, machine.get("device.window"), machine.get("device.latency_ns"))
            for machine, _ in simulated if machine.has_device and machine.get("device.latency_ns") != 200]  # fmt: skip
    assert sorted(ends) == [(name, 1, ns) for name in ("gru-2008", "ideal-2008") for ns in (2, 1000)]
    assert [list(point.ends) for point in found.points] == [[], [2, 1000], []]


def test_a_machine_without_a_device_runs_once(simulated, trace):
    found = analysis.compare(["cpu-only"], trace)
    assert len(simulated) == 1 and not found.verdicts and found.table.loc["cpu-only", "seeds"] == 0
    assert list(variants(preset("cpu-only"))) == [(preset("cpu-only"), None, True)]


def test_seeds_run_everything_anew_on_the_same_trace(simulated, trace):
    found = analysis.compare(["gru-2008"], trace, seeds=[3, 7])
    assert [list(point.overheads) for point in found.points] == [[3, 7], [3, 7]]
    assert len({id(used) for _, used in simulated}) == 2 and len(simulated) == 8
    assert any("2 seeds" in title for _, title, _ in tables.metric_rows(found.sheet))


def test_overheads_add_up_and_stand_in_every_table(simulated, trace):
    found = analysis.compare(["gru-2008"], trace)
    point = found.points[0]
    assert found.overheads.query("configured")["cycles"].sum() == point.overheads[0].total
    for side, part in (("engine", point.overheads[0].exposed), ("cpu", point.overheads[0].served)):
        assert found.overheads.query("configured and side == @side", local_dict={"side": side})["cycles"].sum() == part
    frame = found.frame
    assert list(frame["machine"]) == ["gru-2008", "gru-2008", "ideal", "ideal"] and list(frame["window"]) == [8, 1, 8, 1]
    assert frame["overhead_ns_per_access"].tolist() == pytest.approx([point.overheads[0].per_access_ns] * 2 + [0, 0])
    assert list(found.table.index) == ["gru-2008"]
    assert "the same with dependent accesses" in found.to_markdown() and "translation overhead, ns per device access" in found.to_markdown()


def test_bounds_of_several_devices_say_whose_they_are(simulated, trace):
    found = analysis.compare(["gru-2008", "gru-2024"], trace, as_built=True)
    assert list(found.frame["machine"])[-4:] == ["ideal of gru-2008", "ideal of gru-2024"] * 2


def test_a_warm_up_is_told_and_reaches_every_run(monkeypatch, trace):
    asked = []

    def simulate(machine, trace, progress=None, **told):
        asked.append(told)
        return getattr(fabricated, machine.design)(machine)

    monkeypatch.setattr("analysis.runs.simulate", simulate)
    found = analysis.compare(["gru-2008"], trace, warmup=0.5)
    assert found.notes[-1] == "The first 50 % of the records are a warm-up, which is not counted." and asked == [{"warmup": 0.5}] * 4
    assert analysis.compare(["gru-2008"], trace, warmup=1000).notes[-1].startswith("The first 1,000 of the records are")
    assert not any("warm-up" in note for note in analysis.compare(["gru-2008"], trace).notes)


@pytest.mark.parametrize("threads", [0, 1.5, True, "2"])
def test_threads_that_are_no_number(threads):
    with pytest.raises(ConfigError, match="threads: must be a whole number from 1 on"):
        Runner(threads, False)


def test_an_error_of_one_run_ends_them_all(monkeypatch, trace):
    def simulate(machine, trace, progress=None, **told):
        raise ConfigError("no memory")

    monkeypatch.setattr("analysis.runs.simulate", simulate)
    with pytest.raises(ConfigError, match="no memory"):
        analysis.compare(["gru-2008", "ideal-2008"], trace)


def test_a_study_has_a_row_for_each_machine_workload_and_window(simulated, few):
    found = analysis.compare_suite("quick", LINE, seeds=range(2), draws=0)
    frame = found.frame
    assert list(frame.columns[:4]) == ["line_up", "workload", "machine", "window"]
    mine = frame[frame["machine"] == "gru-2024"]
    assert mine[["line_up", "workload", "window"]].to_numpy().tolist() == [
        ["new", name, window] for name in ("zipf-within", "zipf-beyond") for window in (8, 1)
    ]  # fmt: skip
    assert set(frame["seeds"]) <= {0, 1, 2} and set(frame[frame["machine"] == "ideal"]["overhead_ns_per_access"]) == {0.0}
    assert len({id(used) for machine, used in simulated if machine.name == "gru-2008"}) == 4, "a trace for each workload and seed"
    assert studytables.notes(found.line_ups["old"])[0] == "Clock, CPUs, memory and kernel of gru-2008 on every machine."
    assert repr(found) == "<Study of old, new on suite quick>"


def test_the_files_of_a_study(simulated, few, tmp_path):
    found = analysis.compare_suite("quick", LINE, seeds=[0], draws=20)
    written = [os.path.basename(path) for path in found.save(tmp_path)]
    assert written == ["compare.csv", "compare.md", "verdicts.csv", "costs.png", "latency.png"]
    assert sorted(os.listdir(tmp_path)) == sorted(written)
    page = (tmp_path / "compare.md").read_text()
    for part in ("# Suite quick: old, new", "![What translation costs](costs.png)", "gru-2024, 1 in flight", "Verdicts rest on one seed",
                 "zipf-within: popular and rare pages", "- **translation overhead"):  # fmt: skip
        assert part in page
    assert found.to_markdown().count("![") == 0
    assert len(pd.read_csv(tmp_path / "compare.csv")) == len(found.frame)
    for name in (name for line_up in LINE.values() for name in line_up):
        assert f"- {name}: {markdown(preset(name).description)}\n" in page[: page.index("![")]
    verdict, told = pd.read_csv(tmp_path / "verdicts.csv").iloc[0], found.line_ups["old"]["zipf-within"].verdicts[0]
    for window, duel in zip(("", "dependent_"), told.duels, strict=True):
        assert verdict[f"{window}difference_ns"] == pytest.approx(duel.difference.median)
        ends = [verdict[f"{window}factor_{end}"] for end in ("low", "median", "high")]
        assert ends == pytest.approx([duel.factor.low, duel.factor.median, duel.factor.high])


def test_numbers_that_a_verdict_lacks_are_missing():
    """There is no second window, or nothing by which to divide."""
    found = line_up(paid=(([1, 3], [1, 1]), ([2, 1], [1, 1])), free=(([0, 2], [1, 1]), ([1, 0], [1, 1])))
    table = Study("quick", {}, {"own": found}).verdicts.set_index("workload")
    assert table.loc["paid", ["difference_ns", "factor_low", "factor_median", "factor_high"]].tolist() == [-2, 3, 3, 3]
    assert table.loc["paid", ["dependent_difference_ns", "dependent_factor_median"]].tolist() == [1, 2]
    assert table.loc["free", "dependent_difference_ns"] == 1 and math.isnan(table.loc["free", "dependent_factor_median"])
    alone = {name: Comparison({}, points=tuple(point for point in one.points if point.configured)) for name, one in found.items()}
    table = Study("quick", {}, {"own": alone}).verdicts
    assert table["factor_high"].notna().tolist() == [True, False] and table["dependent_difference_ns"].isna().all()


def test_the_summary_counts_the_workloads_that_each_wins(simulated, few):
    """Fabricated runs of one design are all the same."""
    found = analysis.compare_suite("quick", {"own": {"A": "gru-2008", "B": "gru-2008"}}, seeds=[0], draws=0)
    assert found.verdicts["verdict"].tolist() == ["no difference of 5 %"] * 2
    own = "By the engines' own time, with the device's window and without what CPUs do for them,"
    told = f"A or B, of 2 workloads: undecided or equal on all 2. {own} A on 0 and B on 0 of 2."
    assert studytables.summary(found.line_ups["own"]) == [told]
    slow = found.line_ups["own"]["zipf-within"].points[0].typical.slowdown
    assert [cells for _, cells in studytables.slowdown_rows(found.line_ups["own"])] == [[f"{slow:.3g}"] * 4] * 2
    rows = dict(studytables.overhead_rows(found.line_ups["own"]))
    assert studytables.overhead_columns(found.line_ups["own"]) == ["A", "B", "A, 1 in flight", "B, 1 in flight"]
    assert rows["zipf-within"] == [studytables.figure(found.line_ups["own"]["zipf-within"].points[0].per_access.median)] * 4


@pytest.mark.parametrize(("ns", "text"), [(0.0123, "0.012"), (0, "0.000"), (-3.456, "-3.46"), (12.3456, "12.3"), (1234.5, "1,234")])
def test_figures(ns, text):
    assert studytables.figure(ns) == text


def line_up(**workloads):
    """A line-up of A and B: (overheads, slowdowns) of each, in the device's window, then with dependent accesses."""
    def point(machine, ns, slowdown, window):
        cost = Overhead(machine, int(1000 * ns), 0, int(100 * slowdown), 100, 1000, 1.0, {})
        return Point(machine, window, window == 8, None, None, {0: cost})

    return {
        name: Comparison({}, points=tuple(point(machine, ns[k], slow[k], window)
                                          for window, ns, slow in ((8, *own), (1, *chained)) for k, machine in enumerate("AB")))
        for name, (own, chained) in workloads.items()
    }  # fmt: skip


def test_the_summary_tells_wins_in_both_windows_apart():
    found = line_up(
        both=(([1, 2], [3, 2]), ([1, 2], [1, 1])), one=(([1, 1], [1, 1]), ([2, 1], [1, 1])),
        slight=(([1.1, 1], [1, 2]), ([1.1, 1], [1, 1])), neither=(([1, 2], [1, 1]), ([2, 1], [1, 1])),
    )  # fmt: skip
    assert studytables.summary(found) == [
        "A or B, of 4 workloads: A costs less on 1 (both); B costs less on 1 (slight); B costs less in one window only on 1 (one); "
        "undecided or equal on 1 (neither); by less than 1.2x, which estimates may turn, on 1 (slight). By the engines' own time, with the "
        "device's window and without what CPUs do for them, A on 1 and B on 1 of 4."
    ]
    assert dict(studytables.slowdown_rows(found))["both"] == ["3", "2", "1", "1"]


def test_studies_that_are_refused(simulated):
    with pytest.raises(ConfigError, match="line_ups: there is none"):
        analysis.compare_suite("quick", {})
    with pytest.raises(ConfigError, match="nobody"):
        analysis.compare_suite("quick", LINE, same_device="nobody")
    with pytest.raises(ConfigError, match="seeds"):
        analysis.compare_suite("quick", LINE, seeds=[])
    assert not simulated


def test_the_line_ups_of_the_main_job():
    """Every machine with engines that comes with the project, but the bound, which runs beside them."""
    listed = [name for line_up in LINE_UPS.values() for name in line_up]
    bound = fabricated.ideal().machine.name
    assert sorted([*listed, bound]) == sorted(name for name in presets() if preset(name).has_engines)


@pytest.mark.parametrize("line_up", LINE_UPS.values(), ids=list(LINE_UPS))
def test_who_gives_a_line_up_its_primary_says_which_kernel_that_is(line_up):
    """The page introduces machines in the words of their presets."""
    first = preset(line_up[0])
    assert first.get("kernel.policy").replace("-", " ").title() in first.description
