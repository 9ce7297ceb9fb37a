"""What decides a figure: each cost at both ends of its range, Sobol indices against an analytic case, and what is said and drawn."""

import pytest
from formulas import use, value

import analysis
import workloads
from analysis import ranges
from analysis.metrics import METRICS
from analysis.sensitivity import sensitivity
from hwmodel.machine import preset
from tests.support.configs import refusal

PAIR = {"GRU": "gru-2008", "EPT": "kvm-ept-2008"}
DRAM, EXCEPTION = "memory.dram_ns", "cpu.exception_cycles"


def small(seed=0):
    return workloads.zipf(pages=40, accesses=400, devices=1, seed=seed)


def additive(name, point, seed):
    """3 times the place of one cost in its range, plus once that of another: shares of the variance 9/10 and 1/10."""
    dram, exception = (value(point, name, one) for one in (DRAM, EXCEPTION))
    return 10 + 3 * (dram - 65) / 65 + (exception - 600) / 500


def test_the_ends_are_those_of_runs_with_that_one_setting_changed():
    found = sensitivity(PAIR, small(), progress=False)
    machines = analysis.terms.on_equal_terms({name: preset(one) for name, one in PAIR.items()}, analysis.Terms())[0]
    figure = "overhead_ns_per_access"

    def run(**changes):
        changed = {name: one.with_(**{key: at for key, at in changes.items() if key in one.flat()}) for name, one in machines.items()}
        frame = analysis.experiment(changed, small(), metrics=[figure], progress=False).frame
        return frame.set_index("machine")[figure]

    row = found.of("GRU").set_index("quantity").loc["tgh.invalidate_ns"]
    assert row["at_low"] == run(**{"tgh.invalidate_ns": 1000})["GRU"] and row["at_high"] == run(**{"tgh.invalidate_ns": 10_000})["GRU"]
    assert row["at_value"] == run()["GRU"] and (row["low"], row["high"], row["value"]) == (1000, 10_000, 3000)
    both = found.of("GRU / EPT").set_index("quantity").loc["kernel.zero_page_ns"]
    there = run(**{"kernel.zero_page_ns": 800})
    assert both["at_high"] == there["GRU"] / there["EPT"] and both["machines"] == "GRU, EPT"
    assert found.of("EPT").set_index("quantity").loc["tgh.invalidate_ns", "swing"] == 0, "the other machine has no such setting"
    assert found.of("GRU").set_index("quantity").loc["kernel.shootdown.bau_ns", "swing"] == 0, "it has no broadcast unit"


def test_each_quantity_has_two_points_and_a_sum_is_one(monkeypatch):
    asked = []
    use(monkeypatch, "sensitivity", lambda name, point, seed: 1.0 + (name == "GRU"), asked)
    found = sensitivity(PAIR, small())
    quantities = found.frame["quantity"].nunique()
    assert [len(points) for points in asked] == [1 + 2 * quantities]
    handler = next(name for name in found.frame["quantity"] if "interrupt handler" in name)
    ends = [point for point in asked[0] if point["GRU:driver.restart_ns"] != 500]
    assert [point["GRU:driver.restart_ns"] / 500 for point in ends] == pytest.approx([2000 / 2150, 6000 / 2150]), "in proportion"
    assert found.of("GRU").set_index("quantity").loc[handler, "value"] == 2150
    assert {"driver.restart_ns", "driver.interrupt_ns"}.isdisjoint(found.frame["quantity"])


def test_swings_rank_and_flips_are_told(monkeypatch):
    def formula(name, point, seed):
        return value(point, "GRU", "tgh.invalidate_ns") + value(point, "GRU", DRAM) if name == "GRU" else 3200.0

    use(monkeypatch, "sensitivity", formula)
    found = sensitivity(PAIR, small())
    assert found.measure == "GRU / EPT"
    first = found.first(2)
    assert first["quantity"].tolist() == ["tgh.invalidate_ns", DRAM]
    assert first["swing"].tolist() == pytest.approx([9000 / 3200, 65 / 3200])
    assert first["flips"].tolist() == [True, False] and not found.of("GRU")["flips"].any()
    assert found.of("GRU less EPT").iloc[0]["at_low"] == 1000 + 100 - 3200
    assert "tgh.invalidate_ns (letter E), 1,000 to 10,000 ns: 0.344 to 3.16; the two change places" in str(found)
    assert "tgh.invalidate_ns" in found._repr_html_() and str(found) in repr(found)


def test_below_nothing_the_difference_decides(monkeypatch):
    use(monkeypatch, "sensitivity", lambda name, point, seed: value(point, "GRU", DRAM) - 100 if name == "GRU" else 5.0)
    found = sensitivity(PAIR, small())
    assert found.measure == "GRU less EPT" and found.first(1)["quantity"].tolist() == [DRAM]
    assert "GRU / EPT" not in set(found.frame["measure"])


def test_sobol_indices_of_a_sum_of_two(monkeypatch):
    pytest.importorskip("SALib", reason="NOT SHOWN: Sobol indices, for SALib is not installed")
    asked = []
    use(monkeypatch, "sensitivity", additive, asked)
    found = sensitivity({"GRU": "gru-2008"}, small(), "sobol", among=3, samples=512)
    assert [len(points) for points in asked][1] == 512 * (3 + 2)
    rows = found.first(2).set_index("quantity")
    assert list(rows.index) == [DRAM, EXCEPTION]
    assert rows["first_order"].tolist() == pytest.approx([0.9, 0.1], abs=0.03)
    assert rows["total"].tolist() == pytest.approx([0.9, 0.1], abs=0.03), "nothing acts together with anything"
    assert "explains 90 % in all" in str(found)
    again = sensitivity({"GRU": "gru-2008"}, small(), "sobol", among=3, samples=512)
    assert again.frame.equals(found.frame), "the same seed, the same indices"
    axes = found.plot()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["alone", "with all that it acts together with"]


def test_sobol_indices_of_nothing_that_varies_are_refused(monkeypatch):
    pytest.importorskip("SALib", reason="NOT SHOWN: Sobol indices, for SALib is not installed")
    use(monkeypatch, "sensitivity", lambda name, point, seed: 4.0)
    assert refusal(sensitivity, "gru-2008", small(), "sobol", samples=4).startswith("sensitivity: no quantity changes the figure")


def test_the_tornado_has_a_bar_for_each_end(monkeypatch):
    use(monkeypatch, "sensitivity", additive)
    found = sensitivity({"GRU": "gru-2008"}, small())
    axes = found.plot(2)
    assert [label.get_text() for label in axes.get_yticklabels()] == [f"{DRAM} (M)", f"{EXCEPTION} (M)"]
    widths = [bar.get_width() for bar in axes.patches]
    assert widths == pytest.approx([3 * -35 / 65, 3 * 30 / 65, -200 / 500, 300 / 500])
    assert {"65 ns", "130 ns", "600 cycles", "1,100 cycles"} == {text.get_text() for text in axes.texts}
    assert axes.get_xlabel() == f"GRU: {METRICS[0].title}" and found.plot(2, axes=axes) is axes


@pytest.mark.parametrize(
    ("named", "line"),
    [
        ({"method": "sobl"}, "method: must be one of oat, sobol, not 'sobl'; did you mean sobol?"),
        ({"samples": 48}, "among, samples: must be at least 1, and a power of two from 2 on, not 8 and 48"),
        ({"among": 0}, "among, samples: must be at least 1"),
        ({"figure": "overhed_ns_per_access"}, "metrics: there is no overhed_ns_per_access; did you mean overhead_ns_per_access?"),
    ],
)
def test_bad_input_is_told_in_one_line(named, line):
    assert refusal(sensitivity, PAIR, small(), progress=False, **named).startswith(line)


def test_a_measure_that_there_is_not(monkeypatch):
    use(monkeypatch, "sensitivity", additive)
    found = sensitivity(PAIR, small(), keep=[name for name in ranges.ranges(preset("kvm-ept-2008")) if name.startswith("vm.")])
    assert refusal(found.first, 5, "GRU/EPT").startswith("measure: there is no GRU/EPT; did you mean GRU / EPT?")
    assert not any(name.startswith("vm.") for name in found.frame["quantity"])
