"""Recording real programs with valgrind's lackey; skipped where it is not installed. What holds for every recorder is here too."""

import contextlib
import os
import shutil
import subprocess
import sys

import pytest

from hwmodel import op
from hwmodel.op import TraceError
from hwmodel.trace import Trace, validate
from workloads import read, record
from workloads.recorders import qemu

needs_valgrind = pytest.mark.skipif(shutil.which("valgrind") is None and "CI" not in os.environ, reason="valgrind is not installed")

C_SOURCE = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void) {
  char *p = mmap(0, 65536, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  for (int i = 0; i < 65536; i += 512) p[i] = 1;
  mprotect(p + 4096, 4096, PROT_READ);
  madvise(p, 4096, MADV_DONTNEED);
  munmap((void *) 1, 4096);
  p = mremap(p, 4096, 1 << 20, MREMAP_MAYMOVE);
  p[500000] = 2;
  munmap(p, 1 << 20);
  int fd = open("/etc/passwd", O_RDONLY);
  volatile char c = *(char *) mmap(0, 4096, PROT_READ, MAP_SHARED, fd, 0);
  (void) c;
  sbrk(100000);
  char deep[100000];
  deep[0] = 1;
  write(2, "hello\n", 6 + 0 * deep[0]);
  if (!fork()) _exit(3);
  wait(0);
  return 7;
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    folder = tmp_path_factory.mktemp("program")
    (folder / "prog.c").write_text(C_SOURCE)
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler")
    subprocess.run(["cc", "-O1", "-w", "prog.c", "-o", "prog"], cwd=folder, check=True)
    return folder


def kinds(trace):
    return {op.NAMES[kind & ~op.CONTINUES] for chunk in trace.chunks() for kind in set(chunk["kind"].tolist())}


@needs_valgrind
def test_a_recording_has_every_operation_and_knows_all_memory(program, tmp_path, capsys):
    trace = record(["./prog"], tmp_path / "x.hwtrace", tool="lackey", cwd=program)
    validate(trace)
    assert trace.info["exit_status"] == 7
    assert trace.info["command"] == ["./prog"]
    assert "valgrind" in trace.info["recorder"]
    assert kinds(trace) >= {"mmap", "munmap", "mprotect", "madvise", "mremap", "brk", "fork", "exit", "syscall"}
    assert trace.info["initial_vmas"]["listed_by_valgrind"] > 5
    assert trace.info["initial_vmas"]["inferred_from_use"] == 0
    assert trace.info["forked_without_log"] == 1
    assert capsys.readouterr().err == "hello\n"
    assert trace.references > 100_000
    assert [path.name for path in tmp_path.iterdir()] == ["x.hwtrace"]


@needs_valgrind
def test_a_recording_in_memory_can_be_read_again():
    trace = record(["true"], tool="lackey")
    assert isinstance(trace, Trace)
    assert len(trace) == sum(chunk.size for chunk in trace.chunks()) > 1000
    validate(trace)


@needs_valgrind
def test_a_log_made_by_hand_follows_its_children(program):
    options = ["--tool=lackey", "--trace-mem=yes", "--trace-syscalls=yes", "--log-file=log.%p"]
    process = subprocess.Popen(["valgrind", *options, "./prog"], cwd=program, stderr=subprocess.DEVNULL)
    process.wait()
    trace = read(program / f"log.{process.pid}")
    validate(trace)
    assert [agent.space for agent in trace.agents] == [0, 1]
    assert "forked_without_log" not in trace.info
    child = sum(int((chunk["agent"] == 1).sum()) for chunk in trace.chunks())
    assert child > 10
    plain = read(program / f"log.{process.pid}", events=False)
    validate(plain)
    assert kinds(plain) == {"read", "write", "fetch"}


@needs_valgrind
def test_what_cannot_be_started_is_named(tmp_path):
    with pytest.raises(TraceError, match=r"cannot record '\./none': no such program"):
        record(["./none"], tmp_path / "x", tool="lackey")
    (tmp_path / "text").write_text("#!/no/interpreter\n")
    (tmp_path / "text").chmod(0o755)
    with pytest.raises(TraceError, match=r"cannot record '.*text': valgrind: .*bad interpreter"):
        record([str(tmp_path / "text")], tmp_path / "x", tool="lackey")
    assert [path.name for path in tmp_path.iterdir()] == ["text"]


def test_an_empty_command_is_refused():
    with pytest.raises(TraceError, match="command is empty"):
        record([])


@pytest.mark.parametrize("tool", ["lackey", "qemu", "auto"])
def test_missing_tools_are_named(monkeypatch, tool):
    monkeypatch.setenv("PATH", "")
    reasons = {"lackey": "valgrind, which is not installed", "qemu": "qemu-x86_64, which is not installed"}
    start = "one of qemu-x86_64, which is not installed .*; valgrind, which" if tool == "auto" else reasons[tool]
    with pytest.raises(TraceError, match=f"^recording needs {start}"):
        record([sys.executable], tool=tool)


def test_an_unknown_tool_lists_the_known():
    with pytest.raises(TraceError, match=r"^no tool 'pin' to record with; there are auto, qemu, lackey$"):
        record(["true"], tool="pin")


@needs_valgrind
@pytest.mark.filterwarnings("always:recording with lackey")
def test_the_command_line_says_which_tool_what_is_lost_and_ends_as_the_program_does(tmp_path, capfd, monkeypatch):
    from analysis import cli

    monkeypatch.setattr(qemu, "missing", lambda: "qemu-x86_64, which is not installed")
    for number, (script, status) in enumerate((("exit 7", 7), ("kill -TERM $$", 143), ("true", 0))):
        assert cli.main(["record", "--out", str(tmp_path / f"{number}.hwtrace"), "--", "sh", "-c", script]) == status
        said = capfd.readouterr()
        assert "exit_status" in said.out and said.err.count("recording with lackey, in which all threads are one agent") == 1
        assert "QEMU records threads and is faster, but needs qemu-x86_64, which is not installed" in said.err


@needs_valgrind
def test_progress_is_shown_if_it_is_asked_for(capfd, monkeypatch):
    record(["true"], tool="lackey", progress=False)
    assert "recording" not in capfd.readouterr().err
    bars = []
    monkeypatch.setattr("tqdm.tqdm", lambda **options: bars.append(options) or contextlib.nullcontext(Bar(bars)))
    trace = record(["true"], tool="lackey", progress=True)
    assert not bars[0]["disable"] and sum(bars[1:]) == trace.references > 10_000


class Bar:
    """A progress bar that keeps its steps."""

    def __init__(self, steps):
        self.update = steps.append
