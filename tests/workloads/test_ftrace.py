"""The reader of kernel events: hand-made recordings and their records, real ones, cuts, garbage."""

import pathlib
import re
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import workloads
from hwmodel import op
from hwmodel.op import TraceError, TraceWarning
from hwmodel.trace import validate
from workloads.formats import kernel as ftrace
from workloads.streams import bytes_source

DATA = pathlib.Path(__file__).parent / "data"
RW, ANONYMOUS = 3, 0x22


class Script:
    """Writes lines as ftrace does."""

    def __init__(self):
        self.text = ""

    def say(self, event, thread=7):
        self.text += f"{'prog-' + str(thread):>23}    [000] d..1. 1.{self.text.count(chr(10)):06}: {event}\n"
        return self

    def call(self, number, *args, result=0, thread=7, inside=()):
        padded = [*args, *[0] * (6 - len(args))]
        self.say(f"sys_enter: NR {number} ({', '.join(f'{x:x}' for x in padded)})", thread)
        for event in inside:
            self.say(event, thread)
        return self.say(f"sys_exit: NR {number} = {result}", thread)

    def fault(self, address, code=6, thread=7, where="user"):
        return self.say(f"page_fault_{where}: address={address:#x} ip=0x1 error_code={code:#x}", thread)

    def unmap(self, first, end, thread=7):
        return self.say(unmap(first, end), thread)

    def read(self, **options):
        trace = ftrace.read(bytes_source(self.text.encode()), options=ftrace.Options(**{"files_in_memory": False} | options))
        validate(trace)
        return trace


def unmap(first, end):
    return f"kvm_unmap_hva_range: mmu notifier unmap range: {first:#018x} -- {end:#018x}"


def sample():
    """A short recording in the three layouts, for tests of every reader."""
    script = Script().call(9, 0, 0x4000, RW, ANONYMOUS, 0xFFFFFFFF, 0, result=A).fault(A).fault(A + 0x1008, 4)
    script.call(57, inside=["task_newtask: pid=9 comm=prog clone_flags=1200000 oom_score_adj=0"], result=9)
    script.fault(A, 7).unmap(A, A + 0x1000).fault(A, 7, thread=9).call(28, A, 0x2000, 4, inside=[unmap(A, A + 0x2000)])
    script.unmap(A + 0x2000, A + 0x3000).fault(A).call(11, A, 0x4000, inside=["tlb_flush: pages:4 reason:local MM shootdown (3)"])
    perf = re.sub(r"prog-(\d+) +(\[\d+\]) \S+ ([\d.]+):", r"prog \1 \2 \3:  any:", script.text).replace("any: ", "any:")
    return script.text, re.sub(r"d..1. ", "", script.text), perf


def records(trace):
    return [tuple(record) for chunk in trace.chunks() for record in chunk.tolist()]


def unit(kind, address, pages, args, agent=0):
    return op.paged_unit(kind, address, pages, args, agent)


A, B = 0x10000000, 0x20000000


def test_calls_and_faults_become_the_operations_and_accesses_that_they_were():
    script = Script().call(9, 0, 0x4000, RW, ANONYMOUS, 0xFFFFFFFF, 0, result=A)
    script.fault(A).fault(A + 0x1008, 4).fault(A + 0x2000, 0x14).fault(A + 0x3000, 2, where="kernel")
    script.call(10, A, 0x1000, 1).call(28, A, 0x2000, 4).call(28, A, 0x2000, 3).call(11, 1, 5, result=-22)
    script.call(25, A, 0x4000, 0x8000, 1, result=B).call(12, 0, result=0x600000).call(12, 0x602000, result=0x602000)
    script.call(39, result=7).call(11, B, 0x8000)
    assert records(script.read()) == [
        *op.mmap_unit(A, 4, RW),
        (A, 1, 0, op.WRITE, 0), (A + 0x1008, 1, 0, op.READ, 0), (A + 0x2000, 1, 0, op.FETCH, 0), (A + 0x3000, 1, 0, op.WRITE, 0),
        *unit(op.MPROTECT, A, 1, [(0, 1)]), *unit(op.MADVISE, A, 2, [(0, op.DONTNEED)]), (0, 2, 0, op.SYSCALL, 0),
        *unit(op.MREMAP, A, 4, [(B, 8)]), (0, 1, 0, op.SYSCALL, 0), (0x602000, 0, 0, op.BRK, 0), (0, 1, 0, op.SYSCALL, 0),
        *unit(op.MUNMAP, B, 8, []),
    ]  # fmt: skip


def test_threads_are_agents_of_their_process_and_children_have_a_space():
    script = Script().fault(A).call(56, 0x3D0F00, inside=["task_newtask: pid=8 comm=prog clone_flags=3d0f00 oom_score_adj=0"], result=8)
    script.fault(A + 0x1000, thread=8).call(57, inside=["task_newtask: pid=9 comm=prog clone_flags=1200000 oom_score_adj=0"], result=9)
    script.fault(A, 7, thread=9).say("sys_exit: NR 57 = 0", 9).call(231, thread=9)
    script.say("sched_process_exit: comm=prog pid=9 prio=120 group_dead=true", 9).call(61, 9, result=9).fault(A, 7)
    trace = script.read()
    assert [(agent.name, agent.role, agent.space) for agent in trace.agents] == [
        ("prog", "cpu", 0), ("prog/8", "cpu", 0), ("prog:9", "cpu", 1),
    ]  # fmt: skip
    assert records(trace) == [
        (A, 1, 0, op.WRITE, 0), (0, 1, 0, op.SYSCALL, 0), (A + 0x1000, 1, 0, op.WRITE, 1), (0, 1, 0, op.FORK, 0), (A, 1, 0, op.WRITE, 2),
        (0, 0, 0, op.EXIT, 2), (0, 1, 0, op.SYSCALL, 0), (0, 0, 0, op.SYNC, 0), (A, 1, 0, op.WRITE, 0),
    ]  # fmt: skip


def test_a_fork_is_told_by_its_result_if_by_nothing_else():
    script = Script().fault(A).call(57, result=9).call(56, 0x100, result=10).call(56, 0x1200011, result=11).call(435, 1, result=12)
    trace = script.fault(A, thread=9).fault(A, thread=10).fault(A, thread=11).fault(A, thread=12).read()
    assert [(agent.space, agent.name) for agent in trace.agents] == [
        (0, "prog"), (1, "prog:9"), (2, "prog:11"), (0, "prog/10"), (0, "prog/12"),  # a clone without CLONE_VM is a process
    ]  # fmt: skip


def test_a_thread_that_nobody_made_is_of_the_process_that_its_lines_name():
    script = Script().fault(A).fault(A, thread=8).fault(A, thread=9).fault(A, thread=21)
    for thread, process in ((8, 7), (9, 7), (21, 20)):
        script.text = script.text.replace(f"prog-{thread}  ", f"prog-{thread} ({process}) ")
    assert [(agent.space, agent.name) for agent in script.read().agents] == [(0, "prog"), (0, "prog/8"), (0, "prog/9"), (1, "prog")]


def test_an_execve_ends_one_space_and_begins_another():
    script = Script().fault(A).say("sys_enter: NR 59 (1, 2, 3, 0, 0, 0)").fault(B, 2, where="kernel")
    trace = script.say("sched_process_exec: filename=x pid=7 old_pid=7").say("sys_exit: NR 59 = 0").fault(B + 0x1000).read()
    assert [agent.space for agent in trace.agents] == [0, 1]
    assert records(trace) == [
        (A, 1, 0, op.WRITE, 0), (0, 0, 0, op.EXIT, 0), (B, 1, 0, op.WRITE, 1), (B + 0x1000, 1, 0, op.WRITE, 1),
    ]  # fmt: skip


def test_a_munmap_comes_before_what_other_threads_do_until_it_ends():
    script = Script().fault(A).call(56, 0x3D0F00, inside=["task_newtask: pid=8 comm=prog clone_flags=3d0f00 oom_score_adj=0"], result=8)
    script.say(f"sys_enter: NR 11 ({A:x}, 1000, 0, 0, 0, 0)").call(9, 0, 0x1000, RW, ANONYMOUS, 0, 0, result=A, thread=8)
    assert [record[3] for record in records(script.say("sys_exit: NR 11 = 0").read())][2:] == [op.MUNMAP, op.MMAP, op.ARG]


def test_notices_inside_follow_from_the_call_and_outside_are_replayed():
    script = Script().fault(A, 7).unmap(A, A + 0x1000).call(28, A, 0x2000, 4, inside=[unmap(A, A + 0x2000)]).unmap(B, B + 0x3000)
    trace = script.fault(A).unmap(B, B + 0x1000).read()
    assert [(agent.name, agent.role, agent.space) for agent in trace.agents] == [
        ("prog", "cpu", 0), ("vm", "device", 0), ("host", "cpu", 0),
    ]  # fmt: skip
    dontneed = [unit(op.MADVISE, B, pages, [(0, op.DONTNEED)], 2) for pages in (3, 1)]
    advised = unit(op.MADVISE, A, 2, [(0, op.DONTNEED)])
    assert records(trace) == [(A, 1, 0, op.WRITE, 0), *advised, *dontneed[0], (A, 1, 0, op.WRITE, 0), *dontneed[1]]
    counts = trace.info["kernel_counts"]
    assert counts["fault"] == {"faults.user": 2, "notices": 1, "notices.pages": 1}
    assert counts["madvise"] == {"calls": 1, "notices": 1, "notices.pages": 2}
    assert counts["outside"] == {"notices": 2, "notices.pages": 4}
    skipped = script.read(outside="skip")
    assert records(skipped) == [(A, 1, 0, op.WRITE, 0), *advised, (A, 1, 0, op.WRITE, 0)]
    assert op.MIGRATE in [record[3] for record in records(script.read(outside="migrate"))]


def test_what_a_kernel_thread_invalidates_belongs_to_the_program():
    trace = Script().fault(A).unmap(A, A + 0x1000, thread=99).read()
    assert records(trace)[1:] == unit(op.MADVISE, A, 1, [(0, op.DONTNEED)], 2)


def test_flushes_and_interrupts_are_of_the_operation_they_are_for():
    flush = "tlb_flush: pages:{} reason:x ({})"
    ipi = "ipi_send_cpu: cpu=1 callsite=on_each_cpu_cond_mask+0x20/0x60 callback=generic+0x0/0x10"
    script = Script().call(11, A, 0x4000, inside=[ipi, flush.format(4, 4), ipi, flush.format(4, 3), ipi])
    script.fault(B, 7).unmap(B, B + 0x1000).say(flush.format(1, 3)).say(flush.format(-1, 0)).say(flush.format(-1, 1))
    script.call(0, inside=[f"page_fault_kernel: address={A:#x} ip=x error_code=0x3", unmap(A, A + 0x1000), flush.format(0, 2)])
    counts = script.call(28, A, 0x200000, 4, inside=[flush.format(-1, 3)]).read().info["kernel_counts"]
    assert counts["munmap"] == {"calls": 1, "flushes.sent": 1, "ipis": 1, "flushes.ranged": 1, "flushes.pages": 4}
    assert counts["fault"] == {
        "faults.user": 1, "faults.kernel": 1, "notices": 2, "notices.pages": 2, "flushes.ranged": 1, "flushes.pages": 1,
        "flushes.remote": 1, "flushes.late": 1,
    }  # fmt: skip
    assert counts["madvise"] == {"calls": 1, "flushes.full": 1}
    assert counts["other call"] == {"calls": 1}


def test_failed_calls_and_the_interrupts_of_one_flush_are_counted():
    ipi = "ipi_send_cpu: cpu=1 callsite=x+0x20/0x60 callback=generic+0x0/0x10"
    script = Script().call(11, A, 0x1000, inside=["tlb_flush: pages:1 reason:x (4)", ipi, ipi, ipi, "tlb_flush: pages:1 reason:x (3)", ipi])
    script.call(11, A + 1, 0x1000, result=-22).call(11, A, 0x1000, result=-4095).call(9, 0, 0x1000, RW, ANONYMOUS, 0, 0, result=A)
    counts = script.read().info["kernel_counts"]
    assert counts["munmap"] == {"calls": 1, "calls.failed": 2, "flushes.sent": 1, "flushes.ranged": 1, "flushes.pages": 1, "ipis": 3}
    assert counts["mmap"] == {"calls": 1}


def test_notices_of_the_two_mebibytes_around_a_cut_are_told_apart():
    around = unmap(A, A + 0x200000)
    script = Script().call(11, A + 0x1000, 0x1000, inside=[around, unmap(A + 0x1000, A + 0x2000)]).call(11, A, 0x200000, inside=[around])
    assert script.read().info["kernel_counts"]["munmap"] == {"calls": 2, "notices": 3, "notices.pages": 1025, "notices.cuts": 1}


@pytest.mark.parametrize("event", ["address {:x} error_code 2", "vcpu 3 rip 0x1 address {:#018x} error_code 0x2"])
def test_an_ept_violation_is_an_access_of_the_vcpu(event):
    script = Script().fault(A).say("kvm_page_fault: " + event.format(0x5008))
    trace = script.read(guest_base=B)
    assert records(trace) == [(A, 1, 0, op.WRITE, 0), (B + 0x5008, 1, 0, op.WRITE, 1)]
    assert trace.agents[1].role == "device" and trace.agents[1].name == ("vcpu3" if "vcpu" in event else "vcpu0")
    slots = f'# hwmodel recording: {{"command": ["x"], "pid": 7, "memslots": [[0, {A}, 8192], [20480, {2 * B}, 4096]]}}\n'
    script.text, alone = slots + script.text, script.text
    assert records(script.read())[1] == (2 * B + 8, 1, 0, op.WRITE, 1)  # guest address 0x5000 begins the second slot
    script.text = alone
    with pytest.warns(TraceWarning, match="1 guest page fault is left out"):
        left_out = script.read()
    assert len(left_out) == 1 and left_out.info["guest_faults_left_out"] == 1


def test_ftrace_and_trace_cmd_show_the_same_run():
    ours, theirs = (workloads.read(DATA / f"kernel.{name}.txt") for name in ("ftrace", "tracecmd"))
    for trace in (ours, theirs):
        validate(trace)
    assert records(ours) == records(theirs)
    assert ours.prelude.tolist() == theirs.prelude.tolist()
    assert ours.info["kernel_counts"] == theirs.info["kernel_counts"]


@pytest.mark.parametrize("name", ["ftrace", "tracecmd", "perf"])
def test_a_real_run_has_what_its_program_does(name):
    """tests/workloads/data/kernel.c: a thread, a child, and on memory what the counts say; the loader's come on top."""
    trace = workloads.read(DATA / f"kernel.{name}.txt")
    validate(trace)
    assert [(agent.role, agent.space) for agent in trace.agents] == [("cpu", 0), ("cpu", 0), ("cpu", 1), ("cpu", 2)]
    done = trace.info["operations"]
    assert (done["fork"], done["exit"], done["mremap"], done["madvise"], done["brk"]) == (1, 2, 1, 2, 2)
    assert done["mprotect"] >= 2 and done["munmap"] == 3
    kernel = trace.info["kernel_counts"]
    assert kernel["mremap"] == {"calls": 1, "flushes.ranged": 1, "flushes.pages": 8}  # eight pages that moved
    assert kernel["clone"]["flushes.full"] == 1
    assert kernel["fault"]["faults.user"] + kernel["fault"]["faults.kernel"] == trace.references


def test_files_are_in_memory_in_a_space_of_their_own():
    script = Script().call(257, 0, 0, result=5).call(9, 0, 0x4000, 1, 2, 5, 0x3000, result=A).call(9, 0, 0x2000, 1, 2, 5, 0x6000, result=B)
    trace = script.read(files_in_memory=True)
    assert (trace.agents[1].name, trace.agents[1].space) == ("files in memory", 1)
    assert trace.prelude.tolist() == op.mmap_unit(1 << 32, 5, 1, op.PRIVATE_FILE, 1, 3, agent=1, populate=True)  # pages 3 to 7


def test_a_recording_of_ours_says_what_was_mapped():
    head = '# tracer: nop\n# hwmodel recording: {"command": ["./prog"], "pid": 7, "vm": true, "memslots": [[0, 268435456, 4096]]}\n'
    head += "# hwmodel map: 00400000-00402000 r-xp 00001000 fe:00 26 /bin/prog\n"
    head += "# hwmodel map: 7ff000000000-7ff000003000 rw-p 0 00:00 0 [stack]\n"
    head += "# hwmodel present: 7ff000002000 1\n"
    script = Script().fault(0x7FF000002000).say("kvm_page_fault: address 8 error_code 0").say("kvm_page_fault: address 1000 error_code 0")
    script.text = head + script.text + '# hwmodel end: {"exit_status": 3}\n'
    with pytest.warns(TraceWarning, match="1 guest page fault is left out: no memory of the guest is known at its address"):
        trace = script.read()
    assert trace.prelude[:6].tolist() == [
        *op.mmap_unit(0x400000, 2, 5, op.PRIVATE_FILE, 1, 1), *op.mmap_unit(0x7FF000000000, 2, RW, grows_down=True),
        *op.mmap_unit(0x7FF000002000, 1, RW, grows_down=True, populate=True),
    ]  # fmt: skip
    assert [(agent.name, agent.role) for agent in trace.agents] == [("prog", "cpu"), ("vcpu0", "device")]
    assert records(trace)[1:] == [(268435456 + 8, 1, 0, op.READ, 1)]
    assert trace.info["exit_status"] == 3 and trace.info["guest_faults_left_out"] == 1


@pytest.mark.parametrize("comment", ["recording: {", "recording: []", "recording: {}", "map: 1-2", "present: x 1", "end: 3"])
def test_garbled_comments_are_refused(comment):
    script = Script().fault(A)
    extra = "# hwmodel map: 1000-2000 rw-p 0 00:00 0\n"
    script.text = f"# hwmodel {comment}\n{extra}{script.text}# hwmodel {comment}\n"
    with pytest.raises(TraceError, match="garbled comment"):
        script.read()


def test_lost_events_are_told_and_an_impossible_result_is_refused():
    script = Script().fault(A)
    script.text += "CPU:0 [LOST 5 EVENTS]\n"
    with pytest.warns(TraceWarning, match="the kernel lost 5 events"):
        trace = script.read()
    assert trace.info["lost_events"] == 5
    with pytest.raises(TraceError, match=r"^bytes: line 3: no kernel does that"):
        Script().fault(A).call(9, 0, 0x1000, RW, ANONYMOUS, 0, 0, result=1 << 60).read()


def quietly(data):
    """The trace of bytes that may have nothing but events that are only counted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TraceWarning)
        return ftrace.read(bytes_source(data))


def test_a_recording_cut_anywhere_gives_its_whole_lines():
    whole = "".join((DATA / "kernel.tracecmd.txt").read_text().splitlines(keepends=True)[:40]).encode()
    ends = [match.end() for match in re.finditer(b"\n", whole)]
    for cut in range(ends[2], len(whole), 7):
        data = whole[:cut]
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            trace = ftrace.read(bytes_source(data))
        complete = data[: max(end for end in ends if end <= cut)]
        assert records(trace) == records(quietly(complete))
        assert any("cut short" in str(warning.message) for warning in told) == (cut not in ends)
    with pytest.raises(TraceError, match=r"cut short: in line \d+"):
        ftrace.read(bytes_source(whole[:-5], strict=True))


def test_more_processes_than_a_trace_has_are_left_out():
    script = Script().fault(A)
    for pid in range(10, 200):
        script.call(57, result=pid).fault(A, 7, thread=pid)
    with pytest.warns(TraceWarning) as told:
        trace = script.read()
    assert [str(warning.message).partition(" are")[0] for warning in told] == ["bytes: 63 page faults", "bytes: 63 forks"]
    assert len(trace.agents) == op.AGENTS and trace.info["forks_left_out"] == 190 - 127


def test_without_events_nothing_faults_and_nothing_is_mapped():
    with pytest.warns(TraceWarning, match="27 page faults are left out"):
        trace = workloads.read(DATA / "kernel.ftrace.txt", events=False)
    validate(trace)
    assert set(np.concatenate(list(trace.chunks()))["kind"].tolist()) <= {op.READ, op.WRITE, op.FETCH}


LINES = (DATA / "kernel.tracecmd.txt").read_text().splitlines(keepends=True)[1:]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(LINES), max_size=40), st.integers(0, 4000), st.text(max_size=6))
def test_lines_in_any_order_and_with_something_in_between(lines, at, text):
    """Never a crash: a valid trace, or a refusal that names the line or the reason."""
    whole = "".join(lines)
    data = (whole[:at] + text + whole[at:]).encode("utf-8", "replace")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TraceWarning)
        try:
            validate(ftrace.read(bytes_source(data)))
        except TraceError as error:
            assert "line" in str(error) or "record" in str(error) or "threads" in str(error)
