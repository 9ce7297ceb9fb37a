"""Lines of kernel events: every layout by hand, real files against a parser that only cuts, what is refused."""

import pathlib
import random

import naive_ftrace
import pytest

from hwmodel.op import TraceError
from workloads.formats.kernel import parsers as f
from workloads.formats.kernel import recognises, scan
from workloads.formats.kernel.lines import Event, Lines
from workloads.streams import bytes_source

DATA = pathlib.Path(__file__).parent / "data"
FILES = ("kernel.ftrace.txt", "kernel.tracecmd.txt", "kernel.perf.txt")

LAYOUTS = {
    "ftrace": "          my-prog-4711    [001] d..2. 25.000123: {}\n",
    "ftrace, with the process": "          my-prog-4711    (   4700) [001] d..2. 25.000123: {}\n",
    "trace-cmd": "          my-prog-4711  [001] 25.000123: {}\n",
    "trace-cmd, with flags": "          my-prog-4711  [001] d..2. 25.000123456: {}\n",
    "trace-cmd, with the time since the last event": "          my-prog-4711  [001] 25.000123: (+17)    {}\n",
    "ftrace, clock in ticks": "          my-prog-4711    [001] d..2. 25000123456: {}\n",
    "ftrace, latency format": "  my-prog-4711    1d..2. 25000123us+: {}\n",
    "ftrace, latency format, verbose": "         my-prog    4711   1 1 00000001 00000002 [00001a2b3c4d] 25.123ms (+0.002ms): {}\n",
    "trace-cmd, latency format": "  my-prog-4711    1d..2.   25.000123: {}\n",
    "dump on oops": "[   25.100000]  my-prog-4711    1d..2. 25000123us : {}\n",
    "dump on oops, from the journal": "Jan 01 host kernel: [   25.100000]  my-prog-4711    1d..2. 25000123us : {}\n",
    "function graph": " 1)  my-prog-4711  |               |  /* {} */\n",
    "function graph, with times": "   25.000123 |   1)  my-prog-4711  |               |    /* {} */\n",
    "perf, with the period": "my-prog  4711 [001] 25.000123:          1    any:{}\n",
    "perf, nanoseconds": "my-prog  4711 [001] 25.000123456:    any:{}\n",
    "perf, without the CPU": "my-prog  4711  25.000123:          any:{}\n",
    "perf, without CPU, with the process": "my-prog  4700/4711  25.000123:          any:{}\n",
    "perf, without the time": "my-prog  4711 [001] any:{}\n",
    "perf, without CPU and time": "my-prog  4711          1 any:{}\n",
    "perf, with an address behind": "my-prog  4711 [001] 25.000123:  any:{}      7f0000401000 main+0x10 (/bin/prog)\n",
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
    "kvm_page_fault: address fee00000 error_code 182": (f.GUEST_FAULT, -1, 0xFEE00000, 0x182),
    "kvm_page_fault: vcpu 2 rip 0xfff0 address 0x00000000fee00000 error_code 0x182": (f.GUEST_FAULT, 2, 0xFEE00000, 0x182),
    "task_newtask: pid=22296 comm=a pid=3 b clone_flags=3d0f00 oom_score_adj=0": (f.NEW_TASK, 22296, 0x3D0F00),
    "sched_process_fork: comm=python pid=16328 child_comm=python child_pid=16329": (f.FORKED, 16329),
    "sched_process_exec: filename=./prog pid=1 old_pid=1": (f.EXEC,),
    "sched_process_exit: comm=python pid=16330 prio=120 group_dead=true": (f.ENDED, 16330),
}  # fmt: skip


def parsed(text):
    return list(Lines(bytes_source(text.encode())).events())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_event_in_every_layout(layout):
    for text, (kind, *numbers) in EVENTS.items():
        if "time" in layout and "perf" in layout and ("(" in text.split(":")[0] or "->" in text):
            continue  # ftrace's own format of a call by its name, which perf does not print
        (event,) = parsed(LAYOUTS[layout].format(text))
        assert (event.kind, event.numbers) == (kind, tuple(numbers)), text
        assert (event.thread, event.process) == (4711, 4700 if "process" in layout else -1)
        assert event.name.endswith("my-prog")
        assert event.cpu == (-1 if "without" in layout and "CPU" in layout else 1)


@pytest.mark.parametrize("name", FILES)
def test_real_files_against_a_parser_that_only_cuts(name):
    text = (DATA / name).read_text()
    mine = [(event.kind, event.numbers, event.thread) for event in parsed(text)]
    assert mine == naive_ftrace.events(text)
    assert len(mine) > 200


@pytest.mark.parametrize("name", FILES)
def test_they_are_recognised(name):
    assert recognises((DATA / name).read_bytes())


@pytest.mark.parametrize("text", [b"I  0401ab70,3\n", b"address,count\n1,2\n", b"PAR1", b"\0" * 64, b"hello [001] world 1.5: x\n", b""])
def test_others_are_not(text):
    assert not recognises(text)


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
    lines = Lines(bytes_source(text.encode()))
    assert list(lines.events()) == []
    assert lines.unknown == {"sched_wakeup": 1, "page_fault_kernel": 1}
    assert (lines.lost, lines.comments, lines.cut) == (130, [(2, "end: {}")], "")


def test_a_line_without_its_end_is_not_read():
    text = LAYOUTS["ftrace"].format("sys_exit: NR 1 = 2")
    lines = Lines(bytes_source((text + text[:-1]).encode()))
    assert len(list(lines.events())) == 1
    assert lines.cut == "in line 2"


def test_names_may_have_anything_in_them():
    for name in ("a b", "k/0:1-ev", "x-1", "<...>", "a [b]", "9"):
        (event,) = parsed(LAYOUTS["ftrace"].format("sys_exit: NR 1 = 2").replace("my-prog", name))
        assert (event.name, event.thread) == (name, 4711)


@pytest.mark.parametrize("mask, lists, targets", [
    ("2", False, 1), ("0000000f,00000001", False, 5), ("ff", False, 8), ("00000003", True, 2), ("0-3,7", False, 5), ("1,3", False, 2),
    ("3", False, 2), ("3", True, 1), ("12-15,300", False, 5),
])  # fmt: skip
def test_cpus_are_a_bitmap_or_a_list(mask, lists, targets):
    """11-cpumask-list: `0-3,7` is five CPUs. What may be both is what the others are."""
    text = LAYOUTS["ftrace"].format(f"ipi_send_cpumask: cpumask={mask} callsite=x callback=flush_tlb_func+0x0")
    (event,) = Lines(bytes_source(text.encode()), lists).events()
    assert event.numbers == (targets, 1)


@pytest.mark.parametrize("mask", ["0-", "3-1", "7,3", "0-3,x", "1,,2", "g", "-1", "123456789"])
def test_cpus_that_are_neither_are_refused(mask):
    with pytest.raises(TraceError, match="line 1: garbled ipi_send_cpumask"):
        parsed(LAYOUTS["ftrace"].format(f"ipi_send_cpumask: cpumask={mask} callsite=x"))


@pytest.mark.parametrize("address, code, meant", [
    ("user page fault, address=0x3f94cf6400 epc=0x555586328e cause=0xd", 4, "a load"),
    ("user page fault, address=0x3f94cf6400 epc=0x555586328e cause=0xf", 6, "a store"),
    ("user page fault, address=0x3f94cf6400 epc=0x555586328e cause=0xc", 0x14, "a fetch"),
    ("address=0x3f94cf6400 ip=0x401000 error_code=0x92000047", 6, "arm64: data abort, write"),
    ("address=0x3f94cf6400 ip=0x401000 error_code=0x92000007", 4, "arm64: data abort, read"),
    ("address=0x3f94cf6400 ip=0x401000 error_code=0x92000147", 4, "arm64: cache maintenance"),
    ("address=0x3f94cf6400 ip=0x401000 error_code=0x82000007", 0x14, "arm64: instruction abort"),
    ("address=0x3f94cf6400 ip=do_thing+0x1/0x2 [module] error_code=0x80000007", 0x80000007, "x86, with the bit of AMD's RMP"),
])  # fmt: skip
def test_page_faults_of_other_architectures(address, code, meant):
    """10-riscv-page-fault."""
    (event,) = parsed(LAYOUTS["perf"].format(f"page_fault_user: {address}"))
    assert event == Event(f.FAULT, (0x3F94CF6400, code, 1), 4711, -1, "my-prog", "", 1, event.event, event.text), meant


def test_a_guest_page_fault_of_arm64():
    text = LAYOUTS["perf"].format("kvm_guest_fault: ipa 0x1c010000, hsr 0x92000047, hxfar 0xf80100a8, pc 0x802c21c8")
    assert parsed(text)[0].numbers == (-1, 0x1C0100A8, 6)


FAULT = "page_fault_user: address=0x7f0000001040 ip=0x401000 error_code=0x6"
BETWEEN = {
    "01-tracecmd-cpu-empty": "CPU 0 is empty\nCPU 2 is empty\ncpus=4\n",
    "08-ftrace-stacktrace": LAYOUTS["ftrace"].format("<stack trace>") + " => exc_page_fault\n => asm_exc_page_fault\n",
    "a user's stack": LAYOUTS["ftrace"].format("<user stack trace>") + " =>  <00007f0000001040>\n => /bin/prog[+0x1040]\n",
    "trace-cmd's stack": LAYOUTS["trace-cmd"].format("kernel_stack:         <stack trace >") + "=> exc_page_fault (ffffffff81c00aed)\n",
    "perf's call chain": "\tffffffff81c00aed exc_page_fault+0x1d ([kernel.kallsyms])\n\t    7f0000001040 main+0x10 (/bin/prog)\n\n",
    "perf's call chain, addresses only": "\tffffffff81c00aed\n\t    7f0000001040\n\n",
    "perf's call chain, with lines": "\t    7f0000001040 main+0x10 (inlined)\n  prog.c:12\n\n",
    "17-function-graph": " 2)   0.764 us    |  exit_to_user_mode_prepare();\n 2)               |  do_exit() {\n 2) + 10.1 us     |  }\n",
    "a switch in a function graph": " --------------------------\n 2)   app-930   =>   ls-931\n --------------------\n\n",
    "an oops": "[   25.10] Dumping ftrace buffer:\n[   25.10] ---------------------------------\n[   25.10] RIP: 0010:x+0x1/0x2\n",
}


@pytest.mark.parametrize("between", BETWEEN)
def test_what_stands_between_events(between):
    lines = Lines(bytes_source((BETWEEN[between] + LAYOUTS["ftrace"].format(FAULT) + BETWEEN[between]).encode()))
    assert [event.numbers[0] for event in lines.events()] == [0x7F0000001040]
    assert (lines.unknown, lines.lost, lines.cut) == ({}, 0, "")
    assert recognises((BETWEEN["01-tracecmd-cpu-empty"] + LAYOUTS["trace-cmd"].format(FAULT)).encode())


def test_a_function_graph_tells_the_thread_when_it_changes():
    """17-function-graph, without the option funcgraph-proc."""
    text = f" 2)               |  /* {FAULT} */\n 2)   app-930   =>   ls-931\n 2)               |  /* {FAULT} */\n"
    assert [(event.thread, event.name, event.cpu) for event in parsed(text)] == [(-4, "cpu 2", 2), (931, "ls", 2)]


def test_hardware_events_between_are_counted_by_their_names():
    """07-perf-period-column and perf record -e cycles,tlb:tlb_flush."""
    text = "app  22 [002] 811.1:     250000 cycles:u:      7f0000001040 main+0x10 (/bin/app)\n" + LAYOUTS["perf, with the period"].format(
        FAULT
    )
    lines = Lines(bytes_source((text + text.replace("cycles:u", "cpu/cycles/P")).encode()))
    assert [event.kind for event in lines.events()] == [f.FAULT, f.FAULT]
    assert lines.unknown == {"cpu": 1, "u": 1}


def test_a_line_without_a_thread_is_refused_with_the_way_out():
    with pytest.raises(TraceError, match=r"line 1: no thread number \(perf script -F \+tid\)"):
        parsed("app [002] 811.100001: tlb:tlb_flush: pages:1 reason:local MM shootdown (3)\n")


@pytest.mark.parametrize("line, lost", [
    ("# entries-in-buffer/entries-written: 2/26317372   #P:8", 26317370), ("CPU:1 [LOST 123 EVENTS]", 123), ("CPU:1 [LOST EVENTS]", 1),
    ("CPU:0 [7 EVENTS DROPPED]", 7), ("CPU:0 [EVENTS DROPPED]", 1), ("overrun: 12", 12), ("dropped events: 3", 3), ("commit overrun: 3", 0),
    ("app 22/22 [001] 1.0: PERF_RECORD_LOST lost 5", 5),
])  # fmt: skip
def test_what_was_lost(line, lost):
    """06-ring-buffer-overrun."""
    lines = Lines(bytes_source((line + "\n" + LAYOUTS["ftrace"].format(FAULT)).encode()))
    assert len(list(lines.events())) == 1 and lines.lost == lost


def hand_out(text, place, names, rows, latest, longest):
    """As the scanner, if it were sure of no line."""
    p, data = place[0], text.tobytes()
    while p["at"] < p["end"] and p["rows"] < rows.size:
        end = data.index(b"\n", p["at"])
        p["line"] += 1
        for name, value in (("kind", scan.HANDED_OUT), ("at", p["at"]), ("end", end), ("line", p["line"])):
            rows[name][p["rows"]] = value
        p["at"], p["rows"] = end + 1, p["rows"] + 1


def outcome(data):
    """Everything that reading lines gives, with the line of each event."""
    lines, found = Lines(bytes_source(data)), []
    try:
        for event in lines.events():
            found.append((lines.line, event))
    except TraceError as error:
        return found, str(error)
    return found, lines.unknown, lines.lost, lines.line, lines.comments, lines.cut, lines.known


@pytest.mark.parametrize("seed", range(8))
def test_the_scanner_finds_what_the_patterns_find(seed, monkeypatch):
    rng = random.Random(seed)
    texts = [layout.format(text) for layout in LAYOUTS.values() for text in [*EVENTS, "sched_wakeup: comm=a pid=1"]]
    texts += [line for name in FILES for line in (DATA / name).read_text().splitlines(keepends=True)]
    for _ in range(20):
        data = bytearray("".join(rng.choices(texts, k=12)).encode())
        for _ in range(rng.choice((0, 1, 2, 6))):
            at, piece = rng.randrange(len(data)), rng.randrange(len(data))
            data[at : at + rng.choice((0, 1, 8))] = rng.choice((bytes([rng.choice(b" -:[]()09afx=,/.\n\t#\xc3")]), data[piece : piece + 9]))
        quick = outcome(bytes(data))
        with monkeypatch.context() as patched:
            patched.setattr(scan, "scan", hand_out)
            assert outcome(bytes(data)) == quick


NAMED = ("mmap", "munmap", "futex", "exit_group", "exit", "enter", "clone3", "exit_mmap", "enter_brk")


def call_by_name(rng, call):
    """A line of a system call by its name, mostly as a tool prints it."""

    def number():
        digits = "".join(rng.choices("0123456789abcdef", k=rng.choice((1, 1, 4, 12, 15, 16, 16, 17 if rng.random() < 0.1 else 8))))
        return rng.choice(("0x", "0x", "")) + digits

    comma = ", " if rng.random() < 0.9 else rng.choice((",", " ,", " ", ",  ", ": "))
    arguments = comma.join(f"{rng.choice(('addr', 'len_in', 'x9'))}: {number()}" for _ in range(rng.choice((0, 2, 3, *[6] * 40, 7))))
    behind = rng.choice(("", "", "", " ", "  ", "\t", " a: 1", ' "b: 2"', "      7f0000401000 main+0x10 (/bin/prog)"))
    return rng.choice((
        f"sys_enter_{call}: {arguments}{behind}", f"sys_enter_{call}:{' ' * rng.randrange(9)}{arguments}",
        f"sys_{call}({arguments}){behind}", f"sys_exit_{call}: {number()}{behind}", f"sys_{call} -> {number()}{behind}",
        f"sys_exit_{call}: -{rng.randrange(99)}",
    ))  # fmt: skip


def test_the_scanner_finds_what_the_patterns_find_in_calls_by_name(monkeypatch):
    """Each name has been met before; and with each refusal, the lines before it."""
    rng, agreed, scanned = random.Random(14), 0, 0
    slow = Lines._slow
    monkeypatch.setattr(scan, "ROWS", 4)
    for _ in range(200):
        layout = LAYOUTS[rng.choice(("ftrace", "ftrace, with the process", "trace-cmd", "perf"))]
        met = ("sys_enter_{}: " + ", ".join(["a: 1"] * 6), "sys_exit_{}: 0", "sys_{}(" + ", ".join(["a: 1"] * 6) + ")", "sys_{} -> 0")
        texts = [text.format(call) for call in NAMED for text in met]
        texts += [call_by_name(rng, rng.choice(NAMED)) for _ in range(20)]
        data = "".join(map(layout.format, texts)).encode()
        handed_out = []
        with monkeypatch.context() as patched:
            patched.setattr(Lines, "_slow", lambda self, line, kept=handed_out: kept.append(line) or slow(self, line))
            quick = outcome(data)
        with monkeypatch.context() as patched:
            patched.setattr(scan, "scan", hand_out)
            assert outcome(data) == quick
        agreed += len(quick[0])
        scanned += len(quick[0]) - len(handed_out)
    assert agreed > 9000 and scanned > 1000, (agreed, scanned)


def test_a_line_that_the_scanner_takes_may_be_too_long_too():
    with pytest.raises(TraceError, match=r"^bytes: line 2: longer than 8192 bytes$"):
        parsed(LAYOUTS["ftrace"].format("sys_exit: NR 1 = 2") + LAYOUTS["ftrace"].format("sys_exit: NR 1 = 2" + " " * 9000))


def test_threads_of_one_number_with_several_names_keep_them():
    """The scanner finds out who is like whom by the thread's number: 256 apart is the same place in its table."""
    rng, layout, text = random.Random(3), "{:>16}-{} ({:>7}) [000] ..... 25.000123: sys_exit: NR 1 = 2\n", ""
    expected = [(rng.choice("ab"), rng.choice((7, 263)), rng.choice((7, 8))) for _ in range(500)]
    text = "".join(layout.format(*who) for who in expected)
    assert [(event.name, event.thread, event.process) for event in parsed(text)] == expected


def test_the_scanner_takes_the_commonest_lines(monkeypatch):
    """Those that name what they are of, once it has met the name."""
    common = ("page_fault_user", "page_fault_kernel", "sys_enter: NR 11", "sys_exit:", "tlb_flush", "kvm_unmap_hva_range", "sched_wakeup",
              "sys_enter_", "sys_exit_", "sys_madvise")  # fmt: skip
    texts = [*EVENTS, "sys_enter: NR 11 (7f0000000000, ffffffffffffffff, 0, 0, 0, 0)", "sched_wakeup: comm=a"]
    texts = [text for text in texts if text.startswith(common)]
    monkeypatch.setattr(scan, "ROWS", len(texts))
    slow = Lines._slow
    for name, layout in LAYOUTS.items():
        if name.startswith(("ftrace, with", "trace-cmd, with flags", "perf, with the process")) or name in ("ftrace", "trace-cmd", "perf"):
            lines, handed_out = Lines(bytes_source("".join(map(layout.format, texts * 2)).encode())), []
            with monkeypatch.context() as patched:
                patched.setattr(Lines, "_slow", lambda self, line, kept=handed_out: kept.append(self.line) or slow(self, line))
                assert len(list(lines.events())) == 2 * len(texts) - 2
            assert max(handed_out) <= len(texts), name
