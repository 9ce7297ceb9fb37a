"""What docs/races.md says of its two pictures: the events, their order and their times."""

import importlib.util
import re

import matplotlib.pyplot as plt
import pytest

from tests.test_house import ROOT

TEXT = (ROOT / "docs" / "races.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def script():
    """The script that makes the pictures."""
    spec = importlib.util.spec_from_file_location("races_of_the_docs", ROOT / "docs" / "pictures" / "races.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Told:
    """The events of a race by kind and detail, the n-th of several."""

    def __init__(self, result):
        self.frame = result.events.frame()

    def __call__(self, kind, detail=None, n=0):
        chosen = self.frame[(self.frame["kind"] == kind) & ((self.frame["detail"] == detail) if detail else True)]
        return chosen.iloc[n]


def in_order(*times):
    assert list(times) == sorted(times), times


def test_the_kill_bit(script):
    """The kill bit is set while the entry is on its way; the second try finds the window open and waits for its end."""
    result = script.gru()
    told = Told(result)
    restart, kill, window, retry = told("phase", "restart"), told("kill"), told("window"), told("retry")
    assert (result.counters["gru.kills"], result.counters["gru.dropins"], result.counters["gru.window_sleeps"]) == (1, 2, 1)
    in_order(told("phase", "TFH").begin_ns, told("phase", "walk").begin_ns, restart.begin_ns, window.begin_ns, kill.begin_ns, kill.end_ns)
    assert kill.end_ns == restart.end_ns == told("phase", "delivery", 1).begin_ns  # it traps again at once
    waits = told("phase", "invalidation wait")
    in_order(kill.end_ns, retry.begin_ns, waits.begin_ns, window.end_ns, waits.end_ns, told("phase", "fault").begin_ns)
    assert window.begin_ns < retry.begin_ns == retry.end_ns < window.end_ns
    assert told("fault").end_ns == told("phase", "restart", 1).end_ns and told("fault").detail == "fault.upm"
    assert told("notice", "start").begin_ns == window.begin_ns and told("notice", "end").end_ns == window.end_ns


def test_the_sequence_number(script):
    """A whole window lies between the look's beginning and its end, so that no window is open at either."""
    result = script.kvm()
    told = Told(result)
    retry, window = told("retry"), told("window")
    assert (result.counters["kvm.retries"], result.counters["kvm.exits"], result.counters["kvm.sptes"]) == (1, 2, 1)
    in_order(told("phase", "GUP").begin_ns, retry.begin_ns, told("operation").begin_ns, window.begin_ns, told("phase", "fault").begin_ns)
    in_order(window.end_ns, told("phase", "fault").end_ns, retry.end_ns, told("phase", "exit", 1).begin_ns, told("phase", "map").begin_ns)
    assert retry.begin_ns < window.begin_ns < window.end_ns < retry.end_ns == told("phase", "entry").begin_ns
    assert told("lock", "mmu_lock of space 0, read").begin_ns == told("phase", "map").begin_ns  # the first try never had it


def times_of(section):
    return [float(at) for at in re.findall(r"(?m)^\| (\d+\.\d\d) \|", TEXT.split(section)[1].split("\n## ")[0])]


@pytest.mark.parametrize(("section", "race"), [("## 1.", "race-gru"), ("## 2.", "race-kvm")])
def test_the_text_has_the_times_of_the_pictures(script, section, race):
    """Each time in a table is that of an event, to 10 ns; the picture that the text shows is there."""
    run, _ = script.RACES[race]
    frame = run().events.frame()
    edges = {round(ns / 1000, 2) for name in ("begin_ns", "end_ns") for ns in frame[name]}
    assert times_of(section) and set(times_of(section)) <= edges
    assert f"pictures/{race}.png" in TEXT and (ROOT / "docs" / "pictures" / f"{race}.png").stat().st_size > 10_000


def test_the_script_writes_both_pictures(script, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "FOLDER", tmp_path)
    script.main()
    assert {path.stem for path in tmp_path.iterdir()} == set(script.RACES)
    assert not plt.get_fignums()
