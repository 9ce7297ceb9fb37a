"""Facts of a recording of the kernel's events that its file has no evidence of, and that a caller therefore tells."""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hwmodel.config.errors import shown, suggestion
from hwmodel.op import MOST_USER_END, PAGE, TraceError
from workloads.formats.numbers import MACHINES

SPELLED = {"guest_base": "--guest-base", "arch": "--arch", "processes": "--process"}
"""The facts, by the names that they have in calls and in files of experiments, and the options of the command line that tell them."""


@dataclass(frozen=True)
class Facts:
    """What a caller tells of a recording.

    Parameters
    ----------
    guest_base : int, optional
        Host address of guest address 0.
    arch : str, optional
        The machine whose numbers its system calls have.
    processes : sequence of sequences of int
        The threads of each process, by number; the first is the process's own.

    Raises
    ------
    TraceError
        If one of them can't be meant.
    """

    guest_base: int | None = None
    arch: str | None = None
    processes: Sequence[Sequence[int]] = ()

    def __post_init__(self) -> None:
        check({name: getattr(self, name) for name in SPELLED})

    def refuse(self, name: str, format: str) -> None:
        """Raise TraceError if anything is told, since the file of that name is of another format."""
        for option, spelled in SPELLED.items():
            value = getattr(self, option)
            if value is not None and (option != "processes" or len(value)):
                raise TraceError(f"{name}: {option} ({spelled}) is for the text of the kernel's events; this is {format}")


def check(given: Mapping[str, Any], spelled: Callable[[str], str] = str) -> None:
    """Raise TraceError, in one line that names it as `spelled` does, if a fact can't be meant."""
    for option, value in given.items():
        reason = CHECKS[option](value)
        if reason:
            raise TraceError(f"{spelled(option)}: {reason}")


def way(option: str, does: str) -> str:
    """Return how a fact is told, for messages: in a call, and on the command line."""
    return f"{option}= {does}, on the command line {SPELLED[option]}"


def _guest_base(value: Any) -> str:
    is_address = value is None or (_is_whole(value) and 0 <= value < MOST_USER_END and value % PAGE == 0)
    return "" if is_address else f"must be where a page of user memory begins, a multiple of {PAGE:#x} below 2^56, not {_number(value)}"


def _arch(value: Any) -> str:
    if value is None or (isinstance(value, str) and value in MACHINES):
        return ""
    known = f"there are {', '.join(MACHINES)}"
    return f"there is no {shown(value)}{suggestion(value, MACHINES) if isinstance(value, str) else ''}; {known}"


def _processes(value: Any) -> str:
    if not _is_list(value) or not all(_is_list(threads) and len(threads) for threads in value):
        return f"must be a list with the numbers of each process's threads, as [[501, 502], [600]], not {shown(value)}"
    seen = set[int]()
    for thread in (thread for threads in value for thread in threads):
        if not _is_whole(thread) or thread < 1:
            return f"a thread's number is a whole number from 1 on, not {shown(thread)}"
        if thread in seen:
            return f"thread {thread} is there twice"
        seen.add(thread)
    return ""


CHECKS: dict[str, Callable[[Any], str]] = {"guest_base": _guest_base, "arch": _arch, "processes": _processes}
"""For each fact, a function that returns why a value can't be meant, or an empty text."""


def _is_whole(value: Any) -> bool:
    try:
        operator.index(value)
    except TypeError:
        return False
    return not isinstance(value, bool)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _number(value: Any) -> str:
    return f"{value:#x}" if _is_whole(value) and abs(value) < 1 << 64 else shown(value)
