"""Further instances of the kinds of tests/workloads/test_kernel_cases.py, as public tools print them."""

import pytest

from hwmodel.op import TraceError
from tests.workloads.test_kernel_cases import RECEIVED, SENT, A, B, call, calls, fault, lines, read, records, spaces, told

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


def test_registers_of_64_bits_are_no_32_bit_program_s():
    """munmap and mprotect of s390x have i386's numbers, but not its registers."""
    text = calls(call(125, 0x3FFB2000000, 0x1000, 1), call(91, 0x3FFB2000000, 0x2000))
    assert read(text).info["operations"] == {"syscall": 2}


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
