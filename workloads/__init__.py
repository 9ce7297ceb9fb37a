"""Workloads: recordings, readers of traces from elsewhere, recording, synthetic streams, and offloading to devices.

Everything returns a `hwmodel.trace.Trace`: lazy, in constant memory, read as often as one likes.
"""

from workloads.offload import offload
from workloads.readers import read
from workloads.record import record
from workloads.recorded import load as recorded
from workloads.synthetic import (
    bfs,
    gups,
    hash_join,
    phases,
    pointer_chase,
    producer_consumer,
    sequential,
    spmv,
    strided,
    uniform,
    unmap_churn,
    zipf,
)

__all__ = [
    "bfs",
    "gups",
    "hash_join",
    "offload",
    "phases",
    "pointer_chase",
    "producer_consumer",
    "read",
    "record",
    "recorded",
    "sequential",
    "spmv",
    "strided",
    "uniform",
    "unmap_churn",
    "zipf",
]
