"""Workloads: recordings, readers of traces from elsewhere, recording, synthetic streams, and offloading to devices.

Everything returns a `hwmodel.trace.Trace`: lazy, in constant memory, read as often as one likes.
"""

from workloads.offload import offload
from workloads.readers import read
from workloads.readers.ftrace import kernel_counts, read_kernel
from workloads.record import record
from workloads.recorded import load as recorded
from workloads.recordkernel import record_kernel
from workloads.synthetic import sequential, uniform, unmap_churn, zipf

__all__ = [
    "kernel_counts", "offload", "read", "read_kernel", "record", "record_kernel", "recorded", "sequential", "uniform",
    "unmap_churn", "zipf",
]  # fmt: skip
