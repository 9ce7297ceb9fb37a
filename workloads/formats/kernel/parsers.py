"""Parsers of the kernel's events by their names: what each is, and its numbers. Numbers of system calls by name are x86-64's."""

import re
from collections.abc import Callable

from hwmodel.op import PAGE
from workloads.formats.kernel import masks

ENTER, LEAVE, FAULT, FLUSH, IPI, UNMAP, AGE, GUEST_FAULT, NEW_TASK, FORKED, EXEC, ENDED = range(12)
"""Kinds of events, with their numbers: ENTER (call, arguments ...), LEAVE (call, result), FAULT (address, error code, 1 if in
user mode), FLUSH (pages or -1, reason), IPI (targets, 1 if its callback is a flush), UNMAP and AGE (first byte, end),
GUEST_FAULT (vCPU or -1, guest address, error code), NEW_TASK (thread, clone flags), FORKED (thread), EXEC (), ENDED (thread)."""

CALLS = {
    "open": 2, "mmap": 9, "mprotect": 10, "munmap": 11, "brk": 12, "mremap": 25, "madvise": 28, "dup": 32, "dup2": 33, "clone": 56,
    "fork": 57, "vfork": 58, "execve": 59, "exit": 60, "fcntl": 72, "creat": 85, "exit_group": 231, "openat": 257, "dup3": 292,
    "memfd_create": 319, "execveat": 322, "clone3": 435,
}  # fmt: skip
"""System calls whose numbers matter; a call with another name has number OTHER."""
OTHER = -1
RAW = ("sys_enter", "sys_exit")
"""Events of system calls by number; others name the call."""


def parse(name: str, rest: str) -> tuple[int, tuple[int, ...]] | None:
    """Return (kind, numbers) of an event from its name and the text after it, or None if it is of no use. ValueError if it is garbled."""
    if name.startswith("sys_") and not rest.startswith(":"):  # ftrace's own format of a call known by name
        return _own_call(name[4:], rest)
    parser = PARSERS.get(name)
    if parser is not None:
        return parser(rest)
    if name.startswith("sys_enter_"):
        return _enter(name[10:], rest)
    return (LEAVE, (CALLS.get(name[9:], OTHER), _result(rest[1:]))) if name.startswith("sys_exit_") else None


def _own_call(call: str, rest: str) -> tuple[int, tuple[int, ...]]:
    """Parse `sys_mmap(addr: 0, ..)` or `sys_mmap -> 0x..`."""
    if rest.startswith(" ->"):
        return LEAVE, (CALLS.get(call, OTHER), _result(rest[3:]))
    if not rest.startswith("(") or not rest.rstrip().endswith(")"):
        raise ValueError
    return _enter(call, rest)


def _enter(call: str, rest: str) -> tuple[int, tuple[int, ...]]:
    """Parse a call's beginning: its arguments are named hexadecimal numbers."""
    number = CALLS.get(call, OTHER)
    arguments = tuple(int(value, 16) for value in ARGUMENT.findall(rest))
    if len(arguments) < NEEDED.get(number, 0):
        raise ValueError
    return ENTER, (number, *arguments)


ARGUMENT = re.compile(r"\w+: (?:0x)?([0-9a-f]+)(?![^\s,)])")
NEEDED = {9: 6, 10: 3, 11: 2, 12: 1, 25: 3, 28: 3, 56: 1, 32: 1, 33: 2, 292: 2, 72: 2}
"""Number of arguments without which a call is useless."""
PATH = re.compile(r'filename: 0x[0-9a-f]+ "((?:[^"\\]|\\.)*)"')


def path(rest: str) -> str:
    """Return the path of the file that a call opens, if the text has it."""
    found = PATH.search(rest)
    return found[1] if found else ""


def _result(text: str) -> int:
    text = text.split()[0]
    return int(text) if text.startswith("-") else _signed(int(text, 16))


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _matched(kind: int, pattern: str, *bases: int) -> Callable[[str], tuple[int, tuple[int, ...]]]:
    """Return a parser of events whose fields are the groups of a pattern, in these bases."""
    compiled = re.compile(pattern)

    def parse_fields(rest: str) -> tuple[int, tuple[int, ...]]:
        found = compiled.match(rest)
        if found is None:
            raise ValueError
        return kind, tuple(int(text, base) for text, base in zip(found.groups(), bases, strict=True))

    return parse_fields


def _raw_enter(rest: str) -> tuple[int, tuple[int, ...]]:
    found = re.match(r":\s+NR (-?\d+) \(([0-9a-f, ]*)\)(?!\S)", rest)
    if found is None:
        raise ValueError
    arguments = tuple(int(value, 16) for value in found[2].split(","))
    if len(arguments) != 6:
        raise ValueError
    return ENTER, (int(found[1]), *arguments)


def _fault(user: int) -> Callable[[str], tuple[int, tuple[int, ...]] | None]:
    pattern = re.compile(r":\s+(?:\w+ page fault, )?address=(\S+) (?:ip|epc)=.*?\s(error_code|cause)=(?:0x)?([0-9a-f]+)(?!\S)")
    number = re.compile(r"(?:0x)?([0-9a-f]+)$")

    def parse_fault(rest: str) -> tuple[int, tuple[int, ...]] | None:
        found = pattern.match(rest)
        if found is None:
            raise ValueError
        address = number.match(found[1])
        if address is None:  # a symbol of the kernel
            return None
        code = int(found[3], 16)
        return FAULT, (int(address[1], 16), CAUSES.get(code, 0) if found[2] == "cause" else _error_code(code), user)

    return parse_fault


READ_CODE, WRITE_CODE, FETCH_CODE = 4, 6, 0x14
CAUSES = {0xC: FETCH_CODE, 0xD: READ_CODE, 0xF: WRITE_CODE}
"""RISC-V's causes of page faults (the privileged architecture's scause) as error codes of x86."""
ABORTS = {0x20: FETCH_CODE, 0x21: FETCH_CODE, 0x24: READ_CODE, 0x25: READ_CODE}
"""Exception classes of arm64's ESR_EL1, bits 31:26, as error codes of x86; bit 6 says that a data abort is a write, bit 8 not."""
INSTRUCTION_LENGTH = 1 << 25
"""Set in arm64's syndrome of each abort, never in an error code of x86."""


def _error_code(code: int) -> int:
    """Return an error code of x86; arm64 has its syndrome register there."""
    if not code & INSTRUCTION_LENGTH or code >> 26 not in ABORTS:
        return code
    return WRITE_CODE if code >> 26 >= 0x24 and code >> 6 & 5 == 1 else ABORTS[code >> 26]


def ipi_mask(rest: str, lists: bool = False) -> tuple[int, tuple[int, ...]]:
    """Parse an interrupt; `lists` decides where its CPUs may be a list or a bitmap."""
    found = masks.MASK.match(rest)
    if found is None:
        raise ValueError
    return IPI, (masks.targets(found, lists), int("callback=flush_tlb" in found[3]))


def _ipi(rest: str) -> tuple[int, tuple[int, ...]]:
    if re.match(r":\s+cpu=\d+ ", rest) is None:
        raise ValueError
    return IPI, (1, int("callback=flush_tlb" in rest))


def _guest_fault(rest: str) -> tuple[int, tuple[int, ...]]:
    new = re.match(r":\s+vcpu (\d+) rip (?:0x)?[0-9a-f]+ address (?:0x)?([0-9a-f]+) error_code (?:0x)?([0-9a-f]+)(?!\S)", rest)
    old = re.match(r":\s+address (?:0x)?([0-9a-f]+) error_code (?:0x)?([0-9a-f]+)(?!\S)", rest)
    if new:
        return GUEST_FAULT, (int(new[1]), int(new[2], 16), int(new[3], 16))
    if old is None:
        raise ValueError
    return GUEST_FAULT, (-1, int(old[1], 16), int(old[2], 16))


def _arm_guest_fault(rest: str) -> tuple[int, tuple[int, ...]]:
    found = re.match(r":\s+ipa 0x([0-9a-f]+),? hsr 0x([0-9a-f]+),? hxfar 0x([0-9a-f]+)", rest)
    if found is None:
        raise ValueError
    page, syndrome, address = (int(text, 16) for text in found.groups())
    return GUEST_FAULT, (-1, page & -PAGE | address % PAGE, _error_code(syndrome))


def _one_page(kind: int, what: str) -> Callable[[str], tuple[int, tuple[int, ...]]]:
    parse_address = _matched(kind, rf":\s+mmu notifier {what} hva: (?:0x)?([0-9a-f]+)(?!\S)", 16)

    def parse_page(rest: str) -> tuple[int, tuple[int, ...]]:
        _, (address,) = parse_address(rest)
        return kind, (address & -PAGE, (address & -PAGE) + PAGE)

    return parse_page


_RANGE = r"(?:0x)?([0-9a-f]+) -- (?:0x)?([0-9a-f]+)(?!\S)"
PARSERS: dict[str, Callable[[str], tuple[int, tuple[int, ...]] | None]] = {
    "sys_enter": _raw_enter,
    "sys_exit": _matched(LEAVE, r":\s+NR (-?\d+) = (-?\d+)(?!\S)", 10, 10),
    "page_fault_user": _fault(1),
    "page_fault_kernel": _fault(0),
    "tlb_flush": _matched(FLUSH, r":\s+pages[:=](-?\d+) reason[:=][^(]*\((\d+)\)(?!\S)", 10, 10),
    "ipi_send_cpu": _ipi,
    "ipi_send_cpumask": ipi_mask,
    "kvm_unmap_hva_range": _matched(UNMAP, rf":\s+mmu notifier unmap range: {_RANGE}", 16, 16),
    "kvm_age_hva": _matched(AGE, rf":\s+mmu notifier age hva: {_RANGE}", 16, 16),
    "kvm_test_age_hva": _one_page(AGE, "test age"),
    "kvm_set_spte_hva": _one_page(UNMAP, "set pte"),
    "kvm_page_fault": _guest_fault,
    "kvm_guest_fault": _arm_guest_fault,
    "task_newtask": _matched(NEW_TASK, r":\s+pid=(\d+) comm=.* clone_flags=(?:0x)?([0-9a-f]+) ", 10, 16),
    "sched_process_fork": _matched(FORKED, r":\s+comm=.* pid=\d+ child_comm=.* child_pid=(\d+)(?!\S)", 10),
    "sched_process_exec": _matched(EXEC, r":\s+filename="),
    "sched_process_exit": _matched(ENDED, r":\s+comm=.* pid=(\d+) prio=-?\d+", 10),
}
