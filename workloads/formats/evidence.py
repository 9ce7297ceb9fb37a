"""Whose numbers of `numbers` a recording's system calls have, by their arguments and results."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hwmodel.op import PAGE
from workloads.formats.numbers import COMMON, I386, MAPPINGS, NEGATIVE, NUMBERINGS, OLD_MMAP, X86_64, Numbering
from workloads.formats.syscalls import WORD

AT_FDCWD = WORD - 99
"""The first argument, -100 in 32 bits, of a call on a path that begins in the current folder: no other call has it."""
LEAST_FLAGS, SIGNALS = 0x100, (0, 17)
"""Flags of a clone begin above its signal, which is none or SIGCHLD."""


def _is_mapping(args: Sequence[int], result: int) -> bool:
    return args[1] > 0 and _is_protection(args[2]) and args[3] & 0xF != 0 and result > 0 and result % PAGE == 0


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


def _is_open(args: Sequence[int], result: int) -> bool | None:
    """Return whether a call with a folder's number may open a file: any two small numbers look like that."""
    return None if args[0] & WORD < 1 << 24 and 0 <= result < 1 << 24 else False


def _is_clone(args: Sequence[int], result: int) -> bool | None:
    if result <= 0 or args[0] >= 1 << 33:
        return False
    return True if args[0] & 0xFF in SIGNALS and args[0] >= LEAST_FLAGS else None


def _is_fork(args: Sequence[int], result: int) -> bool | None:
    return None if result > 0 else False


def _never(args: Sequence[int], result: int) -> bool:
    """Return False: the call does not return."""
    return False


def _is_protection(prot: int) -> bool:
    return not prot & WORD & ~0x0300003F


CHECKS: dict[int, Callable[[Sequence[int], int], bool | None]] = {
    9: _is_mapping, 10: _is_change, 11: _is_unmapping, 12: _is_break, 25: _is_move, 28: _is_advice, 257: _is_open,
    56: _is_clone, 57: _is_fork, 58: _is_fork, 60: _never, 231: _never,
}  # fmt: skip
"""Whether a successful call looks like one that it would be, by x86-64's number; None: any call may look like that."""
ON_RANGES = (9, 10, 11, 25, 28)


@dataclass
class Evidence:
    """What completed calls tell about their numbering: calls that look right, and wrong, by numbering."""

    right: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    strange: int = 0
    """Calls that have no such number in any of the numberings, or not with so wide registers."""

    def note(self, enter: Sequence[int], leave: Sequence[int]) -> None:
        """Note a call's beginning and end, as recorded."""
        number, args, result = enter[0], enter[1:], leave[1]
        if args and args[0] & WORD == AT_FDCWD:
            self._note_folder(number)
        elif not -4096 < result < 0:
            self._note_success(enter, leave)

    def _note_folder(self, number: int) -> None:
        if number >= COMMON:
            return
        for numbering in NUMBERINGS:
            (self.right if number in numbering.at else self.wrong)[numbering.name] += 1
        self.strange += not any(number in numbering.at for numbering in NUMBERINGS)

    def _note_success(self, enter: Sequence[int], leave: Sequence[int]) -> None:
        number, args, result = enter[0], enter[1:], leave[1]
        if number == OLD_MMAP and result % PAGE == 0 and result & WORD > 1 << 16:
            self.wrong[X86_64.name] += 1
            (self.wrong if _is_wide(args, result) else self.right)[I386.name] += 1
            self.strange += _is_wide(args, result)
        self.strange += len(enter) == 7 and number not in MAPPINGS and _is_mapping(args, result)
        for numbering in NUMBERINGS:
            if number in numbering.calls:
                self._note_call(numbering, enter, leave)

    def _note_call(self, numbering: Numbering, enter: Sequence[int], leave: Sequence[int]) -> None:
        if numbering.words and _is_wide(enter[1:], leave[1]):
            self.wrong[numbering.name] += 1
            here = numbering.number(enter[0])
            self.strange += here in ON_RANGES and bool(CHECKS[here](enter[1:], leave[1]))
            return
        number, *arguments = numbering.enter(enter[0], enter[1:])
        check = CHECKS.get(number)
        fits = check(arguments, numbering.leave(*leave)[1]) if check else None
        if fits is not None:
            (self.right if fits else self.wrong)[numbering.name] += 1

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
        return self.best() is None and (self.strange > 0 or self._score(X86_64) < 0)

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
