"""Pictures of experiments, miss curves and working sets: what they show is what was measured, with its unit; what would mix is refused."""

import collections
import itertools
import random

import numpy as np
import pandas as pd
import pytest

import analysis
import hwmodel
import workloads
from analysis.axes import axes_of
from analysis.experiments import Experiment
from analysis.metrics import METRICS, families_frame, phase_columns
from analysis.plots import draw_miss_curve
from analysis.plots.overheads import COLOURS
from hwmodel import op
from hwmodel.core import ledger
from hwmodel.machine import ConfigError
from hwmodel.op import READ, WRITE, Agent
from hwmodel.trace import Trace
from tests.support import designs

TIME = next(metric for metric in METRICS if metric.name == "time_ms")


def made(over, value, machines=("m",), workload=("w",), seeds=(0,)):
    """An experiment whose figure is a function of the point, with a seed's number added."""
    axes = axes_of(over)
    rows = [
        {"machine": m, "design": "d", "workload": w, "seed": seed, "version": "v", **point, "time_ms": value(point) + seed}
        for m in machines for w in workload for point in axes.points for seed in seeds
    ]  # fmt: skip
    return Experiment(pd.DataFrame(rows), axes, (TIME,), ())


GRID = {"a": [1, 4, 64], "b": [2, 3]}


def product(point):
    return point["a"] * point["b"]


def test_a_cell_is_the_median_of_the_seeds():
    found = made(GRID, product, seeds=(0, 1, 5))
    axes = found.heatmap("a", "b", "time_ms")
    expected = np.array([[a * b + 1 for a in GRID["a"]] for b in GRID["b"]])
    assert np.array_equal(axes.images[0].get_array(), expected)
    written = sorted((round(text.get_position()[1]), round(text.get_position()[0]), text.get_text()) for text in axes.texts)
    assert [text for *_, text in written] == ["3.00", "9.00", "129", "4.00", "13.0", "193"]
    axes.figure.canvas.draw()
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("a", "b")
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "4", "64"]
    assert axes.figure.axes[1].get_ylabel() == "time, end to end, ms"


def test_values_are_seen_on_every_colour():
    """The ink of a cell is light on dark and dark on light: by the contrast of WCAG 2, 3 to 1 at least."""
    from matplotlib.colors import to_rgb

    def luminance(colour):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
        return np.dot(linear, (0.2126, 0.7152, 0.0722))

    axes = made({"a": list(range(1, 12)), "b": [0, 1]}, lambda p: p["a"] + 11 * p["b"]).heatmap("a", "b", "time_ms")
    image = axes.images[0]
    for text in axes.texts:
        column, row = (round(place) for place in text.get_position())
        behind = image.cmap(image.norm(image.get_array()[row, column]))[:3]
        light, dark = sorted((luminance(text.get_color()), luminance(behind)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 3


def test_a_cell_that_was_not_run_is_empty():
    axes = made([{"a": 1, "b": 2}, {"a": 2, "b": 3}], product).heatmap("a", "b", "time_ms")
    assert axes.images[0].get_array().mask.tolist() == [[False, True], [True, False]] and len(axes.texts) == 2


def test_names_order_a_map_as_they_came():
    found = made({"a": [4, 1]}, lambda p: p["a"], machines=("zeta", "$x$"))
    axes = found.heatmap("a", "machine", "time_ms")
    axes.figure.canvas.draw()
    assert [text.get_text() for text in axes.get_yticklabels()] == ["zeta", "$x$"]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "4"]


def test_a_large_map_has_no_numbers_in_it():
    axes = made({"a": list(range(30)), "b": [1, 2]}, product).heatmap("a", "b", "time_ms")
    assert not axes.texts and len(axes.get_xticks()) <= 12


@pytest.mark.parametrize("values", [product, lambda p: -product(p), lambda p: 7.0, lambda p: 10.0 ** p["a"] / 1e30, lambda p: 0])
def test_lines_of_equal_value_reach_around_all_values(values):
    """At round numbers, on scales of powers where the values of an axis are far apart."""
    found = made(GRID, values)
    axes = found.contour("a", "b", "time_ms")
    low, high = found.frame["time_ms"].min(), found.frame["time_ms"].max()
    levels = axes.collections[0].levels
    assert levels[0] <= low * (1 + 1e-9 * np.sign(low)) + 1e-300 or levels[0] == pytest.approx(low)
    assert levels[-1] >= high or levels[-1] == pytest.approx(high)
    assert all(float(f"{level:.3g}") == pytest.approx(level) for level in levels) and (np.diff(levels) > 0).all()
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "linear")
    axes.figure.canvas.draw()
    assert axes.figure.axes[1].get_ylabel() == "time, end to end, ms"


@pytest.mark.parametrize("draw", ["heatmap", "contour"])
@pytest.mark.parametrize("most", [48, 90, 5e7])
def test_colours_of_powers_have_round_numbers_beside_them(draw, most):
    found = made(GRID, lambda p: 4.7 if p["a"] == min(GRID["a"]) else most)
    bar = getattr(found, draw)("a", "b", "time_ms").figure.axes[1]
    bar.figure.canvas.draw()
    told = [text.get_text() for text in (*bar.get_yticklabels(), *bar.get_yticklabels(minor=True)) if text.get_text()]
    assert len(told) >= 2 and all(float(text.replace(",", "")) > 0 for text in told), told


def test_pictures_are_drawn_where_one_says():
    from analysis.plots import Picture

    figure = Picture()
    found, places = made(GRID, product), figure.subplots(2)
    assert found.heatmap("a", "b", "time_ms", axes=places[0]) is places[0]
    assert found.contour("a", "b", "time_ms", axes=places[1]) is places[1]


@pytest.mark.parametrize("picture", ["heatmap", "contour"])
def test_what_would_mix_is_refused(picture):
    def draw(found, *columns):
        return getattr(found, picture)(*columns)

    several = made(GRID, product, workload=("u", "v"))
    with pytest.raises(ConfigError, match=r"^workload: has several values, which a cell would mix; choose one by `where`"):
        draw(several, "a", "b", "time_ms")
    draw(several.where(workload="u"), "a", "b", "time_ms")
    three = made(GRID | {"c": [1, 2]}, product)
    with pytest.raises(ConfigError, match=r"^c: has several values"):
        draw(three, "a", "b", "time_ms")
    with pytest.raises(ConfigError, match=r"^time_mss: the frame has no such column; did you mean time_ms\?$"):
        draw(three, "a", "b", "time_mss")
    with pytest.raises(ConfigError, match=r"^x, y and z: must be three columns, not a, a, time_ms$"):
        draw(three, "a", "a", "time_ms")
    with pytest.raises(ConfigError, match=r"^workload: is no number, so it can't be drawn$"):
        draw(several, "a", "b", "workload")


def test_what_has_no_lines_of_equal_value_is_refused():
    for over, y in (({"a": [1, 2], "b": ["x", "y"]}, "b"), ({"a": [1, 2], "b": [3]}, "b")):
        with pytest.raises(ConfigError, match=f"^{y}: must be numbers, two at least, for lines of equal value; draw a heat map$"):
            made(over, lambda p: p["a"]).contour("a", y, "time_ms")
    with pytest.raises(ConfigError, match=r"^2 pairs of a and b have no value; draw a heat map$"):
        made([{"a": 1, "b": 2}, {"a": 2, "b": 3}], product).contour("a", "b", "time_ms")


def curve(sizes, rates, ways=4):
    return pd.DataFrame({"tlb.entries": sizes, "tlb.ways": ways, "miss_rate_percent": rates})


def test_a_miss_curve_shows_its_frame():
    frame = analysis.miss_curve("gru-2008", workloads.zipf(pages=64, accesses=2000), [16, 4, 64], progress=False)
    axes = draw_miss_curve(frame)
    ordered = frame.sort_values("tlb.entries")
    assert list(axes.lines[0].get_xdata()) == [4, 16, 64] and list(axes.lines[0].get_ydata()) == list(ordered["miss_rate_percent"])
    ways = hwmodel.preset("gru-2008").get("tlb.ways")
    assert axes.get_xlabel() == f"entries of the TLB, {ways} ways each" and axes.get_ylabel().endswith("%") and axes.get_legend() is None


def test_several_miss_curves_are_told_apart_where_they_lie_on_one_another():
    axes = draw_miss_curve({"<b>": curve([1, 2], [5, 5], [1, 2]), "other": curve([1, 2], [5, 5], [1, 2])})
    assert len({(line.get_color(), line.get_linestyle(), line.get_marker()) for line in axes.lines}) == 2
    assert len({line.get_linestyle() for line in axes.lines}) == 2
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["<b>", "other"]
    assert axes.get_xlabel() == "entries of the TLB, fully associative"
    assert draw_miss_curve(curve([1], [0]), axes) is axes


@pytest.mark.parametrize(("given", "message"), [({}, "there is none"), (pd.DataFrame(), "it is no frame"), ({"x": 3}, "x is no frame")])
def test_what_is_no_miss_curve_is_refused(given, message):
    with pytest.raises(ConfigError, match=f"^curves: {message}"):
        draw_miss_curve(given)


def small(seed=0, pages=40):
    return workloads.zipf(pages=pages, seed=seed, accesses=2000, devices=1)


def run(*given, **named):
    return analysis.experiment(*given, **{"progress": False} | named)


def test_families_are_all_the_time_without_waiting():
    """The bars of each machine and workload add up to its accounts of other families than waiting, the mean of the seeds."""
    machines = {name: designs.design(name).machine for name in designs.with_engines()}
    found = run(machines, {"a": small, "b": lambda: workloads.uniform(pages=30, accesses=900, devices=1)}, accounts=True, seeds=[3])
    parts = families_frame(found.frame)
    waiting = {"order_wait", "gate_wait", "idle"}
    for row in found.frame.to_dict("records"):
        columns = [name for name in row if name.startswith(("engine.", "cpu.")) and name.split(".")[1].removesuffix("_ns") not in waiting]
        wanted = np.nansum([row[name] for name in columns if name.endswith("_ns")])
        here = parts[(parts["machine"] == row["machine"]) & (parts["workload"] == row["workload"])]
        assert here["ns"].sum() == pytest.approx(wanted) and here["ns"].sum() > 0
    assert set(parts["family"]) == set(ledger.FAMILIES) - {ledger.WAITING} == set(COLOURS)
    figure = found.plot_families()
    axes = figure.axes[0]
    ends = collections.defaultdict(float)
    for bar in axes.patches:
        ends[round(bar.get_y(), 6)] = max(ends[round(bar.get_y(), 6)], bar.get_x() + bar.get_width())
    assert len(ends) == 2 * len(machines) and sum(end == pytest.approx(1) for end in ends.values()) >= 2
    assert max(ends.values()) == pytest.approx(1), "the longest of each workload is the whole"
    texts = [text.get_text() for text in axes.texts]
    assert {"a", "b", *machines} <= set(texts) and sum(text.endswith((" ns", " µs", " ms")) for text in texts) == 2 * len(machines)


def test_families_need_accounts_of_one_point(simulated):
    with pytest.raises(ConfigError, match=r"^plot_families: the frame has no accounts; call experiment\(\.\.\., accounts=True\)$"):
        run("gru-2008", small).plot_families()
    with pytest.raises(ConfigError, match=r"^tlb\.entries: has several values, which a bar would mix"):
        run("gru-2008", small, {"tlb.entries": [64, 256]}, accounts=True).plot_families()


@pytest.mark.parametrize("name", [name for name in designs.with_engines() if designs.design(name).machine.has_device])
def test_columns_of_phases_add_up(name):
    """The means of a path's phases to its mean latency, the shares to all of it; of a design without phases there are none."""
    result = hwmodel.simulate(designs.design(name).machine, small(), progress=False)
    columns = phase_columns(result)
    assert bool(columns) == bool(result.book.phases)
    for path in result.book.paths if columns else ():
        latency = result.latency(path).ns
        means, shares = ([columns[f"phase.{path}.{phase}_{unit}"] for phase in result.book.phases] for unit in ("mean_ns", "share_percent"))
        if latency.count:
            assert sum(means) == pytest.approx(latency.mean) and sum(shares) == pytest.approx(100)
        else:
            assert np.isnan(means).all() and np.isnan(shares).all()
        table = result.phases()
        for phase in result.book.phases:
            if (path, phase) in table.index:
                assert columns[f"phase.{path}.{phase}_share_percent"] == pytest.approx(table.loc[(path, phase), "share_percent"])


def test_an_experiment_has_the_phases_of_its_regions():
    over = {"tlb.entries": [16, 64]}
    found = run("gru-2008", small, over, phases=True, regions={"early": 0, "late": 1000}, metrics=["time_ms"])
    wanted = [name for name in phase_columns(hwmodel.simulate(hwmodel.preset("gru-2008"), small(), progress=False))]
    assert [name for name in found.frame if name.startswith("phase.")] == wanted and len(found.frame) == 4
    early = found.where(region="early").frame[wanted].to_numpy()
    assert np.isfinite(early).any() and not np.array_equal(early, found.where(region="late").frame[wanted].to_numpy(), equal_nan=True)
    assert not [name for name in run("gru-2008", small, metrics=["time_ms"]).frame if name.startswith("phase.")]


def test_phases_become_arrays():
    pytest.importorskip("xarray", reason="NOT SHOWN: arrays of an experiment, for xarray is not installed")
    found = run("gru-2008", small, {"tlb.entries": [16, 64]}, phases=True, accounts=True, seeds=[1, 2], regions={"r": 10})
    data = found.to_xarray()
    assert dict(data.sizes) == {"machine": 1, "workload": 1, "tlb.entries": 2, "seed": 2, "region": 1}
    assert data["time_ms"].attrs == {"long_name": TIME.title, "description": TIME.definition}
    for row in found.frame.to_dict("records"):
        at = {name: row[name] for name in data.sizes}
        for name in data.data_vars:
            assert float(data[name].sel(at)) == pytest.approx(float(row[name]), nan_ok=True)


def naive(trace, size):
    """Pages by window, reference by reference."""
    windows, at = collections.defaultdict(set), 0
    for chunk in trace.chunks():
        for record in chunk:
            kind, space = record["kind"] & ~op.CONTINUES, trace.agents[record["agent"]].space
            page = space, int(record["address"]) >> 12
            if kind > op.FETCH:
                continue
            if record["kind"] & op.CONTINUES:
                windows[max(at - 1, 0) // size].add(page)
                continue
            for _ in range(int(record["count"])):
                windows[at // size].add(page)
                at += 1
    return windows, at


def drawn(seed):
    """Records of two spaces: counts that cross windows, halves of accesses, operations between."""
    draw, records = random.Random(seed), []
    for _ in range(draw.randint(1, 120)):
        agent, page = draw.randrange(3), draw.randrange(12)
        if draw.random() < 0.15:
            records += [(page + 1 << 12, 1, 0, READ, agent), (page + 2 << 12, 1, 0, READ | op.CONTINUES, agent)]
        elif draw.random() < 0.1:
            records.append((0, 5, 0, op.COMPUTE, agent))
        else:
            records.append((page + 1 << 12, draw.choice([1, 2, 30]), 0, draw.choice([READ, WRITE, op.FETCH]), agent))
    agents = [Agent("cpu", 0, "a"), Agent("cpu", 1, "b"), Agent("device", 0, "c")]
    return Trace.from_records(agents, records, op.mmap_unit(1 << 12, 20, 7))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("window", [1, 7, 100, None])
def test_a_working_set_is_counted_page_by_page(seed, window):
    trace = drawn(seed)
    frame = analysis.inspect(trace, picture=False).working_set(window)
    total = naive(trace, 1)[1]
    size = window or -(-total // 100)
    windows, _ = naive(trace, size)
    assert frame["pages"].tolist() == [len(windows[n]) for n in range(-(-total // size))]
    assert frame["first_reference"].tolist() == [n * size for n in range(len(frame))] and frame["references"].sum() == total
    so_far = list(itertools.accumulate((windows[n] for n in range(len(frame))), set.union))
    assert frame["pages_so_far"].tolist() == [len(pages) for pages in so_far]
    assert frame["new_pages"].sum() == len(set().union(*windows.values()))


def test_a_working_set_of_many_chunks(monkeypatch):
    """Windows that reach over the ends of chunks."""
    whole = drawn(5)
    (ops,) = whole.chunks()
    ends = [at for at in range(1, ops.size) if not ops["kind"][at] & op.CONTINUES]
    cut = Trace(whole.agents, lambda: iter(np.split(ops, ends)), whole.prelude, {})
    assert sum(1 for _ in cut.chunks()) > 10
    wanted, found = (analysis.inspect(trace, picture=False).working_set(9) for trace in (whole, cut))
    assert found.equals(wanted)


def test_the_picture_of_a_working_set():
    inspection = analysis.inspect(drawn(3), picture=False)
    axes = inspection.plot_working_set(10)
    frame = inspection.working_set(10)
    stairs = {patch.get_label(): patch.get_data() for patch in axes.patches}
    assert list(stairs["touched in the window"].values) == frame["pages"].tolist()
    assert stairs["touched in the window"].edges[-1] == frame["references"].sum()
    assert axes.get_ylabel() == "pages of 4 KiB, windows of 10 references" and axes.get_xlabel() == "references of all agents"
    assert inspection.plot_working_set(axes=axes) is axes


def test_an_empty_trace_has_an_empty_working_set():
    trace = Trace.from_records([Agent("cpu", 0, "a")], [(0, 5, 0, op.COMPUTE, 0)])
    inspection = analysis.inspect(trace, picture=False)
    assert inspection.working_set().empty
    inspection.plot_working_set().figure.canvas.draw()


@pytest.mark.parametrize("window", [0, -1, 1.5, True, "7"])
def test_bad_windows_are_refused(window):
    with pytest.raises(ConfigError, match=r"^window: must be a whole number of references, at least 1, not "):
        analysis.inspect(drawn(1), picture=False).working_set(window)
