"""Where one machine becomes cheaper: every crossing, to the last setting that machines accept, and what is said where there is none."""

import math

import pytest
from formulas import use

import analysis
import workloads
from analysis.breakeven import breakeven
from hwmodel.machine import preset
from hwmodel.op import TraceError
from tests.support.configs import refusal

GRU, EPT = {"GRU": "gru-2008"}, {"EPT": "kvm-ept-2008"}
SIZES = [16, 64, 1024, 4096]


def small(pages=40, seed=0):
    return workloads.zipf(pages=pages, accesses=400, devices=1, seed=seed)


def find(monkeypatch, formula, over, asked=None, **named):
    use(monkeypatch, "breakeven", formula, asked)
    return breakeven(GRU, EPT, over, small, **named)


def against(constant, formula):
    """The first machine's figure by a formula of the point, the second's constant."""
    return lambda name, point, seed: formula(point) if name == "GRU" else constant


def ends(found):
    return list(found.crossings[["below", "above"]].itertuples(index=False, name=None))


def test_sizes_are_narrowed_down_to_neighbours_that_the_machine_accepts(monkeypatch):
    found = find(monkeypatch, against(3.0, lambda point: 1000 / point["tlb.entries"]), {"tlb.entries": SIZES})
    assert ends(found) == [(256, 512)], "1000/256 is more than 3, 1000/512 is less; 4 ways make powers of two"
    row = found.crossings.iloc[0]
    assert (row["cheaper_below"], row["cheaper_above"], row["note"]) == ("EPT", "GRU", "")
    assert found.frame["cheaper"].tolist() == ["EPT", "EPT", "GRU", "GRU"]
    assert found.frame["difference"].tolist() == pytest.approx([1000 / size - 3 for size in SIZES])
    assert str(found) == "tlb.entries from 16 to 4,096: cheaper is GRU from 512 on (EPT up to 256)."
    assert str(found) in repr(found) and "GRU from 512 on" in found._repr_html_()


def test_ways_that_are_no_power_of_two_have_other_neighbours(monkeypatch):
    use(monkeypatch, "breakeven", against(3.0, lambda point: 1000 / point["tlb.entries"]))
    odd = {"GRU": preset("gru-2008").with_(**{"tlb.ways": 3, "tlb.entries": 48})}
    assert ends(breakeven(odd, EPT, {"tlb.entries": [48, 3072]}, small)) == [(192, 384)], "3 times a power of two"


def test_any_whole_number_is_narrowed_down_to_the_next(monkeypatch):
    asked = []
    found = find(monkeypatch, against(0.0, lambda point: point["tgh.invalidate_ns"] - 77_777.5), {"tgh.invalidate_ns": [1, 10**6]}, asked)
    assert ends(found) == [(77_777, 77_778)]
    assert len(asked) < 30, "by bisection"


def test_floats_are_narrowed_down_to_the_tolerance(monkeypatch):
    root = math.sqrt(2e5)
    over = {"tgh.invalidate_ns": [10.5, 100_000.5]}
    for tolerance in (1e-2, 1e-6):
        found = find(monkeypatch, against(0.0, lambda point: point["tgh.invalidate_ns"] ** 2 - 2e5), over, tolerance=tolerance)
        ((low, high),) = ends(found)
        assert low < root < high and high - low <= tolerance * high


def test_every_change_of_sign_is_found(monkeypatch):
    def wave(point):
        return math.sin(2 * math.pi * (point["tgh.invalidate_ns"] - 1000) / 1000 + 0.1)

    found = find(monkeypatch, against(0.0, wave), {"tgh.invalidate_ns": [2500, 1200, 1700, 2200, 2700]})
    assert found.frame["tgh.invalidate_ns"].tolist() == [1200, 1700, 2200, 2500, 2700], "in order, whatever was given"
    zeros = [1500 - 100 / (2 * math.pi), 2000 - 100 / (2 * math.pi), 2500 - 100 / (2 * math.pi)]
    assert [low < zero < high and high - low == 1 for (low, high), zero in zip(ends(found), zeros, strict=True)] == [True] * 3
    assert found.crossings["cheaper_above"].tolist() == ["GRU", "EPT", "GRU"]


def test_touching_is_no_crossing(monkeypatch):
    found = find(monkeypatch, against(0.0, lambda point: (point["tlb.entries"] - 64) ** 2), {"tlb.entries": [16, 64, 256]})
    assert ends(found) == [] and found.frame["cheaper"].tolist() == ["EPT", "equal", "EPT"]
    assert str(found) == (
        "no crossing of tlb.entries in the range 16 to 256: EPT is cheaper at 2 of 3 points, equal or undecided at the rest."
    )


def test_none_in_range_is_said(monkeypatch):
    found = find(monkeypatch, against(3.0, lambda point: 1.0), {"tlb.entries": SIZES})
    assert found.crossings.empty and str(found) == "no crossing of tlb.entries in the range 16 to 4,096: GRU is cheaper throughout."
    assert str(find(monkeypatch, against(3.0, lambda point: 3.0), {"tlb.entries": SIZES})).endswith("equal or undecided throughout.")


def test_each_value_of_another_axis_has_its_own_crossing(monkeypatch):
    asked = []
    over = {"tlb.entries": SIZES, "EPT:vm.violation_ns": [1000, 2000, 10]}

    def formula(name, point, seed):
        return 1000 / point["tlb.entries"] if name == "GRU" else point["EPT:vm.violation_ns"] / 500

    found = find(monkeypatch, formula, over, asked)
    rows = found.crossings
    assert rows["EPT:vm.violation_ns"].tolist() == [1000, 2000] and ends(found) == [(256, 512), (128, 256)]
    lines = str(found).splitlines()
    assert lines[0] == "EPT:vm.violation_ns 1,000: tlb.entries from 16 to 4,096: cheaper is GRU from 512 on (EPT up to 256)."
    assert lines[2] == "EPT:vm.violation_ns 10: no crossing of tlb.entries in the range 16 to 4,096: EPT is cheaper throughout."
    assert len(asked[1]) == 2, "both are halved together"


def test_where_seeds_differ_nothing_is_decided(monkeypatch):
    def formula(name, point, seed):
        noise = 200 * (seed - 1)
        return point["tgh.invalidate_ns"] + noise if name == "GRU" else 3000.0

    found = find(monkeypatch, formula, {"tgh.invalidate_ns": [1000, 2900, 5000]}, seeds=range(3))
    assert found.frame["cheaper"].tolist() == ["GRU", "undecided", "EPT"]
    assert found.frame[["low", "difference", "high"]].iloc[1].tolist() == [-300, -100, 100]
    ((low, high),) = ends(found)
    assert low < 2800 and 3200 < high and "undecided at" in found.crossings["note"][0], "the bracket stays as wide as the noise"
    assert "Undecided at 1 of 3 points: the sign changes with the seed." in found.notes


def test_what_a_workload_refuses_ends_the_search(monkeypatch):
    def formula(name, point, seed):
        if 12 < point["workload.pages"] < 40:
            raise TraceError("pages: what is between is unlucky")
        return point["workload.pages"] if name == "GRU" else 20.0

    found = find(monkeypatch, formula, {"workload.pages": [12, 40]})
    assert ends(found) == [(12, 40)] and found.crossings["note"].tolist() == ["pages: what is between is unlucky"]


def test_on_real_runs_each_end_of_a_bracket_has_its_winner():
    over = {"EPT:vm.violation_ns": [500, 40_000], "workload.pages": [30, 60]}
    found = breakeven(GRU, EPT, over, small, progress=False)
    assert len(found.crossings) == 2
    machines = analysis.terms.on_equal_terms({"GRU": preset("gru-2008"), "EPT": preset("kvm-ept-2008")}, analysis.Terms())[0]
    for row in found.crossings.to_dict("records"):
        assert row["above"] - row["below"] == 1
        for end, winner in (("below", row["cheaper_below"]), ("above", row["cheaper_above"])):
            changed = machines | {"EPT": machines["EPT"].with_(**{"vm.violation_ns": row[end]})}
            trace = small(pages=row["workload.pages"])
            frame = analysis.experiment(changed, trace, metrics=["overhead_ns_per_access"], progress=False).frame
            assert frame.set_index("machine")["overhead_ns_per_access"].idxmin() == winner
    assert "coprocessor" in " ".join(found.notes)


def test_two_of_one_name_are_told_apart(monkeypatch):
    names = set()
    use(monkeypatch, "breakeven", lambda name, point, seed: names.add(name) or len(name))
    breakeven("gru-2008", preset("gru-2008").with_(**{"tlb.ways": 2}), {"tlb.entries": [64]}, small)
    assert names == {"gru-2008 (a)", "gru-2008 (b)"}


def test_pictures(monkeypatch):
    formula = against(3.0, lambda point: 1000 / point["tlb.entries"] + point.get("device.window", 0) / 10)
    one = find(monkeypatch, formula, {"tlb.entries": SIZES})
    assert one.visited["tlb.entries"].tolist() == [16, 64, 256, 512, 1024, 4096], "the lines go through all that was run"
    axes = one.plot()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["GRU", "EPT"]
    assert [line.get_xdata()[0] for line in axes.lines[2:]] == [384.0] and [text.get_text() for text in axes.texts] == ["256 to 512"]
    two = find(monkeypatch, formula, {"tlb.entries": SIZES, "device.window": [1, 8, 40]})
    chart = two.plot()
    assert chart.images[0].get_array().shape == (3, 4) and chart.get_xlabel() == "tlb.entries" and chart.get_ylabel() == "device.window"
    field = chart.images[0].get_array()
    assert field[0, 0] == pytest.approx(1 - 3 / (1000 / 16 + 0.1)) and field[0, 3] == pytest.approx((1000 / 4096 + 0.1) / 3 - 1)
    bars = [line for line in chart.lines if len(line.get_xdata()) == 2]
    assert len(bars) == 2 and all(1 < bar.get_xdata()[0] < 2 for bar in bars), "at 40 in flight there is no crossing"
    three = find(monkeypatch, formula, {"tlb.entries": SIZES, "device.window": [1, 8], "tlb.ways": [1, 2, 4, 8]})
    figure = three.plot()
    assert [panel.get_title(loc="left") for panel in figure.axes if panel.images] == [f"tlb.ways: {ways}" for ways in (1, 2, 4, 8)]
    assert refusal(three.plot, axes).startswith("axes: three axes are several maps")


@pytest.mark.parametrize(
    ("over", "named", "line"),
    [
        ({"kernel.thp": ["never", "always"]}, {}, "kernel.thp: the first axis must be of numbers"),
        ({"a": [1], "b": [1], "c": [1], "d": [1]}, {}, "over: takes one to 3 axes"),
        ({("tlb.entries", "tlb.ways"): [(64, 4)]}, {}, "over: takes one to 3 axes"),
        ({"tlb.entres": [64]}, {}, "tlb.entres: no machine has such a setting; did you mean tlb.entries?"),
        ({"tlb.entries": []}, {}, "tlb.entries: there is no value to sweep"),
        ({"tlb.entries": 64}, {}, "tlb.entries: a sweep needs a list of values"),
        ({"tlb.entries": [64, 100]}, {}, "tlb.ways: 4 of tlb.entries (100) make 25 sets"),
        ([{"tlb.entries": 64}], {}, "over: must be lists of values by axis"),
        ({"tlb.entries": [64]}, {"tolerance": 0}, "tolerance: must be in (0, 1), not 0"),
        ({"workload.pagess": [64]}, {}, "workload.pagess: no workload has such a parameter; did you mean pages?"),
    ],
)
def test_bad_input_is_told_in_one_line(over, named, line):
    assert refusal(breakeven, GRU, EPT, over, small, progress=False, **named).startswith(line)


def test_one_machine_against_one():
    line = "breakeven: compares one machine with one, not 2 (GRU, EPT)"
    assert refusal(breakeven, GRU | EPT, EPT, {"tlb.entries": [64]}, small) == line
