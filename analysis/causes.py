"""Why a replay's counts differ from the kernel's, where the cause is known; other differences are called unexplained.

A cause that can be counted in the recording explains a number; a cause that cannot is named as possible.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hwmodel.measure.result import Result
    from hwmodel.trace import Trace

UNEXPLAINED = "unexplained"
VOID = "calls that asked or changed nothing are plain system calls"
THREADS = "the others began or ended threads"
LATE = "a task switch or another flush had done it already"
EXITED = "faults of an exiting process's last thread, after its exit began"
APART = "perhaps: Linux keeps stacks of threads apart from memory beside them (MAP_STACK: no huge pages); a trace does not tell them"
MAPPED = "perhaps: mapped in the model already: around an earlier fault, or by a fork of a VMA that it had merged"
LEAVING = "an exiting CPU is lazy: it leaves the address space where it would flush, which Linux does not trace"
OWN_CPU = "each thread has a CPU of its own in the model that it never leaves, asleep or not; Linux spares CPUs that have gone idle"
IDLE = "the virtual machine's idle vCPU is lazy in the mask of CPUs until page tables are freed; the recorded one had no vCPU"
MIGRATED = "perhaps: threads that had changed CPUs; the model's never do"


def of(operation: str, count: str, difference: int, kernel: Mapping[str, int], trace: "Trace") -> str:
    """Return the causes of a difference, model - kernel.

    Parameters
    ----------
    operation, count : str
        The row of the replay's table.
    difference : int
        The difference to explain; 0 needs no cause.
    kernel : mapping
        The kernel's counts for the operation.
    trace : Trace
        The recording; its info has the reader's counts.

    Returns
    -------
    str
        Causes separated by semicolons; empty if there is no difference.
    """
    if not difference:
        return ""
    named, rest = [], difference
    for cause, number in _counted(operation, count, kernel, trace):
        if number:
            named.append(f"{number:+,}: {cause}")
            rest -= number
    if rest:
        possible = _possible(operation, count, rest)
        named.append(f"{rest:+,}: {possible or UNEXPLAINED}")
    return "; ".join(named)


def of_interrupts(kernel: int, result: "Result", trace: "Trace") -> str:
    """Return the cause of a difference in the number of interrupts."""
    difference = result.counters["ipis.sent"] - kernel
    if not difference:
        return ""
    threads, devices = (sum(agent.role == role for agent in trace.agents) for role in ("cpu", "device"))
    if 0 < difference <= devices:
        return f"{difference:+,}: {IDLE}"
    return f"{difference:+,}: {(OWN_CPU if threads > 1 else UNEXPLAINED) if difference > 0 else MIGRATED}"


def _counted(operation: str, count: str, kernel: Mapping[str, int], trace: "Trace") -> Iterator[tuple[str, int]]:
    """Yield the causes that the recording counts, each with its part of the difference."""
    if count == "operations":
        recorded = trace.info.get("operations")
        name = {"clone": "fork"}.get(operation, operation)
        read = recorded.get(name, 0) if isinstance(recorded, Mapping) else 0
        yield THREADS if operation in ("clone", "exit") else VOID, read - kernel.get("calls", 0)
    elif count == "faults":
        yield EXITED, -int(trace.info.get("faults_left_out", 0))
    elif count == "ranged flushes":
        yield LATE, kernel.get("flushes.late", 0)


def _possible(operation: str, count: str, rest: int) -> str:
    """Return a cause that would have this sign but that the recording does not count; empty if there is none."""
    fewer = operation in ("clone", "mprotect")  # one notice per VMA; an munmap that cuts a VMA announces the 2 MiB around the cut
    if count == "notices" and ((fewer and rest < 0) or (operation == "munmap" and rest > 0)):
        return APART
    if count == "full flushes" and operation == "exit" and rest > 0:
        return LEAVING
    return MAPPED if count == "faults" and rest < 0 else ""
