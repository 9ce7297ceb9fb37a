"""Numbers of system calls by architecture; they become x86-64's, which `syscalls` takes. Whose a recording has, `evidence` tells.

Sources of the numbers: Linux, arch/x86/entry/syscalls/syscall_{64,32}.tbl; include/uapi/asm-generic/unistd.h for arm64 and RISC-V;
arch/arm/tools/syscall.tbl for 32-bit ARM (common and eabi).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
    at : frozenset of int
        The calls whose first argument is a folder, which may be AT_FDCWD, of those that have a number of their own here.
    """

    name: str
    calls: Mapping[int, int]
    words: bool = False
    in_pages: frozenset[int] = frozenset()
    at: frozenset[int] = frozenset()

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
X86_64 = _Native("x86-64", {number: number for number in NATIVE}, at=frozenset({*range(257, 270), 280, 303, 316, 322, 332} - {266}))
I386 = Numbering("i386", {
    1: 60, 2: 57, 5: 2, 8: 85, 11: 59, 41: 32, 45: 12, 55: 72, 63: 33, 91: 11, 114: 61, 120: 56, 125: 10, 163: 25, 190: 58, 192: 9,
    219: 28, 221: 72, 252: 231, 295: 257, 330: 292, 356: 319, 358: 322, 435: 435,
}, words=True, in_pages=frozenset({192}), at=frozenset({*range(295, 308), 320, 341, 353, 358, 383, 412} - {304}))  # fmt: skip
GENERIC = Numbering("arm64", {
    23: 32, 24: 292, 25: 72, 56: 257, 93: 60, 94: 231, 214: 12, 215: 11, 216: 25, 220: 56, 221: 59, 222: 9, 226: 10, 233: 28, 260: 61,
    279: 319, 281: 322, 435: 435,
}, at=frozenset({33, 34, 35, 37, 38, 48, 53, 54, 56, 78, 79, 88, 264, 276, 281, 291}))  # fmt: skip
ARM = Numbering("arm", {
    1: 60, 2: 57, 5: 2, 8: 85, 11: 59, 41: 32, 45: 12, 55: 72, 63: 33, 91: 11, 114: 61, 120: 56, 125: 10, 163: 25, 190: 58, 192: 9,
    220: 28, 221: 72, 248: 231, 322: 257, 358: 292, 385: 319, 387: 322, 435: 435,
}, words=True, in_pages=frozenset({192}), at=frozenset({*range(322, 335), 348, 370, 382, 387, 397, 412} - {331}))  # fmt: skip
NUMBERINGS = (X86_64, I386, GENERIC, ARM)
"""In the order in which they are taken if the calls fit several: those of 32-bit ARM differ from i386's in a few calls only."""
COMMON = 424
"""From this number on, calls have the same everywhere."""
OLD_MMAP = 90
"""The mmap of i386 and s390, whose six arguments are in memory: its events have but their address."""
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
