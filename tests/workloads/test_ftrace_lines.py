"""Lines of kernel events: every layout by hand, real files against a parser that only cuts, what is refused."""

import pathlib

import naive_ftrace
import pytest

from hwmodel.op import TraceError
from workloads.readers import ftracelines as f
from workloads.streams import bytes_source

DATA = pathlib.Path(__file__).parent / "data"
FILES = ("kernel.ftrace.txt", "kernel.tracecmd.txt", "kernel.perf.txt")

LAYOUTS = {
    "ftrace": "          my-prog-4711    [001] d..2. 25.000123: {}\n",
    "ftrace, with the process": "          my-prog-4711    (   4700) [001] d..2. 25.000123: {}\n",
    "trace-cmd": "          my-prog-4711  [001] 25.000123: {}\n",
    "trace-cmd, with flags": "          my-prog-4711  [001] d..2. 25.000123456: {}\n",
    "perf": "my-prog  4711 [001] 25.000123: any:{}\n",
    "perf, with the process": "my-prog  4700/4711 [001] 25.000123:          any:{}\n",
}
EVENTS = {
    "tlb_flush: pages:33 reason:local MM shootdown (3)": (f.FLUSH, 33, 3),
    "tlb_flush:            pages=-1 reason=remote shootdown (1)": (f.FLUSH, -1, 1),
    "page_fault_user: address=0x7f00005b3e06 ip=0x7f000059b7ad error_code=0x6": (f.FAULT, 0x7F00005B3E06, 6, 1),
    "page_fault_kernel: address=0x7f00005b3e06 ip=__put_user_4 error_code=0x2": (f.FAULT, 0x7F00005B3E06, 2, 0),
    "sys_enter: NR 9 (0, 2000, 3, 22, ffffffff, 0)": (f.ENTER, 9, 0, 0x2000, 3, 0x22, 0xFFFFFFFF, 0),
    "sys_exit: NR 11 = -22": (f.LEAVE, 11, -22),
    "sys_enter_mmap: addr: 0x00000000, len: 0x00002000, prot: 0x00000003, flags: 0x00000022, fd: 0xffffffff, off: 0x00000000":
        (f.ENTER, 9, 0, 0x2000, 3, 0x22, 0xFFFFFFFF, 0),
    "sys_exit_munmap: 0xffffffffffffffea": (f.LEAVE, 11, -22),
    "sys_madvise(start: 0x7f0000000000, len_in: 0x2000, behavior: 4)": (f.ENTER, 28, 0x7F0000000000, 0x2000, 4),
    "sys_madvise(start: 7f0000000000, len_in: 2000, behavior: 4)": (f.ENTER, 28, 0x7F0000000000, 0x2000, 4),
    "sys_madvise -> 0x0": (f.LEAVE, 28, 0),
    "sys_exit(error_code: 0)": (f.ENTER, 60, 0),
    "sys_exit_group(error_code: 1)": (f.ENTER, 231, 1),
    "sys_enter_futex: uaddr: 0x7f0000000000, op: 0x00000080": (f.ENTER, f.OTHER, 0x7F0000000000, 0x80),
    "ipi_send_cpu: cpu=1 callsite=on_each_cpu_cond_mask+0x20/0x60 callback=flush_tlb_func+0x0/0x10": (f.IPI, 1, 1),
    "ipi_send_cpumask: cpumask=00000003,00000005 callsite=x+0x1/0x2 callback=flush_tlb_func+0x0": (f.IPI, 4, 1),
    "ipi_send_cpumask: [FAILED TO PARSE] cpumask=ARRAY[03, 00, 00, 80] callsite=0xff callback=0xfe": (f.IPI, 3, 0),
    "kvm_unmap_hva_range: mmu notifier unmap range: 0x007fefd09cc000 -- 0x007fefd09d0000": (f.UNMAP, 0x7FEFD09CC000, 0x7FEFD09D0000),
    "kvm_age_hva: mmu notifier age hva: 0x007fefd09cc000 -- 0x007fefd09d0000": (f.AGE, 0x7FEFD09CC000, 0x7FEFD09D0000),
    "kvm_test_age_hva: mmu notifier test age hva: 0x007fefd09cc123": (f.AGE, 0x7FEFD09CC000, 0x7FEFD09CD000),
    "kvm_set_spte_hva: mmu notifier set pte hva: 0x007fefd09cc000": (f.UNMAP, 0x7FEFD09CC000, 0x7FEFD09CD000),
    "kvm_page_fault: address fee00000 error_code 182": (f.GUEST_FAULT, 0, 0xFEE00000, 0x182),
    "kvm_page_fault: vcpu 2 rip 0xfff0 address 0x00000000fee00000 error_code 0x182": (f.GUEST_FAULT, 2, 0xFEE00000, 0x182),
    "task_newtask: pid=22296 comm=a pid=3 b clone_flags=3d0f00 oom_score_adj=0": (f.NEW_TASK, 22296, 0x3D0F00),
    "sched_process_fork: comm=python pid=16328 child_comm=python child_pid=16329": (f.FORKED, 16329),
    "sched_process_exec: filename=./prog pid=1 old_pid=1": (f.EXEC,),
    "sched_process_exit: comm=python pid=16330 prio=120 group_dead=true": (f.ENDED, 16330),
}  # fmt: skip


def parsed(text):
    return list(f.Lines(bytes_source(text.encode())).events())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_event_in_every_layout(layout):
    for text, (kind, *numbers) in EVENTS.items():
        (event,) = parsed(LAYOUTS[layout].format(text))
        assert (event.kind, event.numbers) == (kind, tuple(numbers)), text
        assert (event.thread, event.process, event.name) == (4711, 4700 if "process" in layout else -1, "my-prog")


@pytest.mark.parametrize("name", FILES)
def test_real_files_against_a_parser_that_only_cuts(name):
    text = (DATA / name).read_text()
    mine = [(event.kind, event.numbers, event.thread) for event in parsed(text)]
    assert mine == naive_ftrace.events(text)
    assert len(mine) > 200


@pytest.mark.parametrize("name", FILES)
def test_they_are_recognised(name):
    assert f.recognises((DATA / name).read_bytes())


@pytest.mark.parametrize("text", [b"I  0401ab70,3\n", b"address,count\n1,2\n", b"PAR1", b"\0" * 64, b"hello [001] world 1.5: x\n", b""])
def test_others_are_not(text):
    assert not f.recognises(text)


@pytest.mark.parametrize("event", [
    "tlb_flush: pages:x reason:local (3)", "page_fault_user: address=0x12", "sys_enter: NR 9 (0, 1, 2)", "sys_exit: NR 9 = ",
    "sys_enter_mmap: addr: 0x00000000, len: 0x00002000", "sys_munmap(addr: 0", "sys_munmap ?", "ipi_send_cpu: cpu=x callsite=1",
    "ipi_send_cpumask: cpumask=", "kvm_unmap_hva_range: mmu notifier unmap range: 0x1", "kvm_page_fault: address", "task_newtask: pid=",
])  # fmt: skip
def test_garbled_known_events_are_refused_by_line(event):
    text = LAYOUTS["ftrace"].format("sys_exit: NR 1 = 2") + LAYOUTS["ftrace"].format(event)
    with pytest.raises(TraceError, match=r"^bytes: line 2: garbled \w+: "):
        parsed(text)


def test_lines_of_no_layout_are_refused():
    with pytest.raises(TraceError, match=r"^bytes: line 1: no trace event: 'hello'$"):
        parsed("hello\n")
    with pytest.raises(TraceError, match=r"^bytes: line 1: longer than 8192 bytes$"):
        parsed("x" * 9000)


def test_unknown_events_lost_ones_and_comments():
    text = "# tracer: nop\n# hwmodel end: {}\n" + LAYOUTS["ftrace"].format("sched_wakeup: comm=a pid=1") + "CPU:1 [LOST 123 EVENTS]\n"
    text += "CPU:0 [7 EVENTS DROPPED]\n" + LAYOUTS["perf"].format("page_fault_kernel: address=init_task ip=a error_code=0x2")
    lines = f.Lines(bytes_source(text.encode()))
    assert list(lines.events()) == []
    assert lines.unknown == {"sched_wakeup": 1, "page_fault_kernel": 1}
    assert (lines.lost, lines.comments, lines.cut) == (130, [(2, "end: {}")], "")


def test_a_line_without_its_end_is_not_read():
    text = LAYOUTS["ftrace"].format("sys_exit: NR 1 = 2")
    lines = f.Lines(bytes_source((text + text[:-1]).encode()))
    assert len(list(lines.events())) == 1
    assert lines.cut == "in line 2"


def test_names_may_have_anything_in_them():
    for name in ("a b", "k/0:1-ev", "x-1", "<...>", "a [b]", "9"):
        (event,) = parsed(LAYOUTS["ftrace"].format("sys_exit: NR 1 = 2").replace("my-prog", name))
        assert (event.name, event.thread) == (name, 4711)
