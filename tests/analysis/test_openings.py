"""How a trace is opened on the command line: the same options for every command, and what is lost of a file told once, with a count."""

import inspect
import lzma
import pathlib
import re

import pytest

from analysis import cli, options, studyfile
from tests.workloads import test_champsim as champsim
from tests.workloads import test_drmemtrace as dr
from tests.workloads import test_execlog as execlog
from tests.workloads import test_facts as told
from tests.workloads import test_lackey as lackey
from tests.workloads import test_threads as threads
from workloads.formats import READERS

COMMANDS = {
    "inspect": ["inspect", "FILE"],
    "convert": ["convert", "FILE", "out.csv", "--lossy"],
    "replay": ["replay", "FILE"],
    "compare": ["compare", "--trace", "FILE", "--machines", "gru-2008", "--out", "out", "--draws", "0"],
    "report": ["report", "--trace", "FILE", "--machines", "gru-2008", "--out", "out.html", "--draws", "0"],
    "sweep": ["sweep", "--trace", "FILE", "--machine", "gru-2008", "--set", "tlb.entries=64"],
}
"""How each command that opens a trace is called."""
OPTIONS = {f"--{field}".replace("_", "-") for field in options.Opening.__dataclass_fields__}


@pytest.fixture
def run(tmp_path, monkeypatch, capfd):
    """Runs a command in a folder with a file, with nothing simulated; returns its status, standard output and error."""
    monkeypatch.chdir(tmp_path)

    def run(command, content, *more, name="file"):
        path = pathlib.Path(name)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        status = cli.main([str(path.parent if "/" in name else path) if word == "FILE" else word for word in [*COMMANDS[command], *more]])
        return status, *capfd.readouterr()

    return run


def help_of(command, capfd):
    assert cli.main([command, "--help"]) == 0
    return capfd.readouterr().out


def test_every_command_that_opens_a_trace_has_the_options(capfd):
    taking = {name for name, function in vars(cli).items() if inspect.isfunction(function) and hasattr(function, "__wrapped__")}
    assert taking == set(COMMANDS)
    assert OPTIONS == {"--partial", "--columns", "--ignore", "--guest-base", "--arch", "--process"}
    for command in COMMANDS:
        assert OPTIONS <= set(re.findall(r"--[a-z-]+", help_of(command, capfd))), command


@pytest.fixture
def opened(monkeypatch):
    """The traces that were opened; a command ends there."""
    found = []

    def trace(self, name):
        found.append(self.named(name))
        raise options.ConfigError("opened")

    monkeypatch.setattr(options.Opening, "trace", trace)
    return found


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "convert"])
def test_what_is_told_is_used(run, opened, command):
    for text, more in ((told.GUEST, ["--guest-base", hex(told.BASE)]), (told.CALLS, ["--arch", "arm64"]),
                       (told.THREADS, ["--process", "502,501"])):  # fmt: skip
        assert run(command, text, *more)[2] == "hwmodel: opened\n"
    guest, calls, threads_ = opened
    assert [agent.name for agent in guest.agents if agent.role == "device"] == ["vcpu0", "vcpu1"] and guest.references == 2
    assert calls.info["system_calls"] == "arm64"
    assert [agent.space for agent in threads_.agents] == [0, 0]


def test_a_file_is_converted_as_told(run):
    status, _, error = run("convert", told.GUEST, "--guest-base", hex(told.BASE))
    assert (status, error) == (0, "") and f"write,{told.BASE + 0x11141000}," in pathlib.Path("out.csv").read_text()


REFUSED = {
    "no number": (told.GUEST, ["--guest-base", "x"], "--guest-base: 'x' is no number"),
    "within a page": (told.GUEST, ["--guest-base", "0x7f0000000001"], "--guest-base: must be where a page of user memory begins"),
    "no machine": (told.CALLS, ["--arch", "vax"], "--arch: there is no 'vax'"),
    "no thread": (told.THREADS, ["--process", "501,x"], "--process: 'x' is no number"),
    "a thread twice": (told.THREADS, ["--process", "501", "--process", "501"], "--process: thread 501 is there twice"),
    "an empty name": (told.THREADS, ["--process", "501,,502"], "--process: '501,,502' has an empty name"),
    "a thread of no line": (told.THREADS, ["--process", "501,77"], "file: processes (--process): no line is of thread 77"),
    "another format": ("I  00001000,3\n", ["--guest-base", "0"], "file: guest_base (--guest-base) is for the text of the kernel's"),
    "columns": ("address\n1\n", ["--arch", "arm64"], "file: arch (--arch) is for the text of the kernel's events"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_refused_in_one_line(run, command, what):
    content, more, complaint = REFUSED[what]
    status, out, error = run(command, content, *more)
    assert (status, out, error.count("\n")) == (2, "", 1) and error.startswith(f"hwmodel: {complaint}"), error


def test_a_suite_and_an_experiment_s_file_say_it_themselves(run, tmp_path, capfd):
    for option, value in (("--guest-base", "0"), ("--arch", "arm64"), ("--process", "1"), ("--partial", None)):
        given = [option] if value is None else [option, value]
        assert cli.main(["compare", "--suite", "quick", "--out", "out", *given]) == 2
        assert capfd.readouterr().err == f"hwmodel: {option}: means nothing to a suite, which has traces with devices\n"
        assert cli.main(["sweep", "study.toml", *given]) == 2
        setting = studyfile.setting_of(option)
        assert capfd.readouterr().err == f"hwmodel: {option}: study.toml says that of each workload, {setting}\n"
        assert setting.removeprefix("workloads.NAME.") in studyfile._Opened.model_fields


STUDY = 'machines = ["kvm-ept-2024"]\n[workloads]\nvm = {{file = "file", {}}}\n'
SAID = {
    "guest_base = 7": "workloads.vm.guest_base: must be where a page of user memory begins, a multiple of 0x1000 below 2^56, not 0x7",
    'guest_base = "x"': "workloads.vm.guest_base: must be a whole number, not 'x'",
    'arch = "vax"': "workloads.vm.arch: there is no 'vax'; there are x86-64",
    "processes = [[1], [1]]": "workloads.vm.processes: thread 1 is there twice",
    "processes = 1": "workloads.vm.processes: must be a list with the numbers of each process's threads, not 1",
    'processes = [["a"]]': "workloads.vm.processes.0.0: input should be a valid integer",
    "processes = [[77]]": "workloads.vm: {folder}/file: processes (--process): no line is of thread 77",
    "guest_bse = 0": "workloads.vm.guest_bse: there is no such setting; did you mean guest_base?",
    'columns = "address"': "workloads.vm.columns: must be a list of names, not 'address'",
    'columns = ["address"], arch = "arm64"': "workloads.vm: {folder}/file: arch (--arch) is for the text of the kernel's events",
}  # fmt: skip


@pytest.mark.parametrize("setting", SAID)
def test_a_setting_of_a_file_is_refused_by_its_dotted_name(tmp_path, setting):
    (tmp_path / "file").write_text(told.GUEST)
    path = tmp_path / "study.toml"
    path.write_text(STUDY.format(setting))
    with pytest.raises(options.ConfigError) as refused:
        studyfile.read(path)
    assert str(refused.value).startswith(f"{path}: " + SAID[setting].format(folder=tmp_path)) and "\n" not in str(refused.value)


def test_a_workload_of_a_file_is_opened_as_it_says(tmp_path):
    (tmp_path / "file").write_text(told.GUEST)
    path = tmp_path / "study.toml"
    path.write_text(STUDY.format(f"guest_base = {told.BASE:#x}"))
    assert studyfile.read(path)["workloads"]["vm"].references == 2
    for name, said in (("none", "{folder}/none: no such file, nor a shipped recording"), ("kernel", "kernel: arch .*a shipped recording")):
        path.write_text(STUDY.format('arch = "arm64"').replace('"file"', f'"{name}"'))
        with pytest.raises(options.ConfigError, match=r"workloads\.vm(\.file)?: " + said.format(folder=tmp_path)):
            studyfile.read(path)


A = 0x7F0000001000
LINE = "  app-31  (     31) [001] d.... 10.{}: {}\n"


def kernel(*events):
    return "".join(LINE.format(at, event) for at, event in enumerate(events, 100))


def fault(address):
    return f"page_fault_user: address={address:#x} ip=0x401000 error_code=0x6"


LEFT_OUT = "3 accesses to the kernel's memory are left out"
LOSSES = {
    "ftrace": [
        (kernel(fault(A)) + "CPU:0 [LOST 1234 EVENTS]\n", ["the kernel lost 1,234 events"]),
        (kernel(fault(A), *[fault((1 << 64) - 4096)] * 3), [LEFT_OUT]),
        (told.GUEST, ["2 guest page faults are left out: where guest memory lies is not known (guest_base= tells it, on the command line "
                      "--guest-base)"]),
        (told.THREADS, ["no process ids: threads 501, 502 are taken as a process each (processes= joins some, on the command line "
                        "--process)"]),
        (kernel("sys_exit: NR 11 = 0", fault(A)), ["1 system call is left out"]),
        (kernel("kvm_age_hva: mmu notifier age hva: 0x1000 -- 0x2000"), ["none of its 1 event becomes a record"]),
        (kernel("sched_wakeup: comm=a pid=1") * 3, ["none of its 3 events is of use"]),
    ],
    "champsim": [
        (b"".join(champsim.instruction(0x400000 + n, loads=[champsim.KERNEL] if n < 3 else [0x1000]) for n in range(5)), [LEFT_OUT]),
    ],
    "drmemtrace": [
        (dr.pack(*dr.begin(), *[(dr.READ, 8, -4096)] * 3, (2, 1, 0x7000000), (20, 0, 0x7000000), (20, 0, 0x7000000), *dr.END),
         [LEFT_OUT, "1 prefetch is left out", "2 flushes of cache lines are left out"]),
        (dr.pack(*dr.on(0x40 | 0x80 | 0x100), (dr.READ, 8, 4096), *dr.END), ["most accesses are missing"]),
    ],
    "threads": [(threads.RECORDING, ["1 forked process was not recorded"])],
    "lackey": [("I  00004000,1\n" + lackey.FORK + "I  00004000,1\n", ["1 forked process has no log"])],
    "execlog": [(execlog.PRINTED, [])],
    "columns": [("address,kind\n4096,R\n", [])],
}  # fmt: skip
"""By format: files, and the beginning of each sentence that is told of what is lost of them; two formats lose nothing unless cut short."""


@pytest.mark.filterwarnings("default::hwmodel.op.TraceWarning")
@pytest.mark.parametrize("format", LOSSES)
def test_what_is_lost_is_told_once_on_standard_error(run, format):
    assert set(LOSSES) == {reader.NAME for reader in READERS}
    for content, sentences in LOSSES[format]:
        for command in ("inspect", "convert"):
            status, _, error = run(command, content)
            lines = error.splitlines()
            assert status == 0 and len(lines) == len(sentences), error
            for line, sentence in zip(sorted(lines), sorted(f"hwmodel: warning: file: {sentence}" for sentence in sentences), strict=True):
                assert line.startswith(sentence), line
            named = set(re.findall(r"--[a-z]+(?:-[a-z]+)*", error)) - {"--log-file"}  # valgrind's
            assert named <= OPTIONS, "an option is named that the command does not have"


@pytest.mark.filterwarnings("always::UserWarning")
def test_a_warning_of_each_machine_s_run_is_told_once(run):
    status, _, error = run("compare", "address,kind\n")
    assert status == 0 and error.count("hwmodel: warning: file: the trace has no records\n") == 1, error


def test_engines_without_an_access_have_no_overhead_to_draw(run):
    """A recording none of whose records is an engine's is compared, with a picture that says so."""
    status, _, error = run("compare", "I  00001000,3\nI  00002000,3\n")
    assert (status, [line for line in error.splitlines() if "compiling" not in line]) == (0, [])
    assert {path.name for path in pathlib.Path("out").iterdir()} >= {"costs.png", "compare.csv"}


CUT = {
    "ftrace": kernel(fault(A)) + LINE.format(9, fault(A))[:50],
    "lackey": "I  00001000,3\nI  0000",
    "columns": "address,kind\n4096,R\n81",
    "drmemtrace": dr.pack(*dr.begin(), (dr.READ, 8, 4096)),
    "champsim": b"".join(champsim.instruction(0x400000 + n, loads=[4096]) for n in range(5))[:-3],
    "threads": threads.RECORDING[:-3],
    "execlog": execlog.PRINTED[:-5],
}


@pytest.mark.filterwarnings("default::hwmodel.op.TraceWarning")
@pytest.mark.parametrize("format", CUT)
def test_a_file_that_is_cut_short_is_refused_or_told(run, format):
    assert set(CUT) == {reader.NAME for reader in READERS}
    status, out, error = run("inspect", CUT[format])
    assert (status, out) == (2, "") and error.splitlines()[-1].startswith("hwmodel: file: cut short: "), error
    status, out, error = run("inspect", CUT[format], "--partial")
    assert status == 0 and out and error.count("cut short: ") == 1
    packed = run("inspect", lzma.compress(CUT[format].encode() if isinstance(CUT[format], str) else CUT[format]), "--partial")
    assert packed[0] == 0 and packed[2] == error
