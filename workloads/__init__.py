"""Workloads: recordings, readers of traces from elsewhere, recording, synthetic streams, and offloading to devices.

Everything returns a `hwmodel.trace.Trace`: lazy, in constant memory, read as often as one likes.
"""

from workloads.offload import offload
from workloads.readers import read
from workloads.record import record
from workloads.recorded import load as recorded
from workloads.synthetic import (
    balloon,
    fork_snapshots,
    gather_scatter,
    gru_block_copy,
    huge_pages,
    ksm_merging,
    live_migration,
    mpi_halo,
    mprotect_toggle,
    numa_migration,
    sequential,
    swap_pressure,
    uniform,
    unmap_churn,
    vm_boot_and_serve,
    zipf,
)

__all__ = [
    "balloon",
    "fork_snapshots",
    "gather_scatter",
    "gru_block_copy",
    "huge_pages",
    "ksm_merging",
    "live_migration",
    "mpi_halo",
    "mprotect_toggle",
    "numa_migration",
    "offload",
    "read",
    "record",
    "recorded",
    "sequential",
    "swap_pressure",
    "uniform",
    "unmap_churn",
    "vm_boot_and_serve",
    "zipf",
]
