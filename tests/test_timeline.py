"""What becomes of events: a frame, a picture, a file for viewers of traces, by a parser of that format of our own."""

import json
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import hwmodel
from hwmodel import Agent, Events, Trace, op
from hwmodel.core.log import KINDS
from hwmodel.measure.lanes import placed
from hwmodel.measure.picture import COLOURS
from tests.support.designs import names, with_engines
from tests.support.random_traces import random_case
from tests.support.traceevents import parse

PAGE = 0x10000 << 12


def recorded(machine, trace, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return hwmodel.simulate(machine, trace, progress=False, events=Events(**options)).events


def faulting():
    """A CPU that faults and unmaps, on a machine where a cycle is a nanosecond."""
    machine = hwmodel.preset("cpu-only").with_(**{"clock.mhz": 1000, "kernel.syscall_ns": 100})
    records = [(PAGE, 1, 0, op.WRITE, 0), *op.paged_unit(op.MUNMAP, PAGE, 2, [], 0)]
    return machine, Trace.from_records([Agent("cpu", 0, "a")], records, op.mmap_unit(PAGE, 2, 3, agent=0))


@pytest.mark.jit_off
def test_a_frame_has_agents_addresses_and_words():
    machine, trace = faulting()
    timeline = recorded(machine, trace)
    frame = timeline.frame()
    assert frame.columns.tolist() == ["kind", "agent", "role", "lane", "detail", "begin_ns", "end_ns", "address", "pages", "fault"]
    (fault,), (call,) = (frame[frame["kind"] == kind].to_dict("records") for kind in ("cpu_fault", "operation"))
    assert (fault["agent"], fault["role"], fault["detail"], fault["address"], fault["pages"]) == ("a", "cpu", "write", PAGE, 1)
    assert (call["detail"], call["address"], call["pages"]) == ("munmap", PAGE, 2) and call["begin_ns"] > fault["end_ns"]
    assert fault["end_ns"] - fault["begin_ns"] == timeline.cycles["end"][0] - timeline.cycles["begin"][0]
    (lock,) = frame.index[(frame["kind"] == "lock") & (frame["detail"] == "mmap lock of space 0, write")]
    assert pd.isna(frame["address"][lock]) and pd.isna(frame["pages"][lock]) and pd.isna(frame["fault"][lock])
    assert frame["begin_ns"].is_monotonic_increasing and set(frame["lane"]) == {0}


@pytest.mark.parametrize("design", names())
def test_frames_of_random_runs(design):
    """Every event has an agent of the run and words that are none of a number; requests of devices alone have lanes."""
    for seed in range(8):
        machine, trace = random_case(seed, design, 60)
        timeline = recorded(machine, trace)
        frame = timeline.frame()
        assert len(frame) == len(timeline) and frame["kind"].isin(KINDS).all() and (frame["end_ns"] >= frame["begin_ns"]).all()
        assert (frame["role"][frame["lane"] > 0] == "device").all() and not frame["kind"].isna().any()
        says = frame["kind"].isin(["fault", "phase", "cpu_fault", "notice", "flush", "ipi", "lock", "wait", "operation", "miss", "join"])
        assert (frame["detail"][says] != "").all() and not frame["detail"].str.contains("^lock [0-9]", regex=True).any(), seed


@pytest.mark.parametrize("design", names())
def test_lanes_hold_one_another_or_lie_apart(design):
    for seed in range(8):
        machine, trace = random_case(seed, design, 60)
        at = placed(recorded(machine, trace).frame())
        for _, lane in at.groupby(["agent", "group", "track", "depth"]):
            assert (lane["begin_ns"].to_numpy()[1:] >= lane["end_ns"].to_numpy()[:-1]).all(), seed


@pytest.mark.parametrize("design", names())
def test_viewers_can_read_it(design, tmp_path):
    """All events are in the file, under their agents' names, at their times, and in each thread they nest."""
    for seed in range(8):
        machine, trace = random_case(seed, design, 60)
        timeline = recorded(machine, trace)
        timeline.to_perfetto(tmp_path / "trace.json")
        found = parse((tmp_path / "trace.json").read_bytes())
        frame = timeline.frame()
        mine = sorted((e.agent, e.kind, round(round(e.begin_ns / 1000, 6) * 1e6), round(round(e.end_ns / 1000, 6) * 1e6))
                      for e in frame.itertuples())  # fmt: skip
        assert sorted((process, kind, begin, end) for process, _, _, begin, end, kind, _ in found) == mine, seed
        pages = sum("address" in arguments for *_, arguments in found)
        assert pages == frame["address"].notna().sum()


def test_the_parser_finds_what_is_wrong():
    """It refuses a file whose spans overlap, end too often, or have no names."""
    name = {"ph": "M", "name": "process_name", "pid": 1, "tid": 0, "args": {"name": "a"}}
    thread = {"ph": "M", "name": "thread_name", "pid": 1, "tid": 1, "args": {"name": "b"}}

    def span(ts, dur, **more):
        return {"ph": "X", "name": "x", "pid": 1, "tid": 1, "ts": ts, "dur": dur} | more

    def file(*events):
        return json.dumps({"traceEvents": [name, thread, *events]})

    assert len(parse(file(span(0, 5), span(1, 4), span(5, 1)))) == 3
    begin = {"ph": "B", "name": "x", "pid": 1, "tid": 1, "ts": 1}
    assert len(parse(file(begin, begin | {"ph": "E", "ts": 3}))) == 1
    for bad in ([span(0, 5), span(3, 4)], [begin], [begin | {"ph": "E"}], [span(0, 5, tid=2)], [span(-1, 5)], [span(0, 5, pid="1")],
                [{"ph": "X", "name": "x", "pid": 1, "tid": 1, "ts": 1}], [{"ph": "Q", "name": "x", "pid": 1, "tid": 1}]):  # fmt: skip
        with pytest.raises((AssertionError, KeyError, IndexError)):
            parse(file(*bad))


def test_a_file_is_whole_or_not_there(tmp_path):
    machine, trace = faulting()
    timeline = recorded(machine, trace)
    with pytest.raises(OSError, match="nowhere"):
        timeline.to_perfetto(tmp_path / "nowhere" / "trace.json")
    (tmp_path / "old.json").write_text("old")
    timeline.to_perfetto(tmp_path / "old.json")
    assert parse((tmp_path / "old.json").read_bytes()) and [path.name for path in tmp_path.iterdir()] == ["old.json"]


@pytest.fixture
def figure():
    yield plt.figure()
    plt.close("all")


def test_a_picture_has_units_a_legend_and_every_agent(figure):
    ax = figure.add_subplot()
    for design in with_engines():
        machine, trace = random_case(3, design, 60)
        timeline = recorded(machine, trace)
        own = timeline.plot()
        assert timeline.plot(ax) is ax and own is not ax
        frame = timeline.frame()
        shown = {text.get_text() for text in own.get_legend().get_texts()}
        assert len(shown) == frame["kind"].nunique() and own.get_xlabel().rstrip(")").endswith("s")
        labels = " ".join(label.get_text() for label in own.get_yticklabels())
        assert all(agent in labels for agent in frame["agent"].unique())
        low, high = own.get_xlim()
        assert low < high and own.get_ylim()[0] > own.get_ylim()[1]


def test_a_picture_of_some_kinds_and_of_nothing(figure):
    machine, trace = faulting()
    timeline = recorded(machine, trace)
    ax = timeline.plot(figure.add_subplot(), kinds=["cpu_fault"])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["CPU fault"]
    with pytest.raises(KeyError, match="'fualt' is none of"):
        timeline.plot(kinds=["fualt"])
    empty = recorded(machine, trace, window_ns=(1e9, 2e9))
    assert empty.plot(figure.add_subplot()).get_legend() is None


def test_every_kind_has_a_colour_of_its_own():
    assert set(COLOURS) == set(KINDS) and len(set(COLOURS.values())) == len(KINDS)


def test_bars_have_texts_only_where_they_fit(figure):
    machine, trace = faulting()
    ax = recorded(machine, trace).plot(figure.add_subplot())
    ax.figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in ax.texts]
    assert boxes and not any(a.overlaps(b) for k, a in enumerate(boxes) for b in boxes[:k])


def test_a_timeline_can_not_be_written_to():
    machine, trace = faulting()
    with pytest.raises(ValueError, match="read-only"):
        recorded(machine, trace).cycles["begin"][0] = 1
    assert np.array_equal(recorded(machine, trace).cycles, recorded(machine, trace).cycles)
