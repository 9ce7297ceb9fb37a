"""Reader of the kernel's trace events: programs' operations on memory, and calls of mmu notifiers.

Threads are CPU agents of their process's space. System calls become operations on memory at their end; a page fault
becomes one access, the one that faulted. Notifier calls within a recorded call or fault follow from it
and are only counted (`info["kernel_counts"]`, as returned by `kernel_counts`). Other notifier calls (reclaim, balancing, another process;
calls that were not recorded) are replayed as an operation with the same notice on the same range. An EPT violation becomes
an access of its vCPU, a device agent.
"""

import functools
import os
from collections.abc import Sequence

from hwmodel import op
from hwmodel.trace import Trace
from workloads.formats import passes
from workloads.formats.kernel.counts import Counts
from workloads.formats.kernel.facts import Facts
from workloads.formats.kernel.layouts import recognises
from workloads.formats.kernel.lines import Lines
from workloads.formats.kernel.run import DEFAULT, OUTSIDE_AS, Options, Run
from workloads.formats.kernel.survey import Survey
from workloads.streams import Source, file_source

__all__ = ["DEFAULT", "NAME", "Facts", "Options", "kernel_counts", "read", "read_kernel", "recognises"]
NAME = "ftrace"


def read_kernel(
    path: str | os.PathLike[str],
    events: bool = True,
    strict: bool = False,
    *,
    guest_base: int | None = None,
    outside: str = DEFAULT.outside,
    files_in_memory: bool = DEFAULT.files_in_memory,
    arch: str | None = None,
    processes: Sequence[Sequence[int]] = (),
) -> Trace:
    """Open a recording of the kernel's trace events, like `read`, with options.

    Parameters
    ----------
    path, events, strict :
        As of `workloads.read`.
    guest_base : int, optional
        Host address of guest address 0, for EPT violations. By default from the memslots listed in the recording;
        without either, violations are counted and left out.
    outside : "dontneed", "migrate" or "skip"
        Replacement for an invalidation outside of the recorded calls and faults. "dontneed": an madvise of a CPU of its own, which is
        honest for reclaim: the pages are gone and fault in again. "migrate": a MIGRATE to node 0, for balancing, compaction
        and KSM, after which the pages are still there (the engine does not model it yet). "skip": it is only counted.
    files_in_memory : bool
        Whether mapped files are in the page cache from the beginning, as files of programs mostly are. They are
        then also mapped in an address space of their own, whose agent does nothing.
    arch : str, optional
        The machine whose numbers the system calls have: x86-64, i386, arm, arm64, riscv64. By default as the recording tells.
    processes : sequence of sequences of int
        The threads of each process, by number, where the recording's lines have no process ids; the first is the process's own number.
        By default as flushes and names tell.

    Raises
    ------
    TraceError
        If the file is of another format or a line of it is garbled; names the line.
    """
    if outside not in OUTSIDE_AS:
        raise op.TraceError(f"outside is one of {', '.join(OUTSIDE_AS)}, not {outside!r}")
    source = file_source(path, strict)
    if not recognises(source.head()):
        raise op.TraceError(f"{source.name}: not the kernel's trace events (ftrace, trace-cmd report, perf script)")
    return read(source, events, Options(guest_base, arch, processes, outside, files_in_memory))


def read(source: Source, events: bool = True, options: Options = DEFAULT) -> Trace:
    """Open a source that is recognised; see `read_kernel`."""
    survey = Survey(source, options.arch, options.processes)
    return passes.two_passes(source, functools.partial(Run, source, events, options, survey))


def kernel_counts(
    path: str | os.PathLike[str], *, arch: str | None = None, processes: Sequence[Sequence[int]] = ()
) -> dict[str, dict[str, int]]:
    """Return the kernel's work in a recording of its trace events, counted by operation.

    Parameters
    ----------
    path : path
        Plain or compressed.
    arch, processes :
        As of `read_kernel`.

    Returns
    -------
    dict
        Counts, as defined by `workloads.formats.kernel.counts.COUNTS`, by operation ("mmap" ... "fault", "other call", "outside").

    Raises
    ------
    TraceError
        As of `read_kernel`.
    """
    facts = Facts(arch=arch, processes=processes)
    source = file_source(path)
    survey, counts = Survey(source, facts.arch, facts.processes), Counts()
    for event in Lines(source, survey.lists, survey.numbering).events():
        counts.note(event, survey.is_foreign(event))
    return counts.table()
