"""Workloads: recordings, readers of traces from elsewhere, recording, synthetic streams, composition, offloading to devices.

Everything returns a `hwmodel.trace.Trace`: lazy, in constant memory, read as often as one likes.
"""

from workloads.compose import as_guest, assign, concatenate, interleave, repeat, select, shift
from workloads.csvfile import save_csv
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
from workloads.writers import write

__all__ = [
    "as_guest",
    "assign",
    "balloon",
    "bfs",
    "concatenate",
    "fork_snapshots",
    "gather_scatter",
    "gru_block_copy",
    "gups",
    "hash_join",
    "huge_pages",
    "interleave",
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
    "repeat",
    "save_csv",
    "select",
    "sequential",
    "shift",
    "spmv",
    "strided",
    "swap_pressure",
    "uniform",
    "unmap_churn",
    "vm_boot_and_serve",
    "write",
    "zipf",
]
