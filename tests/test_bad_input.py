"""Bad input: one line on standard error that says what and why, exit status 2, no traceback, nothing written."""

import os
import pathlib
import subprocess
import sys

import pytest

from analysis import cli, runs
from hwmodel import secondary
from tests.support import bad_files
from workloads.recorders import lackey, qemu

TRACE, NOT_RUN = "{files}/good.hwtrace", "a machine was run"
INSPECT = ["inspect", "{file}"]
COMPARE = ["compare", "--trace", TRACE, "--machines", "gru-2008,kvm-ept-2008", "--out", "out"]
SWEEP = ["sweep", "--trace", TRACE, "--machine", "gru-2008", "--set", "tlb.entries=64,256", "--out", "out.csv"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder of bad recordings, and what is said of each."""
    folder = tmp_path_factory.mktemp("bad")
    said = bad_files.write_all(folder)
    for devices in (1, 3, 33):
        bad_files.save(folder / f"{devices} devices.hwtrace", devices)
    return folder, said


@pytest.fixture
def refused(files, tmp_path, monkeypatch, capfd):
    """Runs the command line in an empty folder and returns the one line that it refuses with."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def simulate(*_, **__):
        raise AssertionError(NOT_RUN)

    monkeypatch.setattr(runs, "simulate", simulate)

    def run(arguments):
        before = listing(folder, files[0])
        assert cli.main([argument.replace("{files}", str(files[0])) for argument in arguments]) == 2
        told = capfd.readouterr()
        assert told.out == "" and told.err.count("\n") == 1 and told.err.startswith("hwmodel: "), told
        assert "Traceback" not in told.err
        assert listing(folder, files[0]) == before, "something was written"
        return told.err.removeprefix("hwmodel: ")

    return run


def listing(*folders):
    """Every file, with its size and time."""
    paths = [path for folder in folders for path in sorted(folder.rglob("*"))]
    return [(path, path.stat().st_size, path.stat().st_mtime_ns) for path in paths]


def changed(arguments, **options):
    """Arguments with other values."""
    arguments = list(arguments)
    for name, value in options.items():
        arguments[arguments.index(f"--{name}") + 1] = value
    return arguments


# recordings


def test_every_bad_recording_is_refused(files, refused):
    folder, said = files
    assert len(said) > 80
    for name, complaint in said.items():
        for command in (["inspect", str(folder / name)], changed(COMPARE, trace=str(folder / name))):
            line = refused(command)
            assert name in line and complaint in line, (name, line)


def test_a_garbled_byte_is_noticed_or_changes_nothing(files, tmp_path, capfd, refused):
    path, whole = tmp_path / "garbled.hwtrace", (files[0] / "good.hwtrace").read_bytes()
    path.write_bytes(whole)
    assert cli.main(["inspect", str(path)]) == 0
    as_it_is = capfd.readouterr().out
    noticed = 0
    for at in range(0, len(whole), max(1, len(whole) // 400)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        status = cli.main(["inspect", str(path)])
        told = capfd.readouterr()
        if status == 0:
            assert told.out == as_it_is, f"byte {at}"
        else:
            noticed += 1
            assert status == 2 and told.err.count("\n") == 1 and str(path) in told.err, f"byte {at}: {told.err}"
    assert noticed > 300


# machines and settings

SETTINGS = {
    "tlb.ways=3": "tlb.ways: 3 does not divide tlb.entries (4096)",
    "tlb.entries=1000": "tlb.ways: 4 of tlb.entries (1000) make 250 sets, not a power of two",
    "cpu.stlb.ways=12": "cpu.stlb.ways: 12 does not divide cpu.stlb.entries (512)",
    "memory.llc.lines=24": "memory.llc.ways: 16 does not divide memory.llc.lines (24)",
    "cpu.dtlb.entries=0": "cpu.dtlb.entries: must be greater than or equal to 1, not 0",
    "cpu.pwc.pde_entries=-4": "cpu.pwc.pde_entries: must be greater than or equal to 0, not -4",
    "cpu.pwc.pde_ways=0": "cpu.pwc.pde_ways: must be greater than or equal to 1, not 0",
    "nested.tlb_entries=12": "nested.tlb_ways: 16 does not divide nested.tlb_entries (12)",
    "tlb.entires=64": "tlb.entires: design gru has no such setting; did you mean tlb.entries?",
    "tlb=64": "tlb: is a section, not a setting",
    "cpu.count=0": "cpu.count: must be greater than or equal to 1, not 0",
    "cpu.count=-1": "cpu.count: must be greater than or equal to 1, not -1",
    "cpu.count=2.0": "cpu.count: must be a valid integer, not 2.0",
    "cpu.count=nan": "cpu.count: must be",
    "cpu.count=1e400": "cpu.count: must be",
    "cpu.count=four": "cpu.count: must be a valid integer, not 'four'",
    "cpu.count=true": "cpu.count: must be a valid integer, not True",
    "cpu.count=[4]": "cpu.count: must be a valid integer, not [4]",
    "cpu.count={a=1}": "cpu.count: must be a valid integer, not {'a': 1}",
    "cpu.count=1979-05-27": "cpu.count: must be a valid integer, not datetime.date(1979, 5, 27)",
    "cpu.count=1\ncpu.count=2": "cpu.count: must be a valid integer, not",
    "cpu.count=" + "9" * 4000: "cpu.count: must be less than or equal to 1024, not 99999",
    "cpu.count=" + "9" * 9000: "cpu.count: must be a valid integer, not '99999",
    "cpu.count=0x" + "f" * 9000: "cpu.count: must be less than or equal to 1024, not a number of 36000 bits",
    "cpu.count=" + "[" * 9000: "cpu.count: must be a valid integer, not '[[[",
    "driver.interrupt_ns=0": "driver.interrupt_ns: a cost of 0 is written free",
    "driver.interrupt_ns=-1": "driver.interrupt_ns: must be a positive number of ns, or free, not -1",
    "driver.interrupt_ns=nan": "driver.interrupt_ns: must be a positive number of ns, or free, not nan",
    "driver.interrupt_ns=1e400": "driver.interrupt_ns: must be a positive number of ns, or free, not inf",
    "driver.interrupt_ns=2e9": "driver.interrupt_ns: must be at most 1000000000 ns, not 2000000000.0",
    "driver.interrupt_ns=0x" + "f" * 9000: "driver.interrupt_ns: must be at most 1000000000 ns, not a number of 36000 bits",
    "driver.interrupt_cpu=9": "driver.interrupt_cpu: there is no CPU 9: cpu.count is 4",
    "kernel.lazy_cpus=5": "kernel.lazy_cpus: 5 are more than cpu.count (4)",
    "kernel.thp=sometimes": "kernel.thp: must be 'never', 'madvise' or 'always', not 'sometimes'",
    "kernel.policy=linux-2.4": "kernel.policy: must be 'linux-6', not 'linux-2.4'",
    "engine.lookahead_records=1000": "engine.lookahead_records: 1000 is not a power of two",
    "guest.page_size=1G": "guest.page_size: must be '4K' or '2M', not '1G'",
    "tlb.entries": "--set: 'tlb.entries' is not of the form SETTING=VALUE",
    "=64": "--set: '=64' is not of the form SETTING=VALUE",
    "tlb.entries= ": "--set: 'tlb.entries= ' is not of the form SETTING=VALUE",
    " . = 4": ".: design gru has no such setting",
}


def test_every_bad_setting_is_refused(refused):
    for text, complaint in SETTINGS.items():
        line = refused([*COMPARE, "--set", text])
        assert line.startswith(complaint) and len(line) < 250, (text[:60], line)
        if "=" in text and not text.startswith(("=", "nested", "guest")):  # settings that the swept machine has
            line = refused([*SWEEP, "--set", text])
            assert text.split("=")[0].strip().split(".")[0] in line, (text[:60], line)


FILES = {
    "an unknown setting": ('extends = ["gru-2008"]\ntlb.entires = 4', "tlb.entires: design gru has no such setting; did you mean"),
    "a setting twice": ('extends = ["gru-2008"]\ncpu.count = 4\ncpu.count = 5', "Cannot overwrite a value"),
    "a table twice": ('extends = ["gru-2008"]\n[cpu]\ncount = 4\n[cpu]\ncount = 5', "Cannot declare"),
    "a word for a number": ('extends = ["gru-2008"]\ncpu.count = "4"', "cpu.count: must be a valid integer, not '4'"),
    "a list for a number": ('extends = ["gru-2008"]\ncpu.count = [4]', "cpu.count: must be a valid integer, not [4]"),
    "a fraction for a whole number": ('extends = ["gru-2008"]\ncpu.count = 4.5', "cpu.count: must be a valid integer, not 4.5"),
    "an impossible number": ('extends = ["gru-2008"]\ndriver.interrupt_ns = 1e400', "driver.interrupt_ns: must be a positive number"),
    "no number": ('extends = ["gru-2008"]\ndriver.interrupt_ns = nan', "driver.interrupt_ns: must be a positive number"),
    "an endless number": (f'extends = ["gru-2008"]\ncpu.count = {"9" * 9000}', "integer string conversion"),
    "a section that is a number": ('extends = ["gru-2008"]\ncpu = 4', "cpu: is a section, not a setting"),
    "sets that are no power of two": ('extends = ["gru-2008"]\ntlb.entries = 24', "tlb.ways: 4 of tlb.entries (24) make 6 sets"),
    "no such base": ('extends = ["gru-2007"]', "extends: there is no 'gru-2007'; did you mean gru-2008?"),
    "no such design": ('design = "grew"', f"design: there is no 'grew' (designs: {', '.join(secondary.names())})"),
    "neither base nor design": ("cpu.count = 4", "design: is missing"),
    "not TOML": ("cpu = [\n", "Invalid value"),
    "binary": (b"\xff\xfe\x00", "codec can't decode"),
    "nested without end": ("x = " + "[" * 9000, "nested too deeply"),
    "tables without end": ('extends = ["gru-2008"]\n[' + ".".join("a" * 3000) + "]\nb = 1", "nested too deeply"),
    "a value out of its own range": (
        'extends = ["gru-2008"]\ncpu.count = {value = 4, low = 5}', "cpu.count: 4 is not between low (5) and high (None)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_every_bad_machine_file_is_refused(name, refused, tmp_path):
    content, complaint = FILES[name]
    path = tmp_path / "own.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    commands = [["show", str(path)], changed(COMPARE, machines=f"gru-2008,{path}"), changed(SWEEP, machine=str(path))]
    if name != "neither base nor design":  # a file of some settings is no machine, but has a primary MMU's
        commands.append([*COMPARE, "--same-primary", str(path)])
    for command in commands:
        line = refused(command)
        assert line.startswith("own.toml: ") and complaint in line and len(line) < 250, line


COMMANDS = {
    "a near miss": (changed(COMPARE, machines="gru-2009"), "there is no preset 'gru-2009'; did you mean gru-2008?"),
    "another near miss": (["show", "kvm-ept-2042"], "did you mean kvm-ept-2024?"),
    "upper case": (["show", "GRU-2008"], "there is no preset 'GRU-2008'"),
    "a design for a preset": (["show", "kvm_ept"], "there is no preset 'kvm_ept'"),
    "a part for a preset": (["show", "primary-2008"], "there is no preset 'primary-2008'"),
    "nothing": (["show", ""], "there is no preset ''"),
    "a path": (["show", "../gru-2008.toml"], "gru-2008.toml: No such file or directory"),
    "a folder": (["show", "./"], ".: Is a directory"),
    "no machine": (changed(COMPARE, machines=""), "--machines: '' has an empty name"),
    "a machine twice": (changed(COMPARE, machines="gru-2008,gru-2008"), "machines: two have the same name"),
    "a setting twice": ([*COMPARE, "--set", "cpu.count=4", "--set", "cpu.count=8"], "--set: cpu.count is set twice"),
    "swept twice": ([*SWEEP, "--set", "tlb.entries=512"], "--set: tlb.entries is set twice"),
    "a bad point": (changed(SWEEP, set="tlb.entries=64,65"), "tlb.ways: 4 does not divide tlb.entries (65)"),
    "an empty point": (changed(SWEEP, set="tlb.entries=64,"), "tlb.entries: must be a valid integer, not ''"),
    "no thread": ([*SWEEP, "--threads", "0"], "threads: must be at least 1, not 0"),
    "a share of nothing": ([*COMPARE, "--share", "0"], "share: must be in (0, 1], not 0.0"),
    "more than all": ([*COMPARE, "--share", "1.5"], "share: must be in (0, 1], not 1.5"),
    "a share that is no number": ([*COMPARE, "--share", "nan"], "share: must be in (0, 1], not nan"),
    "an endless share": ([*COMPARE, "--share", "1e400"], "share: must be in (0, 1], not inf"),
    "a word for a share": ([*COMPARE, "--share", "half"], "--share"),
    "engines without a design for them": (
        changed(COMPARE, machines="cpu-only", trace="{files}/1 devices.hwtrace"), "design: cpu_only has no engines",
    ),
    "more engines than contexts": (
        changed(COMPARE, trace="{files}/33 devices.hwtrace"), "gru.chiplets: 2 have 32 contexts (16 each), but there are 33 engines",
    ),
    "more engines than contexts of one": (
        [*changed(COMPARE, trace="{files}/33 devices.hwtrace"), "--set", "gru.chiplets=1"],
        "gru.chiplets: 1 have 16 contexts (16 each), but there are 33 engines",
    ),
    "more in flight than there are": (
        [*changed(SWEEP, trace="{files}/3 devices.hwtrace"), "--set", "device.window=8,128"],
        "device.window: 128 for each of 2 contexts of a chiplet are more than its 128",
    ),
    "a file for a folder": (changed(COMPARE, out=TRACE), "good.hwtrace: not a folder"),
    "a folder in a file": (changed(COMPARE, out=f"{TRACE}/a/b"), "good.hwtrace: not a folder"),
    "a folder without a name": (changed(COMPARE, out=""), "the name of the folder to write to is empty"),
    "a folder for a table": (changed(SWEEP, out="{files}/folder.csv"), "folder.csv: a folder, not a file to write"),
    "a table in a file": (changed(SWEEP, out=f"{TRACE}/out.csv"), "good.hwtrace: not a folder"),
    "a table of another kind": (changed(SWEEP, out="out.xls"), "--out: out.xls ends neither in .csv nor in .parquet"),
    "a recording into a folder": (["record", "--out", "{files}", "--", "true"], "a folder, not a file to write"),
    "a recording into a file": (["record", "--out", f"{TRACE}/x", "--", "true"], "good.hwtrace: not a folder"),
    "a recording of nothing": (["record", "--out", "x.hwtrace"], "Missing argument"),
    "a recording of no program": (["record", "--out", "x.hwtrace", "--", "./none"], "cannot record './none': no such program"),
    "a recording by an unknown tool": (["record", "--out", "x.hwtrace", "--tool", "pin", "--", "true"], "no tool 'pin' to record with"),
    "no command": (["compere"], "No such command 'compere'"),
    "no such option": ([*COMPARE, "--fast"], "No such option: --fast"),
}  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_every_bad_command_is_refused(name, files, refused):
    (files[0] / "folder.csv").mkdir(exist_ok=True)
    arguments, complaint = COMMANDS[name]
    if "cannot record" in complaint and lackey.missing() and qemu.missing():
        complaint = "recording needs one of"
    assert complaint in refused(arguments)


def test_what_only_a_run_can_find(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runs, "announce_compilation", lambda design: None)
    bad_files.save(tmp_path / "punched.hwtrace", last=bad_files.PUNCH)
    bad_files.save(tmp_path / "wide.hwtrace", last=bad_files.WIDE)
    cases = {
        "record 5002: punch is not modelled yet": changed(COMPARE, machines="cpu-only", trace="punched.hwtrace"),
        "memory.size_mib: 1 MiB are not enough": [
            *changed(COMPARE, machines="cpu-only", trace="wide.hwtrace"), "--set", "memory.size_mib=1",
        ],
    }  # fmt: skip
    before = listing(tmp_path)
    for complaint, arguments in cases.items():
        assert cli.main(arguments) == 2
        told = capfd.readouterr()
        assert told.out == "" and told.err.count("\n") == 1 and complaint in told.err, told
    assert listing(tmp_path) == before


def test_too_little_memory_of_this_computer_is_told(refused, monkeypatch):
    def simulate(*_, **__):
        raise MemoryError("Unable to allocate 8.00 TiB")

    monkeypatch.setattr(runs, "simulate", simulate)
    assert refused(COMPARE) == "this computer has too little memory for that (Unable to allocate 8.00 TiB)\n"


def test_a_folder_that_may_not_be_written(refused, tmp_path, monkeypatch):
    closed = tmp_path / "closed"
    closed.mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: pathlib.Path(path) != closed)  # root may write anywhere
    for command in (changed(COMPARE, out=str(closed)), changed(COMPARE, out=f"{closed}/out"),
                    changed(SWEEP, out=f"{closed}/out.csv"), ["record", "--out", f"{closed}/x", "--", "true"]):  # fmt: skip
        assert "closed: no permission to write there" in refused(command)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (changed(COMPARE, trace="{files}/cut to 100 bytes.hwtrace"), "cut to 100 bytes.hwtrace: not a trace"),
        (["inspect", "{files}/an agent out of range.hwtrace"], "record 2: agent 7 is not in the trace"),
        ([*SWEEP, "--set", "tlb.ways=3"], "tlb.ways: 3 does not divide tlb.entries (64)"),
        (["compare"], "Missing option"),
    ],
)
def test_a_process_ends_with_status_2(files, tmp_path, arguments, complaint):
    command = [argument.replace("{files}", str(files[0])) for argument in arguments]
    root = str(pathlib.Path(__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": root}
    ended = subprocess.run([sys.executable, "-m", "analysis.cli", *command], cwd=tmp_path, capture_output=True, text=True,
                           env=environment, check=False)  # fmt: skip
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1), ended
    assert complaint in ended.stderr and "Traceback" not in ended.stderr
    assert not list(tmp_path.iterdir())
