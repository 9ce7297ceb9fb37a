"""What is lost on reading a recording, or not sure: told once, with counts."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from hwmodel.op import TraceWarning
from workloads.formats.kernel.facts import way

KERNEL_MEMORY = "{} accesses to the kernel's memory are left out"
TOLD = {
    "lost_events": "the kernel lost {} events: what it did then is missing",
    "threads_without_process": f"no process ids: threads {{}} are taken as a process each ({way('processes', 'joins some')})",
    "threads_joined_by_name": "no process ids: threads {} are taken as vCPUs of one virtual machine by their names",
    "events_without_thread": "{} events have no thread: each CPU's are taken as a thread's of one process (see options/funcgraph-proc)",
    "guest_memory_not_known":
        f"{{}} guest page faults are left out: where guest memory lies is not known ({way('guest_base', 'tells it')})",
    "guest_faults_outside": "{} guest page faults are left out: no memory of the guest is known at their addresses",
    "invalidations_of_nobody": "{} invalidations are left out: whose memory they are of is not known",
    "no_event_of_use": "none of its {} events is of use",
    "only_counted": "none of its {} events becomes a record: they are only counted",
    "faults_left_out": "{} page faults are left out: their process has ended, or has no agent",
    "calls_without_beginning": "{} system calls are left out: their beginning is missing",
    "munmaps_that_failed": "{} munmaps that failed are taken as done",
    "processes_left_out": "{} processes are left out: a trace has no more agents",
    "forks_left_out": "{} forks are left out: a trace has no more agents",
    "threads_that_share_an_agent": "{} threads share the agent of another: a trace has no more agents",
    "forks_not_followed": "{} forked processes were not recorded",
    "forked_without_log": "{} forked processes have no log of their own (valgrind's --log-file=NAME.%p gives them one)",
    "kernel_addresses": KERNEL_MEMORY,
    "kernel_accesses_left_out": KERNEL_MEMORY,
    "kernel_left_out": KERNEL_MEMORY,
    "prefetches_left_out": "{} prefetches are left out",
    "flushes_left_out": "{} flushes of cache lines are left out",
}  # fmt: skip
"""A sentence for each loss, by the name that it has in a trace's `info`."""
SHOWN = 8


def tell(name: str, info: Mapping[str, Any]) -> None:
    """Warn of each loss that a recording's `info` has."""
    for loss, sentence in TOLD.items():
        if info.get(loss):
            warnings.warn(f"{name}: {sentence.format(_shown(info[loss]))}", TraceWarning, stacklevel=3)


def _shown(value: int | Sequence[int]) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    more = [f"and {len(value) - SHOWN} more"] if len(value) > SHOWN else []
    return ", ".join([*map(str, value[:SHOWN]), *more])
