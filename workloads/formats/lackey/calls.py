"""The system calls in a valgrind log (`--trace-syscalls=yes`): one line, or two if the call may block or another runs meanwhile."""

import re
from dataclasses import dataclass

from workloads.formats.assembly import Assembly
from workloads.formats.syscalls import ARGUMENTS, EXECVE

CALL = re.compile(r"SYSCALL\[(\d+),\s*(\d+)\]\(\s*(\d+)\)\s?(.*)", re.DOTALL)
RESULT = re.compile(r"-->\s*(?:\[\S+\]\s*)?(Success|Failure)\(0x([0-9a-f]+)\S*\)\s*$")
LIST = re.compile(r"\(\s(.*)\s\)")
CHILD = re.compile(r"created child (\d+)\s*$")
PATH = re.compile(r"0x[0-9a-f]+\((.*)\)")
FAILED = -1  # the kind of error does not matter


@dataclass
class Fork:
    """A system call that made a process."""

    pid: int


class Calls:
    """The calls of one process's log.

    Parameters
    ----------
    run : Assembly
        Receives the calls.
    agent : int
        The agent that makes them.
    """

    def __init__(self, run: Assembly, agent: int) -> None:
        self._run, self._agent = run, agent
        self._waiting: dict[str, tuple[int, str]] = {}
        self._open: tuple[int, str] | None = None

    def line(self, text: str) -> Fork | None:
        """Handle a log line; return the fork that it completes, if any; raise ValueError if it is garbled."""
        call = CALL.match(text)
        if call is None:
            return self._continue(text)
        thread, number, rest = call[2], int(call[3]), call[4]
        result = RESULT.search(rest)
        if result is None:
            self._begin(thread, number, rest)
            return None
        if rest.startswith("... "):
            number, rest = self._waiting.pop(thread, (number, ""))
        return self._end(number, rest, result)

    def has_replaced(self) -> bool:
        """Return whether the log ends with a successful execve, which has no result in the log."""
        return self._open is not None and self._open[0] == EXECVE

    def _begin(self, thread: str, number: int, rest: str) -> None:
        """Begin a call whose result is on a later line."""
        if rest.rstrip().endswith("[async] ..."):
            self._waiting[thread] = number, rest
        else:
            self._open = number, rest

    def _continue(self, text: str) -> Fork | None:
        """Handle a line with only the result of the call before; a child's first line is its parent's second."""
        result = RESULT.match(text.strip())
        if result is None:
            raise ValueError
        (number, rest), self._open = self._open or (-1, ""), None
        return None if number == -1 else self._end(number, rest, result)

    def _end(self, number: int, rest: str, result: re.Match[str]) -> Fork | None:
        child = CHILD.search(rest)
        if result[1] == "Failure":
            self._run.call(self._agent, number, (), FAILED)
        elif child:
            return Fork(int(child[1]))
        else:
            path = PATH.search(rest)
            args = _integers(rest) if number in ARGUMENTS else []
            self._run.call(self._agent, number, args, int(result[2], 16), path[1] if path else None)
        return None


def _integers(rest: str) -> list[int]:
    """Return the arguments of a call, without its strings; raise ValueError if they are garbled."""
    arguments = LIST.search(rest)
    if arguments is None:
        raise ValueError
    return [int(argument.split("(")[0], 0) for argument in arguments[1].split(", ")]
