"""A recorder that is killed leaves no tracing, no file and no process behind; skipped without root, tracefs or KVM."""

import os
import pathlib
import random
import signal
import sys
import time

import pytest

from tests.support.marked import Marked
from workloads import record_kernel
from workloads.recorders import guardian, lackey, qemu, recordkernel, tracefs

TRACEFS = [pathlib.Path(root) for root in tracefs.ROOTS if os.path.isdir(f"{root}/instances")]
able = os.geteuid() == 0 and TRACEFS and os.access(TRACEFS[0] / "instances", os.W_OK) and os.access(recordkernel.KVM, os.R_OK | os.W_OK)
needs_tracefs = pytest.mark.skipif(not able, reason="NOT SHOWN that nothing traces on after a kill: needs root, tracefs and KVM")
PROGRAM = ["sh", "-c", "(sleep 61 & sleep 62) & sleep 63"]
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL]


class Recorder(Marked):
    """`hwmodel record` as a process, and all that it starts."""

    def __init__(self, folder, *options, before=(), program=PROGRAM, script=None):
        self.folder = folder
        command = ["-m", "hwmodel_command", "record", *options, "--out", str(folder / "out.ftrace"), "--", *program]
        super().__init__([*before, sys.executable, *(command if script is None else ["-c", script])], folder)

    def left(self):
        return [*super().left(), *self.own_instances(), *os.listdir(self.folder)]

    def own_instances(self):
        return [path.name for root in TRACEFS for path in (root / "instances").glob(f"hwmodel-{self.process.pid}-*")]

    def wait_for(self, condition):
        until = time.monotonic() + 120
        while not condition():
            assert time.monotonic() < until and self.process.poll() is None
            time.sleep(0.01)

    def runs(self):
        """Whether the program has begun."""
        return any(line.strip() == "sleep 63" for line in self.alive().values())

    def has_forked(self):
        """Whether the program has started others."""
        return any(line.startswith("sleep 61") for line in self.alive().values())


@needs_tracefs
@pytest.mark.parametrize("number", SIGNALS)
def test_a_kernel_recorder_that_is_killed_leaves_nothing(tmp_path, number):
    recorder = Recorder(tmp_path, "--kernel")
    recorder.wait_for(recorder.runs)
    assert recorder.own_instances()
    assert recorder.kill(number) == []


@needs_tracefs
def test_a_kernel_recorder_that_runs_out_of_time_leaves_nothing(tmp_path):
    recorder = Recorder(tmp_path, "--kernel", before=["timeout", "6"])
    assert recorder.process.wait(60) == 124
    time.sleep(2)
    assert recorder.alive() == {} and os.listdir(tmp_path) == []
    assert not [name for name in os.listdir(TRACEFS[0] / "instances") if not tracing(name)]


def tracing(name):
    """Whether an instance's recorder lives."""
    return os.path.exists(f"/proc/{name.split('-')[1]}")


@needs_tracefs
@pytest.mark.long
def test_a_hundred_kills_at_random_moments(tmp_path):
    """From the start of the process to a second after the program's; half of them near the latter, where most is going on."""
    draw, moments = random.Random(0), []
    for number in SIGNALS:
        folder = tmp_path / f"{number}"
        folder.mkdir()
        first = Recorder(folder, "--kernel")
        begun = time.monotonic()
        first.wait_for(first.runs)
        ready = time.monotonic() - begun
        assert first.kill(number) == []
        for k in range(25):
            recorder = Recorder(folder, "--kernel")
            after = draw.uniform(0, ready + 1) if k % 2 else draw.uniform(0.7 * ready, ready + 1)
            time.sleep(after)
            moments.append((number, after, bool(recorder.own_instances()), recorder.runs()))
            assert recorder.kill(number) == [], moments[-1]
    assert sum(made for *_, made, _ in moments) >= 25 and sum(not made for *_, made, _ in moments) >= 10, moments


@needs_tracefs
def test_what_a_dead_recorder_left_is_removed_at_the_next_start(tmp_path):
    recorder = Recorder(tmp_path, "--kernel", program=["sleep", "63"])
    recorder.wait_for(recorder.runs)
    (instance,) = recorder.own_instances()
    on = TRACEFS[0] / "instances" / instance / "tracing_on"
    recorder.wait_for(lambda: on.read_text().strip() == "1")
    (own,) = (pid for pid, line in recorder.alive().items() if guardian.__file__ in line)
    os.kill(own, signal.SIGKILL)
    recorder.process.kill()
    recorder.process.wait()
    assert on.read_text().strip() == "1"
    reused = TRACEFS[0] / "instances" / f"hwmodel-{os.getpid()}-0"  # as if this process had the number of a dead recorder
    reused.mkdir()
    other = Recorder(tmp_path, "--kernel", program=["sleep", "63"])
    other.wait_for(other.runs)
    for pid in recorder.alive():
        os.kill(pid, signal.SIGKILL)
    record_kernel(["true"], tmp_path / "out", kvm=False)
    assert not recorder.own_instances() and not reused.exists()
    assert len(other.own_instances()) == 1, "a living recorder's instance was removed"
    (tmp_path / "out").unlink()
    assert other.kill(signal.SIGKILL) == []


@pytest.fixture(params=[lackey, qemu], ids=lambda module: module.__name__.rpartition(".")[2])
def tool(request, tmp_path, monkeypatch):
    """A recorder of accesses, as options; what it builds has been built, and it has a folder of its own for what is temporary."""
    if request.param.missing() and "CI" not in os.environ:
        pytest.skip(request.param.missing())
    if request.param is qemu:
        qemu.plugin()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return "--tool", request.param.__name__.rpartition(".")[2]


FORKS = ["sh", "-c", "(sleep 61 & sleep 62) & sleep 63; true"]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_recorder_of_accesses_that_is_killed_leaves_nothing(tmp_path, number, tool):
    recorder = Recorder(tmp_path, *tool, program=FORKS)
    recorder.wait_for(recorder.has_forked)
    assert any(name in line for line in recorder.alive().values() for name in ("qemu-x86_64", "lackey"))
    assert recorder.kill(number) == []


@pytest.mark.parametrize("kills", [4, pytest.param(25, marks=pytest.mark.long)])
def test_a_recorder_of_accesses_that_is_killed_at_random_moments_leaves_nothing(tmp_path, tool, kills):
    """From the start of the process to half a second after its program has forked."""
    first, begun = Recorder(tmp_path, *tool, program=FORKS), time.monotonic()
    first.wait_for(first.has_forked)
    ready = time.monotonic() - begun
    assert first.kill(signal.SIGKILL) == []
    draw, moments = random.Random(kills), []
    for k in range(kills):
        recorder = Recorder(tmp_path, *tool, program=FORKS)
        moments.append((SIGNALS[k % len(SIGNALS)].name, after := draw.uniform((k // 4 % 2) * 0.7 * ready, ready + 0.5)))
        time.sleep(after)
        assert recorder.kill(SIGNALS[k % len(SIGNALS)]) == [], moments[-1]


COMPILER = """#!/bin/sh
case $1 in --version) echo slow 1.0;; *) touch "${TMPDIR:-/tmp}/part.o"; sleep 64; esac
"""


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.skipif("CI" not in os.environ and bool(qemu.missing()), reason=qemu.missing())
def test_a_recorder_that_is_killed_while_its_plugin_is_built_leaves_nothing(tmp_path, monkeypatch, number):
    """Neither a compiler that goes on, nor its files."""
    compiler, folder = tmp_path / "bin" / "cc", tmp_path / "folder"
    compiler.parent.mkdir()
    folder.mkdir()
    compiler.write_text(COMPILER)
    compiler.chmod(0o700)
    for name, value in {"PATH": f"{compiler.parent}:{os.environ['PATH']}", "TMPDIR": folder, "HWMODEL_CACHE": tmp_path / "cache"}.items():
        monkeypatch.setenv(name, str(value))
    recorder = Recorder(folder, "--tool", "qemu")
    recorder.wait_for(lambda: any(line.startswith("sleep 64") for line in recorder.alive().values()))
    assert os.listdir(folder)
    assert recorder.kill(number) == []


WRITES = """
from workloads.recorders.launch import Launch
program = "(sleep 61 & sleep 62) & sleep 0.1; while echo {}; do :; done > /dev/fd/{}"
with Launch(lambda log: ["sh", "-c", program.format("x" * 1000, {} or log)], bool, None, None) as launch:
    while launch.log.read(1 << 16):
        pass
"""


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("descriptor", [0, 2], ids=["log", "errors"])
def test_a_program_that_writes_without_end_does_not_die_of_its_pipe_and_leave_descendants(tmp_path, number, descriptor):
    """What dies of SIGPIPE before the guardian sees it leaves its descendants without a parent: nobody would find them."""
    recorder = Recorder(tmp_path, script=WRITES.replace("{} or", f"{descriptor} or"))
    recorder.wait_for(recorder.has_forked)
    time.sleep(0.3)
    assert recorder.kill(number) == []
