"""Experiments as files: `hwmodel sweep FILE.toml` is the call that the file describes; what it can't mean is told by file and setting."""

import pandas as pd
import pytest

import analysis
import workloads
from analysis import cli, studyfile
from hwmodel.machine import ConfigError, preset

WHOLE = """
metrics = ["time_ms", "overhead_ns_per_access"]
store = "points.db"
seeds = [3, 4]
warmup = 0.25
same_device = "gru-2008"

[machines]
GRU = "gru-2008"
EPT = {machine = "kvm-ept-2008", settings = {cpu.count = 2, "vm.exit_cycles" = 900}}
OWN = "own.toml"

[workloads]
saved = "small.hwtrace"
zipf = {generator = "zipf", accesses = 2000, pages = 30, devices = 1}

[over]
tlb.entries = [16, 64]
"GRU:tlb.ways" = [2, 4]
workload.pages = [20, 40]
"""
LEAST = 'machines = ["gru-2008"]\nworkloads = {z = {generator = "zipf", accesses = 100, pages = 9, devices = 1}}\n'


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "study.toml"
        path.write_text(text)
        return str(path)

    return write


def test_a_file_is_the_call_that_it_describes(written, tmp_path, capsys):
    trace = workloads.zipf(accesses=1000, pages=20, devices=1)
    trace.save(tmp_path / "small.hwtrace")
    (tmp_path / "own.toml").write_text('name = "own"\nextends = ["gru-2024"]\n')
    assert cli.main(["sweep", written(WHOLE), "--out", str(tmp_path / "found.parquet")]) == 0
    machines = {
        "GRU": "gru-2008", "EPT": preset("kvm-ept-2008").with_(**{"cpu.count": 2, "vm.exit_cycles": 900}),
        "OWN": str(tmp_path / "own.toml"),
    }  # fmt: skip
    expected = analysis.experiment(
        machines, {"saved": trace, "zipf": lambda pages, seed: workloads.zipf(accesses=2000, pages=pages, devices=1, seed=seed)},
        {"tlb.entries": [16, 64], "GRU:tlb.ways": [2, 4], "workload.pages": [20, 40]}, seeds=[3, 4], warmup=0.25,
        metrics=["time_ms", "overhead_ns_per_access"], terms=analysis.Terms(same_device="gru-2008"), progress=False,
    )  # fmt: skip
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "found.parquet"), expected.frame)
    shown = capsys.readouterr().out
    assert all(note.split(".")[0].split(",")[0] in shown for note in expected.notes) and "tlb.entries" in shown
    assert (tmp_path / "points.db").exists(), "paths are relative to the file"


def test_seeds_may_be_a_number_and_points_a_list_or_a_sample(written):
    assert list(studyfile.read(written(LEAST + "seeds = 3"))["seeds"]) == [0, 1, 2]
    listed = studyfile.read(written(LEAST + "points = [{tlb.entries = 64, tlb.ways = 2}, {tlb.entries = 128, tlb.ways = 4}]"))
    assert listed["over"] == [{"tlb.entries": 64, "tlb.ways": 2}, {"tlb.entries": 128, "tlb.ways": 4}]
    for method in ("latin_hypercube", "sobol"):
        text = f'[sample]\nmethod = "{method}"\nsamples = 8\nseed = 3\nlog = ["tlb.cbrs"]\n[sample.ranges]\ntlb.cbrs = [1, 128]\n'
        drawn = studyfile.read(written(LEAST + text))["over"]
        assert drawn == getattr(analysis, method)({"tlb.cbrs": (1, 128)}, 8, seed=3, log=["tlb.cbrs"])


def test_shards_and_stores_of_the_command_line(written, tmp_path, capsys):
    file, stores = written(LEAST + "[over]\ntlb.entries = [16, 64]"), [str(tmp_path / f"{number}.db") for number in range(3)]
    for number in (1, 2):
        assert cli.main(["sweep", file, "--shard", f"{number}/2", "--store", stores[number]]) == 0
        assert f"Part {number - 1} of 2: 1 of 2 runs." in capsys.readouterr().out
    assert cli.main(["sweep", file, *(word for store in stores for word in ("--store", store))]) == 0
    from analysis.pointstore import PointStore

    with PointStore(stores[0]) as store:
        assert len(store) == 2


BAD = {
    'machines = ["gru-2008"': "is no TOML", 'machines = ["gru-2008"]': "workloads: is missing",
    'machines = ["gru-208"]\nworkloads = ["sqlite"]': "machines.gru-208: there is no preset 'gru-208'; did you mean gru-2008?",
    'machines = ["gru-2008", "gru-2008"]\nworkloads = ["sqlite"]': "gru-2008: is there twice",
    'machines = 5\nworkloads = ["sqlite"]': "machines: must be a list of names, or a table",
    'machines = {G = {machin = "gru-2008"}}\nworkloads = ["sqlite"]': "machines.G.machin: there is no such setting; did you mean machine?",
    'machines = {G = {machine = "gru-2008", settings = {tlb.entires = 3}}}\nworkloads = ["sqlite"]':
        "machines.G: tlb.entires: .*tlb.entries",
    LEAST + "thread = 3": "thread: there is no such setting; did you mean threads?", LEAST + "threads = 0.5": "threads: must be a whole",
    LEAST + "seeds = 'a'": "seeds: must be a list of whole numbers, or how many, not 'a'", LEAST + "seeds = [2.5]": "seeds.0: ",
    LEAST + "warmup = true": "warmup: must be a number", LEAST + "over = {}\npoints = []": "points: the points are told by over already",
    LEAST + "sample = {sampels = 3}": "sample.sampels: there is no such setting; did you mean samples?",
    LEAST + "sample = {samples = 3, ranges = {tlb.cbrs = [1]}}": "sample.ranges.tlb.cbrs: must be the two ends of a range, not",
    'machines = ["gru-2008"]\nworkloads = {z = {generator = "zipff"}}': "workloads.z.generator: there is no 'zipff'; did you mean zipf?",
    'machines = ["gru-2008"]\nworkloads = {z = {generator = "zipf", page = 3}}': "workloads.z.page: zipf has no .*did you mean pages?",
}  # fmt: skip


@pytest.mark.parametrize("text", BAD)
def test_a_file_that_is_refused(written, text):
    with pytest.raises(ConfigError, match=BAD[text]) as caught:
        studyfile.read(written(text))
    assert str(caught.value).startswith(written(text)) and "\n" not in str(caught.value)


@pytest.mark.parametrize(("given", "told"), [
    (["none.toml"], "none.toml: No such file"), ([], "--trace: is missing; or give the file"),
    (["FILE", "--trace", "sqlite"], "--trace: is told by"),
    (["FILE", "--set", "a=1"], "--set: is told by"), (["FILE", "--shard", "0/3"], "--shard: '0/3' is not of the form k/n"),
    (["--trace", "sort", "--machine", "gru-2008", "--set", "tlb.ways=4", "--store", "a.db"], "--store: needs the file of an experiment"),
    (["FILE", "--out", "a.txt"], "--out: a.txt ends neither"),
], ids=str)  # fmt: skip
def test_options_that_are_refused(written, capsys, given, told):
    assert cli.main(["sweep", *(written(LEAST) if word == "FILE" else word for word in given)]) == 2
    assert told in capsys.readouterr().err
