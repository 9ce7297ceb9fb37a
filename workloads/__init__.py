"""Workloads: recordings, readers of traces from elsewhere, recording, synthetic streams, composition, offloading to devices.

Everything returns a `hwmodel.trace.Trace`: lazy, in constant memory, read as often as one likes.
"""

from workloads.compose import as_guest, assign, concatenate, interleave, repeat, select, shift
from workloads.csvfile import save_csv
from workloads.offload import offload
from workloads.readers import read
from workloads.record import record
from workloads.recorded import load as recorded
from workloads.synthetic import sequential, uniform, unmap_churn, zipf

__all__ = [
    "as_guest",
    "assign",
    "concatenate",
    "interleave",
    "offload",
    "read",
    "record",
    "recorded",
    "repeat",
    "save_csv",
    "select",
    "sequential",
    "shift",
    "uniform",
    "unmap_churn",
    "zipf",
]
