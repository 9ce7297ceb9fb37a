"""The store of finished points: what is found again, what is computed anew, kills, two processes, other versions, bad files."""

import contextlib
import sqlite3

import pandas as pd
import pytest

import analysis
import workloads
from analysis import pointstore
from analysis.pointstore import PointStore, content_of
from hwmodel.machine import ConfigError, preset
from hwmodel.op import Agent
from hwmodel.trace import Trace
from tests import killing


@pytest.fixture
def ran(monkeypatch):
    """How many machines have run."""
    found, run = [], analysis.runs.simulate_all

    def simulate_all(machines, trace, **parts):
        found.extend(machines)
        return run(machines, trace, **parts)

    monkeypatch.setattr("analysis.runs.simulate_all", simulate_all)
    return found


def zipf(pages=30, seed=0):
    return workloads.zipf(accesses=2000, pages=pages, devices=1, seed=seed)


def run(store, entries=(64, 128), **asked):
    return analysis.experiment("gru-2008", {"zipf": zipf}, {"tlb.entries": entries}, store=store, progress=False, **asked)


def test_what_is_stored_is_not_computed_again(ran, tmp_path):
    store = tmp_path / "points.db"
    first = run(store).frame
    assert len(ran) == 2
    pd.testing.assert_frame_equal(run(store).frame, first)
    assert len(ran) == 2
    more = run(store, entries=(64, 128, 256), metrics=["traps"], accounts=True).frame
    assert len(ran) == 3, "an experiment with one point more computes one point, and other figures of the others nothing"
    assert more["traps"].tolist()[:2] == first["traps"].tolist()
    pd.testing.assert_frame_equal(run(None, entries=(64, 128, 256), metrics=["traps"], accounts=True).frame, more)
    with PointStore(store) as opened:
        assert len(opened) == 3


def test_bounds_and_regions_are_stored_too(ran, tmp_path):
    asked = {"metrics": ["time_ms", "overhead_ns_per_access"], "warmup": 0.25, "regions": {"late": 1500}}
    first = run(tmp_path / "points.db", **asked).frame
    assert len(ran) == 3, "two points, and the bound of both"
    pd.testing.assert_frame_equal(run(tmp_path / "points.db", **asked).frame, first)
    assert len(ran) == 3
    pd.testing.assert_frame_equal(run(None, **asked).frame, first)


def test_a_key_is_of_all_that_a_result_follows_from(tmp_path):
    machine, content = preset("gru-2008"), content_of(zipf())
    with PointStore(tmp_path / "points.db") as store, PointStore(tmp_path / "other.db", "0.0.1+other") as other:
        keys = [
            store.key(machine, content, {}), other.key(machine, content, {}), store.key(machine, content_of(zipf(seed=1)), {}),
            store.key(machine.with_(**{"tlb.entries": 64}), content, {}), store.key(machine, content, {"warmup": 0.5}),
            store.key(machine, content, {"warmup": 1}), store.key(machine, content, {"regions": {"a": 3}}),
            store.key(preset("ideal-2008"), content, {}),
        ]  # fmt: skip
        assert len(set(keys)) == len(keys)
        assert store.key(machine, content, {"regions": [("a", 3)]}) == store.key(machine, content, {"regions": {"a": 3}})


def test_the_content_of_a_trace_is_its_records_however_they_come(trace):
    ops = next(trace.chunks())
    pieces = Trace(trace.agents, lambda: iter([ops[:-1], ops[-1:]]), trace.prelude, trace.info, "elsewhere")
    assert content_of(pieces) == content_of(trace)
    changed = ops.copy()
    changed["gap"][-1] += 1
    others = [(trace.agents, changed, trace.info), ([Agent("cpu", 0, "other")], ops, trace.info), (trace.agents, ops, {"program": "x"})]
    assert len({content_of(trace), *(content_of(Trace.from_records(agents, records, info=info)) for agents, records, info in others)}) == 4


def test_a_killed_study_resumes(tmp_path):
    """As `python -m tests.killing 100` does it 100 times: kill -9 at random, and again, until a round ends by itself."""
    told = killing.rounds(tmp_path, kills=3, seed=5)
    assert told["kills"] == 3 and told["points"] == len(killing.ENTRIES), told


def test_two_processes_share_a_store(tmp_path):
    """Both have the whole table; each point is there once. What one has finished, the other does not begin."""
    both = [killing.started(tmp_path, name) for name in ("one", "other")]
    assert [process.wait() for process in both] == [0, 0]
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "other.csv").read_bytes()
    assert killing.stored(tmp_path / "points.db") == set(killing.ENTRIES)
    with PointStore(tmp_path / "points.db") as store:
        assert len(store) == len(killing.ENTRIES)
    for name in ("one", "other"):
        done = killing.lines(tmp_path / f"{name}.log")
        assert len(done) == len(set(done)) <= len(killing.ENTRIES)


def test_a_store_of_another_version_is_told_and_kept(ran, tmp_path):
    path = tmp_path / "points.db"
    with PointStore(path, "0.0.1+older"):
        pass
    kept = path.read_bytes()
    with pytest.raises(ConfigError, match=r"points\.db: holds points of version 0\.0\.1\+older of the model, and this is .*another file"):
        run(path)
    assert path.read_bytes() == kept and not ran


def test_what_is_no_store_is_told_and_kept(ran, tmp_path):
    text, other = tmp_path / "notes.txt", tmp_path / "other.db"
    text.write_bytes(b"buy milk\n" * 200)
    with contextlib.closing(sqlite3.connect(other)) as database:
        database.execute("CREATE TABLE birds (name)")
    kept = [path.read_bytes() for path in (text, other)]
    nowhere = tmp_path / "no" / "points.db"
    for path, told in ((text, "is no store of points"), (other, "another program's database"), (nowhere, "can't be written")):
        with pytest.raises(ConfigError, match=told) as caught:
            run(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert [path.read_bytes() for path in (text, other)] == kept and not ran


def test_a_locked_store_is_told(monkeypatch, ran, tmp_path):
    run(tmp_path / "points.db", entries=[64])
    monkeypatch.setattr(pointstore, "WAIT", 0.01)
    with contextlib.closing(sqlite3.connect(tmp_path / "points.db", isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ConfigError, match=r"points\.db: another program has locked this store"):
            run(tmp_path / "points.db")
    assert len(ran) == 1


def test_a_full_disk_is_told_and_loses_nothing(tmp_path):
    results = {name: analysis.runs.simulate(preset("gru-2008"), zipf(), progress=False) for name in ("a", "b")}
    with PointStore(tmp_path / "points.db") as store:
        store.put({"a": results["a"]})
        (pages,) = store._database.execute("PRAGMA page_count").fetchone()
        store._database.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(ConfigError, match=r"points\.db: the disk is full; the points that were stored before are kept"):
            store.put({"b": results["b"]})
        assert store.known(["a", "b"]) == {"a"} and store.get("a").counters == results["a"].counters


def test_stores_of_shards_are_one(ran, tmp_path):
    paths, entries = [tmp_path / f"{number}.db" for number in range(3)], (16, 32, 64, 128)
    for number, path in enumerate(paths[1:]):
        run(path, entries, shard=(number, 2))
    assert len(ran) == 4
    whole = run([str(path) for path in paths], entries).frame
    assert len(ran) == 4 and whole["tlb.entries"].tolist() == list(entries)
    with PointStore(paths[0]) as store:
        assert len(store) == 4
    kept = paths[1].read_bytes()
    with pytest.raises(ConfigError, match=r"none\.db: there is no such store"):
        run([paths[1], tmp_path / "none.db"], entries)
    for bad in ([], 5, [paths[0], 5]):
        with pytest.raises(ConfigError, match=r"^store: must be a path"):
            run(bad, entries)
    assert paths[1].read_bytes() == kept


def test_a_point_that_is_there_stays(tmp_path):
    first, second = (analysis.runs.simulate(preset("gru-2008"), zipf(seed=seed), progress=False) for seed in (0, 1))
    with PointStore(tmp_path / "points.db") as store:
        store.put({"a": first})
        store.put({"a": second, "b": second})
        assert len(store) == 2 and store.get("a").trace_info == first.trace_info
        many = [str(number) for number in range(2000)]
        assert store.known([*many, "b"]) == {"b"}, "however many keys are asked for"
