"""Workloads: recordings, readers of traces from elsewhere, recording, synthetic streams, composition, offloading to devices, suites.

Every trace is a `hwmodel.trace.Trace`: lazy, in constant memory, read as often as one likes.
"""

from workloads import synthetic
from workloads.compose import as_guest, assign, concatenate, head, interleave, repeat, select, shift, stretch
from workloads.formats import read, write
from workloads.formats.columns.csvfile import save_csv
from workloads.formats.kernel import kernel_counts, read_kernel
from workloads.named import named
from workloads.offload import offload
from workloads.operation import operation
from workloads.recorded import load as recorded
from workloads.recorders.record import record
from workloads.recorders.recordkernel import record_kernel
from workloads.suite import Workload, suite
from workloads.synthetic import *  # noqa: F403

__all__ = [
    "Workload",
    "as_guest",
    "assign",
    "concatenate",
    "head",
    "interleave",
    "kernel_counts",
    "named",
    "offload",
    "operation",
    "read",
    "read_kernel",
    "record",
    "record_kernel",
    "recorded",
    "repeat",
    "save_csv",
    "select",
    "shift",
    "stretch",
    "suite",
    "write",
    *synthetic.__all__,
]
