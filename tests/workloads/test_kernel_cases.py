"""Recordings of kernel events as their tools print them with other options, on other kernels and architectures: what is right for each."""

import warnings

import pytest

from hwmodel import op
from hwmodel.op import TraceError
from hwmodel.trace import validate
from workloads import kernel_counts
from workloads.formats import kernel as ftrace
from workloads.streams import bytes_source

A, B = 0x7F0000000000, 0x7E0022240000


def read(text, **options):
    """The trace of a text; a warning is an error."""
    trace = ftrace.read(bytes_source(text.encode()), options=ftrace.Options(**options))
    validate(trace)
    return trace


def told(text, **options):
    """The trace of a text, and what was told about it."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        trace = read(text, **options)
    return trace, [str(warning.message).removeprefix("bytes: ") for warning in found]


def records(trace, kinds=None):
    """(kind, address, count, agent) of its records."""
    every = [record for chunk in trace.chunks() for record in chunk.tolist()]
    return [(op.NAMES[kind], address, count, agent) for address, count, _, kind, agent in every if kinds is None or op.NAMES[kind] in kinds]


def spaces(trace):
    """The address spaces of its agents that do anything, by name."""
    return {agent.name: agent.space for agent in trace.agents if agent.name != "files in memory"}


def lines(*events, process=None):
    """Text of ftrace: each event as (thread, text), or (thread, CPU, text)."""
    text = ""
    for at, (thread, *rest) in enumerate(events):
        comm, _, number = str(thread).rpartition("-")
        cpu, event = rest if len(rest) == 2 else (int(number) % 4, rest[0])
        shown = f"   ({process:7})" if process else "    "
        text += f"{comm or 'app':>16}-{number:<7}{shown} [{cpu:03}] ..... 20.{at:06}: {event}\n"
    return text


def fault(address, code=6):
    return f"page_fault_user: address={address:#x} ip=0x401000 error_code={code:#x}"


def call(number, *args, result=0):
    shown = ", ".join(f"{value & (1 << 64) - 1:x}" for value in [*args, *[0] * (6 - len(args))])
    return f"sys_enter: NR {number} ({shown})", f"sys_exit: NR {number} = {result}"


def unmap(first, end):
    return f"kvm_unmap_hva_range: mmu notifier unmap range: {first:#018x} -- {end:#018x}"


SENT, RECEIVED = "tlb_flush: pages:3 reason:remote IPI send (4)", "tlb_flush: pages:3 reason:remote shootdown (1)"
INTERRUPT = "ipi_send_cpumask: cpumask=4 callsite=smp_call_function_many_cond+0x1ab callback=flush_tlb_func+0x0"


# Threads without a process id


def two_threads(process=None, sent=SENT, received=RECEIVED):
    begin, end = call(11, A, 0x3000)
    return lines(
        ("worker-501", fault(A + 0x10)), ("worker-502", fault(A + 0x20)), ("worker-501", fault(A + 0x1010)),
        ("worker-502", fault(A + 0x2020)), ("worker-501", begin), ("worker-501", sent), ("worker-501", INTERRUPT), ("worker-502", received),
        ("worker-501", end), process=process,
    )  # fmt: skip


def test_02_threads_without_tgid_are_of_one_process_if_one_flushes_the_other_s_tlb():
    with_, without = read(two_threads(501)), read(two_threads())
    assert without.agents == with_.agents and records(without) == records(with_)
    assert spaces(without) == {"worker": 0, "worker/502": 0}
    assert without.info["kernel_counts"] == with_.info["kernel_counts"]


def test_02_a_full_flush_within_a_call_is_evidence_and_one_of_reclaim_is_not():
    full = (SENT.replace("pages:3", "pages:-1"), RECEIVED.replace("pages:3", "pages:-1"))
    assert spaces(read(two_threads(None, *full))) == {"worker": 0, "worker/502": 0}
    text = lines((501, fault(A)), (502, fault(A)), (501, full[0]), (502, full[1]))
    trace, warned = told(text)
    assert {agent.space for agent in trace.agents} == {0, 1}
    assert warned == [
        "no process ids: threads 501, 502 are taken as a process each (processes= joins some, on the command line --process)"
    ]


@pytest.mark.parametrize("received", [RECEIVED.replace("3", "5", 1), "tlb_flush: pages:0 reason:flush on task switch (0)"])
def test_02_threads_without_any_evidence_are_processes_and_told(received):
    trace, warned = told(two_threads(None, SENT, received))
    assert spaces(trace) == {"worker": 1} and len(trace.agents) == 2
    assert len(warned) == 1 and "threads 501, 502 are taken as a process each" in warned[0]
    assert trace.info["threads_without_process"] == [501, 502]


def test_02_the_caller_can_name_the_threads_of_a_process():
    text = lines((501, fault(A)), (502, fault(A)), (503, fault(A)), (504, fault(A)))
    trace = read(text, processes=[[501, 503], [502, 504]])
    assert [(agent.name, agent.space) for agent in trace.agents] == [("app", 0), ("app", 1), ("app/503", 0), ("app/504", 1)]
    with pytest.raises(TraceError, match=r"processes \(--process\): no line is of thread 77$"):
        read(text, processes=[[501, 77]])
    with pytest.raises(TraceError, match="processes: thread 501 is there twice"):
        read(text, processes=[[501, 503], [502, 501]])


def test_02_lines_that_know_a_process_tell_of_others_that_do_not():
    text = lines((501, fault(A)), (502, fault(A + 0x1000))) + lines((502, fault(A)), process=501).replace("20.0", "21.0")
    assert spaces(read(text)) == {"app": 0, "app/502": 0}


def test_02_threads_that_one_has_made_need_no_evidence():
    begin, end = call(56, 0x3D0F00, result=502)
    text = lines((501, fault(A)), (501, begin), (501, end), (502, fault(A)), (501, fault(A + 0x1000)))
    assert spaces(read(text)) == {"app": 0, "app/502": 0}
    perf = "app 501/501 20.1: PERF_RECORD_FORK(501:502):(501:501)\napp 501 20.2: PERF_RECORD_FORK(600:600):(501:501)\n"
    body = "".join(f"app  {thread} [001] 20.{thread}: exceptions:{fault(A)}\n" for thread in (501, 502, 600))
    assert spaces(read(body.splitlines(keepends=True)[0] + perf + body)) == {"app": 0, "app/502": 0, "app:600": 1}


# vCPUs


def old_guest_fault(address):
    return f"kvm:kvm_page_fault: address {address:x} error_code 182"


def test_03_old_kvm_page_fault_each_thread_is_a_vcpu():
    text = "".join(f"  CPU {n}/KVM 4130/413{6 + n} [00{n}] 86.5{n}: {old_guest_fault(0x11140000 + n * 0x1000)}\n" for n in range(3))
    trace = read(text, guest_base=A)
    devices = {at: agent.name for at, agent in enumerate(trace.agents) if agent.role == "device"}
    assert list(devices.values()) == ["vcpu0", "vcpu1", "vcpu2"]
    assert [(address, devices[agent]) for _, address, _, agent in records(trace)] == [
        (A + 0x11140000 + n * 0x1000, f"vcpu{n}") for n in range(3)
    ]  # fmt: skip


def test_03_vcpus_without_a_process_are_one_machine_s_by_their_names():
    events = [
        ("CPU 1/KVM-4137", "kvm_page_fault: address 1000 error_code 2"),
        ("CPU 0/KVM-4136", "kvm_page_fault: address 2000 error_code 2"),
        ("CPU 0/KVM-5136", "kvm_page_fault: address 3000 error_code 2"),
        ("CPU 1/KVM-5137", "kvm_page_fault: address 4000 error_code 2"),
    ]
    trace, warned = told(lines(*events), guest_base=A)
    assert [(agent.name, agent.space) for agent in trace.agents if agent.role == "device"] == [
        ("vcpu1", 0), ("vcpu0", 0), ("vcpu0", 1), ("vcpu1", 1),
    ]  # fmt: skip
    assert warned == ["no process ids: threads 4136, 4137, 5136, 5137 are taken as vCPUs of one virtual machine by their names"]


def test_03_threads_of_vcpus_without_such_names_are_told():
    trace, warned = told(lines(("qemu-kvm-4136", "kvm_page_fault: address 1000 error_code 2"),
                               ("qemu-kvm-4137", "kvm_page_fault: address 2000 error_code 2")), guest_base=A)  # fmt: skip
    assert len([agent for agent in trace.agents if agent.role == "device"]) == 2
    assert len(warned) == 1 and "threads 4136, 4137 are taken as a process each" in warned[0]
    named = read(lines(("qemu-kvm-4136", "kvm_page_fault: address 1000 error_code 2"),
                       ("qemu-kvm-4137", "kvm_page_fault: address 2000 error_code 2")), guest_base=A, processes=[[4136, 4137]])  # fmt: skip
    assert [(agent.name, agent.space) for agent in named.agents if agent.role == "device"] == [("vcpu0", 0), ("vcpu1", 0)]


def test_03_guest_faults_without_a_place_are_told():
    trace, warned = told(lines((7, "kvm_page_fault: address 1000 error_code 2")))
    assert records(trace) == []
    way = "guest_base= tells it, on the command line --guest-base"
    assert warned == [f"1 guest page fault is left out: where guest memory lies is not known ({way})"]


# Numbers of system calls

OPENED = (-100, 0xFFFFB1C04000, 0x80000)


def calls(*each, thread=300, process=None):
    return lines(*((thread, text) for one in each for text in one), process=process)


def test_04_arm64_syscall_numbers():
    mapped = 0xFFFFB2000000
    text = calls(call(56, *OPENED, result=3), call(222, 0, 0x2000, 3, 0x22, -1, result=mapped), call(57, 3), call(215, mapped, 0x2000))
    trace, warned = told(text)
    counts = trace.info["kernel_counts"]
    assert (counts["mmap"], counts["munmap"], counts["other call"]) == ({"calls": 1}, {"calls": 1}, {"calls": 2})
    assert "clone" not in counts
    assert [record for record in records(trace) if record[0] != "syscall"] == [
        ("mmap", mapped, 2, 0), ("arg", 0, 3, 0), ("munmap", mapped, 2, 0),
    ]  # fmt: skip
    assert (trace.user_end, warned) == (1 << 48, [])


SMALL = 0x7FB2000000
"""An address of 39 bits, as arm64 and RISC-V with three levels of tables have."""


def test_04_numbers_of_riscv_become_the_operations_that_they_are():
    text = calls(call(222, 0, 0x2000, 3, 0x22, -1, result=SMALL), call(226, SMALL, 0x1000, 1), call(233, SMALL, 0x1000, 4),
                 call(214, 0, result=0x555000000), call(214, 0x555002000, result=0x555002000),
                 call(216, SMALL, 0x2000, 0x4000, 1, result=SMALL), call(215, SMALL, 0x4000), call(220, 0x1200011, result=301))  # fmt: skip
    for options in ({}, {"arch": "riscv64"}, {"arch": "aarch64"}):
        trace = read(text, **options)
        assert trace.info["operations"] == {
            "brk": 1, "fork": 1, "madvise": 1, "mmap": 1, "mprotect": 1, "mremap": 1, "munmap": 1, "syscall": 1,
        }  # fmt: skip
        assert trace.info["system_calls"] == "arm64"
    assert read(text, arch="x86-64").info["operations"] == {"syscall": 8}


def test_04_numbers_of_i386_have_32_bits_and_offsets_in_pages():
    text = calls(call(295, 0xFFFFFF9C, 0x804A000, 0, result=3), call(192, 0, 0x2000, 1, 2, 3, 5, result=0xF7D00000 - (1 << 32)),
                 call(91, 0xF7D00000, 0x1000), call(6, 3), call(125, 0xF7D01000, 0x1000, 1))  # fmt: skip
    trace = read(text, files_in_memory=False)
    assert records(trace) == [
        ("syscall", 0, 1, 0), ("mmap", 0xF7D00000, 2, 0), ("arg", 5, 1 | 2 << 3 | 1 << 8, 0), ("munmap", 0xF7D00000, 1, 0),
        ("syscall", 0, 1, 0), ("mprotect", 0xF7D01000, 1, 0), ("arg", 0, 1, 0),
    ]  # fmt: skip


def test_04_a_32_bit_program_beside_a_64_bit_one():
    wide = (call(9, 0, 0x2000, 3, 0x22, -1, result=A), call(11, A, 0x2000))
    narrow = (call(192, 0, 0x1000, 3, 0x22, 0xFFFFFFFF, result=0xF7000000 - (1 << 32)), call(91, 0xF7000000, 0x1000))
    text = calls(*wide, thread=300, process=300) + calls(*narrow, thread=400, process=400)
    assert [record[:3] for record in records(read(text), ("mmap", "munmap"))] == [
        ("mmap", A, 2), ("munmap", A, 2), ("mmap", 0xF7000000, 1), ("munmap", 0xF7000000, 1),
    ]  # fmt: skip


def test_04_numbers_of_32_bit_arm_are_told_from_those_of_i386():
    text = calls(call(322, 0xFFFFFF9C, 0x804A000, 0, result=3), call(192, 0, 0x2000, 3, 0x22, -1, result=0xB6D00000 - (1 << 32)),
                 call(220, 0xB6D00000, 0x1000, 4), call(91, 0xB6D00000, 0x2000), call(3, 3, 0x804A000, 8, result=8))  # fmt: skip
    for options in ({}, {"arch": "arm"}, {"arch": "armv7l"}):
        trace = read(text, **options)
        assert trace.info["operations"] == {"madvise": 1, "mmap": 1, "munmap": 1, "syscall": 2} and trace.info["system_calls"] == "arm"
    assert read(text, arch="i386").info["operations"] == {"mmap": 1, "munmap": 1, "syscall": 3}


def test_04_a_32_bit_arm_program_beside_a_64_bit_one():
    wide = (call(222, 0, 0x2000, 3, 0x22, -1, result=A), call(233, A, 0x2000, 4), call(215, A, 0x2000))
    narrow = (call(322, 0xFFFFFF9C, 0x804A000, 0, result=3), call(192, 0, 0x1000, 3, 0x22, -1, result=0xF7000000 - (1 << 32)),
              call(91, 0xF7000000, 0x1000))  # fmt: skip
    text = calls(*wide, thread=300, process=300) + calls(*narrow, thread=400, process=400)
    assert [record[:3] for record in records(read(text), ("mmap", "munmap"))] == [
        ("mmap", A, 2), ("munmap", A, 2), ("mmap", 0xF7000000, 1), ("munmap", 0xF7000000, 1),
    ]  # fmt: skip


def test_04_the_header_of_perf_names_the_machine():
    text = calls(call(222, 0, 0x2000, 3, 0x22, -1, result=SMALL))
    assert read("# arch : aarch64\n" + text).info["operations"] == {"mmap": 1}
    with pytest.raises(TraceError, match=r"system calls for 's390x'; there are x86-64, .* \(arch= names another, on .* --arch\)"):
        read("# arch : s390x\n" + text)
    assert read("# arch : s390x\n" + lines((7, fault(A)))).references == 1
    assert read("# arch : s390x\n" + text, arch="arm64").info["operations"] == {"mmap": 1}
    with pytest.raises(TraceError, match="arch: there is no 'vax'; there are x86-64, "):
        read(text, arch="vax")


def test_04_numbers_of_no_known_architecture_are_refused():
    text = calls(*[call(57, 3)] * 3)  # nothing returns from a fork with 0 but the child, whose call has no beginning
    with pytest.raises(TraceError, match=r"line 1: system calls have numbers of another architecture \(arch= names it, .* --arch\)"):
        read(text)
    assert read(text, arch="arm64").info["operations"] == {"syscall": 3}


# Whose memory a notice is of


def two_machines(*events):
    return lines(("CPU 0/KVM-4136", fault(A)), process=4130) + lines(("CPU 0/KVM-5136", fault(B)), process=5130) + "".join(events)


def test_12_two_vms_kswapd_takes_the_pages_of_the_one_that_has_them():
    notice = lines(("kswapd0-77", unmap(B, B + 0x1000)), process=77)
    trace = read(two_machines(notice, lines(("CPU 0/KVM-5136", fault(B)), process=5130)))
    assert [(kind, address, trace.agents[agent].space) for kind, address, _, agent in records(trace)] == [
        ("write", A, 0), ("write", B, 1), ("madvise", B, 1), ("arg", 0, 1), ("write", B, 1),
    ]  # fmt: skip


def test_12_a_page_that_is_used_later_is_its_user_s():
    text = lines(("CPU 0/KVM-4136", fault(A)), process=4130) + lines(("kswapd0-77", unmap(B, B + 0x1000)), process=77)
    trace = read(text + lines(("CPU 0/KVM-5136", fault(B)), process=5130))
    assert [trace.agents[agent].space for *_, agent in records(trace, ("madvise",))] == [spaces(trace)["vm"]] == [1]


def test_12_a_machine_s_own_thread_may_reclaim_another_s_page():
    begin, end = call(9, 0, 0x2000, 3, 0x22, -1, result=A + 0x200000)
    inside = [("CPU 0/KVM-4136", begin), ("CPU 0/KVM-4136", unmap(B, B + 0x1000)), ("CPU 0/KVM-4136", end)]
    trace = read(two_machines(lines(*inside, process=4130)))
    assert [(kind, address, trace.agents[agent].space) for kind, address, _, agent in records(trace, ("madvise", "mmap"))] == [
        ("madvise", B, 1), ("mmap", A + 0x200000, 0),
    ]  # fmt: skip
    assert trace.info["kernel_counts"]["outside"] == {"notices": 1, "notices.pages": 1}


def test_12_what_is_nobody_s_is_counted_and_told():
    trace, warned = told(two_machines(lines(("khugepaged-78", unmap(0x7D0000000000, 0x7D0000200000)), process=78)))
    assert records(trace, ("madvise",)) == [] and trace.info["invalidations_of_nobody"] == 1
    assert warned == ["1 invalidation is left out: whose memory was meant is not known"]


def test_12_what_may_be_of_two_is_left_out_unless_one_runs_a_virtual_machine():
    same = lines(("CPU 0/KVM-4136", fault(A)), process=4130) + lines(("CPU 0/KVM-5136", fault(A)), process=5130)
    notice = lines(("kswapd0-77", unmap(A, A + 0x1000)), process=77)
    trace, warned = told(same + notice)
    assert trace.info["invalidations_of_nobody"] == 1 and len(warned) == 1
    beside = lines(("bash-6136", fault(A)), process=6136) + lines(("CPU 0/KVM-5136", fault(A)), process=5130)
    trace = read(beside + notice)
    assert [trace.agents[agent].space for *_, agent in records(trace, ("madvise",))] == [1]


def test_12_counts_alone_know_it_too(tmp_path):
    path = tmp_path / "two.txt"
    path.write_text(two_machines(lines(("CPU 0/KVM-4136", unmap(B, B + 0x1000)), process=4130)))
    assert kernel_counts(path)["outside"] == {"notices": 1, "notices.pages": 1}


# What is lost


@pytest.mark.parametrize("address, end, whose", [
    (A, 1 << 47, "x86-64"), ((1 << 47) - 1, 1 << 47, "x86-64, the last byte"), (0xFFFFB2000010, 1 << 48, "05-arm64-fault"),
    ((1 << 48) - 1, 1 << 48, "arm64, the last byte"), (0x10200FF8000F10, 1 << 56, "arm64, 52 bits"),
    (1 << 55, 1 << 56, "x86-64, five levels"),
])  # fmt: skip
def test_05_user_memory_ends_where_the_addresses_say(address, end, whose):
    trace, warned = told(lines((300, fault(0x7FB2000010)), (300, fault(address)), (300, fault(0xFFFF800000000000))))
    assert records(trace) == [("write", 0x7FB2000010, 1, 0), ("write", address, 1, 0)]
    assert (trace.user_end, trace.info["kernel_addresses"], warned) == (end, 1, ["1 access to the kernel's memory is left out"]), whose
    assert trace.info["kernel_counts"]["fault"]["faults.user"] == 2
    assert ("user_end" in trace.info) == (end > 1 << 47)


def test_05_calls_notices_and_breaks_tell_where_user_memory_ends():
    high = 0xFFFFB2000000
    moved = read(calls(call(25, A, 0x1000, 0x1000, 1, result=high), call(9, 0, 0x1000, 3, 0x22, -1, result=A)))
    heap = read(calls(call(12, 0, result=0xAAAAD1C00000), call(9, 0, 0x1000, 3, 0x22, -1, result=A)))
    to_the_end = read(calls(call(9, 0, 0x1000, 3, 0x22, -1, result=(1 << 48) - 4096)))
    assert (moved.user_end, heap.user_end, to_the_end.user_end) == (1 << 48,) * 3
    notice = read(lines((300, fault(high))) + lines(("kswapd0-77", unmap(high, high + 0x1000)), process=77), processes=[[300]])
    assert records(notice, ("madvise",)) == [("madvise", high, 1, 2)] and notice.user_end == 1 << 48


def test_06_ring_buffer_overrun_is_told_once():
    trace, warned = told(
        "# tracer: nop\n#\n# entries-in-buffer/entries-written: 2/26317372   #P:8\n#\n" + lines((7, fault(A)), (7, fault(A)))
    )
    assert warned == ["the kernel lost 26,317,370 events: what it did then is missing"]
    assert trace.info["lost_events"] == 26317370
    list(trace.chunks())


def test_07_perf_period_column_and_what_is_of_no_use():
    text = f"app  22/22  [002]   811.1:          1  tlb:{RECEIVED}\napp  22/22  [002]   811.2:          1 exceptions:{fault(A)}\n"
    trace = read(text)
    assert records(trace) == [("write", A, 1, 0)] and "events_of_no_use" not in trace.info
    trace, warned = told("app 22/22 [002] 811.1: sched:sched_wakeup: comm=a pid=1\n" * 3)
    assert warned == ["none of its 3 events is of use"]


def test_11_cpumask_list_is_one_if_any_other_in_the_file_is():
    mask = "ipi_send_cpumask: cpumask={} callsite=x callback=flush_tlb_func+0x0"
    for masks, sent in ((("0-3,7",), 5), (("0-3,7", "3"), 6), (("0f", "03"), 6), (("3",), 2), (("3", "12"), 2), (("7", "2"), 4)):
        trace, warned = told(lines(*(("app-501", 20, event) for each in masks for event in (SENT, mask.format(each))), process=501))
        assert warned == [f"none of its {2 * len(masks)} events becomes a record: they are only counted"]
        assert trace.info["kernel_counts"]["outside"]["ipis"] == sent, masks
    to_itself, _ = told(lines((501, 0, SENT), (501, 0, mask.format("3")), process=501))  # a CPU sends itself none: 3 is a list
    assert to_itself.info["kernel_counts"]["outside"]["ipis"] == 1


def test_17_function_graph_without_threads_is_told():
    text = f"# tracer: function_graph\n 2)               |  /* {fault(A, 0x14)} */\n 3)               |  /* {fault(A + 0x1000)} */\n"
    trace, warned = told(text)
    assert {agent.space for agent in trace.agents if agent.name != "files in memory"} == {0}
    assert [record[:2] for record in records(trace)] == [("fetch", A), ("write", A + 0x1000)]
    assert warned == ["2 events have no thread: each CPU's are taken as a thread's of one process (see options/funcgraph-proc)"]
