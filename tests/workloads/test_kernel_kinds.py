"""Further instances of the kinds of tests/workloads/test_kernel_cases.py, as public tools print them."""

import pytest

from hwmodel.op import TraceError
from tests.workloads.test_kernel_cases import RECEIVED, SENT, A, B, call, calls, fault, lines, read, records, spaces, told
from workloads import kernel_counts

NEW = "sched_process_fork: comm=app pid=501 child_comm=app child_pid={}"
WHOLE = "tlb_flush: pages:-1 reason:{}"


def test_trace_cmd_pads_the_names_of_events():
    """Its report has `sys_enter:            NR 11`: names are a column."""
    text = calls(call(9, 0, 0x2000, 3, 0x22, -1, result=A), call(11, A, 0x1000))
    padded = text.replace("sys_enter: ", "sys_enter:            ").replace("sys_exit: ", "sys_exit:             ")
    assert records(read(padded)) == records(read(text)) and [record[0] for record in records(read(text))] == ["mmap", "arg", "munmap"]


@pytest.mark.parametrize("process, is_thread", [(501, True), (502, False)])
def test_a_task_that_no_flag_describes_is_what_its_own_lines_say(process, is_thread):
    """sched_process_fork comes for threads too; without the call that made the task, the process of its lines tells."""
    text = lines((501, fault(A)), (501, NEW.format(502)), process=501) + lines((502, fault(A + 4096)), process=process)
    trace = read(text)
    assert [record[0] for record in records(trace)] == (["write", "write"] if is_thread else ["write", "fork", "write"])
    assert set(spaces(trace).values()) == ({0} if is_thread else {0, 1})


def test_a_task_that_a_flush_joins_is_a_thread():
    sent, received = WHOLE.format("remote IPI send (4)"), WHOLE.format("remote shootdown (1)")
    begin, end = call(11, A, 0x1000)
    text = lines((501, fault(A)), (501, NEW.format(502)), (502, fault(A + 4096)), (501, begin), (501, sent), (502, received), (501, end))
    trace = read(text)
    assert len(spaces(trace)) == 2 and set(spaces(trace).values()) == {0}


@pytest.mark.parametrize("mmap, munmap", [(90, 91), (5009, 5011), (3009, 3011)], ids=["ppc64", "mips64", "another"])
def test_an_mmap_with_a_strange_number_is_another_architecture_s(mmap, munmap):
    text = calls(call(mmap, 0, 0x2000, 3, 0x22, -1, result=0x7FFF80000000), call(munmap, 0x7FFF80000000, 0x2000))
    with pytest.raises(TraceError, match="line 1: system calls have numbers of another architecture"):
        read(text)


WIDE = 0x3FFB2000000
FOREIGN = {
    "s390x: mprotect and munmap have i386's numbers, but not its registers": [call(125, WIDE, 0x1000, 1), call(91, WIDE, 0x2000)],
    "s390x: an mmap whose arguments are in memory": [call(90, 0x3FFDC0FE5A0, result=WIDE)],
    "s390x: a file is not there": [call(288, -100, 0x3FFB1C04000, 0x80000, result=-2)],
    "ppc64: a file is opened": [call(286, -100, 0x7FFFB1C04000, 0x80000, result=3)],
    "x86-64 has no such calls: they return from a fork with 0, or give a mode an address": [call(57, 3)],
    "i386's fork beside the results of an x86-64's": [call(90, 0x401000, result=0x7FB2000000)],
}


@pytest.mark.parametrize("case", FOREIGN)
def test_calls_that_fit_no_architecture_are_refused_unless_it_is_named(case):
    with pytest.raises(TraceError, match=r"line 1: system calls have numbers of another architecture \(arch= names it, .* --arch\)"):
        read(calls(*FOREIGN[case]))
    assert set(read(calls(*FOREIGN[case]), arch="x86-64").info["operations"]) <= {"syscall"}


ARM64 = {
    "a file that is not there": [call(56, -100, 0xFFFFB1C04000, 0x80000, result=-2), call(220, 0x3D0F00, 0xFFFFB2000000, result=502)],
    "a status by name": [call(79, 0xFFFFFF9C, 0xFFFFB1C04000, 0xFFFFB1C05000), call(57, 3)],
    "threads alone": [call(220, 0x3D0F00, 0xFFFFB2000000, result=502)],
    "a fork": [call(220, 0x1200011, result=502)],
}


@pytest.mark.parametrize("case", ARM64)
def test_one_call_on_a_folder_or_a_clone_tells_the_architecture(case):
    text = calls(*ARM64[case], thread=501) + lines((502, fault(A)), (501, fault(A + 4096)))
    trace = read(text) if any(each[0].startswith("sys_enter: NR 220") for each in ARM64[case]) else told(text)[0]
    assert trace.info["system_calls"] == "arm64"
    assert records(trace) == records(told(text, arch="aarch64")[0])
    own = [agent.space for agent in trace.agents if agent.name != "files in memory"]
    assert sorted(own) == ([0, 0] if "0x3d0f00" in text or "3d0f00" in text else [0, 1])


def test_a_folder_s_number_tells_nothing():
    """A program that opens files in folders, as find does, is of x86-64 all the same."""
    text = calls(*[call(257, 3, 0x401000, 0x80000, result=at) for at in range(4, 9)], call(257, 3, 0x401000, result=-2))
    assert read(text).info["operations"] == {"syscall": 6} and "system_calls" not in read(text).info


def test_processes_of_two_architectures_are_refused():
    """One kernel has the calls of two, as x86-64 and i386, but not of these: recordings were put together."""
    one = calls(call(9, 0, 0x2000, 3, 0x22, -1, result=A), call(11, A, 0x2000), thread=300, process=300)
    other = calls(call(222, 0, 0x2000, 3, 0x22, -1, result=B), thread=400, process=400)
    with pytest.raises(TraceError, match=r"system calls of process 400 have arm64's numbers, others x86-64's \(arch= names one, "):
        read(one + other)


def test_an_old_mmap_of_i386_is_told():
    """Its arguments are in memory: where it mapped is known, how much not."""
    mapped = 0xF7D00000
    text = calls(call(90, 0xFFB0A5A0, result=mapped - (1 << 32)), call(91, mapped, 0x1000), thread=300) + lines((300, fault(mapped)))
    trace, warned = told(text)
    assert trace.info["system_calls"] == "i386" and [record[:2] for record in records(trace, ("munmap", "write"))] == [
        ("munmap", mapped), ("write", mapped),
    ]  # fmt: skip
    assert warned == ["1 mmap has its arguments in memory: what it mapped is taken from use"]


def test_counts_of_the_kernel_s_work_are_told_too(tmp_path):
    path = tmp_path / "text"
    path.write_text(calls(call(57, 3), thread=501) + lines((502, fault(A))))
    counts = kernel_counts(path, arch="arm64", processes=[[501, 502]])
    assert counts == {"fault": {"faults.user": 1}, "other call": {"calls": 1}}
    with pytest.raises(TraceError, match="names it, on the command line --arch"):
        kernel_counts(path)
    with pytest.raises(TraceError, match="no line is of thread 77"):
        kernel_counts(path, arch="arm64", processes=[[501, 77]])
    with pytest.raises(TraceError, match=r"^arch: there is no 'vax'"):
        kernel_counts(path, arch="vax")


def test_an_interrupt_in_a_function_graph_is_no_event():
    """options/funcgraph-irqs, on by default."""
    text = f"# tracer: function_graph\n 2)   ==========> |\n 2)               |  /* {fault(A)} */\n 2)   <========== |\n"
    assert told(text)[0].references == 1
    assert told(text.partition("\n")[2])[0].references == 1


def test_a_flush_that_reclaim_may_have_sent_joins_nobody():
    sent, received = WHOLE.format("remote IPI send (4)"), WHOLE.format("remote shootdown (1)")
    begin, _ = call(11, A, 0x1000)
    text = lines(("a-501", fault(A)), ("b-601", fault(B)), ("a-501", begin), ("a-501", sent), ("kswapd0-77", sent), ("b-601", received))
    trace, warned = told(text)
    assert len(set(spaces(trace).values())) == 2 and any("threads 501, 601" in sentence for sentence in warned)


def test_the_idle_task_is_of_no_process():
    idle = "<idle>-0", RECEIVED
    text = lines(("a-501", fault(A)), ("b-601", fault(B)), ("a-501", SENT), idle, ("a-501", fault(A)), ("b-601", SENT), idle)
    assert len(set(spaces(told(text)[0]).values())) == 2


@pytest.mark.parametrize("process, processes, wrong", [(501, [[501], [502]], 501), (0, [[501, 502]], 502)])
def test_processes_that_the_lines_contradict_are_refused(process, processes, wrong):
    text = lines((501, fault(A)), process=501) + lines((502, fault(B)), process=process or 502)
    with pytest.raises(TraceError, match=rf"line 2: processes \(--process\): thread 502 is of process {wrong} here$"):
        read(text, processes=processes)


@pytest.mark.parametrize("line", [
    "app-930 [003] d....  1.1: sys_munmap <-ret_fast_syscall", "app-930 [003] d....  1.1: kvm_unmap_hva_range <-kvm_mmu_notifier",
    " 2)   1.2 us    |  } /* sys_munmap */", " 2)               |  } /* tlb_flush */",
])  # fmt: skip
def test_functions_with_the_name_of_an_event_are_none(line):
    """Of the tracers function and function_graph; the latter names a function behind its end (options/funcgraph-tail)."""
    text = f"# tracer: function\n{line}\n" + lines((930, fault(A)))
    assert records(read(text)) == records(read(lines((930, fault(A)))))


def test_a_latency_tracer_s_graph_has_events():
    """irqsoff with options/display-graph: the time comes first, in microseconds."""
    text = f"# tracer: irqsoff\n        3 us |   2)   app-930    |  d..1. |               |  /* {fault(A)} */\n"
    assert records(read(text)) == [("write", A, 1, 0)]


def test_a_strange_line_that_begins_with_blanks_is_no_frame():
    text = lines((930, fault(A))) + "   add 931/933 [003] 1.1 exceptions:page_fault_user: address=0x1\n"
    with pytest.raises(TraceError, match="line 2: no trace event: 'add 931/933"):
        read(text)


KERNEL_FAULT = "page_fault_kernel: address={:#x} ip=__put_user_4 error_code=0x2"
EXECUTED = "sched_process_exec: filename=/bin/x pid=501 old_pid=501"


def test_a_fault_of_the_kernel_is_an_access_of_its_thread_s_process():
    """Of a thread with no other event (io_uring's, vhost's, or one that is in a call all the time), too; in its place among the others."""
    text = lines((501, fault(A)), (601, KERNEL_FAULT.format(B)), (501, fault(A + 4096)), (601, KERNEL_FAULT.format(B + 4096)))
    trace, warned = told(text)
    assert [record[:2] for record in records(trace)] == [("write", A), ("write", B), ("write", A + 4096), ("write", B + 4096)]
    assert {agent.space for agent in trace.agents} == {0, 1} and ["threads 501, 601 are taken" in each for each in warned] == [True]
    joined = read(text, processes=[[501, 601]])
    assert set(spaces(joined).values()) == {0} and joined.references == 4
    alone = read(lines((601, KERNEL_FAULT.format(A)), process=601))
    assert records(alone) == [("write", A, 1, 0)]


@pytest.mark.parametrize("begun, ended", [(True, True), (False, True), (True, False)])
def test_a_fault_of_the_kernel_within_execve_is_of_the_new_program(begun, ended):
    """Whichever of the call's ends is recorded; an execve that outlasts the recording loses none."""
    begin, end = call(59, 0x401000, 0x402000, 0x403000)
    first = [(501, fault(A)), (501, begin)] if begun else []
    last = [(501, EXECUTED), (501, end), (501, fault(B))] if ended else []
    trace = read(lines(*first, (501, KERNEL_FAULT.format(B)), (501, KERNEL_FAULT.format(B + 4096)), *last, process=501))
    where = [(address, trace.agents[agent].space) for kind, address, _, agent in records(trace, ("write",))]
    new = int(begun and ended)
    assert where == [(A, 0)] * begun + [(B, new), (B + 4096, new)] + [(B, new)] * ended


def of_file(name, text, width=0):
    """Lines as `trace-cmd report` prints them when it has several files, or a file with buffers of its own."""
    return "".join(f"{name + ': ':>{width}}{line}\n" for line in text.splitlines())


@pytest.mark.parametrize("names, headed", [
    (("host.dat", "guest.dat"), True), (("host.dat", "guest.dat"), False), (("a.dat", "b.dat", "c.dat"), True),
    (("trace.dat", "trace-vm-1.dat"), False),
])  # fmt: skip
def test_lines_of_several_files_are_refused(names, headed):
    """A host's and a guest's threads have equal numbers, and are others."""
    width = max(map(len, names)) + 2
    head = "".join(of_file(name, "cpus=8", width) for name in names) if headed else ""
    text = head + "".join(of_file(name, lines((501, fault(A)), (601, fault(B))), width) for name in names)
    with pytest.raises(TraceError) as refused:
        read(text)
    assert str(refused.value) == (
        f"bytes: lines of several files ({', '.join(sorted(names))}): report one at a time (trace-cmd report -i FILE)"
    )  # fmt: skip


def test_lines_of_one_file_s_buffers_are_of_one_machine():
    """A buffer instance's name stands before its lines, blanks before those of the top level (trace-cmd record -B)."""
    whole = lines((501, fault(A)), (501, fault(A + 4096)), (501, fault(A + 8192)), process=501).splitlines()
    text = f"cpus=8\n{of_file('flt', whole[0])}     {whole[1]}\n{of_file('two', whole[2])}"
    assert [record[:2] for record in records(read(text))] == [("write", A), ("write", A + 4096), ("write", A + 8192)]
    assert read(of_file("host.dat", "cpus=8\n" + "\n".join(whole), 12)).references == 3
