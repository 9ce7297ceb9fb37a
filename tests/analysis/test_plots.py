"""Pictures: what they show, and that no label covers another."""

import io
import itertools

import fabricated
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import plots
from analysis.metrics import overheads_frame
from analysis.overhead import overhead
from analysis.plots.figure import MACHINES, duration, number
from analysis.plots.latencies import density, exceeding
from analysis.plots.layout import spread
from analysis.plots.overheads import COLOURS, pieces
from analysis.points import Point

SETS = {
    "one": {"GRU": fabricated.gru()},
    "two": {"GRU": fabricated.gru(), "KVM EPT": fabricated.kvm()},
    "five": {
        "gru-2008": fabricated.gru(),
        "kvm-ept-2008": fabricated.kvm(),
        "gru-fast": fabricated.gru(fabricated.Machine(mhz=3500)),
        "kvm-ept-2024": fabricated.kvm(fabricated.Machine("new", "kvm_ept", 4000)),
        "cpu-only": fabricated.cpu_only(),
    },
    "no engine": {"cpu-only": fabricated.cpu_only()},
}


def points(results, dependent=True):
    """Every machine with engines twice, against the bound of its clock."""
    found = []
    for name, result in results.items():
        engines = result.counters["device.accesses"] > 0
        bound = fabricated.ideal(fabricated.Machine("ideal-2008", "ideal", result.machine.mhz)) if engines else None
        for window, configured in ((8, True), (1, False)) if dependent and engines else ((8, True),):
            costs = {seed: overhead(result, bound) for seed in range(2)} if engines else {}
            found.append(Point(name, window if engines else None, configured, result, bound, costs))
    return found


def png(figure) -> bytes:
    target = io.BytesIO()
    plots.save(figure, target)
    return target.getvalue()


@pytest.fixture(params=SETS.values(), ids=list(SETS))
def results(request):
    return request.param


def texts(figure):
    """Every label that is drawn, with its box; tick labels are matplotlib's own care."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    renderer = FigureCanvasAgg(figure).get_renderer()
    own = [child for parent in (figure, *figure.axes) for child in parent.get_children()]
    found = [text for text in own if isinstance(text, Text) and text.get_visible() and text.get_text().strip()]
    return [(text.get_text(), text.get_window_extent(renderer)) for text in found]


@pytest.mark.parametrize("draw", ["overheads", "one workload", "tails", "latencies", "phases"])
def test_no_label_covers_another_or_leaves_the_picture(results, draw):
    groups = {"uniform-within": points(results), "a": points(results, False)} if draw != "one workload" else {"": points(results)}
    if draw in ("latencies", "phases"):
        figure = getattr(plots, f"draw_{draw}")(results, "toy")
    else:
        figure = (plots.draw_tails if draw == "tails" else plots.draw_overheads)(groups, "toy")
    png(figure)
    figure.draw_without_rendering()
    found = texts(figure)
    assert len(found) > 1
    for i, (label, box) in enumerate(found):
        assert box.x0 >= -1 and box.x1 <= figure.bbox.width + 1, f"{label} leaves the picture"
        for other, rival in found[:i]:
            overlap = min(box.x1, rival.x1) - max(box.x0, rival.x0), min(box.y1, rival.y1) - max(box.y0, rival.y0)
            assert min(overlap) < 2, f"{label!r} covers {other!r}"


def test_both_pictures_in_one(results):
    figure = plots.draw_both({"": points(results)}, results, "toy")
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_line_ups_stand_one_below_the_other():
    groups = {name: {"a": points(SETS[name]), "b": points(SETS[name])} for name in ("two", "five")}
    for overheads in (True, False):
        figure = plots.draw_line_ups(groups, overheads)
        assert len(figure.subfigs) == 2 and figure._repr_png_().startswith(b"\x89PNG")


def test_bars_of_phases_add_up_to_the_latency_of_their_percentile():
    without = fabricated.result(fabricated.Machine("cpu-only", "cpu_only"), {}, {}, {})
    figure = plots.draw_phases({"GRU": fabricated.gru(), "without phases": without}, "toy")
    (axes,) = figure.axes
    lengths = [sum(bars[k].get_width() for bars in axes.containers) for k in range(3)]
    assert lengths == pytest.approx(fabricated.gru().phase_bars(percentiles=(50, 90, 99)).sum(axis=1).tolist())
    latency = fabricated.gru().latency("fault").ns
    assert lengths == pytest.approx([latency.percentile(percent) for percent in (50, 90, 99)], rel=0.04)


def test_the_same_results_give_the_same_bytes():
    results = SETS["two"]
    assert png(plots.draw_latencies(results, "toy")) == png(plots.draw_latencies(results, "toy"))


def test_the_pieces_of_both_sides_add_up_to_the_total_in_one_unit():
    """Engine and CPUs have the same denominator; what CPUs spare is to the left of 0."""
    for point in points(SETS["two"], False):
        parts = overheads_frame([point])
        found = [piece for side in ("engine", "cpu") for piece in pieces(parts[parts["side"] == side], 1.0)]
        assert sum(length for _, _, length in found) == pytest.approx(point.typical.per_access_ns)
        assert {family for family, *_ in found} <= set(COLOURS)
        assert all((left >= 0) is (length > 0) or left == 0 for _, left, length in found)
    gru = pieces(overheads_frame(points(SETS["one"], False)).query("side == 'cpu'"), 1.0)
    assert dict((family, length) for family, _, length in gru)["kernel"] == pytest.approx(-500_000 / 2 / 5_000_000)


def lab(colour):
    """A colour of sRGB in CIE L*a*b*, where a distance of 2 is just seen."""
    values = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    light = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ light / [0.9505, 1, 1.089]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_no_part_has_the_colour_of_a_machine_or_of_another_part():
    """They stand in one picture, and one beside the other in its key."""
    parts = list(COLOURS.values())
    for i, part in enumerate(parts):
        for other in (*MACHINES, *parts[:i]):
            assert np.linalg.norm(lab(part) - lab(other)) > 20, f"{part} and {other}"


def test_the_density_counts_every_miss():
    latency = fabricated.gru().latency("fault").ns
    edges = np.geomspace(latency.min / 2, latency.max * 2, 50)
    assert density(latency, edges).sum() == pytest.approx(latency.count)


def test_the_tail_goes_from_all_to_none():
    x, y = exceeding(fabricated.kvm().latency("fault").ns)
    assert y[0] == 1 and y[-1] == pytest.approx(0, abs=1e-12) and (np.diff(y) <= 0).all() and (np.diff(x) >= 0).all()


@given(st.lists(st.floats(0, 100), min_size=1, max_size=12))
def test_spread_labels_keep_order_and_distance(wanted):
    wanted = sorted(wanted)
    places = spread(wanted, [5.0] * len(wanted), 0.0, 100.0)
    assert all(b - a >= 5 - 1e-9 for a, b in itertools.pairwise(places))
    assert places[0] >= 2.5 - 1e-9 and places[-1] <= 97.5 + 1e-9


def test_labels_with_room_stay_where_they_want_to_be():
    assert spread([10, 50, 90], [5, 5, 5], 0, 100) == pytest.approx([10, 50, 90])
    assert spread([50, 50], [4, 4], 0, 100) == pytest.approx([48, 52])


@pytest.mark.parametrize(
    ("ns", "text"), [(0.5, "0.500 ns"), (999.4, "999 ns"), (999.7, "1.00 µs"), (1520, "1.52 µs"), (2.5e7, "25.0 ms")]
)
def test_durations(ns, text):
    assert duration(ns) == text


@pytest.mark.parametrize(("value", "text"), [(1234.5, "1,234"), (123.4, "123"), (12.34, "12.3"), (0.0123, "0.012")])
def test_numbers(value, text):
    assert number(value) == text
