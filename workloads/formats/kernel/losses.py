"""What is lost on reading kernel events, or not sure: told once, with counts."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from hwmodel.op import TraceWarning

COUNTED = (
    "invalidations_of_nobody", "kernel_addresses", "guest_faults_left_out",
)  # fmt: skip
"""Counts, by the names that `info` has for them."""
TOLD = {
    "lost_events": "the kernel lost {} events: what it did then is missing",
    "threads_without_process": "no process ids: threads {} are taken as a process each (processes=, --process join some)",
    "threads_joined_by_name": "no process ids: threads {} are taken as vCPUs of one virtual machine by their names",
    "events_without_thread": "{} events have no thread: each CPU's are taken as a thread's of one process (see options/funcgraph-proc)",
    "guest_memory_not_known": "{} guest page faults are left out: where guest memory lies is not known (guest_base=, --guest-base)",
    "invalidations_of_nobody": "{} invalidations are left out: whose memory they are of is not known",
    "no_event_of_use": "none of its {} events is of use",
}
"""What is told. Kernel addresses, and those of a guest where it has no memory, are no user memory: they are only counted."""
SHOWN = 8


def tell(name: str, losses: Mapping[str, Any]) -> None:
    """Warn of each loss in a recording."""
    for loss, value in losses.items():
        if value and loss in TOLD:
            warnings.warn(f"{name}: {TOLD[loss].format(_shown(value))}", TraceWarning, stacklevel=2)


def _shown(value: int | Sequence[int]) -> str:
    if isinstance(value, int):
        return str(value)
    more = [f"and {len(value) - SHOWN} more"] if len(value) > SHOWN else []
    return ", ".join([*map(str, value[:SHOWN]), *more])
