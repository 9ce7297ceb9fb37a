"""What is lost on reading a recording, or not sure: told once, with counts."""

import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from hwmodel.op import TraceWarning
from workloads.formats.kernel.facts import way

KERNEL_MEMORY = "{} [access|accesses] to the kernel's memory [is|are] left out"
TOLD = {
    "lost_events": "the kernel lost {} [event|events]: what it did then is missing",
    "threads_without_process":
        f"no process ids: [thread {{}} is|threads {{}} are] taken as a process each ({way('processes', 'joins some')})",
    "threads_joined_by_name":
        "no process ids: [thread {} is taken as a vCPU|threads {} are taken as vCPUs] of one virtual machine by their names",
    "events_without_thread":
        "{} [event has|events have] no thread: each CPU's are taken as a thread's of one process (see options/funcgraph-proc)",
    "guest_memory_not_known":
        f"{{}} guest page [fault is|faults are] left out: where guest memory lies is not known ({way('guest_base', 'tells it')})",
    "guest_faults_outside":
        "{} guest page [fault is|faults are] left out: no memory of the guest is known at [its address|their addresses]",
    "invalidations_of_nobody": "{} [invalidation is|invalidations are] left out: whose memory was meant is not known",
    "no_event_of_use": "none of its {} [event|events] is of use",
    "only_counted": "none of its {} [event|events] becomes a record: they are only counted",
    "faults_left_out": "{} page [fault is|faults are] left out: the process has ended, or has no agent",
    "calls_without_beginning": "{} system [call is|calls are] left out: the beginning is missing",
    "mappings_not_told":
        "{} [mmap has its|mmaps have their] arguments in memory: what [it|they] mapped is taken from use",
    "munmaps_that_failed": "{} [munmap that failed is|munmaps that failed are] taken as done",
    "processes_left_out": "{} [process is|processes are] left out: a trace has no more agents",
    "forks_left_out": "{} [fork is|forks are] left out: a trace has no more agents",
    "threads_that_share_an_agent": "{} [thread shares|threads share] the agent of another: a trace has no more agents",
    "forks_not_followed": "{} forked [process was|processes were] not recorded",
    "forked_without_log": "{} forked [process has|processes have] no log of their own (valgrind's --log-file=NAME.%p gives them one)",
    "kernel_addresses": KERNEL_MEMORY,
    "kernel_accesses_left_out": KERNEL_MEMORY,
    "kernel_left_out": KERNEL_MEMORY,
    "filtered": "most accesses are missing: those that hit the cache by which the recording was filtered (-L0_filter)",
    "instructions_only":
        "accesses to data are missing: by its file type only instructions were recorded (-instr_only_trace, -L0D_filter)",
    "prefetches_left_out": "{} [prefetch is|prefetches are] left out",
    "flushes_left_out": "{} [flush of a cache line is|flushes of cache lines are] left out",
}  # fmt: skip
"""A sentence for each loss, by the name that it has in a trace's `info`; [of one|of more] where it depends on the count."""
CHOICE = re.compile(r"\[([^|\]]*)\|([^\]]*)\]")
SHOWN = 8


def tell(name: str, info: Mapping[str, Any]) -> None:
    """Warn of each loss that a recording's `info` has."""
    for loss, sentence in TOLD.items():
        if info.get(loss):
            warnings.warn(f"{name}: {_worded(sentence, info[loss])}", TraceWarning, stacklevel=3)


def _worded(sentence: str, value: int | Sequence[int]) -> str:
    """Return a loss's sentence for its count."""
    count = value if isinstance(value, int) else len(value)
    return CHOICE.sub(lambda found: found[1] if count == 1 else found[2], sentence).format(_shown(value))


def _shown(value: int | Sequence[int]) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    more = [f"and {len(value) - SHOWN} more"] if len(value) > SHOWN else []
    return ", ".join([*map(str, value[:SHOWN]), *more])
