"""Pictures: what they show, and that no label covers another."""

import io
import itertools

import fabricated
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import plots
from analysis.metrics import accounts_frame
from analysis.plots.costs import stack
from analysis.plots.figure import duration, number
from analysis.plots.latencies import density, exceeding
from analysis.plots.layout import spread

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


@pytest.mark.parametrize("draw", ["costs", "latencies"])
def test_no_label_covers_another_or_leaves_the_picture(results, draw):
    if draw == "costs":
        figure = plots.draw_costs(accounts_frame(results), list(results), "toy")
    else:
        figure = plots.draw_latencies(results, "toy")
    png(figure)
    figure.draw_without_rendering()
    found = texts(figure)
    assert len(found) > 2
    for i, (label, box) in enumerate(found):
        assert box.x0 >= -1 and box.x1 <= figure.bbox.width + 1, f"{label} leaves the picture"
        for other, rival in found[:i]:
            overlap = min(box.x1, rival.x1) - max(box.x0, rival.x0), min(box.y1, rival.y1) - max(box.y0, rival.y0)
            assert min(overlap) < 2, f"{label!r} covers {other!r}"


def test_both_pictures_in_one(results):
    figure = plots.draw_both(accounts_frame(results), results, "toy")
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_the_same_results_give_the_same_bytes():
    results = SETS["two"]
    assert png(plots.draw_latencies(results, "toy")) == png(plots.draw_latencies(results, "toy"))


def test_stacks_add_up_and_agree_in_order():
    results = SETS["two"]
    accounts = accounts_frame(results).query("side == 'cpu'")
    stacks = {name: stack(accounts, name) for name in results}
    for name, (parts, work, _) in stacks.items():
        total = accounts[(accounts["machine"] == name) & ~accounts["waiting"]]["ns_per_access"].sum()
        assert sum(value for _, value in parts) + work == pytest.approx(total)
        assert all(value > 0 for _, value in parts)
    orders = [[name for name, _ in parts if name != "other"] for parts, *_ in stacks.values()]
    shared = [[name for name in order if name in orders[0] and name in orders[1]] for order in orders]
    assert shared[0] == shared[1]


def test_work_and_waiting_are_said_but_not_stacked():
    accounts = accounts_frame({"GRU": fabricated.gru()})
    parts, work, waiting = stack(accounts[accounts["side"] == "engine"], "GRU")
    assert (work, waiting) == (pytest.approx(40 / 5 / 2), pytest.approx(3 / 5 / 2))
    assert not {"access", "order_wait", "gate_wait", "idle"} & {name for name, _ in parts}


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
