"""Recording the kernel's events of real programs; skipped without root, tracefs, KVM or a C compiler."""

import gzip
import os
import pathlib
import shutil
import signal
import subprocess

import numpy as np
import pytest

from hwmodel import op
from hwmodel.op import TraceError
from hwmodel.trace import validate
from workloads import kernel_counts, read, record_kernel
from workloads.recorders import recordkernel, tracefs

TRACEFS = [root for root in tracefs.ROOTS if os.path.isdir(f"{root}/instances")]
able = os.geteuid() == 0 and TRACEFS and os.access(f"{TRACEFS[0]}/instances", os.W_OK) and shutil.which("cc")
needs_tracefs = pytest.mark.skipif(not able, reason="needs root, tracefs and a C compiler")
needs_kvm = pytest.mark.skipif(not os.access(recordkernel.KVM, os.R_OK | os.W_OK), reason="needs KVM")
SOURCE = pathlib.Path(__file__).parent / "data" / "kernel.c"


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    folder = tmp_path_factory.mktemp("program")

    def build(*options):
        out = folder / "prog"
        subprocess.run(["cc", "-O1", "-pthread", *options, "-o", str(out), str(SOURCE)], check=True)
        return os.fspath(out)

    return build


def instances():
    return [name for name in os.listdir(f"{TRACEFS[0]}/instances") if name.startswith("hwmodel-")]


@needs_tracefs
@needs_kvm
@pytest.mark.parametrize("linked", ["dynamic", "static"])
def test_a_real_program(program, tmp_path, linked):
    """What kernel.c asks for, and what a virtual machine in its address space is told of it."""
    out = tmp_path / "events.ftrace.xz"
    about = record_kernel([program(*(["-static"] if linked == "static" else []))], out)
    assert (about["exit_status"], about["lost_events"], about["vm"]) == (0, 0, True)
    assert instances() == []
    trace = read(out)
    validate(trace)
    done, kernel = trace.info["operations"], trace.info["kernel_counts"]
    assert (done["fork"], done["exit"], done["mremap"], done["madvise"]) == (1, 2, 1, 2)
    assert trace.info["initial_vmas"]["inferred_from_use"] == 0
    assert [agent.name for agent in trace.agents if agent.role == "device"] == ["vm"]
    assert kernel["madvise"]["notices"] >= 2  # the program's own and, for each VMA of it, its thread's stack
    assert kernel["mremap"]["notices"] == 2 and kernel["mremap"]["flushes.pages"] == 8  # the move, and the old range's unmapping
    assert kernel["fault"]["notices"] >= 1  # the parent's copy on write after the fork
    assert kernel["clone"]["notices"] >= 3  # data, heap, stack
    assert "outside" not in kernel or "notices" not in kernel["outside"]
    assert kernel == kernel_counts(out)


@needs_tracefs
def test_without_kvm_there_are_no_notices(program, tmp_path):
    out = tmp_path / "events.gz"
    record_kernel([program()], out, kvm=False)
    assert gzip.decompress(out.read_bytes()).startswith(b"# tracer: nop\n")
    trace = read(out)
    assert not any("notices" in counts for counts in trace.info["kernel_counts"].values())
    assert all(agent.role == "cpu" for agent in trace.agents)


@needs_tracefs
def test_exit_status_signals_and_descriptors_are_the_program_s(tmp_path, capfd):
    out = tmp_path / "events"
    assert record_kernel(["sh", "-c", "exit 7"], out, kvm=False)["exit_status"] == 7
    assert record_kernel(["sh", "-c", "kill -TERM $$"], out, kvm=False)["exit_status"] == -signal.SIGTERM
    if os.access(recordkernel.KVM, os.W_OK):
        record_kernel(["sh", "-c", "ls /proc/$$/fd"], out)
        assert capfd.readouterr().out.split() == ["0", "1", "2", str(recordkernel.VM_FD)]


@needs_tracefs
def test_the_environment_and_the_ignored_signals_are_the_program_s(tmp_path, capfd):
    """The way to it leads through a Python, which may set LC_CTYPE and ignores SIGPIPE."""
    record_kernel(["sh", "-c", "env; grep SigIgn /proc/self/status"], tmp_path / "x", kvm=False, env={"PATH": os.environ["PATH"], "A": "b"})
    told = capfd.readouterr().out.split()
    assert {"A=b"} <= set(told) and not [line for line in told if line.startswith("LC_")]
    assert int(told[-1], 16) & 1 << signal.SIGPIPE - 1 == 0


@needs_tracefs
def test_the_program_s_memory_and_threads_are_there_from_its_first_instruction(program, tmp_path):
    out = tmp_path / "events"
    record_kernel([program()], out, kvm=False)
    first = next(line for line in out.read_text().splitlines() if "page_fault_user: " in line)
    address, ip = (word.partition("=")[2] for word in first.split() if word.startswith(("address=", "ip=")))
    assert address == ip  # the loader's first instruction is fetched
    trace = read(out)
    ops = np.concatenate(list(trace.chunks()))
    assert ops[0]["kind"] == op.FETCH and ops[0]["address"] == int(ip, 16)
    assert sum(agent.space == 0 and agent.role == "cpu" for agent in trace.agents) == 2


@needs_tracefs
def test_nothing_is_left_behind_where_it_fails(tmp_path, monkeypatch):
    def fail(*_):
        raise TraceError("no")

    monkeypatch.setattr(recordkernel, "_write_head", fail)
    with pytest.raises(TraceError, match=r"^no$"):
        record_kernel(["true"], tmp_path / "events", kvm=False)
    assert os.listdir(tmp_path) == [] and instances() == []


@needs_tracefs
def test_lost_events_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(tracefs.Instance, "lost", lambda self: 12)
    with pytest.warns(op.TraceWarning, match="the kernel lost 12 events"):
        assert record_kernel(["true"], tmp_path / "events", kvm=False)["lost_events"] == 12


def test_what_is_missing_is_told_in_one_line(tmp_path, monkeypatch):
    with pytest.raises(TraceError, match="the command is empty"):
        record_kernel([], tmp_path / "x")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(TraceError, match=r"^recording the kernel's events needs root$"):
        record_kernel(["true"], tmp_path / "x")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(recordkernel, "KVM", "/nowhere")
    with pytest.raises(TraceError, match=r"--no-kvm records without them$"):
        record_kernel(["true"], tmp_path / "x")
    with pytest.raises(TraceError, match="cannot record 'no-such-program': no such program"):
        record_kernel(["no-such-program"], tmp_path / "x", kvm=False)
    monkeypatch.setattr(tracefs, "ROOTS", ())
    with pytest.raises(TraceError, match="there is no tracefs"):
        record_kernel(["true"], tmp_path / "x", kvm=False)
    monkeypatch.setattr(recordkernel.platform, "machine", lambda: "riscv64")
    with pytest.raises(TraceError, match="not on Linux riscv64"):
        record_kernel(["true"], tmp_path / "x")
    assert os.listdir(tmp_path) == []
