"""Numbers of system calls by architecture, and whose a recording's calls have; they become x86-64's, which `syscalls` takes.

Sources of the numbers: Linux, arch/x86/entry/syscalls/syscall_{64,32}.tbl; include/uapi/asm-generic/unistd.h for arm64 and RISC-V;
arch/arm/tools/syscall.tbl for 32-bit ARM (common and eabi).
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from hwmodel.op import PAGE
from workloads.formats.syscalls import WORD

NEGATIVE = (1 << 64) - (1 << 31)
"""From here on a register has a negative number of 32 bits."""
NOT_X86 = 1 << 16
"""Added to a call that needs no number of x86-64: it has no effect on memory."""


@dataclass(frozen=True)
class Numbering:
    """The numbers of one architecture.

    Parameters
    ----------
    name : str
        Its name, as `arch=` has it.
    calls : mapping
        x86-64's number of each call that matters, by this architecture's.
    words : bool
        Whether registers have 32 bits.
    in_pages : frozenset of int
        The calls whose sixth argument is in pages.
    """

    name: str
    calls: Mapping[int, int]
    words: bool = False
    in_pages: frozenset[int] = frozenset()

    def enter(self, number: int, arguments: Sequence[int]) -> tuple[int, ...]:
        """Return the number and arguments of a call's beginning as x86-64 has them."""
        if self.words:
            arguments = [argument & WORD for argument in arguments]
        if number in self.in_pages:
            arguments = [*arguments[:5], arguments[5] * PAGE]
        return self.number(number), *arguments

    def leave(self, number: int, result: int) -> tuple[int, int]:
        """Return the number and result of a call's end as x86-64 has them."""
        return self.number(number), result & WORD if self.words and not -4096 < result < 0 else result

    def number(self, number: int) -> int:
        """Return x86-64's number of a call."""
        return self.calls.get(number, number + NOT_X86)


class _Native(Numbering):
    def number(self, number: int) -> int:
        return number


NATIVE = (2, 9, 10, 11, 12, 25, 28, 32, 33, 56, 57, 58, 59, 60, 61, 72, 85, 231, 257, 292, 319, 322, 435)
X86_64 = _Native("x86-64", {number: number for number in NATIVE})
I386 = Numbering("i386", {
    1: 60, 2: 57, 5: 2, 8: 85, 11: 59, 41: 32, 45: 12, 55: 72, 63: 33, 91: 11, 114: 61, 120: 56, 125: 10, 163: 25, 190: 58, 192: 9,
    219: 28, 221: 72, 252: 231, 295: 257, 330: 292, 356: 319, 358: 322, 435: 435,
}, words=True, in_pages=frozenset({192}))  # fmt: skip
GENERIC = Numbering("arm64", {
    23: 32, 24: 292, 25: 72, 56: 257, 93: 60, 94: 231, 214: 12, 215: 11, 216: 25, 220: 56, 221: 59, 222: 9, 226: 10, 233: 28, 260: 61,
    279: 319, 281: 322, 435: 435,
})  # fmt: skip
ARM = Numbering("arm", {
    1: 60, 2: 57, 5: 2, 8: 85, 11: 59, 41: 32, 45: 12, 55: 72, 63: 33, 91: 11, 114: 61, 120: 56, 125: 10, 163: 25, 190: 58, 192: 9,
    220: 28, 221: 72, 248: 231, 322: 257, 358: 292, 385: 319, 387: 322, 435: 435,
}, words=True, in_pages=frozenset({192}))  # fmt: skip
NUMBERINGS = (X86_64, I386, GENERIC, ARM)
"""In the order in which they are taken if the calls fit several: those of 32-bit ARM differ from i386's in a few calls only."""
MAPPINGS = frozenset(number for numbering in NUMBERINGS for number, of_x86 in numbering.calls.items() if of_x86 == 9)
"""The numbers that mmap has."""
TOGETHER = ((X86_64, I386), (GENERIC, ARM))
"""Numberings of which one kernel has both: its programs may have 32 bits."""
MACHINES = {
    "x86-64": X86_64, "x86_64": X86_64, "amd64": X86_64, "i386": I386, "i586": I386, "i686": I386, "x86": I386,
    "arm": ARM, "armhf": ARM, "armv6l": ARM, "armv7l": ARM, "armv8l": ARM,
    "arm64": GENERIC, "aarch64": GENERIC, "riscv": GENERIC, "riscv64": GENERIC, "loongarch64": GENERIC,
}  # fmt: skip
"""Numberings by the name of a machine: as `arch=` and as uname -m have it."""


def _is_mapping(args: Sequence[int], result: int) -> bool:
    return args[1] > 0 and _is_protection(args[2]) and args[3] & 3 != 0 and result > 0 and result % PAGE == 0


def _is_unmapping(args: Sequence[int], result: int) -> bool:
    return result == 0 and args[0] > 0 and args[0] % PAGE == 0 and args[1] > 0


def _is_wide(args: Sequence[int], result: int) -> bool:
    """Return whether a call has a value that no register of 32 bits holds."""
    return any(WORD < value < NEGATIVE for value in (*args, result))


def _is_change(args: Sequence[int], result: int) -> bool:
    return result == 0 and args[0] % PAGE == 0 and args[0] > 0 and _is_protection(args[2])


def _is_advice(args: Sequence[int], result: int) -> bool:
    return result == 0 and args[0] % PAGE == 0 and args[0] > 0 and args[2] & WORD <= 102


def _is_break(args: Sequence[int], result: int) -> bool:
    return result > 1 << 16 and (not args[0] or args[0] > 1 << 16)


def _is_move(args: Sequence[int], result: int) -> bool:
    return args[0] > 0 and args[0] % PAGE == 0 and result > 0 and result % PAGE == 0


def _is_open(args: Sequence[int], result: int) -> bool:
    return args[0] & WORD == WORD - 99 and 0 <= result < 1 << 24  # AT_FDCWD


def _is_protection(prot: int) -> bool:
    return not prot & WORD & ~0x0300001F


CHECKS: dict[int, Callable[[Sequence[int], int], bool]] = {
    9: _is_mapping, 10: _is_change, 11: _is_unmapping, 12: _is_break, 25: _is_move, 28: _is_advice, 257: _is_open,
    56: lambda args, result: result > 0 and args[0] < 1 << 33,
    57: lambda args, result: result > 0,
    60: lambda args, result: False,  # a call that does not return
    231: lambda args, result: False,
}  # fmt: skip
"""What the arguments and result of a successful call look like, by x86-64's number."""
WEAK = (57, 56)
"""Calls of which any call with a positive result may look to be one."""
CONTRADICTIONS = 3
"""Calls that can't be of a numbering before a recording is refused as another architecture's."""


@dataclass
class Evidence:
    """What completed calls tell about their numbering: calls that look right, and wrong, by numbering."""

    right: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    strange: int = 0
    """Calls that look like an mmap, with a number that is mmap's nowhere here."""

    def note(self, enter: Sequence[int], leave: Sequence[int]) -> None:
        """Note a call's beginning and end, as recorded."""
        if leave[1] < 0 and leave[1] > -4096:
            return
        self.strange += len(enter) == 7 and enter[0] not in MAPPINGS and _is_mapping(enter[1:], leave[1])
        for numbering in NUMBERINGS:
            if enter[0] not in numbering.calls:
                continue
            if numbering.words and _is_wide(enter[1:], leave[1]):
                self.wrong[numbering.name] += 1
                continue
            number, *arguments = numbering.enter(enter[0], enter[1:])
            check = CHECKS.get(number)
            if check is None:
                continue
            fits = check(arguments, numbering.leave(*leave)[1])
            if not fits:
                self.wrong[numbering.name] += 1
            elif number not in WEAK:
                self.right[numbering.name] += 1

    def add(self, other: "Evidence") -> None:
        """Add the evidence of other calls."""
        self.right.update(other.right)
        self.wrong.update(other.wrong)
        self.strange += other.strange

    def best(self) -> Numbering | None:
        """Return the numbering that the calls have, None if they do not tell."""
        chosen = max(NUMBERINGS, key=self._score)  # x86-64 is the first of equals
        return chosen if self.right[chosen.name] and self._score(chosen) > 0 else None

    def is_foreign(self) -> bool:
        """Return whether the calls are of none of these numberings."""
        return self.best() is None and (self.strange > 0 or (not self.right and self.wrong[X86_64.name] >= CONTRADICTIONS))

    def _score(self, numbering: Numbering) -> int:
        return self.right[numbering.name] - self.wrong[numbering.name]


def mapped_range(enter: Sequence[int], leave: Sequence[int]) -> tuple[int, int] | None:
    """Return the range [first byte, end) that a call has mapped, whatever its numbering; None if it is no such call."""
    for numbering in NUMBERINGS:
        number, *arguments = numbering.enter(enter[0], enter[1:])
        result = numbering.leave(*leave)[1]
        if number == 9 and len(arguments) == 6 and result > 0 and _is_mapping(arguments, result):
            return result, result + arguments[1]
    return None
