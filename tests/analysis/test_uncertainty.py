"""Draws of what is uncertain: which settings, from where to where, how the machines share them, and what is said of the outcome."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import analysis
import workloads
from analysis import ranges
from analysis.metrics import METRICS
from analysis.plots.figure import INK
from analysis.uncertainty import Uncertainty, drawn_points
from hwmodel.config.section import FREE
from hwmodel.machine import load, preset, presets
from tests.support.configs import machine, refusal, write

__all__ = ["machine"]

PAIR = {"GRU": "gru-2008", "EPT": "kvm-ept-2008"}
PLACES = (0.0, 1e-4, 0.25, 0.5, 0.75, 1.0)


def small(seed=0):
    return workloads.zipf(pages=40, accesses=400, devices=1, seed=seed)


def equal(named=PAIR):
    return analysis.terms.on_equal_terms({name: preset(one) for name, one in named.items()}, analysis.Terms())[0]


def ns(machine, name, value):
    number = 0.0 if value == FREE else value
    return number if name.endswith("_ns") else number * 1000 / machine.get("clock.mhz")


def test_costs_are_uncertain_and_choices_of_a_design_are_not(machine):
    found = ranges.ranges(machine)
    units = {name: about.unit for name, about in machine.provenance().items()}
    assert {units[name] for name in found} <= {"ns", "cycles", "lines"}
    left = [name for name, about in machine.provenance().items() if about.unit in ("ns", "cycles") and name not in found]
    assert not left, "every time has a range: of its source, or by its letter"
    assert not any(name.endswith(("entries", "ways", "count", "window", "mhz")) for name in found)


def test_every_place_in_a_range_is_a_value_that_the_machine_accepts(machine):
    known = ranges.ranges(machine)
    for place in PLACES:
        values = {name: one.at(place) for name, one in known.items()}
        changed = machine.with_(**values)
        for name, one in known.items():
            about = machine.provenance()[name]
            number = 0.0 if changed.get(name) == FREE else changed.get(name)
            assert one.low - 0.5 <= number <= one.high + 0.5, name
            if place in (0.0, 1.0) and one.unit == "ns" and one.cycles(one.number(place)) >= 0.5 and one.published:
                assert changed.get(name) == pytest.approx((about.low, about.high)[int(place)]), name


@pytest.mark.parametrize(
    ("letter", "low", "high", "middle"),
    [("V", 90, 110, 100), ("S", 75, 125, 100), ("M", 100 / 1.5, 150, 100), ("E", 50, 200, 100)],
)
def test_without_a_range_the_letter_says_how_far(letter, low, high, middle):
    base = preset("gru-2008")
    about = replace(base.provenance()["memory.dram_ns"], value=100, confidence=letter, low=None, high=None)
    one = ranges.ranges(replace(base, origins={**base.provenance(), "memory.dram_ns": about}))["memory.dram_ns"]
    assert (one.at(0.0), one.at(1.0), one.at(0.5)) == pytest.approx((low, high, middle))


@pytest.mark.parametrize(
    ("low", "high", "middle"),
    [(10, 20, 15), (10, 90, 30), ('"free"', 200, 100), (50, '150', 100)],
)
def test_a_published_range_is_covered_evenly_or_by_its_logarithm(tmp_path, low, high, middle):
    value = 60 if high != 20 else 15
    told = f'{{ value = {value}, source = "mine", confidence = "E", low = {low}, high = {high} }}'
    one = ranges.ranges(load(write(tmp_path, f'extends = ["gru-2008"]\nmemory.dram_ns = {told}\n')))["memory.dram_ns"]
    wide = low != '"free"' and float(high) / low >= 3
    assert one.log is wide and one.published
    assert one.at(0.5) == pytest.approx(math.sqrt(low * float(high)) if wide else middle)
    if low == '"free"':
        assert one.at(0.0) == FREE == one.at(0.0005), "less than half a cycle is free"


def test_lines_keep_a_power_of_two_of_sets(machine):
    for name, one in ranges.ranges(machine).items():
        if one.unit == "lines":
            sizes = {one.at(place) for place in np.linspace(0, 1, 50)}
            assert len(sizes) > 2 and all(math.log2(size / one.value).is_integer() for size in sizes), name
            assert min(sizes) == one.low and max(sizes) == one.high, name


def test_what_the_user_has_set_stays():
    changed = preset("gru-2008").with_(**{"tgh.invalidate_ns": 2500, "driver.interrupt_ns": 1000})
    known = ranges.ranges(changed)
    assert "tgh.invalidate_ns" not in known and "driver.interrupt_ns" not in known and "driver.poll_ns" in known
    names = [one.name for one in ranges.quantities({"a": changed})]
    assert "driver.irq_entry_ns" in names and not any("interrupt handler" in name for name in names), "nor is a sum of it known any more"


def test_what_the_user_has_set_stays_whatever_range_he_gives(tmp_path):
    told = "{ value = 2000, low = 1000, high = 4000 }"
    assert "tgh.invalidate_ns" not in ranges.ranges(load(write(tmp_path, f'extends = ["gru-2008"]\ntgh.invalidate_ns = {told}\n')))


def test_what_machines_share_is_drawn_once():
    machines = equal() | {"B": equal()["GRU"].with_(**{"memory.dram_ns": 77})}
    found = {one.name: one for one in ranges.quantities(machines)}
    assert found["kernel.fault_ns"].owners == ("GRU", "EPT", "B") and found["device.latency_ns"].owners == ("GRU", "EPT", "B")
    assert found["vm.violation_ns"].owners == ("EPT",) and found["memory.dram_ns"].owners == ("GRU", "EPT")
    as_built = ranges.quantities({name: preset(one) for name, one in PAIR.items()})
    assert {"GRU: device.latency_ns", "EPT: device.latency_ns"} <= {one.name for one in as_built}
    points, _ = drawn_points(ranges.quantities(machines), 30, 0)
    assert all(point["GRU:kernel.fault_ns"] == point["EPT:kernel.fault_ns"] == point["B:kernel.fault_ns"] for point in points)
    assert len({point["GRU:kernel.fault_ns"] for point in points}) == 30
    assert not any("B:memory.dram_ns" in point for point in points)


@pytest.mark.parametrize("name", presets())
def test_sums_are_of_costs_that_there_are(name):
    one = preset(name)
    parts = [part for each in one.sums() for part in each.parts]
    assert len(parts) == len(set(parts)), "a setting is a part of one sum at the most"
    for each in one.sums():
        assert 0 < each.low < each.high and each.source and len(each.parts) > 1
        assert {one.provenance()[part].unit for part in (*each.parts, *each.less)} <= {"ns", "cycles"}


def test_a_sum_is_drawn_as_a_sum_and_its_parts_add_up_to_it():
    machines = equal()
    uncertain = ranges.quantities(machines)
    sums = [one for one in uncertain if one.sum]
    assert any("interrupt handler" in one.name for one in sums) and any("first target" in one.name for one in sums)
    inside = {part.setting for one in sums for part in one.ranges}
    assert not inside & {one.name for one in uncertain}
    points, drawn = drawn_points(uncertain, 40, 3)
    for one in sums:
        for number, point in enumerate(points):
            for owner in one.owners:
                value = {name.partition(":")[2]: each for name, each in point.items() if name.startswith(f"{owner}:")}
                less = {off.setting: value.get(off.setting, off.value) for off in one.less}
                total = sum(ns(machines[owner], part.setting, value[part.setting]) for part in one.ranges)
                total -= sum(ns(machines[owner], name, each) for name, each in less.items())
                assert total == pytest.approx(drawn[one.name][number], rel=1e-3), one.name
    handler = next(one for one in sums if "interrupt handler" in one.name)
    assert drawn[handler.name].min() < 2100 and drawn[handler.name].max() > 5500, "2 to 6 us"


def test_a_sum_holds_only_for_machines_whose_own_is_within_it():
    named = {one.name for one in ranges.quantities({"a": preset("gru-2024")})}
    assert "driver.interrupt_ns" in named and not any("interrupt handler" in name for name in named)
    assert any("whose host page" in one.name for one in ranges.quantities({"a": preset("kvm-ept-2024")}))
    assert "vm.violation_ns" in {one.name for one in ranges.quantities({"a": preset("kvm-ept-2008")})}


def test_draws_are_a_latin_hypercube_and_the_same_for_a_seed():
    uncertain = ranges.quantities(equal())
    draws = 25
    points, drawn = drawn_points(uncertain, draws, 7)
    again, other = drawn_points(uncertain, draws, 7)[0], drawn_points(uncertain, draws, 8)[0]
    assert points == again and points != other
    for one in uncertain:
        low, high = one.range.low, one.range.high
        numbers = drawn[one.name].to_numpy()
        places = np.log(numbers / low) / np.log(high / low) if one.range.log else (numbers - low) / (high - low)
        assert sorted(np.floor(places * draws).astype(int).tolist()) == list(range(draws)), one.name


def test_a_draw_is_the_run_of_a_machine_with_its_settings():
    found = analysis.uncertainty(PAIR, small(), draws=20, seed=5, progress=False)
    assert len(found.frame) == 40 and list(found.frame) == ["draw", "machine", "overhead_ns_per_access"] and len(found.drawn) == 20
    points, _ = drawn_points(ranges.quantities(equal()), 20, 5)
    for name, one in equal().items():
        values = {key.partition(":")[2]: value for key, value in points[11].items() if key.startswith(f"{name}:")}
        run = analysis.experiment({name: one.with_(**values)}, small(), metrics=["overhead_ns_per_access"], progress=False).frame
        assert found.of(name)[11] == run["overhead_ns_per_access"][0]
    told = " ".join(found.notes)
    assert "coprocessor" in told and "tgh.invalidate_ns (GRU): 1000 to 10000, published range, evenly by its logarithm" in told


def test_terms_and_what_is_kept():
    found = analysis.uncertainty(PAIR, small(), draws=20, keep=["tgh.invalidate_ns"], terms=analysis.Terms(as_built=True), progress=False)
    assert "tgh.invalidate_ns" not in found.drawn and {"GRU: device.latency_ns", "EPT: device.latency_ns"} <= set(found.drawn)


def fabricated(**values):
    """An outcome by hand: the figures of each machine by draw."""
    count = len(next(iter(values.values())))
    rows = [{"draw": i, "machine": name, METRICS[0].name: each[i]} for name, each in values.items() for i in range(count)]
    return Uncertainty(pd.DataFrame(rows), pd.DataFrame({"x": range(count)}), METRICS[0], ())


def test_probability_has_wilson_s_band():
    found = fabricated(a=[1.0] * 97 + [3.0] * 3, b=[2.0] * 100)
    chance = found.probability("a", "b")
    n, p, z = 100, 0.97, 1.959964
    centre, half = (p + z * z / 2 / n) / (1 + z * z / n), z * math.sqrt(p * (1 - p) / n + z * z / 4 / n / n) / (1 + z * z / n)
    assert chance.value == 0.97 and chance.draws == 100
    assert (chance.low, chance.high) == pytest.approx((centre - half, centre + half), abs=1e-5)
    assert found.probability("b", "a").value == pytest.approx(0.03)
    assert fabricated(a=[2.0] * 30, b=[2.0] * 30).probability("a", "b").value == 0, "equal is not cheaper"


def test_ratio_and_verdict():
    found = fabricated(a=list(np.linspace(1, 2, 101)), b=[5.0] * 101)
    assert tuple(found.ratio("a", "b")) == pytest.approx((0.21, 0.3, 0.39))
    assert found.winner("a", "b") == found.winner("b", "a") == "a"
    line = "a is cheaper than b in 100 % of 101 draws (96.3 to 100 %); ratio 0.3 (0.21 to 0.39)"
    assert found.verdict("a", "b") == found.verdict("b", "a") == line
    assert str(found) == f"{line}." and line in repr(found) and line in found._repr_html_()


def test_a_band_that_has_room_for_either_is_undecided():
    found = fabricated(a=list(np.linspace(1, 5, 100)), b=[4.0] * 100)
    assert found.ratio("a", "b").low < 1 < found.ratio("a", "b").high
    assert found.winner("a", "b") == "" and found.verdict("b", "a").startswith("undecided: a is cheaper than b in 75 % of 100 draws")
    assert fabricated(a=[2.0] * 30, b=[2.0] * 30).winner("a", "b") == ""


def test_an_overhead_below_nothing_has_no_ratio_but_a_difference():
    found = fabricated(a=[-1.0] * 20, b=[4.0] * 20)
    assert all(math.isnan(end) for end in found.ratio("a", "b"))
    assert found.verdict("a", "b") == "a is cheaper than b in 100 % of 20 draws (83.9 to 100 %); difference -5 (-5 to -5) ms"
    axes = found.plot()
    assert "difference" in axes.get_xlabel() and any(line.get_xdata()[0] == 0.0 for line in axes.lines if line.get_color() == INK)


def test_the_picture_has_a_line_for_each_pair():
    three = fabricated(a=[1.0, 2.0] * 20, b=[2.0] * 40, c=[30.0] * 40)
    axes = three.plot()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a / b", "a / c", "b / c"]
    assert axes.get_xlabel().startswith("ratio of") and axes.get_xscale() == "log" and axes.get_ylim() == (0, 100)
    line = next(line for line in axes.lines if len(line.get_xdata()) == 40)
    assert sorted(line.get_xdata()) == [0.5] * 20 + [1.0] * 20
    alone = fabricated(a=[1.0, 2.0] * 20)
    assert alone.plot().get_xlabel() == METRICS[0].title and str(alone) == "a: 1.5 (1 to 2)"
    other = alone.plot()
    assert alone.plot(other) is other


@pytest.mark.parametrize(
    ("named", "line"),
    [
        ({"draws": 19}, "draws: must be a whole number from 20 on, not 19"),
        ({"draws": 20.5}, "draws: must be a whole number from 20 on, not 20.5"),
        ({"keep": ["tgh.invalidate"]}, "tgh.invalidate: design gru has no such setting; did you mean tgh.invalidate_ns?"),
        ({"keep": ["memory"]}, "keep: memory is a section"),
        ({"figure": "overhead"}, "metrics: there is no overhead"),
    ],
)
def test_bad_input_is_told_in_one_line(named, line):
    assert refusal(analysis.uncertainty, PAIR, small(), progress=False, **{"draws": 20} | named).startswith(line)


def test_what_can_t_be_compared_is_refused():
    assert refusal(analysis.uncertainty, PAIR, [small, workloads.zipf], draws=20).startswith("workload: must be one, not 2")
    plain = workloads.zipf(pages=40, accesses=400)
    line = refusal(analysis.uncertainty, ["gru-2008", "cpu-only"], plain, draws=20, progress=False)
    assert line.startswith("figure: cpu-only has no overhead_ns_per_access")
    everything = list(ranges.ranges(preset("gru-2008")))
    assert refusal(analysis.uncertainty, "gru-2008", small(), keep=everything).startswith("machines: nothing of them is uncertain")
    found = fabricated(GRU=[1.0] * 20, EPT=[2.0] * 20)
    assert refusal(found.ratio, "GRU", "EPTT") == "EPTT: there is no such machine; did you mean EPT?"
