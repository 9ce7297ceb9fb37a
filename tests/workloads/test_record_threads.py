"""Recording real programs with QEMU; skipped where it or a C compiler is not installed."""

import collections
import os
import pathlib
import shutil
import subprocess

import pytest

import workloads
from hwmodel import op
from hwmodel.op import TraceError, TraceWarning
from hwmodel.trace import validate
from workloads import read, record
from workloads.recorders import lackey, qemu

needs_qemu = pytest.mark.skipif(bool(qemu.missing()) and "CI" not in os.environ, reason=f"recording threads needs {qemu.missing()}")
needs_valgrind = pytest.mark.skipif(shutil.which("valgrind") is None and "CI" not in os.environ, reason="valgrind is not installed")

PAGES = 0x200000000
"""Where the program below maps six pages: one for main, one for each worker, one that all read."""
C_SOURCE = r"""
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
static volatile char *pages = (char *) 0x200000000;
static pthread_barrier_t all;
static void use(int page, int writes, int reads) {
  for (int i = 0; i < writes; i++) pages[4096 * page + i] = 1;
  for (int i = 0; i < reads; i++) (void) pages[4096 * page + i];
}
static void *work(void *argument) {
  int me = (int) (long) argument;
  use(me, 1000 + me, 500 + me);
  for (int i = 0; i < 300; i++) use(5, 0, 100);
  munmap((void *) (pages + 4096 * me), 4096);
  pthread_barrier_wait(&all);
  if (me == 2) munmap((void *) (pages + 4096 * 5), 4096);
  return 0;
}
int main(int count, char **words) {
  char *word = count > 1 ? words[1] : "";
  mmap((void *) pages, 6 * 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  use(0, 7, 0);
  if (!strcmp(word, "segv")) *(volatile char *) 8 = 1;
  if (!strcmp(word, "kill")) kill(getpid(), SIGKILL);
  if (!strcmp(word, "exec")) { execl("/none", "none", (char *) 0); use(0, 0, 3); execl("/bin/false", "false", (char *) 0); }
  if (!strcmp(word, "close")) { for (int i = 3; i < 1100; i++) close(i); use(0, 0, 5); return 0; }
  if (!strcmp(word, "range")) { syscall(436, 3, ~0u, 0); for (int i = 0; i < 100; i++) { getpid(); use(0, 0, 100); } return 0; }
  pthread_t workers[5];
  pthread_barrier_init(&all, 0, 4);
  for (long i = 1; i <= 4; i++) pthread_create(&workers[i], 0, work, (void *) i);
  for (long i = 1; i <= 4; i++) pthread_join(workers[i], 0);
  if (!fork()) { use(0, 4000, 4000); _exit(3); }
  wait(0);
  return 9;
}
"""
STATIC_SOURCE = r"""
static unsigned char bytes[160000];
static unsigned long counts[512];
static void call(long number, long argument) {
  __asm__ volatile("syscall" : "+a"(number) : "D"(argument) : "rcx", "r11", "memory");
}
static unsigned long fibonacci(unsigned n) { return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2); }
void _start(void) {
  unsigned long hash = fibonacci(12);
  for (unsigned i = 0; i < sizeof bytes; i += 3) {
    hash = (hash ^ bytes[i]) * 1099511628211ul;
    bytes[i] = hash;
    counts[hash & 511]++;
    *(volatile unsigned *) (bytes + 4093 + (hash >> 9 & 7)) += 1;
  }
  void *to = counts, *from = bytes;
  long count = 500;
  __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
  __asm__ volatile("movups %1, %%xmm0; movups %%xmm0, %0" : "=m"(bytes[4090]) : "m"(counts[3]) : "xmm0");
  call(231, 0);
}
"""


def build(folder, name, source, *flags):
    (folder / f"{name}.c").write_text(source)
    subprocess.run(["cc", "-O1", "-w", f"{name}.c", "-o", name, *flags], cwd=folder, check=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("programs")
    build(made, "prog", C_SOURCE, "-pthread")
    build(made, "plain", STATIC_SOURCE, "-static", "-nostdlib", "-fno-builtin", "-fno-stack-protector", "-fno-tree-vectorize")
    return made


def uses(trace, kind):
    """Accesses of a kind to the six pages, by (agent, page)."""
    found = collections.Counter()
    for chunk in trace.chunks():
        ours = chunk[(chunk["kind"] == kind) & (chunk["address"] >> 15 == PAGES >> 15)]
        for agent, address, count in zip(ours["agent"].tolist(), ours["address"].tolist(), ours["count"].tolist(), strict=True):
            found[agent, (address - PAGES) // 4096] += count
    return found


def places(trace, condition):
    """The numbers of the records that fulfil a condition."""
    records = (record for chunk in trace.chunks() for record in chunk.tolist())
    return [number for number, record in enumerate(records) if condition(*record)]


@needs_qemu
def test_threads_are_agents_and_every_access_is_there(folder, tmp_path):
    trace = record(["./prog"], tmp_path / "x.hwtrace", tool="qemu", cwd=folder)
    validate(trace)
    threads = {agent.name: number for number, agent in enumerate(trace.agents)}
    assert sorted(threads) == ["prog/0", "prog/1", "prog/2", "prog/3", "prog/4", "prog/fork 1"]
    assert {agent.space for agent in trace.agents[:5]} == {0}
    assert sorted(trace.info["threads"]) == sorted(threads)[:5]
    assert trace.info["exit_status"] == 9
    assert "qemu" in trace.info["recorder"]
    workers = {threads[f"prog/{n}"]: n for n in range(1, 5)}
    assert uses(trace, op.WRITE) == {(0, 0): 7} | {(agent, n): 1000 + n for agent, n in workers.items()}
    reads = {(agent, n): 500 + n for agent, n in workers.items()} | {(agent, 5): 30_000 for agent in workers}
    assert uses(trace, op.READ) == reads  # the forked process is not recorded
    assert trace.info["forks_not_followed"] == 1
    for number in range(6):
        page = PAGES + 4096 * number
        used = places(trace, lambda address, *rest, page=page: address & ~4095 == page and rest[2] <= op.FETCH)
        freed = places(trace, lambda address, *rest, page=page: address == page and rest[2] == op.MUNMAP)
        mapped = places(trace, lambda address, *rest: address == PAGES and rest[2] == op.MMAP)
        assert mapped[0] < used[0]
        assert number == 0 or used[-1] < freed[0]


@needs_qemu
@pytest.mark.parametrize(("word", "status"), [("segv", -11), ("kill", -9)])
def test_all_that_a_killed_program_did_is_there(folder, word, status):
    trace = record(["./prog", word], tool="qemu", cwd=folder)
    validate(trace)
    assert trace.info["exit_status"] == status
    assert "cut_short" not in trace.info
    assert uses(trace, op.WRITE) == {(0, 0): 7}
    assert trace.info["operations"]["exit"] == 1


@needs_qemu
def test_an_execve_ends_the_recording(folder):
    trace = record(["./prog", "exec"], tool="qemu", cwd=folder)
    assert trace.info["exit_status"] == 1  # of /bin/false
    assert uses(trace, op.READ) == {(0, 0): 3}  # what was done behind the execve that failed
    assert trace.info["operations"]["exit"] == 1


@needs_qemu
def test_a_program_that_closes_descriptors_one_by_one_does_not_hit_ours(folder):
    trace = record(["./prog", "close"], tool="qemu", cwd=folder)
    assert uses(trace, op.READ) == {(0, 0): 5}
    assert trace.info["exit_status"] == 0


@needs_qemu
def test_a_program_that_closes_all_descriptors_at_once_ends_the_recording(folder):
    with pytest.warns(TraceWarning, match=r"\./prog: cut short: ends at byte"):
        trace = record(["./prog", "range"], tool="qemu", cwd=folder)
    validate(trace)
    assert uses(trace, op.READ)[0, 0] < 10_000
    assert trace.info["cut_short"]


def counts(trace):
    """Accesses by kind, halves counted with what they are halves of."""
    found = collections.Counter()
    for chunk in trace.chunks():
        for kind in (op.READ, op.WRITE, op.FETCH, op.READ | op.CONTINUES, op.WRITE | op.CONTINUES):
            found[kind] += int(chunk["count"].sum(where=chunk["kind"] == kind))
    return found


@needs_qemu
@needs_valgrind
def test_valgrind_counts_the_same(folder):
    """Fetches, reads, writes and those that cross pages of a program without libraries, to the last one."""
    ours, theirs = (record(["./plain"], tool=tool, cwd=folder) for tool in ("qemu", "lackey"))
    assert counts(ours) == counts(theirs)
    assert counts(ours)[op.FETCH] > 500_000
    assert min(counts(ours).values()) > 1000


@needs_qemu
def test_every_run_has_the_same_addresses_and_a_raw_recording_is_the_same(folder, tmp_path):
    first, second = (record(["./plain"], tool="qemu", cwd=folder) for _ in range(2))
    raw = tmp_path / "raw"
    subprocess.run(["qemu-x86_64", *qemu.OPTIONS, "-plugin", f"{qemu.plugin()},out={raw}", "./plain"], cwd=folder, check=True)
    traces = [first, second, read(raw)]
    chunks = [b"".join(chunk.tobytes() for chunk in trace.chunks()) for trace in traces]
    assert chunks[0] == chunks[1] == chunks[2]
    assert len({trace.prelude.tobytes() for trace in traces}) == 1


@needs_qemu
def test_initial_memory_is_listed(folder):
    """The list is exact, so nothing is left to infer, for a linked program with its loader as for a static one."""
    for name in ("./plain", "true"):
        info = record([name], tool="qemu", cwd=folder).info
        assert info["initial_vmas"]["inferred_from_use"] == 0
        assert info["initial_vmas"]["listed_by_qemu"] >= 4


@needs_qemu
def test_what_cannot_be_started_is_named(tmp_path, capsys):
    with pytest.raises(TraceError, match=r"^cannot record '\./none': no such program$"):
        record(["./none"], tmp_path / "x", tool="qemu")
    for name, text in {"script": "#!/no/interpreter\n", "text": "hello\n"}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
        with pytest.raises(TraceError, match=rf"^cannot record '.*{name}': "):
            record([str(tmp_path / name)], tmp_path / "x", tool="qemu")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["script", "text"]


@needs_qemu
def test_a_script_is_run_by_its_interpreter(tmp_path):
    (tmp_path / "script").write_text("#!/bin/sh -e\nexit 4\n")
    (tmp_path / "script").chmod(0o755)
    trace = record(["./script"], tool="qemu", cwd=tmp_path)
    assert trace.info["exit_status"] == 4
    assert trace.agents[0].name == "sh/0"


@pytest.fixture
def bad_compiler(monkeypatch):
    monkeypatch.setattr(qemu, "FLAGS", (*qemu.FLAGS, "-Dstruct=nothing"))


@needs_qemu
def test_a_compiler_that_fails_is_quoted(bad_compiler, monkeypatch):
    with pytest.raises(TraceError, match=r"^cc cannot build the plugin of QEMU: .*error"):
        record(["true"], tool="qemu")
    monkeypatch.setattr(lackey, "missing", lambda: "valgrind")
    with pytest.raises(TraceError, match=r"^recording needs one of cc cannot build .*; valgrind$"):
        record(["true"], tool="auto")


@needs_qemu
@needs_valgrind
def test_auto_takes_lackey_where_qemu_cannot_be_used(bad_compiler, folder):
    told = r"^recording with lackey, in which all threads are one agent .*; QEMU .*, but needs cc cannot build"
    with pytest.warns(TraceWarning, match=told):
        assert "lackey" in record(["./plain"], cwd=folder).info["recorder"]


@needs_qemu
def test_auto_takes_qemu(folder):
    assert "qemu" in record(["./plain"], cwd=folder).info["recorder"]


@needs_qemu
def test_the_plugin_is_built_once():
    path = qemu.plugin()
    before = path.stat().st_mtime_ns
    assert qemu.plugin() == path
    assert path.stat().st_mtime_ns == before
    root = pathlib.Path(workloads.__file__).parent
    assert not list(root.rglob("*.so"))


FAKE = """#!/bin/sh
case $1 in --version) echo "qemu-x86_64 version 10.0.13 (Debian)";; --help) echo "-seed SEED";; *) echo "unknown option" >&2; exit 1;; esac
"""


@needs_valgrind
def test_a_qemu_without_plugins_is_not_taken(tmp_path, monkeypatch):
    """As those of Debian 13 and Ubuntu 24.04: the other tool records, and why is told."""
    (tmp_path / "qemu-x86_64").write_text(FAKE)
    (tmp_path / "qemu-x86_64").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    qemu._version.cache_clear()
    try:
        with pytest.raises(TraceError, match=r"^recording needs a qemu-x86_64 with plugins; this one, version 10.0.13, was built without"):
            record(["true"], tool="qemu")
        with pytest.warns(TraceWarning, match=r"needs a qemu-x86_64 with plugins"):
            assert "lackey" in record(["true"]).info["recorder"]
    finally:
        qemu._version.cache_clear()


HOST = r"""
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
int main(int count, char **words) {
  struct { const char *target; int least, latest; _Bool whole; } about = {"x86_64", 2, atoi(words[2]), 0};
  void *plugin = dlopen(words[1], RTLD_LAZY);
  if (!plugin) return fprintf(stderr, "%s\n", dlerror()), 9;
  int (*install)(unsigned long, const void *, int, char **);
  *(void **) &install = dlsym(plugin, "qemu_plugin_install");
  return install(1, &about, 0, NULL);
}
"""


@needs_qemu
@pytest.mark.parametrize("interface, message", [(7, "QEMU's plugin interface 7 is not known yet"), (6, "cannot record to")])
def test_the_plugin_refuses_an_interface_with_other_callbacks(tmp_path, interface, message):
    """It calls nothing of QEMU before it looks; and a function that QEMU 6.2 lacks does not hinder its loading."""
    host = tmp_path / "host"
    subprocess.run(["cc", "-x", "c", "-", "-o", host, "-ldl"], input=HOST, text=True, check=True)
    done = subprocess.run([host, qemu.plugin(), str(interface)], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.startswith(f"hwmodel: {message}")
    unresolved = subprocess.run(["nm", "-D", qemu.plugin()], capture_output=True, text=True, check=True).stdout
    assert " w qemu_plugin_path_to_binary" in unresolved and " U qemu_plugin_path_to_binary" not in unresolved
