"""Workloads: recordings, readers of traces from elsewhere, recording, synthetic streams, and offloading to devices.

Everything returns a `hwmodel.trace.Trace`: lazy, in constant memory, read as often as one likes.
"""

from workloads.offload import offload
from workloads.readers import read
from workloads.readers.ftrace import kernel_counts, read_kernel
from workloads.record import record
from workloads.recorded import load as recorded
from workloads.recordkernel import record_kernel
from workloads.synthetic import (
    balloon,
    bfs,
    fork_snapshots,
    gather_scatter,
    gru_block_copy,
    gups,
    hash_join,
    huge_pages,
    ksm_merging,
    live_migration,
    mpi_halo,
    mprotect_toggle,
    numa_migration,
    phases,
    pointer_chase,
    producer_consumer,
    sequential,
    spmv,
    strided,
    swap_pressure,
    uniform,
    unmap_churn,
    vm_boot_and_serve,
    zipf,
)

__all__ = [
    "balloon",
    "bfs",
    "fork_snapshots",
    "gather_scatter",
    "gru_block_copy",
    "gups",
    "hash_join",
    "huge_pages",
    "kernel_counts",
    "ksm_merging",
    "live_migration",
    "mpi_halo",
    "mprotect_toggle",
    "numa_migration",
    "offload",
    "phases",
    "pointer_chase",
    "producer_consumer",
    "read",
    "read_kernel",
    "record",
    "record_kernel",
    "recorded",
    "sequential",
    "spmv",
    "strided",
    "swap_pressure",
    "uniform",
    "unmap_churn",
    "vm_boot_and_serve",
    "zipf",
]
