"""Workloads: recordings, readers of traces from elsewhere, recording, synthetic streams, and offloading to devices.

Everything returns a `hwmodel.trace.Trace`: lazy, in constant memory, read as often as one likes.
"""

from workloads.offload import offload
from workloads.readers import read
from workloads.record import record
from workloads.recorded import load as recorded
from workloads.synthetic import (
    phases,
    pointer_chase,
    producer_consumer,
    sequential,
    strided,
    uniform,
    unmap_churn,
    zipf,
)

__all__ = [
    "offload",
    "phases",
    "pointer_chase",
    "producer_consumer",
    "read",
    "record",
    "recorded",
    "sequential",
    "strided",
    "uniform",
    "unmap_churn",
    "zipf",
]
