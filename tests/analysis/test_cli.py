"""The command line: bad input is told in one line, with exit status 2, and nothing is written."""

import os
import subprocess
import sys

import fabricated
import pytest

import workloads
from analysis import cli
from hwmodel.machine import preset, presets
from hwmodel.trace import Trace
from workloads import synthetic
from workloads.recorded import ABOUT

COMPARE = ["compare", "--trace", "toy.hwtrace", "--machines", "gru-2008,kvm-ept-2008", "--out", "out"]
SUITE = ["compare", "--out", "out", "--suite", "quick"]


@pytest.fixture
def folder(tmp_path, monkeypatch, trace):
    """A folder with a good trace and several bad files."""
    monkeypatch.chdir(tmp_path)
    trace.save("toy.hwtrace")
    whole = (tmp_path / "toy.hwtrace").read_bytes()
    (tmp_path / "cut.hwtrace").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "garbled.hwtrace").write_bytes(b"PAR1" + os.urandom(200))
    (tmp_path / "text.trace").write_text("one two\nthree\n")
    (tmp_path / "bad.toml").write_text("design = [\n")
    (tmp_path / "empty.toml").write_text("")
    (tmp_path / "other.toml").write_text('extends = ["primary-2008"]\n')
    (tmp_path / "file").write_text("in the way")
    return tmp_path


def with_(*options, **changes):
    """COMPARE with other values for some options, and more options."""
    arguments = list(COMPARE)
    for name, value in changes.items():
        arguments[arguments.index(f"--{name}") + 1] = value
    return [*arguments, *options]


SWEPT = ["sweep", "--trace", "toy.hwtrace", "--machine", "gru-2008", "--set", "tlb.entries=64"]
BAD = {
    "unknown preset": (with_(machines="gru-2009"), "did you mean gru-2008"),
    "one preset unknown": (with_(machines="gru-2008,nonsense"), "no preset 'nonsense'"),
    "a preset twice": (with_(machines="gru-2008,gru-2008"), "same name"),
    "empty name": (with_(machines="gru-2008,,kvm-ept-2008"), "empty name"),
    "no trace": (with_(trace="missing.hwtrace"), "missing.hwtrace: no such file"),
    "cut trace": (with_(trace="cut.hwtrace"), "cut.hwtrace"),
    "garbled trace": (with_(trace="garbled.hwtrace"), "garbled.hwtrace"),
    "not a trace": (with_(trace="text.trace"), "text.trace"),
    "a folder as trace": (with_(trace="."), "."),
    "no TOML": (with_(machines="bad.toml"), "bad.toml"),
    "TOML without a design": (with_(machines="empty.toml"), "empty.toml: design"),
    "missing TOML": (with_(machines="missing.toml"), "missing.toml"),
    "out is a file": (with_(out="file"), "not a folder"),
    "ways that do not divide": (with_("--set", "tlb.ways=3"), "tlb.ways"),
    "sets not a power of two": (with_("--set", "cpu.stlb.entries=1000"), "cpu.stlb.ways"),
    "unknown setting": (with_("--set", "tlb.entires=3"), "did you mean tlb.entries"),
    "no value": (with_("--set", "tlb.entries="), "not of the form"),
    "a cost of 0": (with_("--set", "driver.interrupt_ns=0"), "free"),
    "no share": (with_("--share", "0"), "share"),
    "no such unit": (with_("--unit", "word"), "unit must be 'record', 'line' or 'page', not 'word'"),
    "accesses too large": (with_("--bytes", "65"), "bytes must be in [1, 64], not 65"),
    "unknown primary": (with_("--same-primary", "gru-1999"), "there is no 'gru-1999' with settings clock.*"),
    "a device as primary": (with_("--same-primary", "coprocessor"), "there is no 'coprocessor' with settings clock.*"),
    "unknown device": (with_("--same-device", "coprocesor"), "did you mean coprocessor? (known: "),
    "a primary as device": (with_("--same-device", "primary-2008"), "there is no 'primary-2008' with settings device.*"),
    "a file without a device": (with_("--same-device", "other.toml"), "other.toml: has no setting device.*"),
    "option missing": (["compare", "--trace", "toy.hwtrace"], "Missing option"),
    "no machines": (["compare", "--trace", "toy.hwtrace", "--out", "out"], "--machines is missing"),
    "neither trace nor suite": (["compare", "--out", "out"], "give either --trace or --suite"),
    "trace and suite": (with_("--suite", "quick"), "give either --trace or --suite"),
    "no such suite": ([*SUITE[:-1], "slow"], "no suite 'slow'"),
    "what a suite's workloads have already": ([*SUITE, "--unit", "page"], "--unit: means nothing to a suite"),
    "a setting that no line-up has": ([*SUITE, "--set", "tlb.entires=1"], "did you mean tlb.entries"),
    "no seed": (with_("--seeds", "0"), "--seeds"),
    "draws too few for a band": (with_("--draws", "5"), "draws: must be a whole number from 20 on, not 5"),
    "a suite of too few draws": ([*SUITE, "--draws", "1"], "draws: must be a whole number from 20 on, not 1"),
    "no such option": (["presets", "--all"], "--all"),
    "no such command": (["compete"], "compete"),
    "a word for a number": (with_("--share", "half"), "--share"),
    "show nothing": (["show", "nonsense"], "nonsense"),
    "inspect nothing": (["inspect", "missing"], "missing: no such file"),
    "sweep without a value": (
        ["sweep", "--trace", "toy.hwtrace", "--machine", "gru-2008", "--set", "tlb.entries"], "not of the form",
    ),
    "sweep with a bad point": (
        ["sweep", "--trace", "toy.hwtrace", "--machine", "gru-2008", "--set", "tlb.entries=64,65"], "tlb",
    ),
    "a warm-up of words": ([*SWEPT, "--warmup", "half"], "--warmup: 'half' is neither a number of records nor a share of them"),
    "a warm-up of more than all": ([*SWEPT, "--warmup", "1.5"], "warmup: must be a number of records, or a share of them"),
    "a region without a record": ([*SWEPT, "--region", "steady"], "--region: 'steady' is not of the form NAME=RECORD"),
    "a region twice": ([*SWEPT, "--region", "a=1", "--region", "a=2"], "regions: 'a' comes twice"),
    "a sweep of no seed": ([*SWEPT, "--seeds", "0"], "--seeds"),
    "sweep to a strange file": (
        ["sweep", "--trace", "toy.hwtrace", "--machine", "gru-2008", "--set", "tlb.entries=64", "--out", "x.xls"],
        "x.xls",
    ),
    "record nothing that exists": (["record", "--out", "x.hwtrace", "--", "/no/such/program"], "no such program"),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "complaint"), BAD.values(), ids=list(BAD))
def test_bad_input(folder, simulated, capfd, arguments, complaint):
    before = sorted(os.listdir(folder))
    assert cli.main(arguments) == 2
    told = capfd.readouterr()
    assert not told.out and told.err.count("\n") == 1, told
    assert told.err.startswith("hwmodel: ") and complaint in told.err, told.err
    assert sorted(os.listdir(folder)) == before, "something was written"
    assert not simulated, "something was run"


def test_a_process_ends_with_status_2(folder):
    command = [sys.executable, "-m", "analysis.cli", *with_(machines="nonsense")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1), ended.stderr
    assert "Traceback" not in ended.stderr


def test_compare_prints_a_table_that_fits_and_writes_its_files(folder, simulated, capfd):
    assert cli.main(with_("--set", "tlb.entries=256", "--share", "0.25", "--bytes", "4")) == 0
    told = capfd.readouterr().out
    assert max(len(line.rstrip()) for line in told.splitlines()) <= 100
    for part in ("gru-2008", "kvm-ept-2008", "ns per device access", "resolution p99", "stall_trap", "25 % of the", "moves 4"):
        assert part in told
    assert sorted(os.listdir("out")) == ["compare.csv", "compare.md", "costs.png", "latency.png", "settings.csv"]
    machines = {name: machine for name, (machine, _) in fabricated.by_name(simulated).items()}
    assert machines["gru-2008"].get("tlb.entries") == 256 and list(machines) == ["gru-2008", "kvm-ept-2008"]


def test_six_machines_fit(folder, simulated, capfd):
    """With more, in 100 columns, names of settings and machines are cut."""
    (folder / "own.toml").write_text('extends = ["gru-2008"]\ntlb.entries = 512\n')
    longest = sorted(presets(), key=len)[-5:]
    assert cli.main(with_("--as-built", machines=",".join([*longest, "own.toml"]))) == 0
    told = capfd.readouterr().out
    assert max(len(line.rstrip()) for line in told.splitlines()) <= 100
    assert "cpu.stlb.entries" in told and "own" in told and all(name in told for name in longest)


def test_same_primary(folder, simulated, capfd):
    assert cli.main(with_("--same-primary", "kvm-ept-2024")) == 0
    told = capfd.readouterr().out
    assert "Clock, CPUs, memory and kernel of kvm-ept-2024" in told and "are the same" in told
    assert {machine.get("clock.mhz") for machine, _ in simulated} == {preset("kvm-ept-2024").get("clock.mhz")}


def test_the_device_and_what_is_set(folder, simulated, capfd):
    """--set is not undone by the device that all machines get."""
    assert cli.main(with_("--same-device", "gru-2008", "--set", "device.latency_ns=10", "--set", "cpu.count=6")) == 0
    told = " ".join(capfd.readouterr().out.split())
    assert "Device: gru-2008 (8 in flight, 10 ns to data, an issue every 10 ns)" in told
    assert {machine.get("cpu.count") for machine, _ in simulated} == {6}


def test_a_sweep_by_seed_region_and_overhead(folder, capfd):
    """With the real engine: the trace has two records that may begin a region."""
    asked = ["--seeds", "2", "--region", "map=0", "--region", "touch=2", "--overhead", "--out", "sweep.csv"]
    assert cli.main([*SWEPT, *asked]) == 0
    rows = (folder / "sweep.csv").read_text().splitlines()
    named = [["64", seed, region] for seed in "01" for region in ("map", "touch")]
    assert [row.split(",")[:3] for row in rows] == [["tlb.entries", "seed", "region"], *named]
    told = capfd.readouterr().out
    assert "slowdown" in told and max(len(line.rstrip()) for line in told.splitlines()) <= 100


def test_sweep_prints_and_writes(folder, simulated, capfd):
    arguments = ["sweep", "--trace", "toy.hwtrace", "--machine", "gru-2008", "--out", "sweep.csv"]
    assert cli.main([*arguments, "--set", "tlb.entries=64,256", "--set", "kernel.thp=never,always", "--unit", "page"]) == 0
    told = capfd.readouterr().out
    assert "kernel.thp" in told and "always" in told and "of a page" in " ".join(told.split())
    assert len((folder / "sweep.csv").read_text().splitlines()) == 5
    assert [machine.get("kernel.thp") for machine, _ in simulated].count("always") == 2


def test_presets_and_show(capfd):
    assert cli.main(["presets"]) == 0
    told = capfd.readouterr().out
    assert all(name in told for name in presets())
    for name in presets():
        assert cli.main(["show", name]) == 0
        told = capfd.readouterr().out
        assert max(len(line.rstrip()) for line in told.splitlines()) <= 100
        assert "cpu.stlb.entries" in told and "estimate" in told


def test_workloads(capfd):
    """Every name begins a line; what is said of the suites' workloads and of recordings ends there, of a generator on the next."""
    assert cli.main(["workloads"]) == 0
    lines = [line.rstrip() for line in capfd.readouterr().out.splitlines()]
    assert max(map(len, lines)) <= 100
    suites = [[workload.name for workload in workloads.suite(name)] for name in ("quick", "full")]
    named = [line.split()[0] for line in lines if line[:1].strip()]
    titles = (["Suites", "workload"], ["Recordings", "recording"], ["Generators", "generator"])
    assert named == [*titles[0], *suites[0], *titles[1], *ABOUT, *titles[2], *synthetic.__all__] and suites[0] == suites[1]
    told = {line.split()[0]: line.partition(" ")[2].strip() for line in lines if line.strip()}
    for name, exercises, _ in workloads.suite("quick"):
        assert told[name] == exercises or name in ABOUT
    assert {name: told[name] for name in ABOUT} == ABOUT
    assert told["uniform"] == "accesses to pages drawn uniformly: the worst case of a TLB."


def test_inspect(folder, capfd):
    assert cli.main(["inspect", "toy.hwtrace"]) == 0
    told = capfd.readouterr().out
    assert "4 records for 4 references" in told and "main" in told and "program: toy" in told


def test_record(folder, monkeypatch, capfd):
    def record(command, out, tool):
        assert (command, tool) == (["prog", "-x", "--out", "y"], "lackey")
        trace = Trace.load("toy.hwtrace")
        return Trace.from_records(trace.agents, next(trace.chunks()), trace.prelude, trace.info | {"exit_status": 0})

    monkeypatch.setattr("workloads.record", record)
    assert cli.main(["record", "--tool", "lackey", "--out", "new.hwtrace", "--", "prog", "-x", "--out", "y"]) == 0
    assert "4 records" in capfd.readouterr().out


def test_help_needs_no_pandas():
    show = "from analysis.cli import main; main(['presets'])"
    program = f"import sys; {show}; print({{'pandas', 'matplotlib'}} & set(sys.modules))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert ended.stdout.endswith("set()\n")
