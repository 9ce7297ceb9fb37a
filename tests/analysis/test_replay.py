"""Replays: hand-made recordings whose counts are known on both sides, the shipped one, and what is said of differences."""

import os
import types
from collections import Counter

import pytest

import workloads
from analysis import causes, cli, replay
from analysis.replay import groups
from hwmodel import op
from hwmodel.op import TraceError
from hwmodel.trace import Trace
from workloads.recorded import FOLDER

A = 0x10000000
VM = '# tracer: nop\n# hwmodel recording: {"command": ["./prog"], "pid": 7, "vm": true}\n# hwmodel map: 1000-2000 rw-p 0 00:00 0\n'


def line(event):
    return f"     prog-7  [000] d..1. 1.000000: {event}\n"


def call(number, *args, result=0, inside=()):
    padded = ", ".join(f"{x:x}" for x in [*args, *[0] * (6 - len(args))])
    return "".join(map(line, [f"sys_enter: NR {number} ({padded})", *inside, f"sys_exit: NR {number} = {result}"]))


def faults(first, pages, code=6):
    return "".join(line(f"page_fault_user: address={first + 4096 * i:#x} ip=0x1 error_code={code:#x}") for i in range(pages))


def unmap(first, pages):
    return f"kvm_unmap_hva_range: mmu notifier unmap range: {first:#018x} -- {first + 4096 * pages:#018x}"


def flush(pages):
    return f"tlb_flush: pages:{pages} reason:local MM shootdown (3)"


def run(tmp_path, text):
    path = tmp_path / "events"
    path.write_text(VM + text)
    return replay(path)


def rows(found):
    return {(row.operation, row.count): (row.kernel, row.model) for row in found.frame.itertuples()}


MAPPED = call(9, 0, 0x40000, 3, 0x22, 0xFFFFFFFF, 0, result=A) + faults(A, 8)


def test_a_recording_that_the_model_agrees_with(tmp_path):
    """64 pages mapped, 8 written; two discarded; all read-only; unmapped: the eight have the range of the flushes."""
    text = MAPPED + call(28, A, 0x2000, 4, inside=[unmap(A, 2), flush(2)]) + faults(A, 2)
    text += call(10, A, 0x40000, 1, inside=[unmap(A, 64), flush(8)]) + call(11, A, 0x40000, inside=[unmap(A, 64), flush(8)])
    found = run(tmp_path, text)
    assert rows(found) == {
        ("mmap", "operations"): (1, 1),
        ("fault", "faults"): (10, 10),
        ("madvise", "operations"): (1, 1), ("madvise", "notices"): (1, 1),
        ("madvise", "ranged flushes"): (1, 1), ("madvise", "flushed pages"): (2, 2),
        ("mprotect", "operations"): (1, 1), ("mprotect", "notices"): (1, 1),
        ("mprotect", "ranged flushes"): (1, 1), ("mprotect", "flushed pages"): (8, 8),
        ("munmap", "operations"): (1, 1), ("munmap", "notices"): (1, 1),
        ("munmap", "ranged flushes"): (1, 1), ("munmap", "flushed pages"): (8, 8),
        ("total", "faults"): (10, 10), ("total", "notices"): (3, 3),
        ("total", "ranged flushes"): (3, 3), ("total", "flushed pages"): (18, 18),
        ("total", "interrupts for flushes"): (0, 1),  # to the lazy vCPU, when munmap has freed the page table
    }  # fmt: skip
    assert found.frame["cause"].tolist()[:-1] == [""] * 18 and found.notes == ()
    assert found.frame["cause"].tolist()[-1] == f"+1: {causes.IDLE}"


def test_an_invalidation_from_outside_is_one_of_the_model_s(tmp_path):
    found = run(tmp_path, MAPPED + call(39, result=7) + line(unmap(A, 4)) + faults(A, 1))
    assert rows(found)["outside", "notices"] == (1, 1)
    assert rows(found)["fault", "faults"] == (9, 9)  # the page is gone: it faults again
    assert any("1 invalidations outside" in note for note in found.notes)


def test_what_differs_has_a_cause_or_is_unexplained(tmp_path):
    found = run(tmp_path, MAPPED + call(11, A, 0x40000, inside=[unmap(A, 64), unmap(A, 1), flush(8)]) + call(12, result=0x600000))
    cause = {(row.operation, row.count): row.cause for row in found.frame.itertuples()}
    assert rows(found)["munmap", "notices"] == (2, 1)
    assert cause["munmap", "notices"] == f"-1: {causes.UNEXPLAINED}"
    assert cause["brk", "operations"] == f"-1: {causes.VOID}"


def test_the_shipped_recording_beside_the_kernel():
    """Faults, flushes, flushed pages and copies on write agree to the last one. The rest, checked by hand against the recording:

    - 1 notice of the fork less: the stack of the first thread (0x7f7d380d1, 2,048 pages) and the memory that malloc mapped behind it. Linux
      has had VM_NOHUGEPAGE on stacks (MAP_STACK) since 6.7, which keeps them apart; a trace has no such flag, and they are one VMA;
    - 1 notice of a munmap more: what was mapped behind that stack (47 pages) is cut from the stack, in the middle of 2 MiB;
    - 2 full flushes of exits, whose CPU is lazy by then: it leaves the address space, which Linux does not trace.
    """
    found = replay(workloads.recorded("kernel"))
    counts = rows(found)
    assert {key: value for key, value in counts.items() if value[0] != value[1] and key[0] != "total"} == {
        ("clone", "notices"): (30, 29), ("munmap", "notices"): (21, 22),
        ("brk", "operations"): (73, 71), ("clone", "operations"): (4, 1), ("exit", "operations"): (5, 2), ("exit", "full flushes"): (0, 2),
    }  # fmt: skip
    assert counts["fault", "notices"] == (318, 318) and counts["fault", "flushed pages"] == (504, 504)
    assert counts["fault", "faults"] == (14656, 14656)
    assert counts["total", "notices"] == (467, 467) and counts["total", "ranged flushes"] == (517, 517)
    assert counts["total", "full flushes"] == (18, 20)
    assert not found.frame["cause"].str.contains(causes.UNEXPLAINED).any()
    assert counts["total", "interrupts for flushes"][0] == 9


def test_the_command_prints_and_writes_it(tmp_path, capsys):
    (tmp_path / "events").write_text(VM + MAPPED)
    assert cli.main(["replay", str(tmp_path / "events"), "--out", str(tmp_path / "out")]) == 0
    assert "page by page" not in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["replay.csv", "replay.md"]
    assert "| fault | faults | 8 | 8 | 0 |  |" in (tmp_path / "out" / "replay.md").read_text()
    assert cli.main(["replay", str(FOLDER / "gcc.hwtrace")]) == 2
    assert "no recording of the kernel's events" in capsys.readouterr().err


def test_groups_are_the_whole_trace_in_order():
    records = [(A, 1, 0, op.READ, 0), (A, 1, 0, op.WRITE, 1), *op.mmap_unit(A, 1, 3), (0, 1, 0, op.SYSCALL, 0), (A, 1, 0, op.READ, 0),
               *op.paged_unit(op.MADVISE, A, 1, [(0, 4)], 1), (0, 0, 0, op.EXIT, 0)]  # fmt: skip
    trace = Trace.from_records([op.Agent("cpu", 0, "a"), op.Agent("cpu", 0, "host")], records)
    found = list(groups(trace))
    assert [(name, ops.size) for name, ops in found] == [
        ("fault", 1), ("outside", 1), ("mmap", 2), ("other call", 1), ("fault", 1), ("outside", 2), ("exit", 1),
    ]  # fmt: skip
    assert [tuple(record) for _, ops in found for record in ops.tolist()] == records


def test_only_recordings_of_the_kernel_are_replayed():
    trace = Trace.from_records([op.Agent("cpu", 0, "a")], [(A, 1, 0, op.READ, 0)])
    with pytest.raises(TraceError, match="no recording of the kernel's events"):
        replay(trace)


def test_causes_of_interrupts():
    result = types.SimpleNamespace(counters=Counter({"ipis.sent": 5}))
    trace = Trace.from_records([op.Agent("cpu", 0, "a"), op.Agent("cpu", 0, "b")], [])
    assert causes.of_interrupts(5, result, trace) == ""
    assert causes.of_interrupts(2, result, trace) == f"+3: {causes.OWN_CPU}"
    assert causes.of_interrupts(9, result, trace) == f"-4: {causes.MIGRATED}"
    alone = Trace.from_records([op.Agent("cpu", 0, "a"), op.Agent("device", 0, "vm")], [])
    assert causes.of_interrupts(4, result, alone) == f"+1: {causes.IDLE}"
    assert causes.of_interrupts(2, result, alone) == f"+3: {causes.UNEXPLAINED}"


@pytest.mark.skipif(os.geteuid() != 0 or not os.path.isdir("/sys/kernel/tracing/instances"), reason="needs root and tracefs")
def test_the_command_records(tmp_path, capsys):
    assert cli.main(["record", "--kernel", "--no-kvm", "--out", str(tmp_path / "events.zst"), "--", "true"]) == 0
    assert "exit_status: 0" in capsys.readouterr().out
    assert workloads.read(tmp_path / "events.zst").info["command"] == ["true"]
